//! Against a server on loopback that says what each test wants.
use super::*;
use std::io::BufRead;
use std::net::TcpListener;

/// Answers one connection after the other with these texts; returns the URL and, later, what was asked.
fn server(answers: Vec<Vec<u8>>) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = String::new();
            for line in std::io::BufReader::new(stream.try_clone().unwrap()).lines() {
                let line = line.unwrap();
                if line.is_empty() {
                    break;
                }
                head.push_str(&line);
                head.push('\n');
            }
            asked.push(head);
            stream.write_all(&answer).unwrap();
        }
        asked
    });
    (url, thread)
}

fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len()).into()
}

fn get(url: &str, checksum: Option<&Digest>, authorization: Option<&str>) -> Result<Answer, HttpError> {
    let dir = tempfile::tempdir().unwrap();
    let client = HttpClient::new(&TrustStore::default(), &ProxyVariables::default(), "test").unwrap();
    client.download(&Request {
        url,
        checksum,
        authorization,
        etag: None,
        temp_dir: dir.path(),
        progress: &|_, _| {},
        cancelled: &|| false,
    })
}

fn file(answer: Answer) -> Download {
    match answer {
        Answer::File(download) => download,
        Answer::NotModified => panic!("not modified"),
    }
}

#[test]
fn a_download_knows_its_size_digest_time_and_name() {
    let (url, thread) = server(vec![
        answer("302 Found", "Location: /moved/name%20x.txt\r\n", ""),
        answer("200 OK", "Last-Modified: Tue, 14 Nov 2023 22:13:20 GMT\r\nETag: W/\"e\"\r\n", "hello"),
    ]);
    let got = file(get(&format!("{url}/a/file.txt?x=1"), None, Some("Bearer t")).unwrap());
    assert_eq!((got.size, got.digest.clone()), (5, Digest::sha256(b"hello")));
    assert_eq!(got.last_modified, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)));
    assert_eq!((got.etag.as_deref(), got.file_name.as_str()), (Some("\"e\""), "file.txt"));
    let asked = thread.join().unwrap();
    assert!(asked[0].to_lowercase().contains("authorization: bearer t"), "{}", asked[0]);
}

#[test]
fn wrong_content_is_an_error() {
    let (url, _thread) = server(vec![answer("200 OK", "", "evil")]);
    let error = get(&url, Some(&Digest::sha256(b"good")), None).unwrap_err();
    assert!(matches!(error, HttpError::Checksum { .. }), "{error}");
}

#[test]
fn refusals_are_final_and_failures_are_tried_again() {
    let (url, _thread) = server(vec![answer("404 Not Found", "", "")]);
    let error = get(&format!("{}/x", url.replace("http://", "http://me:pw@")), None, None).unwrap_err().to_string();
    assert!(error.ends_with("/x: the server answered 404 Not Found") && !error.contains("pw"), "{error}");
    let (url, _thread) = server(vec![answer("503 Busy", "", ""), answer("200 OK", "", "ok")]);
    assert_eq!(file(get(&url, None, None).unwrap()).size, 2);
    let truncated = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc".to_vec();
    let (url, _thread) = server(vec![truncated, answer("200 OK", "", "abcdefghij")]);
    assert_eq!(file(get(&url, None, None).unwrap()).size, 10);
}

#[test]
fn names_are_never_paths() {
    let table = [
        ("https://e.com/a/b.tar.gz?x#y", None, "b.tar.gz"),
        ("https://e.com/a/", None, "a"),
        ("https://e.com", None, "download"),
        ("https://e.com/x%2F..%2Fy", None, "download"),
        ("https://e.com/x", Some("attachment; filename=\"a; b.txt\""), "a; b.txt"),
        ("https://e.com/x", Some("attachment; filename=../../etc/passwd"), "passwd"),
        ("https://e.com/x", Some("attachment; filename=a; filename*=UTF-8''%e2%82%ac.txt"), "€.txt"),
        ("https://e.com/x", Some("inline"), "x"),
        ("https://e.com/x", Some("attachment; filename=\"..\""), "download"),
    ];
    for (url, disposition, expected) in table {
        assert_eq!(file_name(url, disposition), expected, "{url} {disposition:?}");
    }
    assert_eq!(url_file_name("https://e.com/"), None);
}

#[test]
fn secrets_become_headers_of_their_host() {
    let lookup = |name: &str| (name == "HTTP_AUTH_TOKEN_e.com").then(|| "t\n".to_owned());
    assert_eq!(authorization("https://e.com:8443/x", lookup).as_deref(), Some("Bearer t"));
    assert_eq!(authorization("https://f.com/x", lookup), None);
}

#[test]
fn a_server_that_stands_still_does_not_keep_a_cancelled_build() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    let connected = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = connected.clone();
    let held = std::thread::spawn(move || {
        let stream = listener.accept().unwrap();
        seen.store(true, std::sync::atomic::Ordering::SeqCst);
        stream
    });
    let dir = tempfile::tempdir().unwrap();
    let client = HttpClient::new(&TrustStore::default(), &ProxyVariables::default(), "test").unwrap();
    let answer = client.download(&Request {
        url: &url,
        checksum: None,
        authorization: None,
        etag: None,
        temp_dir: dir.path(),
        progress: &|_, _| {},
        cancelled: &|| connected.load(std::sync::atomic::Ordering::SeqCst),
    });
    assert!(matches!(answer, Err(HttpError::Cancelled)));
    drop(held.join());
}
