//! Uploads that begin before the build has ended.
//!
//! What is certain to be in the image (layers of steps that are done, the base's layers) goes to the registry as soon
//! as its compressed bytes are there, or while they still come in. Only blobs: manifests and names follow at the end,
//! so a build that fails leaves nothing but blobs that nothing refers to.
//!
//! The first upload is the test of address and credentials: until it has worked there is no second one, and after
//! one that the registry refused there is no further one. Nothing but times is reported from here: the export takes what is
//! done ([`Early::take`]) and does the rest again itself, with the error that then comes.
//!
//! The threads hold no store, so a build that fails need not wait for a registry that does not answer.
use crate::event::{Events, Phase};
use oci::{Descriptor, Digest, Reference};
use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Uploads at once.
const WIDTH: usize = 4;

/// Opens a blob from its beginning.
pub(crate) type BlobSource = Arc<dyn Fn() -> io::Result<Box<dyn Read + Send>> + Send + Sync>;

struct Job {
    name: Reference,
    descriptor: Descriptor,
    source: BlobSource,
    mount_from: Option<Reference>,
}

impl Job {
    fn key(&self) -> (String, Digest) {
        (self.name.name(), self.descriptor.digest.clone())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Sending,
    Done,
    Failed,
    /// The export sees to it.
    Taken,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    stages: HashMap<(String, Digest), Stage>,
    workers: usize,
    /// An upload has worked.
    proven: bool,
    /// The registry has refused one.
    refused: bool,
}

struct Shared {
    events: Events,
    state: Mutex<State>,
    changed: Condvar,
    stopped: AtomicBool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See above. Without names nothing is sent.
pub(crate) struct Early {
    client: registry::Client,
    names: Vec<Reference>,
    shared: Arc<Shared>,
    /// Layers of base images that the image is certain to hold, and that have to be moved: sent while they come in.
    passing: Mutex<HashMap<Digest, Reference>>,
}

impl Early {
    /// For these names; those of one repository count once.
    pub(crate) fn new(client: registry::Client, names: &[Reference], events: &Events) -> Self {
        let mut seen = HashSet::new();
        let names = names.iter().filter(|name| seen.insert(name.name())).cloned().collect();
        let shared = Shared {
            events: events.clone(),
            state: Mutex::default(),
            changed: Condvar::default(),
            stopped: AtomicBool::default(),
        };
        Self { client, names, shared: Arc::new(shared), passing: Mutex::default() }
    }

    /// Whether anything is pushed at all.
    pub(crate) fn is_on(&self) -> bool {
        !self.names.is_empty()
    }

    /// Sends a blob to every name.
    pub(crate) fn send(&self, descriptor: &Descriptor, source: &BlobSource, mount_from: Option<&Reference>) {
        for name in &self.names {
            let mount_from = mount_from.filter(|from| self.client.can_mount(name, from)).cloned();
            let job =
                Job { name: name.clone(), descriptor: descriptor.clone(), source: Arc::clone(source), mount_from };
            let mut state = self.shared.state();
            let key = job.key();
            if state.refused || state.stages.get(&key).is_some_and(|stage| *stage != Stage::Failed) {
                continue;
            }
            state.stages.insert(key, Stage::Waiting);
            state.queue.push_back(job);
            spawn(&self.client, &self.shared, &mut state);
        }
    }

    /// A layer of the base: mounted at once where the target's registry has the base; elsewhere sent when it comes by.
    pub(crate) fn base(&self, origin: &Reference, descriptor: &Descriptor, source: &BlobSource) {
        if self.names.iter().all(|name| self.client.can_mount(name, origin)) {
            self.send(descriptor, source, Some(origin));
        } else {
            self.passing
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(descriptor.digest.clone(), origin.clone());
        }
    }

    /// Whether a layer is to be sent on when it comes in.
    pub(crate) fn passes(&self, digest: &Digest) -> bool {
        self.passing.lock().unwrap_or_else(PoisonError::into_inner).contains_key(digest)
    }

    /// A layer begins to come in.
    pub(crate) fn comes_by(&self, descriptor: &Descriptor, source: &BlobSource) {
        let origin = self.passing.lock().unwrap_or_else(PoisonError::into_inner).remove(&descriptor.digest);
        if let Some(origin) = origin {
            self.send(descriptor, source, Some(&origin));
        }
    }

    /// Whether a blob is in the repository already; waits for it where it is on its way. What is not is the caller's
    /// from now on.
    pub(crate) fn take(&self, name: &Reference, digest: &Digest) -> bool {
        let key = (name.name(), digest.clone());
        let mut state = self.shared.state();
        loop {
            match state.stages.get(&key) {
                Some(Stage::Done) => return true,
                Some(Stage::Sending) => {
                    state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Some(Stage::Waiting) => {
                    state.queue.retain(|job| job.key() != key);
                    state.stages.insert(key, Stage::Taken);
                    return false;
                }
                Some(Stage::Failed | Stage::Taken) | None => {
                    state.stages.insert(key, Stage::Taken);
                    return false;
                }
            }
        }
    }

    /// Ends what is on its way; waits for nothing.
    pub(crate) fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.shared.state().queue.clear();
    }
}

fn spawn(client: &registry::Client, shared: &Arc<Shared>, state: &mut State) {
    let limit = if state.proven { WIDTH } else { 1 };
    if state.workers >= limit || state.queue.is_empty() || shared.stopped.load(Ordering::Relaxed) {
        return;
    }
    let (own_client, own) = (client.clone(), Arc::clone(shared));
    let worker = move || work(&own_client, &own);
    if std::thread::Builder::new().name("upload".to_owned()).spawn(worker).is_ok() {
        state.workers += 1;
    }
}

fn work(client: &registry::Client, shared: &Arc<Shared>) {
    let mut state = shared.state();
    while let Some(job) = state.queue.pop_front() {
        let key = job.key();
        state.stages.insert(key.clone(), Stage::Sending);
        drop(state);
        let source = || -> io::Result<Box<dyn Read + Send>> {
            Ok(Box::new(Stopping { inner: (job.source)()?, shared: Arc::clone(shared) }))
        };
        let from: Vec<Reference> = job.mount_from.iter().cloned().collect();
        let span = shared.events.span(None, Phase::Push, job.descriptor.digest.as_str());
        let result = client.push_blob(&job.name, &job.descriptor, &source, &from, registry::Progress::none());
        drop(span);
        state = shared.state();
        state.stages.insert(key, if result.is_ok() { Stage::Done } else { Stage::Failed });
        match result {
            Ok(_) => state.proven = true,
            // The content is not there after all: that says nothing of the registry.
            Err(error) if error.kind() == registry::ErrorKind::Source => {}
            Err(_) => {
                state.refused = true;
                let waiting: Vec<_> = state.queue.drain(..).map(|job| job.key()).collect();
                for key in waiting {
                    state.stages.remove(&key);
                }
            }
        }
        shared.changed.notify_all();
        spawn(client, shared, &mut state);
    }
    state.workers -= 1;
}

/// Fails when the build has ended.
struct Stopping {
    inner: Box<dyn Read + Send>,
    shared: Arc<Shared>,
}

impl Read for Stopping {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.shared.stopped.load(Ordering::Relaxed) {
            return Err(io::Error::other("the build has ended"));
        }
        self.inner.read(buffer)
    }
}
