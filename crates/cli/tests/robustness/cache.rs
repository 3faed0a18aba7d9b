//! What must, and what must not, make a step run again. Most of these are defects that other builders had.
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, UNIX_EPOCH};

use testkit::{Files, Kind};

use super::support::{Log, Place, registry};

impl Place {
    /// Builds this Dockerfile and gives the files of the image.
    fn made(&self, dockerfile: &str) -> (Files, Log) {
        self.write("Dockerfile", dockerfile);
        let (image, log) = self.image("");
        (image.files().expect("layers apply"), log)
    }
}

fn text<'f>(files: &'f Files, path: &str) -> &'f str {
    files.get(path).and_then(|file| file.text.as_deref()).unwrap_or_else(|| panic!("no text in {path}: {files:?}"))
}

/// A COPY into a directory that a lower layer made leaves that directory as it is, also for the RUN after it.
#[test]
fn a_copy_leaves_its_parents_alone() {
    let place = Place::new().file("f", "1");
    let image = "FROM busybox\nRUN mkdir -m 1777 /t && mkdir -m 700 /t/u\nCOPY f /t/u/f\n";
    for after in ["", "RUN true\n", "RUN stat -c %a /t > /t/seen && test 1777 = $(cat /t/seen)\n"] {
        let files = place.made(&format!("{image}{after}")).0;
        assert_eq!(files["t"].mode, "1777", "/t after {after:?}");
        assert_eq!(files["t/u"].mode, "0700", "/t/u after {after:?}");
    }
}

/// Two Dockerfiles whose words are the same when they are joined.
#[test]
fn joined_words_do_not_collide() {
    let place = Place::new().file("a-b", "1").file("c", "2").file("a", "3").file("b-c", "4");
    for (first, second, path) in [
        (
            r#"RUN ["sh", "-c", "echo $# $* > /out", "x", "a b"]"#,
            r#"RUN ["sh", "-c", "echo $# $* > /out", "x", "a", "b"]"#,
            "out",
        ),
        ("ENV A=x-y B=z\nRUN echo $A > /out", "ENV A=x B=y-z\nRUN echo $A > /out", "out"),
        ("ENV A=\"1\\nB=2\"\nRUN echo $B > /out", "ENV A=1 B=2\nRUN echo $B > /out", "out"),
        ("COPY a-b c /d/", "COPY a b-c /d/", "d/a-b"),
        ("WORKDIR /a\nRUN pwd > /out", "WORKDIR /a/b\nRUN pwd > /out", "out"),
        ("USER app\nRUN id > /tmp/out", "USER app:1001\nRUN id > /tmp/out", "tmp/out"),
        ("RUN echo 'a'  'b' > /out", "RUN echo 'a  b' > /out", "out"),
        ("RUN <<E\necho 1 > /out\nE", "RUN <<E\necho 2 > /out\nE", "out"),
        ("SHELL [\"sh\", \"-c\"]\nRUN echo $- > /out", "SHELL [\"sh\", \"-ec\"]\nRUN echo $- > /out", "out"),
    ] {
        let one = place.made(&format!("FROM busybox\n{first}\n")).0;
        let two = place.made(&format!("FROM busybox\n{second}\n")).0;
        assert_ne!(one.get(path), two.get(path), "{second} took the result of {first}");
        let again = place.made(&format!("FROM busybox\n{first}\n")).0;
        assert_eq!(one.get(path), again.get(path), "{first} took the result of {second}");
    }
}

/// Trees whose names and contents are the same when they are joined.
#[test]
fn joined_trees_do_not_collide() {
    let trees: [&[(&str, &str)]; 8] = [
        &[("ab", "c")],
        &[("a", "bc")],
        &[("a", "b"), ("c", "")],
        &[("a", ""), ("b", "c")],
        &[("a/b", "c")],
        &[("a\nb", "c")],
        &[("a", "b\nc")],
        &[("a", "b"), ("c", ""), ("d", "")],
    ];
    let place = Place::new();
    let mut keep = Vec::new();
    for tree in trees {
        let _ = fs::remove_dir_all(place.context().join("tree"));
        fs::create_dir(place.context().join("tree")).unwrap();
        for (path, text) in tree {
            place.write(&format!("tree/{path}"), text);
        }
        let (files, log) = place.made("FROM scratch\nCOPY tree /tree\n");
        assert!(!log.cached("COPY tree"), "{tree:?} has the key of another tree:\n{}", log.text);
        for (path, wanted) in tree {
            assert_eq!(text(&files, &format!("tree/{path}")), *wanted);
        }
        keep.push(files);
    }
}

#[test]
fn arguments_and_variables_in_paths_are_in_the_key() {
    let place = Place::new().file("one", "1").file("two", "2");
    let dockerfile = "FROM busybox\nARG NAME\nENV TO=/to-$NAME\nCOPY $NAME $TO\nWORKDIR /work/$NAME\nRUN pwd > /pwd\n";
    place.write("Dockerfile", dockerfile);
    for (name, content) in [("one", "1"), ("two", "2"), ("one", "1")] {
        let files = place.image(&format!("--build-arg NAME={name}")).0.files().unwrap();
        assert_eq!(text(&files, &format!("to-{name}")), content);
        assert_eq!(text(&files, "pwd"), format!("/work/{name}\n"));
        assert!(files.contains_key(&format!("work/{name}")));
    }
}

#[test]
fn an_argument_counts_from_where_it_is_declared() {
    let place = Place::dockerfile("FROM busybox\nRUN echo before\nARG V\nRUN echo \"$V\" > /v\nCOPY Dockerfile /d\n");
    place.build("--build-arg V=1");
    let log = place.build("--build-arg V=2");
    assert!(log.cached("RUN echo before") && !log.cached("> /v"), "{}", log.text);
    assert!(place.build("--build-arg V=1").cached("> /v"));
    assert!(place.build("--build-arg V=1 --build-arg UNKNOWN=2").cached("> /v"), "an argument that nobody declares");
}

#[test]
fn deletions_come_back_from_the_cache() {
    let place = Place::new().file("dir/a", "a").file("dir/b", "b").file("more", "1");
    let start = "FROM busybox AS base\nCOPY dir /dir\nCOPY dir /whole\nRUN rm /dir/a /bin/vi && rm -r /whole && \
                 mkdir /whole && echo new > /whole/c\n";
    let gone = |files: &Files| {
        for path in ["dir/a", "bin/vi", "whole/a", "whole/b"] {
            assert!(!files.contains_key(path), "{path} is back");
        }
        assert_eq!((text(files, "dir/b"), text(files, "whole/c")), ("b", "new\n"));
    };
    gone(&place.made(start).0);
    let (files, log) = place.made(&format!("{start}RUN test ! -e /dir/a && test ! -e /whole/b && ls /whole > /ls\n"));
    assert!(log.cached("RUN rm /dir/a"));
    gone(&files);
    assert_eq!(text(&files, "ls"), "c\n");
    let (files, _) = place.made(&format!("{start}COPY more /dir/a/more\n"));
    assert_eq!(text(&files, "dir/a/more"), "1");
    let (files, log) = place.made(&format!("{start}FROM scratch\nCOPY --from=base /dir /whole /\n"));
    assert!(log.cached("RUN rm /dir/a"));
    assert!(!files.contains_key("a") && files.contains_key("b") && files.contains_key("c"), "{files:?}");
}

#[test]
fn ignore_files_count() {
    let place = Place::new().file("keep", "k").file("drop", "d").file("Dockerfile.dockerignore", "drop\nDockerfile*\n");
    let dockerfile = "FROM scratch\nCOPY . /\n";
    let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(names(&place.made(dockerfile).0), "keep");
    place.write("Dockerfile.dockerignore", "keep\nDockerfile*\n");
    assert_eq!(names(&place.made(dockerfile).0), "drop", "a changed ignore file");
    place.write("other.Dockerfile", dockerfile);
    place.write("other.Dockerfile.dockerignore", "*\n!keep\n");
    let other = place.image(&format!("-f {}", place.context().join("other.Dockerfile").display())).0;
    assert_eq!(names(&other.files().unwrap()), "keep", "the ignore file of another Dockerfile");
    fs::remove_file(place.context().join("Dockerfile.dockerignore")).unwrap();
    place.write(".dockerignore", "*\n!drop\n!keep\n");
    assert_eq!(names(&place.made(dockerfile).0), "drop keep", "the context's own ignore file");
    place.write("drop", "changed");
    let log = place.build(&format!("-f {}", place.context().join("other.Dockerfile").display()));
    assert!(log.cached("COPY . /"), "a file that is ignored was changed");
}

/// One change of the context at a time: COPY runs again, and the image has what is there now.
#[test]
fn every_change_of_a_file_counts() {
    let place = Place::new().file("tree/f", "text").file("tree/d/inner", "x");
    let tree = place.context().join("tree");
    symlink("f", tree.join("link")).unwrap();
    let time = UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    let old = |path: &str| {
        File::options()
            .write(true)
            .open(tree.join(path))
            .unwrap()
            .set_times(FileTimes::new().set_modified(time))
            .unwrap();
    };
    old("f");
    let dockerfile = "FROM scratch\nCOPY tree /tree\n";
    place.made(dockerfile);
    let check = |what: &str| -> Files {
        let (files, log) = place.made(dockerfile);
        assert!(!log.cached("COPY tree"), "{what} is not seen:\n{}", log.text);
        assert!(place.build("").cached("COPY tree"), "{what} is seen twice");
        files
    };
    fs::set_permissions(tree.join("f"), Permissions::from_mode(0o600)).unwrap();
    assert_eq!(check("a changed mode")["tree/f"].mode, "0600");
    place.write("tree/f", "TEXT");
    fs::set_permissions(tree.join("f"), Permissions::from_mode(0o600)).unwrap();
    old("f");
    assert_eq!(text(&check("content of the same length and time"), "tree/f"), "TEXT");
    fs::remove_file(tree.join("link")).unwrap();
    symlink("d", tree.join("link")).unwrap();
    assert_eq!(check("a link to elsewhere")["tree/link"].link.as_deref(), Some("d"));
    fs::remove_file(tree.join("f")).unwrap();
    fs::create_dir(tree.join("f")).unwrap();
    assert_eq!(check("a directory instead of a file")["tree/f"].kind, Kind::Dir);
    fs::remove_dir(tree.join("f")).unwrap();
    symlink("d", tree.join("f")).unwrap();
    assert_eq!(check("a link instead of a directory")["tree/f"].kind, Kind::Symlink);
    fs::remove_file(tree.join("f")).unwrap();
    assert!(!check("a file that is gone").contains_key("tree/f"));
    fs::create_dir(tree.join("empty")).unwrap();
    assert!(check("an empty directory").contains_key("tree/empty"));
    fs::rename(tree.join("d/inner"), tree.join("d/renamed")).unwrap();
    assert!(check("another name").contains_key("tree/d/renamed"));
    fs::set_permissions(tree.join("d"), Permissions::from_mode(0o700)).unwrap();
    assert_eq!(check("a directory's mode")["tree/d"].mode, "0700");
    // And what must not count.
    old("d/renamed");
    place.write("beside", "not copied");
    let log = place.build("");
    assert!(log.cached("COPY tree"), "a file's time, or a file beside, counts:\n{}", log.text);
}

#[test]
fn a_cache_mount_is_not_in_the_key() {
    let place =
        Place::dockerfile("FROM busybox\nRUN --mount=type=cache,target=/c echo . >> /c/log; wc -l < /c/log > /n\n");
    assert_eq!(text(&place.image("").0.files().unwrap(), "n"), "1\n");
    assert!(place.build("").cached("wc -l"), "what the step wrote to its cache mount counts");
    let (image, _) = place.image("--no-cache");
    let files = image.files().unwrap();
    assert_eq!(text(&files, "n"), "2\n", "the mount is kept between builds");
    assert!(!files.contains_key("c/log"), "the mount is in the image");
}

#[test]
fn values_of_secrets_and_proxies_are_not_in_the_key() {
    let place = Place::dockerfile(
        "FROM busybox\nRUN --mount=type=secret,id=token test -n \"$(cat /run/secrets/token)\" && echo used\n\
         RUN echo proxied $HTTP_PROXY $no_proxy\n",
    );
    let secret = |value: &str| {
        fs::write(place.path("secret"), value).unwrap();
        format!("--secret id=token,src={}", place.path("secret").display())
    };
    let log = place.build(&format!("{} --build-arg HTTP_PROXY=http://one:1", secret("one")));
    assert!(log.text.contains(" used") && log.text.contains(" proxied http://one:1"), "{}", log.text);
    let log = place.build(&format!(
        "{} --build-arg HTTP_PROXY=http://two:2 --build-arg no_proxy=localhost --build-arg https_proxy=http://three:3",
        secret("two")
    ));
    assert!(log.cached("echo used") && log.cached("proxied"), "{}", log.text);
    // Who declares a proxy's argument wants it to count (as the reference has it).
    place.write("Dockerfile", "FROM busybox\nARG HTTP_PROXY\nRUN echo declared $HTTP_PROXY\n");
    place.build("--build-arg HTTP_PROXY=http://one:1");
    assert!(!place.build("--build-arg HTTP_PROXY=http://two:2").cached("RUN echo declared"));
    let other = "FROM busybox\nRUN --mount=type=secret,id=other,target=/run/secrets/token \
                 test -n \"$(cat /run/secrets/token)\" && echo used\n";
    place.write("Dockerfile", other);
    let log = place.build(&secret("three").replace("token", "other"));
    assert!(!log.cached("echo used"), "another secret's name counts");
}

/// A stage that runs again with the same result does not make what copies from it run again.
#[test]
fn content_counts_and_not_history() {
    let place = Place::dockerfile(
        "FROM busybox AS made\nARG V\nRUN echo $V > /version && echo same > /out && echo $V > /tmp/noise\n\
         FROM busybox\nCOPY --from=made /out /out\nRUN cat /out > /copy\n\
         RUN --mount=from=made,source=/out,target=/m cat /m > /mounted\n",
    );
    place.build("--build-arg V=1");
    let log = place.build("--build-arg V=2");
    assert!(!log.cached("RUN echo 2") || !log.cached("> /version"), "{}", log.text);
    for step in ["COPY --from=made", "cat /out > /copy", "cat /m > /mounted"] {
        assert!(log.cached(step), "{step} runs again:\n{}", log.text);
    }
    let log = place.build("--build-arg V=3 --no-cache-filter made");
    assert!(log.cached("COPY --from=made") && log.cached("cat /out > /copy"), "{}", log.text);
    // The same files from elsewhere are the same, too.
    place.write("out", "same\n");
    place.write("Dockerfile", "FROM busybox\nCOPY out /out\nRUN cat /out > /copy\n");
    assert!(place.build("").cached("COPY out"), "a file of the context with the content of the stage's");
    // Another mode alone is another content.
    place.write(
        "Dockerfile",
        "FROM busybox AS made\nRUN echo same > /out && chmod 600 /out\nFROM busybox\nCOPY --from=made /out /out\n",
    );
    let (image, log) = place.image("");
    assert!(!log.cached("COPY --from=made"), "{}", log.text);
    assert_eq!(image.files().unwrap()["out"].mode, "0600");
}

#[test]
fn a_bind_mount_counts_with_what_it_shows() {
    let place = Place::new().file("src/a", "1").file("other", "x");
    let dockerfile = "FROM busybox\nRUN --mount=type=bind,source=src,target=/s,rw cat /s/a > /a && echo more >> /s/a\n";
    let (files, _) = place.made(dockerfile);
    assert_eq!(text(&files, "a"), "1");
    place.write("other", "y");
    assert!(place.build("").cached("cat /s/a"), "a file that is not mounted counts");
    place.write("src/a", "2");
    assert_eq!(text(&place.made(dockerfile).0, "a"), "2");
    assert_eq!(fs::read_to_string(place.context().join("src/a")).unwrap(), "2", "a step wrote to the context");
}

#[test]
fn a_base_image_that_moved_counts() {
    let place = Place::new();
    let name = registry().reference("moving:1");
    let user = Place::dockerfile(&format!("FROM {name}\nRUN cat /version > /copy\n"));
    for version in ["1", "2", "1"] {
        place.write("Dockerfile", format!("FROM busybox\nRUN echo {version} > /version\n"));
        place.build(&format!("--push -t {name}"));
        let (image, _) = user.image("");
        assert_eq!(text(&image.files().unwrap(), "copy"), format!("{version}\n"));
    }
}

#[test]
fn a_step_that_failed_is_not_cached() {
    let place = Place::dockerfile("FROM busybox\nRUN echo half > /half; exit 1\n");
    for _ in 0..2 {
        assert_eq!(place.attempt("").code, Some(1));
    }
    // The second time it goes well: nothing of the first is left.
    let flaky =
        "FROM busybox\nRUN --mount=type=cache,target=/c echo half >> /half; test -e /c/x || { touch /c/x; exit 1; }\n";
    place.write("Dockerfile", flaky);
    assert_eq!(place.attempt("").code, Some(1));
    let (files, log) = place.made(flaky);
    assert!(!log.cached("echo half"), "{}", log.text);
    assert_eq!(text(&files, "half"), "half\n");
}

#[test]
fn no_cache_runs_everything_and_its_results_are_used_later() {
    let place = Place::dockerfile(
        "FROM busybox AS a\nRUN cat /proc/sys/kernel/random/uuid > /id\nFROM busybox AS b\nCOPY --from=a /id /id\n",
    );
    let id = |words: &str| text(&place.image(words).0.files().unwrap(), "id").to_owned();
    let first = id("");
    assert_eq!(id(""), first);
    let second = id("--no-cache");
    assert_ne!(second, first, "--no-cache");
    assert_eq!(id(""), second, "the newer result counts");
    let third = id("--no-cache-filter a");
    assert_ne!(third, second, "--no-cache-filter");
    assert_eq!(id("--no-cache-filter b"), third);
}
