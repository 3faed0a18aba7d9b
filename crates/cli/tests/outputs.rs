//! What a build writes: each kind of output, read by programs that nobody here wrote; and sources that need a real
//! repository or a real agent.
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use testkit::{Image, Registry, compare};

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new(dockerfile: &str) -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(place.path("context")).unwrap();
        fs::write(place.path("context/Dockerfile"), dockerfile).unwrap();
        fs::write(place.path("context/hello"), "hello\n").unwrap();
        fs::copy("/bin/busybox", place.path("context/busybox")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, words: &str) -> Command {
        let words = words.replace("DIR", self.dir.path().to_str().unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_cooperage"));
        command.args(["build", "--progress", "plain", "--root"]).arg(self.path("store"));
        command.args(words.split_whitespace()).arg(self.path("context"));
        command.env_remove("SSH_AUTH_SOCK").env("HOME", self.dir.path());
        command
    }

    fn build(&self, words: &str) -> Vec<u8> {
        let output = self.command(words).output().unwrap();
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}

fn run(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap();
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

const SMALL: &str = "FROM scratch\nCOPY busybox /bin/sh\nCOPY --chown=5:6 hello /etc/hello\nRUN cd /etc && exec 3>made\nENV A=b\nCMD [\"sh\"]\n";

fn ready(test: &str) -> bool {
    testkit::available(test, testkit::REGISTRY_TOOLS)
}

#[test]
fn archives_and_layouts_are_one_image() {
    if !ready("archives_and_layouts_are_one_image") {
        return;
    }
    let place = Place::new(SMALL);
    place.build(
        "-t localhost/app:1 -o type=oci,dest=DIR/oci.tar -o type=oci,dest=DIR/layout,tar=false -o type=docker,dest=DIR/docker.tar \
         --metadata-file DIR/metadata.json --iidfile DIR/iid",
    );
    let images: Vec<Image> = [
        format!("oci-archive:{}", text(&place.path("oci.tar"))),
        format!("oci:{}:1", text(&place.path("layout"))),
        format!("docker-archive:{}:localhost/app:1", text(&place.path("docker.tar"))),
    ]
    .iter()
    .map(|name| Image::from_skopeo(name, &[]).unwrap_or_else(|e| panic!("{name}: {e}")))
    .collect();
    for image in &images[1..] {
        assert!(compare(&images[0], image).unwrap().is_empty());
    }
    let metadata: Value = serde_json::from_slice(&fs::read(place.path("metadata.json")).unwrap()).unwrap();
    let index: Value = serde_json::from_slice(&fs::read(place.path("layout/index.json")).unwrap()).unwrap();
    let digest = metadata["containerimage.digest"].as_str().unwrap();
    assert!(digest.starts_with("sha256:"));
    assert_eq!(metadata["image.name"], "localhost/app:1");
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
    assert!(fs::read_to_string(place.path("iid")).unwrap().starts_with("sha256:"));
}

#[test]
fn compressions_annotations_and_types() {
    if !ready("compressions_annotations_and_types") {
        return;
    }
    let place = Place::new(SMALL);
    for (word, suffix) in [("gzip", "tar+gzip"), ("zstd", "tar+zstd"), ("uncompressed", "tar")] {
        let words = format!(
            "-o type=oci,dest=DIR/{word},tar=false,compression={word} --annotation manifest:org.example.one=two"
        );
        place.build(&words);
        let root = place.path(word);
        let manifest = run("skopeo", &["inspect", "--raw", &format!("oci:{}", text(&root))]);
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        assert_eq!(manifest["annotations"]["org.example.one"], "two");
        for layer in manifest["layers"].as_array().unwrap() {
            let kind = layer["mediaType"].as_str().unwrap();
            assert_eq!(kind, format!("application/vnd.oci.image.layer.v1.{suffix}"));
        }
    }
    let docker = place.path("docker");
    place.build("-o type=oci,dest=DIR/docker,tar=false,oci-mediatypes=false");
    let manifest: Value =
        serde_json::from_str(&run("skopeo", &["inspect", "--raw", &format!("oci:{}", text(&docker))])).unwrap();
    assert_eq!(manifest["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
}

#[test]
fn files_as_directory_and_tar() {
    let place = Place::new(SMALL);
    place.build("-o DIR/files");
    assert_eq!(fs::read_to_string(place.path("files/etc/hello")).unwrap(), "hello\n");
    let tar = place.build("-o type=tar,dest=-");
    fs::write(place.path("files.tar"), tar).unwrap();
    let list = run("tar", &["--numeric-owner", "-tvf", text(&place.path("files.tar"))]);
    assert!(list.lines().any(|l| l.contains("5/6") && l.ends_with("etc/hello")), "{list}");
}

#[test]
fn several_names_are_pushed_and_indexes_hold_every_platform() {
    if !ready("several_names_are_pushed_and_indexes_hold_every_platform") {
        return;
    }
    let registry = Registry::start().unwrap();
    let place = Place::new("FROM scratch\nARG TARGETARCH\nCOPY hello /$TARGETARCH\n");
    let (one, two) = (registry.reference("app:1"), registry.reference("other/app:2"));
    place.build(&format!("-t {one} -t {two} --platform linux/amd64,linux/arm64 --push"));
    for name in [&one, &two] {
        let index = run("skopeo", &["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]);
        let index: Value = serde_json::from_str(&index).unwrap();
        let platforms: Vec<&str> = index["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m["platform"]["architecture"].as_str().unwrap())
            .collect();
        assert_eq!(platforms, ["amd64", "arm64"]);
    }
    place.build("--platform linux/amd64,linux/arm64 -o DIR/split");
    assert!(place.path("split/linux_amd64/amd64").is_file() && place.path("split/linux_arm64/arm64").is_file());
}

/// A repository behind the dumb HTTP protocol (any server of files will do), with one commit of [`COMMITTED`]: the
/// server and the commit.
fn served(place: &Place, files: &[(&str, &str)]) -> (Server, String) {
    let repository = place.path("repository");
    fs::create_dir(&repository).unwrap();
    let git = |words: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-C", text(&repository), "-c", "user.name=a", "-c", "user.email=a@example.org"]).args(words);
        git.env("GIT_COMMITTER_DATE", format!("{COMMITTED} +0000"));
        let output = git.output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    git(&["init", "--quiet", "--bare", "served.git"]);
    git(&["init", "--quiet", "--initial-branch=main", "."]);
    for (name, content) in files {
        fs::write(repository.join(name), content).unwrap();
        git(&["add", name]);
    }
    git(&["commit", "--quiet", "-m", "one"]);
    git(&["push", "--quiet", "served.git", "main"]);
    run("git", &["-C", text(&repository.join("served.git")), "update-server-info"]);
    (testkit_http(&repository), git(&["rev-parse", "HEAD"]).trim().to_owned())
}

const COMMITTED: i64 = 1_234_567_890;

#[test]
fn epochs_come_from_dockerfiles_and_sources() {
    use std::os::unix::fs::MetadataExt;
    const SHOW: &str = "FROM scratch\nARG SOURCE_DATE_EPOCH\nCOPY <<E /epoch\n${SOURCE_DATE_EPOCH}\nE\n";
    let place = Place::new("");
    let own = format!("ARG SOURCE_DATE_EPOCH=context\n{SHOW}");
    let (server, _) = served(&place, &[("file", "one\n"), ("Dockerfile", &own)]);
    let url = format!("http://{}/served.git", server.0);
    let epoch = |dockerfile: String, words: &str| {
        fs::write(place.path("context/Dockerfile"), dockerfile).unwrap();
        let _ = fs::remove_dir_all(place.path("files"));
        let output = place.command(&format!("-o DIR/files {words}")).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words}: {error}");
        let file = place.path("files/epoch");
        (fs::read_to_string(&file).unwrap().trim().to_owned(), fs::metadata(file).unwrap().mtime())
    };
    let is = |seconds: i64| (seconds.to_string(), seconds);
    let given = "--build-arg SOURCE_DATE_EPOCH=";
    let default = format!("ARG SOURCE_DATE_EPOCH=1600000000\n{SHOW}");
    assert_eq!(epoch(default.clone(), ""), is(1_600_000_000));
    assert_eq!(epoch(default.clone(), &format!("{given}1500000000")), is(1_500_000_000));
    let (value, time) = epoch(own, "");
    assert!(value.is_empty() && time > 1_700_000_000, "local files have no time of their own: {value} {time}");
    let stage = format!("ARG REF=main\nFROM scratch AS lib\nARG REF\nADD {url}#$REF /\n{SHOW}");
    assert_eq!(epoch(format!("ARG SOURCE_DATE_EPOCH=Lib\n{stage}"), ""), is(COMMITTED));
    assert_eq!(epoch(default, &format!("{given}named --build-context named={url}#main")), is(COMMITTED));

    // The context itself is the repository; and files of a repository have the commit's time unless asked otherwise.
    let remote = |words: &str, context: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cooperage"));
        command.args(["build", "--root"]).arg(place.path("store")).args(words.split(' ')).arg(context);
        let output = command.current_dir(place.dir.path()).env("HOME", place.dir.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    remote("-o remote", &format!("{url}#main"));
    assert_eq!(fs::read_to_string(place.path("remote/epoch")).unwrap(), format!("{COMMITTED}\n"));
    let add = format!("FROM scratch\nADD {url}#main /commit/\nADD {url}?ref=main&mtime=checkout /checkout/\n");
    fs::write(place.path("context/Dockerfile"), add).unwrap();
    place.build("-o DIR/times");
    assert_eq!(fs::metadata(place.path("times/commit/file")).unwrap().mtime(), COMMITTED);
    assert!(fs::metadata(place.path("times/checkout/file")).unwrap().mtime() > 1_700_000_000);

    let wrong = "ARG SOURCE_DATE_EPOCH=two\nFROM scratch AS two\nCOPY hello /\n";
    fs::write(place.path("context/Dockerfile"), wrong).unwrap();
    let output = place.command("-o DIR/wrong").output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("has no time for SOURCE_DATE_EPOCH") && error.contains("Dockerfile:3:1"), "{error}");
}

#[test]
fn a_destination_has_the_time_of_the_directory_that_was_copied() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::new(
        "FROM scratch AS base\nCOPY hello /there/\nFROM base\nCOPY tree /there\nCOPY tree /made/new/\nCOPY --from=base / /root\n",
    );
    fs::create_dir(place.path("context/tree")).unwrap();
    fs::write(place.path("context/tree/file"), "").unwrap();
    run("touch", &["-d", "@1000", text(&place.path("context/tree"))]);
    place.build("-o DIR/files");
    let time = |name: &str| fs::metadata(place.path(&format!("files/{name}"))).unwrap().mtime();
    assert_eq!((time("there"), time("made/new")), (1000, 1000));
    assert!(time("root") > 1000, "the root of a stage has no time");
    assert!(time("made") > 1000 && place.path("files/there/hello").is_file());
}

#[test]
fn variables_that_a_base_image_lacks_are_named() {
    if !ready("variables_that_a_base_image_lacks_are_named") {
        return;
    }
    let registry = Registry::start().unwrap();
    let place = Place::new("FROM scratch\nENV KNOWN=1\nCOPY hello /\n");
    let base = format!("{}/base", registry.host());
    place.build(&format!("--push -t {base}"));
    let uses = format!("FROM {base}\nENV A=$KNOWN B=$KNWON\n");
    let build = |dockerfile: &str| {
        fs::write(place.path("context/Dockerfile"), dockerfile).unwrap();
        let output = place.command("").output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, log) = build(&uses);
    let said = "UndefinedVar: Usage of undefined variable '$KNWON' (did you mean $KNOWN?) (line 2)";
    assert!(code == Some(0) && log.contains(said) && log.matches("UndefinedVar").count() == 1, "{log}");
    let (code, log) = build(&format!("# check=error=true\n{uses}"));
    assert!(code == Some(1) && log.contains("Dockerfile:3"), "{log}");
}

#[test]
fn limits_that_a_place_cannot_keep_are_named() {
    let place = Place::new(
        "FROM scratch\nCOPY busybox /bin/sh\nRUN --mount=type=tmpfs,target=/t,size=1m exec 3>/t/x\nRUN exec 3>/y\n",
    );
    let output = place.command("--isolation=intercept --shm-size=1m").output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    let said = |what: &str| log.matches(&format!("{what} is no limit in the isolation intercept")).count();
    assert_eq!((said("size= of a tmpfs mount"), said("--shm-size")), (1, 2), "{log}");
}

#[test]
fn repositories_keep_their_git_directory_and_are_checked() {
    let place = Place::new("");
    let (server, commit) = served(&place, &[("file", "one\n")]);
    let url = format!("http://{}/served.git#main", server.0);
    let dockerfile =
        format!("FROM scratch\nADD --keep-git-dir=true --checksum={commit} {url} /kept\nADD {url} /plain\n");
    fs::write(place.path("context/Dockerfile"), dockerfile).unwrap();
    place.build("-o DIR/files");
    assert!(place.path("files/kept/.git/HEAD").is_file());
    assert!(!place.path("files/plain/.git").exists());
    assert_eq!(fs::read_to_string(place.path("files/plain/file")).unwrap(), "one\n");
    let wrong = format!("FROM scratch\nADD --checksum={} {url} /x\n", "0".repeat(40));
    fs::write(place.path("context/Dockerfile"), wrong).unwrap();
    let output = place.command("-o DIR/wrong").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("Dockerfile:2") && error.contains(&commit[..12]), "{error}");
}

/// Python's file server, as long as the value lives.
struct Server(String, std::process::Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.1.kill();
        let _ = self.1.wait();
    }
}

fn testkit_http(dir: &Path) -> Server {
    use std::io::{BufRead, BufReader};
    let mut child = Command::new("python3")
        .args(["-u", "-c"])
        .arg("import http.server,functools,sys;h=functools.partial(http.server.SimpleHTTPRequestHandler,directory=sys.argv[1]);s=http.server.ThreadingHTTPServer(('127.0.0.1',0),h);print(s.server_address[1]);s.serve_forever()")
        .arg(dir)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    Server(format!("127.0.0.1:{}", line.trim()), child)
}

#[test]
fn an_agent_is_forwarded_and_its_keys_are_not() {
    if !testkit::available("an_agent_is_forwarded_and_its_keys_are_not", &[("ssh-agent", "openssh-client")]) {
        return;
    }
    let place = Place::new("");
    let socket = place.path("agent");
    let mut agent =
        Command::new("ssh-agent").args(["-D", "-a"]).arg(&socket).stdout(std::process::Stdio::null()).spawn().unwrap();
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", text(&place.path("key"))]);
    let add =
        |socket: &Path| Command::new("ssh-add").arg(place.path("key")).env("SSH_AUTH_SOCK", socket).output().unwrap();
    // The agent makes its socket in its own time.
    while !add(&socket).status.success() {
        assert!(agent.try_wait().unwrap().is_none(), "ssh-agent ended");
        std::thread::yield_now();
    }
    let dockerfile = "FROM scratch\nCOPY busybox /bin/sh\nRUN --mount=type=ssh,required=true test -S \"$SSH_AUTH_SOCK\" && exec 3>/seen\n";
    fs::write(place.path("context/Dockerfile"), dockerfile).unwrap();
    place.build(&format!("-o DIR/files --ssh default={}", text(&socket)));
    assert!(place.path("files/seen").is_file());
    assert!(!place.path("files/run").join("buildkit").exists());
    let missing = place.command("-o DIR/none --no-cache").output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("--ssh default"));
    // A step may ask which keys there are (11: 12 and their number), and may not throw them away (19: 5, a failure).
    let ask = r#"RUN --mount=type=ssh,uid=1000 perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0); connect(S, sockaddr_un($ENV{SSH_AUTH_SOCK})) or die "connect: $!"; for $t (11, 19, 11) { syswrite S, pack("NC", 1, $t); sysread S, $n, 4; sysread S, $b, unpack("N", $n); print join(" ", unpack("Cx3C", $b . "\0" x 5)), "\n" }' > /tmp/said"#;
    let base = testkit::bases::DEBIAN.layout().unwrap();
    fs::write(
        place.path("context/Dockerfile"),
        format!("FROM debian AS asks\nUSER 1000\n{ask}\nFROM scratch\nCOPY --from=asks /tmp/said /\n"),
    )
    .unwrap();
    let asks = |said: &str, isolation: &str, rest: &str| {
        let context = format!("debian=oci-layout://{}", text(&base));
        place.build(&format!(
            "-o DIR/{said} --no-cache --isolation={isolation} --build-context {context} --ssh default={rest}"
        ));
        assert_eq!(fs::read_to_string(place.path(said).join("said")).unwrap(), "12 1\n5 0\n12 1\n", "{isolation}");
    };
    if testkit::is_root() {
        asks("namespaces", "namespaces", text(&socket));
        asks("chroot", "plain-chroot", text(&socket));
    }
    asks("intercept", "intercept", text(&socket));
    agent.kill().unwrap();
    agent.wait().unwrap();

    // A key file, though others may read it; and what is no key.
    let key = place.path("key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    asks("from-a-key", "auto", text(&key));
    let refused = |path: &Path| {
        let output = place.command(&format!("-o DIR/none --no-cache --ssh default={}", text(path))).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    fs::write(place.path("context/Dockerfile"), dockerfile).unwrap();
    assert!(refused(&place.path("key.pub")).contains("key.pub is not taken"));
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "secret", "-f", text(&place.path("locked"))]);
    let locked = refused(&place.path("locked"));
    assert!(locked.contains("locked is not taken") && locked.contains("without a passphrase"), "{locked}");
    assert!(refused(&socket).contains("nobody listens at"));
}
