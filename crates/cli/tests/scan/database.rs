//! `cooperage scan db`: from directories, archives and a mirror; what is missing, old, damaged or interrupted.
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::Place;

/// What a mirror answers.
#[derive(Clone)]
enum Reply {
    /// The file, under this `ETag`.
    File(Vec<u8>, &'static str),
    /// Half of it, and the connection ends.
    Cut(Vec<u8>),
    /// Half of it, and nothing more until the client goes.
    Hang(Vec<u8>),
}

/// A mirror of exports on loopback.
struct Mirror {
    url: String,
    replies: Arc<Mutex<HashMap<String, Reply>>>,
    /// Each request: its path and the `ETag` that the client has.
    asked: Receiver<String>,
}

impl Mirror {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/mirror", listener.local_addr().unwrap());
        let replies = Arc::new(Mutex::new(HashMap::new()));
        let (tell, asked) = channel();
        let known = Arc::clone(&replies);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (known, tell) = (Arc::clone(&known), tell.clone());
                std::thread::spawn(move || answer(stream, &known, &tell));
            }
        });
        Self { url, replies, asked }
    }

    fn has(&self, path: &str, reply: Reply) {
        self.replies.lock().unwrap().insert(format!("/mirror/{path}"), reply);
    }

    /// What was asked for since the last time, in order.
    fn requests(&self) -> Vec<String> {
        let mut all: Vec<String> = self.asked.try_iter().collect();
        all.sort();
        all
    }
}

fn answer(stream: TcpStream, replies: &Mutex<HashMap<String, Reply>>, tell: &Sender<String>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut out = stream;
    loop {
        let (mut path, mut etag) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some(rest) = line.strip_prefix("GET ") {
                path = rest.split(' ').next().unwrap_or_default().to_owned();
            } else if let Some((_, value)) =
                line.split_once(": ").filter(|(k, _)| k.eq_ignore_ascii_case("if-none-match"))
            {
                etag = format!(" {value}");
            }
        }
        let reply = replies.lock().unwrap().get(&path).cloned();
        let told = format!("{path}{etag}");
        let head = |size: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n");
        match reply {
            None => out.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").ok()?,
            Some(Reply::File(_, tag)) if etag.trim() == tag => {
                out.write_all(format!("HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\n\r\n").as_bytes()).ok()?;
            }
            Some(Reply::File(body, tag)) => {
                let head = format!("{}ETag: {tag}\r\n\r\n", head(body.len()));
                out.write_all(&[head.as_bytes(), &body].concat()).ok()?;
            }
            Some(Reply::Cut(body) | Reply::Hang(body)) => {
                let head = format!("{}\r\n", head(body.len()));
                out.write_all(&[head.as_bytes(), &body[..body.len() / 2]].concat()).ok()?;
                if matches!(replies.lock().unwrap().get(&path), Some(Reply::Hang(_))) {
                    tell.send(told).ok()?;
                    let _ = reader.read(&mut [0]);
                }
                return None;
            }
        }
        tell.send(told).ok()?;
    }
}

/// An archive of stored members.
fn zip(members: &[(&str, String)]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in members {
        let offset = u32::try_from(out.len()).unwrap().to_le_bytes();
        let size = u32::try_from(content.len()).unwrap().to_le_bytes();
        let facts = [&crc(content.as_bytes()).to_le_bytes()[..], &size, &size, &[name.len() as u8, 0, 0, 0]].concat();
        out.extend([&b"PK\x03\x04"[..], &[0; 10], &facts, name.as_bytes(), content.as_bytes()].concat());
        directory.extend([&b"PK\x01\x02"[..], &[0; 12], &facts, &[0; 10], &offset, name.as_bytes()].concat());
    }
    let (start, length) = (u32::try_from(out.len()).unwrap(), u32::try_from(directory.len()).unwrap());
    let count = [(members.len() as u16).to_le_bytes(); 2].concat();
    out.extend(directory);
    out.extend([&b"PK\x05\x06\0\0\0\0"[..], &count, &length.to_le_bytes(), &start.to_le_bytes(), &[0; 2]].concat());
    out
}

/// The checksum of ISO 3309, bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc: u32, _| crc >> 1 ^ (0xedb8_8320 * (crc & 1))))
}

fn export(ecosystem: &str, package: &str, ids: &[&str]) -> Vec<u8> {
    let record = |id: &&str| {
        let ranges = json!([{ "type": "ECOSYSTEM", "events": [{ "introduced": "0" }, { "fixed": "9.9" }] }]);
        let affected = json!([{ "package": { "ecosystem": ecosystem, "name": package }, "ranges": ranges }]);
        json!({ "id": id, "modified": "2026-01-01T00:00:00Z", "affected": affected }).to_string()
    };
    let members: Vec<(String, String)> = ids.iter().map(|id| (format!("{id}.json"), record(id))).collect();
    zip(&members.iter().map(|(name, text)| (name.as_str(), text.clone())).collect::<Vec<_>>())
}

fn update(place: &Place, words: &[&str]) -> (Option<i32>, String, String) {
    let (code, stdout, stderr) = place.run(&[&["scan", "db", "update"], words].concat());
    (code, without_sizes(&stdout), without_sizes(&stderr))
}

/// Sizes of SQLite files and of archives say nothing here.
fn without_sizes(text: &str) -> String {
    let lines = text.lines().map(|line| match line.rsplit_once(" (") {
        Some((line, size)) if size.ends_with("B)") => line.to_owned(),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn records(place: &Place) -> Value {
    let output = place.output(&["scan", "db", "status", "--format", "json", "--max-db-age", "9999d"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    status["records"].clone()
}

/// Nothing of an update is left beside the database.
fn nothing_is_left(directory: &Path) {
    let names: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["osv.db"]);
}

fn set_age(path: &Path, age: Duration) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn a_database_of_files() {
    let place = Place::new();
    let (code, stdout, stderr) = place.run(&["scan", "db", "status"]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    insta::assert_snapshot!(stderr, @r#"
    error: there is no vulnerability database at /place/store/scan/osv.db
      hint: build it with: cooperage scan db update
    "#);

    // A mirror that was copied: what is there is taken, what is asked for must be there.
    for (name, package, ids) in [("PyPI", "jinja2", ["A-1", "A-2"]), ("npm", "left-pad", ["B-1", "B-2"])] {
        place.file(&format!("mirror/{name}/all.zip"), export(name, package, &ids));
    }
    let (code, stdout, stderr) = update(&place, &["--from", "mirror"]);
    assert_eq!(code, Some(0), "{stderr}");
    insta::assert_snapshot!(stdout, @"/place/store/scan/osv.db: 4 records of PyPI, npm");
    let (code, _, stderr) = update(&place, &["--from", "mirror", "--ecosystem", "Go"]);
    assert_eq!(code, Some(2));
    insta::assert_snapshot!(stderr, @"error: --from mirror: there is no Go/all.zip in it");
    let (code, _, stderr) = update(&place, &["--from", "nowhere"]);
    assert_eq!(code, Some(2));
    insta::assert_snapshot!(stderr, @r#"
    error: --from nowhere: there is no such file or directory
      hint: an address begins with https://
    "#);
    let (code, _, stderr) = update(&place, &["--ecosystem", "pypi"]);
    assert_eq!(code, Some(2));
    insta::assert_snapshot!(stderr, @r#"
    error: --ecosystem pypi: packages of this world are not found in images
      hint: OSV writes it PyPI
    "#);

    // Records in directories: as old as the newest of them, however old or new the directories are.
    let old = place.file("records/deep/down/A-1.json", fs::read(place_of_a_record()).unwrap());
    let older = place.file("records/A-0.json", fs::read(place_of_a_record()).unwrap());
    place.file("records/README.md", "new");
    set_age(&old, 10 * DAY);
    set_age(&older, 20 * DAY);
    let (code, _, stderr) = update(&place, &["--from", "records"]);
    assert_eq!(code, Some(0), "{stderr}");
    let (code, stdout, stderr) = place.run(&["scan", "db", "status"]);
    assert_eq!((code, stdout.contains("10 days ago")), (Some(2), true), "{stdout}");
    insta::assert_snapshot!(stderr, @r#"
    error: the vulnerability database at /place/store/scan/osv.db is 10 days old, and 7 days is the most that is allowed
      hint: build it anew with: cooperage scan db update
      hint: where an older one will do, say how old it may be: --max-db-age 30d
    "#);
    let (code, _, stderr) = place.run(&["scan", "db", "status", "--max-db-age", "30d"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));

    // One that another program wrote, and one of which the end is missing.
    let path = place.path("store/scan/osv.db");
    let good = fs::read(&path).unwrap();
    fs::write(&path, "this is no database, whatever its name says").unwrap();
    let (code, _, stderr) = place.run(&["scan", "db", "status"]);
    assert_eq!(code, Some(2));
    insta::assert_snapshot!(stderr, @r#"
    error: the vulnerability database at /place/store/scan/osv.db cannot be read: file is not a database
      hint: build it anew with: cooperage scan db update
    "#);
    fs::write(&path, &good[..good.len() / 2]).unwrap();
    place.file("context/requirements.txt", "jinja2==2.10\n");
    place.build("FROM scratch\nCOPY requirements.txt /\n", &["-o", "type=oci,dest=app.tar"]);
    let (code, stdout, stderr) = place.run(&["scan", "app.tar", "--max-db-age", "30d"]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    assert!(stderr.contains("osv.db cannot be read: ") && stderr.contains("scan db update"), "{stderr}");
    // An update is the way out of it, from wherever.
    let (code, _, stderr) = update(&place, &["--from", "mirror", "--db", "elsewhere"]);
    assert_eq!(code, Some(0), "{stderr}");
    let (code, _, stderr) = update(&place, &["--from", "mirror"]);
    assert_eq!(code, Some(0), "{stderr}");
    nothing_is_left(path.parent().unwrap());
    let (code, stdout, stderr) = place.run(&["scan", "app.tar", "--fail-on", "any"]);
    assert_eq!(code, Some(3), "{stdout}{stderr}");
}

fn place_of_a_record() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/osv/PYSEC-2019-217.json")
}

#[test]
fn a_database_of_a_mirror() {
    let (place, mirror) = (Place::new(), Mirror::start());
    mirror.has("PyPI/all.zip", Reply::File(export("PyPI", "jinja2", &["A-1", "A-2"]), "\"one\""));
    mirror.has("Red%20Hat/all.zip", Reply::File(export("Red Hat:enterprise_linux:9", "bash", &["B-1"]), "\"two\""));
    let words = ["--from", &mirror.url, "--ecosystem", "PyPI", "--ecosystem", "Red Hat"];
    let (code, stdout, stderr) = update(&place, &words);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("osv.db: 3 records of PyPI, Red Hat"), "{stdout}");
    assert_eq!(mirror.requests(), ["/mirror/PyPI/all.zip", "/mirror/Red%20Hat/all.zip"]);
    // The same again costs two questions; when one changes, both are read.
    let (code, _, stderr) = update(&place, &words);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("nothing has changed since the last update"), "{stderr}");
    assert_eq!(mirror.requests(), ["/mirror/PyPI/all.zip \"one\"", "/mirror/Red%20Hat/all.zip \"two\""]);
    mirror.has("PyPI/all.zip", Reply::File(export("PyPI", "jinja2", &["A-1", "A-2", "A-3"]), "\"three\""));
    assert_eq!(update(&place, &words).0, Some(0));
    assert_eq!(records(&place), 4);
    mirror.requests();

    // What fails leaves the database as it was, and nothing beside it.
    let directory = place.path("store/scan");
    let before = fs::read(directory.join("osv.db")).unwrap();
    let whole = export("PyPI", "jinja2", &["A-1", "A-2", "A-3", "A-4"]);
    let fails = |reply: Option<Reply>, words: &[&str]| {
        if let Some(reply) = reply {
            mirror.has("PyPI/all.zip", reply);
        }
        let (code, stdout, stderr) = update(&place, words);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
        assert_eq!(fs::read(directory.join("osv.db")).unwrap(), before, "{stderr}");
        nothing_is_left(&directory);
        stderr.replace(&mirror.url, "http://mirror")
    };
    let cut = fails(Some(Reply::Cut(whole.clone())), &words);
    assert!(cut.contains("http://mirror/PyPI/all.zip"), "{cut}");
    let damaged = fails(Some(Reply::File(whole[..whole.len() - 30].to_vec(), "\"x\"")), &words);
    assert!(damaged.contains("it is"), "{damaged}");
    let other = fails(Some(Reply::File(export("npm", "jinja2", &["A-1"]), "\"x\"")), &words);
    assert!(other.contains("none of its 1 records is about PyPI"), "{other}");
    let missing = fails(None, &["--from", &mirror.url, "--ecosystem", "Go"]);
    insta::assert_snapshot!(missing, @r#"
    error: cannot download http://mirror/Go/all.zip: the server answered 404 Not Found
      hint: there is no export of Go at that address
      hint: where there is no network, build it from files: --from DIRECTORY
    "#);

    // Interrupted, too; whether it is asked to end or killed.
    mirror.has("PyPI/all.zip", Reply::Hang(whole.clone()));
    for (signal, wanted) in [("-INT", Some(130)), ("-KILL", None)] {
        mirror.requests();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cooperage"));
        command.args(["scan", "db", "update"]).args(words).arg("--root").arg(place.path("store"));
        let mut child = command.env("HOME", place.path(".")).stderr(Stdio::null()).spawn().unwrap();
        assert!(mirror.asked.recv().unwrap().starts_with("/mirror/PyPI/all.zip"));
        let killed = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        assert_eq!(child.wait().unwrap().code(), wanted);
        assert_eq!(fs::read(directory.join("osv.db")).unwrap(), before);
        assert_eq!(records(&place), 4);
    }
    // What a killed one left is swept by the next.
    mirror.has("PyPI/all.zip", Reply::File(whole, "\"four\""));
    let (code, _, stderr) = update(&place, &words);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(records(&place), 5);
    nothing_is_left(&directory);
}
