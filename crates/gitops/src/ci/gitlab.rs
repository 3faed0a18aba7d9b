//! A pipeline of GitLab CI: a job for each image, in a stage for each level.
use super::{Pipeline, levels, patterns, quoted, variable};
use crate::synth::header;
use crate::yaml::emit;
use serde_json::{Map, Value, json};

/// How the pipeline is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The image of the jobs: this program, git and a shell.
    pub image: String,
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
                "$CI_PIPELINE_SOURCE =~ /^(web|api|trigger|schedule)$/ && ($IMAGE == null || $IMAGE == \"\" || $IMAGE == {})",
                json!(image.name)
            );
            rules.push(json!({ "if": asked }));
            // GitLab's registry takes the job's token; others their own variables.
            let own = variable(&image.registry);
            let login = format!(
                "if [ {registry} = \"$CI_REGISTRY\" ]; then\n\
                 \x20 printf %s \"$CI_REGISTRY_PASSWORD\" | cooperage login {registry} -u \"$CI_REGISTRY_USER\" --password-stdin\n\
                 elif [ \"$PUSH\" = true ]; then\n\
                 \x20 printf %s \"${own}_PASSWORD\" | cooperage login {registry} -u \"${own}_USERNAME\" --password-stdin\n\
                 fi\n",
                registry = quoted(&image.registry)
            );
            let name = quoted(&image.name);
            let build = format!(
                "set -- {name} --file {file} --checkout . --cache-from type=registry,ref={cache}\n\
                 if [ \"$PUSH\" = true ]; then\n\
                 \x20 set -- \"$@\" --cache-to type=registry,ref={cache},mode=max,ignore-error=true ${{VERSION:+--tag \"$VERSION\"}}\n\
                 else\n\
                 \x20 set -- \"$@\" --local\n\
                 fi\n\
                 cooperage factory build \"$@\"\n",
                cache = quoted(&format!("{}:buildcache", image.reference)),
                file = quoted(&pipeline.file)
            );
            let mut job =
                json!({ "extends": ".cooperage", "stage": stage(at), "rules": rules, "script": [login, build] });
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
    Value::Object(all)
}
