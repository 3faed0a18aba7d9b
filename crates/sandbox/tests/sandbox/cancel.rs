//! Cancelling ends every process of a step.

use sandbox::{CancelToken, RunError};

use crate::support::{Tree, root_or_skip, run_with};

#[test]
fn a_cancelled_step_ends_with_everything_in_it() {
    if !root_or_skip("a_cancelled_step_ends_with_everything_in_it") {
        return;
    }
    let tree = Tree::new();
    let token = CancelToken::new();
    // The readers of run_with end only when no process holds the pipes any more.
    let script =
        "trap '' TERM INT HUP; (trap '' TERM; setsid sleep 1000) & echo ready; while true; do sleep 1000; done";
    let result = run_with(&tree.shell(script), &token, |out| {
        if out.contains("ready") {
            token.cancel();
        }
    });
    assert!(matches!(result, Err(RunError::Cancelled)), "{result:?}");
    let result = run_with(&tree.shell("echo never"), &token, |_| panic!("a cancelled token must not start anything"));
    assert!(matches!(result, Err(RunError::Cancelled)));
}

#[test]
fn a_builder_that_is_killed_takes_its_step_with_it() {
    if !root_or_skip("a_builder_that_is_killed_takes_its_step_with_it") {
        return;
    }
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};
    let tree = Tree::new();
    let spec = serde_json::to_vec(&tree.shell("echo ready; exec sleep 1000")).expect("json");
    let mut builder = Command::new(env!("CARGO_BIN_EXE_sandbox-helper"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("spawn");
    builder.stdin.take().expect("stdin").write_all(&spec).expect("write");
    let mut out = builder.stdout.take().expect("stdout");
    let mut ready = [0; 6];
    out.read_exact(&mut ready).expect("the step starts");
    builder.kill().expect("kill");
    builder.wait().expect("wait");
    // End of file comes when the sleep is gone.
    let mut rest = Vec::new();
    out.read_to_end(&mut rest).expect("read");
    assert_eq!((&ready, rest.len()), (b"ready\n", 0));
}
