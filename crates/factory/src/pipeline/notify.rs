//! Webhooks that are told what became of an image.
//!
//! A message cannot be asked for afterwards, so each is noted in the run before it is sent: a run that
//! was killed in between sends it no second time. That nobody could be reached does not undo an image
//! that is out; the record says so. URLs of webhooks are secrets and appear nowhere.
use super::{Ended, Failure, Machine};
use crate::enrol::{Managed, Notify};
use serde_json::{Value, json};

/// What is told.
#[derive(Debug, Clone)]
pub(super) struct News<'a> {
    pub version: Option<&'a str>,
    pub digest: Option<&'a str>,
    pub tags: Vec<&'a str>,
    pub commits: Value,
    /// Step and error.
    pub failure: Option<(&'a str, &'a str)>,
}

pub(super) fn tell(machine: &Machine<'_>, managed: &Managed, news: &News<'_>) -> Result<Ended, Failure> {
    let wanted: Vec<&Notify> = managed
        .notify
        .iter()
        .filter(|notify| if news.failure.is_some() { notify.on_failure } else { notify.on_success })
        .collect();
    if wanted.is_empty() {
        return Ok(Ended::Skipped("nobody is to be told".into()));
    }
    let earlier = machine.earlier.iter().find(|step| step.name == "notify");
    let mut attempted: Vec<String> = earlier
        .and_then(|step| step.output["attempted"].as_array())
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    let mut failed = Vec::new();
    for notify in wanted {
        let name = &notify.url_env;
        if news.failure.is_none() && attempted.contains(name) {
            machine.log("notify", &format!("{name} was told before the run was interrupted"));
            continue;
        }
        let Some(url) = machine.factory.env.get(name).filter(|url| !url.is_empty()) else {
            failed.push(format!("the variable {name} is not set"));
            continue;
        };
        if news.failure.is_none() {
            attempted.push(name.clone());
            machine.note("notify", &json!({ "attempted": attempted }))?;
        }
        let body = body(machine, notify, news);
        match (machine.factory.post)(url.trim(), &body) {
            Ok(()) => machine.log("notify", &format!("{name} was told")),
            Err(why) => failed.push(format!("{name}: {}", why.replace(url.trim(), "…"))),
        }
    }
    for line in &failed {
        machine.log("notify", &format!("warning: {line}"));
    }
    Ok(Ended::Done(json!({ "attempted": attempted, "failed": failed })))
}

fn body(machine: &Machine<'_>, notify: &Notify, news: &News<'_>) -> Value {
    let name = &machine.image.name;
    let text = match news.failure {
        Some((step, error)) => format!("{name}: {step} failed: {error} (run {})", machine.run),
        None => format!(
            "{name} {} is published: {}@{}",
            news.version.unwrap_or("-"),
            machine.image.reference(),
            news.digest.unwrap_or("-")
        ),
    };
    match notify.format.as_str() {
        "slack" => json!({ "text": text }),
        "teams" => json!({
            "@type": "MessageCard", "@context": "https://schema.org/extensions", "summary": text, "text": text,
        }),
        _ => json!({
            "event": if news.failure.is_some() { "failure" } else { "success" },
            "image": name, "reference": machine.image.reference(), "run": machine.run,
            "version": news.version, "digest": news.digest, "tags": news.tags, "commits": news.commits,
            "step": news.failure.map(|(step, _)| step), "error": news.failure.map(|(_, error)| error), "text": text,
        }),
    }
}
