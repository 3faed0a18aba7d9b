//! Flags of `build`.
use crate::Case;

#[test]
fn a_missing_context() {
    insta::assert_snapshot!(Case::new().build("-t app"), @r#"
    exit 2
    error: the build context is missing
      hint: name the directory with the files to build from; here: cooperage build .
      hint: cooperage build --help shows examples
    "#);
}

#[test]
fn an_unknown_flag() {
    insta::assert_snapshot!(Case::new().build("--tgas x ."), @r#"
    exit 2
    error: unexpected argument '--tgas' found

      tip: a similar argument exists: '--tag'

    Usage: cooperage build --progress <MODE> --tag <NAME> [CONTEXT]

    For more information, try '--help'.
    "#);
}

#[test]
fn a_flag_of_another_builder() {
    insta::assert_snapshot!(Case::new().build("--destination=x ."), @r#"
    exit 2
    error: there is no flag --destination
      hint: name the image with -t NAME and push it with --push
    "#);
}

#[test]
fn a_flag_without_its_value() {
    insta::assert_snapshot!(Case::new().build(". -t"), @r#"
    exit 2
    error: a value is required for '--tag <NAME>' but none was supplied

    For more information, try '--help'.
    "#);
}

#[test]
fn two_contexts() {
    insta::assert_snapshot!(Case::new().build(". a"), @r#"
    exit 2
    error: there is one argument too many: "a"
      hint: quote what has blanks in it; a flag's value follows it directly or after =
      hint: cooperage build --help shows examples
    "#);
}

#[test]
fn a_boolean_that_is_none() {
    insta::assert_snapshot!(Case::new().build("--push=maybe ."), @r#"
    exit 2
    error: invalid value 'maybe' for '--push[=<BOOL>]': expected true or false, not "maybe"

    For more information, try '--help'.
    "#);
}

#[test]
fn a_tag_in_upper_case() {
    insta::assert_snapshot!(Case::new().build("-t ghcr.io/Me/App ."), @r#"
    exit 2
    error: --tag ghcr.io/Me/App: a repository's name must be lower case
      hint: write ghcr.io/me/app
    "#);
}

#[test]
fn a_tag_with_a_bad_character() {
    insta::assert_snapshot!(Case::new().build("-t app:v1+2 ."), @r#"
    exit 2
    error: --tag app:v1+2: a tag has 1 to 128 letters, digits, '_', '.' and '-', and does not begin with '.' or '-'
      hint: write app:v1-2
    "#);
}

#[test]
fn a_tag_with_a_digest() {
    insta::assert_snapshot!(Case::new().build("-t app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 ."), @r#"
    exit 2
    error: --tag app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855: a digest cannot be chosen, it follows from the content
      hint: write app:latest
    "#);
}

#[test]
fn a_tag_that_is_empty() {
    insta::assert_snapshot!(Case::new().build("--tag= ."), @r#"
    exit 2
    error: --tag "": it is empty
      hint: is a variable of the command line unset?
    "#);
}

#[test]
fn a_build_arg_without_a_name() {
    insta::assert_snapshot!(Case::new().build("--build-arg =x ."), @r#"
    exit 2
    error: --build-arg =x: "=x" has no name in front of "="
    "#);
}

#[test]
fn a_platform_that_is_none() {
    insta::assert_snapshot!(Case::new().build("--platform linux/amd64/v8/x ."), @r#"
    exit 2
    error: --platform linux/amd64/v8/x: invalid platform "linux/amd64/v8/x": expected os[/architecture[/variant]], such as linux/amd64 or linux/arm/v7
      hint: write OS/ARCHITECTURE, such as linux/arm64
    "#);
}

#[test]
fn an_output_without_a_type() {
    insta::assert_snapshot!(Case::new().build("-o dest=x,name=y ."), @r#"
    exit 2
    error: --output dest=x,name=y: type= is missing; write type=local,dest=DIRECTORY, or the directory alone
    "#);
}

#[test]
fn an_output_of_an_unknown_type() {
    insta::assert_snapshot!(Case::new().build("-o type=qcow2,dest=x ."), @r#"
    exit 2
    error: --output type=qcow2,dest=x: there is no output type "qcow2"; known are image, registry, oci, docker, tar, local
    "#);
}

#[test]
fn an_output_key_of_another_type() {
    insta::assert_snapshot!(Case::new().build("-o type=local,dest=out,compression=zstd ."), @r#"
    exit 2
    error: --output type=local,dest=out,compression=zstd: type=local has no key "compression"; known are dest, platform-split
    "#);
}

#[test]
fn an_output_without_destination() {
    insta::assert_snapshot!(Case::new().build("-o type=local ."), @r#"
    exit 2
    error: --output type=local: type=local needs dest=DIRECTORY
    "#);
}

#[test]
fn an_output_with_an_open_quote() {
    insta::assert_snapshot!(Case::new().build("-o type=image,\"name=a ."), @r#"
    exit 2
    error: --output type=image,"name=a: a quote is not closed
    "#);
}

#[test]
fn a_compression_level_out_of_range() {
    insta::assert_snapshot!(Case::new().build("-o type=oci,dest=x,compression-level=12 ."), @r#"
    exit 2
    error: --output type=oci,dest=x,compression-level=12: compression-level=12 is out of range for gzip: -1 to 9
    "#);
}

#[test]
fn two_outputs_on_standard_output() {
    insta::assert_snapshot!(Case::new().build("-o type=oci,dest=- -o type=tar,dest=- ."), @r#"
    exit 2
    error: two outputs cannot both be written to standard output
      hint: give one of them dest=FILE
    "#);
}

#[test]
fn a_push_without_a_name() {
    insta::assert_snapshot!(Case::new().build("--push ."), @r#"
    exit 2
    error: nothing says where to push to
      hint: name the image with -t REGISTRY/NAME:TAG
    "#);
}

#[test]
fn an_annotation_without_a_value() {
    insta::assert_snapshot!(Case::new().build("--annotation key ."), @r#"
    exit 2
    error: --annotation key: "key" is not [LEVEL:]KEY=VALUE
    "#);
}

#[test]
fn an_annotation_of_an_unknown_level() {
    insta::assert_snapshot!(Case::new().build("--annotation layer:key=value ."), @r#"
    exit 2
    error: --annotation layer:key=value: there is no annotation level "layer"; known are manifest, index, manifest-descriptor, index-descriptor
    "#);
}

#[test]
fn a_secret_without_an_id() {
    insta::assert_snapshot!(Case::new().build("--secret src=a ."), @r#"
    exit 2
    error: --secret …: id= is missing
      hint: write id=ID,src=FILE or id=ID,env=VARIABLE
    "#);
}

#[test]
fn a_secret_file_that_does_not_exist() {
    insta::assert_snapshot!(Case::new().build("--secret id=token,src=nope ."), @r#"
    exit 2
    error: --secret id=token,src=nope: DIR/nope: No such file or directory
      hint: src= names a file, env= a variable; without both a variable or file named like the id is taken
    "#);
}

#[test]
fn a_secret_variable_that_is_not_set() {
    insta::assert_snapshot!(Case::new().build("--secret id=token,env=NOPE ."), @r#"
    exit 2
    error: --secret id=token,env=NOPE: the environment variable NOPE is not set
    "#);
}

#[test]
fn a_secret_with_an_unknown_key() {
    insta::assert_snapshot!(Case::new().build("--secret id=token,file=a ."), @r#"
    exit 2
    error: --secret id=token,file=a: there is no key "file"; known are id, src, env, type
    "#);
}

#[test]
fn an_ssh_agent_that_is_not_there() {
    insta::assert_snapshot!(Case::new().build("--ssh default ."), @r#"
    exit 2
    error: --ssh default: no SSH agent: SSH_AUTH_SOCK is not set
      hint: start one with: eval $(ssh-agent) && ssh-add; or name a key: --ssh default=~/.ssh/id_ed25519
    "#);
}

#[test]
fn an_ssh_key_that_does_not_exist() {
    insta::assert_snapshot!(Case::new().build("--ssh default=nope ."), @r#"
    exit 2
    error: --ssh default=nope: DIR/nope: No such file or directory
    "#);
}

#[test]
fn a_network_of_a_daemon() {
    insta::assert_snapshot!(Case::new().build("--network bridge ."), @r#"
    exit 2
    error: --network bridge: known are default, none, host
      hint: networks of a daemon (bridge, container:NAME) do not exist here; steps share this machine's network
    "#);
}

#[test]
fn a_host_without_an_address() {
    insta::assert_snapshot!(Case::new().build("--add-host db ."), @r#"
    exit 2
    error: --add-host db: "db" is not NAME:IP
    "#);
}

#[test]
fn a_host_with_a_bad_address() {
    insta::assert_snapshot!(Case::new().build("--add-host db:1.2.3 ."), @r#"
    exit 2
    error: --add-host db:1.2.3: "1.2.3" is no IP address
    "#);
}

#[test]
fn a_host_gateway() {
    insta::assert_snapshot!(Case::new().build("--add-host db:host-gateway ."), @r#"
    exit 2
    error: --add-host db:host-gateway: host-gateway needs a daemon's bridge network; give the address itself, such as 127.0.0.1 (steps share the network of this machine)
    "#);
}

#[test]
fn a_size_that_is_none() {
    insta::assert_snapshot!(Case::new().build("--shm-size 64x ."), @r#"
    exit 2
    error: --shm-size 64x: "64x" is no size; expected a number with b, k, m, g or t, such as 64m
    "#);
}

#[test]
fn an_unknown_limit() {
    insta::assert_snapshot!(Case::new().build("--ulimit files=10 ."), @r#"
    exit 2
    error: --ulimit files=10: there is no limit "files"; known are core, cpu, data, fsize, locks, memlock, msgqueue, nice, nofile, nproc, rss, rtprio, rttime, sigpending, stack
    "#);
}

#[test]
fn an_unknown_entitlement() {
    insta::assert_snapshot!(Case::new().build("--allow everything ."), @r#"
    exit 2
    error: --allow everything: known are network.host, security.insecure
    "#);
}

#[test]
fn an_unknown_progress() {
    insta::assert_snapshot!(Case::new().run("build --progress fancy ."), @r#"
    exit 2
    error: --progress: there is no progress "fancy"; known are auto, plain, tty, quiet, rawjson
    "#);
}

#[test]
fn tty_progress_without_a_terminal() {
    insta::assert_snapshot!(Case::new().run("build --progress tty ."), @r#"
    exit 2
    error: --progress tty: standard error is no terminal
      hint: use --progress plain, or auto to have the right one chosen
    "#);
}

#[test]
fn an_unknown_isolation() {
    insta::assert_snapshot!(Case::new().build("--isolation docker ."), @r#"
    exit 2
    error: --isolation: there is no isolation "docker"; known are auto, namespaces, chroot, intercept, plain-chroot
    "#);
}

#[test]
fn an_unknown_call() {
    insta::assert_snapshot!(Case::new().build("--call lint2 ."), @r#"
    exit 2
    error: --call lint2: there is no method "lint2"; known are build, check, outline, targets
    "#);
}

#[test]
fn check_and_another_call() {
    insta::assert_snapshot!(Case::new().build("--check --call outline ."), @r#"
    exit 2
    error: --check and --call=outline ask for two different things
    "#);
}

#[test]
fn a_cache_of_an_unknown_type() {
    insta::assert_snapshot!(Case::new().build("--cache-from type=redis ."), @r#"
    exit 2
    error: --cache-from type=redis: there is no cache type "redis"; known are registry, inline, local, gha, s3
    "#);
}

#[test]
fn provenance_of_an_unknown_kind() {
    insta::assert_snapshot!(Case::new().build("--provenance=mode=full ."), @r#"
    exit 2
    error: --provenance mode=full: there is no mode "full"; known are min, max
    "#);
    insta::assert_snapshot!(Case::new().build("--attest type=provenance,inline-only=true ."), @r#"
    exit 2
    error: --attest type=provenance,inline-only=true: provenance has no key "inline-only"; known are disabled, mode, version, builder-id, reproducible
    "#);
}

#[test]
fn signing_without_what_it_needs() {
    insta::assert_snapshot!(Case::new().file("Dockerfile", "FROM scratch\n").build("--sign=cosign.key ."), @r#"
    exit 2
    error: --sign signs what is pushed, and nothing is pushed
      hint: add --push; or sign an image of a registry later: cooperage sign IMAGE
    "#);
    insta::assert_snapshot!(Case::new().file("Dockerfile", "FROM scratch\n").build("--sign -t r.example.com/a --push ."), @r#"
    exit 2
    error: no key to sign with
      hint: name it: --key FILE, or signing.key in cooperage.toml; or sign without one: --keyless
      hint: cooperage key generate makes a pair of keys
    "#);
    insta::assert_snapshot!(Case::new().file("Dockerfile", "FROM scratch\n").build("--verify-bases ."), @r#"
    exit 2
    error: --verify-bases needs a policy: which images need which signatures
      hint: name it: --signature-policy FILE, or signing.policy in cooperage.toml
      hint: docs/signing.md describes the file
    "#);
    let policy = Case::new().file("Dockerfile", "FROM scratch\n").file("policy", "[[image]]\nmatch = 'a'\n");
    insta::assert_snapshot!(policy.build("--verify-bases --signature-policy policy ."), @r#"
    exit 2
    error: the policy DIR/policy: the rule for "a" needs exactly one of keys, identity, accept
      hint: docs/signing.md describes the file
    "#);
}

#[test]
fn git_metadata_without_a_repository() {
    let case = || Case::new().file("Dockerfile", "FROM scratch\n");
    insta::assert_snapshot!(case().build("--git-metadata=notes ."), @r#"
    exit 2
    error: --git-metadata notes: known are labels, annotations, both
    "#);
    insta::assert_snapshot!(case().build("--git-metadata ."), @r#"
    exit 2
    error: --git-metadata: DIR is in no git repository that git can read
      hint: leave it out, or name labels and annotations with --label and --annotation
    "#);
}

#[test]
fn an_sbom_of_another_generator() {
    insta::assert_snapshot!(Case::new().build("--sbom=generator=docker/scout-sbom-indexer ."), @r#"
    exit 2
    error: --sbom generator=docker/scout-sbom-indexer: other generators are not run: the SBOM is made by cooperage itself
      hint: leave generator= out
    "#);
    insta::assert_snapshot!(Case::new().build("--attest type=sbom,files=some ."), @r#"
    exit 2
    error: --attest type=sbom,files=some: there is no files=some; known are owned, all, none
    "#);
}

#[test]
fn a_builder_instance() {
    insta::assert_snapshot!(Case::new().build("--builder remote ."), @r#"
    exit 2
    error: --builder chooses a BuildKit daemon, and cooperage has none
      hint: leave it out; --root chooses the store
    "#);
}

#[test]
fn a_memory_limit() {
    insta::assert_snapshot!(Case::new().build("-m 1g ."), @r#"
    exit 2
    error: --memory needs a daemon that owns the cgroup tree
      hint: limit the container or cgroup that cooperage itself runs in; steps are its children
    "#);
}

#[test]
fn squash() {
    insta::assert_snapshot!(Case::new().build("--squash ."), @r#"
    exit 2
    error: --squash is not supported (BuildKit dropped it too)
      hint: copy from a build stage into a final one: COPY --from=build / /
    "#);
}

#[test]
fn an_action_on_error() {
    insta::assert_snapshot!(Case::new().build("--on-error=continue ."), @r#"
    exit 2
    error: --on-error continue: there is no action "continue"; known are fail, shell
    "#);
}

#[test]
fn host_certificates_that_are_none() {
    insta::assert_snapshot!(Case::new().build("--host-ca=a ."), @r#"
    exit 2
    error: --host-ca DIR/a: holds no PEM certificate
    "#);
}
