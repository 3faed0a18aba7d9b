//! Which images are to be rebuilt because what they are made from has changed, when, and in which
//! order.
//!
//! A base's change makes its dependents due once their delay has passed, unless they were built on
//! what it is now (or, where that is not known, built since). An image that is made from one that is due follows it in the same round: its base is about
//! to change, and waiting for another delay would only keep it old.
use crate::state::State;
use crate::{Enrolment, Graph, time};
use std::collections::BTreeMap;

/// An image that waits for its rebuild.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The image.
    pub image: String,
    /// The base images that changed, or the images that are rebuilt before it.
    pub because: Vec<String>,
    /// From when on, in seconds since 1970.
    pub at: i64,
    /// Whether that has come.
    pub ready: bool,
    /// Why nothing is done all the same.
    pub held: Option<String>,
}

/// All images that wait, in the order in which they are to be built.
///
/// # Errors
/// A circle, as names.
pub fn due(enrolment: &Enrolment, state: &State, now: i64) -> Result<Vec<Due>, Vec<String>> {
    let graph = Graph::new(enrolment, state);
    if let Some(circle) = graph.cycle() {
        return Err(circle);
    }
    let mut out: Vec<Due> = Vec::new();
    let mut rebuilt: BTreeMap<String, usize> = BTreeMap::new();
    for name in graph.order() {
        let Some(image) = enrolment.image(name) else { continue };
        let (Some(managed), Some(of)) = (image.managed(), state.images.get(name)) else { continue };
        // Who was never built has nothing to rebuild.
        let Some(built) = of.last_built.as_deref().and_then(time::seconds) else { continue };
        let mut because: Vec<String> = Vec::new();
        let mut at: Option<i64> = None;
        for base in of.bases.iter().filter_map(|base| state.bases.get(base)) {
            let changed = base.previous_digest.as_ref().and(base.last_updated.as_deref()).and_then(time::seconds);
            let stale = |changed: i64| match of.built_from.get(&base.name) {
                // A digest that the history does not know is newer than what was seen last.
                Some(on) if base.knows(on) => base.current_digest.as_ref() != Some(on),
                _ => changed > built,
            };
            if let Some(changed) = changed.filter(|changed| stale(*changed)) {
                let eligible = changed.saturating_add(image.rebuild_delay.seconds());
                at = Some(at.map_or(eligible, |at| at.min(eligible)));
                because.push(base.full_image.clone());
            }
            let parents = enrolment.images.iter().filter(|parent| {
                parent.registry == base.registry && parent.repository == base.repository && parent.name != *name
            });
            for parent in parents.filter_map(|parent| rebuilt.get(&parent.name)) {
                let parent = &out[*parent];
                at = Some(at.map_or(parent.at, |at| at.min(parent.at)));
                because.push(parent.image.clone());
            }
        }
        let Some(at) = at else { continue };
        let held = match &of.hold {
            Some(hold) => Some(format!("held: {}", hold.reason)),
            None if !managed.auto_rebuild => Some("autoRebuild is false".to_owned()),
            None => None,
        };
        if held.is_none() && at <= now {
            rebuilt.insert(name.to_owned(), out.len());
        }
        out.push(Due { image: name.to_owned(), because, at, ready: at <= now && held.is_none(), held });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{BaseState, Hold, ImageState};
    use std::path::Path;

    #[test]
    fn dependents_follow_in_order_after_their_delay() {
        let text = "\
- {name: app, registry: r.io, repository: o/app, source: {repo: o/app}, rebuildDelay: 30d}
- {name: base, registry: r.io, repository: o/base, source: {repo: o/base}, rebuildDelay: 1h}
- {name: tool, registry: r.io, repository: o/tool, source: {repo: o/tool}, rebuildDelay: 2h}
- {name: kept, registry: r.io, repository: o/kept, source: {repo: o/kept}, rebuildDelay: 1h}
- {name: new, registry: r.io, repository: o/new, source: {repo: o/new}, rebuildDelay: 1h}
";
        let enrolment = Enrolment::parse(Path::new("images.yaml"), text).unwrap();
        let mut state = State::default();
        for (image, base) in [
            ("app", "r.io/o/base:1"),
            ("base", "debian:12"),
            ("tool", "debian:12"),
            ("kept", "debian:12"),
            ("new", "debian:12"),
        ] {
            let mut of = ImageState::new(enrolment.image(image).unwrap(), "");
            let name = crate::names::normal(base);
            of.bases.push(name.clone());
            of.last_built = (image != "new").then(|| time::stamp(1000));
            state.images.insert(image.into(), of);
            state.bases.entry(name.clone()).or_insert_with(|| BaseState::new(name, base, &base.parse().unwrap(), ""));
        }
        assert_eq!(due(&enrolment, &state, 99_999).unwrap(), [], "nothing has changed");
        let debian = state.bases.get_mut("debian-12").unwrap();
        debian.seen("sha256:1", 500);
        debian.seen("sha256:2", 2000);
        let hold = Hold { since: String::new(), reason: "bad".into(), by: "me".into() };
        state.images.get_mut("kept").unwrap().hold = Some(hold);
        let list = |now: i64, state: &State| -> Vec<(String, bool)> {
            due(&enrolment, state, now).unwrap().into_iter().map(|due| (due.image, due.ready)).collect()
        };
        let waits = |name: &str, ready: bool| (name.to_owned(), ready);
        assert_eq!(list(3000, &state), [waits("base", false), waits("tool", false), waits("kept", false)]);
        assert_eq!(
            list(2000 + 3600, &state),
            [waits("base", true), waits("tool", false), waits("kept", false), waits("app", true)]
        );
        state.images.get_mut("base").unwrap().last_built = Some(time::stamp(9000));
        assert_eq!(list(9999, &state), [waits("tool", true), waits("kept", false)], "once built, it waits no more");
        // What it was built on counts for more than the second in which that was.
        let tool = state.images.get_mut("tool").unwrap();
        (tool.last_built, tool.built_from) =
            (Some(time::stamp(2000)), [("debian-12".to_owned(), "sha256:1".to_owned())].into());
        assert_eq!(list(9999, &state)[0], waits("tool", true));
        let built_on = |state: &mut State, digest: &str| {
            state.images.get_mut("tool").unwrap().built_from.insert("debian-12".into(), digest.into());
        };
        built_on(&mut state, "sha256:2");
        assert_eq!(list(9999, &state), [waits("kept", false)]);
        built_on(&mut state, "sha256:3");
        assert_eq!(list(9999, &state), [waits("kept", false)], "newer than what was seen");
    }
}
