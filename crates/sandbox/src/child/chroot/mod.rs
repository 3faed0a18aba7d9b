//! The `plain-chroot` isolation: a private tree, chroot(2), no mounts and no namespaces, and no interception.
//!
//! For uid 0 with the default capabilities of a container. The keeper furnishes the tree (see [`furnish`]), starts the
//! command inside, adopts and ends what it leaves behind (see [`family`]), and takes the furniture out again.
//!
//! Limits, by nature of the place:
//! - A step that runs as root shares the pid namespace and the capabilities of the builder, and root can leave a
//!   chroot. Landlock holds it then, where the kernel has it; see `command::fence` for whom.
//! - /proc holds copies of the files that do not depend on the process; `/proc/self` does not exist.
//! - Read-only binds are copies, so writing to them succeeds and is thrown away; writable binds are moved into the tree
//!   for the step, so two steps cannot hold one at a time.
//! - The host name is the builder's. `--network=none` refuses Internet sockets, with no_new_privs set.

mod copy;
mod family;
mod furnish;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};

use super::{Context, Report, Setup, command};
use crate::error::SetupError;
use crate::launch::Status;
use crate::spec::{Rootfs, Spec};
use crate::{sys, wire};

pub(super) fn run(spec: &Spec, stdio: [OwnedFd; 3], control: UnixStream) -> i32 {
    match step(spec, stdio, &control) {
        Ok(()) => 0,
        Err(error) => {
            let _ = wire::send(&control, &Report::Failed(error));
            125
        }
    }
}

fn step(spec: &Spec, stdio: [OwnedFd; 3], control: &UnixStream) -> Setup<()> {
    let Rootfs::Directory(tree) = &spec.rootfs else {
        let action = "the plain-chroot isolation cannot mount an overlay: give it a directory".to_owned();
        return Err(SetupError { action, errno: 0, hint: None });
    };
    let _ = rustix::process::setsid();
    family::adopt().context(|| "become the reaper of the step's processes")?;
    let mut furniture = furnish::Furniture::new(tree)?;
    let result = furniture.move_in(spec).and_then(|()| command(spec, stdio, control, furniture.root()));
    // The tree must be as the step left it, also when something failed.
    furniture.move_out().and(result)
}

/// Runs the command in the furnished tree and ends everything that it left behind.
fn command(spec: &Spec, stdio: [OwnedFd; 3], control: &UnixStream, root: &OwnedFd) -> Setup<()> {
    let children = sys::child_signals().context(|| "watch for the end of processes")?;
    // SAFETY: the helper has a single thread.
    let command = match unsafe { sys::fork() }.context(|| "fork the command's process")? {
        Some(command) => command,
        None => {
            let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
            let report = command::execute_in(spec, stdio, Some(root.as_fd()));
            let _ = wire::send(control, &report);
            sys::exit_now(125)
        }
    };
    drop(stdio);
    let mut status = None;
    let hang_up = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    while status.is_none() {
        let mut watched = [PollFd::new(&children, PollFlags::IN), PollFd::new(control, hang_up)];
        match poll(&mut watched, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context(|| "wait for the command"),
        }
        if watched[1].revents().intersects(hang_up) {
            break;
        }
        sys::drain(children.as_fd());
        while let Some((pid, ended)) = sys::reap().context(|| "wait for the command")? {
            if pid == command {
                status = Some(match ended {
                    sys::Ended::Code(code) => Status::Code(code),
                    sys::Ended::Signal(signal) => Status::Signal(signal),
                });
            }
        }
    }
    family::end_all();
    let Some(status) = status else { return Ok(()) };
    let (user, system, max_rss) = sys::children_usage();
    #[allow(clippy::cast_possible_truncation)] // 2^64 microseconds are enough.
    let report =
        Report::Exit { status, user_us: user.as_micros() as u64, system_us: system.as_micros() as u64, max_rss };
    wire::send(control, &report).context(|| "report the end of the command")
}
