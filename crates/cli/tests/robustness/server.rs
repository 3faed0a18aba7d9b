//! Registries that are not as they should be: one that answers what a test says, and one that stands in front of a
//! real one and spoils some of its answers.
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a client asks.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// How many requests of this method and path came before.
    pub(crate) before: usize,
    head: String,
}

/// What happens to a request.
pub(crate) enum Answer {
    /// Status line, headers, body.
    Say(&'static str, Vec<(&'static str, String)>, Vec<u8>),
    /// The real registry answers.
    Pass,
    /// The real registry answers, and each byte comes by itself.
    PassDrip,
    /// The real registry answers, and after so many bytes the connection is reset.
    PassCut(usize),
    /// So much of the request's body is read, then the connection is reset.
    Hang(usize),
}

pub(crate) type Handler = dyn Fn(&Request) -> Answer + Send + Sync;

/// A server on loopback, for the life of the test program.
pub(crate) struct Server {
    pub(crate) address: String,
    seen: Arc<Mutex<Vec<String>>>,
}

struct Shared {
    handler: Box<Handler>,
    upstream: Option<String>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) fn start(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::new(None, Box::new(handler))
    }

    /// In front of a real registry.
    pub(crate) fn before(upstream: String, handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::new(Some(upstream), Box::new(handler))
    }

    fn new(upstream: Option<String>, handler: Box<Handler>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::new(Shared { handler, upstream, seen: Arc::clone(&seen) });
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        Self { address, seen }
    }

    /// The requests so far, as `METHOD PATH`.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        loop {
            let Some(mut request) = read_head(&mut reader)? else { return Ok(()) };
            let line = format!("{} {}", request.method, request.path.split('?').next().unwrap_or_default());
            {
                let mut seen = self.seen.lock().unwrap();
                request.before = seen.iter().filter(|other| **other == line).count();
                seen.push(line);
            }
            match (self.handler)(&request) {
                Answer::Say(status, headers, body) => {
                    skip_body(&mut reader, &request)?;
                    respond(&stream, &request, status, &headers, &body)?;
                }
                Answer::Hang(bytes) => {
                    let length = request.headers.get("content-length").and_then(|l| l.parse().ok());
                    let bytes = length.unwrap_or(u64::MAX).min(bytes as u64);
                    io::copy(&mut reader.by_ref().take(bytes), &mut io::sink())?;
                    return reset(&stream);
                }
                Answer::Pass => return self.pass(&stream, &mut reader, &request, u64::MAX, 16 << 10),
                Answer::PassDrip => return self.pass(&stream, &mut reader, &request, u64::MAX, 1),
                Answer::PassCut(bytes) => {
                    self.pass(&stream, &mut reader, &request, bytes as u64, 16 << 10)?;
                    return reset(&stream);
                }
            }
            if request.headers.get("connection").is_some_and(|value| value == "close") {
                return Ok(());
            }
        }
    }

    /// Hands the request on over a connection of its own and the answer back.
    fn pass(
        &self,
        mut client: &TcpStream,
        body: &mut impl BufRead,
        request: &Request,
        limit: u64,
        piece: usize,
    ) -> io::Result<()> {
        let mut upstream = TcpStream::connect(self.upstream.as_deref().expect("a registry behind this one"))?;
        upstream.write_all(request.head.as_bytes())?;
        upstream.write_all(b"Connection: close\r\n\r\n")?;
        copy_body(body, request, &mut upstream)?;
        let (mut upstream, mut buffer) = (upstream.take(limit), vec![0; piece]);
        while let count @ 1.. = upstream.read(&mut buffer)? {
            client.write_all(&buffer[..count])?;
        }
        Ok(())
    }
}

fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let (mut headers, mut head) = (BTreeMap::new(), first.clone());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        let name = name.to_ascii_lowercase();
        if name != "connection" {
            head += &line;
        }
        headers.insert(name, value.trim().to_owned());
    }
    let mut words = first.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    Ok(Some(Request { method, path, headers, before: 0, head }))
}

fn copy_body(reader: &mut impl BufRead, request: &Request, out: &mut impl Write) -> io::Result<()> {
    if request.headers.get("transfer-encoding").is_some_and(|e| e == "chunked") {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            out.write_all(line.as_bytes())?;
            let size = u64::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            io::copy(&mut reader.by_ref().take(size + 2), out)?;
            if size == 0 {
                return Ok(());
            }
        }
    }
    let length = request.headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    io::copy(&mut reader.by_ref().take(length), out).map(drop)
}

fn skip_body(reader: &mut impl BufRead, request: &Request) -> io::Result<()> {
    copy_body(reader, request, &mut io::sink())
}

fn respond(
    mut stream: &TcpStream,
    request: &Request,
    status: &str,
    headers: &[(&str, String)],
    body: &[u8],
) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    if request.method != "HEAD" {
        stream.write_all(body)?;
    }
    Ok(())
}

/// Ends the connection as a crash does.
fn reset(stream: &TcpStream) -> io::Result<()> {
    // What was written must have left before the reset overtakes it: the client's acknowledgement empties the queue.
    while rustix::io::ioctl_fionread(stream).is_ok_and(|n| n > 0) {
        let mut rest = [0; 4096];
        let mut stream = stream;
        if stream.read(&mut rest)? == 0 {
            break;
        }
    }
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO))?;
    stream.shutdown(std::net::Shutdown::Both)
}
