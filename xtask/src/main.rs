//! Developer tasks: `cargo xtask TASK`. What each does, [`USAGE`] says.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a person at a terminal")]

mod bench;
mod corpus;
mod cost;
mod factory;
mod soak;
mod supply;
mod tree;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask TASK

tasks:
  corpus record [FILTER]           build the cases of tests/dockerfiles with the newest peers and write their records
  corpus peer [SUITE] [FILTER]     build them with the BuildKit of a Debian suite and compare with the records
  corpus check BINARY [FILTER]     build them with a cooperage binary and compare with the records
  corpus list                      print each case and what it is about
  bench [--binary PATH] [--rounds N] [--minutes N] [--all] [--scales 1,2,4] [--ours auto,tree,plain-chroot,intercept]
        [--no-buildah] [--buildkitd ADDRESS] [--chart FILE] [--page FILE] [WORKLOAD…]
                                   cooperage against BuildKit and Buildah, interleaved; medians and ratios
  cost [--binary run-in-tree] [--rounds N] [WORD…]
                                   RUN in a restricted pod against root in a native chroot, and Debian's proot
  factory [--binary PATH] [--rounds N] [--images N] [--delay MS]
                                   the factory's commands with 200 images and a registry that answers after 50 ms
  soak [--binary PATH] [--builds N]
                                   builds one after the other in a restricted pod with 512 MiB, some of them failing or
                                   killed: memory, processes, descriptors and disk must stay as they are
  supply [--binary PATH] [--rounds N] [--osv URL|PATH]
                                   SBOM and scan of a large image: time and memory, against what is allowed
  tree                             check the arrows between crates, the size of Cargo.lock, forbidden words";

/// What a task can fail with; `main` prints it.
type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["corpus", rest @ ..] => corpus::main(rest),
        ["bench", rest @ ..] => bench::main(rest),
        ["cost", rest @ ..] => cost::main(rest),
        ["factory", rest @ ..] => factory::main(rest),
        ["soak", rest @ ..] => soak::main(rest),
        ["supply", rest @ ..] => supply::main(rest),
        ["tree"] => tree(),
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn tree() -> Result<(), Failure> {
    let problems = tree::problems()?;
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n").into()) }
}
