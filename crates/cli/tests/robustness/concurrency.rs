//! Several builds on one store, and builds of the same thing in different places.
use std::collections::BTreeSet;
use std::process::{Child, Stdio};

use super::support::{Place, assert_no_processes};

const DOCKERFILE: &str = "\
ARG WHICH=0
FROM busybox AS made
RUN --mount=type=cache,target=/cache echo line >> /cache/log && mkdir /made && echo made > /made/file
COPY files /made/files
FROM busybox
ARG WHICH
COPY --from=made /made /made
RUN echo $WHICH > /which && rm /bin/ash
WORKDIR /work
";

fn place() -> Place {
    Place::dockerfile(DOCKERFILE).file("files/a", "a").file("files/b", vec![7; 200_000])
}

/// All layers get the same times, whoever makes them first.
const SAME: &str = "--build-arg SOURCE_DATE_EPOCH=1700000000 -o type=image,rewrite-timestamp=true";

fn start(place: &Place, number: usize, words: &str) -> Child {
    let metadata = place.path(&format!("metadata-{number}.json"));
    let mut command = place.command(words);
    command.arg("--metadata-file").arg(metadata).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Waits for all, and gives their digests.
fn finish(place: &Place, children: Vec<Child>) -> Vec<String> {
    let finish = |(number, child): (usize, Child)| {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "build {number} fails:\n{}", String::from_utf8_lossy(&output.stderr));
        let text = std::fs::read(place.path(&format!("metadata-{number}.json"))).unwrap();
        let metadata: serde_json::Value = serde_json::from_slice(&text).unwrap();
        metadata["containerimage.digest"].as_str().unwrap().to_owned()
    };
    children.into_iter().enumerate().map(finish).collect()
}

#[test]
fn eight_builds_of_the_same_thing_at_once() {
    let place = place();
    for words in [SAME.to_owned(), format!("{SAME} --no-cache")] {
        let digests = finish(&place, (0..8).map(|n| start(&place, n, &words)).collect());
        assert_eq!(digests.iter().collect::<BTreeSet<_>>().len(), 1, "{words}: {digests:?}");
        place.assert_sound();
    }
    assert_no_processes(place.store().to_str().unwrap());
}

#[test]
fn eight_builds_of_different_things_at_once() {
    let place = place();
    let words = |n: usize| format!("{SAME} --build-arg WHICH={} -t which:{}", n % 4, n % 4);
    let digests = finish(&place, (0..8).map(|n| start(&place, n, &words(n))).collect());
    assert_eq!(digests[..4], digests[4..]);
    assert_eq!(digests.iter().collect::<BTreeSet<_>>().len(), 4, "{digests:?}");
    for (n, digest) in digests[..4].iter().enumerate() {
        assert_eq!(place.digest(&words(n)), *digest, "built again alone");
    }
    place.assert_sound();
}

#[test]
fn a_locked_cache_mount_has_one_user_at_a_time() {
    let place = Place::dockerfile(
        "FROM busybox\nARG N\nRUN --mount=type=cache,target=/c,sharing=locked \
         n=$(cat /c/n 2>/dev/null || echo 0); for i in 1 2 3 4 5; do ls -R /bin >/dev/null; done; echo $((n+1)) > /c/n\n",
    );
    let words = |n: usize| format!("--build-arg N={n}");
    finish(&place, (0..8).map(|n| start(&place, n, &words(n))).collect());
    place.write("Dockerfile", "FROM busybox\nRUN --mount=type=cache,target=/c cat /c/n > /n\n");
    let (image, _) = place.image("");
    assert_eq!(image.files().unwrap()["n"].text.as_deref(), Some("8\n"));
}

#[test]
fn two_places_make_the_same_image() {
    let (here, there) = (place(), place());
    let build = |place: &Place, zone: &str, umask: &str| {
        let command = place.command(&format!("{SAME} --no-cache"));
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "umask $1; shift; exec \"$@\"", "sh", umask]).arg(command.get_program());
        shell.args(command.get_args()).args(["--metadata-file", "metadata.json"]).current_dir(place.path(""));
        shell.env_clear().envs(command.get_envs().filter_map(|(n, v)| Some((n, v?)))).env("TZ", zone);
        let log = super::support::run(&mut shell);
        assert_eq!(log.code, Some(0), "{}", log.text);
        let text = std::fs::read(place.path("metadata.json")).unwrap();
        let metadata: serde_json::Value = serde_json::from_slice(&text).unwrap();
        metadata["containerimage.digest"].as_str().unwrap().to_owned()
    };
    let first = build(&here, "UTC", "022");
    assert_eq!(build(&there, "Pacific/Kiritimati", "077"), first, "another time zone and umask");
    assert_eq!(build(&there, "America/St_Johns", "000"), first, "again on the same store");
}
