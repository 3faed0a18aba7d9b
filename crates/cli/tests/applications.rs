//! Real applications (`examples/`): built, pushed to Debian's registry, pulled back by other tools, run, asked.
//!
//! Base images are made from Debian packages; npm, pip and apt-get run inside RUN steps and reach the
//! network, so these steps get the machine's certificates and proxy variables. Running the results
//! needs root; elsewhere only building is tested. In CI, not running them is a failure.
#![allow(clippy::print_stdout, reason = "what a test passes over is said")]

use std::collections::BTreeSet;

use testkit::bases::{self, Base};
use testkit::{BuildInput, Bundle, Cooperage, Image, Registry};

/// Builds an example on a base, pushes it, and gives the registry that holds it.
fn publish(example: &str, base: Option<&Base>, args: &[&str]) -> Registry {
    let registry = Registry::start().expect("docker-registry is installed");
    let base = base.map(|base| base.push(&registry).expect("mmdebstrap and skopeo are installed"));
    publish_to(registry, example, base, args)
}

/// Builds an example on a base that the registry has.
fn publish_to(registry: Registry, example: &str, base: Option<String>, args: &[&str]) -> Registry {
    let product = Cooperage::new(env!("CARGO_BIN_EXE_cooperage")).expect("a store");
    let product = product.with_options(&["--host-ca", "--http-proxy"]);
    let mut input =
        BuildInput { context: testkit::repository().join("examples").join(example), ..BuildInput::default() };
    if let Some(reference) = base {
        input.args.extend(["--build-arg".to_owned(), format!("BASE={reference}")]);
    }
    input.args.extend(args.iter().map(|&arg| arg.to_owned()));
    if let Err(error) = product.build_and_push(&input, &registry, example) {
        panic!("{example}: {error}");
    }
    registry
}

/// Unpacked and ready to run, where this user can.
fn bundle(registry: &Registry, name: &str, architecture: &str) -> Option<Bundle> {
    if testkit::is_root() {
        return Some(Bundle::pull_for(registry, name, architecture).expect("skopeo and umoci take the image"));
    }
    assert!(std::env::var_os("CI").is_none(), "CI must run this test as root");
    println!("{name}: not run, since that needs root");
    None
}

/// Nothing that the caller's network needs may be left in an image.
fn no_trace_of_the_host(registry: &Registry, name: &str, base: &Base) {
    let image = Image::from_registry(registry, name).expect("skopeo takes the image");
    let files = image.files().expect("layers apply");
    let base = Image::from_layout(&base.layout().expect("made"), None).expect("a layout");
    let certificates = "etc/ssl/certs/ca-certificates.crt";
    let before = base.files().expect("layers apply");
    assert_eq!(files.get(certificates), before.get(certificates), "the machine's certificates are in the image");
    let config = String::from_utf8(image.config.clone()).expect("JSON");
    for word in ["SSL_CERT", "NODE_EXTRA_CA", "_proxy", "_PROXY", "PIP_CERT"] {
        assert!(!config.contains(word), "{word} is in the image's config");
    }
}

/// amd64 and arm64 in one command: one index is pushed, and both answer. arm64 is built and run by qemu.
#[test]
fn node_service_for_two_platforms() {
    let emulator = [("qemu-aarch64-static", "qemu-user-static")];
    if !testkit::available("node_service_for_two_platforms", &[testkit::DEBIAN_TOOLS, &emulator].concat()) {
        return;
    }
    let registry = Registry::start().expect("docker-registry is installed");
    let layouts = [&bases::NODE, &bases::NODE_ARM64].map(|base| base.layout().expect("mmdebstrap is installed"));
    bases::push_index(&registry, "library/node:latest", &layouts).expect("a registry");
    let base = registry.reference("library/node:latest");
    let registry = publish_to(registry, "node-service", Some(base), &["--platform=linux/amd64,linux/arm64"]);
    no_trace_of_the_host(&registry, "node-service", &bases::NODE);
    let image = Image::from_registry(&registry, "node-service").expect("an image");
    let files = image.files().expect("layers apply");
    assert_eq!((files["app/data"].uid, files["app/data"].gid), (900, 900));
    assert!(files.contains_key("app/node_modules/express/package.json"));
    assert!(!files.contains_key("app/Dockerfile") && !files.contains_key("root/.npm"));
    let config = image.config_facts().expect("a config").config;
    assert_eq!(config["User"], "service");
    assert_eq!(config["Healthcheck"]["Test"][0], "CMD");
    for (architecture, node) in [("amd64", "x64"), ("arm64", "arm64")] {
        let Some(bundle) = bundle(&registry, "node-service", architecture) else { return };
        assert_eq!(bundle.run(&["node", "-p", "process.arch"]).expect("it runs").trim(), node);
        if architecture == bases::architecture() {
            packages_as_the_image_lists_them(&registry, "node-service", &bundle);
        }
        let container = bundle.serve().expect("it answers");
        let answer = container.get("/").expect("an answer");
        assert!(answer.contains(r#""message":"hello","user":900,"visits":1"#), "{architecture}: {answer}");
        container.exec(&["node", "healthcheck.js"]).expect("the health check passes");
    }
}

/// `cooperage sbom` against `npm ls` and `dpkg-query` inside of the image.
fn packages_as_the_image_lists_them(registry: &Registry, name: &str, bundle: &Bundle) {
    let product = Cooperage::new(env!("CARGO_BIN_EXE_cooperage")).expect("a store");
    let output = product.command(&["sbom", "--format=json", &registry.reference(name)]).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let ours = |kind: &str, place: &str, between: &str| -> BTreeSet<String> {
        let of = found["packages"].as_array().expect("a list").iter().filter(|p| p["type"] == kind);
        let lies = |l: &serde_json::Value| l.as_str().is_some_and(|l| l.starts_with(place));
        let of = of.filter(|p| p["locations"].as_array().is_some_and(|l| l.iter().any(lies)));
        let text = |p: &serde_json::Value, key: &str| p[key].as_str().unwrap_or_default().to_owned();
        of.map(|p| text(p, "name") + between + &text(p, "version")).collect()
    };
    // The first line is the service itself: `/app:NAME@VERSION`.
    let theirs = bundle.run(&["npm", "ls", "--all", "--parseable", "--long"]).expect("npm answers");
    let theirs = theirs.lines().filter(|line| line.starts_with("/app/node_modules/"));
    let theirs: BTreeSet<String> = theirs.filter_map(|line| Some(line.split(':').nth(1)?.to_owned())).collect();
    assert!(theirs.len() > 50, "{theirs:?}");
    assert_eq!(ours("npm", "app/node_modules/", "@"), theirs);
    let theirs = bundle.run(&["dpkg-query", "--show", "--showformat=${Package} ${Version}\\n"]).expect("dpkg answers");
    assert_eq!(ours("deb", "", " "), theirs.lines().map(str::to_owned).collect());
}

#[test]
fn python_service() {
    if !testkit::available("python_service", testkit::DEBIAN_TOOLS) {
        return;
    }
    let registry = publish("python-service", Some(&bases::PYTHON), &[]);
    no_trace_of_the_host(&registry, "python-service", &bases::PYTHON);
    if let Some(bundle) = bundle(&registry, "python-service", bases::architecture()) {
        let answer = bundle.serve().expect("it answers").get("/").expect("an answer");
        assert!(answer.contains(r#""message": "hello", "user": 1000"#), "{answer}");
    }
}

#[test]
fn c_in_scratch() {
    if !testkit::available("c_in_scratch", testkit::DEBIAN_TOOLS) {
        return;
    }
    let registry = publish("c-scratch", Some(&bases::GCC), &[]);
    let image = Image::from_registry(&registry, "c-scratch").expect("an image");
    let files = image.files().expect("layers apply");
    assert_eq!(files.keys().collect::<Vec<_>>(), ["hello"]);
    assert_eq!(files["hello"].mode, "0555");
    if let Some(bundle) = bundle(&registry, "c-scratch", bases::architecture()) {
        let answer = bundle.serve().expect("it answers").get("/").expect("an answer");
        assert_eq!(answer, r#"{"message":"hello","user":65534}"#);
    }
}

#[test]
fn debian_tools() {
    if !testkit::available("debian_tools", testkit::DEBIAN_TOOLS) {
        return;
    }
    let registry = publish("debian-tools", Some(&bases::DEBIAN), &[]);
    no_trace_of_the_host(&registry, "debian-tools", &bases::DEBIAN);
    let image = Image::from_registry(&registry, "debian-tools").expect("an image");
    let files = image.files().expect("layers apply");
    assert!(files.contains_key("usr/bin/git") && files.contains_key("usr/bin/curl"));
    assert!(!files.keys().any(|path| path.starts_with("var/lib/apt/lists/")));
    assert_eq!(files["home/developer/example/.git/HEAD"].text.as_deref(), Some("ref: refs/heads/main\n"));
    if let Some(bundle) = bundle(&registry, "debian-tools", bases::architecture()) {
        let printed = bundle.run(&[]).expect("it runs");
        assert!(printed.contains("git version") && printed.contains("curl ") && printed.contains("main"), "{printed}");
    }
}

#[test]
fn hello_out_of_nothing() {
    if !testkit::available("hello_out_of_nothing", testkit::DEBIAN_TOOLS) {
        return;
    }
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_cooperage"));
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::copy(binary, directory.path().join("cooperage")).expect("a copy of the binary");
    let context = format!("binary={}", directory.path().display());
    let registry = publish("hello", None, &["--build-context", &context]);
    let image = Image::from_registry(&registry, "hello").expect("an image");
    let files = image.files().expect("layers apply");
    let paths: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(paths, ["bin", "bin/cooperage", "share", "share/Dockerfile", "share/hello.txt", "share/inner.tar"]);
    if let Some(bundle) = bundle(&registry, "hello", bases::architecture()) {
        let printed = bundle.run(&["/bin/cooperage", "--version"]).expect("it runs");
        assert!(printed.starts_with("cooperage "), "{printed}");
    }
}
