//! The table of Dockerfiles (`tests/dockerfiles`): this binary against records of a real BuildKit, and
//! the records against a live one. `COOPERAGE_CASES=copy-` picks the cases whose name contains that.
#![allow(clippy::print_stdout, reason = "the report is what the test is run for")]

use testkit::corpus::{Case, Known, Peer, Strictness, World, check};
use testkit::{BuildKit, Cooperage};

fn cases() -> Vec<Case> {
    Case::all(&std::env::var("COOPERAGE_CASES").unwrap_or_default()).expect("tests/dockerfiles is in order")
}

#[test]
fn images_are_as_buildkit_makes_them() {
    if !testkit::available("images_are_as_buildkit_makes_them", testkit::REGISTRY_TOOLS) {
        return;
    }
    compare(&[], &Known::load().expect("KNOWN.toml is in order"));
}

fn compare(options: &[&str], known: &Known) {
    let world = World::start().expect("docker-registry, skopeo, git and busybox-static are installed");
    let product = Cooperage::new(env!("CARGO_BIN_EXE_cooperage"))
        .expect("a store")
        .with_mirror(world.registry())
        .with_options(options);
    let report = check(&product, &world, &cases(), known, Strictness::Product);
    println!("{report}");
    let failures: Vec<&str> = report.failures().iter().map(|row| row.name.as_str()).collect();
    assert!(failures.is_empty(), "{} of {} cases: {failures:?}", failures.len(), report.rows.len());
}

/// The same images where nothing is allowed: no namespaces, no mounts, owners kept beside the tree.
#[test]
fn images_are_the_same_when_calls_are_intercepted() {
    if !testkit::available("images_are_the_same_when_calls_are_intercepted", testkit::REGISTRY_TOOLS) {
        return;
    }
    compare(&["--isolation=intercept"], &Known::load_for("intercept").expect("KNOWN.intercept.toml is in order"));
}

/// Needs root, for the peer's daemon: elsewhere it says that it is passed over. In CI that is a failure.
#[test]
fn records_are_what_a_live_buildkit_makes() {
    if !testkit::is_root() {
        assert!(std::env::var_os("CI").is_none(), "CI must run this test as root");
        println!("passed over: the peer's daemon needs root");
        return;
    }
    let tools = [testkit::REGISTRY_TOOLS, testkit::DEBIAN_TOOLS].concat();
    if !testkit::available("records_are_what_a_live_buildkit_makes", &tools) {
        return;
    }
    let world = World::start().expect("docker-registry, skopeo, git and busybox-static are installed");
    let peer = BuildKit::start(&BuildKit::suite(), world.registry()).expect("mmdebstrap is installed");
    let version = peer.dockerfile_version();
    let mut cases = cases();
    cases.retain(|case| case.peer == Peer::Buildkit && case.not_live.is_none() && case.known_to(version));
    let report = check(&peer, &world, &cases, &Known::default(), Strictness::OlderPeer);
    println!("{report}");
    assert!(report.failures().is_empty(), "{} cases are recorded wrongly", report.failures().len());
}
