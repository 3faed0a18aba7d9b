//! A hostile step in every isolation: it gets nothing of what belongs to its builder.

use std::fs;
use std::path::Path;
use std::process::Command;

use sandbox::Isolation;

use crate::support::{Tree, root_or_skip, run, skip_unless};

#[test]
fn a_hostile_step_reaches_nothing_of_its_builder() {
    let test = "a_hostile_step_reaches_nothing_of_its_builder";
    if !root_or_skip(test) {
        return;
    }
    let source = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/intercept/escape.c"));
    for isolation in [Isolation::Namespaces, Isolation::Intercept, Isolation::PlainChroot] {
        let tree = Tree::new();
        let program = tree.path("root/bin/escape");
        let mut gcc = Command::new("gcc");
        let made = gcc.args(["-O1", "-w", "-static", "-o"]).arg(&program).arg(source).output();
        if !skip_unless(made.is_ok(), test, "it needs gcc") {
            return;
        }
        let made = made.expect("gcc");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        fs::create_dir(tree.path("root/w")).expect("mkdir");
        let file = tree.path("secret");
        fs::write(&file, "the builder's\n").expect("write");
        // A descriptor that is not close-on-exec, as a careless library might leave one.
        let leak = fs::File::open(&file).expect("open");
        rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).expect("fcntl");
        let mut spec = tree.shell(&format!("exec escape {} {}", file.display(), std::process::id()));
        spec.isolation = isolation;
        let got = run(&spec).expect("run");
        let tries = got.out.lines().last().and_then(|line| line.strip_prefix("tried ")?.parse::<u32>().ok());
        assert!(tries.is_some_and(|tries| tries >= 15), "{isolation}: {got:?}");
        assert!(!got.out.contains("reached"), "{isolation}:\n{}", got.out);
        assert_eq!(fs::read_to_string(&file).expect("still there"), "the builder's\n", "{isolation}");
    }
}
