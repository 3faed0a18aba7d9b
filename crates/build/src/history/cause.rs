//! Which inputs of a step differ between two builds, and what that is in words.
//!
//! The order in which changes stand is the order in which they explain: the base image, the instruction itself, the
//! files, mounts, arguments and variables, settings, and at last the step before, whose own cause says more.
use super::files::{self, FileChange, FileDifference};
use super::mount;
use super::record::{BuildRecord, Cause, CauseKind, Change, ChangeKind, StepEntry};
use std::collections::BTreeMap;

/// Changed files that are listed by name.
const LISTED: usize = 50;

/// A step in its build.
pub(super) struct Side<'a> {
    pub(super) record: &'a BuildRecord,
    pub(super) step: usize,
}

impl Side<'_> {
    fn entry(&self) -> &StepEntry {
        &self.record.steps[self.step]
    }

    /// Values by label, in the order of the labels' first appearance.
    fn fields(&self) -> (Vec<&str>, BTreeMap<&str, Vec<&str>>) {
        let (mut order, mut values) = (Vec::new(), BTreeMap::<&str, Vec<&str>>::new());
        for (label, value) in &self.entry().fields {
            let list = values.entry(label).or_default();
            if list.is_empty() {
                order.push(label.as_str());
            }
            list.push(value);
        }
        (order, values)
    }
}

/// Where the list of the files with this digest is.
pub(super) type Files<'a> = &'a dyn Fn(&str) -> Option<Vec<u8>>;

/// All inputs that differ.
pub(super) fn changes(old: &Side<'_>, new: &Side<'_>, files: Files<'_>) -> Vec<Change> {
    let ((order, before), (new_order, after)) = (old.fields(), new.fields());
    if before.is_empty() || after.is_empty() {
        return Vec::new();
    }
    let mut labels = new_order;
    labels.extend(order.into_iter().filter(|label| !after.contains_key(label)));
    let mut found: Vec<(u8, Change)> = Vec::new();
    let (mut instruction, mut mounted) = (false, false);
    for label in labels {
        let (was, is) = (before.get(label), after.get(label));
        if was == is {
            continue;
        }
        let text = |values: Option<&Vec<&str>>| values.map(|v| v.join(" "));
        let (was, is) = (text(was), text(is));
        let (word, rest) = label.split_once(' ').unwrap_or((label, ""));
        match word {
            "parent" => found.push(below(old, new)),
            "kind" | "link" | "dest" | "path" | "exclude" | "arg" | "script" | "chown" | "chmod" | "format" => {
                if !std::mem::replace(&mut instruction, true) {
                    found.push((2, the_instruction(old, new)));
                }
            }
            "source" => {
                for change in source(old, new, was.as_deref(), is.as_deref(), files) {
                    match change.kind {
                        ChangeKind::Instruction if std::mem::replace(&mut instruction, true) => {}
                        ChangeKind::Instruction => found.push((2, change)),
                        _ => found.push((3, change)),
                    }
                }
            }
            "mount" => mounted = true,
            "env" => found.push((6, variable(old.record, new.record, rest, was, is))),
            "platform" => found.push((1, plain(ChangeKind::Platform, "platform", "the platform", was, is))),
            "cwd" => found.push((7, plain(ChangeKind::Setting, "WORKDIR", "WORKDIR", was, is))),
            "user" => found.push((7, plain(ChangeKind::Setting, "USER", "USER", was, is))),
            "SOURCE_DATE_EPOCH" => found.push((7, plain(ChangeKind::Setting, label, label, was, is))),
            "host" => found.push((7, plain(ChangeKind::Setting, "add-host", "--add-host", was, is))),
            "owners" => {
                let words = "how owners of files are kept (another isolation)";
                found.push((7, plain(ChangeKind::Setting, label, words, None, None)));
            }
            other => found.push((7, plain(ChangeKind::Setting, other, &format!("--{other}"), was, is))),
        }
    }
    if mounted {
        found.extend(mount::changes(&before, &after, files).into_iter().map(|change| (4, change)));
    }
    found.sort_by_key(|(rank, _)| *rank);
    let mut changes: Vec<Change> = found.into_iter().map(|(_, change)| change).collect();
    let files = changes.iter().filter(|c| c.kind == ChangeKind::File).count();
    if files > LISTED {
        let mut seen = 0;
        let place = changes.iter().rposition(|c| c.kind == ChangeKind::File).map_or(0, |last| last + 1);
        let text = format!("{} more files changed", files - LISTED);
        changes.insert(place, Change { kind: ChangeKind::Files, name: String::new(), old: None, new: None, text });
        changes.retain(|c| {
            seen += usize::from(c.kind == ChangeKind::File);
            c.kind != ChangeKind::File || seen <= LISTED
        });
    }
    changes
}

/// The reason in one line: the first change, and how many files more.
pub(super) fn because(against: &str, changes: Vec<Change>) -> Cause {
    let mut summary = changes.first().map_or_else(String::new, |c| c.text.clone());
    if let Some(first) = changes.first().filter(|c| c.kind == ChangeKind::File) {
        let more: usize = changes
            .iter()
            .map(|c| match c.kind {
                ChangeKind::File => 1,
                ChangeKind::Files => c.text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(1),
                _ => 0,
            })
            .sum();
        if more > 1 {
            let plural = if more == 2 { "file" } else { "files" };
            summary = format!("{} and {} more {plural}", first.text, more - 1);
        }
    }
    Cause { kind: CauseKind::Changed, summary, against: Some(against.to_owned()), changes }
}

fn plain(kind: ChangeKind, name: &str, words: &str, old: Option<String>, new: Option<String>) -> Change {
    Change { kind, name: name.to_owned(), text: format!("{words} changed"), old, new }
}

fn the_instruction(old: &Side<'_>, new: &Side<'_>) -> Change {
    let (was, is) = (&old.entry().instruction, &new.entry().instruction);
    let text = if was == is { "what the instruction expands to changed" } else { "the instruction changed" };
    Change {
        kind: ChangeKind::Instruction,
        name: is.split(' ').next().unwrap_or_default().to_owned(),
        text: text.to_owned(),
        old: Some(was.clone()),
        new: Some(is.clone()),
    }
}

/// What the step builds on.
fn below(old: &Side<'_>, new: &Side<'_>) -> (u8, Change) {
    let entry = new.entry();
    if let Some(after) = entry.after {
        let name = &new.record.steps[after].name;
        let text = format!("follows {name}");
        return (8, Change { kind: ChangeKind::Step, name: name.clone(), old: None, new: None, text });
    }
    let (was, is) = (old.entry().base.as_ref(), entry.base.as_ref());
    let name = is.or(was).map_or("scratch", |b| b.name.as_str());
    let text = match (was, is) {
        (Some(a), Some(b)) if a.name != b.name => format!("base image changed from {} to {}", a.name, b.name),
        (Some(_), Some(_)) => format!("base image {name} changed"),
        (None, Some(_)) if old.entry().after.is_none() => format!("base image changed from scratch to {name}"),
        (Some(_), None) => format!("base image changed from {name} to scratch"),
        _ => "what the step builds on changed".to_owned(),
    };
    let digest = |base: Option<&super::BaseEntry>| base.map(|b| b.digest.clone());
    (0, Change { kind: ChangeKind::BaseImage, name: name.to_owned(), old: digest(was), new: digest(is), text })
}

fn variable(old: &BuildRecord, new: &BuildRecord, name: &str, was: Option<String>, is: Option<String>) -> Change {
    let given = [old, new].iter().any(|r| r.build_args.iter().any(|n| n == name));
    let (kind, words) = if given { (ChangeKind::BuildArg, "build arg") } else { (ChangeKind::Env, "variable") };
    let verb = match (&was, &is) {
        (None, _) => "was added",
        (_, None) => "was removed",
        _ => "changed",
    };
    Change { kind, name: name.to_owned(), text: format!("{words} {name} {verb}"), old: was, new: is }
}

/// A source of COPY or ADD. The first word of a value says what it is (`exec::keys`).
fn source(old: &Side<'_>, new: &Side<'_>, was: Option<&str>, is: Option<&str>, files: Files<'_>) -> Vec<Change> {
    let (Some(was), Some(is)) = (was, is) else { return vec![the_instruction(old, new)] };
    let (was, is): (Vec<&str>, Vec<&str>) = (was.split(' ').collect(), is.split(' ').collect());
    let change = |kind, name: &str, text: String, a: &str, b: &str| {
        vec![Change { kind, name: name.to_owned(), old: Some(a.to_owned()), new: Some(b.to_owned()), text }]
    };
    match (was.as_slice(), is.as_slice()) {
        (["files", _, a], ["files", _, b]) if a != b => listed(a, b, "", files),
        (["http", _, a], ["http", _, b]) if a != b => {
            let name = url(&new.entry().instruction);
            change(ChangeKind::Source, name, format!("the content of {name} changed"), a, b)
        }
        (["git", first, _, a], ["git", second, _, b]) if first == second && a != b => {
            change(ChangeKind::Source, second, format!("git repository {second} moved to {b}"), a, b)
        }
        _ => vec![the_instruction(old, new)],
    }
}

/// The URL in an instruction.
fn url(instruction: &str) -> &str {
    instruction.split(' ').find(|word| word.contains("://")).unwrap_or("the URL")
}

/// Files that differ; `place` says where they are seen.
pub(super) fn listed(old: &str, new: &str, place: &str, files: Files<'_>) -> Vec<Change> {
    let found = match (files(old), files(new)) {
        (Some(a), Some(b)) => files::compare(&a, &b).unwrap_or_default(),
        _ => Vec::new(),
    };
    if found.is_empty() {
        let (old, new) = (Some(old.to_owned()), Some(new.to_owned()));
        let text = format!("the files changed{place}");
        return vec![Change { kind: ChangeKind::Files, name: String::new(), old, new, text }];
    }
    // A directory that appears or goes with its files says nothing of its own.
    let holds = |dir: &str| found.iter().any(|c| c.path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/')));
    let mut changes: Vec<Change> = found
        .iter()
        .filter(|c| !(matches!(c.what, FileDifference::Added | FileDifference::Removed) && holds(&c.path)))
        .map(|c| file(c, place))
        .collect();
    // What changed says more than what else is there now.
    changes.sort_by_key(|c| u8::from(c.old.is_none() != c.new.is_none()));
    changes
}

fn file(change: &FileChange, place: &str) -> Change {
    let path = &change.path;
    let (text, old, new) = match &change.what {
        FileDifference::Added => (format!("{path} was added{place}"), None, Some("there".to_owned())),
        FileDifference::Removed => (format!("{path} was removed{place}"), Some("there".to_owned()), None),
        FileDifference::Content => (format!("{path} changed{place}"), None, None),
        FileDifference::Attributes(a, b) => {
            let (a, b): (Vec<&str>, Vec<&str>) = (a.split(' ').collect(), b.split(' ').collect());
            let word = match (a.as_slice(), b.as_slice()) {
                ([k, ..], [l, ..]) if k != l => format!("{path} changed from {} to {}", kind(k), kind(l)),
                ([_, m, ..], [_, n, ..]) if m != n => format!("mode of {path} changed from {m} to {n}"),
                _ => format!("owner of {path} changed"),
            };
            (format!("{word}{place}"), Some(a.join(" ")), Some(b.join(" ")))
        }
    };
    Change { kind: ChangeKind::File, name: path.clone(), old, new, text }
}

fn kind(word: &str) -> &'static str {
    match word {
        "File" => "a file",
        "Dir" => "a directory",
        "Symlink" => "a symbolic link",
        _ => "a special file",
    }
}
