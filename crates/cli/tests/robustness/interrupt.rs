//! Ctrl-C during a step that does not want to end.
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use super::support::{Place, assert_no_processes};

/// Starts a build, sends `signal` when the step says `ready`, and gives the exit code and the rest of the output.
fn interrupt(place: &Place, words: &str, signal: Signal) -> (Option<i32>, String) {
    let mut child = place.command(words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut text = String::new();
    for line in lines.by_ref() {
        let line = line.unwrap();
        text.push_str(&line);
        text.push('\n');
        if line.ends_with(" ready") {
            kill_process(Pid::from_child(&child), signal).unwrap();
            break;
        }
    }
    lines.map_while(Result::ok).for_each(|line| text += &(line + "\n"));
    (child.wait().unwrap().code(), text)
}

/// A step with children and grandchildren in sessions of their own, all deaf to polite signals.
fn stubborn(marker: &str) -> String {
    format!(
        "FROM busybox\nCOPY deaf /deaf\n\
         RUN trap '' INT TERM HUP QUIT; setsid sh /deaf {marker} & \
         sh /deaf {marker} & (trap '' INT TERM; setsid setsid sh /deaf {marker} &) ; \
         while [ $(ls /tmp | wc -l) -lt 3 ]; do :; done; echo ready; while :; do sleep 1000; done\n"
    )
}

const DEAF: &str = "trap '' INT TERM HUP QUIT\nsh -c \"trap '' INT TERM HUP; sleep 100000\" $1 &\n\
                    touch /tmp/$$\nwhile :; do sleep 1000; done\n";

#[test]
fn ctrl_c_ends_every_process_of_a_step() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let marker = format!("robustness-deaf-{}-{}", std::process::id(), signal.as_raw());
        let place = Place::dockerfile(&stubborn(&marker)).file("deaf", DEAF);
        let (code, text) = interrupt(&place, "", signal);
        assert_eq!(code, Some(130), "{signal:?}\n{text}");
        assert!(text.contains("CANCELED"), "{text}");
        assert_no_processes(&marker);
        assert_no_processes(place.store().to_str().unwrap());
        place.assert_sound();
        place.write("Dockerfile", "FROM busybox\nCOPY deaf /deaf\nRUN sh -c 'echo fine'\n");
        assert!(place.build("").cached("COPY deaf"), "what was done before the interruption is kept");
    }
}

#[test]
fn ctrl_c_ends_steps_of_all_stages_and_waiting_builds() {
    let text = "FROM busybox AS a\nRUN --mount=type=cache,target=/c,sharing=locked echo ready; sleep 100000\n\
                FROM busybox AS b\nRUN --mount=type=cache,target=/c,sharing=locked echo ready; sleep 100000\n\
                FROM busybox\nCOPY --from=a /etc/passwd /a\nCOPY --from=b /etc/passwd /b\n";
    let place = Place::dockerfile(text);
    let (code, text) = interrupt(&place, "", Signal::INT);
    assert_eq!(code, Some(130), "{text}");
    assert_no_processes(place.store().to_str().unwrap());
    place.assert_sound();
}

#[test]
fn a_step_that_fails_ends_the_others() {
    let text = "FROM busybox AS a\nRUN echo ready; sleep 100000\n\
                FROM busybox AS b\nRUN --mount=type=cache,target=/x exit 3\n\
                FROM busybox\nCOPY --from=a /etc/passwd /a\nCOPY --from=b /etc/passwd /b\n";
    let place = Place::dockerfile(text);
    let log = place.attempt("");
    assert_eq!(log.code, Some(1), "{}", log.text);
    assert!(log.text.contains("exit code: 3"), "{}", log.text);
    assert_no_processes(place.store().to_str().unwrap());
    place.assert_sound();
}

/// Another build has the cache mount, and takes its time.
#[test]
fn ctrl_c_ends_a_build_that_waits_for_another() {
    let text = |ready: &str| {
        format!(
            "FROM busybox\nRUN --mount=type=cache,target=/c,sharing=locked echo {ready}; while :; do sleep 1000; done\n"
        )
    };
    let place = Place::dockerfile(&text("ready"));
    let mut first = place.command("").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(first.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with(" ready")));
    place.write("Dockerfile", text("second"));
    let mut second = place.command("").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut progress = BufReader::new(second.stderr.take().unwrap()).lines();
    assert!(progress.any(|line| line.unwrap().contains("RUN --mount")), "the step begins");
    kill_process(Pid::from_child(&second), Signal::INT).unwrap();
    let rest: Vec<String> = progress.map_while(Result::ok).collect();
    assert_eq!(second.wait().unwrap().code(), Some(130), "{rest:#?}");
    assert!(first.try_wait().unwrap().is_none(), "the first build goes on");
    kill_process(Pid::from_child(&first), Signal::INT).unwrap();
    lines.for_each(drop);
    assert_eq!(first.wait().unwrap().code(), Some(130));
    assert_no_processes(place.store().to_str().unwrap());
    place.assert_sound();
}
