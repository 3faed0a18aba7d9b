//! Rules × event → tags.
use super::rule::{Flavor, Kind, Latest, RefEvent, Rule};
use super::template::{Call, Template};
use super::{Error, Event, moment, suggestion};
use crate::version::pep440::Pep440;
use regex::RegexBuilder;

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tags {
    /// The first tag: the image's version in labels.
    pub version: Option<String>,
    /// All tags, by priority, `latest` last.
    pub tags: Vec<String>,
    /// Why rules gave nothing that their author may have expected to.
    pub warnings: Vec<String>,
}

/// One rule's tag, and what it says of `latest`.
struct Found {
    value: String,
    latest: bool,
}

/// Works out the tags. Rules are taken by priority, then in their order; the first that gives a tag decides `latest`
/// where the flavor leaves it open.
///
/// # Errors
/// [`Error::Expression`] for a template that cannot be worked out, [`Error::Rule`] for an `enable` that is neither
/// `true` nor `false` and a `match` that is no regular expression.
pub fn compute(event: &Event, rules: &[Rule], flavor: &Flavor) -> Result<Tags, Error> {
    let mut sorted: Vec<&Rule> = rules.iter().collect();
    sorted.sort_by_key(|rule| std::cmp::Reverse(rule.priority));
    let mut out = Tags::default();
    let mut latest = None;
    for rule in sorted {
        match global(&rule.enable, event)?.as_str() {
            "true" => {}
            "false" => continue,
            other => {
                let problem = format!("it gives `{other}`; `enable` must give true or false");
                return Err(Error::Rule { rule: format!("enable={}", rule.enable), problem });
            }
        }
        let Some(found) = apply(event, rule, &mut out.warnings)? else { continue };
        let prefix = global(rule.prefix.as_ref().unwrap_or(&flavor.prefix), event)?;
        let suffix = global(rule.suffix.as_ref().unwrap_or(&flavor.suffix), event)?;
        let value = sanitize(&format!("{prefix}{}{suffix}", found.value));
        if value.is_empty() {
            continue;
        }
        latest = latest.or(Some(found.latest));
        if !out.tags.contains(&value) {
            out.tags.push(value);
        }
    }
    out.version = out.tags.first().cloned();
    let latest = match flavor.latest {
        Latest::Auto => latest == Some(true),
        Latest::True => latest.is_some(),
        Latest::False => false,
    };
    if latest {
        let part = |on: bool, text: &str| if on { global(text, event) } else { Ok(String::new()) };
        let prefix = part(flavor.prefix_on_latest, &flavor.prefix)?;
        let suffix = part(flavor.suffix_on_latest, &flavor.suffix)?;
        let tag = sanitize(&format!("{prefix}latest{suffix}"));
        if !out.tags.contains(&tag) {
            out.tags.push(tag);
        }
    }
    Ok(out)
}

/// The tag of one rule before prefix and suffix.
fn apply(event: &Event, rule: &Rule, warnings: &mut Vec<String>) -> Result<Option<Found>, Error> {
    let found = |value: String, latest| Ok(Some(Found { value, latest }));
    match &rule.kind {
        Kind::Schedule { pattern } => {
            if !event.name.contains("schedule") {
                return Ok(None);
            }
            let names = ["date", "commit_date"];
            let value = Template::parse(pattern)?.render(|call| match date(call, event) {
                Some(date) => date,
                None => Err(unknown(call, &names)),
            })?;
            found(value, false)
        }
        Kind::Semver { pattern, value, matcher } => {
            let Some(version) = source(event, value, matcher.as_deref(), warnings)? else { return Ok(None) };
            semver_tag(&version, pattern, warnings)
        }
        Kind::Pep440 { pattern, value, matcher } => {
            let Some(version) = source(event, value, matcher.as_deref(), warnings)? else { return Ok(None) };
            pep440_tag(&version, pattern, warnings)
        }
        Kind::Match { pattern, group, value } => {
            let text = match (value.is_empty(), event.tag()) {
                (false, _) => global(value, event)?,
                (true, Some(tag)) => tag.to_owned(),
                (true, None) => return Ok(None),
            };
            match capture(pattern, &text, *group)? {
                Ok(value) => found(value, true),
                Err(warning) => {
                    warnings.push(warning);
                    Ok(None)
                }
            }
        }
        Kind::Edge { branch } => {
            let branch = if branch.is_empty() { &event.default_branch } else { branch };
            if event.branch() == Some(branch.as_str()) { found("edge".into(), false) } else { Ok(None) }
        }
        Kind::Ref { event: kind } => {
            let (value, latest) = match kind {
                RefEvent::Branch => (event.branch(), false),
                RefEvent::Tag => (event.tag(), true),
                RefEvent::Pr => (event.pull_request(), false),
            };
            Ok(value.map(|value| Found { value: value.to_owned(), latest }))
        }
        Kind::Raw { value } => found(global(value, event)?, false),
        Kind::Sha { long } => match &event.sha {
            None => Ok(None),
            Some(sha) if *long => found(sha.clone(), false),
            Some(_) => found(event.short_sha().to_owned(), false),
        },
    }
}

/// The text that a version is read from: `value`, else the git tag; of it what `match` takes out, or all of it where that
/// does not match; with `-` for `/`.
fn source(
    event: &Event,
    value: &str,
    matcher: Option<&str>,
    warnings: &mut Vec<String>,
) -> Result<Option<String>, Error> {
    let text = match (value.is_empty(), event.tag()) {
        (false, _) => global(value, event)?,
        (true, Some(tag)) => tag.to_owned(),
        (true, None) => return Ok(None),
    };
    let part = match matcher {
        Some(matcher) => {
            let group = usize::from(regex_of(matcher)?.0.captures_len() > 1);
            capture(matcher, &text, group)?.map_err(|warning| warnings.push(warning)).ok()
        }
        None => None,
    };
    Ok(Some(part.unwrap_or(text).replace('/', "-")))
}

fn semver_tag(text: &str, pattern: &str, warnings: &mut Vec<String>) -> Result<Option<Found>, Error> {
    let bare = text.trim().trim_start_matches('=').trim_start();
    let Ok(version) = semver::Version::parse(bare.strip_prefix('v').unwrap_or(bare)) else {
        warnings.push(format!("`{text}` is no semantic version (https://semver.org/)"));
        return Ok(None);
    };
    let bare = semver::Version { build: semver::BuildMetadata::EMPTY, ..version.clone() };
    let template = Template::parse(pattern)?;
    let names = ["raw", "version", "major", "minor", "patch", "prerelease", "build"];
    let value = template.render(|call| {
        Ok(match call.name.as_str() {
            "raw" => text.to_owned(),
            "version" => bare.to_string(),
            "major" => version.major.to_string(),
            "minor" => version.minor.to_string(),
            "patch" => version.patch.to_string(),
            "prerelease" => version.pre.replace('.', ","),
            "build" => version.build.replace('.', ","),
            _ => return Err(unknown(call, &names)),
        })
    })?;
    let release = version.pre.is_empty();
    let value = match (release, template.is_only("raw")) {
        (true, _) => value,
        (false, true) => text.to_owned(),
        (false, false) => bare.to_string(),
    };
    Ok(Some(Found { value, latest: release }))
}

fn pep440_tag(text: &str, pattern: &str, warnings: &mut Vec<String>) -> Result<Option<Found>, Error> {
    let Some(version) = Pep440::parse(text) else {
        warnings.push(format!("`{text}` is no version of Python's kind (PEP 440)"));
        return Ok(None);
    };
    let template = Template::parse(pattern)?;
    let names = ["raw", "version", "major", "minor", "patch"];
    let value = template.render(|call| {
        Ok(match call.name.as_str() {
            "raw" => text.to_owned(),
            "version" => version.to_string(),
            "major" => version.release(0).to_string(),
            "minor" => version.release(1).to_string(),
            "patch" => version.release(2).to_string(),
            _ => return Err(unknown(call, &names)),
        })
    })?;
    let release = version.is_final();
    let value = match (release, template.is_only("raw")) {
        (true, _) => value,
        (false, true) => text.to_owned(),
        (false, false) => version.to_string(),
    };
    Ok(Some(Found { value, latest: release }))
}

/// `expression` or `/expression/flags`, and whether all matches are counted (`g`).
fn regex_of(pattern: &str) -> Result<(regex::Regex, bool), Error> {
    let wrong = |problem: String| Error::Rule { rule: format!("pattern={pattern}"), problem };
    let (text, flags) = match pattern.strip_prefix('/').and_then(|rest| rest.rsplit_once('/')) {
        Some((text, flags)) if !text.is_empty() => (text, flags),
        _ => (pattern, ""),
    };
    if let Some(flag) = flags.chars().find(|flag| !"gimsuy".contains(*flag)) {
        return Err(wrong(format!("the flag `{flag}` is unknown; there are g, i, m, s, u and y")));
    }
    let text = if flags.contains('y') { format!("^(?:{text})") } else { text.to_owned() };
    let regex = RegexBuilder::new(&text)
        .case_insensitive(flags.contains('i'))
        .multi_line(flags.contains('m'))
        .dot_matches_new_line(flags.contains('s'))
        .size_limit(1 << 20)
        .build();
    let regex = regex.map_err(|error| {
        let error = error.to_string();
        let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
        wrong(format!("no regular expression of this program: {reason}"))
    })?;
    Ok((regex, flags.contains('g')))
}

fn capture(pattern: &str, text: &str, group: usize) -> Result<Result<String, String>, Error> {
    let (regex, all) = regex_of(pattern)?;
    let Some(captures) = regex.captures(text) else { return Ok(Err(format!("`{pattern}` does not match `{text}`"))) };
    let part = if all { regex.find_iter(text).nth(group) } else { captures.get(group) };
    let missing = || format!("`{pattern}` has no group {group} for `{text}`");
    Ok(part.map(|part| part.as_str().to_owned()).ok_or_else(missing))
}

/// Puts in the expressions that every attribute may have.
pub(super) fn global(text: &str, event: &Event) -> Result<String, Error> {
    let names =
        ["branch", "tag", "sha", "base_ref", "is_default_branch", "is_not_default_branch", "date", "commit_date"];
    Template::parse(text)?.render(|call| {
        if let Some(date) = date(call, event) {
            return date;
        }
        Ok(match call.name.as_str() {
            "branch" => event.branch().unwrap_or_default().to_owned(),
            "tag" => event.tag().unwrap_or_default().to_owned(),
            "sha" => event.short_sha().to_owned(),
            "base_ref" => event.base_ref.clone().unwrap_or_default(),
            "is_default_branch" => event.is_default_branch().to_string(),
            "is_not_default_branch" => (!event.is_default_branch()).to_string(),
            _ => return Err(unknown(call, &names)),
        })
    })
}

fn date(call: &Call, event: &Event) -> Option<Result<String, String>> {
    let time = match call.name.as_str() {
        "date" => event.now,
        "commit_date" => event.commit_date.unwrap_or(event.now),
        _ => return None,
    };
    if let Some((key, _)) = call.options.iter().find(|(key, _)| key != "tz") {
        return Some(Err(format!("`{key}` is unknown; a date takes a format and `tz`")));
    }
    let zone = call.options.first().map_or("", |(_, zone)| zone);
    Some(match &call.arguments[..] {
        [format] => moment::format(time, format, zone),
        _ => Err(format!("`{}` takes one format, such as {{{{{} 'YYYYMMDD'}}}}", call.name, call.name)),
    })
}

fn unknown(call: &Call, names: &[&str]) -> String {
    format!("`{}` is unknown here; {}", call.name, suggestion(&call.name, names))
}

/// What a registry takes: other characters become one `-`; not more than 128; no `.` or `-` in front.
fn sanitize(tag: &str) -> String {
    let mut out = String::new();
    let mut replaced = false;
    for c in tag.chars() {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            out.push(c);
            replaced = false;
        } else if !replaced {
            out.push('-');
            replaced = true;
        }
    }
    let out = out.trim_start_matches(['.', '-']);
    out[..out.len().min(128)].to_owned()
}
