//! Kargo's resources for a set of images: Namespace, Project, ProjectConfig, ServiceAccount, Warehouses, Stages, and
//! the AnalysisTemplate whose Job runs this program.
//!
//! For Kargo 1.11 and later: image subscriptions say `constraint` and `allowTagsRegexes` (`semverConstraint` is gone
//! since 1.9, `allowTags` an error since 1.11), repositories are HTTPS URLs. Each dependent has one Stage for all its
//! bases, not one per pair; bases that lead back to themselves are refused.
use super::{Enrolment, Error, check_name, header, labels, restricted_container, restricted_pod};
use crate::yaml::emit;
use regex::Regex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// Everything that is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Project {
    /// The Kargo Project and its namespace.
    pub name: String,
    /// The image of this program, for the Jobs.
    pub runner_image: String,
    /// The arguments of the Job that looks at an image's Dockerfile anew; `{{args.imageName}}`, `{{args.imageTag}}`,
    /// `{{args.imageDigest}}`, `{{args.commit}}`, `{{args.gitRepo}}`, `{{args.gitBranch}}` and `{{args.dockerfile}}` are
    /// there.
    pub analyze: Vec<String>,
    /// The Secret with the token for `analyze` and the forge, its key `token`; none where all is public.
    pub token_secret: Option<String>,
    /// The Secret of type `kubernetes.io/dockerconfigjson` with registry credentials for the Jobs.
    pub registry_secret: Option<String>,
    /// images.yaml and what lies beside it, for the Jobs: a ConfigMap, mounted at `/etc/cooperage`.
    pub enrolment: Option<Enrolment>,
    /// How often the registry and the source of a built image are asked, `5m0s` unless given. With a webhook to Kargo it
    /// can be long.
    pub image_interval: Option<String>,
    /// How often the registry of a watched image is asked, `24h0m0s` unless given.
    pub base_interval: Option<String>,
    /// Images that are built.
    pub images: Vec<Image>,
    /// Images that are watched.
    pub bases: Vec<Base>,
}

/// An image that is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The name of its resources.
    pub name: String,
    /// Its name in images.yaml, which the Jobs are told.
    pub enrolled: String,
    /// Registry and repository.
    pub repository: String,
    /// The source's HTTPS URL.
    pub git_url: String,
    /// The branch.
    pub branch: String,
    /// The Dockerfile's path in the source.
    pub dockerfile: String,
    /// Paths whose change is new freight; the Dockerfile's directory where there are none.
    pub paths: Vec<String>,
    /// Whether there is a version yet: until then the tag `latest` is watched.
    pub versioned: bool,
    /// Names of images and bases in this Project whose change rebuilds it.
    pub bases: Vec<String>,
    /// How it is rebuilt; never by Kargo where there is nothing.
    pub rebuild: Option<Rebuild>,
}

/// How Kargo has an image rebuilt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rebuild {
    /// A GitHub workflow is dispatched.
    GitHub {
        /// The API, `https://api.github.com`.
        api: String,
        /// `owner/name`.
        repository: String,
        /// The workflow's file name.
        workflow: String,
        /// Its inputs.
        inputs: BTreeMap<String, String>,
    },
    /// A GitLab pipeline is started.
    GitLab {
        /// The API, `https://gitlab.com/api/v4`.
        api: String,
        /// The project's path.
        repository: String,
        /// Its variables.
        variables: BTreeMap<String, String>,
    },
    /// A Job runs this program with these arguments.
    Job {
        /// The arguments; what `analyze` knows is there too, of the base: `imageName` is the dependent.
        arguments: Vec<String>,
    },
}

/// An image that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Its name in the state files.
    pub name: String,
    /// Registry and repository.
    pub repository: String,
    /// `Digest`, `Lexical`, `NewestBuild` or `SemVer`.
    pub strategy: String,
    /// The strategy's constraint.
    pub constraint: Option<String>,
    /// Regular expressions for tags, of which one must match.
    pub allow_tags: Vec<String>,
    /// Regular expressions for tags, of which none may match.
    pub ignore_tags: Vec<String>,
}

const GROUP: &str = "kargo.akuity.io/v1alpha1";
const ANALYZE: &str = "analyze-dockerfile";
const ENROLMENT: &str = "cooperage-images";

/// A Warehouse's `interval`.
static INTERVAL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^([0-9]+(\.[0-9]+)?(s|m|h))+$").unwrap_or_else(|error| unreachable!("a fixed expression: {error}"))
});

/// All resources as one YAML stream.
///
/// # Errors
/// All of [`Error`].
pub fn synth(project: &Project) -> Result<String, Error> {
    Ok(emit::stream(&header("factory synth kargo"), &resources(project)?))
}

/// All resources as values: by kind, then by name.
///
/// # Errors
/// As [`synth`].
pub fn resources(project: &Project) -> Result<Vec<Value>, Error> {
    check(project)?;
    let mut images: Vec<&Image> = project.images.iter().collect();
    images.sort_by_key(|image| &image.name);
    let mut bases: Vec<&Base> = project.bases.iter().collect();
    bases.sort_by_key(|base| &base.name);
    let stages: Vec<Value> = images
        .iter()
        .map(|image| analyze_stage(project, image))
        .chain(images.iter().filter_map(|image| rebuild_stage(project, image)))
        .collect();
    let policies: Vec<Value> = stages
        .iter()
        .map(|stage| json!({ "stageSelector": { "name": stage["metadata"]["name"] }, "autoPromotionEnabled": true }))
        .collect();
    let name = project.name.as_str();
    let mut all = vec![
        json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": name, "labels": { "kargo.akuity.io/project": "true", "app.kubernetes.io/managed-by": "cooperage" } },
        }),
        json!({ "apiVersion": GROUP, "kind": "Project", "metadata": { "name": name, "labels": labels(name) } }),
        resource(project, GROUP, "ProjectConfig", name, json!({ "promotionPolicies": policies })),
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": metadata(project, "cooperage"), "automountServiceAccountToken": false,
        }),
    ];
    if let Some(enrolment) = &project.enrolment {
        all.push(enrolment.config_map(metadata(project, ENROLMENT))?);
    }
    all.extend(images.iter().map(|image| image_warehouse(project, image)));
    all.extend(bases.iter().map(|base| base_warehouse(project, base)));
    if !images.is_empty() {
        all.push(template(project, ANALYZE, &project.analyze));
    }
    for image in &images {
        if let (Some(Rebuild::Job { arguments }), false) = (&image.rebuild, image.bases.is_empty()) {
            all.push(template(project, &format!("rebuild-{}", image.name), arguments));
        }
    }
    all.extend(stages);
    Ok(all)
}

fn metadata(project: &Project, name: &str) -> Value {
    json!({ "name": name, "namespace": project.name, "labels": labels(name) })
}

fn resource(project: &Project, group: &str, kind: &str, name: &str, spec: Value) -> Value {
    json!({ "apiVersion": group, "kind": kind, "metadata": metadata(project, name), "spec": spec })
}

fn image_warehouse(project: &Project, image: &Image) -> Value {
    let tags = if image.versioned {
        json!({ "repoURL": image.repository, "imageSelectionStrategy": "SemVer", "strictSemvers": true, "discoveryLimit": 5 })
    } else {
        json!({ "repoURL": image.repository, "imageSelectionStrategy": "Digest", "constraint": "latest", "discoveryLimit": 5 })
    };
    let mut paths = image.paths.clone();
    if paths.is_empty() {
        // Without a directory, the Dockerfile is at the top and everything counts.
        paths.extend(image.dockerfile.rsplit_once('/').map(|(directory, _)| format!("{directory}/")));
    }
    paths.sort();
    paths.dedup();
    let mut git = json!({ "repoURL": image.git_url, "branch": image.branch });
    if !paths.is_empty() {
        git["includePaths"] = json!(paths);
    }
    git["discoveryLimit"] = json!(5);
    let spec = json!({ "interval": interval(project.image_interval.as_ref(), "5m0s"), "freightCreationPolicy": "Automatic", "subscriptions": [{ "image": tags }, { "git": git }] });
    resource(project, GROUP, "Warehouse", &image.name, spec)
}

fn base_warehouse(project: &Project, base: &Base) -> Value {
    let mut image = json!({ "repoURL": base.repository, "imageSelectionStrategy": base.strategy });
    if let Some(constraint) = &base.constraint {
        image["constraint"] = json!(constraint);
    }
    for (key, patterns) in [("allowTagsRegexes", &base.allow_tags), ("ignoreTagsRegexes", &base.ignore_tags)] {
        if !patterns.is_empty() {
            image[key] = json!(patterns);
        }
    }
    image["discoveryLimit"] = json!(10);
    let spec = json!({ "interval": interval(project.base_interval.as_ref(), "24h0m0s"), "freightCreationPolicy": "Automatic", "subscriptions": [{ "image": image }] });
    resource(project, GROUP, "Warehouse", &base.name, spec)
}

fn interval(given: Option<&String>, usual: &str) -> String {
    given.cloned().unwrap_or_else(|| usual.to_owned())
}

/// What the Jobs are told: of the freight, by Kargo's expressions.
const ARGUMENTS: [&str; 7] = ["imageName", "imageTag", "imageDigest", "commit", "gitRepo", "gitBranch", "dockerfile"];

fn arguments(image: &Image) -> Value {
    let from = |what: &str, field: &str, of: &str| format!("${{{{ {what}From({}).{field} }}}}", json!(of));
    json!([
        { "name": "imageName", "value": image.enrolled },
        { "name": "imageTag", "value": from("image", "Tag", &image.repository) },
        { "name": "imageDigest", "value": from("image", "Digest", &image.repository) },
        { "name": "commit", "value": from("commit", "ID", &image.git_url) },
        { "name": "gitRepo", "value": image.git_url },
        { "name": "gitBranch", "value": image.branch },
        { "name": "dockerfile", "value": image.dockerfile },
    ])
}

fn origin(name: &str) -> Value {
    json!({ "origin": { "kind": "Warehouse", "name": name }, "sources": { "direct": true } })
}

fn analyze_stage(project: &Project, image: &Image) -> Value {
    let spec = json!({
        "requestedFreight": [origin(&image.name)],
        "promotionTemplate": nothing(&image.name),
        "verification": { "analysisTemplates": [{ "name": ANALYZE }], "args": arguments(image) },
    });
    resource(project, GROUP, "Stage", &format!("analyze-{}", image.name), spec)
}

/// A promotion that does nothing. A Stage without steps would be one that only directs freight, and Kargo would not
/// verify in it.
fn nothing(image: &str) -> Value {
    json!({ "spec": { "steps": [{ "uses": "compose-output", "as": "freight", "config": { "image": image } }] } })
}

fn rebuild_stage(project: &Project, image: &Image) -> Option<Value> {
    let rebuild = image.rebuild.as_ref().filter(|_| !image.bases.is_empty())?;
    let bases: BTreeSet<&String> = image.bases.iter().collect();
    let freight: Vec<Value> = bases.into_iter().map(|base| origin(base)).collect();
    let mut spec = json!({ "requestedFreight": freight });
    match rebuild {
        Rebuild::GitHub { api, repository, workflow, inputs } => {
            let url =
                format!("{}/repos/{repository}/actions/workflows/{workflow}/dispatches", api.trim_end_matches('/'));
            let body = json!({ "ref": image.branch, "inputs": inputs });
            spec["promotionTemplate"] = http(project, "dispatch", &url, &body, "Bearer ");
        }
        Rebuild::GitLab { api, repository, variables } => {
            let url = format!("{}/projects/{}/pipeline", api.trim_end_matches('/'), repository.replace('/', "%2F"));
            let variables: Vec<Value> =
                variables.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
            let body = json!({ "ref": image.branch, "variables": variables });
            spec["promotionTemplate"] = http(project, "pipeline", &url, &body, "Bearer ");
        }
        Rebuild::Job { .. } => {
            // The freight is the base's: it knows nothing of the dependent's image and source.
            let args: Vec<Value> = [
                ("imageName", &image.enrolled),
                ("gitRepo", &image.git_url),
                ("gitBranch", &image.branch),
                ("dockerfile", &image.dockerfile),
            ]
            .map(|(name, value)| json!({ "name": name, "value": value }))
            .into();
            let mut args = args;
            args.extend(["imageTag", "imageDigest", "commit"].map(|name| json!({ "name": name, "value": "" })));
            spec["promotionTemplate"] = nothing(&image.name);
            spec["verification"] =
                json!({ "analysisTemplates": [{ "name": format!("rebuild-{}", image.name) }], "args": args });
        }
    }
    Some(resource(project, GROUP, "Stage", &format!("rebuild-{}", image.name), spec))
}

/// A promotion of one HTTP request. A request that the forge refuses (4xx) fails at once,
/// anything else is tried again by Kargo.
fn http(project: &Project, step: &str, url: &str, body: &Value, scheme: &str) -> Value {
    let mut headers = vec![
        json!({ "name": "Accept", "value": "application/json" }),
        json!({ "name": "Content-Type", "value": "application/json" }),
    ];
    if let Some(secret) = &project.token_secret {
        headers.push(
            json!({ "name": "Authorization", "value": format!("{scheme}${{{{ secret({}).token }}}}", json!(secret)) }),
        );
    }
    let config = json!({
        "method": "POST", "url": url, "headers": headers,
        // Kargo makes an object of text that is JSON; quote() keeps it text.
        "body": format!("${{{{ quote({body}) }}}}"),
        "successExpression": "response.status >= 200 && response.status < 300",
        "failureExpression": "response.status >= 400 && response.status < 500",
    });
    json!({ "spec": { "steps": [{ "uses": "http", "as": step, "retry": { "errorThreshold": 3 }, "config": config }] } })
}

fn template(project: &Project, name: &str, arguments: &[String]) -> Value {
    let declared: Vec<Value> = ARGUMENTS.iter().map(|name| json!({ "name": name })).collect();
    let mut container = json!({
        "name": "cooperage", "image": project.runner_image, "args": arguments,
        "resources": { "requests": { "cpu": "100m", "memory": "128Mi" }, "limits": { "memory": "1Gi" } },
        "securityContext": restricted_container(),
        "volumeMounts": [{ "name": "work", "mountPath": "/work" }],
        "workingDir": "/work",
        "env": [
            { "name": "HOME", "value": "/work" }, { "name": "TMPDIR", "value": "/work" },
            { "name": "COOPERAGE_STATE", "value": "/work/state" },
        ],
    });
    let env = |container: &mut Value, entry: Value| {
        if let Some(env) = container["env"].as_array_mut() {
            env.push(entry);
        }
    };
    let mount = |container: &mut Value, name: &str, path: &str| {
        if let Some(mounts) = container["volumeMounts"].as_array_mut() {
            mounts.push(json!({ "name": name, "mountPath": path, "readOnly": true }));
        }
    };
    if let Some(secret) = &project.token_secret {
        let token =
            json!({ "name": "GIT_AUTH_TOKEN", "valueFrom": { "secretKeyRef": { "name": secret, "key": "token" } } });
        env(&mut container, token);
    }
    let mut volumes = vec![json!({ "name": "work", "emptyDir": {} })];
    if let Some(secret) = &project.registry_secret {
        env(&mut container, json!({ "name": "DOCKER_CONFIG", "value": "/etc/docker-config" }));
        mount(&mut container, "registry", "/etc/docker-config");
        let items = json!([{ "key": ".dockerconfigjson", "path": "config.json" }]);
        volumes.push(json!({ "name": "registry", "secret": { "secretName": secret, "items": items } }));
    }
    if let Some(enrolment) = &project.enrolment {
        volumes.push(json!({ "name": "enrolment", "configMap": enrolment.volume(ENROLMENT) }));
        mount(&mut container, "enrolment", "/etc/cooperage");
        env(&mut container, json!({ "name": "COOPERAGE_IMAGES", "value": "/etc/cooperage/images.yaml" }));
    }
    let pod = json!({
        "restartPolicy": "Never", "serviceAccountName": "cooperage", "automountServiceAccountToken": false,
        "securityContext": restricted_pod(), "containers": [container],
        "volumes": volumes,
    });
    let job = json!({ "spec": { "backoffLimit": 1, "activeDeadlineSeconds": 1800, "ttlSecondsAfterFinished": 86400, "template": { "spec": pod } } });
    let spec = json!({ "args": declared, "metrics": [{ "name": name, "provider": { "job": job } }] });
    resource(project, "argoproj.io/v1alpha1", "AnalysisTemplate", name, spec)
}

fn check(project: &Project) -> Result<(), Error> {
    check_name(&project.name, "Project", 63)?;
    if project.runner_image.is_empty() {
        let (of, value) = (format!("project {}", project.name), String::new());
        return Err(Error::Field {
            of,
            field: "the image of the Jobs",
            value,
            problem: "is empty; give the image of cooperage",
        });
    }
    for value in [&project.image_interval, &project.base_interval].into_iter().flatten() {
        if !INTERVAL.is_match(value) {
            let (of, problem) =
                (format!("project {}", project.name), "is no time in Kargo's form; write it like 5m or 24h");
            return Err(Error::Field { of, field: "interval", value: value.clone(), problem });
        }
    }
    let mut names = BTreeSet::new();
    let images = project.images.iter().map(|image| (&image.name, &image.repository, "image"));
    let bases = project.bases.iter().map(|base| (&base.name, &base.repository, "base image"));
    for (name, repository, kind) in images.chain(bases) {
        check_name(name, "Warehouse", 200)?;
        if !names.insert(name.as_str()) {
            return Err(Error::Twice(name.clone()));
        }
        if repository.is_empty()
            || repository.contains(['@', ' '])
            || crate::image::ImageRef::split(repository).tag.is_some()
        {
            let problem = "is no repository without tag and digest";
            return Err(Error::Field {
                of: format!("{kind} {name}"),
                field: "repository",
                value: repository.clone(),
                problem,
            });
        }
    }
    for base in &project.bases {
        let strategies = ["Digest", "Lexical", "NewestBuild", "SemVer"];
        let field = |field, value: &str, problem| {
            Err(Error::Field { of: format!("base image {}", base.name), field, value: value.into(), problem })
        };
        if !strategies.contains(&base.strategy.as_str()) {
            return field("strategy", &base.strategy, "is none of Digest, Lexical, NewestBuild, SemVer");
        }
        if base.strategy == "Digest" && base.constraint.is_none() {
            return field("strategy", "Digest", "needs the tag as its constraint");
        }
        for pattern in base.allow_tags.iter().chain(&base.ignore_tags) {
            if Regex::new(pattern).is_err() {
                return field("tags", pattern, "is no regular expression");
            }
        }
    }
    for image in &project.images {
        if !image.git_url.starts_with("https://") && !image.git_url.starts_with("http://") {
            let problem = "is no HTTP(S) URL, and Kargo takes no other (SSH goes with 1.13)";
            return Err(Error::Field {
                of: format!("image {}", image.name),
                field: "source",
                value: image.git_url.clone(),
                problem,
            });
        }
        if let Some(base) = image.bases.iter().find(|base| !names.contains(base.as_str())) {
            return Err(Error::UnknownBase { image: image.name.clone(), base: base.clone() });
        }
    }
    cycle(project).map_or(Ok(()), |names| Err(Error::Cycle(names.join(" → "))))
}

/// The first cycle among images that are each other's base, from and to its first name.
fn cycle(project: &Project) -> Option<Vec<String>> {
    let bases: BTreeMap<&str, &[String]> =
        project.images.iter().map(|image| (image.name.as_str(), image.bases.as_slice())).collect();
    let mut done = BTreeSet::new();
    for start in bases.keys() {
        // Depth first, with the way in `path` and the next base of each of its names beside it.
        let mut path: Vec<(&str, usize)> = vec![(start, 0)];
        while let Some((name, next)) = path.last_mut() {
            let name = *name;
            match bases.get(name).and_then(|bases| bases.get(*next)) {
                _ if done.contains(name) => {
                    path.pop();
                }
                None => {
                    done.insert(name);
                    path.pop();
                }
                Some(base) => {
                    *next += 1;
                    if let Some(at) = path.iter().position(|(name, _)| name == base) {
                        let names = path[at..].iter().map(|(name, _)| (*name).to_owned());
                        return Some(names.chain([base.clone()]).collect());
                    }
                    path.push((base, 0));
                }
            }
        }
    }
    None
}
