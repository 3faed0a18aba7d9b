//! A small registry: the OCI distribution API on a directory.
//!
//! Blobs live in one pool, `blobs/sha256/HEX`, the layout of an OCI image layout and of the builder's own
//! store; `repositories/NAME/` links what each repository holds ([`DirectoryStore`] draws it). The server
//! runs on threads of its own, so that a blocking program can start it, use it and stop it.
mod blobs;
mod directory;
mod fault;
mod manifests;
mod range;
mod route;
mod uploads;

pub use directory::DirectoryStore;

use crate::block::park_on;
use crate::credentials::Secret;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fault::Fault;
use oci::Digest;
use route::{Place, Query};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long a request's body may stand still.
const IDLE: Duration = Duration::from_secs(120);

/// Options of a server.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Ask for this user and password (HTTP basic).
    pub basic_auth: Option<(String, Secret)>,
    /// Answer pulls only.
    pub read_only: bool,
    /// Allow the deletion of manifests, tags and blobs.
    pub allow_delete: bool,
    /// The largest manifest.
    pub max_manifest: u64,
    /// The largest blob; none where not given.
    pub max_blob: Option<u64>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self { basic_auth: None, read_only: false, allow_delete: true, max_manifest: 4 << 20, max_blob: None }
    }
}

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: DirectoryStore,
    pub(crate) options: ServeOptions,
    pub(crate) uploads: uploads::Uploads,
}

/// A running server; it stops when this is dropped.
#[derive(Debug)]
pub struct Running {
    addr: SocketAddr,
    runtime: Option<Runtime>,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<io::Result<()>>>,
}

/// Serves `store` at `addr` (port 0: any free one) on threads of its own.
pub fn serve(store: DirectoryStore, addr: SocketAddr, options: ServeOptions) -> io::Result<Running> {
    store.remove_stale_uploads(Duration::from_secs(24 * 3600));
    let listener = std::net::TcpListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    let runtime = Builder::new_multi_thread().worker_threads(2).thread_name("registry-serve").enable_all().build()?;
    let listener = {
        let _entered = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    let shared = Arc::new(Shared { store, options, uploads: uploads::Uploads::default() });
    let app = Router::new().fallback(handle).with_state(shared);
    let (stop, stopped) = oneshot::channel::<()>();
    let task = runtime.spawn(async move {
        let graceful = async {
            // A dropped sender stops the server as well.
            let _ = stopped.await;
        };
        axum::serve(listener, app).with_graceful_shutdown(graceful).await
    });
    Ok(Running { addr, runtime: Some(runtime), stop: Some(stop), task: Some(task) })
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops listening, and gives running requests five seconds to end.
    pub fn stop(mut self) {
        drop(self.stop.take());
        if let (Some(runtime), Some(task)) = (&self.runtime, self.task.take()) {
            let _entered = runtime.enter();
            // Late requests end with the runtime.
            let _ = park_on(async { tokio::time::timeout(Duration::from_secs(5), task).await });
        }
    }

    /// Waits until the server ends by itself, which it does only when something is wrong.
    pub fn wait(mut self) -> io::Result<()> {
        match self.task.take() {
            Some(task) => park_on(task).map_err(io::Error::other)?,
            None => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let mut response = match answer(&shared, request).await {
        Ok(response) => response,
        Err(fault) => fault.response(),
    };
    response.headers_mut().insert("docker-distribution-api-version", HeaderValue::from_static("registry/2.0"));
    response
}

async fn answer(shared: &Arc<Shared>, request: Request) -> Result<Response, Fault> {
    authorize(shared, &request)?;
    let place = route::parse(request.uri().path())?;
    let query = Query::parse(request.uri().query().unwrap_or(""));
    let method = request.method().clone();
    let reading = matches!(method, Method::GET | Method::HEAD);
    if !reading && shared.options.read_only {
        return Err(Fault::new(StatusCode::FORBIDDEN, "DENIED", "this registry is read-only"));
    }
    if method == Method::DELETE && !shared.options.allow_delete && !matches!(place, Place::Upload { .. }) {
        return Err(Fault::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "this registry does not delete"));
    }
    match (place, method) {
        (Place::Root, _) if reading => json(StatusCode::OK, &serde_json::json!({})),
        (Place::Catalog, Method::GET) => manifests::catalog(shared, &query).await,
        (Place::Tags { name }, Method::GET) => manifests::tags(shared, name, &query).await,
        (Place::Referrers { name, digest }, Method::GET) => manifests::referrers(shared, name, digest, &query).await,
        (Place::Manifest { name, reference }, Method::GET | Method::HEAD) => {
            manifests::get(shared, name, reference).await
        }
        (Place::Manifest { name, reference }, Method::PUT) => manifests::put(shared, name, reference, request).await,
        (Place::Manifest { name, reference }, Method::DELETE) => manifests::delete(shared, name, reference).await,
        (Place::Blob { name, digest }, Method::GET | Method::HEAD) => {
            let range = request.headers().get(header::RANGE).and_then(|v| v.to_str().ok()).map(str::to_owned);
            let head = *request.method() == Method::HEAD;
            // A body is not Sync, so it must not live across the wait.
            drop(request);
            blobs::get(shared, name, digest, range, head).await
        }
        (Place::Blob { name, digest }, Method::DELETE) => blobs::delete(shared, name, digest).await,
        (Place::Uploads { name }, Method::POST) => uploads::start(shared, name, &query, request).await,
        (Place::Upload { name, id }, Method::GET) => uploads::status(shared, name, id).await,
        (Place::Upload { name, id }, Method::PATCH) => uploads::patch(shared, name, id, request).await,
        (Place::Upload { name, id }, Method::PUT) => uploads::finish(shared, name, id, &query, request).await,
        (Place::Upload { name, id }, Method::DELETE) => uploads::cancel(shared, name, id).await,
        _ => Err(Fault::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "this method means nothing here")),
    }
}

fn authorize(shared: &Shared, request: &Request) -> Result<(), Fault> {
    let Some((user, password)) = &shared.options.basic_auth else { return Ok(()) };
    let wanted = format!("{user}:{}", password.expose());
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .and_then(|(_, encoded)| STANDARD.decode(encoded.trim()).ok());
    // Digests are compared, so that the time taken says nothing about the password.
    if given.is_some_and(|given| Digest::sha256(&given) == Digest::sha256(wanted.as_bytes())) {
        Ok(())
    } else {
        Err(Fault::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required"))
    }
}

/// Runs what touches files on a thread that may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(Fault::internal("a worker of the registry failed")),
    }
}

fn json(status: StatusCode, value: &serde_json::Value) -> Result<Response, Fault> {
    respond(status, &[(header::CONTENT_TYPE, "application/json".to_owned())], Body::from(value.to_string()))
}

fn respond(status: StatusCode, headers: &[(header::HeaderName, String)], body: Body) -> Result<Response, Fault> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        let value = HeaderValue::from_str(value).map_err(|_| Fault::internal("a header cannot be written"))?;
        response.headers_mut().insert(name.clone(), value);
    }
    Ok(response)
}

const DIGEST_HEADER: header::HeaderName = header::HeaderName::from_static("docker-content-digest");
