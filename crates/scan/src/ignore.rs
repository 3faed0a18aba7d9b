//! `.cooperage/ignore.yaml`: findings that somebody has looked at, why they do not count, and until when.
//!
//! ```yaml
//! ignore:
//!   - id: CVE-2024-1234               # any of the finding's names
//!     package: openssl                # the package, or the source package that it is built from
//!     path: opt/legacy/**             # a file that says that the package is there; * stays in a directory
//!     reason: only the client is used, and this is about the server
//!     expires: 2026-12-31             # the last day on which the rule holds
//! ```
//!
//! A rule names at least one of `id`, `package` and `path`, and fits where all that it names fit. The reason and the
//! date must be there: a rule that has expired is an error, so that somebody looks again.
use crate::finding::Finding;
use crate::yaml::{self, Content, Mark, Node};
use jiff::civil::Date;
use std::fmt;

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoreRule {
    /// The line that it begins in.
    pub line: usize,
    /// A name of the vulnerability.
    pub id: Option<String>,
    /// The name of the package or its source package.
    pub package: Option<String>,
    /// A pattern for one of the package's files.
    pub path: Option<String>,
    /// Why.
    pub reason: String,
    /// The last day on which it holds.
    pub expires: Date,
}

impl IgnoreRule {
    /// Whether it speaks of this finding.
    #[must_use]
    pub fn fits(&self, finding: &Finding) -> bool {
        let package = &finding.package;
        self.id.as_ref().is_none_or(|id| finding.is_called(id))
            && self.package.as_ref().is_none_or(|name| {
                *name == package.name || package.source.as_ref() == Some(name) || *name == package.purl
            })
            && self.path.as_ref().is_none_or(|pattern| package.paths.iter().any(|path| glob(pattern, path)))
    }
}

/// One thing that is wrong with a file of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub mark: Mark,
    /// What, one line.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// All that is wrong with a file of rules, in the order of its lines: at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoreError(pub Vec<Problem>);

impl fmt::Display for IgnoreError {
    /// `LINE:COLUMN: MESSAGE`, a line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.0.iter().enumerate() {
            let newline = if number == 0 { "" } else { "\n" };
            write!(f, "{newline}{}:{}: {}", problem.mark.line, problem.mark.column, problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for IgnoreError {}

const KEYS: [&str; 5] = ["id", "package", "path", "reason", "expires"];

/// Reads a file of rules as of a day.
///
/// # Errors
/// [`IgnoreError`]: no YAML, unknown keys, values of a wrong kind, a rule without a reason or a date, a rule that has
/// expired.
pub fn parse(text: &str, today: Date) -> Result<Vec<IgnoreRule>, IgnoreError> {
    let mut problems = Vec::new();
    let root = match yaml::parse(text) {
        Ok(Some(root)) => root,
        Ok(None) => return Ok(Vec::new()),
        Err((mark, message)) => return Err(IgnoreError(vec![Problem { mark, message, help: None }])),
    };
    let mut rules = Vec::new();
    match &root.content {
        Content::Map(entries) => {
            for (mark, key, value) in entries {
                match (key.as_str(), &value.content) {
                    ("ignore", Content::List(items)) => {
                        rules.extend(items.iter().filter_map(|item| rule(item, today, &mut problems)));
                    }
                    ("ignore", Content::Null) => {}
                    ("ignore", _) => wrong(&mut problems, value.mark, "ignore must be a list of rules", None),
                    _ => wrong(
                        &mut problems,
                        *mark,
                        format!("unknown key {key}"),
                        Some("the file has one key: ignore".into()),
                    ),
                }
            }
        }
        _ => {
            let help = Some("begin with \"ignore:\" and write the rules below it, each with \"- id: …\"".into());
            wrong(&mut problems, root.mark, format!("the file is {}, expected a mapping", root.kind()), help);
        }
    }
    problems.sort_by_key(|problem| problem.mark);
    if problems.is_empty() { Ok(rules) } else { Err(IgnoreError(problems)) }
}

fn wrong(problems: &mut Vec<Problem>, mark: Mark, message: impl Into<String>, help: Option<String>) {
    problems.push(Problem { mark, message: message.into(), help });
}

fn rule(node: &Node, today: Date, problems: &mut Vec<Problem>) -> Option<IgnoreRule> {
    let Content::Map(entries) = &node.content else {
        wrong(problems, node.mark, format!("a rule must be a mapping, not {}", node.kind()), None);
        return None;
    };
    let before = problems.len();
    let mut values: [Option<(Mark, String)>; 5] = Default::default();
    for (mark, key, value) in entries {
        let Some(place) = KEYS.iter().position(|known| known == key) else {
            let help = format!("a rule has the keys {}", KEYS.join(", "));
            wrong(problems, *mark, format!("unknown key {key}"), Some(help));
            continue;
        };
        match &value.content {
            Content::Text(text) if !text.trim().is_empty() => {
                values[place] = Some((value.mark, text.trim().to_owned()))
            }
            Content::Text(_) | Content::Null => wrong(problems, value.mark, format!("{key} is empty"), None),
            _ => wrong(problems, value.mark, format!("{key} must be a text, not {}", value.kind()), None),
        }
    }
    let [id, package, path, reason, expires] = values;
    let given = |key: &str| entries.iter().any(|(_, known, _)| known == key);
    if !["id", "package", "path"].into_iter().any(given) {
        wrong(problems, node.mark, "the rule names neither id nor package nor path", None);
    }
    if !given("reason") {
        let help = Some("say why the finding does not count: reason: …".to_owned());
        wrong(problems, node.mark, "the rule has no reason", help);
    }
    if !given("expires") {
        let help = Some("say until when it holds: expires: YYYY-MM-DD".to_owned());
        wrong(problems, node.mark, "the rule has no expiry date", help);
    }
    let mut until = today;
    if let Some((mark, text)) = expires {
        match text.parse::<Date>() {
            Ok(date) if text.len() == 10 => {
                until = date;
                if date < today {
                    let name = id.as_ref().or(package.as_ref()).or(path.as_ref()).map_or("", |(_, text)| text);
                    let help = Some("look at it again: remove the rule, or give it a new date".to_owned());
                    wrong(problems, mark, format!("the rule for {name} expired on {date}"), help);
                }
            }
            _ => wrong(problems, mark, format!("{text:?} is no date"), Some("write it as YYYY-MM-DD".into())),
        }
    }
    (problems.len() == before).then(|| {
        let text = |value: Option<(Mark, String)>| value.map(|(_, text)| text);
        IgnoreRule {
            line: node.mark.line,
            id: text(id),
            package: text(package),
            path: text(path).map(|path| path.trim_start_matches('/').to_owned()),
            reason: text(reason).unwrap_or_default(),
            expires: until,
        }
    })
}

/// Whether a path fits a pattern: `*` is any text without a slash, `**` any text, `?` a character but the slash. A
/// pattern without them is also that of all that lies below it.
fn glob(pattern: &str, path: &str) -> bool {
    let path = path.trim_start_matches('/');
    if !pattern.contains(['*', '?']) {
        let below = path.strip_prefix(pattern.trim_end_matches('/'));
        return below.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '!']));
    }
    // Positions of the pattern that the text so far can have led to.
    let pattern: Vec<char> = pattern.replace("**/", "\u{1}").replace("**", "\u{2}").chars().collect();
    let close = |states: &mut Vec<bool>| {
        for at in 0..pattern.len() {
            if states[at] && matches!(pattern[at], '*' | '\u{1}' | '\u{2}') {
                states[at + 1] = true;
            }
        }
    };
    let mut states = vec![false; pattern.len() + 1];
    states[0] = true;
    close(&mut states);
    for c in path.chars() {
        let mut next = vec![false; pattern.len() + 1];
        for at in (0..pattern.len()).filter(|at| states[*at]) {
            match pattern[at] {
                '*' => next[at] |= c != '/',
                // `**/` ends behind a slash only: it has taken whole names.
                '\u{1}' if c == '/' => next[at] = true,
                '\u{1}' | '\u{2}' => next[at] = true,
                '?' => next[at + 1] |= c != '/',
                p => next[at + 1] |= p == c,
            }
        }
        states = next;
        // `**/` is left at the beginning or behind a slash.
        for at in 0..pattern.len() {
            let leave = match pattern[at] {
                '\u{1}' => c == '/',
                '*' | '\u{2}' => true,
                _ => false,
            };
            if states[at] && leave {
                states[at + 1] = true;
            }
        }
    }
    states[pattern.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::finding;
    use jiff::civil::date;

    const RULES: &str = "# what we know about\nignore:\n  - id: ghsa-x\n    package: src\n    reason: only the server\n    expires: 2026-12-31\n  - path: /opt/*/lib/**\n    reason: old\n    expires: '2027-01-01'\n";

    #[test]
    fn rules_fit_where_all_that_they_name_fits() {
        let rules = parse(RULES, date(2026, 12, 31)).unwrap();
        assert_eq!((rules[0].line, rules[1].line), (3, 7));
        let mut one = finding("CVE-1", "lib");
        assert!(!rules[0].fits(&one));
        one.aliases = vec!["GHSA-x".into()];
        one.package.source = Some("src".into());
        assert!(rules[0].fits(&one));
        assert!(!rules[1].fits(&one));
        one.package.paths = vec!["opt/a/lib/b/c.jar".into()];
        assert!(rules[1].fits(&one));
        assert_eq!(parse("", date(2026, 1, 1)), Ok(Vec::new()));
        assert_eq!(parse("ignore:\n", date(2026, 1, 1)), Ok(Vec::new()));
    }

    #[test]
    fn wrong_rules_say_where() {
        let text = "ignore:\n  - id: CVE-1\n    reason: x\n    expires: 2026-01-01\n  - id: CVE-2\n    expires: tomorrow\n    ressaon: y\n  - reason: z\n    expires: 2030-01-01\n  - id: [a]\n    reason: ''\n    expires: 2030-01-01\n  - CVE-3\nignored: 1\n";
        insta::assert_snapshot!(parse(text, date(2026, 1, 2)).unwrap_err(), @r#"
        4:14: the rule for CVE-1 expired on 2026-01-01
        5:5: the rule has no reason
        6:14: "tomorrow" is no date
        7:5: unknown key ressaon
        8:5: the rule names neither id nor package nor path
        10:9: id must be a text, not a list
        11:13: reason is empty
        13:5: a rule must be a mapping, not a text
        14:1: unknown key ignored
        "#);
        let error = |text: &str| parse(text, date(2026, 1, 1)).unwrap_err().to_string();
        insta::assert_snapshot!(error("- id: x\n"), @"1:1: the file is a list, expected a mapping");
        insta::assert_snapshot!(error("ignore: [\n"), @"1:9: unclosed bracket '['");
        insta::assert_snapshot!(error("ignore:\n  - &a\n    id: x\n  - *a\n"), @"4:5: aliases (*name) are not read here; write the value out");
        insta::assert_snapshot!(error("ignore:\n  - id: x\n    id: y\n"), @"3:5: the key id stands here twice; first in line 2");
    }

    #[test]
    fn patterns() {
        for (pattern, path, fits) in [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", true),
            ("a/b.jar", "a/b.jar!c.jar", true),
            ("a/b", "a/bc", false),
            ("a/*", "a/b", true),
            ("a/*", "a/b/c", false),
            ("a/**", "a/b/c", true),
            ("**/c", "a/b/c", true),
            ("**/c", "c", true),
            ("**/c", "a/bc", false),
            ("a/**/c", "a/c", true),
            ("a/**/c", "a/x/y/c", true),
            ("a/?/c", "a/x/c", true),
            ("a/?/c", "a//c", false),
            ("*", "", true),
        ] {
            assert_eq!(glob(pattern, path), fits, "{pattern} {path}");
        }
    }
}
