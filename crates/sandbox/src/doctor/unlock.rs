//! What to change to get something better: pure advice from what was found.

use super::{Facts, Finding, Place, Unlock};
use crate::isolation::{Choice, Isolation, RootStrategy};
use crate::userns::{Entered, NoUserNamespace};

/// The advice, the best gain first. Nothing where nothing better exists.
pub(super) fn advise(
    places: &[Place],
    facts: &Facts,
    entered: &Result<Entered, NoUserNamespace>,
    findings: &[Finding],
    choice: Option<&Choice>,
) -> Vec<Unlock> {
    let mut advice = Vec::new();
    let mut add = |gives: &str, change: String| advice.push(Unlock { gives: gives.into(), change });
    let failed = |name: &str| findings.iter().find(|f| f.name == name).and_then(|f| f.result.as_ref().err());
    let isolation = choice.map(|choice| choice.isolation);
    if let Some(why) = failed("namespaces") {
        namespaces(places, facts, &why.action, &mut add);
    }
    if isolation.is_none() && facts.uid != 0 {
        let change = if places.contains(&Place::Kubernetes) {
            "securityContext: {runAsUser: 0, runAsNonRoot: false}, with the default capabilities"
        } else {
            "run as root, with the default capabilities (SYS_CHROOT, MKNOD, CHOWN, SETUID, SETGID)"
        };
        add("chroot isolation", change.into());
    }
    if let Ok(Entered::SingleId { why }) = entered {
        add(
            "namespaces isolation with real owners (subordinate ids)",
            format!(
                "{why}: install the package uidmap, then: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER"
            ),
        );
    }
    if choice.is_some_and(|c| c.isolation == Isolation::Namespaces && c.root == RootStrategy::Tree) {
        let change = match (facts.store_type.as_str(), places.contains(&Place::Kubernetes)) {
            ("overlay", true) => "the store lies on the container's own overlayfs: mount an emptyDir volume and set --root (COOPERAGE_ROOT) to it".to_owned(),
            ("overlay", false) => "the store lies on the container's own overlayfs: mount a volume and set --root (COOPERAGE_ROOT) to it".to_owned(),
            (kind, _) => format!("{kind} cannot hold an overlay's upper directory: set --root (COOPERAGE_ROOT) to a directory on ext4, xfs or btrfs"),
        };
        add("layers merged by overlayfs instead of copied", change);
    }
    advice
}

fn namespaces(places: &[Place], facts: &Facts, failed: &str, add: &mut impl FnMut(&str, String)) {
    let gives = "namespaces isolation";
    if facts.max_user_namespaces == Some(0) {
        add(gives, "sudo sysctl -w user.max_user_namespaces=15000".into());
    }
    if facts.unprivileged_userns_clone == Some(0) {
        add(gives, "sudo sysctl -w kernel.unprivileged_userns_clone=1".into());
    }
    if facts.apparmor_restricts_userns == Some(1) && facts.uid != 0 {
        add(gives, "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0".into());
    }
    let proc_is_masked = failed.contains("/proc");
    if places.contains(&Place::Kubernetes) {
        let change = if proc_is_masked {
            "securityContext: {procMount: Unmasked} (needs hostUsers: false)"
        } else {
            "hostUsers: false, with securityContext: {procMount: Unmasked, appArmorProfile: {type: Unconfined}, \
             capabilities: {add: [SYS_ADMIN]}} (the capability counts inside the pod's own user namespace only)"
        };
        add(gives, change.into());
    } else if places.contains(&Place::Docker) || places.contains(&Place::Podman) {
        let change = if proc_is_masked {
            "--security-opt systempaths=unconfined (Docker) or --security-opt unmask=ALL (Podman)"
        } else {
            "--security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined"
        };
        add(gives, change.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Why;

    fn finding(name: &'static str, action: &str) -> Finding {
        Finding { name, purpose: "", result: Err(Why { action: action.into(), reason: "no".into(), errno: 1 }) }
    }

    fn choice(isolation: Isolation, root: RootStrategy) -> Choice {
        Choice { isolation, root, reasons: vec![] }
    }

    #[test]
    fn advice_fits_the_place() {
        let facts = Facts { uid: 1000, store_type: "overlay".into(), ..Facts::default() };
        let none = Err(NoUserNamespace { action: String::new(), reason: String::new() });
        let gives = |places: &[Place], facts: &Facts, entered: &_, c: &Choice, action: &str| -> Vec<String> {
            let findings: Vec<_> = (!action.is_empty()).then(|| finding("namespaces", action)).into_iter().collect();
            advise(places, facts, entered, &findings, Some(c))
                .into_iter()
                .map(|unlock| unlock.change.split([' ', ':']).next().unwrap_or("").to_owned())
                .collect()
        };
        let intercept = choice(Isolation::Intercept, RootStrategy::Tree);
        assert_eq!(gives(&[Place::Kubernetes], &facts, &none, &intercept, "unshare"), ["hostUsers"]);
        assert_eq!(gives(&[Place::Docker], &facts, &none, &intercept, "unshare"), ["--security-opt"]);
        let sysctl = Facts { max_user_namespaces: Some(0), uid: 1000, ..Facts::default() };
        assert_eq!(gives(&[], &sysctl, &none, &intercept, "unshare"), ["sudo"]);
        let nothing = advise(&[], &facts, &none, &[], None);
        assert!(nothing[0].change.starts_with("run as root"), "{nothing:?}");
        let tree = choice(Isolation::Namespaces, RootStrategy::Tree);
        assert_eq!(gives(&[Place::Kubernetes], &facts, &Ok(Entered::NotNeeded), &tree, ""), ["the"]);
        let overlay = choice(Isolation::Namespaces, RootStrategy::Overlay);
        assert_eq!(gives(&[], &facts, &Ok(Entered::NotNeeded), &overlay, ""), Vec::<String>::new());
        let single = Ok(Entered::SingleId { why: "/etc/subuid lists no range for me".into() });
        assert_eq!(gives(&[], &facts, &single, &overlay, ""), ["/etc/subuid"]);
    }
}
