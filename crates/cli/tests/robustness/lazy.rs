//! What a build asks of registries, and when: layers leave while later steps run, nothing is fetched that is not
//! needed. A server in front of the registry counts.
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use testkit::Image;

use super::hostile::{Entry, Evil, tar};
use super::server::{Answer, Request, Server};
use super::support::{Place, registry};

/// In front of the shared registry, with nothing spoilt.
fn counting() -> Server {
    Server::before(registry().host(), |_| Answer::Pass)
}

/// What was asked since `start`, by what it begins with.
fn asked(server: &Server, start: usize, begins: &str) -> Vec<String> {
    server.seen()[start..].iter().filter(|line| line.starts_with(begins)).cloned().collect()
}

fn is_upload(request: &Request) -> bool {
    matches!(request.method.as_str(), "PUT" | "PATCH") && request.path.contains("/blobs/uploads/")
}

/// A server in front of the registry that answers `/wait` when a blob has begun to come in.
fn waiting() -> Server {
    let began = Arc::new((Mutex::new(false), Condvar::new()));
    Server::before(registry().host(), move |request| {
        let (seen, changed) = &*began;
        if is_upload(request) {
            *seen.lock().unwrap() = true;
            changed.notify_all();
        }
        if !request.path.starts_with("/wait") {
            return Answer::Pass;
        }
        let limit = Duration::from_secs(60);
        let (_seen, timeout) = changed.wait_timeout_while(seen.lock().unwrap(), limit, |seen| !*seen).unwrap();
        let status = if timeout.timed_out() { "504 Gateway Timeout" } else { "200 OK" };
        Answer::Say(status, Vec::new(), b"go on\n".to_vec())
    })
}

#[test]
fn a_layer_is_uploaded_while_the_next_step_runs() {
    let server = waiting();
    let place = Place::dockerfile(&format!(
        "FROM busybox\nRUN echo one > /one\nRUN wget -q -O /two http://{}/wait\n",
        server.address
    ));
    place.build(&format!("--push -t {}/overlap:1", server.address));
    let image = Image::from_registry(registry(), "overlap:1").unwrap();
    let files = image.files().unwrap();
    assert_eq!((files["one"].text.as_deref(), files["two"].text.as_deref()), (Some("one\n"), Some("go on\n")));
    place.assert_sound();
    // Each blob once, the manifest and its name at the end.
    let (uploads, seen) = (asked(&server, 0, "PUT /v2/overlap/blobs/"), server.seen());
    assert!(seen.last().unwrap().starts_with("PUT /v2/overlap/manifests/"), "{seen:?}");
    let first = seen.iter().position(|line| line.starts_with("PUT /v2/overlap/manifests/")).unwrap();
    assert!(seen[first..].iter().all(|line| line.contains("/manifests/")), "{seen:?}");
    // Two layers and the config; the base's layer too, where it could not be mounted.
    assert!((3..=4).contains(&uploads.len()), "{uploads:?}");
}

#[test]
fn a_build_that_fails_leaves_blobs_but_no_manifest() {
    let server = waiting();
    let place = Place::dockerfile(&format!(
        "FROM busybox\nRUN echo one > /one\nRUN wget -q -O /two http://{}/wait && exit 7\n",
        server.address
    ));
    let log = place.attempt(&format!("--push -t {}/failing:1", server.address));
    assert_eq!(log.code, Some(1), "{}", log.text);
    assert!(!asked(&server, 0, "POST /v2/failing/blobs/uploads/").is_empty(), "{:?}", server.seen());
    assert_eq!(asked(&server, 0, "PUT /v2/failing/manifests/"), [""; 0]);
    place.assert_sound();
}

#[test]
fn a_registry_that_refuses_is_asked_once_while_steps_run() {
    let server = Server::before(registry().host(), |request| match request.method.as_str() {
        "POST" => Answer::Say("403 Forbidden", Vec::new(), Vec::new()),
        _ => Answer::Pass,
    });
    let place = Place::dockerfile("FROM busybox\nRUN echo 1 > /1\nRUN echo 2 > /2\nRUN echo 3 > /3\n");
    let log = place.attempt(&format!("--push -t {}/refused:1", server.address));
    assert_eq!(log.code, Some(1), "{}", log.text);
    assert!(log.text.contains("403"), "{}", log.text);
    // Once early, and at the end as many as are pushed at once.
    let asked = asked(&server, 0, "POST /v2/refused/blobs/uploads/");
    assert!(asked.len() <= 1 + 4, "{asked:?}");
}

#[test]
fn a_full_hit_downloads_nothing() {
    let server = counting();
    let place = Place::dockerfile("FROM busybox AS a\nRUN echo a > /a\nFROM busybox\nCOPY --from=a /a /a\nENV X=1\n");
    let words = format!("--registry-mirror=docker.io=http://{0} --push -t {0}/hit:1", server.address);
    place.build(&words);
    // The base comes from a mirror that is the target: its layer is mounted, not sent.
    assert_eq!(asked(&server, 0, "PUT /v2/hit/blobs/").len(), 2, "a layer and the config: {:?}", server.seen());
    let start = server.seen().len();
    let log = place.build(&words.replace("hit:1", "hit:2"));
    assert!(log.cached("COPY --from=a"), "{}", log.text);
    let gets = server.seen()[start..].iter().filter(|line| line.starts_with("GET") && line.contains("/blobs/")).count();
    assert_eq!(gets, 0, "{:?}", &server.seen()[start..]);
    assert_eq!(asked(&server, start, "POST"), [""; 0]);
}

#[test]
fn linked_copies_and_metadata_move_to_a_new_base_without_running_anything() {
    let server = counting();
    let image = |text: &[u8]| Evil::of(&[tar(&[Entry::file("marker", text)])]);
    let (old, new) = (image(b"old"), image(b"new"));
    let (old, new) = (old.serve(), new.serve());
    let place = Place::new().file("program", "program");
    let dockerfile = |base: &str| {
        format!("FROM {base}/app:1\nLABEL a=b\nENV MODE=1\nCOPY --link program /bin/program\nCMD [\"/bin/program\"]\n")
    };
    let words = |tag: &str| format!("--push -t {}/rebased:{tag}", server.address);
    place.write("Dockerfile", dockerfile(&old.address));
    place.build(&words("1"));
    let layers = |server: &Server| {
        server.seen().iter().filter(|line| line.starts_with("GET") && line.contains("/blobs/")).count()
    };
    // The config is read; the layer is handed on.
    assert_eq!(layers(&old), 2, "{:?}", old.seen());
    place.write("Dockerfile", dockerfile(&new.address));
    let (start, log) = (server.seen().len(), place.build(&words("2")));
    assert!(log.cached("COPY --link"), "{}", log.text);
    assert_eq!(layers(&new), 2, "{:?}", new.seen());
    assert_eq!(asked(&server, start, "PUT /v2/rebased/blobs/").len(), 2, "the base's layer and the config");
    let files = Image::from_registry(registry(), "rebased:2").unwrap().files().unwrap();
    assert_eq!(files["marker"].text.as_deref(), Some("new"));
    assert_eq!(files["bin/program"].text.as_deref(), Some("program"));
    // Streamed from one registry to the other: the store has no copy.
    let blobs = super::support::files(&place.store().join("blobs"));
    let gzip = blobs.iter().filter(|path| std::fs::read(path).unwrap().starts_with(&[0x1f, 0x8b])).count();
    assert_eq!(gzip, 1, "only the layer that the build made");
}

#[test]
fn what_follows_a_linked_copy_still_depends_on_the_base() {
    let place = Place::new().file("program", "program");
    let text = |env: &str, last: &str| {
        format!("FROM busybox AS base\nRUN echo {env} > /marker\nFROM base\nCOPY --link program /program\n{last}\n")
    };
    for last in ["RUN cat /marker > /seen", "COPY --from=base /marker /seen", "WORKDIR /deep/er"] {
        for env in ["old", "new"] {
            place.write("Dockerfile", text(env, last));
            let (image, log) = place.image("");
            let files = image.files().unwrap();
            assert_eq!(files["marker"].text, Some(format!("{env}\n")), "{last}: {}", log.text);
            if last != "WORKDIR /deep/er" {
                assert_eq!(files["seen"].text, Some(format!("{env}\n")), "{last}: {}", log.text);
            }
        }
    }
}

#[test]
fn eight_builds_at_once_download_a_layer_once() {
    for isolation in ["", "--isolation=plain-chroot"] {
        if !isolation.is_empty() && !testkit::is_root() {
            continue;
        }
        let server = counting();
        let text = format!("FROM {}/library/busybox\nARG N\nRUN echo $N > /n\n", server.address);
        let place = Place::dockerfile(&text);
        let start = |n: usize| {
            let mut command = place.command(&format!("{isolation} --build-arg N={n}"));
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap()
        };
        let children: Vec<_> = (0..8).map(start).collect();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let gets = asked(&server, 0, &format!("GET /v2/library/busybox/blobs/{}", busybox_layer()));
        assert_eq!(gets.len(), 1, "{isolation}: {:?}", server.seen());
        place.assert_sound();
    }
}

/// The digest of the one layer of busybox.
fn busybox_layer() -> String {
    let layout = testkit::bases::BUSYBOX.layout().unwrap();
    let read = |path: std::path::PathBuf| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let blob = |digest: &serde_json::Value| layout.join("blobs").join(digest.as_str().unwrap().replace(':', "/"));
    let index = read(layout.join("index.json"));
    let manifest = read(blob(&index["manifests"][0]["digest"]));
    manifest["layers"][0]["digest"].as_str().unwrap().to_owned()
}
