//! External caches, against a real registry: what a build leaves there, and what the next one, in an empty store, makes
//! of it.
#[path = "caches/services.rs"]
mod services;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::{Image, Registry, bases};

/// Two stages and what is copied between them. The second file decides on the second stage alone.
const DOCKERFILE: &str = "FROM busybox AS one\nCOPY first /first\nRUN cat /first /first > /double\n\
     FROM busybox AS two\nCOPY second /second\nRUN cat /second > /third\n\
     FROM busybox\nWORKDIR /app\nCOPY --from=one /double /app/double\nCOPY --from=two /third /app/third\n";

struct Place {
    dir: tempfile::TempDir,
    registry: Registry,
}

/// What a build said.
struct Said(String);

impl Said {
    /// How many steps came from a cache.
    fn cached(&self) -> usize {
        self.0.lines().filter(|line| line.ends_with(" CACHED")).count()
    }

    fn warnings(&self) -> Vec<&str> {
        self.0.lines().filter(|line| line.starts_with("WARNING:")).collect()
    }
}

impl Place {
    fn new(test: &str) -> Option<Self> {
        if !testkit::available(test, testkit::REGISTRY_TOOLS) {
            return None;
        }
        let registry = Registry::start().unwrap();
        bases::BUSYBOX.push(&registry).unwrap();
        let place = Self { dir: tempfile::Builder::new().prefix("caches-").tempdir().unwrap(), registry };
        fs::create_dir(place.path("context")).unwrap();
        place.write("Dockerfile", DOCKERFILE);
        place.write("first", "1\n");
        place.write("second", "2\n");
        Some(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path("context").join(name), text).unwrap();
    }

    fn command(&self, store: &str, words: &str) -> Command {
        let words = words.replace("DIR", self.dir.path().to_str().unwrap()).replace("HOST", &self.registry.host());
        let mut command = Command::new(env!("CARGO_BIN_EXE_cooperage"));
        command
            .args(["build", "--progress", "plain", "--registry-mirror"])
            .arg(format!("docker.io={}", self.registry.url()));
        command.arg("--root").arg(self.path(store)).args(words.split_whitespace()).arg(self.path("context"));
        for name in ["ACTIONS_RUNTIME_TOKEN", "ACTIONS_RESULTS_URL", "AWS_REGION"] {
            command.env_remove(name);
        }
        command.env("HOME", self.dir.path());
        command
    }

    fn build(&self, store: &str, words: &str) -> Said {
        let output = self.command(store, words).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{words}: {text}");
        Said(text)
    }

    fn fail(&self, store: &str, words: &str) -> String {
        let output = self.command(store, words).output().unwrap();
        assert!(!output.status.success(), "{words} works");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Requests at the registry from now on, while `work` is done: those that hold `what`.
    fn requests(&self, what: &[&str], work: impl FnOnce()) -> Vec<String> {
        let before = self.registry.log().len();
        work();
        let log = self.registry.log();
        let lines = log[before..].lines().filter(|line| line.contains(" HTTP/1.1\" "));
        lines.filter(|line| what.iter().all(|what| line.contains(what))).map(str::to_owned).collect()
    }

    fn digest(&self, name: &str) -> String {
        let mut command = Command::new("skopeo");
        command.args(["inspect", "--tls-verify=false", "--format", "{{.Digest}}"]);
        let output = command.arg(format!("docker://{}", self.registry.reference(name))).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Overwrites the blobs of a manifest's layers in the registry's storage.
    fn spoil(&self, name: &str, bytes: &[u8]) {
        let raw = Command::new("skopeo")
            .args(["inspect", "--raw", "--tls-verify=false"])
            .arg(format!("docker://{}", self.registry.reference(name)))
            .output()
            .unwrap();
        let manifest: oci::Manifest = serde_json::from_slice(&raw.stdout).unwrap();
        for layer in manifest.layers {
            let hex = layer.digest.hex();
            let path =
                self.registry.storage().join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]));
            fs::write(path, bytes).unwrap();
        }
    }
}

fn layers(store: &Path) -> usize {
    fs::read_dir(store.join("layers")).map_or(0, Iterator::count)
}

#[test]
fn a_full_hit_from_a_registry_downloads_no_layer() {
    let Some(place) = Place::new("a_full_hit_from_a_registry_downloads_no_layer") else { return };
    let cache = "--cache-to type=registry,ref=HOST/cache:main,mode=max --cache-from HOST/cache:main";
    let first = place.build("one", &format!("{cache} --push -t HOST/app:1"));
    assert_eq!(first.cached(), 0);
    assert!(first.0.contains("WARNING: there is no cache in registry"), "{}", first.0);
    // What the image has is mounted into the cache: nothing of it is uploaded twice.
    let log = place.registry.log();
    let mounts = log.lines().filter(|l| l.contains("POST /v2/cache/blobs/uploads/?mount=") && l.contains("\" 201"));
    assert_eq!(mounts.count(), 3, "the three steps of the last stage\n{log}");

    let requests = place.requests(&[], || {
        let second = place.build("two", &format!("{cache} --push -t HOST/copy:1"));
        assert_eq!((second.cached(), second.warnings().len()), (3, 0), "{}", second.0);
    });
    let count = |what: &[&str]| requests.iter().filter(|line| what.iter().all(|what| line.contains(what))).count();
    assert_eq!(count(&["GET /v2/cache/"]), 1, "the manifest alone, whatever the number of steps: {requests:#?}");
    assert_eq!(count(&["GET /v2/cache/blobs"]), 0);
    assert_eq!(count(&["PUT /v2/cache/"]), 0, "the cache has not changed");
    assert_eq!(count(&["POST /v2/copy/blobs/uploads/?mount=", "from=cache"]), 3);
    assert_eq!(layers(&place.path("two")), 0);
    assert_eq!(place.digest("app:1"), place.digest("copy:1"), "the same image, to the last byte");

    // A change of one stage runs that stage and what is made from it; the other one is not even looked at.
    place.write("second", "two\n");
    let third = place.build("three", "--cache-from HOST/cache:main --push -t HOST/app:2");
    assert!(third.0.contains("[two 3/3] RUN") && !third.0.contains("[one 3/3] RUN"), "{}", third.0);
    assert_eq!(third.warnings(), Vec::<&str>::new());
    let files = Image::from_registry(&place.registry, "app:2").unwrap().files().unwrap();
    assert_eq!((files["app/third"].size, files["app/double"].size), (4, 4));
    // What was fetched for it is in the store now, with its records.
    let fourth = place.build("three", "-t again");
    assert_eq!(fourth.cached(), 3, "{}", fourth.0);
}

/// What lies in a base image is known from the cache: a copy onto it fetches none of its layers.
#[test]
fn a_copy_onto_a_base_needs_its_table_alone() {
    let Some(place) = Place::new("a_copy_onto_a_base_needs_its_table_alone") else { return };
    place.write("Dockerfile", "FROM busybox\nCOPY --chown=1:1 first /bin/first\n");
    let cache = "--cache-to type=registry,ref=HOST/cache:main --cache-from HOST/cache:main";
    place.build("one", &format!("{cache} --push -t HOST/app:1"));
    let downloads = |store: &str, words: &str| {
        place.write("first", store);
        let begin = ["GET /v2/library/busybox/blobs/", "GET /v2/app/blobs/"];
        let all = place.requests(&[], || drop(place.build(store, words)));
        all.into_iter().filter(|line| begin.iter().any(|begin| line.contains(begin))).collect::<Vec<_>>()
    };
    // Without the cache: config and layer. With it: the config.
    assert_eq!(downloads("two", "--push -t HOST/app:2").len(), 2);
    assert_eq!(downloads("three", &format!("{cache} --push -t HOST/app:3")).len(), 1);
    let files = |name: &str| Image::from_registry(&place.registry, name).unwrap().files().unwrap();
    let first = files("app:3")["bin/first"].clone();
    assert_eq!((first.size, first.uid), (5, 1));
    // The table goes along when the cache is written by a build that has nothing but the table.
    assert_eq!(downloads("four", &format!("{cache} --push -t HOST/app:4")).len(), 1);
    // It is kept in the store; the base itself can be had later.
    place.write("Dockerfile", "FROM busybox\nCOPY --chown=1:1 first /bin/first\nRUN test -s /bin/first\n");
    place.build("four", "-t app");
    // A table that is damaged costs the download.
    place.write("Dockerfile", "FROM busybox\nCOPY --chown=1:1 first /bin/first\n");
    place.spoil("cache:main", b"no table");
    place.write("first", "five");
    let said = place.build("five", "--cache-from HOST/cache:main --push -t HOST/app:5");
    assert!(
        said.warnings().iter().any(|line| line.contains("cannot use a table of contents of registry")),
        "{}",
        said.0
    );
    assert_eq!(files("app:5")["bin/first"].size, 4);
}

/// Builds keep the store within the limits of the configuration, and look at its size once an hour.
#[test]
fn limits_of_the_configuration_are_kept() {
    let Some(place) = Place::new("limits_of_the_configuration_are_kept") else { return };
    fs::write(place.path("cooperage.toml"), "[cache]\nkeep-duration = '7d'\nmax-used-space = '1b'\n").unwrap();
    place.build("one", "--config DIR/cooperage.toml --push -t HOST/app:1");
    assert_eq!(layers(&place.path("one")), 0);
    // The image that was built is whole.
    assert_eq!(Image::from_registry(&place.registry, "app:1").unwrap().layer_count(), 4);
    let again = place.build("one", "--config DIR/cooperage.toml");
    assert_eq!(again.cached(), 0, "{}", again.0);
    assert_eq!(place.build("one", "--config DIR/cooperage.toml").cached(), 3, "an hour has not passed");
    // Nothing that is young goes by age.
    fs::write(place.path("cooperage.toml"), "[cache]\nkeep-duration = '7d'\n").unwrap();
    fs::remove_file(place.path("one/pruned")).unwrap();
    assert_eq!(place.build("one", "--config DIR/cooperage.toml").cached(), 3);
    assert_eq!(place.build("one", "--config DIR/cooperage.toml").cached(), 3);
    fs::write(place.path("cooperage.toml"), "[cache]\nmax-used-space = 'much'\n").unwrap();
    let error = place.fail("one", "--config DIR/cooperage.toml").replace(place.dir.path().to_str().unwrap(), "DIR");
    insta::assert_snapshot!(error, @r#"error: DIR/cooperage.toml: cache.max-used-space: "much" is no size; expected a number with b, k, m, g or t, such as 64m"#);
}

#[test]
fn mode_min_has_the_last_stage_alone() {
    let Some(place) = Place::new("mode_min_has_the_last_stage_alone") else { return };
    place.build("one", "--cache-to type=registry,ref=HOST/cache:min,compression=zstd");
    place.write("second", "two\n");
    let second = place.build("two", "--cache-from type=registry,ref=HOST/cache:min -o type=oci,dest=DIR/oci.tar");
    assert!(second.0.contains("[two 3/3] RUN"), "{}", second.0);
    // WORKDIR and the first COPY: what is copied from stage `one` is a hit by definition, so the stage is not built.
    assert_eq!(second.cached(), 2, "{}", second.0);
    assert!(!second.0.contains("[one 3/3] RUN"), "{}", second.0);
    let image = Image::from_archive(&place.path("oci.tar")).unwrap();
    assert_eq!(image.files().unwrap()["app/double"].size, 4);
}

#[test]
fn caches_inside_images_and_directories() {
    let Some(place) = Place::new("caches_inside_images_and_directories") else { return };
    place.build("one", "--cache-to type=inline --cache-to type=local,dest=DIR/cache,mode=max --push -t HOST/app:1");
    let second = place.build("two", "--cache-from HOST/app:1 --cache-to type=inline --push -t HOST/app:2");
    assert_eq!((second.cached(), second.warnings().len()), (3, 0), "{}", second.0);
    assert_eq!(layers(&place.path("two")), 0);
    assert_eq!(place.digest("app:1"), place.digest("app:2"));
    // An image that is built from it does not inherit what its cache says.
    place.write("Dockerfile", &format!("FROM {}/app:1\nRUN echo 1 > /more\n", place.registry.host()));
    place.build("two", "--push -t HOST/child:1");
    let config = Command::new("skopeo")
        .args(["inspect", "--config", "--raw", "--tls-verify=false"])
        .arg(format!("docker://{}", place.registry.reference("child:1")))
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&config.stdout).contains("cooperage.cache"));
    place.write("Dockerfile", DOCKERFILE);

    let third = place.build("three", "--cache-from type=local,src=DIR/cache -o type=oci,dest=DIR/oci.tar");
    assert_eq!((third.cached(), third.warnings().len()), (3, 0), "{}", third.0);
    assert_eq!(Image::from_archive(&place.path("oci.tar")).unwrap().layer_count(), 4);
    // A second export under the same tag takes the blobs of the first away; other programs can read the layout.
    place.write("first", "one\n");
    place.write("second", "two\n");
    place.build("three", "--cache-to type=local,dest=DIR/cache");
    let blobs = fs::read_dir(place.path("cache/blobs/sha256")).unwrap().count();
    assert_eq!(blobs, 6, "manifest, document, three layers and the table of a base");
    let read = Command::new("skopeo")
        .args(["inspect", "--raw"])
        .arg(format!("oci:{}:latest", place.path("cache").display()))
        .output()
        .unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
}

#[test]
fn a_cache_that_cannot_be_used_costs_a_warning() {
    let Some(place) = Place::new("a_cache_that_cannot_be_used_costs_a_warning") else { return };
    let masked = |said: &Said| {
        let text = said.warnings().join("\n").replace(&place.registry.host(), "HOST");
        let text = text.replace(place.dir.path().to_str().unwrap(), "DIR");
        let mut parts = text.split("sha256:");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |all, part| all + "sha256:…" + part.trim_start_matches(|c: char| c.is_ascii_hexdigit()))
    };
    // Nobody listens there; an image without a cache; something that is no cache at all.
    let said = place.build(
        "one",
        "--cache-from type=registry,ref=127.0.0.1:1/a,registry.insecure=true --cache-from HOST/library/busybox",
    );
    insta::assert_snapshot!(masked(&said), @r#"
    WARNING: cannot use the cache in registry 127.0.0.1:1/a:latest: cannot pull the manifest of 127.0.0.1:1/a:latest: cannot connect to 127.0.0.1:1: the connection was refused; building without it
    WARNING: there is no cache in registry HOST/library/busybox:latest yet: building without it
    "#);

    // A newer version, and damage.
    place.build(
        "one",
        "--cache-to type=local,dest=DIR/cache,mode=max --cache-to type=registry,ref=HOST/cache:1,mode=max",
    );
    let layout = oci::layout::Layout::open(place.path("cache")).unwrap();
    let config = layout.write_blob(br#"{"version":9}"#).unwrap();
    let newer = oci::Descriptor::new("application/vnd.cooperage.cache.v9+json", config.clone(), 13);
    let same = oci::Descriptor::new("application/vnd.cooperage.cache.v1+json", config, 13);
    let mut said = Vec::new();
    for config in [newer, same] {
        let manifest = serde_json::to_vec(&oci::Manifest::new(config, Vec::new(), true)).unwrap();
        let digest = layout.write_blob(&manifest).unwrap();
        said.push(masked(&place.build("two", &format!("--cache-from type=local,src=DIR/cache,digest={digest}"))));
    }
    let index = place.path("cache/index.json");
    fs::write(&index, "{").unwrap();
    said.push(masked(&place.build("two", "--cache-from type=local,src=DIR/cache")));
    insta::assert_snapshot!(said.join("\n"), @r#"
    WARNING: cannot use the cache in directory DIR/cache: it was written by another version of this program (application/vnd.cooperage.cache.v9+json); building without it
    WARNING: cannot use the cache in directory DIR/cache: its format is 9, this program knows 1; building without it
    WARNING: cannot use the cache in directory DIR/cache: DIR/cache/index.json: EOF while parsing an object at line 1 column 1; building without it
    "#);

    // Layers that are not what the manifest says are noticed when they are needed, and the build starts again.
    for (store, bytes) in [("three", &b"no layer"[..]), ("four", b"")] {
        place.spoil("cache:1", bytes);
        place.write("second", &format!("in {store}\n"));
        let said = place.build(store, "--cache-from HOST/cache:1 -o type=local,dest=DIR/out");
        assert_eq!(said.warnings().len(), 1, "{}", said.0);
        assert!(said.0.contains("building again without it"), "{}", said.0);
        assert_eq!(fs::read_to_string(place.path("out/app/third")).unwrap(), format!("in {store}\n"));
    }
}

#[test]
fn an_export_that_fails_fails_the_build_unless_it_may() {
    let Some(place) = Place::new("an_export_that_fails_fails_the_build_unless_it_may") else { return };
    fs::write(place.path("file"), "").unwrap();
    let error = place.fail("one", "--cache-to type=local,dest=DIR/file/cache --push -t HOST/app:1");
    assert!(error.contains("error: cannot export the cache: cannot write"), "{error}");
    let said = place.build("one", "--cache-to type=local,dest=DIR/file/cache,ignore-error=true --push -t HOST/app:2");
    assert!(said.warnings()[0].starts_with("WARNING: the cache is not exported: cannot write"), "{}", said.0);
    assert_eq!(Image::from_registry(&place.registry, "app:2").unwrap().layer_count(), 4);
}

#[test]
fn the_cache_of_github_actions() {
    let Some(place) = Place::new("the_cache_of_github_actions") else { return };
    let service = services::Actions::start();
    let flags = format!("url_v2={},token={}", service.url, services::TOKEN);
    let cache = format!("--cache-to type=gha,mode=max,{flags} --cache-from type=gha,{flags}");
    place.build("one", &cache);
    let keys = service.keys();
    assert_eq!(keys.iter().filter(|key| key.contains("-blob-sha256:")).count(), 8, "{keys:?}");
    assert_eq!(keys.iter().filter(|key| key.contains("-index-")).count(), 1, "{keys:?}");

    let before = service.seen().len();
    let second = place.build("two", &cache);
    assert_eq!((second.cached(), second.warnings().len()), (3, 0), "{}", second.0);
    assert_eq!(service.seen().len() - before, 2, "one question and the records: nobody asks for the layers");
    // The document is the same: nothing was written.
    assert_eq!(service.keys(), keys);

    // A change is a new document, which the next build finds; what is there is not sent again.
    place.write("second", "two\n");
    place.build("two", &cache);
    assert_eq!(service.keys().len(), keys.len() + 4, "a document and three layers");
    let third = place.build("three", &format!("--cache-from type=gha,{flags}"));
    assert_eq!(third.cached(), 3, "{}", third.0);
    // Another scope is another cache.
    let other = place.build("four", &format!("--cache-from type=gha,scope=other,{flags}"));
    assert!(other.0.contains("there is no cache in GitHub Actions (scope other) yet"), "{}", other.0);

    service.spoil();
    let spoiled = place.build("five", &format!("--cache-from type=gha,{flags} -o type=oci,dest=DIR/oci.tar"));
    assert!(spoiled.warnings()[0].contains("building again without it"), "{}", spoiled.0);
    assert_eq!(Image::from_archive(&place.path("oci.tar")).unwrap().layer_count(), 4);
    let wrong = format!("--cache-from type=gha,url_v2={},token=wrong", service.url);
    let said = place.build("six", &wrong);
    assert!(said.warnings()[0].contains("401 Unauthorized: no"), "{}", said.0);
    assert!(!said.0.contains("secret"), "{}", said.0);
}

#[test]
fn a_bucket_of_an_s3_server() {
    let Some(place) = Place::new("a_bucket_of_an_s3_server") else { return };
    let Some(packages) = bases::python_packages("a_bucket_of_an_s3_server", "moto[s3,server]==5.2.5") else { return };
    let server = services::S3::start(&packages);
    let flags = format!(
        "bucket=bucket,region=us-east-1,endpoint_url={},access_key_id=id,secret_access_key=hidden,prefix=p/",
        server.url
    );
    let cache = format!("--cache-to type=s3,mode=max,name=main,{flags} --cache-from type=s3,name=main,{flags}");
    place.build("one", &cache);
    let listed = server.request("GET", "/bucket?list-type=2");
    assert_eq!(listed.matches("<Key>p/blobs/sha256:").count(), 8, "{listed}");
    assert_eq!(listed.matches("<Key>p/manifests/main</Key>").count(), 1, "{listed}");

    let before = server.log().len();
    let second = place.build("two", &format!("{cache} --push -t HOST/app:1"));
    assert_eq!((second.cached(), second.warnings().len()), (3, 0), "{}", second.0);
    let log = server.log()[before..].to_owned();
    assert!(!log.contains("\"PUT /bucket/p/blobs/"), "nothing has changed: {log}");
    // The image goes to a registry: its layers come out of the bucket.
    assert_eq!(log.matches("\"GET /bucket/p/blobs/").count(), 3, "{log}");
    assert_eq!(Image::from_registry(&place.registry, "app:1").unwrap().layer_count(), 4);

    // What is there is not sent again, but made young where it is old.
    let before = server.log().len();
    place.write("second", "two\n");
    place.build("two", &cache.replace("mode=max", "mode=max,touch_refresh=0s"));
    let log = server.log()[before..].to_owned();
    let blobs: std::collections::BTreeSet<&str> =
        log.lines().filter(|line| line.contains("\"PUT /bucket/p/blobs/")).collect();
    assert_eq!(blobs.len(), 8, "three layers are new, four and a table are copied to themselves: {log}");
    // The first name that exists counts.
    let third = place.build("three", &format!("--cache-from type=s3,name=feature;main,{flags}"));
    assert_eq!((third.cached(), third.warnings().len()), (3, 0), "{}", third.0);
    let missing =
        place.build("four", &format!("--cache-from type=s3,{}", flags.replace("bucket=bucket", "bucket=none")));
    assert!(missing.warnings()[0].contains("NoSuchBucket") || missing.0.contains("there is no cache"), "{}", missing.0);
    assert!(!missing.0.contains("hidden"));
}

#[test]
fn cache_mounts_go_along() {
    let Some(place) = Place::new("cache_mounts_go_along") else { return };
    let dockerfile = |command: &str| {
        format!(
            "FROM busybox\nCOPY first /first\nRUN --mount=type=cache,id=m,target=/m --mount=type=secret,id=s {command}\n"
        )
    };
    let fill = "cp -p /first /m/kept && ln -s kept /m/link && mkdir -m 0700 /m/d && grep -q hidden /run/secrets/s";
    place.write("Dockerfile", &dockerfile(fill));
    // Noise: what is the same all over compresses to nothing.
    let mut state = 1_u64;
    let next = |_: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + (state % 90) as u8)
    };
    let text: String = (0..12 << 20).map(next).collect();
    place.write("first", &text);
    fs::write(place.path("secret"), "hidden").unwrap();
    let cache =
        "--secret id=s,src=DIR/secret --cache-to type=registry,ref=HOST/cache,mounts=true --cache-from HOST/cache";
    place.build("one", cache);
    let uploads = |work: &dyn Fn()| place.requests(&["PUT /v2/cache/blobs/uploads/", "\" 201"], work).len();

    // In an empty store the mount is as the other build left it; what it adds is all that is sent.
    place.write("Dockerfile", &dockerfile("cmp /first /m/link && [ $(stat -c %a /m/d) = 700 ] && echo more > /m/more"));
    let sent = uploads(&|| drop(place.build("two", cache)));
    assert!((3..=5).contains(&sent), "the layer, the document, the index and a chunk or two: {sent}");
    place.write("Dockerfile", &dockerfile("grep -q more /m/more && ls / > /list"));
    place.build("three", "--secret id=s,src=DIR/secret --cache-from HOST/cache");

    // Damage costs the contents and a warning.
    place.spoil("cache", b"nothing");
    place.write("Dockerfile", &dockerfile("test -z \"$(ls /m)\""));
    let said = place.build("four", "--no-cache --secret id=s,src=DIR/secret --cache-from HOST/cache");
    assert!(said.0.contains("WARNING: cannot take a cache mount from registry"), "{}", said.0);
}
