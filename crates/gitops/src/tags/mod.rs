//! Which tags an image gets for an event: the rules of docker/metadata-action (version 6), so that a workflow's
//! `tags` and `flavor` mean here what they mean there, and what these rules lack (the module [`moving`]).
//!
//! ```
//! use gitops::tags::{Event, Flavor, Rule, compute};
//! let event = Event { name: "push".into(), git_ref: "refs/tags/v1.2.3".into(), ..Event::default() };
//! let rules = Rule::parse_all("type=semver,pattern={{version}}\ntype=semver,pattern={{major}}.{{minor}}")?;
//! assert_eq!(compute(&event, &rules, &Flavor::default())?.tags, ["1.2.3", "1.2", "latest"]);
//! # Ok::<(), gitops::tags::Error>(())
//! ```
//!
//! Stricter than the action: unknown attributes, unknown expressions and unknown time zones are errors (the action
//! takes them for nothing), a tag comes out once (there `latest` can come twice), and what no registry takes (more
//! than 128 characters, a leading `.` or `-`) is cut off.
mod compute;
mod event;
mod image;
mod moment;
pub mod moving;
mod rule;
mod template;

pub use compute::{Tags, compute};
pub use event::Event;
pub use image::{Source, images, labels};
pub use rule::{Flavor, Kind, Latest, RefEvent, Rule};

/// Why rules were not understood or could not be worked out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A line of `tags`.
    #[error("tag rule `{rule}`: {problem}")]
    Rule {
        /// The line.
        rule: String,
        /// What is wrong with it and what is allowed.
        problem: String,
    },
    /// A line of `flavor`.
    #[error("flavor `{flavor}`: {problem}")]
    Flavor {
        /// The line.
        flavor: String,
        /// What is wrong with it and what is allowed.
        problem: String,
    },
    /// An expression in braces.
    #[error("`{template}`: {problem}")]
    Expression {
        /// The attribute's value with the expression.
        template: String,
        /// What is wrong with it and what is allowed.
        problem: String,
    },
    /// A line of `images`.
    #[error("images `{line}`: {problem}")]
    Image {
        /// The line.
        line: String,
        /// What is wrong with it and what is allowed.
        problem: String,
    },
    /// An event's payload.
    #[error("the event's payload: {0}")]
    Payload(String),
}

/// `, did you mean …?` for the nearest of the names, or the list of them.
pub(crate) fn suggestion(word: &str, names: &[&str]) -> String {
    let near = names.iter().map(|name| (distance(word, name), name)).min();
    match near {
        Some((distance, name)) if distance <= 1 + word.len() / 4 => format!("did you mean `{name}`?"),
        _ => format!("there are {}", names.join(", ")),
    }
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Expands `{{name}}` from a table; for messages that are made by template.
pub(crate) fn expand(template: &str, values: &std::collections::BTreeMap<&str, String>) -> Result<String, String> {
    let names: Vec<&str> = values.keys().copied().collect();
    let value = |call: &template::Call| {
        let value = values.get(call.name.as_str()).filter(|_| call.arguments.is_empty() && call.options.is_empty());
        value.cloned().ok_or_else(|| format!("`{}` is unknown here; {}", call.name, suggestion(&call.name, &names)))
    };
    let parsed = template::Template::parse(template).map_err(|error| error.to_string())?;
    parsed.render(value).map_err(|error| error.to_string())
}
