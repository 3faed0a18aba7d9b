//! `cargo xtask cost`: what RUN costs in a pod under "restricted", as a ratio to root in a native chroot.
//!
//! One base tree (Debian with gcc and npm) is copied for each contender: `native` is chroot(2) as root on the machine,
//! `intercept` the sandbox's own `run-in-tree` in a restricted pod, `proot` Debian's in the same pod. The first two take
//! turns in being first, each after a sync; proot, which takes minutes, runs once. The table shows medians of processor
//! seconds (user and system, of all processes of the run), and of wall seconds as a clock in the pod shows them. Needs
//! root, runc, mmdebstrap, proot, and the network for packages.

use crate::{Failure, USAGE};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;
use testkit::bases::{self, Base};
use testkit::{Pod, PodKind, PodSpec, pod, run, which};

/// A piece of work: `prepare` once per tree, `work` in each round, both by `sh` in `/work` with the round in `$N`.
struct Workload {
    name: &'static str,
    prepare: &'static str,
    work: &'static str,
    /// The ratio of processor time that is to be held.
    bar: f64,
}

const WORKLOADS: &[Workload] = &[
    Workload {
        name: "gcc -O2 of 60 small files",
        prepare: "mkdir c; cd c; for i in $(seq 60); do printf '#include <stdio.h>\\n#include <stdlib.h>\\n#include <string.h>\\n#include <math.h>\\nint f%d(int a){int s=0;for(int i=0;i<a;i++)s+=i*%d;return s;}\\n' $i $i > f$i.c; done",
        work: "cd c; for i in $(seq 60); do gcc -O2 -c f$i.c -o f$i.o; done",
        bar: 1.25,
    },
    Workload {
        name: "npm ci of a locked express service",
        prepare: "cd npm; npm ci --no-audit --no-fund; rm -r node_modules",
        work: "mkdir n$N; cp npm/*.json n$N; cd n$N; npm ci --offline --no-audit --no-fund",
        bar: 1.2,
    },
    Workload { name: "dpkg -i of 14 packages", prepare: "", work: "dpkg -i --force-depends debs/*.deb", bar: 1.25 },
    Workload {
        name: "untar of 5,000 files, 5 times",
        prepare: "for i in $(seq 50); do mkdir -p d/$i; for j in $(seq 100); do echo $i$j > d/$i/$j; done; done; tar cf t.tar d",
        work: "for i in 1 2 3 4 5; do mkdir -p u$N/$i; tar xf t.tar -C u$N/$i; done",
        bar: 1.1,
    },
    Workload {
        name: "find with stat of 5 times 13,000 files",
        prepare: "",
        work: "for i in 1 2 3 4 5; do find /usr /etc /var -printf '%s %u %m %p\\n' | head -n 13000 > /dev/null; done",
        bar: 2.5,
    },
    Workload {
        name: "500 fork and exec",
        prepare: "",
        work: "i=0; while [ $i -lt 500 ]; do /bin/true; i=$((i+1)); done",
        bar: 1.3,
    },
];

/// Small packages of all kinds, maintainer scripts among them.
const PACKAGES: [&str; 14] = [
    "bc",
    "dash",
    "ed",
    "file",
    "hostname",
    "less",
    "libmagic1",
    "libmagic-mgc",
    "lsb-base",
    "netbase",
    "nano",
    "patch",
    "procps",
    "sensible-utils",
];

const CONTENDERS: [&str; 3] = ["native", "intercept", "proot"];

struct World {
    directory: TempDir,
    pod: Pod,
}

pub(crate) fn main(words: &[&str]) -> Result<(), Failure> {
    let mut rounds = 5;
    let mut binary = PathBuf::from("target/x86_64-unknown-linux-gnu/release/run-in-tree");
    let mut wanted = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--rounds" => rounds = words.next().ok_or(USAGE)?.parse()?,
            "--binary" => binary = words.next().ok_or(USAGE)?.into(),
            option if option.starts_with('-') => return Err(USAGE.into()),
            name => wanted.push(name),
        }
    }
    let world = World::new(&bases::TOOLS, &binary)?;
    let mut table =
        String::from("| work | native cpu s | intercept | proot | bar | wall: native s | intercept | proot |\n");
    table += "|---|---|---|---|---|---|---|---|\n";
    for workload in WORKLOADS.iter().filter(|w| wanted.is_empty() || wanted.iter().any(|name| w.name.contains(name))) {
        for name in CONTENDERS {
            world.run(name, workload.prepare, 0)?;
        }
        let mut samples = [const { Vec::new() }; 3];
        for round in 1..=rounds {
            // Who comes second finds the file system busy with what the first wrote: each is first in turn. proot, which
            // takes minutes, runs once.
            let mut order: Vec<usize> = if round % 2 == 1 { vec![0, 1] } else { vec![1, 0] };
            order.extend((round == 1).then_some(2));
            for contender in order {
                let name = CONTENDERS[contender];
                run(&mut Command::new("sync"))?;
                match world.run(name, workload.work, round) {
                    Ok(sample) => samples[contender].push(sample),
                    // Some work is beyond proot; that is a result too.
                    Err(error) if name == "proot" => eprintln!("{error}"),
                    Err(error) => return Err(error),
                }
            }
        }
        let row = row(workload, &samples);
        eprint!("{row}");
        table += &row;
    }
    println!("{table}");
    Ok(())
}

/// Medians of (processor, wall) seconds, as ratios to the first contender.
fn row(workload: &Workload, samples: &[Vec<(f64, f64)>; 3]) -> String {
    let median = |list: &[(f64, f64)], pick: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = list.iter().map(pick).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    let ratio = |value: Option<f64>, native: Option<f64>| match (value, native) {
        (Some(value), Some(native)) => format!("{:.2}", value / native),
        _ => "fails".to_owned(),
    };
    let [native, intercept, proot] = samples.each_ref().map(|list| (median(list, |s| s.0), median(list, |s| s.1)));
    let mut text = String::new();
    let _ = writeln!(
        text,
        "| {} | {:.2} | **{}** | {} | {:.2} | {:.2} | {} | {} |",
        workload.name,
        native.0.unwrap_or_default(),
        ratio(intercept.0, native.0),
        ratio(proot.0, native.0),
        workload.bar,
        native.1.unwrap_or_default(),
        ratio(intercept.1, native.1),
        ratio(proot.1, native.1),
    );
    text
}

impl World {
    fn new(base: &Base, binary: &Path) -> Result<Self, Failure> {
        let proot = which("proot").ok_or("proot is not installed: apt-get install proot")?;
        let binary = binary.canonicalize().map_err(|error| {
            format!("{}: {error}; make it with cargo build --release -p sandbox --bins", binary.display())
        })?;
        let directory = tempfile::Builder::new().prefix("cost-").tempdir_in("/var/tmp")?;
        run(Command::new("chmod").arg("755").arg(directory.path()))?;
        let rootfs = pod::rootfs(base)?;
        let trees = directory.path().join("trees");
        for name in CONTENDERS {
            let tree = trees.join(name).join("tree");
            fs::create_dir_all(tree.parent().ok_or("no parent")?)?;
            run(Command::new("cp").arg("-a").arg(&rootfs).arg(&tree))?;
            fs::create_dir_all(tree.join("work/debs"))?;
            fs::create_dir_all(tree.join("work/npm"))?;
            let example = testkit::repository().join("examples/node-service");
            for file in ["package.json", "package-lock.json"] {
                fs::copy(example.join(file), tree.join("work/npm").join(file))?;
            }
        }
        let debs = trees.join("native/tree/work/debs");
        run(Command::new("apt-get")
            .args(["download", "-qq", "-o", "APT::Sandbox::User=root"])
            .args(PACKAGES)
            .current_dir(&debs))?;
        let world = Self { pod: start(&rootfs, &trees, &binary, &proot)?, directory };
        // npm's cache is filled once, by the machine's own npm service; everybody else gets a copy.
        world.fill_cache(&trees)?;
        for name in &CONTENDERS[1..] {
            let work = trees.join(name).join("tree");
            for part in ["work/debs", "root/.npm"] {
                let to = work.join(part);
                fs::create_dir_all(&to)?;
                run(Command::new("cp").arg("-RT").arg(trees.join("native/tree").join(part)).arg(to))?;
            }
            run(Command::new("chown").args(["-R", "1000:1000"]).arg(trees.join(name)))?;
        }
        Ok(world)
    }

    fn fill_cache(&self, trees: &Path) -> Result<(), Failure> {
        let tree = trees.join("native/tree");
        for file in ["etc/resolv.conf", "etc/hosts"] {
            let _ = fs::copy(Path::new("/").join(file), tree.join(file));
        }
        let certificates = Path::new("/etc/ssl/certs/ca-certificates.crt");
        if certificates.exists() {
            fs::copy(certificates, tree.join("work/ca.pem"))?;
        }
        let script = "cd /work/npm && npm ci --no-audit --no-fund && rm -r node_modules";
        run(Command::new("chroot")
            .arg(&tree)
            .args(["sh", "-c", script])
            .env("HOME", "/root")
            .env("NODE_EXTRA_CA_CERTS", "/work/ca.pem"))
        .map_err(|error| format!("filling npm's cache in {}: {error}", self.directory.path().display()).into())
        .map(drop)
    }

    /// Runs a script as a contender; processor and wall seconds.
    fn run(&self, name: &str, script: &str, round: usize) -> Result<(f64, f64), Failure> {
        if script.is_empty() || (round == 0 && script.contains("npm ci")) {
            return Ok((0.0, 0.0));
        }
        let inner = format!("set -e; export HOME=/root N={round}; cd /work; {script}");
        let trees = self.directory.path().join("trees");
        // The outer shell has waited for everything when it prints what its children used. The clock is read inside the
        // pod: that runc takes a while to start one is no part of the work.
        let outer = |command: &str| {
            format!(
                "date +%s%N; {command} >/tmp/log 2>&1 </dev/null || {{ tail -n 20 /tmp/log; exit 1; }}; date +%s%N; times"
            )
        };
        let output: Output = match name {
            "native" => {
                let script = outer("chroot \"$1\" /bin/sh -c \"$2\"").replace("/tmp/log", "\"$1/log\"");
                Command::new("sh").args(["-c", &script, "sh"]).arg(trees.join("native/tree")).arg(&inner).output()?
            }
            "intercept" => {
                let script = outer("/a/run-in-tree /t/intercept/tree /bin/sh -c \"$1\"");
                self.pod.run(&["sh", "-c", &script, "sh", &inner])?
            }
            _ => {
                let script = outer("/a/proot -0 -r /t/proot/tree -b /proc -b /dev -w /work /bin/sh -c \"$1\"");
                self.pod.run(&["sh", "-c", &script, "sh", &inner])?
            }
        };
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            return Err(format!("{name}: {script}\n{text}{}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let clock: Vec<f64> = text.lines().filter_map(|line| line.parse().ok()).collect();
        let [start, end] = clock[..] else { return Err(format!("{name}: no times in: {text}").into()) };
        let wall = (end - start) / 1e9;
        let cpu = text.lines().last().unwrap_or_default().split_whitespace().filter_map(seconds).sum();
        Ok((cpu, wall))
    }
}

/// `1m2.345s` in seconds.
fn seconds(text: &str) -> Option<f64> {
    let (minutes, rest) = text.split_once('m')?;
    Some(minutes.parse::<f64>().ok()? * 60.0 + rest.trim_end_matches('s').parse::<f64>().ok()?)
}

fn start(rootfs: &Path, trees: &Path, binary: &Path, proot: &Path) -> Result<Pod, Failure> {
    let mut spec = PodSpec::new(PodKind::Restricted, rootfs)
        .bind(trees, "/t")
        .bind_read_only(binary, "/a/run-in-tree")
        .bind_read_only(proot, "/a/proot")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("PROOT_TMP_DIR", "/tmp");
    let libraries = run(Command::new("ldd").arg(proot))?;
    for line in String::from_utf8_lossy(&libraries.stdout).lines() {
        // Libraries that the pod's image lacks.
        let Some(path) = line.split_once("=> ").and_then(|(_, rest)| rest.split_whitespace().next()) else { continue };
        if path.starts_with('/') && !rootfs.join(path.trim_start_matches('/')).exists() {
            spec = spec.bind_read_only(Path::new(path).canonicalize()?, path);
        }
    }
    Ok(spec.start()?)
}
