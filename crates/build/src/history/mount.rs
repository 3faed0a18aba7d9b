//! How the mounts of a RUN differ: they are the same mount where their targets are, whatever stands before them.
use super::cause::{Files, listed};
use super::record::{Change, ChangeKind};
use std::collections::BTreeMap;

/// One mount, from its key fields (`mount 0 target` and so on).
#[derive(Default)]
struct Mount<'a> {
    kind: String,
    target: &'a str,
    options: &'a str,
    id: &'a str,
    source: &'a str,
}

type Values<'a> = BTreeMap<&'a str, Vec<&'a str>>;

fn mounts<'a>(values: &Values<'a>) -> Vec<Mount<'a>> {
    let mut found: BTreeMap<usize, Mount<'a>> = BTreeMap::new();
    for (label, value) in values {
        let Some((position, what)) = label.strip_prefix("mount ").and_then(|rest| rest.split_once(' ')) else {
            continue;
        };
        let (Ok(position), Some(value)) = (position.parse(), value.first()) else { continue };
        let mount = found.entry(position).or_default();
        match what {
            "type" => mount.kind = value.to_lowercase(),
            "target" => mount.target = value,
            "options" => mount.options = value,
            "id" => mount.id = value,
            "source" => mount.source = value,
            _ => {}
        }
    }
    found.into_values().collect()
}

/// The changes, secrets first.
pub(super) fn changes(old: &Values<'_>, new: &Values<'_>, files: Files<'_>) -> Vec<Change> {
    let (mut old, mut out) = (mounts(old), Vec::new());
    let mut alone = Vec::new();
    for mount in mounts(new) {
        match old.iter().position(|m| m.target == mount.target) {
            Some(place) => out.extend(difference(&old.remove(place), &mount, files)),
            None => alone.push(mount),
        }
    }
    // One of a kind that went, and one that came: it moved, or has another id.
    for mount in alone {
        let place = old.iter().position(|m| m.kind == mount.kind && (m.id == mount.id || m.options == mount.options));
        match place {
            Some(place) => out.extend(difference(&old.remove(place), &mount, files)),
            None => out.push(existence(&mount, "added")),
        }
    }
    out.extend(old.iter().map(|mount| existence(mount, "removed")));
    out.sort_by_key(|change| u8::from(change.kind == ChangeKind::Mount));
    out
}

fn existence(mount: &Mount<'_>, verb: &str) -> Change {
    let text = match mount.target {
        "" => format!("{} mount {} was {verb}", mount.kind, mount.id),
        target => format!("{} mount at {target} was {verb}", mount.kind),
    };
    Change { kind: ChangeKind::Mount, name: mount.target.to_owned(), old: None, new: None, text }
}

fn difference(old: &Mount<'_>, new: &Mount<'_>, files: Files<'_>) -> Vec<Change> {
    let kind = &new.kind;
    let mut out = Vec::new();
    let mut say = |what, text: String, a: &str, b: &str| {
        let (old, new_value) = (Some(a.to_owned()), Some(b.to_owned()));
        out.push(Change { kind: what, name: new.target.to_owned(), old, new: new_value, text });
    };
    if old.kind != *kind {
        say(ChangeKind::Mount, format!("mount at {} is of type {kind} now", new.target), &old.kind, kind);
        return out;
    }
    if old.id != new.id {
        let what = if kind == "secret" || kind == "ssh" { ChangeKind::Secret } else { ChangeKind::Mount };
        say(what, format!("id of the {kind} mount changed from {} to {}", old.id, new.id), old.id, new.id);
    }
    if old.target != new.target {
        say(ChangeKind::Mount, format!("mount moved from {} to {}", old.target, new.target), old.target, new.target);
    }
    if old.options != new.options {
        say(ChangeKind::Mount, format!("options of the mount at {} changed", new.target), old.options, new.options);
    }
    if old.source != new.source {
        out.extend(listed(old.source, new.source, &format!(" (mounted at {})", new.target), files));
    }
    out
}
