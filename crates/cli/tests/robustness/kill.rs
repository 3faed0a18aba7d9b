//! `kill -9` at many moments of a build.
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use super::support::{Place, Random, assert_no_processes, registry};

const SEED: u64 = 20_261_121;
const MOMENTS: u64 = 50;

/// Several stages, COPY of files and of stages, RUN with processes beside it, a cache mount, a bind mount.
const DOCKERFILE: &str = "\
FROM busybox AS tools
RUN mkdir /tools && for n in 1 2 3 4 5 6 7 8; do head -c 100000 /dev/urandom > /tools/$n; echo made $n; done
FROM busybox AS left
COPY data /data
RUN --mount=type=cache,target=/cache sleep 1000 & for n in 1 2 3; do echo $n >> /cache/log; echo left $n; done; kill $!
FROM busybox AS right
RUN --mount=type=bind,source=data,target=/mnt,rw for f in /mnt/*; do rm $f; echo right $f; done; touch /right
FROM busybox AS whole
COPY --from=tools /tools /tools
COPY --from=left /data /data
COPY --from=right /right /right
WORKDIR /work
RUN rm /tools/1 && mkdir -m 0 /closed && echo last
FROM whole AS verify
RUN cd /data && sha256sum -c sums && test $(ls /tools | wc -l) = 7 && test -e /right && test -d /work
";

fn place() -> Place {
    let mut place = Place::dockerfile(DOCKERFILE);
    let mut bytes = vec![0; 300_000];
    let mut random = Random::new(SEED);
    let mut sums = String::new();
    for name in ["one", "two", "three"] {
        random.fill(&mut bytes);
        sums += &format!("{}  {name}\n", oci::Digest::sha256(&bytes).hex());
        place = place.file(&format!("data/{name}"), &bytes);
    }
    place.file("data/sums", sums)
}

/// Starts a build, reads `lines` of its progress, lets a little more happen, and kills it.
/// False where the build was over before that.
fn kill_after(place: &Place, words: &str, lines: u64, more: u64) -> bool {
    let mut child = place.command(words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut progress = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    for _ in 0..lines {
        line.clear();
        if progress.read_line(&mut line).unwrap() == 0 {
            break;
        }
    }
    for _ in 0..more {
        std::hint::black_box(std::fs::metadata(place.store()).is_ok());
    }
    child.kill().unwrap();
    let status = child.wait().unwrap();
    status.code().is_none()
}

#[test]
fn a_store_survives_kill_9_at_any_moment() {
    let mut random = Random::new(SEED);
    let mut place = place();
    let name = registry().reference("killed");
    let words = format!("--push -t {name}");
    let total = place.build(&words).text.lines().count() as u64;
    let (mut killed, mut round) = (0, 0);
    while killed < MOMENTS {
        round += 1;
        assert!(round <= 2 * MOMENTS, "only {killed} of {round} builds could be killed");
        // Now with nothing in the store, now with everything: what is found there is made anew beside it.
        let again = match random.below(3) {
            0 => "--no-cache ",
            _ => {
                place = self::place();
                ""
            }
        };
        let (lines, more) = (random.below(total + 1), random.below(4000));
        let was_killed = kill_after(&place, &format!("{again}{words}"), lines, more);
        killed += u64::from(was_killed);
        // The last stage looks at the files, whatever of the others was cached.
        let log = place.attempt(&format!("{words} --no-cache-filter verify"));
        let moment = format!("seed {SEED}, round {round}: after {lines} lines and {more} looks, {again}");
        assert!(log.code == Some(0), "{moment}: the next build fails:\n{}", log.text);
        // A process of the killed build may have died after the next one had opened the store: the use after that clears it.
        assert_no_processes(place.store().to_str().unwrap());
        place.open_store();
        place.assert_sound();
        assert_no_processes(place.store().to_str().unwrap());
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("robustness-"), "mounts are left:\n{mounts}");
}
