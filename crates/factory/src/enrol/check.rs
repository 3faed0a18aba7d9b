//! Holds a tree against the table of keys; what is wrong is collected, nothing stops at the first.
use super::schema::{Kind, Object};
use crate::duration::Delay;
use crate::problem::Problem;
use crate::yaml::{Content, Mark, Node};

/// Checks a mapping.
pub(super) fn object(node: &Node, of: &Object, problems: &mut Vec<Problem>) {
    let Content::Map(entries) = &node.content else {
        let keys: Vec<&str> = of.fields.iter().map(|field| field.key).take(3).collect();
        let message =
            format!("{} must be a mapping with keys such as {}, not {}", of.name, keys.join(", "), node.kind());
        problems.push(Problem::new(node.mark, message));
        return;
    };
    for entry in entries {
        match of.fields.iter().find(|field| field.key == entry.key) {
            // A key without a value says nothing.
            Some(_) if entry.value.content == Content::Null => {}
            Some(field) => value(&entry.value, field.kind, field.key, problems),
            None => problems.push(unknown(entry.mark, &entry.key, of)),
        }
    }
    for field in of.fields.iter().filter(|field| field.required) {
        if node.get(field.key).is_none_or(|value| value.content == Content::Null) {
            let message = format!("{} has no {}", of.name, field.key);
            problems.push(Problem::new(node.mark, message).help(format!("{}: {}", field.key, field.doc)));
        }
    }
}

fn unknown(mark: Mark, key: &str, of: &Object) -> Problem {
    let problem = Problem::new(mark, format!("unknown key {key:?} in {}", of.name));
    let keys = of.fields.iter().map(|field| field.key);
    // `rebuild_delay`, `rebuild-delay`
    let squeezed = key.replace(['_', '-'], "").to_lowercase();
    let same = keys.clone().find(|known| known.to_lowercase() == squeezed);
    match same.or_else(|| dockerfile::suggest::nearest(key, keys.clone())) {
        Some(near) => problem.help(format!("did you mean {near}?")),
        None => problem.help(format!("known keys are {}", keys.collect::<Vec<_>>().join(", "))),
    }
}

fn value(node: &Node, kind: Kind, key: &str, problems: &mut Vec<Problem>) {
    let mut wrong = |message: String| problems.push(Problem::new(node.mark, format!("{key}: {message}")));
    match kind {
        Kind::Object(of) => return object(node, of, problems),
        Kind::List(item) => {
            return match &node.content {
                Content::List(items) => items.iter().for_each(|node| value(node, *item, key, problems)),
                _ => wrong(format!("a list is expected here, not {}; put \"- \" before each entry", node.kind())),
            };
        }
        Kind::Texts => {
            return match &node.content {
                Content::Map(entries) => {
                    for entry in entries {
                        value(&entry.value, Kind::Text, &format!("{key}.{}", entry.key), problems);
                    }
                }
                _ => wrong(format!("a mapping NAME: VALUE is expected here, not {}", node.kind())),
            };
        }
        Kind::TextOr(of) | Kind::BoolOr(of) if matches!(node.content, Content::Map(_)) => {
            return object(node, of, problems);
        }
        _ => {}
    }
    let Some(text) = node.text() else {
        return wrong(format!("{} is expected here, not {}", expected(kind), node.kind()));
    };
    if let Err((message, help)) = scalar(text, node, kind) {
        let mut problem = Problem::new(node.mark, format!("{key}: {message}"));
        problem.help = help;
        problems.push(problem);
    }
}

fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "true or false",
        Kind::BoolOr(_) => "true, false or a mapping",
        Kind::Delay => "a duration such as 7d",
        Kind::TextOr(_) => "a text or a mapping",
        _ => "a text",
    }
}

fn scalar(text: &str, node: &Node, kind: Kind) -> Result<(), (String, Option<String>)> {
    let plain = |message: String| (message, None);
    match kind {
        Kind::Bool | Kind::BoolOr(_) => match (text, node.kind()) {
            ("true" | "false", "a boolean") => Ok(()),
            _ => Err(plain(format!("true or false is expected here, not {text:?}"))),
        },
        Kind::Delay => text.parse::<Delay>().map(drop).map_err(plain),
        Kind::Name => name(text).map_err(|(message, better)| (message, better.map(|b| format!("{b} would do")))),
        Kind::Registry => match format!("{text}/x").parse::<oci::Reference>() {
            Ok(reference) if reference.registry() == text || text == "index.docker.io" => Ok(()),
            _ => {
                let help = "write the host, and where it has one the port: ghcr.io, 127.0.0.1:5000";
                Err((format!("{text:?} is no registry"), Some(help.into())))
            }
        },
        Kind::Repository => match format!("host.example/{text}").parse::<oci::Reference>() {
            Ok(reference) if reference.tag().is_none() && reference.digest().is_none() => Ok(()),
            Ok(_) => Err((
                format!("{text:?} has a tag or a digest"),
                Some("write the name alone, such as owner/name".into()),
            )),
            Err(error) => {
                let lower = text.to_lowercase();
                let fits = lower != text && format!("host.example/{lower}").parse::<oci::Reference>().is_ok();
                Err((format!("{text:?} is no repository: {}", error.why), fits.then(|| format!("{lower} would do"))))
            }
        },
        Kind::Regex => regex::Regex::new(text).map(drop).map_err(|error| {
            let why = error.to_string();
            let why = why.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
            plain(format!("{text:?} is no regular expression: {}", why.trim_start_matches("error: ")))
        }),
        Kind::Platform => match text.parse::<oci::Platform>() {
            Ok(_) => Ok(()),
            Err(error) => Err((error.to_string(), Some("write OS/ARCHITECTURE[/VARIANT], such as linux/arm64".into()))),
        },
        Kind::Path => {
            if text.is_empty() {
                Err(plain("an empty path".into()))
            } else if text.starts_with('/') {
                Err((
                    format!("{text:?} is absolute"),
                    Some("write the path from the top of the repository, or from images.yaml".into()),
                ))
            } else if text.split('/').any(|part| part == "..") {
                Err((format!("{text:?} leads out of its directory"), None))
            } else {
                Ok(())
            }
        }
        Kind::OneOf(words) if words.contains(&text) => Ok(()),
        Kind::OneOf(words) => {
            let near = words.iter().copied().find(|word| word.eq_ignore_ascii_case(text));
            let help = match near.or_else(|| dockerfile::suggest::nearest(text, words.iter().copied())) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("known are {}", words.join(", ")),
            };
            Err((format!("there is no {text:?}"), Some(help)))
        }
        _ => Ok(()),
    }
}

/// Checks a name; where it is none, one that would do.
fn name(text: &str) -> Result<(), (String, Option<String>)> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if text.starts_with(ends) && text.ends_with(ends) && text.chars().all(inner) && text.len() <= 100 {
        return Ok(());
    }
    let better: String = text.to_lowercase().chars().map(|c| if inner(c) { c } else { '-' }).collect();
    let better = better.trim_matches(|c| !ends(c)).to_owned();
    let message = format!("{text:?} is no name: lower-case letters, digits, '.', '_' and '-', at most 100");
    Err((message, (!better.is_empty() && better.len() <= 100 && better != text).then_some(better)))
}

/// A name that is as near to a text as it can be.
pub(crate) fn name_like(text: &str) -> String {
    match name(text) {
        Ok(()) => text.to_owned(),
        Err((_, better)) => better.unwrap_or_else(|| "image".into()),
    }
}
