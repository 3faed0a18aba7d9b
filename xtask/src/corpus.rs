//! The table of Dockerfiles: records by real builders, and comparisons with them.
use crate::{Failure, USAGE};
use testkit::corpus::{Case, Known, Peer, Report, Strictness, World, check, record};
use testkit::{BuildKit, Buildah, Builder, Cooperage};

/// Records come from the suite with the newest BuildKit.
const NEWEST: &str = "sid";

pub(crate) fn main(words: &[&str]) -> Result<(), Failure> {
    match words {
        ["record"] => record_all(""),
        ["record", filter] => record_all(filter),
        ["peer"] => peer(&BuildKit::suite(), ""),
        ["peer", suite] => peer(suite, ""),
        ["peer", suite, filter] => peer(suite, filter),
        ["check", binary] => product(binary, ""),
        ["check", binary, filter] => product(binary, filter),
        ["list"] => {
            for case in Case::all("")? {
                println!("{:32} {}", case.name, case.about);
            }
            Ok(())
        }
        _ => Err(USAGE.into()),
    }
}

fn record_all(filter: &str) -> Result<(), Failure> {
    let world = World::start()?;
    let mut failures = Vec::new();
    for wanted in [Peer::Buildkit, Peer::Buildah] {
        let cases: Vec<Case> = Case::all(filter)?.into_iter().filter(|case| case.peer == wanted).collect();
        if cases.is_empty() {
            continue;
        }
        let peer: Box<dyn Builder> = match wanted {
            Peer::Buildah => Box::new(Buildah::start(NEWEST, "vfs", world.registry(), &[])?),
            _ => Box::new(BuildKit::start(NEWEST, world.registry())?),
        };
        println!("{}: {} cases", peer.name(), cases.len());
        failures.extend(record(&*peer, &world, &cases));
    }
    for (name, text) in &failures {
        println!("\n{name}: {text}");
    }
    if failures.is_empty() { Ok(()) } else { Err(format!("{} cases are not recorded", failures.len()).into()) }
}

fn peer(suite: &str, filter: &str) -> Result<(), Failure> {
    let world = World::start()?;
    let peer = BuildKit::start(suite, world.registry())?;
    let known = peer.dockerfile_version();
    let cases: Vec<Case> = Case::all(filter)?
        .into_iter()
        .filter(|case| case.peer == Peer::Buildkit && case.not_live.is_none() && case.known_to(known))
        .collect();
    finish(&check(&peer, &world, &cases, &Known::default(), Strictness::OlderPeer))
}

fn product(binary: &str, filter: &str) -> Result<(), Failure> {
    let world = World::start()?;
    let product = Cooperage::new(std::path::absolute(binary)?)?.with_mirror(world.registry());
    finish(&check(&product, &world, &Case::all(filter)?, &Known::load()?, Strictness::Product))
}

fn finish(report: &Report) -> Result<(), Failure> {
    println!("{report}");
    match report.failures().len() {
        0 => Ok(()),
        number => Err(format!("{number} cases differ from their records").into()),
    }
}
