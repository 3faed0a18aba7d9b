//! `cargo xtask soak`: many builds one after the other in one `restricted` pod with 512 MiB of memory.
//!
//! Every build runs its steps anew, one in ten on Debian, the others on busybox. One in ten fails in a step that has left a process behind, one in ten is killed
//! outright. After each, a line is taken: processes of the pod, descriptors that are open in its first process, memory
//! that is not file cache, peak memory of the builder, entries of the store's work directories. At three points the
//! store is emptied (of records of builds too, of which it keeps the last 200) and measured. What grows from the first point to the last is a leak, and a failure of this command.
//! Needs root, runc, mmdebstrap and docker-registry.

use crate::{Failure, USAGE};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::{PodKind, PodSpec, Registry, bases, pod, run};

const MEMORY: u64 = 512 << 20;

/// Owners, links, a package, mounts of all kinds, a process that is left behind; `HOW` ends it.
const DOCKERFILE: &str = r#"ARG BASE=busybox
FROM ${BASE} AS base
ARG ROUND HOW=true
RUN mkdir -p /srv; i=0; while [ $i -lt 400 ]; do echo $ROUND > /srv/$i; i=$((i + 1)); done; chown -R 33:44 /srv; ln /srv/1 /srv/one; (sleep 600 &)
RUN echo soaked:x:1234:1234::/home/soaked:/bin/sh >> /etc/passwd && mkdir -p /home/soaked && chown 1234:1234 /home/soaked && \
    cp -L /bin/sh /bin/tool && chown soaked /bin/tool && chmod 4755 /bin/tool && mknod /srv/null c 1 3
RUN --mount=type=cache,target=/cache --mount=type=tmpfs,target=/scratch --mount=type=secret,id=token \
    echo $ROUND > /cache/round && cp /run/secrets/token /scratch && head -c 4000000 /dev/urandom > /srv/large
RUN (setsid sleep 600 &); $HOW
USER soaked
RUN cd && mkdir work && touch work/file

FROM busybox
COPY --from=base --chown=1:2 /srv/ /srv/
RUN rm -r /srv/large && mv /srv/1 /srv/moved
"#;

/// Runs in the pod's busybox: `soak BUILDS REGISTRY`. Its `time` takes the kernel's KiB for pages of 4 KiB.
const SCRIPT: &str = r#"
builds=$1; mirror=$2; store=/home/user/store
memory() {
    if [ -r /sys/fs/cgroup/memory.stat ]; then awk '$1 == "anon" || $1 == "slab_unreclaimable" { n += $2 } END { print n }' /sys/fs/cgroup/memory.stat
    else awk '$1 == "rss" || $1 == "shmem" { n += $2 } END { print n }' /sys/fs/cgroup/memory/memory.stat; fi
}
count() { ls -A "$@" 2>/dev/null | grep -c .; }
i=0
while [ $i -lt $builds ]; do
    i=$((i + 1)); how=true; kill=; base=busybox
    case $i in *1) base=debian;; *4) how=false;; *7) kill="timeout -s KILL $((i / 10 % 5 + 1))";; esac
    time -o /tmp/usage -f %M $kill /shared/cooperage build --progress=plain --no-cache --root=$store \
        --registry-mirror=docker.io=$mirror --secret=id=token,src=/shared/token --build-arg=ROUND=$i --build-arg=HOW=$how --build-arg=BASE=$base \
        --output=type=oci,dest=/workspace/out.tar /shared/context > /tmp/log 2>&1
    code=$?
    case $i:$code in
        *4:1 | *7:9 | *7:137 | *7:0) ;;
        *[!47]:0) ;;
        *) echo "FAILED build $i: exit $code"; tail -n 30 /tmp/log; exit 1;;
    esac
    # What the kernel still clears away is no leak; a second is.
    tries=0; while [ "$(count -d /proc/[0-9]*)" -gt 4 ] && [ $tries -lt 20 ]; do sleep 0.1; tries=$((tries + 1)); done
    echo "$i $code $(count -d /proc/[0-9]*) $(count /proc/1/fd) $(memory) $(($(tail -n 1 /tmp/usage) / 4)) $(count /tmp /dev/shm)" >> /shared/out/samples
    case $i in $((builds / 20)) | $((builds / 2)) | $builds)
        /shared/cooperage history rm --all --root=$store > /dev/null 2>&1
        /shared/cooperage cache prune --all --mounts --root=$store > /dev/null 2>&1
        /shared/cooperage cache prune --all --mounts --root=$store > /dev/null 2>&1
        echo "$i $(du -sk $store | cut -f1) $(find $store | wc -l) $(count $store/tmp $store/trash)" >> /shared/out/disk;;
    *0) /shared/cooperage cache prune --max-used-space=400mb --root=$store > /dev/null 2>&1;;
    esac
done
for file in /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control; do [ -r $file ] && grep '^oom_kill ' $file; done
for file in /sys/fs/cgroup/memory.peak /sys/fs/cgroup/memory/memory.max_usage_in_bytes; do [ -r $file ] && echo "peak $(cat $file)"; done
exit 0
"#;

/// What was seen after one build.
#[derive(Debug, Clone, Copy)]
struct Sample {
    processes: u64,
    descriptors: u64,
    memory: u64,
    builder_kib: u64,
    litter: u64,
}

pub(crate) fn main(words: &[&str]) -> Result<(), Failure> {
    let mut builds = 200;
    let mut binary = PathBuf::from("target/x86_64-unknown-linux-gnu/release/cooperage");
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--builds" => builds = words.next().ok_or(USAGE)?.parse()?,
            "--binary" => binary = words.next().ok_or(USAGE)?.into(),
            _ => return Err(USAGE.into()),
        }
    }
    if builds < 20 {
        return Err("a soak of fewer than 20 builds shows nothing".into());
    }
    let directory = tempfile::Builder::new().prefix("soak-").tempdir_in("/var/tmp")?;
    let shared = directory.path();
    fs::create_dir_all(shared.join("context"))?;
    fs::create_dir_all(shared.join("out"))?;
    fs::copy(&binary, shared.join("cooperage")).map_err(|error| format!("{}: {error}", binary.display()))?;
    fs::write(shared.join("context/Dockerfile"), DOCKERFILE)?;
    fs::write(shared.join("token"), "0123456789")?;
    run(Command::new("chmod").args(["-R", "a+rX"]).arg(shared))?;
    run(Command::new("chmod").arg("777").arg(shared.join("out")))?;
    let registry = Registry::start()?;
    bases::BUSYBOX.push(&registry)?;
    bases::DEBIAN.push(&registry)?;
    let rootfs = pod::rootfs(&bases::BUSYBOX)?;
    let pod = PodSpec::new(PodKind::Restricted, rootfs).bind(shared, "/shared").memory(MEMORY).start()?;
    let output = pod.run(&["sh", "-c", SCRIPT, "soak", &builds.to_string(), &registry.url()])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Err(format!("{text}{}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let samples = samples(&shared.join("out/samples"))?;
    let disk = fs::read_to_string(shared.join("out/disk"))?;
    let changes = pod.changes(&["/home/user/store", "/workspace", "/tmp"])?;
    println!("{}", summary(&samples, &disk, &text));
    let problems = problems(&samples, &disk, &text, &changes);
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n").into()) }
}

fn samples(path: &Path) -> Result<Vec<Sample>, Failure> {
    let text = fs::read_to_string(path)?;
    let sample = |line: &str| {
        let numbers: Vec<u64> = line.split_whitespace().skip(2).filter_map(|word| word.parse().ok()).collect();
        let [processes, descriptors, memory, builder_kib, litter] = numbers[..] else {
            return Err(format!("{}: not a sample: {line}", path.display()).into());
        };
        Ok(Sample { processes, descriptors, memory, builder_kib, litter })
    };
    text.lines().map(sample).collect()
}

/// The largest value of a window of samples.
fn most(samples: &[Sample], pick: fn(&Sample) -> u64) -> u64 {
    samples.iter().map(pick).max().unwrap_or_default()
}

/// The first tenth and the last one: what a leak parts.
fn ends(samples: &[Sample]) -> [&[Sample]; 2] {
    let tenth = samples.len() / 10;
    [&samples[..tenth], &samples[samples.len() - tenth..]]
}

fn summary(samples: &[Sample], disk: &str, end: &str) -> String {
    let [first, last] = ends(samples);
    let mut text = format!("{} builds; the most in the first tenth and in the last one:\n", samples.len());
    type Pick = (&'static str, fn(&Sample) -> u64);
    let picks: [Pick; 5] = [
        ("processes", |s| s.processes),
        ("open descriptors of the first process", |s| s.descriptors),
        ("memory of the pod between builds, KiB", |s| s.memory >> 10),
        ("peak memory of the builder, KiB", |s| s.builder_kib),
        ("entries of /tmp and /dev/shm", |s| s.litter),
    ];
    for (name, pick) in picks {
        text += &format!("  {name}: {}, {}\n", most(first, pick), most(last, pick));
    }
    text += "emptied store (build, KiB, files, entries of tmp and trash):\n";
    for line in disk.lines() {
        text += &format!("  {line}\n");
    }
    text + end
}

fn problems(samples: &[Sample], disk: &str, end: &str, changes: &[String]) -> Vec<String> {
    let [first, last] = ends(samples);
    let mut problems: Vec<String> = changes.iter().map(|change| format!("left in the pod: {change}")).collect();
    let mut grows = |name: &str, pick: fn(&Sample) -> u64, slack: u64| {
        let (before, after) = (most(first, pick), most(last, pick));
        if after > before + slack {
            problems.push(format!("{name} grow from {before} to {after}"));
        }
    };
    grows("processes", |s| s.processes, 0);
    grows("descriptors", |s| s.descriptors, 0);
    grows("entries of /tmp and /dev/shm", |s| s.litter, 0);
    grows("bytes of memory between builds", |s| s.memory, 4 << 20);
    grows("KiB of the builder's peak memory", |s| s.builder_kib, 8 << 10);
    let points: Vec<Vec<u64>> = disk
        .lines()
        .map(|line| line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect())
        .collect();
    if let (Some(first), Some(last)) = (points.first(), points.last()) {
        let names = [("KiB", 1024), ("files", 20), ("entries of tmp and trash", 0)];
        for ((name, slack), (before, after)) in names.into_iter().zip(first.iter().zip(last)) {
            // An empty directory keeps the size that it had; a build that is kept is ten times the slack.
            if *after > before + slack {
                problems.push(format!("{name} of the emptied store grow from {before} to {after}"));
            }
        }
    }
    if end.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count != "0")) {
        problems.push("the kernel ended processes for want of memory".to_owned());
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_is_a_problem() {
        let sample = Sample { processes: 3, descriptors: 4, memory: 1 << 20, builder_kib: 60 << 10, litter: 2 };
        let mut samples = vec![sample; 20];
        let disk = "1 100 50 0\n10 100 50 0\n20 105 50 0\n";
        assert_eq!(problems(&samples, disk, "oom_kill 0\n", &[]), Vec::<String>::new());
        samples[19].processes = 4;
        samples[18].memory = 20 << 20;
        let found = problems(&samples, "1 100 50 0\n20 2000 50 90\n", "oom_kill 2\n", &["/x: new".to_owned()]);
        assert_eq!(found.len(), 6, "{found:?}");
    }
}
