//! The command as scripts use it: exit codes, what goes to which stream, the files it writes.
//!
//! No build here runs a command, so these tests need no isolation.
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// A context with a Dockerfile, and a store beside it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("context")).unwrap();
        let place = Self(dir);
        place.write("Dockerfile", "FROM scratch AS base\nCOPY a /dir/a\nFROM base\nENV X=1\n");
        place.write("a", "content\n");
        place
    }

    fn context(&self) -> std::path::PathBuf {
        self.0.path().join("context")
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.context().join(name), text).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cooperage"));
        command.args(words).current_dir(self.context()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.0.path()).env("COOPERAGE_ROOT", self.0.path().join("store"));
        command.env("SOURCE_DATE_EPOCH", "1700000000").stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Standard output of a command that must succeed.
    fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn a_quiet_build_prints_the_id_that_it_writes() {
    let place = Place::new();
    let id = place.ok(&["build", "-q", "-t", "app:1", "--iidfile", "id", "--metadata-file", "meta", "."]);
    let id = id.trim();
    assert_eq!(read(place.context().join("id")), id);
    let meta = json(&read(place.context().join("meta")));
    assert_eq!(meta["containerimage.config.digest"], id);
    assert_eq!(meta["containerimage.descriptor"]["digest"], meta["containerimage.digest"]);
    assert_eq!(meta["image.name"], "docker.io/library/app:1");
    place.write("broken", "FROM scratch\nCOPY nope /\n");
    assert_eq!(place.run(&["build", "-q", "-f", "broken", "--iidfile", "id", "."]).status.code(), Some(1));
    assert!(!place.context().join("id").exists(), "the old ID is gone");
    let inspected = json(&place.ok(&["image", "inspect", "app:1"]));
    assert_eq!(inspected["manifest"]["config"]["digest"], id);
    assert_eq!(inspected["config"]["config"]["Env"][1], "X=1");
    let list = json(&place.ok(&["image", "ls", "--format", "json"]));
    assert_eq!(list[0]["name"], "docker.io/library/app:1");
}

#[test]
fn two_places_build_the_same_image() {
    let (one, other) = (Place::new(), Place::new());
    let args = ["build", "-q", "-o", "type=oci,dest=image.tar,rewrite-timestamp=true", "."];
    assert_eq!(one.ok(&args), other.ok(&args));
}

#[test]
fn an_archive_goes_to_standard_output_and_nothing_else_does() {
    let place = Place::new();
    let output = place.run(&["build", "-o", "-", "."]);
    assert!(output.status.success());
    let names: Vec<String> = tar_names(&output.stdout);
    assert!(names.iter().any(|name| name.trim_start_matches("./") == "dir/a"), "{names:?}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("#1 [internal] load build definition"));
}

fn tar_names(bytes: &[u8]) -> Vec<String> {
    let mut child = Command::new("tar").arg("t").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(bytes).unwrap();
    drop(stdin);
    let out = child.wait_with_output().unwrap().stdout;
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn contexts_come_from_standard_input() {
    let place = Place::new();
    let feed = |words: &[&str], bytes: &[u8]| {
        let mut child =
            place.command(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{words:?}");
        output.stdout
    };
    let archive = Command::new("tar").args(["cz", "-C"]).arg(place.context()).arg(".").output().unwrap().stdout;
    let whole = feed(&["build", "-q", "-"], &archive);
    assert_eq!(whole, place.ok(&["build", "-q", "."]).into_bytes());
    let text = b"FROM scratch\nENV A=b\n";
    assert_eq!(feed(&["build", "-q", "-"], text), feed(&["build", "-q", "-f", "-", "."], text));
}

#[test]
fn rawjson_is_json_line_by_line() {
    let place = Place::new();
    let output = place.run(&["build", "--progress", "rawjson", "."]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.lines().count() > 3);
    for line in text.lines() {
        assert!(json(line).is_object(), "{line}");
    }
    place.ok(&["build", "."]);
    let again = String::from_utf8(place.run(&["build", "--progress", "rawjson", "."]).stderr).unwrap();
    assert!(again.contains("\"cached\":true"), "{again}");
}

#[test]
fn check_says_what_it_finds_by_its_exit_code() {
    let place = Place::new();
    assert_eq!(place.ok(&["check"]), "Check complete, no warnings found.\n");
    place.write("Dockerfile", "from scratch\nCOPY a /\n");
    let output = place.run(&["build", "--check", "."]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("WARNING: ConsistentInstructionCasing") && text.contains("\nDockerfile:1\n"), "{text}");
    let machine = place.run(&["check", "--format", "json"]);
    assert_eq!(
        json(&String::from_utf8(machine.stdout).unwrap())["warnings"][0]["ruleName"],
        "ConsistentInstructionCasing"
    );
    assert!(place.ok(&["build", "--call", "targets", "."]).contains("default"));
}

#[test]
fn settings_say_where_they_come_from() {
    let place = Place::new();
    place.write("cooperage.toml", "progress = 'plain'\n");
    let text = place.ok(&["config", "show", "--format", "json", "--isolation", "chroot"]);
    let settings = json(&text);
    assert_eq!(settings["isolation"]["origin"], "--isolation");
    assert_eq!(settings["root"]["origin"], "COOPERAGE_ROOT");
    assert!(settings["progress"]["origin"].as_str().unwrap().ends_with("cooperage.toml"));
    assert_eq!(settings["registry.mirrors"]["origin"], "default");
}

#[test]
fn a_pipe_that_closes_is_no_failure() {
    let place = Place::new();
    let mut child = place.command(&["completions", "bash"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

/// A server that is stopped by SIGTERM when this is dropped.
struct Server(Child, String);

impl Server {
    fn start(place: &Place) -> Self {
        let mut child =
            place.command(&["registry", "serve", "--addr", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split_whitespace().nth(1).unwrap().trim_start_matches("http://").to_owned();
        Self(child, address)
    }

    fn stop(mut self) -> Option<i32> {
        signal(&self.0, rustix::process::Signal::TERM);
        self.0.wait().unwrap().code()
    }
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

#[test]
fn an_image_is_pushed_and_pulled_through_the_own_registry() {
    let (place, other) = (Place::new(), Place::new());
    let server = Server::start(&place);
    let name = format!("{}/me/app:1", server.1);
    let id = place.ok(&["build", "-q", "--push", "-t", &name, "."]);
    let remote = json(&other.ok(&["image", "inspect", "--remote", &name]));
    assert_eq!(remote["manifest"]["config"]["digest"], id.trim());
    other.write("Dockerfile", &format!("FROM {name}\nCOPY a /b\n"));
    other.ok(&["build", "-q", "-o", "out", "."]);
    assert_eq!(read(other.context().join("out/dir/a")), "content\n");
    assert_eq!(read(other.context().join("out/b")), "content\n");
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn an_interrupted_build_ends_with_130() {
    let place = Place::new();
    // A registry that takes the connection and says nothing.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    place.write("Dockerfile", &format!("FROM {}/app\n", listener.local_addr().unwrap()));
    let mut child = place.command(&["build", "."]).stderr(Stdio::piped()).spawn().unwrap();
    let held = listener.accept().unwrap();
    signal(&child, rustix::process::Signal::INT);
    let status = child.wait().unwrap();
    drop(held);
    assert_eq!(status.code(), Some(130));
}
