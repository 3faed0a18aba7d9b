//! A workflow of GitHub Actions: a job that finds out what changed, then a matrix for each level of images.
//!
//! Every job has the permissions that it needs and no more, actions are pinned to commits, and what comes from outside
//! (inputs, names of branches) reaches scripts in variables alone.
use super::{Pipeline, levels, patterns, quoted, registries, union, variable};
use crate::synth::header;
use crate::yaml::emit;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// How the workflow is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Its name.
    pub name: String,
    /// Its file, from the top of the repository.
    pub file: String,
    /// The action that installs this program: `OWNER/NAME@REF`.
    pub action: String,
    /// The runner.
    pub runner: String,
    /// Whether SBOM and provenance are attested by GitHub.
    pub attest: bool,
}

/// Actions by commit, with the version for people.
const CHECKOUT: (&str, &str) = ("actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683", "v4.2.2");
const RUNTIME: (&str, &str) = ("crazy-max/ghaction-github-runtime@3cb05d89e1f492524af3d41a1c98c83bc3025124", "v3.1.0");
const PROVENANCE: (&str, &str) = ("actions/attest-build-provenance@977bb373ede98d70efbf0b7b13af9c3d6651dc60", "v4.1.0");
const SBOM: (&str, &str) = ("actions/attest-sbom@c604332985a26aa8cf1bdc465b92731239ec6b9e", "v4.1.0");

/// The workflow as YAML.
#[must_use]
pub fn synth(pipeline: &Pipeline, options: &Options) -> String {
    let mut text =
        emit::stream(&header("factory workflow github"), &[workflow(pipeline, options)]).replacen("---\n", "", 1);
    for (action, version) in [CHECKOUT, RUNTIME, PROVENANCE, SBOM] {
        text = text.replace(&format!("{action}\n"), &format!("{action} # {version}\n"));
    }
    text
}

fn workflow(pipeline: &Pipeline, options: &Options) -> Value {
    let mut filter = union(pipeline);
    if !filter.is_empty() {
        filter.insert(options.file.clone());
    }
    let with_paths = |mut value: Map<String, Value>| {
        if !filter.is_empty() {
            value.insert("paths".into(), json!(filter));
        }
        Value::Object(value)
    };
    let mut push = Map::new();
    push.insert("branches".into(), json!(pipeline.branches));
    if !pipeline.tags.is_empty() {
        push.insert("tags".into(), json!(pipeline.tags));
    }
    let mut names: Vec<&str> = pipeline.images.iter().map(|image| image.name.as_str()).collect();
    names.sort_unstable();
    names.insert(0, "all");
    let image = json!({ "description": "What to build", "type": "choice", "options": names, "default": "all" });
    let version =
        json!({ "description": "The version, in the place of the next one", "type": "string", "default": "" });
    let bumps = ["", "patch", "minor", "major", "conventional", "calver", "none"];
    let bump = json!({ "description": "How far the version moves, in the place of version.bump", "type": "choice", "options": bumps, "default": "" });
    let levels = levels(pipeline);
    let mut jobs = Map::new();
    let outputs: Map<String, Value> = (1..=levels.len())
        .map(|level| (format!("level-{level}"), json!(format!("${{{{ steps.changes.outputs.level-{level} }}}}"))))
        .collect();
    jobs.insert(
        "changes".into(),
        json!({
            "if": "github.event_name != 'schedule'", "runs-on": options.runner,
            "permissions": { "contents": "read" }, "outputs": outputs,
            "steps": [
                { "uses": CHECKOUT.0, "with": { "fetch-depth": 0, "filter": "blob:none", "persist-credentials": false } },
                {
                    "id": "changes", "name": "What changed",
                    "env": {
                        "EVENT": "${{ github.event_name }}", "BEFORE": "${{ github.event.before }}",
                        "IMAGE": "${{ inputs.image }}",
                    },
                    "run": changes(pipeline),
                },
            ],
        }),
    );
    for (at, level) in levels.iter().enumerate() {
        jobs.insert(job_name(at), build(pipeline, options, at, level));
    }
    let mut on = json!({
        "push": with_paths(push),
        "pull_request": with_paths(Map::new()),
        "workflow_dispatch": { "inputs": { "image": image, "version": version, "version_bump": bump } },
    });
    if let Some(cron) = &pipeline.schedule {
        on["schedule"] = json!([{ "cron": cron }]);
        jobs.insert("rebuild".into(), rebuild(pipeline, options));
    }
    json!({
        "name": options.name,
        "on": on,
        "permissions": {},
        "concurrency": {
            "group": "${{ github.workflow }}-${{ github.ref }}",
            "cancel-in-progress": "${{ github.event_name == 'pull_request' }}",
        },
        "jobs": jobs,
    })
}

fn job_name(level: usize) -> String {
    if level == 0 { "build".into() } else { format!("build-{}", level + 1) }
}

/// The script that says, as a list for each level, what is to be built.
#[must_use]
pub fn changes(pipeline: &Pipeline) -> String {
    let levels = levels(pipeline);
    let mut out = String::from(
        "set -euo pipefail\n\
         base=\n\
         case \"$EVENT\" in\n\
         push) base=$BEFORE ;;\n\
         pull_request) base=HEAD^1 ;;\n\
         esac\n\
         case \"$GITHUB_REF\" in\n\
         refs/tags/*) base= ;;\n\
         esac\n\
         # A branch that is new or was rewritten has nothing to compare with: all is built.\n\
         if [ -n \"$base\" ] && ! git cat-file -e \"$base^{commit}\" 2>/dev/null; then\n\
         \x20 base=\n\
         fi\n\
         # want NAME PATTERN...: whether it is to be built\n\
         want() {\n\
         \x20 name=$1\n\
         \x20 shift\n\
         \x20 if [ -n \"$IMAGE\" ] && [ \"$IMAGE\" != all ]; then\n\
         \x20   [ \"$IMAGE\" = \"$name\" ] || return 0\n\
         \x20 elif [ -n \"$base\" ] && git diff --quiet \"$base\" HEAD -- \"$@\"; then\n\
         \x20   return 0\n\
         \x20 fi\n\
         \x20 list=$list${list:+,}\\\"$name\\\"\n\
         }\n",
    );
    if pipeline.images.iter().any(|image| !image.here) {
        out.push_str(
            "# elsewhere NAME: its source is another repository\n\
             elsewhere() {\n\
             \x20 case \"$EVENT\" in\n\
             \x20 workflow_dispatch | schedule) want \"$1\" ;;\n\
             \x20 esac\n\
             }\n",
        );
    }
    for (at, level) in levels.iter().enumerate() {
        out.push_str("list=\n");
        for image in level {
            if !image.here {
                let _ = writeln!(out, "elsewhere {}", quoted(&image.name));
                continue;
            }
            let _ = write!(out, "want {}", quoted(&image.name));
            for pattern in patterns(pipeline, image) {
                let spec = match pattern.strip_prefix('!') {
                    Some(pattern) => format!(":(exclude,glob){pattern}"),
                    None => format!(":(glob){pattern}"),
                };
                let _ = write!(out, " {}", quoted(&spec));
            }
            out.push('\n');
        }
        let _ = writeln!(out, "echo \"level-{}=[$list]\" | tee -a \"$GITHUB_OUTPUT\"", at + 1);
    }
    out
}

fn build(pipeline: &Pipeline, options: &Options, at: usize, level: &[&super::Image]) -> Value {
    let list = format!("needs.changes.outputs.level-{}", at + 1);
    let needs: Vec<String> = std::iter::once("changes".to_owned()).chain((0..at).map(job_name)).collect();
    let mut condition = format!("{list} != '[]'");
    if at > 0 {
        // What comes first may have nothing to do.
        let known = "needs.changes.result == 'success'";
        condition = format!("!cancelled() && !contains(needs.*.result, 'failure') && {known} && {condition}");
    }
    let mut permissions = Map::new();
    let writes = pipeline.schedule.is_some() || level.iter().any(|image| image.updates);
    permissions.insert("contents".into(), json!(if writes { "write" } else { "read" }));
    if level.iter().any(|image| image.requests) {
        permissions.insert("pull-requests".into(), json!("write"));
    }
    let names = registries(level.iter().copied());
    if names.contains("ghcr.io") {
        permissions.insert("packages".into(), json!("write"));
    }
    if options.attest {
        permissions.insert("id-token".into(), json!("write"));
        permissions.insert("attestations".into(), json!("write"));
    }
    let mut steps = prepared(options, level, PUSHES);
    let mut env = Map::new();
    env.insert("IMAGE".into(), json!("${{ matrix.image }}"));
    env.insert("VERSION".into(), json!("${{ inputs.version }}"));
    env.insert("BUMP".into(), json!("${{ inputs.version_bump }}"));
    env.insert("PUSH".into(), json!(format!("${{{{ {PUSHES} }}}}")));
    // A token that may push to other repositories, where manifests lie in one.
    env.insert("GITHUB_TOKEN".into(), json!("${{ secrets.COOPERAGE_TOKEN || github.token }}"));
    let mut secrets: Vec<&str> = level.iter().flat_map(|image| image.secrets.iter().map(String::as_str)).collect();
    secrets.sort_unstable();
    secrets.dedup();
    for secret in secrets {
        let whose: Vec<&str> = level
            .iter()
            .filter(|image| image.secrets.iter().any(|name| name == secret))
            .map(|image| image.name.as_str())
            .collect();
        let value =
            format!("${{{{ contains(fromJSON('{}'), matrix.image) && secrets.{secret} || '' }}}}", json!(whose));
        env.insert(secret.to_owned(), json!(value));
    }
    let run = format!(
        "set -- \"$IMAGE\" --file {} --checkout . --cache-from \"type=gha,scope=$IMAGE\"\n\
         if [ \"$PUSH\" = true ]; then\n\
         \x20 set -- \"$@\"{attest} --cache-to \"type=gha,mode=max,scope=$IMAGE,ignore-error=true\"\n\
         \x20 if [ -n \"$VERSION\" ]; then\n\
         \x20   set -- \"$@\" --tag \"$VERSION\"\n\
         \x20 elif [ -n \"$BUMP\" ]; then\n\
         \x20   set -- \"$@\" --bump \"$BUMP\"\n\
         \x20 fi\n\
         else\n\
         \x20 set -- \"$@\" --local\n\
         fi\n\
         cooperage factory build \"$@\"\n",
        quoted(&pipeline.file),
        attest = if options.attest { " --attest" } else { "" },
    );
    steps.push(json!({ "id": "build", "name": "Build", "env": env, "run": run }));
    if options.attest {
        let subject = json!({
            "subject-name": "${{ steps.build.outputs.image }}", "subject-digest": "${{ steps.build.outputs.digest }}",
            "push-to-registry": true,
        });
        let mut with_sbom = subject.clone();
        with_sbom["sbom-path"] = json!("sbom.spdx.json");
        steps.push(json!({
            "name": "SBOM", "if": PUSHES,
            "env": { "SUBJECT": "${{ steps.build.outputs.image }}@${{ steps.build.outputs.digest }}" },
            "run": "cooperage sbom \"$SUBJECT\" --format spdx-json -o sbom.spdx.json",
        }));
        steps.push(json!({ "name": "Attest the SBOM", "if": PUSHES, "uses": SBOM.0, "with": with_sbom }));
        steps.push(json!({ "name": "Attest the provenance", "if": PUSHES, "uses": PROVENANCE.0, "with": subject }));
    }
    if pipeline.schedule.is_some() {
        steps.push(state(pipeline, PUSHES));
    }
    json!({
        "name": "${{ matrix.image }}", "needs": needs, "if": condition, "runs-on": options.runner,
        "permissions": permissions,
        "strategy": {
            "fail-fast": false, "matrix": { "image": format!("${{{{ fromJSON({list}) }}}}") },
        },
        "steps": steps,
    })
}

const PUSHES: &str = "github.event_name != 'pull_request'";

/// Checkout, program, cache, emulators, and registries that are logged in to where `condition` holds.
fn prepared(options: &Options, images: &[&super::Image], condition: &str) -> Vec<Value> {
    let mut steps = vec![
        json!({ "uses": CHECKOUT.0, "with": { "persist-credentials": false } }),
        json!({ "uses": options.action, "with": { "setup-only": true } }),
        json!({ "name": "Show the cache service to commands", "uses": RUNTIME.0 }),
    ];
    if images.iter().any(|image| image.foreign) {
        let run = "sudo apt-get update -qq && sudo apt-get install -y -qq qemu-user-static";
        steps.push(json!({ "name": "Emulators for other processors", "run": run }));
    }
    for registry in registries(images.iter().copied()) {
        let (user, password) = match registry {
            "ghcr.io" => ("${{ github.actor }}".to_owned(), "${{ github.token }}".to_owned()),
            other => {
                let name = variable(other);
                (format!("${{{{ secrets.{name}_USERNAME }}}}"), format!("${{{{ secrets.{name}_PASSWORD }}}}"))
            }
        };
        let run = format!(
            "printf %s \"$REGISTRY_PASSWORD\" | cooperage login {} -u \"$REGISTRY_USERNAME\" --password-stdin",
            quoted(registry)
        );
        steps.push(json!({
            "name": format!("Log in to {registry}"), "if": condition,
            "env": { "REGISTRY_USERNAME": user, "REGISTRY_PASSWORD": password }, "run": run,
        }));
    }
    steps
}

/// The step that commits the state files.
fn state(pipeline: &Pipeline, condition: &str) -> Value {
    let branch = "${{ github.ref_type == 'branch' && github.ref_name || github.event.repository.default_branch }}";
    json!({
        "name": "Keep the state", "if": condition,
        "env": { "BRANCH": branch, "GITHUB_TOKEN": "${{ secrets.COOPERAGE_TOKEN || github.token }}" },
        "run": super::commit_state(pipeline, "x-access-token", "GITHUB_TOKEN", "origin"),
    })
}

/// The job by the clock: base images are checked, and what is due is rebuilt.
fn rebuild(pipeline: &Pipeline, options: &Options) -> Value {
    let mut images: Vec<&super::Image> = pipeline.images.iter().collect();
    images.sort_by(|a, b| a.name.cmp(&b.name));
    let mut permissions = json!({ "contents": "write" });
    if images.iter().any(|image| image.requests) {
        permissions["pull-requests"] = json!("write");
    }
    if registries(images.iter().copied()).contains("ghcr.io") {
        permissions["packages"] = json!("write");
    }
    let mut steps = prepared(options, &images, "true");
    let mut env = Map::new();
    env.insert("GITHUB_TOKEN".into(), json!("${{ secrets.COOPERAGE_TOKEN || github.token }}"));
    for secret in images.iter().flat_map(|image| &image.secrets) {
        env.insert(secret.clone(), json!(format!("${{{{ secrets.{secret} }}}}")));
    }
    steps.push(json!({ "name": "Rebuild what is due", "env": env, "run": super::rebuild(pipeline, options.attest) }));
    // What was built before one failed is built.
    steps.push(state(pipeline, "!cancelled()"));
    json!({
        "if": "github.event_name == 'schedule'", "runs-on": options.runner, "permissions": permissions, "steps": steps,
    })
}
