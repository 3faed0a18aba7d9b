//! kaniko's command line, and the binary under kaniko's name.
use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use testkit::Image;

use super::support::{Log, Place, registry, run};

impl Place {
    fn executor(&self, words: &str) -> Log {
        let link = self.path("executor");
        if !link.exists() {
            symlink(env!("CARGO_BIN_EXE_cooperage"), &link).unwrap();
        }
        let mut command = Command::new(link);
        let expanded = words.replace("DIR/", &format!("{}/", self.path("").display()));
        command
            .args(expanded.split_whitespace())
            .arg("--root")
            .arg(self.store())
            .current_dir(self.path(""))
            .env_clear()
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null());
        run(&mut command)
    }
}

#[test]
fn kanikos_flags_build_and_push() {
    let base = registry().reference("library/busybox");
    let place = Place::new().file("sub/Dockerfile", format!("FROM {base}\nARG V\nRUN echo $V > /v\nCOPY f /f\n"));
    let place = place.file("sub/f", "1");
    let name = registry().reference("kaniko/app:1");
    let host = registry().url();
    let host = host.trim_start_matches("http://");
    let words = format!(
        "--context dir://DIR/context --context-sub-path=sub --dockerfile Dockerfile --destination={name} \
         --build-arg V=7 --label a=b --cache=true --cache-repo={} --insecure --insecure-registry={host} \
         --digest-file=DIR/digest --image-name-with-digest-file DIR/named --image-name-tag-with-digest-file DIR/tagged \
         --tar-path=DIR/image.tar --oci-layout-path DIR/layout --snapshot-mode=redo --use-new-run --compressed-caching=false",
        registry().reference("kaniko/cache"),
    );
    let log = place.executor(&words);
    assert_eq!(log.code, Some(0), "{}", log.text);
    assert!(log.text.contains("--snapshot-mode has no effect: what a step changed is found exactly"), "{}", log.text);
    let digest = fs::read_to_string(place.path("digest")).unwrap();
    assert!(digest.starts_with("sha256:") && digest.len() == 71, "{digest}");
    let repository = name.strip_suffix(":1").unwrap();
    assert_eq!(fs::read_to_string(place.path("named")).unwrap(), format!("{repository}@{digest}\n"));
    assert_eq!(fs::read_to_string(place.path("tagged")).unwrap(), format!("{name}@{digest}\n"));
    let image = Image::from_archive(&place.path("image.tar")).unwrap();
    assert_eq!(image.files().unwrap()["v"].text.as_deref(), Some("7\n"));
    assert!(place.path("layout/index.json").is_file());

    // A fresh pod: everything comes from the cache of the registry.
    let other = Place::new().file("sub/Dockerfile", format!("FROM {base}\nARG V\nRUN echo $V > /v\nCOPY f /f\n"));
    let other = other.file("sub/f", "1");
    let log = other.executor(&words);
    assert_eq!(log.code, Some(0), "{}", log.text);
    assert!(log.cached("RUN echo 7"), "{}", log.text);
    assert_eq!(fs::read_to_string(other.path("digest")).unwrap(), digest);
}

#[test]
fn archives_are_contexts_and_reproducible_is() {
    let place = Place::new().file("Dockerfile", "FROM scratch\nCOPY f /f\n").file("f", "1");
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(place.context()).arg("-czf").arg(place.path("c.tar.gz")).arg(".");
    assert!(tar.status().unwrap().success());
    let build = |file: &str| {
        let log = place.executor(&format!(
            "-c tar://DIR/c.tar.gz --no-push --reproducible --tar-path DIR/{file} --digest-file DIR/{file}.digest"
        ));
        assert_eq!(log.code, Some(0), "{}", log.text);
        fs::read_to_string(place.path(&format!("{file}.digest"))).unwrap()
    };
    let first = build("one.tar");
    fs::remove_dir_all(place.store()).unwrap();
    assert_eq!(build("two.tar"), first);
    let files = Image::from_archive(&place.path("one.tar")).unwrap().files().unwrap();
    assert_eq!(files["f"].text.as_deref(), Some("1"));
}

#[test]
fn what_cannot_be_done_is_refused() {
    let place = Place::new().file("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let mut out = String::new();
    for words in [
        "",
        "--single-snapshot --no-push",
        "--context s3://bucket/context.tar.gz --no-push",
        "--context gs://bucket/context.tar.gz --no-push",
        "--context svn://host/x --no-push",
        "--context tar://nothing.tar --no-push",
        "--registry-map a=b --no-push",
        "--registry-client-cert a=b --no-push",
        "--no-push --digest-file d --image-name-with-digest-file n",
        "--no-push --cache",
        "--no-push --verbosity=loud",
        "--no-push --snapshot-mod=full",
    ] {
        let log = place.executor(&format!("--context DIR/context {words}"));
        assert_eq!(log.code, Some(2), "{words}: {}", log.text);
        out.push_str(&format!("{words}\n{}\n", log.text.trim_end()));
    }
    insta::assert_snapshot!(out, @r"
    error: nothing says where to push to
      hint: give --destination IMAGE, or --no-push
    --single-snapshot --no-push
    error: --single-snapshot is not supported: every step has its layer
      hint: end the Dockerfile with FROM scratch and COPY --from=STAGE / /, which gives one layer
    --context s3://bucket/context.tar.gz --no-push
    error: --context s3://bucket/context.tar.gz: contexts are not fetched from buckets
      hint: fetch the archive before and give --context tar://FILE, or give a presigned https:// URL
    --context gs://bucket/context.tar.gz --no-push
    error: --context gs://bucket/context.tar.gz: contexts are not fetched from buckets
      hint: fetch the archive before and give --context tar://FILE, or give a presigned https:// URL
    --context svn://host/x --no-push
    error: --context svn://host/x: there is no kind of context svn://
      hint: known are dir://, tar://, git:// and https://
    --context tar://nothing.tar --no-push
    error: --context tar://nothing.tar: there is no such file
    --registry-map a=b --no-push
    error: --registry-map is not supported in kaniko's notation
      hint: use cooperage build --registry-mirror REGISTRY=MIRROR
    --registry-client-cert a=b --no-push
    error: --registry-client-cert is not supported: there are no client certificates
      hint: log in with a password or a token: cooperage login REGISTRY
    --no-push --digest-file d --image-name-with-digest-file n
    error: --image-name-with-digest-file needs a name
      hint: give --destination IMAGE
    --no-push --cache
    error: nothing says where the cache is
      hint: give --cache-repo REPOSITORY
    --no-push --verbosity=loud
    error: --verbosity loud: there is no such level
      hint: known are panic, fatal, error, warn, info, debug, trace
    --no-push --snapshot-mod=full
    error: unexpected argument '--snapshot-mod' found

      tip: a similar argument exists: '--snapshot-mode'

    Usage: executor executor --context <CONTEXT> --no-push[=<BOOL>]

    For more information, try '--help'.
    ");
}

/// A page for every command.
#[test]
fn manual_pages() {
    let place = Place::new();
    let man = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_cooperage")).arg("man").args(words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(man(&[]).contains(".TH cooperage 1"));
    let dir = place.path("man/man1");
    man(&[dir.to_str().unwrap()]);
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(read("cooperage.1").contains("cooperage\\-build(1)"));
    assert!(read("cooperage-build.1").contains("\\-\\-build\\-arg"));
    assert!(read("cooperage-cache-prune.1").contains("cooperage cache prune"), "{}", read("cooperage-cache-prune.1"));
    assert!(read("cooperage-executor.1").contains("\\-\\-destination"));
}
