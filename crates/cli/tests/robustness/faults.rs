//! Registries that fail for a while, and what the user is told when they fail for good. (What each status means at
//! the first request is in `bad_input`; here it comes in the middle of things.)
use super::hostile::{Entry, Evil, tar};
use super::server::{Answer, Request, Server};
use super::support::{Place, Random, registry};

/// Some layers that are worth interrupting.
fn image() -> (Evil, Vec<u8>) {
    let mut noise = vec![0; 2 << 20];
    Random::new(7).fill(&mut noise);
    (Evil::of(&[tar(&[Entry::file("noise", &noise)]), tar(&[Entry::file("b", b"b")])]), noise)
}

/// Builds `FROM` a server that stands in front of one with the image, and gives the log.
fn pull(handler: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static) -> (String, Server, Place) {
    let (image, noise) = image();
    let upstream = image.serve();
    let server = Server::before(upstream.address, move |request| handler(request).unwrap_or(Answer::Pass));
    let sum = oci::Digest::sha256(&noise);
    let place = Place::dockerfile(&format!(
        "FROM {}/app:1\nCOPY --from=busybox /bin/busybox /bin/sh\nCOPY --from=busybox /bin/busybox /bin/sha256sum\n\
         RUN echo '{}  /noise' | sha256sum -c\n",
        server.address,
        sum.hex()
    ));
    let log = place.attempt("");
    place.assert_sound();
    let text = match log.code {
        Some(0) => "built".to_owned(),
        _ => log.error(),
    };
    (masked(&text, &server.address), server, place)
}

/// A push of a small image through a server in front of the shared registry.
fn push(handler: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static, name: &str) -> (String, Server) {
    let upstream = registry().host();
    let server = Server::before(upstream, move |request| handler(request).unwrap_or(Answer::Pass));
    let mut noise = vec![0; 3 << 20];
    Random::new(9).fill(&mut noise);
    let place = Place::dockerfile("FROM scratch\nCOPY noise /noise\n").file("noise", noise);
    let log = place.attempt(&format!("--push -t {}/{name}", server.address));
    place.assert_sound();
    let text = match log.code {
        Some(0) => {
            let image = testkit::Image::from_registry(registry(), name).expect("the image is there, whole");
            assert_eq!(image.files().unwrap()["noise"].size, 3 << 20);
            "pushed".to_owned()
        }
        _ => log.error(),
    };
    (masked(&text, &server.address), server)
}

/// Without what differs from run to run.
fn masked(text: &str, address: &str) -> String {
    let text = text.replace(address, "HOST");
    let mut parts = text.split("sha256:");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("sha256:…");
        out.push_str(part.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
    }
    out
}

fn blob(request: &Request) -> bool {
    request.path.contains("/blobs/sha256:") && request.method == "GET"
}

fn say(status: &'static str, headers: Vec<(&'static str, String)>) -> Option<Answer> {
    Some(Answer::Say(status, headers, Vec::new()))
}

#[test]
fn a_server_error_that_passes() {
    let (text, server, _) = pull(|request| (request.before == 0).then(|| say("503 Service Unavailable", vec![]))?);
    assert_eq!(text, "built");
    assert!(server.seen().iter().filter(|line| line.contains("/manifests/1")).count() > 1);
}

#[test]
fn too_many_requests_that_pass() {
    let wait = || say("429 Too Many Requests", vec![("Retry-After", "0".to_owned())]);
    let (text, ..) = pull(move |request| (request.before < 2).then(wait)?);
    assert_eq!(text, "built");
}

#[test]
fn a_connection_that_breaks_in_the_middle_of_every_blob() {
    let (text, server, _) = pull(|request| (blob(request) && request.before == 0).then_some(Answer::PassCut(1 << 20)));
    assert_eq!(text, "built");
    assert!(!server.seen().is_empty());
}

#[test]
fn a_connection_that_breaks_before_anything_comes() {
    let (text, ..) = pull(|request| (request.before == 0).then_some(Answer::PassCut(0)));
    assert_eq!(text, "built");
}

#[test]
fn a_registry_that_sends_byte_by_byte() {
    let (text, ..) = pull(|request| request.path.contains("/manifests/").then_some(Answer::PassDrip));
    assert_eq!(text, "built");
}

#[test]
fn a_connection_that_always_breaks() {
    let (text, ..) = pull(|request| blob(request).then_some(Answer::PassCut(300)));
    insta::assert_snapshot!(text, @r#"
    exit 1
    error: cannot pull blob sha256:… of HOST/app: the connection broke
     --> context/Dockerfile:2:1
      |
    2 | COPY --from=busybox /bin/busybox /bin/sh
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: check the network and any proxy on the way, then try again
    "#);
}

#[test]
fn a_registry_that_is_down() {
    let address = "127.0.0.1:1";
    let place = Place::dockerfile(&format!("FROM {address}/app:1\nCOPY Dockerfile /\n"));
    let log = place.attempt("");
    place.assert_sound();
    insta::assert_snapshot!(masked(&log.error(), address), @r#"
    exit 1
    error: HOST/app:1: cannot resolve HOST/app:1: cannot connect to HOST: the connection was refused
     --> context/Dockerfile:1:6
      |
    1 | FROM HOST/app:1
      |      ^^^^^^^^^^^^^^^^^
      |
      = help: check that the registry runs and that the port is right
    "#);
}

#[test]
fn credentials_that_expire_in_the_middle() {
    let (text, ..) = pull(|request| {
        blob(request).then(|| say("401 Unauthorized", vec![("WWW-Authenticate", "Basic realm=\"r\"".to_owned())]))?
    });
    insta::assert_snapshot!(text, @r#"
    exit 1
    error: HOST/app:1: cannot pull blob sha256:… of HOST/app: the registry answered 401 Unauthorized
     --> context/Dockerfile:1:6
      |
    1 | FROM HOST/app:1
      |      ^^^^^^^^^^^^^^^^^^^^^
      |
      = help: log in with `cooperage login HOST`
    "#);
}

#[test]
fn blobs_that_are_forbidden() {
    let (text, ..) = pull(|request| blob(request).then(|| say("403 Forbidden", vec![]))?);
    insta::assert_snapshot!(text, @r#"
    exit 1
    error: HOST/app:1: cannot pull blob sha256:… of HOST/app: the registry answered 403 Forbidden
     --> context/Dockerfile:1:6
      |
    1 | FROM HOST/app:1
      |      ^^^^^^^^^^^^^^^^^^^^^
      |
      = help: log in with `cooperage login HOST`
    "#);
}

#[test]
fn blobs_that_redirect_for_ever() {
    let (text, ..) = pull(|request| {
        let location = vec![("Location", request.path.clone())];
        blob(request).then(|| say("307 Temporary Redirect", location))?
    });
    insta::assert_snapshot!(text, @r#"
    exit 1
    error: HOST/app:1: cannot pull blob sha256:… of HOST/app: more than 10 redirects, the last one to http://HOST/v2/app/blobs/sha256:…
     --> context/Dockerfile:1:6
      |
    1 | FROM HOST/app:1
      |      ^^^^^^^^^^^^^^^^^^^^^
      |
      = help: the registry, or a proxy in front of it, is set up wrongly: tell its administrator
    "#);
}

#[test]
fn a_second_build_without_the_registry_goes_on_with_what_is_known() {
    let down = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = std::sync::Arc::clone(&down);
    let (text, _server, place) = pull(move |_| {
        flag.load(std::sync::atomic::Ordering::SeqCst)
            .then(|| say("503 Service Unavailable", vec![("Retry-After", "0".to_owned())]))?
    });
    assert_eq!(text, "built");
    down.store(true, std::sync::atomic::Ordering::SeqCst);
    let log = place.build("");
    assert!(log.text.contains("WARNING") && log.cached("RUN echo"), "{}", log.text);
    let log = place.attempt("--pull");
    assert_eq!(log.code, Some(1), "--pull insists:\n{}", log.text);
}

/// True the first time that a request of this kind comes: each upload has an address of its own.
fn first_of_its_kind() -> impl Fn(&Request) -> bool + Send + Sync {
    let kinds = std::sync::Mutex::new(std::collections::HashSet::new());
    move |request| {
        let kind = if request.path.contains("/manifests/") { "manifest" } else { "blob" };
        kinds.lock().unwrap().insert(format!("{} {kind}", request.method))
    }
}

#[test]
fn an_upload_that_breaks_once() {
    let first = first_of_its_kind();
    let cut = move |request: &Request| {
        let upload = request.method == "PUT" || request.method == "PATCH";
        (upload && first(request)).then_some(Answer::Hang(1000))
    };
    assert_eq!(push(cut, "broken-once").0, "pushed");
}

#[test]
fn an_upload_that_meets_an_error_once() {
    let first = first_of_its_kind();
    let fail = move |request: &Request| first(request).then(|| say("502 Bad Gateway", vec![]))?;
    assert_eq!(push(fail, "error-once").0, "pushed");
}

#[test]
fn a_push_without_permission() {
    let (text, _) = push(
        |request| {
            (request.method == "POST")
                .then(|| say("401 Unauthorized", vec![("WWW-Authenticate", "Basic realm=\"r\"".to_owned())]))?
        },
        "no-permission",
    );
    insta::assert_snapshot!(text, @r#"
    exit 1
    error: cannot push blob sha256:… to HOST/no-permission: the registry answered 401 Unauthorized
      hint: log in with `cooperage login HOST`
    "#);
}

#[test]
fn a_push_to_a_registry_that_is_full() {
    let (text, _) = push(
        |request| {
            (request.method == "PUT" && request.path.contains("/blobs/"))
                .then(|| say("413 Payload Too Large", vec![]))?
        },
        "full",
    );
    insta::assert_snapshot!(text, @r#"
    exit 1
    error: cannot push blob sha256:… to HOST/full: the registry answered 413 Payload Too Large
      hint: a proxy in front of the registry limits the size of a request; raise that limit
    "#);
}

#[test]
fn a_push_whose_manifest_is_refused() {
    let refuse = |request: &Request| {
        let body = br#"{"errors":[{"code":"MANIFEST_INVALID","message":"no such thing here"}]}"#.to_vec();
        (request.method == "PUT" && request.path.contains("/manifests/"))
            .then(|| Answer::Say("400 Bad Request", vec![], body))
    };
    insta::assert_snapshot!(push(refuse, "refused").0, @r#"
    exit 1
    error: cannot push the manifest of HOST/refused:latest: the registry answered 400 Bad Request: MANIFEST_INVALID: no such thing here
    "#);
}
