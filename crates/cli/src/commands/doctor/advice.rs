//! The best way to build in a place, and why: a function of what was found, not of the place's name.
use sandbox::Isolation;
use sandbox::doctor::{Place, Report};
use serde::Serialize;

use crate::env::Env;
use crate::progress::bytes;

/// One piece of advice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Advice {
    /// What to do.
    pub(super) what: String,
    /// Why.
    pub(super) why: String,
    /// What to type; empty where there is nothing to type.
    pub(super) command: String,
}

/// What is known beside the report.
pub(super) struct Around<'a> {
    pub(super) env: &'a Env,
    /// Where credentials of registries lie.
    pub(super) credentials: bool,
    /// Whether the checkout here has a remote on GitHub, and its workflows.
    pub(super) workflows: Vec<String>,
    /// Whether a daemon listens that could build.
    pub(super) daemon: bool,
}

fn advice(what: impl Into<String>, why: impl Into<String>, command: impl Into<String>) -> Advice {
    Advice { what: what.into(), why: why.into(), command: command.into() }
}

/// The best way first, then what would make it better.
pub(super) fn of(report: &Report, around: &Around<'_>) -> Vec<Advice> {
    let mut all = Vec::new();
    let (facts, env) = (&report.facts, around.env);
    let inside = !report.places.is_empty();
    let in_pod = report.places.contains(&Place::Kubernetes);
    match &report.choice {
        Ok(choice) => {
            let how = match choice.isolation {
                Isolation::Namespaces => "RUN steps get namespaces of their own, and run as fast as without a builder",
                Isolation::Intercept => {
                    "no daemon, mount or privilege is needed: the system calls of RUN steps are answered inside them, which \
                     costs most where a step opens very many files"
                }
                Isolation::PlainChroot => "RUN steps work in a chroot, without mounts",
            };
            let what = match (inside, around.daemon) {
                (true, _) => "build here, in this container",
                (false, true) => "build here; a daemon is at hand, too, and --load gives it the image",
                (false, false) => "build here",
            };
            all.push(advice(what, how, "cooperage build -t REGISTRY/NAME --push ."));
        }
        Err(_) => {
            all.push(advice(
                "build images without RUN here, and others elsewhere",
                "RUN steps cannot work in this place; COPY, ADD and all else can",
                "cooperage build -t REGISTRY/NAME --push .",
            ));
        }
    }
    let elsewhere = report.choice.is_err();
    if !around.workflows.is_empty() && (elsewhere || inside) {
        let workflow = around.workflows.first().map_or("WORKFLOW", String::as_str);
        let token = ["GH_TOKEN", "GITHUB_TOKEN"].iter().any(|name| env.get(name).is_some());
        let why = match (elsewhere, token) {
            (true, _) => "its machines can run every step",
            (false, _) => "for an image that is to be made where its commit is published",
        };
        let needs = if token { String::new() } else { "; set GITHUB_TOKEN first, or use --env-file".into() };
        all.push(advice(
            "or have GitHub Actions build",
            format!("{why}{needs}"),
            format!("cooperage remote dispatch {workflow} --watch"),
        ));
    }
    if elsewhere && in_pod {
        all.push(advice(
            "or build in a pod of its own",
            "a runner under the Pod Security Standard \"restricted\" needs no privilege, but this pod's seccomp filter or \
             kernel refuses what it needs",
            "cooperage factory synth kubernetes | kubectl apply -f -",
        ));
    }
    if inside && ["overlay", "overlayfs", "tmpfs"].contains(&facts.store_type.as_str()) {
        all.push(advice(
            "put the store on a volume, or keep an external cache",
            format!("it lies on {}, and its cache goes when the container goes", facts.store_type),
            "export COOPERAGE_ROOT=/PATH/ON/A/VOLUME   # or: --cache-to type=registry,ref=REGISTRY/NAME:cache,mode=max",
        ));
    }
    if facts.store_free > 0 && facts.store_free < 5 << 30 {
        all.push(advice(
            "make room for the store",
            format!("{} are free, and a base image with its packages may need more", bytes(facts.store_free)),
            "cooperage cache prune   # or --root DIRECTORY",
        ));
    }
    if !around.credentials {
        all.push(advice(
            "log in, to push",
            "no credentials of registries were found",
            "echo \"$TOKEN\" | cooperage login REGISTRY -u NAME --password-stdin",
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::testing;
    use sandbox::doctor::Facts;
    use sandbox::{CannotIsolate, Choice, RootStrategy};
    use std::path::Path;

    fn report(places: &[Place], isolation: Option<Isolation>, store: &str, free: u64) -> Report {
        let facts = Facts { store_type: store.into(), store_free: free, ..Facts::default() };
        let choice = isolation.map(|isolation| Choice { isolation, root: RootStrategy::Tree, reasons: vec![] });
        let cannot = CannotIsolate {
            isolation: sandbox::IsolationRequest::Intercept,
            primitive: "seccomp".into(),
            why: "EPERM".into(),
        };
        Report {
            places: places.to_vec(),
            facts,
            entered: Ok(sandbox::userns::Entered::NotNeeded),
            findings: vec![],
            choice: choice.ok_or(cannot),
            unlock: vec![],
        }
    }

    fn commands(report: &Report, credentials: bool, workflows: &[&str]) -> Vec<String> {
        let env = testing::env(Path::new("/"), &[]);
        let workflows = workflows.iter().map(|name| (*name).to_owned()).collect();
        let around = Around { env: &env, credentials, workflows, daemon: false };
        let first = |advice: Advice| advice.command.split("   #").next().unwrap_or_default().to_owned();
        of(report, &around).into_iter().map(first).collect()
    }

    #[test]
    fn the_best_way_of_each_place() {
        let build = "cooperage build -t REGISTRY/NAME --push .";
        let login = "echo \"$TOKEN\" | cooperage login REGISTRY -u NAME --password-stdin";
        let laptop = report(&[], Some(Isolation::Namespaces), "ext4", 1 << 40);
        assert_eq!(commands(&laptop, true, &["build.yml"]), [build]);
        let pod = report(&[Place::Kubernetes, Place::Devpod], Some(Isolation::Intercept), "overlay", 1 << 30);
        assert_eq!(
            commands(&pod, false, &["build.yml"]),
            [
                build,
                "cooperage remote dispatch build.yml --watch",
                "export COOPERAGE_ROOT=/PATH/ON/A/VOLUME",
                "cooperage cache prune",
                login
            ]
        );
        let stuck = report(&[Place::Kubernetes, Place::Gvisor], None, "ext4", 1 << 40);
        let advice = of(
            &stuck,
            &Around { env: &testing::env(Path::new("/"), &[]), credentials: true, workflows: vec![], daemon: false },
        );
        assert_eq!(advice.len(), 2);
        assert!(advice[0].why.contains("RUN steps cannot work") && advice[1].command.contains("synth kubernetes"));
    }
}
