//! Resources for a cluster: valid against the definitions of Kargo and Argo Rollouts, deterministic, refused where
//! the description is wrong.
use crate::schema::{check, crd, load, read};
use gitops::synth::argocd::Application;
use gitops::synth::kargo::{Base, Image, Project, Rebuild, synth};
use gitops::synth::kubernetes::{self, Runner, Workload};
use gitops::synth::{Enrolment, Error, argocd};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn image(name: &str, bases: &[&str], rebuild: Option<Rebuild>) -> Image {
    Image {
        name: name.into(),
        enrolled: name.into(),
        repository: format!("ghcr.io/owner/{name}"),
        git_url: "https://github.com/owner/repo.git".into(),
        branch: "main".into(),
        dockerfile: format!("apps/{name}/Dockerfile"),
        paths: vec![],
        versioned: true,
        bases: bases.iter().map(|base| (*base).into()).collect(),
        rebuild,
    }
}

fn base(name: &str, strategy: &str, constraint: Option<&str>, allow: &[&str]) -> Base {
    Base {
        name: name.into(),
        repository: "docker.io/library/node".into(),
        strategy: strategy.into(),
        constraint: constraint.map(Into::into),
        allow_tags: allow.iter().map(|tag| (*tag).into()).collect(),
        ignore_tags: vec![],
    }
}

fn project() -> Project {
    let github = Rebuild::GitHub {
        api: "https://api.github.com".into(),
        repository: "owner/repo".into(),
        workflow: "web.yml".into(),
        inputs: BTreeMap::from([("version_bump".into(), "patch".into())]),
    };
    let gitlab = Rebuild::GitLab {
        api: "https://gitlab.com/api/v4/".into(),
        repository: "group/sub/repo".into(),
        variables: BTreeMap::from([("BUMP".into(), "patch".into())]),
    };
    let job = Rebuild::Job { arguments: ["factory", "rebuild", "{{args.imageName}}"].map(Into::into).into() };
    let mut new = image("new", &["web"], None);
    (new.versioned, new.dockerfile, new.paths) = (false, "Dockerfile".into(), vec!["z/".into(), "a/".into()]);
    Project {
        name: "image-factory-kargo".into(),
        runner_image: "ghcr.io/owner/cooperage:1.0.0".into(),
        analyze: ["factory", "discover", "{{args.imageName}}"].map(Into::into).into(),
        token_secret: Some("forge".into()),
        registry_secret: Some("registry".into()),
        images: vec![
            image("web", &["node-22", "postgres", "node-22"], Some(github)),
            image("api", &["node-22"], Some(gitlab)),
            new,
            image("worker", &["web", "api"], Some(job)),
        ],
        enrolment: Some(Enrolment { images: "- name: web\n".into(), ..Enrolment::default() }),
        image_interval: None,
        base_interval: Some("12h".into()),
        bases: vec![
            base("postgres", "SemVer", Some("^17"), &[]),
            base("node-22", "Lexical", None, &["^22-bookworm-slim$"]),
        ],
    }
}

fn of_kind<'v>(all: &'v [Value], kind: &str) -> Vec<&'v Value> {
    all.iter().filter(|value| value["kind"] == kind).collect()
}

fn names(all: &[Value], kind: &str) -> Vec<String> {
    of_kind(all, kind).iter().map(|value| value["metadata"]["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn kargo_takes_what_is_written() {
    let text = synth(&project()).expect("resources");
    let all = read(&text);
    let mut problems = Vec::new();
    for (kind, file) in [
        ("Project", "kargo.akuity.io_projects"),
        ("ProjectConfig", "kargo.akuity.io_projectconfigs"),
        ("Warehouse", "kargo.akuity.io_warehouses"),
        ("Stage", "kargo.akuity.io_stages"),
        ("AnalysisTemplate", "argoproj.io_analysistemplates"),
    ] {
        let schema = crd(file);
        let resources = of_kind(&all, kind);
        assert!(!resources.is_empty(), "{kind}");
        resources.iter().for_each(|resource| problems.extend(check(&schema, resource, kind)));
    }
    for subscription in of_kind(&all, "Warehouse")
        .iter()
        .flat_map(|warehouse| warehouse["spec"]["subscriptions"].as_array().expect("a list"))
    {
        let (kind, value) = subscription.as_object().and_then(|map| map.iter().next()).expect("one kind");
        problems.extend(check(&load(&format!("subscription-{kind}.json")), value, kind));
    }
    let mut steps = 0;
    for stage in of_kind(&all, "Stage") {
        for step in stage["spec"]["promotionTemplate"]["spec"]["steps"].as_array().into_iter().flatten() {
            let uses = step["uses"].as_str().expect("a step");
            // compose-output takes any mapping.
            match uses {
                "compose-output" => assert!(step["config"].is_object()),
                _ => problems.extend(check(&load(&format!("{uses}-config.json")), &step["config"], uses)),
            }
            steps += 1;
        }
    }
    assert_eq!(problems, [""; 0], "{text}");
    // Each Stage has one: without a step Kargo would neither promote nor verify.
    assert_eq!(steps, 7);
    // What Kargo 1.9 and 1.11 took away is not there.
    for gone in ["semverConstraint", "allowTags:", "ignoreTags:"] {
        assert!(!text.contains(gone), "{gone}");
    }
    assert_eq!(names(&all, "Warehouse"), ["api", "new", "web", "worker", "node-22", "postgres"]);
    let stages =
        ["analyze-api", "analyze-new", "analyze-web", "analyze-worker", "rebuild-api", "rebuild-web", "rebuild-worker"];
    assert_eq!(names(&all, "Stage"), stages);
    assert_eq!(names(&all, "AnalysisTemplate"), ["analyze-dockerfile", "rebuild-worker"]);
    // Every Stage is promoted by itself, and no other one is named.
    let policies = of_kind(&all, "ProjectConfig")[0]["spec"]["promotionPolicies"].as_array().expect("a list").clone();
    let policies: Vec<&str> = policies.iter().filter_map(|policy| policy["stageSelector"]["name"].as_str()).collect();
    assert_eq!(policies, stages);
    assert_eq!(of_kind(&all, "ConfigMap")[0]["data"]["images.yaml"], "- name: web\n");
    // Everything that is asked for is there.
    let warehouses = names(&all, "Warehouse");
    for stage in of_kind(&all, "Stage") {
        for freight in stage["spec"]["requestedFreight"].as_array().expect("a list") {
            assert!(warehouses.contains(&freight["origin"]["name"].as_str().expect("a name").to_owned()));
        }
    }
    let web = all.iter().find(|value| value["metadata"]["name"] == "rebuild-web").expect("it is there");
    assert_eq!(web["spec"]["requestedFreight"].as_array().expect("a list").len(), 2);
    let config = &web["spec"]["promotionTemplate"]["spec"]["steps"][0]["config"];
    assert_eq!(config["url"], "https://api.github.com/repos/owner/repo/actions/workflows/web.yml/dispatches");
    assert_eq!(config["body"], r#"${{ quote({"ref":"main","inputs":{"version_bump":"patch"}}) }}"#);
    assert_eq!(config["headers"][2]["value"], r#"Bearer ${{ secret("forge").token }}"#);
    let new = all.iter().find(|value| value["metadata"]["name"] == "new").expect("it is there");
    assert_eq!(
        new["spec"]["subscriptions"],
        json!([
            { "image": { "repoURL": "ghcr.io/owner/new", "imageSelectionStrategy": "Digest", "constraint": "latest", "discoveryLimit": 5 } },
            { "git": { "repoURL": "https://github.com/owner/repo.git", "branch": "main", "includePaths": ["a/", "z/"], "discoveryLimit": 5 } },
        ])
    );
}

#[test]
fn the_checker_finds_what_is_wrong() {
    let schema = crd("kargo.akuity.io_warehouses");
    let warehouse = json!({ "kind": "Warehouse", "metadata": {}, "spec": { "interval": "5 minutes", "subscriptions": [], "x": 1 } });
    let problems = check(&schema, &warehouse, "Warehouse").join("\n");
    assert!(problems.contains("\"5 minutes\" does not match") && problems.contains("`x` is unknown"), "{problems}");
    let image = json!({ "repoURL": "a b", "semverConstraint": "1" });
    let problems = check(&load("subscription-image.json"), &image, "image").join("\n");
    assert!(
        problems.contains("\"a b\" does not match") && problems.contains("`semverConstraint` is unknown"),
        "{problems}"
    );
    let http = json!({ "url": "x", "body": "a", "bodyFromFile": "b" });
    assert!(!check(&load("http-config.json"), &http, "http").is_empty());
}

#[test]
fn the_same_bytes_whatever_the_order() {
    let one = project();
    let mut other = project();
    other.images.reverse();
    other.bases.reverse();
    other.images.iter_mut().for_each(|image| {
        image.bases.reverse();
        image.paths.reverse();
    });
    assert_eq!(synth(&one).expect("resources"), synth(&other).expect("resources"));
}

#[test]
fn wrong_descriptions_are_refused() {
    let error = |change: &dyn Fn(&mut Project)| {
        let mut project = project();
        change(&mut project);
        synth(&project).expect_err("it is refused").to_string()
    };
    assert!(error(&|p| p.name = "Image_Factory".into()).starts_with("`Image_Factory` is no name of a Project"));
    assert_eq!(error(&|p| p.images[1].name = "web".into()), "`web` is there twice");
    assert_eq!(
        error(&|p| p.images[1].bases = vec!["nodes".into()]),
        "`api` is based on `nodes`, which is described nowhere"
    );
    assert_eq!(
        error(&|p| p.images[1].bases = vec!["worker".into()]),
        "these images are each other's base, and a rebuild would never end: api → worker → api"
    );
    assert_eq!(
        error(&|p| p.images[0].bases = vec!["web".into()]),
        "these images are each other's base, and a rebuild would never end: web → web"
    );
    assert!(error(&|p| p.images[0].git_url = "git@github.com:o/r".into()).contains("is no HTTP(S) URL"));
    assert!(error(&|p| p.images[0].repository = "ghcr.io/o/r:1".into()).contains("without tag and digest"));
    assert!(error(&|p| p.bases[0].strategy = "Newest".into()).contains("none of Digest"));
    assert!(error(&|p| p.bases[1].allow_tags = vec!["(".into()]).contains("no regular expression"));
    assert!(error(&|p| p.image_interval = Some("7d".into())).contains("write it like 5m or 24h"));
    assert!(error(&|p| p.runner_image = String::new()).contains("is empty"));
}

fn runner(workload: Workload) -> Runner {
    Runner {
        name: "cooperage".into(),
        namespace: "builds".into(),
        image: "ghcr.io/owner/cooperage:1.0.0".into(),
        workload,
        registry_secret: Some("registry".into()),
        environment_secret: Some("tokens".into()),
        config_map: Some("images".into()),
        enrolment: None,
        cache: Some("20Gi".into()),
        cpu: "500m".into(),
        cpu_limit: Some("2".into()),
        memory: "1Gi".into(),
        egress_ports: vec![443, 80, 443],
    }
}

#[test]
fn a_runner_for_a_restricted_namespace() {
    let deployment = Workload::Deployment { arguments: vec!["worker".into()], port: Some(8080) };
    let text = kubernetes::synth(&runner(deployment)).expect("resources");
    assert_eq!(text, include_str!("runner.yaml"));
    let job = crd("argoproj.io_analysistemplates");
    let job =
        &job["properties"]["spec"]["properties"]["metrics"]["items"]["properties"]["provider"]["properties"]["job"];
    let (spec, pod) = (&job["properties"]["spec"], &job["properties"]["spec"]["properties"]["template"]);
    let workloads = [
        Workload::Deployment { arguments: vec!["worker".into()], port: None },
        Workload::Job { arguments: vec!["factory".into(), "build".into()] },
        Workload::CronJob {
            schedule: "0 3 * * *".into(),
            before: vec!["first".into()],
            arguments: vec!["factory".into()],
        },
    ];
    for workload in workloads {
        let mut small = runner(workload);
        (small.cache, small.registry_secret, small.environment_secret, small.config_map) = (None, None, None, None);
        let all = read(&kubernetes::synth(&small).expect("resources"));
        let last = all.last().expect("a workload");
        let problems = match last["kind"].as_str() {
            Some("Deployment") => check(pod, &last["spec"]["template"], "template."),
            Some("Job") => check(spec, &last["spec"], "spec."),
            _ => check(spec, &last["spec"]["jobTemplate"]["spec"], "spec."),
        };
        assert_eq!(problems, [""; 0]);
    }
    let error = |change: &dyn Fn(&mut Runner)| {
        let mut runner = runner(Workload::CronJob { schedule: "0 3 * * *".into(), before: vec![], arguments: vec![] });
        change(&mut runner);
        kubernetes::synth(&runner).expect_err("it is refused")
    };
    assert!(matches!(error(&|r| r.cache = Some("20 GB".into())), Error::Field { field: "cache", .. }));
    assert!(matches!(error(&|r| r.namespace = "a.b".into()), Error::Name { kind: "Namespace", .. }));
    let often =
        |r: &mut Runner| r.workload = Workload::CronJob { schedule: "often".into(), before: vec![], arguments: vec![] };
    assert!(error(&often).to_string().contains("is no time in cron's form"));
}

#[test]
fn an_application_of_argo_cd() {
    let application = Application {
        name: "image-factory".into(),
        namespace: "argocd".into(),
        project: "default".into(),
        repo_url: "https://github.com/owner/deploy".into(),
        revision: "main".into(),
        path: "kargo".into(),
        destination: "image-factory-kargo".into(),
        automated: true,
    };
    assert_eq!(
        argocd::synth(&application).expect("it is written"),
        "# Written by `cooperage factory synth argocd`. Changes made by hand are lost.\n---\n\
         apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata:\n  name: image-factory\n  namespace: argocd\n\
         \x20 labels:\n    app.kubernetes.io/managed-by: cooperage\n    app.kubernetes.io/name: image-factory\nspec:\n\
         \x20 project: default\n  source:\n    repoURL: https://github.com/owner/deploy\n    targetRevision: main\n\
         \x20   path: kargo\n  destination:\n    server: https://kubernetes.default.svc\n    namespace: image-factory-kargo\n\
         \x20 syncPolicy:\n    syncOptions:\n    - CreateNamespace=true\n    - ServerSideApply=true\n    automated:\n\
         \x20     prune: true\n      selfHeal: true\n"
    );
}

/// What the command writes for an enrolment with state, as its own test records it.
#[test]
fn kargo_takes_what_the_command_writes() {
    let text = include_str!("../../../cli/tests/automation/kargo.yaml");
    let all = read(text);
    let kinds = ["Project", "ProjectConfig", "Warehouse", "Stage", "AnalysisTemplate"];
    let problems: Vec<String> = kinds
        .iter()
        .flat_map(|kind| {
            let group = if *kind == "AnalysisTemplate" { "argoproj.io" } else { "kargo.akuity.io" };
            let schema = crd(&format!("{group}_{}s", kind.to_lowercase()));
            of_kind(&all, kind).iter().flat_map(|resource| check(&schema, resource, kind)).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(problems, [""; 0]);
    assert_eq!(names(&all, "Warehouse"), ["api", "node-base", "web-app", "here", "node-22", "postgres"]);
    assert_eq!(
        names(&all, "Stage"),
        ["analyze-api", "analyze-node-base", "analyze-web-app", "rebuild-api", "rebuild-web-app"]
    );
    for subscription in of_kind(&all, "Warehouse")
        .iter()
        .flat_map(|warehouse| warehouse["spec"]["subscriptions"].as_array().expect("a list"))
    {
        let (kind, value) = subscription.as_object().and_then(|map| map.iter().next()).expect("one kind");
        assert_eq!(check(&load(&format!("subscription-{kind}.json")), value, kind), [""; 0]);
    }
}
