//! `--on-error=shell`, at a real (pseudo-)terminal.
use std::fs::File;
use std::io::{Read, Write};
use std::process::Stdio;

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use super::support::Place;

#[test]
fn a_failed_step_opens_a_shell_where_it_failed() {
    let place = Place::dockerfile(
        "FROM busybox\nENV NAME=value\nWORKDIR /work\n\
         RUN --mount=type=secret,id=s,required=false echo half > /half && exit 9\n",
    );
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).unwrap();
    unlockpt(&master).unwrap();
    let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
    let mut command = place.command("--on-error=shell");
    let end = || Stdio::from(slave.try_clone().unwrap());
    command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "xterm").env("NO_COLOR", "1");
    let mut child = command.spawn().unwrap();
    drop((command, slave));
    let mut terminal = File::from(master);
    let mut seen = String::new();
    let wait = |seen: &mut String, terminal: &mut File, text: &str| {
        let mut buffer = [0_u8; 4096];
        while !seen.contains(text) {
            let count = terminal.read(&mut buffer).unwrap_or(0);
            assert!(count > 0, "no {text:?} in\n{seen}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    };
    wait(&mut seen, &mut terminal, "Leave it with exit");
    wait(&mut seen, &mut terminal, "# ");
    assert!(seen.contains("did not complete successfully: exit code: 9"), "{seen}");
    // What is typed is echoed: the answers must not stand in the questions.
    terminal.write_all(b"echo [$(cat /half)] [$NAME] [$(pwd)] [$(test -t 0 && echo tty)]\n").unwrap();
    wait(&mut seen, &mut terminal, "[half] [value] [/work] [tty]");
    // Ctrl-C is for the shell, not for the build.
    // (While it reads a line the shell takes it as a key: wait for what the line prints.)
    terminal.write_all(b"echo [$((20 + 1))]; sleep 1000\n").unwrap();
    wait(&mut seen, &mut terminal, "[21]");
    seen.clear();
    terminal.write_all(b"\x03").unwrap();
    // The shell throws away what was typed before it asks again.
    wait(&mut seen, &mut terminal, "# ");
    terminal.write_all(b"echo [$((40 + 2))]\nexit\n").unwrap();
    wait(&mut seen, &mut terminal, "[42]");
    seen.clear();
    wait(&mut seen, &mut terminal, "error: process");
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn the_terminal_is_as_it_was() {
    let place = Place::dockerfile("FROM busybox\nRUN exit 9\n");
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).unwrap();
    unlockpt(&master).unwrap();
    let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
    let mut command = place.command("--on-error=shell");
    let end = || Stdio::from(slave.try_clone().unwrap());
    command.stdin(end()).stdout(end()).stderr(end());
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut terminal = File::from(master.try_clone().unwrap());
    let reader = std::thread::spawn(move || {
        let (mut all, mut buffer) = (Vec::new(), [0_u8; 4096]);
        let mut told = false;
        while let Ok(count @ 1..) = terminal.read(&mut buffer) {
            all.extend(&buffer[..count]);
            if !told && String::from_utf8_lossy(&all).contains("Leave it with exit") {
                told = true;
                terminal.write_all(b"exit\n").unwrap();
            }
        }
    });
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(tcgetattr(&slave).unwrap().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG));
    drop(slave);
    reader.join().unwrap();

    // In a script there is none.
    let log = place.attempt("--on-error=shell");
    assert_eq!(log.code, Some(2));
    assert!(log.text.contains("error: --on-error shell: there is no terminal for a shell"), "{}", log.text);
}
