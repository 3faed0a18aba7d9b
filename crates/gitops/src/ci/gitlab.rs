//! A pipeline of GitLab CI: a job for each image, in a stage for each level.
use super::{Pipeline, levels, patterns, quoted, registries, variable};
use crate::synth::header;
use crate::yaml::emit;
use serde_json::{Map, Value, json};

/// How the pipeline is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The image of the jobs: this program, git and a shell.
    pub image: String,
    /// Whether SBOM and provenance are attached.
    pub attest: bool,
}

/// The pipeline as YAML.
#[must_use]
pub fn synth(pipeline: &Pipeline, options: &Options) -> String {
    emit::stream(&header("factory workflow gitlab"), &[value(pipeline, options)]).replacen("---\n", "", 1)
}

fn value(pipeline: &Pipeline, options: &Options) -> Value {
    let levels = levels(pipeline);
    let stage = |at: usize| if at == 0 { "images".to_owned() } else { format!("images-{}", at + 1) };
    let mut all = Map::new();
    all.insert("stages".into(), (0..levels.len()).map(stage).collect());
    all.insert(
        ".cooperage".into(),
        json!({
            "image": { "name": options.image, "entrypoint": [""] },
            "variables": { "COOPERAGE_ROOT": "/tmp/cooperage", "PUSH": "true" },
            "interruptible": false,
            "retry": { "max": 1, "when": ["runner_system_failure", "stuck_or_timeout_failure"] },
        }),
    );
    for (at, level) in levels.iter().enumerate() {
        for image in level {
            let changes = |mut rule: Value| {
                // Exclusions are not known there.
                let mut paths = patterns(pipeline, image);
                paths.retain(|pattern| !pattern.starts_with('!'));
                if !paths.is_empty() {
                    rule["changes"] = json!({ "paths": paths });
                }
                rule
            };
            let mut rules = Vec::new();
            if image.here {
                rules.push(changes(json!({
                    "if": "$CI_PIPELINE_SOURCE == \"merge_request_event\"", "variables": { "PUSH": "false" },
                })));
                for branch in &pipeline.branches {
                    let condition =
                        format!("$CI_PIPELINE_SOURCE == \"push\" && $CI_COMMIT_BRANCH == {}", json!(branch));
                    rules.push(changes(json!({ "if": condition })));
                }
                if !pipeline.tags.is_empty() {
                    rules.push(json!({ "if": "$CI_COMMIT_TAG" }));
                }
            }
            let asked = format!(
                "$CI_PIPELINE_SOURCE =~ /^(web|api|trigger{})$/ && ($IMAGE == null || $IMAGE == \"\" || $IMAGE == {})",
                // By the clock what is due is rebuilt, in a job of its own.
                if pipeline.schedule.is_some() { "" } else { "|schedule" },
                json!(image.name)
            );
            rules.push(json!({ "if": asked }));
            let login = login(&image.registry);
            let name = quoted(&image.name);
            let build = format!(
                "set -- {name} --file {file} --checkout . --cache-from type=registry,ref={cache}\n\
                 if [ \"$PUSH\" = true ]; then\n\
                 \x20 set -- \"$@\"{attest} --cache-to type=registry,ref={cache},mode=max,ignore-error=true\n\
                 \x20 if [ -n \"${{VERSION:-}}\" ]; then\n\
                 \x20   set -- \"$@\" --tag \"$VERSION\"\n\
                 \x20 elif [ -n \"${{BUMP:-}}\" ]; then\n\
                 \x20   set -- \"$@\" --bump \"$BUMP\"\n\
                 \x20 fi\n\
                 else\n\
                 \x20 set -- \"$@\" --local\n\
                 fi\n\
                 cooperage factory build \"$@\"\n",
                cache = quoted(&format!("{}:buildcache", image.reference)),
                file = quoted(&pipeline.file),
                attest = if options.attest { " --attest" } else { "" },
            );
            let mut script = vec![login, build];
            if pipeline.schedule.is_some() {
                script.push(keep_state(pipeline));
            }
            let mut job = json!({ "extends": ".cooperage", "stage": stage(at), "rules": rules, "script": script });
            let needs: Vec<Value> = image
                .needs
                .iter()
                .filter(|need| levels[..at].iter().flatten().any(|image| image.name == **need))
                .map(|need| json!({ "job": format!("build:{need}"), "optional": true }))
                .collect();
            job["needs"] = json!(needs);
            all.insert(format!("build:{}", image.name), job);
        }
    }
    if pipeline.schedule.is_some() {
        let mut script: Vec<String> = registries(&pipeline.images).into_iter().map(login).collect();
        // What was built before one failed is built: its state is kept, too.
        script.push(format!("status=0\nsh -ec {} || status=$?\n", quoted(&super::rebuild(pipeline, options.attest))));
        script.push(keep_state(pipeline));
        script.push("exit \"$status\"\n".into());
        let rules = json!([{ "if": "$CI_PIPELINE_SOURCE == \"schedule\"" }]);
        all.insert(
            "rebuild".into(),
            json!({ "extends": ".cooperage", "stage": stage(0), "rules": rules, "needs": [], "script": script }),
        );
    }
    Value::Object(all)
}

/// GitLab's registry takes the job's token; others their own variables.
fn login(registry: &str) -> String {
    let own = variable(registry);
    format!(
        "if [ {registry} = \"$CI_REGISTRY\" ]; then\n\
         \x20 printf %s \"$CI_REGISTRY_PASSWORD\" | cooperage login {registry} -u \"$CI_REGISTRY_USER\" --password-stdin\n\
         elif [ \"$PUSH\" = true ]; then\n\
         \x20 printf %s \"${own}_PASSWORD\" | cooperage login {registry} -u \"${own}_USERNAME\" --password-stdin\n\
         fi\n",
        registry = quoted(registry)
    )
}

/// Commits the state files with `COOPERAGE_TOKEN`; without it, by the job's token, where the project lets it push.
fn keep_state(pipeline: &Pipeline) -> String {
    let script = super::commit_state(pipeline, "oauth2", "COOPERAGE_TOKEN", "\"$CI_SERVER_URL/$CI_PROJECT_PATH.git\"");
    let (by_job, by_token) = (
        script.replace("username=oauth2", "username=gitlab-ci-token").replace("$COOPERAGE_TOKEN", "$CI_JOB_TOKEN"),
        &script,
    );
    format!(
        "if [ \"$PUSH\" = true ]; then\n\
         \x20 export BRANCH=\"${{CI_COMMIT_BRANCH:-$CI_DEFAULT_BRANCH}}\"\n\
         \x20 if [ -n \"${{COOPERAGE_TOKEN:-}}\" ]; then\n(\n{by_token})\n\
         \x20 else\n(\n{by_job}) || echo 'the state was not kept: give a COOPERAGE_TOKEN that may push, or let job tokens push' >&2\n\
         \x20 fi\n\
         fi\n"
    )
}
