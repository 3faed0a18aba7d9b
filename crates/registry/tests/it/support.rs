//! What the tests share: tools of the system, Debian's registry, small images.
use oci::{Descriptor, Manifest, Reference, media_type};
use registry::serve::{DirectoryStore, Running, ServeOptions, serve};
use registry::{Client, ClientOptions, Progress, RetryPolicy};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Whether a tool of the system is there. Without it a test says why it skips; in CI that is a failure.
pub(crate) fn have(tool: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join(tool).is_file()));
    assert!(found || std::env::var_os("CI").is_none(), "{tool} is missing, and CI is set");
    if !found {
        eprintln!("skipped: {tool} is not installed");
    }
    found
}

/// Where nobody listens. (A port that is free now may be another test's a moment later.)
pub(crate) const CLOSED: &str = "127.0.0.1:1";

/// Debian's `docker-registry` on a port of its own; it ends when this is dropped.
pub(crate) struct DockerRegistry {
    _running: testkit::Registry,
    pub(crate) host: String,
}

impl DockerRegistry {
    /// Starts one; `more` is YAML at the end of its configuration, `http` is YAML inside `http:`.
    pub(crate) fn start(more: &str, http: &str) -> Option<Self> {
        if !have("docker-registry") {
            return None;
        }
        let options = testkit::RegistryOptions { http: http.into(), more: more.into(), ..Default::default() };
        let running = testkit::Registry::start_with(options).unwrap();
        Some(Self { host: running.host(), _running: running })
    }
}

/// Our own server on a directory of its own.
pub(crate) struct OwnRegistry {
    pub(crate) host: String,
    pub(crate) directory: tempfile::TempDir,
    _running: Running,
}

impl OwnRegistry {
    pub(crate) fn start(options: ServeOptions) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(directory.path()).unwrap();
        let running = serve(store, "127.0.0.1:0".parse().unwrap(), options).unwrap();
        Self { host: running.addr().to_string(), directory, _running: running }
    }
}

pub(crate) fn name_of(host: &str, rest: &str) -> Reference {
    format!("{host}/{rest}").parse().unwrap()
}

/// Options that do not wait for long.
pub(crate) fn options() -> ClientOptions {
    ClientOptions {
        retry: RetryPolicy {
            attempts: 4,
            base: Duration::from_millis(1),
            longest: Duration::from_millis(5),
            longest_asked: Duration::from_secs(2),
        },
        ..ClientOptions::default()
    }
}

pub(crate) fn client() -> Client {
    Client::new(options()).unwrap()
}

/// Bytes that do not compress, the same each time.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A source for `push_blob`.
pub(crate) fn source(bytes: &[u8]) -> impl Fn() -> std::io::Result<Box<dyn Read + Send>> + use<> {
    let bytes = bytes.to_vec();
    move || Ok(Box::new(std::io::Cursor::new(bytes.clone())))
}

pub(crate) fn push(client: &Client, name: &Reference, kind: &str, bytes: &[u8]) -> Descriptor {
    let descriptor = Descriptor::of(kind, bytes);
    client.push_blob(name, &descriptor, &source(bytes), &[], Progress::none()).unwrap();
    descriptor
}

/// Pushes an image of one layer; returns its manifest's descriptor and the layer's.
pub(crate) fn push_image(client: &Client, name: &Reference, layer: &[u8]) -> (Descriptor, Descriptor) {
    let config = br#"{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#;
    let config = push(client, name, media_type::OCI_CONFIG, config);
    let layer = push(client, name, media_type::OCI_LAYER, layer);
    let manifest = serde_json::to_vec(&Manifest::new(config, vec![layer.clone()], true)).unwrap();
    (client.push_manifest(name, media_type::OCI_MANIFEST, &manifest).unwrap(), layer)
}

/// Runs a command that must succeed; returns what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A CA and a certificate for 127.0.0.1 and localhost, made by `openssl` in this directory: `ca.pem`,
/// `cert.pem`, `key.pem`.
pub(crate) fn make_certificates(directory: &Path) {
    let openssl = |arguments: &str| {
        run(Command::new("openssl").args(arguments.split(' ')).current_dir(directory).stderr(Stdio::piped()));
    };
    std::fs::write(
        directory.join("ext"),
        "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n",
    )
    .unwrap();
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -keyout ca.key -out ca.pem -subj /CN=test-ca",
    );
    openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out req.pem -subj /CN=registry");
    openssl("x509 -req -in req.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile ext -out cert.pem");
}
