//! What a build tells about itself: the SLSA provenance of each image, and where its facts are gathered.
//!
//! Facts come from four places: the request, the plan (images, mounts, commands), the fetcher (what came from the
//! network, [`Materials`]) and the events (when each step ran, [`Timeline`]). A secret's value is in none of them:
//! the plan knows ids alone, URLs lose their credentials.
mod steps;

use crate::contexts::Loaded;
use crate::event::{Event, Events, Outcome, VertexId};
use crate::exec::Executor;
use crate::image::BuiltImage;
use crate::plan::{CopyItem, ImageOrigin, OpKind, Plan, SourceRef};
use crate::request::{BuildRequest, Context, ContextSource, DockerfileSource, ProvenanceMode, ProvenanceRequest};
use crate::snapshot::ChainLayer;
use crate::source::redact;
use attest::provenance::{Asked, Dependency, Details, Provenance, Timing, image_purl};
use attest::statement::{Statement, Subject, digest_set};
use dockerfile::ast::{MountKind, Network};
use oci::{Digest, Digester, Platform, Reference};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// What a build has drawn from the network, beside images.
#[derive(Debug, Default)]
pub(crate) struct Materials(Mutex<BTreeSet<Dependency>>);

impl Materials {
    /// A repository at a commit.
    pub(crate) fn git(&self, url: &str, commit: &str) {
        let algorithm = if commit.len() == 64 { "sha256" } else { "sha1" };
        self.add(redact(url), BTreeMap::from([(algorithm.to_owned(), commit.to_owned())]));
    }

    /// A file.
    pub(crate) fn http(&self, url: &str, digest: &Digest) {
        self.add(redact(url), digest_set(digest));
    }

    fn add(&self, uri: String, digest: BTreeMap<String, String>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(Dependency { name: None, uri, digest });
    }

    fn list(&self) -> Vec<Dependency> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Times {
    started: Option<SystemTime>,
    ended: Option<SystemTime>,
    cached: bool,
}

/// When the lines of progress began and ended.
#[derive(Debug)]
pub(crate) struct Timeline {
    /// Hands everything on; what a build reports to.
    pub(crate) events: Events,
    times: Arc<Mutex<HashMap<VertexId, Times>>>,
    started: SystemTime,
    invocation: String,
}

impl Timeline {
    /// Listens to the events of a build, where its provenance will tell them.
    pub(crate) fn over(events: &Events, request: &BuildRequest) -> Self {
        let times: Arc<Mutex<HashMap<VertexId, Times>>> = Arc::default();
        let started = SystemTime::now();
        let seed = format!("{started:?} {} {:p}", std::process::id(), Arc::as_ptr(&times));
        let invocation = Digest::sha256(seed.as_bytes()).hex()[..25].to_owned();
        let told = request.provenance.as_ref().is_some_and(|p| p.mode == ProvenanceMode::Max);
        let events = if told {
            let (inner, times) = (events.clone(), Arc::clone(&times));
            Events::new(move |event| {
                let mut all = times.lock().unwrap_or_else(PoisonError::into_inner);
                match &event {
                    Event::Started { id, at } => all.entry(*id).or_default().started = Some(*at),
                    Event::Completed { id, at, outcome } => {
                        let entry = all.entry(*id).or_default();
                        (entry.ended, entry.cached) = (Some(*at), *outcome == Outcome::Cached);
                    }
                    _ => {}
                }
                drop(all);
                inner.send(event);
            })
        } else {
            events.clone()
        };
        Self { events, times, started, invocation }
    }

    fn of(&self, id: VertexId) -> Times {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied().unwrap_or_default()
    }
}

fn date(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).map_or_else(|_| "1970-01-01T00:00:00Z".to_owned(), |stamp| stamp.to_string())
}

/// What was learned about the build for one platform, before it is known which image it comes to.
#[derive(Debug)]
pub(crate) struct Captured {
    request: ProvenanceRequest,
    provenance: Provenance,
    /// The steps behind the entries of the target's chain that may have a layer, and whether they have one.
    chain: Vec<(String, bool)>,
    /// Layers of the base image.
    base: usize,
}

/// Gathers what the provenance will tell; nothing where none was asked for.
pub(crate) fn capture(
    executor: &Executor<'_>,
    result: &crate::exec::StageResult,
    loaded: &Loaded,
    timeline: &Timeline,
) -> Option<Captured> {
    let (build, plan) = (executor.fetcher.request, executor.plan);
    let request = build.provenance.clone()?;
    let locals = locals(build);
    let (secrets, ssh) = asked(plan);
    let complete = locals.is_empty() && matches!(build.context, Context::Source(_));
    let reaches = |kind: &OpKind| matches!(kind, OpKind::Run(run) if run.network != Network::None);
    let networked = plan.stages.iter().flat_map(|s| &s.ops).any(|op| reaches(&op.kind));
    let mut dependencies = images(plan);
    dependencies.extend(executor.fetcher.materials.list());
    dependencies.extend(context_dependency(executor, build));
    let mut chain = Vec::new();
    let details = (request.mode == ProvenanceMode::Max).then(|| {
        let steps = steps::Steps::of(plan);
        let lines = dockerfile::LineIndex::new(&loaded.text);
        let mut details = Details { source: Some((file_name(build), loaded.text.clone())), ..Details::default() };
        for (stage, planned) in plan.stages.iter().enumerate() {
            let offset = usize::from(planned.from_line.is_some());
            for (number, op) in planned.ops.iter().enumerate() {
                let id = steps.id(stage, number);
                let line = |at: usize| u32::try_from(lines.line(at)).unwrap_or(u32::MAX);
                let last = op.span.end.saturating_sub(1).max(op.span.start);
                details.locations.insert(id.clone(), (line(op.span.start), line(last)));
                let times = timeline.of(executor.vertices[stage][number + offset]);
                // A stage that nobody asked for, since all that reads from it was in the cache, has no times.
                if times.ended.is_some() {
                    details.timings.push(Timing {
                        id,
                        name: op.name.clone(),
                        cached: times.cached,
                        started_on: times.started.map(date),
                        finished_on: times.ended.map(date),
                    });
                }
            }
        }
        let along = steps.along_target(plan);
        chain = along.into_iter().zip(&result.layers).map(|(id, (_, layer))| (id, layer.is_some())).collect();
        details.steps = steps.into_list();
        details
    });
    let provenance = Provenance {
        builder_id: request.builder_id.clone(),
        config_uri: config_uri(build, loaded, &executor.fetcher.materials),
        config_path: file_name(build),
        args: arguments(build),
        secrets,
        ssh,
        locals,
        builder_platform: Platform::host().to_string(),
        dependencies,
        invocation_id: timeline.invocation.clone(),
        started_on: date(timeline.started),
        finished_on: String::new(),
        vcs: build.vcs.iter().map(|(key, value)| (key.clone(), redact(value))).collect(),
        hermetic: complete && !networked,
        complete_dependencies: complete,
        reproducible: request.reproducible,
        details,
    };
    let base = result.chain.iter().filter(|l| matches!(l, ChainLayer::Base(..))).count();
    Some(Captured { request, provenance, chain, base })
}

impl Captured {
    /// The statement about an image under these names.
    pub(crate) fn about_image(&self, image: &BuiltImage, names: &[Reference]) -> Statement {
        let mut provenance = self.provenance.clone();
        if let Some(details) = &mut provenance.details {
            let mut height = self.base;
            for (id, has_layer) in &self.chain {
                height += usize::from(*has_layer);
                let below = image.layers.iter().take(height).map(|l| l.descriptor.clone()).collect();
                details.layers.insert(id.clone(), below);
            }
        }
        self.statement(provenance, image_subjects(image, names))
    }

    /// The statement about files.
    pub(crate) fn about_files(&self, subjects: Vec<Subject>) -> Statement {
        self.statement(self.provenance.clone(), subjects)
    }

    fn statement(&self, mut provenance: Provenance, subjects: Vec<Subject>) -> Statement {
        provenance.finished_on = date(SystemTime::now());
        let version = self.request.version;
        Statement::new(subjects, version.predicate_type(), provenance.predicate(version))
    }
}

/// How statements name an image: a package URL for each of its names.
pub(crate) fn image_subjects(image: &BuiltImage, names: &[Reference]) -> Vec<Subject> {
    let digest = &image.descriptor.digest;
    if names.is_empty() {
        return vec![Subject::new("_", digest)];
    }
    names.iter().map(|name| Subject::new(image_purl(name, Some(&image.platform)), digest)).collect()
}

fn images(plan: &Plan) -> Vec<Dependency> {
    let mut found = BTreeSet::new();
    for image in &plan.images {
        let platform = image.config.platform();
        let uri = match &image.origin {
            ImageOrigin::Registry(reference) => image_purl(reference, Some(&platform)),
            ImageOrigin::Layout(_) => {
                let name = image.name.split('@').next().unwrap_or_default();
                format!("pkg:oci/{name}?platform={}", platform.to_string().replace('/', "%2F"))
            }
        };
        found.insert(Dependency { name: None, uri, digest: digest_set(&image.digest) });
    }
    found.into_iter().collect()
}

/// The files that the build read from a local context: the SHA-256 of the sorted digests of what COPY, ADD and bind
/// mounts selected there. Where the context is a repository's clean work tree, its commit, too.
fn context_dependency(executor: &Executor<'_>, build: &BuildRequest) -> Option<Dependency> {
    if !matches!(build.context, Context::Source(ContextSource::Directory(_)) | Context::Stdin(_)) {
        return None;
    }
    let mut digests = BTreeSet::new();
    for (stage, planned) in executor.plan.stages.iter().enumerate() {
        for (number, op) in planned.ops.iter().enumerate() {
            let fields = &executor.keys[stage].fields(number);
            let field = |label: String| fields.iter().find(|(name, _)| *name == label).map(|(_, value)| value.clone());
            match &op.kind {
                OpKind::Copy(copy) => {
                    for (position, item) in copy.items.iter().enumerate() {
                        if matches!(item, CopyItem::Tree { from: SourceRef::Context, .. }) {
                            digests.extend(field(format!("source {position}")));
                        }
                    }
                }
                OpKind::Run(run) => {
                    for (position, mount) in run.mounts.iter().enumerate() {
                        if mount.kind == MountKind::Bind && matches!(mount.from, None | Some(SourceRef::Context)) {
                            digests.extend(field(format!("mount {position} source")));
                        }
                    }
                }
                OpKind::Mkdir { .. } => {}
            }
        }
    }
    if digests.is_empty() {
        return None;
    }
    let mut digester = Digester::new();
    for digest in &digests {
        digester.update(digest.as_bytes());
        digester.update(b"\n");
    }
    let mut set = BTreeMap::from([("filesSha256".to_owned(), digester.finish().hex().to_owned())]);
    if let Some(revision) = build.vcs.get("revision").filter(|r| !r.ends_with("-dirty")) {
        set.insert("gitCommit".to_owned(), revision.clone());
    }
    Some(Dependency { name: Some("context".to_owned()), uri: "local:context".to_owned(), digest: set })
}

fn asked(plan: &Plan) -> (Vec<Asked>, Vec<Asked>) {
    let mut found: [BTreeMap<String, bool>; 2] = Default::default();
    for op in plan.stages.iter().flat_map(|s| &s.ops) {
        let OpKind::Run(run) = &op.kind else { continue };
        for mount in &run.mounts {
            let place = match mount.kind {
                MountKind::Secret => 0,
                MountKind::Ssh => 1,
                _ => continue,
            };
            // It is optional where no step insists on it.
            *found[place].entry(mount.id.clone()).or_insert(true) &= !mount.required;
        }
    }
    let [secrets, ssh] = found.map(|m| m.into_iter().map(|(id, optional)| Asked { id, optional }).collect());
    (secrets, ssh)
}

fn locals(build: &BuildRequest) -> Vec<String> {
    let mut out = Vec::new();
    if matches!(build.context, Context::Source(ContextSource::Directory(_))) {
        out.extend(["context".to_owned(), "dockerfile".to_owned()]);
    }
    for (name, source) in &build.named_contexts {
        if matches!(source, ContextSource::Directory(_)) {
            out.push(name.clone());
        }
    }
    out
}

/// The Dockerfile as BuildKit's `filename` has it: never with a directory of this machine.
fn file_name(build: &BuildRequest) -> String {
    let local = matches!(build.context, Context::Source(ContextSource::Directory(_)));
    match &build.dockerfile {
        Some(DockerfileSource::Path(path)) if local => {
            path.file_name().map_or_else(|| "Dockerfile".to_owned(), |n| n.to_string_lossy().into_owned())
        }
        Some(DockerfileSource::Path(path)) => path.display().to_string(),
        Some(DockerfileSource::Url(url)) => redact(url),
        Some(DockerfileSource::Stdin(_)) | None => "Dockerfile".to_owned(),
    }
}

fn config_uri(
    build: &BuildRequest,
    loaded: &Loaded,
    materials: &Materials,
) -> Option<(String, BTreeMap<String, String>)> {
    let uri = match &build.context {
        Context::Source(ContextSource::Git(url) | ContextSource::Http(url)) => redact(url),
        _ => return None,
    };
    let known = materials.list().into_iter().find(|d| d.uri == uri).map(|d| d.digest);
    let commit = || loaded.commit.as_ref().map(|c| BTreeMap::from([("sha1".to_owned(), c.clone())]));
    let digest = known.or_else(commit).unwrap_or_default();
    Some((uri, digest))
}

fn arguments(build: &BuildRequest) -> BTreeMap<String, String> {
    let mut args = BTreeMap::new();
    let mut put = |key: String, value: String| drop(args.insert(key, value));
    for (name, value) in &build.build_args {
        put(format!("build-arg:{name}"), value.clone());
    }
    for (name, value) in &build.labels {
        put(format!("label:{name}"), value.clone());
    }
    if let Some(target) = &build.target {
        put("target".into(), target.clone());
    }
    if build.no_cache || !build.no_cache_filter.is_empty() {
        put("no-cache".into(), build.no_cache_filter.join(","));
    }
    match build.network {
        Network::Default => {}
        Network::None => put("force-network-mode".into(), "none".into()),
        Network::Host => put("force-network-mode".into(), "host".into()),
    }
    if !build.add_hosts.is_empty() {
        let hosts: Vec<String> = build.add_hosts.iter().map(|(name, ip)| format!("{name}={ip}")).collect();
        put("add-hosts".into(), hosts.join(","));
    }
    if let Some(size) = build.shm_size {
        put("shm-size".into(), size.to_string());
    }
    if !build.ulimits.is_empty() {
        let limits: Vec<String> = build.ulimits.iter().map(|(n, soft, hard)| format!("{n}={soft}:{hard}")).collect();
        put("ulimit".into(), limits.join(","));
    }
    for (name, source) in &build.named_contexts {
        let text = match source {
            ContextSource::Directory(_) => format!("local:{name}"),
            ContextSource::Git(url) | ContextSource::Http(url) => redact(url),
            ContextSource::Image(reference) => format!("docker-image://{reference}"),
            ContextSource::OciLayout { path, .. } => {
                let name = path.file_name().unwrap_or(Path::new("layout").as_os_str());
                format!("oci-layout://{}", name.to_string_lossy())
            }
        };
        put(format!("context:{name}"), text);
    }
    args
}
