//! Exit statuses, signals, orphans, standard descriptors, resource use.

use sandbox::{Isolation, Limit, RunError, Spec, Status, Ulimit};

use crate::support::{Tree, output, root_or_skip, run};

#[test]
fn the_status_is_the_commands() {
    if !root_or_skip("the_status_is_the_commands") {
        return;
    }
    let tree = Tree::new();
    for (script, status) in [
        ("exit 0", Status::Code(0)),
        ("exit 7", Status::Code(7)),
        ("exit 255", Status::Code(255)),
        ("kill -9 $$", Status::Signal(9)),
        ("kill -TERM $$", Status::Signal(15)),
        ("kill -SEGV $$", Status::Signal(11)),
        ("sh -c 'kill -9 $$'; exit $?", Status::Code(137)),
        ("nosuchcommand", Status::Code(127)),
    ] {
        let got = run(&tree.shell(script)).expect(script);
        assert_eq!(got.exit.status, status, "{script}: {got:?}");
        assert!(!got.exit.oom_hint);
    }
}

#[test]
fn both_streams_come_through_and_can_be_opened_again() {
    if !root_or_skip("both_streams_come_through_and_can_be_opened_again") {
        return;
    }
    let tree = Tree::new();
    let mut spec = tree.shell("echo out; echo err >&2; echo again > /dev/stdout; echo more > /proc/self/fd/2; cat");
    spec.user = sandbox::User { uid: 1000, gid: 1000, groups: vec![] };
    let got = run(&spec).expect("run");
    assert_eq!((got.out.as_str(), got.err.as_str()), ("out\nagain\n", "err\nmore\n"));
}

#[test]
fn what_a_step_leaves_running_dies_with_it() {
    if !root_or_skip("what_a_step_leaves_running_dies_with_it") {
        return;
    }
    let tree = Tree::new();
    // The orphan holds standard output open: run() would never see its end if it lived on.
    let script = "setsid nohup sh -c 'while true; do sleep 1000; done' & setsid sleep 1000 & echo started";
    assert_eq!(output(&tree.shell(script)), "started\n");
}

/// Each process of a chain forks the next one and exits: none lives long enough to be listed and killed at leisure.
#[test]
fn processes_that_fork_without_end_are_ended() {
    if !root_or_skip("processes_that_fork_without_end_are_ended") {
        return;
    }
    for isolation in [Isolation::Namespaces, Isolation::Intercept, Isolation::PlainChroot] {
        let tree = Tree::new();
        let mut spec = tree.shell("f() { f & }; f & f & f & echo started");
        spec.isolation = isolation;
        assert_eq!(output(&spec), "started\n", "{isolation}");
    }
}

#[test]
fn zombies_are_reaped_by_pid_1() {
    if !root_or_skip("zombies_are_reaped_by_pid_1") {
        return;
    }
    let tree = Tree::new();
    // One that nobody reaps stays in /proc. Left are the first process and this shell.
    let script = "for i in 1 2 3 4 5; do (sh -c 'true & exec true' &) ; done; wait; \
        n=0; while set -- /proc/[0-9]*; [ $# -gt 2 ] && [ $n -lt 1000000 ]; do n=$((n+1)); done; echo $#";
    assert_eq!(output(&tree.shell(script)).trim(), "2");
}

#[test]
fn a_command_that_is_not_there_or_cannot_run_is_explained() {
    if !root_or_skip("a_command_that_is_not_there_or_cannot_run_is_explained") {
        return;
    }
    let tree = Tree::new();
    let script = |name: &str, content: &str, mode: u32| {
        let path = tree.path("root").join(name);
        std::fs::write(&path, content).expect("write");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("chmod");
    };
    script("bad", "#!/no/such/interpreter\n", 0o755);
    script("crlf", "#!/bin/sh\r\necho hello\r\n", 0o755);
    script("plain", "echo hello\n", 0o755);
    script("denied", "#!/bin/sh\n", 0o644);
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(18, 0);
    elf.extend([183, 0]);
    elf.resize(64, 0);
    script("foreign", &String::from_utf8_lossy(&elf), 0o755);
    std::fs::write(tree.path("root/foreign"), elf).expect("write");
    let message = |program: &str| {
        let mut spec = Spec::new(tree.directory(), [program]);
        spec.env = vec![("PATH".into(), "/usr/bin:/bin".into())];
        run(&spec).expect_err(program).to_string()
    };
    assert_eq!(message("nope"), "nope: not found in the root file system (PATH=/usr/bin:/bin)");
    assert_eq!(message("/opt/nope"), "/opt/nope: not found in the root file system");
    assert_eq!(message("/bad"), "/bad: cannot be executed: its interpreter \"/no/such/interpreter\" does not exist");
    assert!(message("/crlf").ends_with("the script has Windows line ends"), "{}", message("/crlf"));
    assert!(message("/plain").ends_with("neither a program nor a script that begins with #!"));
    assert_eq!(
        message("/denied"),
        "/denied: cannot be executed: permission denied: it is not executable for this user"
    );
    assert_eq!(message("/foreign"), "/foreign: cannot be executed: exec format error: a program for aarch64");
    assert_eq!(message("/tmp"), "/tmp: cannot be executed: it is a directory");
    let mut spec = tree.shell("true");
    spec.argv.clear();
    assert!(matches!(run(&spec), Err(RunError::CommandNotExecutable { .. })));
}

#[test]
fn working_directory_environment_and_host_name() {
    if !root_or_skip("working_directory_environment_and_host_name") {
        return;
    }
    let tree = Tree::new();
    let mut spec = tree.shell("pwd; hostname; env | sort");
    spec.cwd = "/home/app".into();
    spec.hostname = "buildkitsandbox".into();
    spec.env.push(("ODD".into(), "a=b c".into()));
    let expected =
        "/home/app\nbuildkitsandbox\nHOME=/root\nODD=a=b c\nPATH=/usr/local/bin:/bin\nPWD=/home/app\nSHLVL=1\n";
    assert_eq!(output(&spec), expected);
    spec.cwd = "/no/such/dir".into();
    let error = run(&spec).expect_err("no directory").to_string();
    assert!(error.contains("change to the working directory /no/such/dir: No such file or directory"), "{error}");
}

#[test]
fn limits_are_set() {
    if !root_or_skip("limits_are_set") {
        return;
    }
    let tree = Tree::new();
    let mut spec = tree.shell("ulimit -n; ulimit -Hn; ulimit -c");
    spec.ulimits =
        vec![Ulimit { limit: Limit::Nofile, soft: 123, hard: 456 }, Ulimit { limit: Limit::Core, soft: 0, hard: 0 }];
    assert_eq!(output(&spec), "123\n456\n0\n");
}

#[test]
fn resource_use_is_reported() {
    if !root_or_skip("resource_use_is_reported") {
        return;
    }
    let tree = Tree::new();
    let got = run(&tree.shell("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")).expect("run");
    assert!(!got.exit.usage.user.is_zero());
    assert!(got.exit.usage.max_rss > 100_000 && got.exit.usage.wall >= got.exit.usage.user, "{:?}", got.exit);
}
