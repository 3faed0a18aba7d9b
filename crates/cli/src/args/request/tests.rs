use super::*;
use crate::config::Flags;
use crate::env::testing;
use build::request::SecretSource;
use clap::Parser;
use std::path::Path;

fn parse(dir: &Path, vars: &[(&str, &str)], words: &[&str]) -> Result<Plan> {
    let mut all = vec!["cooperage", "build"];
    all.extend(words);
    let cli = crate::args::Cli::try_parse_from(all).map_err(|e| CliError::usage(e.to_string()))?;
    let crate::args::Command::Build(args) = cli.command else { return Err(CliError::usage("not build")) };
    let mut vars = vars.to_vec();
    vars.push(("HOME", "/nonexistent"));
    let env = testing::env(dir, &vars);
    let flags = Flags {
        place: Some(&args.place),
        registries: Some(&args.registries),
        progress: args.progress.as_deref(),
        config: None,
    };
    let settings = Settings::load(&flags, &env)?;
    plan(&args, &settings, &env)
}

fn context() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("Dockerfile"), "FROM scratch\n").unwrap();
    std::fs::write(dir.path().join("key"), "k").unwrap();
    dir
}

#[test]
fn every_flag_reaches_the_request() {
    let dir = context();
    let vars = [("FROM_ENV", "e"), ("SOURCE_DATE_EPOCH", "12"), ("TOKEN", "t"), ("SSH_AUTH_SOCK", "/sock")];
    let plan = parse(
        dir.path(),
        &vars,
        &[
            "-t",
            "a",
            "-t",
            "ghcr.io/x/y:1",
            "--build-arg",
            "A=1",
            "--build-arg=FROM_ENV",
            "--build-arg",
            "UNSET",
            "--target",
            "x",
            "--target",
            "t",
            "--platform",
            "linux/amd64,linux/arm64",
            "--platform=linux/arm64",
            "--push",
            "-o",
            "type=oci,dest=x.tar",
            "--no-cache",
            "--no-cache-filter=a,b",
            "--pull",
            "--secret",
            "id=k,src=key",
            "--secret=id=TOKEN",
            "--secret",
            "type=env,id=z,src=TOKEN",
            "--ssh",
            "default",
            "--ssh",
            "o=key",
            "--build-context",
            "n=.",
            "--label",
            "l=m",
            "--label",
            "bare",
            "--annotation",
            "index:a=b",
            "--iidfile",
            "iid",
            "--metadata-file=meta",
            "--provenance=false",
            "--sbom=false",
            "--attest=type=sbom,disabled=true",
            "--network",
            "host",
            "--add-host",
            "h:1.2.3.4",
            "--shm-size",
            "64m",
            "--ulimit",
            "nofile=1:2",
            "--allow",
            "network.host",
            "-q",
            "--isolation",
            "chroot",
            "--rm",
            "--compress=false",
            "--max-parallelism=7",
            ".",
        ],
    )
    .unwrap();
    let request = &plan.request;
    assert_eq!(request.tags.iter().map(Reference::familiar).collect::<Vec<_>>(), ["a:latest", "ghcr.io/x/y:1"]);
    assert_eq!(
        request.build_args.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(),
        ["A=1", "FROM_ENV=e", "SOURCE_DATE_EPOCH=12"]
    );
    assert_eq!(request.source_date_epoch, Some(12));
    assert_eq!(request.target.as_deref(), Some("t"), "the last one wins");
    assert_eq!(request.platforms.len(), 2);
    assert_eq!(request.outputs.len(), 2);
    assert_eq!(request.outputs[0].dest, Some(dir.path().join("x.tar").display().to_string()));
    assert!(request.outputs[1].push && request.outputs[1].kind == OutputKind::Image);
    assert!(request.no_cache && request.pull && plan.quiet);
    assert_eq!(request.no_cache_filter, ["a", "b"]);
    assert!(matches!(&request.secrets[0].source, SecretSource::File(p) if p.ends_with("key")));
    assert!(matches!(&request.secrets[1].source, SecretSource::Env(v) if v == "TOKEN"));
    assert!(matches!(&request.secrets[2].source, SecretSource::Env(v) if v == "TOKEN"));
    assert_eq!((request.ssh[0].paths[0].as_path(), request.ssh[1].id.as_str()), (Path::new("/sock"), "o"));
    assert_eq!(request.named_contexts[0].0, "n");
    assert_eq!((request.labels["l"].as_str(), request.labels["bare"].as_str()), ("m", ""));
    assert_eq!(request.annotations[0].level, AnnotationLevel::Index);
    assert_eq!(plan.iidfile.as_deref(), Some(dir.path().join("iid").as_path()));
    assert_eq!(request.network, dockerfile::ast::Network::Host);
    assert_eq!(request.add_hosts, [("h".into(), "1.2.3.4".into())]);
    assert_eq!((request.shm_size, request.parallelism), (Some(64 << 20), 7));
    assert_eq!(request.ulimits, [("nofile".into(), 1, 2)]);
    assert_eq!(request.isolation.as_deref(), Some("chroot"));
}

#[test]
fn defaults_are_buildxs() {
    let dir = context();
    let plan = parse(dir.path(), &[], &["."]).unwrap();
    assert!(plan.request.outputs.is_empty() && plan.request.tags.is_empty() && plan.request.proxy.is_empty());
    assert!(!plan.request.pull && !plan.request.no_cache && !plan.quiet);
    assert_eq!((plan.call, plan.json), (Call::Build, false));
    assert!(plan.request.dockerfile.is_none());
    let plan = parse(dir.path(), &[("DOCKER_DEFAULT_PLATFORM", "linux/arm64")], &["."]).unwrap();
    assert_eq!(plan.request.platforms[0].to_string(), "linux/arm64");
}

#[test]
fn calls() {
    let dir = context();
    let call = |words: &[&str]| parse(dir.path(), &[], words).map(|plan| (plan.call, plan.json));
    assert_eq!(call(&["--check", "."]).unwrap(), (Call::Check, false));
    assert_eq!(call(&["--call=outline,format=json", "."]).unwrap(), (Call::Outline, true));
    assert_eq!(call(&["--call", "targets", "."]).unwrap(), (Call::Targets, false));
    assert!(call(&["--call=subrequests.describe", "."]).is_err());
    assert!(call(&["--check", "--call=outline", "."]).is_err());
}

#[test]
fn proxies_come_from_dockers_config_and_on_request_from_the_environment() {
    let dir = context();
    std::fs::create_dir(dir.path().join("docker")).unwrap();
    std::fs::write(dir.path().join("docker/config.json"), r#"{"proxies":{"default":{"httpProxy":"http://c"}}}"#)
        .unwrap();
    let vars = [("DOCKER_CONFIG", "docker"), ("https_proxy", "http://e")];
    let plain = parse(dir.path(), &vars, &["."]).unwrap();
    assert_eq!(plain.request.proxy.keys().collect::<Vec<_>>(), ["HTTP_PROXY", "http_proxy"]);
    let asked = parse(dir.path(), &vars, &["--http-proxy", "."]).unwrap();
    assert_eq!(asked.request.proxy["https_proxy"], "http://e");
}
