//! The steps that make the image and name it.
use super::notify::{News, tell};
use super::version::{configure, existing, git_tag};
use super::{Ended, Failure, Machine, Options, gate, update};
use crate::enrol::Managed;
use crate::source::context_of;
use crate::state::State;
use crate::time;
use build::request::{
    Annotation, AnnotationLevel, BuildRequest, Context, ContextSource, DockerfileSource, Output, OutputKind, Secret,
    SecretSource,
};
use gitops::tags::moving::{Decision, Policy, decide};
use oci::Reference;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The tag of what a build leaves in the store; no registry sees it.
pub(super) const LOCAL_TAG: &str = "factory";

/// All of them, in order.
pub(super) fn all(machine: &mut Machine<'_>, options: &Options) -> Result<(), Failure> {
    let image = machine.image;
    machine.step("validate", |_| true, |m| validate(m, options))?;
    let Some(managed) = image.managed() else { return Ok(()) };
    if options.scan_only {
        return scan_only(machine, managed, options);
    }
    let plan = machine.step(
        "configure",
        |_| true,
        |m| {
            if !options.local {
                // What cannot be asked for in the end is told before anything is out.
                update::check(m, managed, options)?;
            }
            configure(m, managed, options).map(Ended::Done)
        },
    )?;
    let usable = |output: &Value| output["top"].as_str().is_none_or(|top| Path::new(top).is_dir());
    let tree = machine.step("clone", usable, |m| clone(m, managed, &plan))?;
    let request = match request(machine, managed, options, &plan, &tree) {
        Ok(request) => request,
        Err(failure) => {
            machine.failure = Some("build".into());
            return Err(failure);
        }
    };
    let built = machine.step("build", |_| true, |m| build(m, &request, None).map(Ended::Done))?;
    let digest = built["digest"].as_str().unwrap_or_default().to_owned();
    machine.factory.runs.result(machine.run, plan["version"].as_str(), Some(&digest))?;
    let local = |what: &str| Ok(Ended::Skipped(format!("--local {what}")));
    machine.step(
        "push",
        |_| true,
        |m| if options.local { local("pushes nothing") } else { push(m, &request, &built).map(Ended::Done) },
    )?;
    let at = if options.local { gate::Where::Store } else { gate::Where::Registry };
    let sboms = machine.step("sbom", |_| true, |m| gate::sbom(m, managed, options, &plan, &tree, &built, at))?;
    machine.step("scan", |_| true, |m| gate::scan(m, managed, &built, at, false))?;
    machine.step(
        "sign",
        |_| true,
        |m| {
            if options.local {
                local("pushes nothing, and signatures need a registry")
            } else {
                gate::sign(m, managed, &plan, &tree, &built, &sboms)
            }
        },
    )?;
    let tagged = machine.step(
        "tag",
        |_| true,
        |m| match options.local {
            true => local("tags nothing"),
            false => {
                rediscover(m, &tree);
                let tagged = tag(m, &plan, &built)?;
                git_tag(m, managed, &plan, &tree)?;
                Ok(Ended::Done(tagged))
            }
        },
    )?;
    let updated = machine.step(
        "update",
        |_| true,
        |m| {
            if options.local {
                local("updates nothing")
            } else {
                update::all(m, managed, options, &plan, &digest, None)
            }
        },
    )?;
    let news = News {
        version: plan["version"].as_str(),
        digest: Some(&digest),
        tags: tagged["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
        commits: updated["commits"].clone(),
        failure: None,
    };
    machine.step(
        "notify",
        |_| true,
        |m| if options.local { local("tells nobody") } else { tell(m, managed, &news) },
    )?;
    Ok(())
}

/// Tells those who want to hear of failures; that they cannot be reached is in the log.
pub(super) fn tell_failure(machine: &Machine<'_>, options: &Options, failure: &Failure) {
    let (Some(managed), false) = (machine.image.managed(), options.local) else { return };
    let step = machine.failure.clone().unwrap_or_default();
    let news = News {
        version: None,
        digest: None,
        tags: Vec::new(),
        commits: Value::Null,
        failure: Some((&step, &failure.message)),
    };
    if let Err(failure) = tell(machine, managed, &news) {
        machine.log("notify", &format!("warning: {}", failure.message));
    }
}

fn validate(machine: &Machine<'_>, options: &Options) -> Result<Ended, Failure> {
    let name = &machine.image.name;
    if machine.image.managed().is_none() {
        return Err(Failure::new(format!("{name} is watched only: it has no source"))
            .hint("add source: or local: to its entry in images.yaml"));
    }
    let held = machine.factory.state_dir.image(name)?.and_then(|state| state.hold);
    match held {
        Some(hold) if !(options.force || options.local || options.scan_only) => {
            Err(Failure::new(format!("{name} is held: {}", hold.reason))
                .hint(format!("cooperage factory release {name} ends that; --force builds it all the same")))
        }
        _ => Ok(Ended::Done(Value::Null)),
    }
}

/// `--scan-only`: the gate for an image that is in the registry.
fn scan_only(machine: &mut Machine<'_>, managed: &Managed, options: &Options) -> Result<(), Failure> {
    let built = machine.step("configure", |_| true, |m| in_registry(m, options).map(Ended::Done))?;
    machine.factory.runs.result(machine.run, built["version"].as_str(), built["digest"].as_str())?;
    machine.step("scan", |_| true, |m| gate::scan(m, managed, &built, gate::Where::Registry, true))?;
    Ok(())
}

/// What the registry has under a tag, as a build would tell it.
fn in_registry(machine: &Machine<'_>, options: &Options) -> Result<Value, Failure> {
    let state = machine.factory.state_dir.image(&machine.image.name)?;
    let version = options.tag.clone().or_else(|| state.and_then(|state| state.current_version));
    let version = version.ok_or_else(|| {
        Failure::new(format!("{} was never built here", machine.image.name)).hint("say what to scan with --tag")
    })?;
    let reference = repository(machine)?.with_tag(&version);
    let fetched = machine.factory.client.manifest(&reference)?;
    let platforms = platforms_of(&fetched.bytes, &fetched.descriptor.digest.to_string());
    Ok(json!({ "version": version, "digest": fetched.descriptor.digest.to_string(), "platforms": platforms }))
}

/// The images of an index; of a manifest, itself.
fn platforms_of(manifest: &[u8], digest: &str) -> Vec<Value> {
    let document: Value = serde_json::from_slice(manifest).unwrap_or_default();
    let Some(list) = document["manifests"].as_array() else {
        return vec![json!({ "platform": oci::Platform::host().to_string(), "digest": digest })];
    };
    let one = |entry: &Value| {
        let part = |key: &str| entry["platform"][key].as_str().filter(|text| *text != "unknown");
        let variant = part("variant").map(|variant| format!("/{variant}")).unwrap_or_default();
        Some(
            json!({ "platform": format!("{}/{}{variant}", part("os")?, part("architecture")?), "digest": entry["digest"] }),
        )
    };
    list.iter().filter_map(one).collect()
}

/// Brings the image into the registry by digest, where it is not there yet.
fn push(machine: &Machine<'_>, request: &BuildRequest, built: &Value) -> Result<Value, Failure> {
    let name = repository(machine)?;
    let digest = built["digest"].as_str().unwrap_or_default();
    if let Ok(wanted) = digest.parse::<oci::Digest>()
        && machine.factory.client.resolve(&signing::bare(&name, &wanted)).is_ok()
    {
        machine.log("push", &format!("{digest} is there already"));
        return Ok(json!({ "digest": digest }));
    }
    let pushed = build(machine, &pinned(request, built), Some(&name))?;
    if pushed["digest"] != built["digest"] {
        return Err(Failure::new(format!(
            "the image that was pushed is {}, the one that was built {digest}",
            pushed["digest"]
        ))
        .hint("the build gives another result each time; start a new run"));
    }
    Ok(json!({ "digest": digest }))
}

pub(super) fn repository(machine: &Machine<'_>) -> Result<Reference, Failure> {
    machine.image.reference().parse().map_err(|error: oci::ReferenceError| Failure::new(error.to_string()))
}

fn clone(machine: &Machine<'_>, managed: &Managed, plan: &Value) -> Result<Ended, Failure> {
    let dir = machine.factory.enrolment.dir();
    let Some(source) = &managed.source else {
        return Ok(Ended::Skipped("the Dockerfile lies beside images.yaml".into()));
    };
    let (top, commit, at) = match machine.factory.sources.at_hand(source) {
        Some(top) if managed.local.patch_files.is_empty() => (top.to_owned(), None, None),
        Some(_) => {
            return Err(Failure::new("patchFiles are not copied over a checkout of yours").hint("leave --checkout out"));
        }
        None => {
            let work = machine.factory.runs.work_dir(machine.run);
            let _ = std::fs::remove_dir_all(&work);
            std::fs::create_dir_all(&work)
                .map_err(|error| Failure::new(format!("cannot create {}: {error}", work.display())))?;
            let commit = build::source::git::GitCommit {
                commit: plan["commit"].as_str().unwrap_or_default().to_owned(),
                reference: plan["reference"].as_str().map(str::to_owned),
            };
            let tree = machine.factory.sources.checkout(source, &commit, &work)?;
            let at = tree.time.duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
            (tree.root, Some(tree.commit), Some(at))
        }
    };
    let patches = managed.local.dir.as_ref().map_or_else(|| dir.to_owned(), |below| dir.join(below));
    for file in &managed.local.patch_files {
        let to = top.join(file);
        let copied =
            std::fs::create_dir_all(to.parent().unwrap_or(&top)).and_then(|()| std::fs::copy(patches.join(file), &to));
        copied.map_err(|error| {
            Failure::new(format!("cannot copy {} over the source: {error}", patches.join(file).display()))
        })?;
        machine.log("clone", &format!("patched {file}"));
    }
    machine.log("clone", &format!("{} {}", source.url, commit.as_deref().unwrap_or("as it is in the checkout")));
    Ok(Ended::Done(json!({ "top": top.display().to_string(), "commit": commit, "time": at })))
}

fn request(
    machine: &Machine<'_>,
    managed: &Managed,
    options: &Options,
    plan: &Value,
    tree: &Value,
) -> Result<BuildRequest, Failure> {
    let dir = std::path::absolute(machine.factory.enrolment.dir()).unwrap_or_else(|_| PathBuf::from("."));
    let top = tree["top"].as_str().map_or_else(|| dir.clone(), PathBuf::from);
    let (context, dockerfile) = context_of(machine.image, &top, &dir);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let (version, commit) = (text(&plan["version"]), text(&tree["commit"]).or(text(&plan["commit"])));
    let mut labels = managed.labels.clone();
    let mut annotations: BTreeMap<&str, String> = BTreeMap::new();
    let facts = [
        ("org.opencontainers.image.version", version),
        ("org.opencontainers.image.revision", commit),
        (
            "org.opencontainers.image.source",
            managed.source.as_ref().map(|source| source.url.trim_end_matches(".git").to_owned()),
        ),
    ];
    for (key, value) in facts {
        if let Some(value) = value {
            labels.entry(key.into()).or_insert_with(|| value.clone());
            annotations.insert(key, value);
        }
    }
    // The time of the run, so that taking it up again gives the same digest.
    annotations.insert("org.opencontainers.image.created", time::stamp(plan["at"].as_i64().unwrap_or(0)));
    let mut platforms = Vec::new();
    let wanted = if options.platforms.is_empty() && !options.local { &managed.platforms } else { &options.platforms };
    for text in wanted {
        platforms.push(
            text.parse::<oci::Platform>()
                .map_err(|error| Failure::new(error.to_string()).hint("write OS/ARCHITECTURE, such as linux/arm64"))?,
        );
    }
    let multi = platforms.len() > 1;
    let levels =
        if multi { vec![AnnotationLevel::Manifest, AnnotationLevel::Index] } else { vec![AnnotationLevel::Manifest] };
    let annotations = levels.into_iter().flat_map(|level| {
        annotations.iter().map(move |(key, value)| Annotation {
            level,
            platform: None,
            key: (*key).to_owned(),
            value: value.clone(),
        })
    });
    let mut secrets = Vec::new();
    for secret in &managed.secrets {
        let source = match (&secret.file, &secret.env) {
            (Some(file), _) => SecretSource::File(dir.join(file)),
            (None, env) => {
                let name = env.as_ref().unwrap_or(&secret.id);
                if !machine.factory.env.contains_key(name) {
                    return Err(Failure::new(format!(
                        "the secret {} needs the variable {name}, which is not set",
                        secret.id
                    )));
                }
                SecretSource::Env(name.clone())
            }
        };
        secrets.push(Secret { id: secret.id.clone(), source });
    }
    let mut named_contexts = Vec::new();
    for (name, value) in &managed.build_contexts {
        let source = match value.strip_prefix("docker-image://") {
            Some(image) => ContextSource::Image(
                image.parse().map_err(|e: oci::ReferenceError| Failure::new(format!("buildContexts.{name}: {e}")))?,
            ),
            None => match build::source::remote_kind(value) {
                Some(build::source::RemoteKind::Git) => ContextSource::Git(value.clone()),
                Some(build::source::RemoteKind::Http) => ContextSource::Http(value.clone()),
                None => ContextSource::Directory(top.join(value)),
            },
        };
        named_contexts.push((name.clone(), source));
    }
    Ok(BuildRequest {
        context: Context::Source(ContextSource::Directory(context)),
        dockerfile: Some(DockerfileSource::Path(dockerfile)),
        named_contexts,
        build_args: managed.build_args.clone(),
        target: managed.target.clone(),
        platforms,
        tags: Vec::new(),
        outputs: Vec::new(),
        labels,
        annotations: annotations.collect(),
        secrets,
        ssh: Vec::new(),
        no_cache: false,
        no_cache_filter: Vec::new(),
        pull: true,
        network: dockerfile::ast::Network::Default,
        add_hosts: Vec::new(),
        shm_size: None,
        ulimits: Vec::new(),
        allow: Vec::new(),
        host_ca: None,
        proxy: machine.factory.proxy.clone(),
        source_date_epoch: tree["time"].as_i64(),
        isolation: None,
        on_failure: None,
        parallelism: machine.factory.parallelism,
        cache_from: machine.factory.cache_from.clone(),
        cache_to: Vec::new(),
        provenance: None,
        sbom: None,
        vcs: BTreeMap::new(),
        base_metadata: build::request::BaseMetadata::default(),
        base_check: None,
    })
}

/// The same build on the base images as they were resolved: one that has moved since changes nothing.
fn pinned(request: &BuildRequest, built: &Value) -> BuildRequest {
    let mut request = request.clone();
    for text in built["bases"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let (Ok(base), Some((name, _))) = (text.parse::<Reference>(), text.split_once('@')) else { continue };
        for (_, source) in &mut request.named_contexts {
            match source {
                ContextSource::Image(image) if image.clone().or_latest().to_string() == name => *image = base.clone(),
                _ => {}
            }
        }
        request.named_contexts.insert(0, (name.to_owned(), ContextSource::Image(base)));
    }
    request
}

/// Builds into the store; with a name also pushes to it, by digest.
fn build(machine: &Machine<'_>, request: &BuildRequest, push: Option<&Reference>) -> Result<Value, Failure> {
    let mut request = request.clone();
    match push {
        Some(name) => {
            let mut output = Output::of_kind(OutputKind::Registry);
            (output.push, output.push_by_digest, output.names) = (true, true, vec![name.clone()]);
            request.outputs = vec![output];
            // What was just built is what is pushed.
            request.pull = false;
            request.cache_to = machine.factory.cache_to.clone();
        }
        None => request.tags = vec![repository(machine)?.with_tag(LOCAL_TAG)],
    }
    let factory = machine.factory;
    let result = factory.engine.build(&request, &factory.events, factory.cancel).map_err(|error| Failure {
        message: error.message().to_owned(),
        hints: error.hints().to_vec(),
        build: Some(Box::new(error)),
    })?;
    let mut seen = std::collections::BTreeSet::new();
    let layers = result.images.iter().flat_map(|image| &image.layers);
    let size: u64 = layers.filter(|layer| seen.insert(layer.digest.to_string())).map(|layer| layer.size).sum();
    let platforms: Vec<Value> = result
        .images
        .iter()
        .map(|image| json!({ "platform": image.platform.to_string(), "digest": image.descriptor.digest.to_string() }))
        .collect();
    let step = if push.is_some() { "push" } else { "build" };
    machine.log(step, &format!("{} {size} bytes", result.descriptor.digest));
    let bases: Vec<String> = result.bases.iter().map(ToString::to_string).collect();
    Ok(json!({ "digest": result.descriptor.digest.to_string(), "size": size, "platforms": platforms, "bases": bases }))
}

/// The digests of the base images of a build, by the names of their state files.
pub(super) fn built_from(bases: &[String], state: &State, built: &Value) -> BTreeMap<String, String> {
    let used: Vec<Reference> =
        built["bases"].as_array().into_iter().flatten().filter_map(|text| text.as_str()?.parse().ok()).collect();
    let mut out = BTreeMap::new();
    for base in bases.iter().filter_map(|name| state.bases.get(name)) {
        let Ok(wanted) = base.reference() else { continue };
        let same = |used: &&Reference| used.name() == wanted.name() && used.tag_or_latest() == wanted.tag_or_latest();
        if let Some(digest) = used.iter().find(same).and_then(|used| used.digest()) {
            out.insert(base.name.clone(), digest.to_string());
        }
    }
    out
}

/// Notes the bases of the Dockerfile that was built: who builds without `discover` is told of their changes, too.
fn rediscover(machine: &Machine<'_>, tree: &Value) {
    let factory = machine.factory;
    let dir = std::path::absolute(factory.enrolment.dir()).unwrap_or_else(|_| PathBuf::from("."));
    let top = tree["top"].as_str().map_or_else(|| dir.clone(), PathBuf::from);
    let (_, dockerfile) = context_of(machine.image, &top, &dir);
    let read = |_: &Managed| {
        std::fs::read_to_string(&dockerfile)
            .map_err(|error| crate::discover::Failure { message: error.to_string(), hint: None })
    };
    let only = [machine.image.name.clone()];
    let report = crate::discover::discover(factory.enrolment, factory.state_dir, &only, (factory.clock)(), &read);
    let why = match report {
        Ok(report) => report.images.into_iter().find_map(|image| image.bases.err()).map(|failure| failure.message),
        Err(error) => Some(error.to_string()),
    };
    if let Some(why) = why {
        machine.log("tag", &format!("warning: the base images of {} are not known: {why}", machine.image.name));
    }
}

/// Gives the image its names: those that do not move first, moving ones only forwards.
fn tag(machine: &Machine<'_>, plan: &Value, built: &Value) -> Result<Value, Failure> {
    let digest = built["digest"].as_str().unwrap_or_default();
    let (client, name) = (machine.factory.client, repository(machine)?);
    let digest: oci::Digest = digest.parse().map_err(|_| Failure::new(format!("{digest:?} is no digest")))?;
    let wanted: Vec<String> =
        plan["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let version = plan["version"].as_str().unwrap_or_default();
    let affix = |key: &str| plan[key].as_str().unwrap_or_default().to_owned();
    let policy = Policy { prefix: affix("prefix"), suffix: affix("suffix"), ..Policy::default() };
    let taken = existing(machine)?;
    let fetched = client.manifest(&name.with_digest(digest.clone()))?;
    let mut given = Vec::new();
    for (tag, decision) in decide(version, &wanted, taken.iter().map(String::as_str), &policy) {
        let reference = name.with_tag(&tag);
        match decision {
            // An attempt before this one may have given it.
            Decision::Push if client.resolve(&reference).is_ok_and(|found| found.digest == digest) => {}
            Decision::Push => {
                client.push_manifest(&reference, &fetched.media_type, &fetched.bytes)?;
            }
            Decision::Exists if client.resolve(&reference)?.digest == digest => {}
            Decision::Exists => {
                return Err(Failure::new(format!(
                    "{reference} exists already with another content, and a version is never overwritten"
                ))
                .hint("start a new run: it takes the next free version"));
            }
            Decision::Behind(newer) => {
                machine.log("tag", &format!("{tag} stays: it stands for {newer}, which is newer"));
                continue;
            }
        }
        machine.log("tag", &format!("{reference} is {digest}"));
        given.push(tag);
    }
    let (state_dir, now) = (machine.factory.state_dir, (machine.factory.clock)());
    let mut state = match state_dir.image(&machine.image.name)? {
        Some(state) => state,
        None => crate::state::ImageState::new(machine.image, &time::stamp(now)),
    };
    state.current_version = Some(version.to_owned());
    state.current_digest = Some(digest.to_string());
    state.last_built = Some(time::stamp(now));
    state.built_from = built_from(&state.bases, &state_dir.load()?, built);
    state_dir.put_image(&state)?;
    Ok(json!({ "tags": given }))
}
