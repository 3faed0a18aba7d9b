//! The engine: opens a store, takes requests, gives images.
use crate::cache::{Collected, Exporter, Imports, Loading};
use crate::contexts::{Fetcher, NamedTrees};
use crate::error::{BuildError, Diagnostics, Kind, Result};
use crate::event::{Event, Events, Outcome};
use crate::exec::{Executor, Slots};
use crate::export::{Attached, Early, Export, Sboms, Whole, load, write_files};
use crate::history::Recorder;
use crate::image::{BuiltImage, ImageOptions, assemble};
use crate::images::ImageResolver;
use crate::place::Place;
use crate::plan::{ImageOrigin, Plan, PlanInput, plan};
use crate::provenance::{Captured, Timeline, capture};
use crate::request::{BuildRequest, CacheBackend, CacheMode, Output, OutputKind};
use crate::snapshot::{ChainLayer, Layers};
use crate::source::http::HttpClient;
use crate::store::Store;
use crate::vertices::Vertices;
use oci::media_type::Compression;
use oci::{Descriptor, Digest, Platform, Reference};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// What an engine needs from the place it runs in.
#[derive(Debug)]
pub struct EngineOptions {
    /// The store's directory.
    pub root: PathBuf,
    /// How registries are talked to.
    pub registry: registry::ClientOptions,
    /// Starts the helper processes of steps.
    pub launcher: sandbox::Launcher,
    /// Whether this process is root in a user namespace, and with how many ids.
    pub entered: sandbox::userns::Entered,
    /// The isolation that was asked for.
    pub isolation: Option<sandbox::IsolationRequest>,
    /// The content of /etc/resolv.conf for steps.
    pub resolv_conf: Vec<u8>,
    /// The environment: for secrets from variables, git, the SSH agent.
    pub env: BTreeMap<String, String>,
}

/// A builder on one store.
#[derive(Debug)]
pub struct Engine {
    store: Arc<Store>,
    client: registry::Client,
    http: HttpClient,
    place: Arc<Place>,
    env: BTreeMap<String, String>,
}

/// An image that was built.
#[derive(Debug, Clone)]
pub struct PlatformResult {
    /// What it runs on.
    pub platform: Platform,
    /// Its manifest.
    pub descriptor: Descriptor,
    /// Its config's digest: Docker's image ID.
    pub config: Descriptor,
    /// Diff IDs and compressed sizes of its layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// What is attested about it.
    pub statements: Vec<attest::statement::Statement>,
}

/// What a build came to.
#[derive(Debug, Clone)]
pub struct BuildResult {
    /// What the image's names point to: a manifest, or an index of several.
    pub descriptor: Descriptor,
    /// The images, one a platform.
    pub images: Vec<PlatformResult>,
    /// The names that it was given.
    pub names: Vec<String>,
    /// The commit of a git context.
    pub commit: Option<String>,
    /// What `docker load` said.
    pub loaded: Option<String>,
    /// The images of registries that it was made from: name, tag and digest as they were resolved.
    pub bases: Vec<Reference>,
}

/// A Dockerfile that was read and parsed, for `check`, `outline` and `targets`.
#[derive(Debug)]
pub struct LoadedDockerfile {
    /// Its name.
    pub name: String,
    /// Its text.
    pub text: String,
    /// What the parser made of it.
    pub parsed: dockerfile::Parsed,
    /// The patterns of the ignore file beside it.
    pub ignore: Option<String>,
}

impl Engine {
    /// Opens the store and finds out how commands can be run here.
    ///
    /// # Errors
    /// Where the store cannot be used, or a registry option makes no sense.
    pub fn open(options: EngineOptions) -> Result<Self> {
        let store = Arc::new(Store::open(&options.root)?);
        let http = HttpClient::new(&options.registry.trust, &options.registry.proxy, &options.registry.user_agent)
            .map_err(|e| BuildError::new(Kind::Input, e.to_string()).caused_by(e))?;
        let client = registry::Client::new(options.registry).map_err(crate::contexts::remote_error)?;
        let place = Arc::new(Place::new(
            options.launcher,
            options.resolv_conf,
            store.root().to_owned(),
            options.entered,
            options.isolation,
            options.env.get("PATH").map(Into::into).unwrap_or_default(),
        ));
        Ok(Self { store, client, http, place, env: options.env })
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The same, to be kept.
    #[must_use]
    pub fn shared_store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }

    /// How commands are run here, and why.
    ///
    /// # Errors
    /// Where none of the isolations works, or the one that was asked for does not.
    pub fn choice(&self) -> Result<&sandbox::Choice> {
        self.place.choice()
    }

    /// How commands were run here, if there was need to find out. Tries nothing.
    #[must_use]
    pub fn chosen(&self) -> Option<&sandbox::Choice> {
        self.place.chosen()
    }

    /// Reads and parses the Dockerfile of a request without building anything.
    ///
    /// # Errors
    /// Where context or Dockerfile cannot be read.
    pub fn load(
        &self,
        request: &BuildRequest,
        events: &Events,
        cancel: &sandbox::CancelToken,
    ) -> Result<LoadedDockerfile> {
        let (vertices, cancelled) = (Vertices::default(), || cancel.is_cancelled());
        let fetcher = self.fetcher(request, events, &vertices, &cancelled);
        let loaded = fetcher.load()?;
        let parsed = dockerfile::parse(&loaded.text);
        Ok(LoadedDockerfile { name: loaded.name, text: loaded.text, parsed, ignore: loaded.ignore_text })
    }

    fn fetcher<'a>(
        &'a self,
        request: &'a BuildRequest,
        events: &'a Events,
        vertices: &'a Vertices,
        cancelled: &'a (dyn Fn() -> bool + Sync),
    ) -> Fetcher<'a> {
        let materials = Arc::default();
        Fetcher {
            store: &self.store,
            http: &self.http,
            env: &self.env,
            request,
            events,
            vertices,
            cancelled,
            materials,
            ssh: Arc::default(),
        }
    }

    /// Builds.
    ///
    /// # Errors
    /// [`BuildError`]: what failed, where in the Dockerfile, and what to do.
    pub fn build(&self, request: &BuildRequest, events: &Events, cancel: &sandbox::CancelToken) -> Result<BuildResult> {
        let stop = sandbox::CancelToken::new();
        let (inner, client) = (stop.clone(), self.client.clone());
        let _registration = cancel.on_cancel(move || {
            inner.cancel();
            client.cancel();
        });
        if self.store.recovered() > 0 {
            let message = format!(
                "the machine stopped before the last build was on disk: {} objects are removed from the store and made again",
                self.store.recovered()
            );
            events.send(Event::Warning { id: None, message });
        }
        let vertices = Arc::new(Vertices::default());
        let mut skip = BTreeSet::new();
        let result = loop {
            // A failed attempt cancels all that runs for it, and only that.
            let attempt = sandbox::CancelToken::new();
            let inner = attempt.clone();
            let _registration = stop.on_cancel(move || inner.cancel());
            let mut imports = None;
            let result = self.build_with(request, events, &vertices, &attempt, &skip, &mut imports);
            if let Some(imports) = imports {
                imports.keep(&self.store)?;
                if result.is_err()
                    && !cancel.is_cancelled()
                    && let Some((number, why)) = imports.take_broken()
                    && skip.insert(number)
                {
                    let message = format!("the cache in {why}; building again without it");
                    events.send(Event::Warning { id: None, message });
                    continue;
                }
            }
            break result;
        };
        if cancel.is_cancelled() {
            return result.map_err(|_| BuildError::canceled());
        }
        self.store.save_file_digests();
        // An image that has been pushed or written elsewhere is safe; the rest is a cache (see `store::durable`).
        if request.outputs.iter().any(|output| output.kind == OutputKind::Image && !output.push) {
            self.store.sync();
        }
        result
    }

    /// One attempt. `used` is set to what was imported, as soon as that is known; the caches in `skip` are left out.
    fn build_with(
        &self,
        request: &BuildRequest,
        events: &Events,
        vertices: &Arc<Vertices>,
        stop: &sandbox::CancelToken,
        skip: &BTreeSet<usize>,
        used: &mut Option<Arc<Imports>>,
    ) -> Result<BuildResult> {
        let timeline = Timeline::over(events, request);
        let events = &timeline.events;
        let loading = Loading::start(&request.cache_from, skip, &self.client, &self.http, events, vertices);
        let cancelled = || stop.is_cancelled();
        let fetcher = self.fetcher(request, events, vertices, &cancelled);
        let line = vertices.start(events, "[internal] load build definition from Dockerfile", None, &[]);
        let loaded = fetcher.load();
        let outcome = loaded.as_ref().map_or_else(|e| Outcome::Failed(e.message().to_owned()), |_| Outcome::Done);
        vertices.end(events, line, outcome);
        let loaded = loaded?;
        let parsed = dockerfile::parse(&loaded.text);
        let diagnostics = |list: Vec<dockerfile::Diagnostic>| Diagnostics {
            file: loaded.name.clone(),
            source: loaded.text.clone(),
            list,
        };
        let Some(file) = parsed.dockerfile.filter(|_| !parsed.diagnostics.iter().any(dockerfile::Diagnostic::is_error))
        else {
            let first = parsed.diagnostics.iter().find(|d| d.is_error());
            let message = first.map_or_else(|| "the Dockerfile cannot be parsed".to_owned(), |d| d.message.clone());
            return Err(BuildError::new(Kind::Dockerfile, message).with_diagnostics(diagnostics(parsed.diagnostics)));
        };
        // Errors with a place are shown with the text around it.
        let located = |error: BuildError| match error.diagnostics() {
            Some(_) => error,
            None => error.with_diagnostics(diagnostics(Vec::new())),
        };

        checks(&file, &loaded, request, events, None).map_err(located)?;
        if let Some(syntax) = &file.directives.syntax
            && !syntax.value.contains("docker/dockerfile")
        {
            let message = format!(
                "# syntax={}: custom frontends are not run; the file is read as a Dockerfile of version 1.26",
                syntax.value
            );
            events.send(Event::Warning { id: None, message });
        }
        if request.sbom.is_some() && loaded.text.contains("BUILDKIT_SBOM_SCAN_") {
            let message = "BUILDKIT_SBOM_SCAN_…: the SBOM lists the final image alone, not stages or the context";
            events.send(Event::Warning { id: None, message: message.to_owned() });
        }
        let has_run = |stage: &dockerfile::ast::Stage| {
            stage.instructions.iter().any(|i| matches!(i.kind, dockerfile::ast::Kind::Run(_)))
        };
        if skip.is_empty()
            && request.cache_from.is_empty()
            && self.store.has_no_steps()
            && file.stages.iter().any(has_run)
        {
            // Nothing can be a hit: how commands are run here is found out while the base images are looked up.
            let place = Arc::clone(&self.place);
            let _ = std::thread::Builder::new().name("probe".to_owned()).spawn(move || place.choice().is_ok());
        }
        let host = Platform::host();
        let platform = request.platforms.first().unwrap_or(&host);
        let input = PlanInput { dockerfile: &file, request, platform, build_platform: &host };
        let settled = crate::epoch::settle(&fetcher, &loaded, &input).map_err(located)?;
        let request = settled.as_ref().unwrap_or(request);
        let history = Recorder::new(Arc::clone(&self.store), request, &loaded.name, &loaded.text);
        let result = self
            .build_plans(request, events, stop, &fetcher, &file, &loaded, &history, &timeline, &located, loading, used);
        history.finish(
            result.as_ref().map(|built| if built.images.is_empty() { "" } else { built.descriptor.digest.as_str() }),
        );
        result
    }

    /// Plans and runs the platforms one after the other, and exports.
    #[expect(clippy::too_many_arguments, reason = "what was loaded, and who listens")]
    fn build_plans(
        &self,
        request: &BuildRequest,
        events: &Events,
        stop: &sandbox::CancelToken,
        fetcher: &Fetcher<'_>,
        file: &dockerfile::ast::Dockerfile,
        loaded: &crate::contexts::Loaded,
        history: &Recorder,
        timeline: &Timeline,
        located: &dyn Fn(BuildError) -> BuildError,
        loading: Loading,
        used: &mut Option<Arc<Imports>>,
    ) -> Result<BuildResult> {
        let (vertices, cancelled) = (fetcher.vertices, fetcher.cancelled);
        let lines = dockerfile::LineIndex::new(&loaded.text);
        let host = Platform::host();
        let platforms: Vec<Platform> =
            if request.platforms.is_empty() { vec![host.clone()] } else { request.platforms.clone() };
        let settings = Settings::of(request)?;
        let resolver = ImageResolver::new(&self.store, &self.client, request, events, vertices);
        let named = NamedTrees::new();
        let (store, client) = (Arc::clone(&self.store), self.client.clone());
        let early = Early::new(self.client.clone(), &settings.pushed, events);
        let layers = Arc::new(Layers::new(store, client, events.clone(), Arc::clone(&self.place), stop.clone(), early));
        let _packing = crate::snapshot::PackingGuard(Arc::clone(&layers));
        let mut plans = Vec::new();
        for platform in &platforms {
            let input = PlanInput { dockerfile: file, request, platform, build_platform: &host };
            let plan = plan(&input, &resolver).map_err(located)?;
            for message in &plan.warnings {
                events.send(Event::Warning { id: None, message: message.clone() });
            }
            plans.push(plan);
        }
        checks(file, loaded, request, events, plans.first()).map_err(located)?;
        let epoch = plans.last().and_then(|plan| plan.epoch);
        let imports = loading.finish(events);
        *used = Some(Arc::clone(&imports));
        layers.set_imports(imports);
        let (running, doing) = (Arc::new(Slots::new(request.parallelism)), Arc::default());
        let mut executors = Vec::new();
        for plan in &plans {
            let mut executor = Executor {
                plan,
                fetcher: fetcher.clone(),
                layers: Arc::clone(&layers),
                context: Arc::clone(&loaded.context),
                named: &named,
                place: &self.place,
                stop: stop.clone(),
                compression: settings.layers,
                cache_compression: settings.cache_layers,
                rewrite: settings.rewrite,
                cells: Vec::new(),
                keys: Vec::new(),
                rebuilds: false,
                inputs: Mutex::default(),
                digests: Mutex::default(),
                history,
                lines: &lines,
                recorded: Vec::new(),
                first_error: Mutex::default(),
                vertices: Vec::new(),
                running: Arc::clone(&running),
                doing: Arc::clone(&doing),
                trees: Mutex::default(),
            };
            executor.prepare().map_err(located)?;
            if !settings.local_blobs {
                executor.list_only();
            }
            executors.push(executor);
        }
        let ended = build_all(&executors);
        let steps = match request.cache_to.is_empty() {
            true => vec![Vec::new(); executors.len()],
            false => executors.iter().map(Executor::collect).collect(),
        };
        let told = |results: &Vec<Arc<crate::exec::StageResult>>| -> Vec<Captured> {
            executors.iter().zip(results).filter_map(|(e, result)| capture(e, result, loaded, timeline)).collect()
        };
        let captured = ended.as_ref().map(told).unwrap_or_default();
        let mounts: BTreeSet<String> = executors.iter().flat_map(Executor::cache_mounts).collect();
        drop(executors);
        let mut results = Vec::new();
        for ((platform, plan), result) in platforms.iter().zip(plans).zip(ended.map_err(located)?) {
            results.push((platform.clone(), plan, result));
        }
        if stop.is_cancelled() {
            return Err(BuildError::canceled());
        }
        self.export(
            request,
            events,
            vertices,
            &layers,
            &settings,
            &results,
            (&steps, &mounts),
            &captured,
            epoch,
            &loaded.commit,
            cancelled,
        )
    }

    #[expect(clippy::too_many_arguments, reason = "the end of a build knows all of it")]
    fn export(
        &self,
        request: &BuildRequest,
        events: &Events,
        vertices: &Vertices,
        layers: &Arc<Layers>,
        settings: &Settings,
        results: &[(Platform, crate::plan::Plan, Arc<crate::exec::StageResult>)],
        (steps, mounts): (&[Vec<Collected>], &BTreeSet<String>),
        captured: &[Captured],
        epoch: Option<i64>,
        commit: &Option<String>,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<BuildResult> {
        let mut outputs: Vec<(Output, &str)> = Vec::new();
        for output in &request.outputs {
            outputs.push((output.clone(), name_of(output.kind)));
        }
        let default = Output::of_kind(OutputKind::Image);
        if !request.outputs.iter().any(|o| !matches!(o.kind, OutputKind::Tar | OutputKind::Local)) {
            outputs.insert(0, (default, "exporting to the store"));
        }
        let mut built: Option<(Whole, Vec<oci::Reference>)> = None;
        let mut loaded = None;
        let made = results.iter().map(|_| std::cell::OnceCell::new()).collect();
        let sboms = Sboms { request: request.sbom.as_ref(), layers, results, events, vertices, epoch, made };
        for (output, title) in outputs {
            let line = vertices.start(events, title, None, &[]);
            let export = Export { layers, line, cancelled };
            let names = if output.names.is_empty() { request.tags.clone() } else { output.names.clone() };
            let result = (|| {
                if matches!(output.kind, OutputKind::Tar | OutputKind::Local) {
                    let chains: Vec<(Platform, Vec<ChainLayer>)> =
                        results.iter().map(|(p, _, r)| (p.clone(), r.chain.clone())).collect();
                    return write_files(&export, &output, &chains, captured, &sboms, epoch);
                }
                let options = settings.image_options(request, &output);
                let mut images: Vec<BuiltImage> = Vec::new();
                let inline = request.cache_to.iter().any(|target| target.backend == CacheBackend::Inline);
                for ((_, plan, result), steps) in results.iter().zip(steps) {
                    let stage = &plan.stages[plan.target];
                    let inline = inline.then_some(steps.as_slice());
                    images.push(assemble(layers, stage, result, plan.epoch, &options, inline, line)?);
                }
                let multi = request.platforms.len() > 1;
                let statements = if output.kind == OutputKind::Docker {
                    if !captured.is_empty() || request.sbom.is_some() {
                        let message = "a Docker archive carries no attestations; -o type=oci does".to_owned();
                        events.send(Event::Warning { id: None, message });
                    }
                    Vec::new()
                } else {
                    statements(&images, captured, &sboms, &names)?
                };
                let attached = images
                    .iter()
                    .zip(statements)
                    .map(|(image, statements)| Attached::new(image, statements, output.oci_artifact))
                    .collect();
                let whole = Whole::new(images, multi, options.oci, &options.annotations, attached);
                if output.kind == OutputKind::Docker && output.dest.is_none() {
                    let path = self.store.scratch("load.tar");
                    let mut to_file = output.clone();
                    to_file.dest = Some(path.display().to_string());
                    export.image(&whole, &to_file, &names)?;
                    loaded = Some(load(&path, &self.env)?);
                } else {
                    export.image(&whole, &output, &names)?;
                }
                export.keep(&whole, &names, output.name_canonical)?;
                built = Some((whole, names.clone()));
                Ok(())
            })();
            let outcome = match &result {
                Ok(()) => Outcome::Done,
                Err(e) if e.kind() == Kind::Canceled => Outcome::Canceled,
                Err(e) => Outcome::Failed(e.message().to_owned()),
            };
            vertices.end(events, line, outcome);
            result?;
        }
        let images = results.iter().flat_map(|(_, plan, _)| plan.images.iter());
        let bases: Vec<(Digest, Descriptor)> = images.flat_map(|image| image.layers.iter().cloned()).collect();
        self.export_caches(request, events, vertices, layers, settings, (&steps.concat(), mounts), &bases, cancelled)?;
        let bases: BTreeSet<&Reference> = results
            .iter()
            .flat_map(|(_, plan, _)| &plan.images)
            .filter_map(|image| match &image.origin {
                ImageOrigin::Registry(reference) => Some(reference),
                ImageOrigin::Layout(_) => None,
            })
            .collect();
        let bases: Vec<Reference> = bases.into_iter().cloned().collect();
        let Some((whole, names)) = built else {
            // Files only: there is no image.
            let digest = Digest::sha256(b"");
            return Ok(BuildResult {
                descriptor: Descriptor::new("", digest, 0),
                images: Vec::new(),
                names: Vec::new(),
                commit: commit.clone(),
                loaded,
                bases,
            });
        };
        let images = whole
            .images
            .iter()
            .map(|image| PlatformResult {
                platform: image.platform.clone(),
                descriptor: image.descriptor.clone(),
                config: image.config_descriptor.clone(),
                layers: image.layers.iter().map(|l| l.descriptor.clone()).collect(),
                statements: whole.statements_about(&image.descriptor.digest),
            })
            .collect();
        Ok(BuildResult {
            descriptor: whole.top(),
            images,
            names: names.iter().map(|n| n.clone().or_latest().to_string()).collect(),
            commit: commit.clone(),
            loaded,
            bases,
        })
    }
}

/// Builds all platforms at once. The first error ends the others; it is the one that is told.
fn build_all(executors: &[Executor<'_>]) -> Result<Vec<Arc<crate::exec::StageResult>>> {
    let build = |executor: &Executor<'_>| {
        executor.stage(executor.plan.target).map_err(|error| {
            let first = executor.first_error.lock().unwrap_or_else(PoisonError::into_inner).take();
            first.unwrap_or(error)
        })
    };
    let ended: Vec<Result<_>> = match executors {
        [only] => vec![build(only)],
        _ => std::thread::scope(|scope| {
            let threads: Vec<_> = executors.iter().map(|executor| scope.spawn(move || build(executor))).collect();
            threads.into_iter().map(|t| t.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
        }),
    };
    let (results, mut errors): (Vec<_>, Vec<_>) = ended.into_iter().partition(Result::is_ok);
    errors.sort_by_key(|error| error.as_ref().is_err_and(|e| e.kind() == Kind::Canceled));
    match errors.into_iter().next() {
        Some(error) => error.map(|_| Vec::new()),
        None => results.into_iter().collect(),
    }
}

impl Engine {
    /// `--cache-to`, after the image: what was pushed is mounted, not uploaded again.
    #[expect(clippy::too_many_arguments, reason = "the end of a build knows all of it")]
    fn export_caches(
        &self,
        request: &BuildRequest,
        events: &Events,
        vertices: &Vertices,
        layers: &Arc<Layers>,
        settings: &Settings,
        (steps, mounts): (&[Collected], &BTreeSet<String>),
        bases: &[(Digest, Descriptor)],
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<()> {
        let mut pushed: Vec<oci::Reference> = Vec::new();
        for output in request.outputs.iter().filter(|o| o.push || o.kind == OutputKind::Registry) {
            pushed.extend(if output.names.is_empty() { request.tags.clone() } else { output.names.clone() });
        }
        let compression = settings.layers.unwrap_or((Compression::Gzip, None));
        let exporter =
            Exporter { layers, http: &self.http, steps, mounts, bases, pushed: &pushed, compression, cancelled };
        for target in request.cache_to.iter().filter(|target| target.backend != CacheBackend::Inline) {
            let line = vertices.start(events, crate::cache::title(&target.backend), None, &[]);
            let result = exporter.export(target, line);
            let outcome = match &result {
                Ok(()) => Outcome::Done,
                Err(e) if e.kind() == Kind::Canceled => Outcome::Canceled,
                Err(e) => Outcome::Failed(e.message().to_owned()),
            };
            vertices.end(events, line, outcome);
            match result {
                Err(error) if target.ignore_error && error.kind() != Kind::Canceled => {
                    let message = format!("the cache is not exported: {error}");
                    events.send(Event::Warning { id: None, message });
                }
                other => other.map_err(|e| e.context("cannot export the cache"))?,
            }
        }
        Ok(())
    }
}

/// What is said about each image, in the order of the images; nothing at all where nothing was asked for.
fn statements(
    images: &[BuiltImage],
    captured: &[Captured],
    sboms: &Sboms<'_>,
    names: &[oci::Reference],
) -> Result<Vec<Vec<attest::statement::Statement>>> {
    if captured.is_empty() && sboms.request.is_none() {
        return Ok(Vec::new());
    }
    let about = |(number, image): (usize, &BuiltImage)| {
        let mut all: Vec<_> = sboms.about_image(number, image, names)?.into_iter().collect();
        all.extend(captured.get(number).map(|captured| captured.about_image(image, names)));
        Ok(all)
    };
    images.iter().enumerate().map(about).collect()
}

/// BuildKit's checks: warnings, and with `# check=error=true` the end of the build. With a plan, whose base images are
/// known, only what the rules say beyond what they said without.
fn checks(
    file: &dockerfile::ast::Dockerfile,
    loaded: &crate::contexts::Loaded,
    request: &BuildRequest,
    events: &Events,
    plan: Option<&Plan>,
) -> Result<()> {
    use dockerfile::lint::{Config, Input, run};
    let host = oci::Platform::host();
    let platform = |p: &Platform| {
        let default = dockerfile::eval::Options::default().build_platform;
        dockerfile::platform::Platform::parse(&p.to_string(), &default).unwrap_or(default)
    };
    let options = dockerfile::eval::Options {
        build_args: request.build_args.clone(),
        target: request.target.clone(),
        target_platform: platform(request.platforms.first().unwrap_or(&host)),
        build_platform: platform(&host),
        ..dockerfile::eval::Options::default()
    };
    let base = |name: &str| {
        let image = plan.and_then(|plan| Some(&plan.images[*plan.named.get(name)?]))?;
        let pairs = image.config.config.env.iter().filter_map(|text| text.split_once('='));
        Some(dockerfile::eval::BaseImage {
            env: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            has_shell: image.config.config.shell.as_ref().is_some_and(|shell| !shell.is_empty()),
        })
    };
    let config =
        match request.build_args.get("BUILDKIT_DOCKERFILE_CHECK") {
            Some(text) => Some(Config::parse(text).map_err(|e| {
                BuildError::new(Kind::Input, format!("invalid BUILDKIT_DOCKERFILE_CHECK {text:?}: {e}"))
            })?),
            None => None,
        };
    let ignore = loaded.ignore_text.as_deref().and_then(|text| dockerfile::ignore::Ignore::parse(text).ok());
    let said = match plan {
        Some(_) => {
            run(file, &Input { options: options.clone(), ignore: ignore.as_ref(), config: config.clone() }).findings
        }
        None => Vec::new(),
    };
    let options = dockerfile::eval::Options { base_images: &base, ..options };
    let report = run(file, &Input { options, ignore: ignore.as_ref(), config });
    let lines = dockerfile::LineIndex::new(&loaded.text);
    for finding in report.findings.iter().filter(|finding| !said.contains(finding)) {
        let line = lines.line(finding.span.start);
        let message = format!("{}: {} (line {line})", finding.rule.name, finding.detail);
        events.send(Event::Warning { id: None, message });
    }
    match (report.violation(), report.findings.first()) {
        (Some(message), Some(first)) => Err(BuildError::new(Kind::Dockerfile, message)
            .at(first.span)
            .hint("`cooperage check` shows each finding; skip a rule with `# check=skip=RULE`")),
        _ => Ok(()),
    }
}

fn name_of(kind: OutputKind) -> &'static str {
    match kind {
        OutputKind::Image | OutputKind::Registry => "exporting to image",
        OutputKind::Oci => "exporting to oci image format",
        OutputKind::Docker => "exporting to docker image format",
        OutputKind::Tar => "exporting to client tarball",
        OutputKind::Local => "exporting to client directory",
    }
}

/// What outputs ask of layers.
struct Settings {
    /// The compression of layers while they are made: that of the first output that has any.
    layers: Option<(Compression, Option<i32>)>,
    /// Whether an output wants the base's layers here.
    local_blobs: bool,
    /// Where layers of that compression are pushed to.
    pushed: Vec<oci::Reference>,
    /// The same for the layers of other stages, where an external cache takes them, too.
    cache_layers: Option<(Compression, Option<i32>)>,
    /// With `rewrite-timestamp=true`: no file is younger than this.
    rewrite: Option<i64>,
}

impl Settings {
    fn of(request: &BuildRequest) -> Result<Self> {
        let image = |o: &&Output| !matches!(o.kind, OutputKind::Tar | OutputKind::Local);
        let first = request.outputs.iter().find(image);
        let layers = match first {
            Some(output) => Some((compression(output), output.compression_level)),
            None if request.outputs.is_empty() => Some((Compression::Gzip, None)),
            None => None,
        };
        let wanted = request.outputs.iter().any(|o| o.rewrite_timestamp);
        let epoch = match request.build_args.get("SOURCE_DATE_EPOCH").filter(|v| !v.is_empty()) {
            Some(text) => text.parse().ok(),
            None => request.source_date_epoch,
        };
        if wanted && epoch.is_none() {
            return Err(BuildError::new(Kind::Input, "rewrite-timestamp=true needs SOURCE_DATE_EPOCH")
                .hint("set it in the environment or with --build-arg SOURCE_DATE_EPOCH=SECONDS"));
        }
        let pushes = |o: &&Output| match o.kind {
            OutputKind::Registry => true,
            OutputKind::Image => o.push,
            _ => false,
        };
        let same = |o: &&Output| layers == Some((compression(o), o.compression_level)) && !o.force_compression;
        let names = |o: &Output| if o.names.is_empty() { request.tags.clone() } else { o.names.clone() };
        let pushed = request.outputs.iter().filter(pushes).filter(same).flat_map(names).collect();
        let local_blobs = request
            .outputs
            .iter()
            .any(|o| o.force_compression || !matches!(o.kind, OutputKind::Image | OutputKind::Registry));
        let max = request.cache_to.iter().find(|target| target.mode == CacheMode::Max);
        let cache_layers = max.map(|target| crate::cache::form(target, layers.unwrap_or((Compression::Gzip, None))));
        Ok(Self { layers, local_blobs, pushed, cache_layers, rewrite: epoch.filter(|_| wanted) })
    }

    fn image_options(&self, request: &BuildRequest, output: &Output) -> ImageOptions {
        // docker load knows no OCI types in old versions; everything else gets OCI unless it is told otherwise.
        // Attestations are OCI manifests, so the index that lists them is one as well (as BuildKit has it).
        let attested = (request.provenance.is_some() || request.sbom.is_some()) && output.kind != OutputKind::Docker;
        let oci = attested || output.oci_mediatypes.unwrap_or(output.kind != OutputKind::Docker);
        let mut annotations = request.annotations.clone();
        annotations.extend(output.annotations.iter().cloned());
        ImageOptions {
            compression: compression(output),
            level: output.compression_level,
            force: output.force_compression,
            oci,
            annotations,
            base: request.base_metadata,
        }
    }
}

fn compression(output: &Output) -> Compression {
    output.compression.unwrap_or(Compression::Gzip)
}
