//! A server on plain sockets that misbehaves as a test tells it to.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
    /// `GET /v2/`: what the client asks first to learn the scheme.
    pub(crate) fn is_probe(&self) -> bool {
        self.path == "/v2/" && self.header("authorization").is_none()
    }
}

/// What the server does.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// A whole answer: status, headers, body.
    Answer(u16, Vec<(String, String)>, Vec<u8>),
    /// Bytes as they are; then the connection is closed.
    Raw(Vec<u8>),
    /// Bytes as they are; then nothing, for as long as the server lives.
    Stall(Vec<u8>),
}

/// An answer without headers.
pub(crate) fn plain(status: u16, body: &str) -> Act {
    Act::Answer(status, Vec::new(), body.as_bytes().to_vec())
}

/// An answer with headers.
pub(crate) fn with(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Act {
    let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    Act::Answer(status, headers, body.to_vec())
}

/// An error of the specification's form.
pub(crate) fn error(status: u16, code: &str, message: &str) -> Act {
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
    with(status, &[("Content-Type", "application/json")], body.as_bytes())
}

type Handler = dyn Fn(&Request) -> Act + Send + Sync;

/// The server; it ends with the test's process, its stalled connections when it is dropped.
pub(crate) struct FaultServer {
    pub(crate) host: String,
    log: Arc<Mutex<Vec<Request>>>,
    ended: Arc<(Mutex<bool>, Condvar)>,
    stop: Arc<AtomicBool>,
}

impl Drop for FaultServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        *self.ended.0.lock().unwrap() = true;
        self.ended.1.notify_all();
        // Wakes the thread that accepts, which then ends.
        let _ = TcpStream::connect(&self.host);
    }
}

impl FaultServer {
    pub(crate) fn start(handler: impl Fn(&Request) -> Act + Send + Sync + 'static) -> Self {
        Self::start_with(|_| handler)
    }

    /// The same for a handler that must know the server's own address.
    pub(crate) fn start_with<H: Fn(&Request) -> Act + Send + Sync + 'static>(make: impl FnOnce(&str) -> H) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let handler: Arc<Handler> = Arc::new(make(&host));
        let log = Arc::new(Mutex::new(Vec::new()));
        let ended = Arc::new((Mutex::new(false), Condvar::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (own_log, own_ended, own_stop) = (log.clone(), ended.clone(), stop.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if own_stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (handler, log, ended) = (handler.clone(), own_log.clone(), own_ended.clone());
                std::thread::spawn(move || {
                    // A client that goes away is not this server's trouble.
                    let _ = serve(&stream, &*handler, &log, &ended);
                });
            }
        });
        Self { host, log, ended, stop }
    }

    /// All requests but the first probe, as `METHOD PATH`.
    pub(crate) fn log(&self) -> Vec<String> {
        self.requests().iter().filter(|r| !r.is_probe()).map(|r| format!("{} {}", r.method, r.path)).collect()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }
}

fn serve(
    stream: &TcpStream,
    handler: &Handler,
    log: &Mutex<Vec<Request>>,
    ended: &(Mutex<bool>, Condvar),
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split(' ');
        let method = words.next().unwrap_or("").to_owned();
        let path = words.next().unwrap_or("").to_owned();
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
                None => break,
            }
        }
        let mut request = Request { method, path, headers, body: Vec::new() };
        let length: u64 = request.header("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
        if request.header("x-read-body") != Some("no") {
            (&mut reader).take(length).read_to_end(&mut request.body)?;
        }
        log.lock().unwrap().push(request.clone());
        match handler(&request) {
            Act::Answer(status, headers, body) => {
                let mut head = format!("HTTP/1.1 {status} X\r\n");
                if !headers.iter().any(|(n, _)| n == "Content-Length") {
                    head.push_str(&format!("Content-Length: {}\r\n", body.len()));
                }
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                writer.write_all(format!("{head}\r\n").as_bytes())?;
                if request.method != "HEAD" {
                    writer.write_all(&body)?;
                }
            }
            Act::Raw(bytes) => {
                writer.write_all(&bytes)?;
                return stream.shutdown(std::net::Shutdown::Both);
            }
            Act::Stall(bytes) => {
                writer.write_all(&bytes)?;
                let mut over = ended.0.lock().unwrap();
                while !*over {
                    over = ended.1.wait(over).unwrap();
                }
                return Ok(());
            }
        }
    }
}
