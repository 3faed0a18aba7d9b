//! The steps.
use super::{Ended, Failure, Machine, Options, update};
use crate::enrol::Managed;
use crate::source::context_of;
use crate::state::State;
use crate::time;
use build::request::{
    Annotation, AnnotationLevel, BuildRequest, Context, ContextSource, DockerfileSource, Output, OutputKind, Secret,
    SecretSource,
};
use gitops::tags::moving::{Decision, Policy, decide, next_version};
use gitops::tags::{Event, Flavor, Rule, compute};
use gitops::version::TagVersion;
use gitops::version::bump::{Step, calendar, next};
use oci::Reference;
use registry::ErrorKind;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// All of them, in order.
pub(super) fn all(machine: &mut Machine<'_>, options: &Options) -> Result<(), Failure> {
    let image = machine.image;
    let managed = machine.step(
        "validate",
        |_| true,
        |m| {
            if m.image.managed().is_none() {
                return Err(Failure::new(format!("{} is watched only: it has no source", m.image.name))
                    .hint("add source: or local: to its entry in images.yaml"));
            }
            Ok(Ended::Done(Value::Null))
        },
    );
    managed?;
    let Some(managed) = image.managed() else { return Ok(()) };
    let plan = machine.step("configure", |_| true, |m| configure(m, managed, options).map(Ended::Done))?;
    let usable = |output: &Value| output["top"].as_str().is_none_or(|top| Path::new(top).is_dir());
    let tree = machine.step("clone", usable, |m| clone(m, managed, &plan))?;
    let request = request(machine, managed, options, &plan, &tree)?;
    let built = machine.step("build", |_| true, |m| build(m, &request, None).map(Ended::Done))?;
    let digest = built["digest"].as_str().unwrap_or_default().to_owned();
    machine.factory.runs.result(machine.run, plan["version"].as_str(), Some(&digest))?;
    let local = |what: &str| Ok(Ended::Skipped(format!("--local {what}")));
    machine.step(
        "push",
        |_| true,
        |m| {
            if options.local {
                return local("pushes nothing");
            }
            let pushed = build(m, &pinned(&request, &built), Some(&repository(m)?))?;
            if pushed["digest"] != built["digest"] {
                return Err(Failure::new(format!(
                    "the image that was pushed is {}, the one that was built {digest}",
                    pushed["digest"]
                ))
                .hint("the build gives another result each time; start a new run"));
            }
            Ok(Ended::Done(json!({ "digest": digest })))
        },
    )?;
    gate(machine, managed)?;
    machine.step(
        "tag",
        |_| true,
        |m| if options.local { local("tags nothing") } else { tag(m, &plan, &built).map(Ended::Done) },
    )?;
    machine.step(
        "update",
        |_| true,
        |m| if options.local { local("updates nothing") } else { update::all(m, managed, &plan, &digest) },
    )?;
    machine.step(
        "notify",
        |_| true,
        |_| {
            Ok(match managed.notify.is_empty() {
                true => Ended::Skipped("nobody is to be told".into()),
                false => Ended::Skipped("notifications are not sent yet".into()),
            })
        },
    )?;
    Ok(())
}

/// What stands between an image in the registry and a name for it.
fn gate(machine: &mut Machine<'_>, managed: &Managed) -> Result<(), Failure> {
    let wants = [
        ("sbom", managed.sbom.configured, managed.sbom.required),
        ("scan", managed.scan.configured, managed.scan.required),
        ("sign", managed.signing.configured, managed.signing.required),
    ];
    for (name, configured, required) in wants {
        machine.step(
            name,
            |_| true,
            |_| {
                if required {
                    let key = if name == "sign" { "signing" } else { name };
                    return Err(Failure::new(format!(
                        "{key}.required is true, and the pipeline has no step for it yet"
                    ))
                    .hint(format!("take {key}.required out to publish the image without")));
                }
                Ok(Ended::Skipped(if configured {
                    "the pipeline has no step for it yet".into()
                } else {
                    "not configured".into()
                }))
            },
        )?;
    }
    Ok(())
}

fn repository(machine: &Machine<'_>) -> Result<Reference, Failure> {
    machine.image.reference().parse().map_err(|error: oci::ReferenceError| Failure::new(error.to_string()))
}

/// The tags that the registry has; none where the repository does not exist yet.
fn existing(machine: &Machine<'_>) -> Result<Vec<String>, Failure> {
    match machine.factory.client.tags(&repository(machine)?) {
        Ok(tags) => Ok(tags),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// Commit, version, tags.
fn configure(machine: &Machine<'_>, managed: &Managed, options: &Options) -> Result<Value, Failure> {
    let commit = match &managed.source {
        Some(source) if machine.factory.sources.at_hand(source).is_none() => {
            let found = machine.factory.sources.commit(source)?;
            Some((found.commit, found.reference))
        }
        // The checkout of a CI job is the commit that the job is about.
        Some(_) => machine.factory.event.as_ref().and_then(|event| Some((event.sha.clone()?, None))),
        _ => None,
    };
    let (id, reference) = commit.map_or((None, None), |(id, reference)| (Some(id), reference));
    let taken = if options.local { Vec::new() } else { existing(machine)? };
    let now = (machine.factory.clock)();
    let fail = |error: &dyn std::fmt::Display| Failure::new(error.to_string());
    let flavor = Flavor::parse(&managed.flavor.join("\n")).map_err(|error| fail(&error))?;
    let policy = Policy { prefix: flavor.prefix.clone(), suffix: flavor.suffix.clone(), ..Policy::default() };
    let mut tags: Vec<String> = Vec::new();
    let free = |version: &str| next_version(version, taken.iter().map(String::as_str), &policy);
    let version = match (&options.tag, managed.tags.is_empty()) {
        (Some(tag), _) => tag.clone(),
        (None, false) => {
            let rules = Rule::parse_all(&managed.tags.join("\n")).map_err(|error| fail(&error))?;
            let branch = managed.source.as_ref().map_or("main", |source| source.branch.as_str());
            let at_hand = managed.source.as_ref().is_some_and(|s| machine.factory.sources.at_hand(s).is_some());
            let event = match machine.factory.event.as_ref().filter(|_| at_hand) {
                Some(event) => Event { now: jiff::Timestamp::from_second(now).unwrap_or(event.now), ..event.clone() },
                None => Event {
                    git_ref: reference.clone().unwrap_or_else(|| format!("refs/heads/{branch}")),
                    sha: id.clone(),
                    default_branch: branch.to_owned(),
                    now: jiff::Timestamp::from_second(now).unwrap_or(jiff::Timestamp::UNIX_EPOCH),
                    ..Event::default()
                },
            };
            let found = compute(&event, &rules, &flavor).map_err(|error| fail(&error))?;
            tags = found.tags;
            found.version.ok_or_else(|| {
                Failure::new("the tag rules give no tag for this build")
                    .hint("add type=ref,event=branch or type=sha, or name one with --tag")
            })?
        }
        (None, true) => {
            let current = machine.factory.state_dir.image(&machine.image.name)?.and_then(|state| state.current_version);
            let current = newest(current, &taken, &policy);
            free(&next_of(managed, current.as_deref(), now, &taken)?)
        }
    };
    if tags.is_empty() {
        let core = format!("{}{version}{}", policy.prefix, policy.suffix);
        tags = vec![if options.tag.is_some() { version.clone() } else { core }];
        if options.tag.is_none() {
            tags.push("latest".into());
        }
    }
    // A tag that cannot be given is told before anything is built.
    if options.tag.is_some()
        && decide(&version, &tags, taken.iter().map(String::as_str), &policy)
            .iter()
            .any(|(_, d)| *d == Decision::Exists)
    {
        return Err(Failure::new(format!(
            "{}:{version} exists already, and a version is never overwritten",
            machine.image.reference()
        ))
        .hint(format!("{} is free", free(&version))));
    }
    machine.log("configure", &format!("version {version}, tags {}", tags.join(", ")));
    Ok(
        json!({ "commit": id, "reference": reference, "version": version, "tags": tags, "prefix": policy.prefix, "suffix": policy.suffix, "at": now }),
    )
}

/// The version that the state tells of, or the newest release in the registry where that is newer: the state may lie
/// in a checkout that others have built since, or be none in a fresh job.
fn newest(state: Option<String>, taken: &[String], policy: &Policy) -> Option<String> {
    let release = |tag: &str| {
        let core = tag.strip_prefix(&policy.prefix)?.strip_suffix(&policy.suffix)?;
        let version = TagVersion::parse(core).filter(TagVersion::is_release)?;
        // Without the number of a rebuild, which the next version does not inherit.
        let core = core.split('-').next().unwrap_or(core).to_owned();
        Some((version, core))
    };
    let newest = taken.iter().filter_map(|tag| release(tag)).max_by(|a, b| a.0.cmp(&b.0));
    match (state, newest) {
        (Some(state), Some((version, core))) => match TagVersion::parse(&state) {
            Some(known) if known < version => Some(core),
            _ => Some(state),
        },
        (state, newest) => state.or(newest.map(|(_, core)| core)),
    }
}

fn next_of(managed: &Managed, current: Option<&str>, now: i64, taken: &[String]) -> Result<String, Failure> {
    let fail = |error: &dyn std::fmt::Display| Failure::new(error.to_string());
    let step = match managed.version.bump.as_str() {
        "none" => return Ok(current.unwrap_or(&managed.version.initial).to_owned()),
        "calver" => {
            let time = jiff::Timestamp::from_second(now).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
            let date = time.to_zoned(jiff::tz::TimeZone::UTC).date();
            return calendar(&managed.version.format, date, taken.iter().map(String::as_str))
                .map_err(|error| fail(&error));
        }
        "conventional" => {
            return Err(Failure::new(
                "version.bump: conventional needs the history of the source, which is not fetched yet",
            )
            .hint("name the version with --tag, or use patch, minor, major or calver"));
        }
        "minor" => Step::Minor,
        "major" => Step::Major,
        _ => Step::Patch,
    };
    match current {
        Some(current) => next(current, step).map_err(|error| fail(&error)),
        None => Ok(managed.version.initial.clone()),
    }
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
        None => request.tags = vec![repository(machine)?.with_tag("factory")],
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
fn built_from(bases: &[String], state: &State, built: &Value) -> BTreeMap<String, String> {
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
            Decision::Push => {
                client.push_manifest(&reference, &fetched.media_type, &fetched.bytes)?;
            }
            // An attempt before this one may have given it.
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
