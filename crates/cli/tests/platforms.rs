//! Images for other processors: several platforms in one build, cross-compiled and emulated; the emulator without any
//! privilege, in a restricted pod; and what is said where there is none.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use testkit::{Image, PodKind, PodSpec, Registry, bases, compare, pod};

const TOOLS: &[(&str, &str)] = &[
    ("busybox", "busybox-static"),
    ("docker-registry", "docker-registry"),
    ("mmdebstrap", "mmdebstrap"),
    ("qemu-aarch64-static", "qemu-user-static"),
    ("runc", "runc"),
    ("skopeo", "skopeo"),
    ("umoci", "umoci"),
];

fn registry() -> Registry {
    let registry = Registry::start().expect("docker-registry is installed");
    let layouts = [&bases::DEBIAN, &bases::DEBIAN_ARM64].map(|base| base.layout().expect("mmdebstrap is installed"));
    bases::push_index(&registry, "library/debian:latest", &layouts).expect("a registry");
    registry
}

fn content(image: &Image, architecture: &str, path: &str) -> String {
    let files = image.files().expect("layers");
    let facts = files.get(path).unwrap_or_else(|| panic!("{architecture}: no /{path}"));
    facts.text.clone().unwrap_or_default()
}

/// The image of an index for one architecture.
fn of(registry: &Registry, name: &str, architecture: &str) -> Image {
    let source = format!("docker://{}", registry.reference(name));
    Image::from_skopeo(&source, &["--src-tls-verify=false", "--override-arch", architecture]).expect("in the index")
}

/// An archive with one image, for arm64.
fn archive(file: &Path) -> Image {
    Image::from_skopeo(&format!("oci-archive:{}", file.display()), &["--override-arch=arm64"]).expect("an image")
}

const BOTH: &str = r#"FROM --platform=$BUILDPLATFORM debian AS native
ARG TARGETARCH
RUN uname -m > /built-on && echo "for $TARGETARCH" > /built-for
FROM debian
RUN apt-get update && apt-get install --yes --no-install-recommends tcc libc6-dev
COPY hello.c /
RUN uname -m > /machine && tcc -o /hello /hello.c && /hello > /said
RUN useradd --uid 7000 someone && setpriv --reuid=someone --clear-groups id -u > /someone
COPY --from=native /built-on /built-for /
CMD ["/hello"]
"#;

#[test]
fn two_platforms_in_one_build_and_both_run() {
    if !testkit::available("two_platforms_in_one_build_and_both_run", TOOLS) {
        return;
    }
    let registry = registry();
    let context = tempfile::tempdir().unwrap();
    fs::write(context.path().join("Dockerfile"), BOTH).unwrap();
    let program = "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n";
    fs::write(context.path().join("hello.c"), program).unwrap();
    let product = testkit::Cooperage::new(env!("CARGO_BIN_EXE_cooperage")).unwrap();
    let mut build = product.command(&["build", "--progress=plain", "--platform=linux/amd64,linux/arm64", "--push"]);
    build.args(["--host-ca", "--http-proxy", "--tag", &registry.reference("both:1")]);
    build.arg(format!("--registry-mirror=docker.io={}", registry.url())).arg(context.path());
    let output = build.output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    // BuildKit's names of steps.
    for step in ["[linux/amd64 stage-1 2/6] RUN apt-get", "[linux/arm64 stage-1 2/6] RUN apt-get"] {
        assert!(log.contains(step), "{step}: {log}");
    }

    let raw = testkit::run(
        Command::new("skopeo")
            .args(["inspect", "--raw", "--tls-verify=false"])
            .arg(format!("docker://{}", registry.reference("both:1"))),
    )
    .unwrap();
    let index: Value = serde_json::from_slice(&raw.stdout).unwrap();
    let platforms: Vec<&str> =
        index["manifests"].as_array().unwrap().iter().filter_map(|m| m["platform"]["architecture"].as_str()).collect();
    assert_eq!(platforms, ["amd64", "arm64"]);

    for (architecture, machine) in [("amd64", "x86_64"), ("arm64", "aarch64")] {
        let image = of(&registry, "both:1", architecture);
        let text = |path: &str| content(&image, architecture, path);
        assert_eq!(text("machine"), format!("{machine}\n"));
        assert_eq!(text("said"), "hello\n");
        assert_eq!(text("someone"), "7000\n");
        assert_eq!(text("built-on"), "x86_64\n");
        assert_eq!(text("built-for"), format!("for {architecture}\n"));
        assert_eq!(run(&registry, "both:1", architecture), "hello\n");
    }
}

/// Runs `/hello` of an image, unpacked by umoci, in a plain chroot: with qemu where the processor is another.
fn run(registry: &Registry, name: &str, architecture: &str) -> String {
    let work = tempfile::tempdir().unwrap();
    let path = |name: &str| work.path().join(name).display().to_string();
    let mut copy = Command::new("skopeo");
    copy.args(["--override-arch", architecture, "copy", "--quiet", "--insecure-policy", "--src-tls-verify=false"]);
    copy.arg(format!("docker://{}", registry.reference(name))).arg(format!("oci:{}:it", path("layout")));
    testkit::run(&mut copy).unwrap();
    testkit::run(Command::new("umoci").args(["unpack", "--image", &format!("{}:it", path("layout")), &path("bundle")]))
        .unwrap();
    let root = work.path().join("bundle/rootfs");
    let mut command = Command::new("chroot");
    command.arg(&root);
    if architecture != bases::architecture() {
        fs::copy(emulator(), root.join("qemu")).unwrap();
        command.arg("/qemu");
    }
    let output = testkit::run(command.arg("/hello")).unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn emulator() -> PathBuf {
    testkit::which("qemu-aarch64-static").expect("qemu-user-static is installed")
}

const OWNERS: &str = r#"FROM debian
RUN uname -m > /machine && readlink /proc/self/exe > /program
RUN mkdir -p /srv/data && chown 5:6 /srv/data && chmod 4755 /usr/bin/env && ln /usr/bin/env /srv/linked
RUN printf '#!/bin/sh -e\nid -u; echo "$0 $*"\n' > /script && chmod 755 /script && /script a b > /script.out
RUN useradd --create-home --uid 7000 someone && setpriv --reuid=someone --clear-groups sh -c '(echo one; echo two) | sort -r' > /someone
USER someone
RUN cd && sh -c 'kill -USR1 $$; echo not reached' || echo $? > ended; trap 'echo caught > trapped' USR1; kill -USR1 $$
"#;

#[test]
fn emulated_without_privileges_as_on_a_machine() {
    if !testkit::available("emulated_without_privileges_as_on_a_machine", TOOLS) || !testkit::is_root() {
        return;
    }
    let registry = registry();
    let shared = tempfile::Builder::new().prefix("platforms-").tempdir().unwrap();
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    open(shared.path());
    for (from, to) in [(Path::new(env!("CARGO_BIN_EXE_cooperage")), "cooperage"), (&emulator(), "qemu-aarch64-static")]
    {
        fs::copy(from, shared.path().join(to)).unwrap();
        open(&shared.path().join(to));
    }
    fs::create_dir(shared.path().join("context")).unwrap();
    open(&shared.path().join("context"));
    fs::write(shared.path().join("context/Dockerfile"), OWNERS).unwrap();
    let words = |at: &str, store: &str, out: &str| -> Vec<String> {
        vec![
            format!("{at}/cooperage"),
            "build".to_owned(),
            "--progress=plain".to_owned(),
            "--platform=linux/arm64".to_owned(),
            format!("--root={store}"),
            format!("--registry-mirror=docker.io={}", registry.url()),
            format!("--output=type=oci,dest={out}"),
            format!("{at}/context"),
        ]
    };
    let at = shared.path().display().to_string();
    let here = tempfile::tempdir().unwrap();
    let out = here.path().join("image.tar");
    let command = words(&at, &here.path().join("store").display().to_string(), &out.display().to_string());
    testkit::run(Command::new(&command[0]).args(&command[1..])).unwrap();
    let expected = archive(&out);
    assert_eq!(content(&expected, "arm64", "machine"), "aarch64\n");
    assert_eq!(content(&expected, "arm64", "program"), "/usr/bin/readlink\n");
    assert_eq!(content(&expected, "arm64", "script.out"), "0\n/script a b\n");
    assert_eq!(content(&expected, "arm64", "someone"), "two\none\n");
    assert_eq!(content(&expected, "arm64", "home/someone/trapped"), "caught\n");

    let rootfs = pod::rootfs(&bases::BUSYBOX).unwrap();
    let pod = PodSpec::new(PodKind::Restricted, rootfs)
        .bind_read_only(shared.path(), "/shared")
        .env("PATH", "/usr/bin:/bin:/shared")
        .current_dir("/workspace")
        .start()
        .unwrap();
    let command = words("/shared", "/home/user/store", "/workspace/image.tar");
    let output = pod.run(&command.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let image = archive(&pod.path("/workspace/image.tar"));
    let differences: Vec<String> = compare(&expected, &image).unwrap().iter().map(ToString::to_string).collect();
    assert!(differences.is_empty(), "{differences:#?}");
}

#[test]
fn without_an_emulator_the_error_says_what_helps() {
    let context = tempfile::tempdir().unwrap();
    fs::write(context.path().join("Dockerfile"), "FROM scratch\nCOPY Dockerfile /\nRUN [\"/program\"]\n").unwrap();
    let product = testkit::Cooperage::new(env!("CARGO_BIN_EXE_cooperage")).unwrap();
    let output = product
        .command(&["build", "--progress=quiet", "--platform=linux/mips64le"])
        .arg(context.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let place = context.path().display().to_string();
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stderr).replace(&place, "CONTEXT"), @r#"
    error: commands of an image for linux/mips64le cannot be run on linux/amd64: there is no emulator
     --> CONTEXT/Dockerfile:3:1
      |
    3 | RUN ["/program"]
      | ^^^^^^^^^^^^^^^^
      |
      = help: build on a machine of that architecture, or cross-compile: FROM --platform=$BUILDPLATFORM in the stages that RUN (no emulator for mips64le is known here)
    "#);
}
