//! Settings, and the other commands.
use crate::Case;

#[test]
fn an_unknown_command() {
    insta::assert_snapshot!(Case::new().run("biuld ."), @r#"
    exit 2
    error: unrecognized subcommand 'biuld'

      tip: some similar subcommands exist: 'b', 'build'

    Usage: cooperage [OPTIONS] <COMMAND>

    For more information, try '--help'.
    "#);
}

#[test]
fn a_setting_that_does_not_exist() {
    insta::assert_snapshot!(Case::new().file("cooperage.toml", "[registry]\nmirors = {}\n").run("build ."), @r#"
    exit 2
    error: DIR/cooperage.toml:2:1: unknown field `mirors`, expected one of `mirrors`, `ca`, `insecure`
      hint: did you mean mirrors?
    "#);
}

#[test]
fn a_setting_of_the_wrong_type() {
    insta::assert_snapshot!(Case::new().file("cooperage.toml", "max-parallelism = 'two'\n").run("build ."), @r#"
    exit 2
    error: DIR/cooperage.toml:1:19: invalid type: string "two", expected usize
    "#);
}

#[test]
fn a_configuration_file_that_does_not_exist() {
    insta::assert_snapshot!(Case::new().run("build --config nope.toml ."), @r#"
    exit 2
    error: cannot read the configuration DIR/nope.toml: No such file or directory
    "#);
}

#[test]
fn a_variable_with_an_unknown_progress() {
    insta::assert_snapshot!(Case::new().var("BUILDKIT_PROGRESS", "fancy").run("build ."), @r#"
    exit 2
    error: BUILDKIT_PROGRESS: there is no progress "fancy"; known are auto, plain, tty, quiet, rawjson
    "#);
}

#[test]
fn a_source_date_that_is_none() {
    insta::assert_snapshot!(Case::new().var("SOURCE_DATE_EPOCH", "yesterday").run("build ."), @r#"
    exit 2
    #1 [internal] load build definition from Dockerfile
    #1 DONE 0.0s
    error: invalid SOURCE_DATE_EPOCH "yesterday": no seconds since 1970, and no stage or named context has this name
      hint: for the time of the last commit: SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
      hint: SOURCE_DATE_EPOCH=context is the time of a git or HTTP context
    "#);
}

#[test]
fn a_docker_configuration_that_is_broken() {
    insta::assert_snapshot!(Case::new().home(".docker/config.json", "{\"proxies\": ").run("build ."), @r#"
    exit 2
    error: HOME/.docker/config.json:1:12: EOF while parsing a value
    "#);
}

#[test]
fn a_store_below_a_file() {
    insta::assert_snapshot!(Case::new().run("build --progress quiet --root Dockerfile/store ."), @r#"
    exit 1
    error: cannot make the store's directory DIR/Dockerfile/store/blobs/sha256: Not a directory
      hint: choose a directory that you can write with --root or COOPERAGE_ROOT
    "#);
}

#[test]
fn no_place_for_the_store() {
    insta::assert_snapshot!(Case::new().var("HOME", "").run("build ."), @r#"
    exit 2
    error: there is no place for the store: HOME is not set
      hint: name a directory with --root DIR or COOPERAGE_ROOT
    "#);
}

#[test]
fn a_mirror_without_a_host() {
    insta::assert_snapshot!(Case::new().run("build --registry-mirror ghcr.io= ."), @r#"
    exit 2
    error: --registry-mirror ghcr.io=: expected [REGISTRY=]HOST[:PORT][/PREFIX]
    "#);
}

#[test]
fn a_registry_ca_that_does_not_exist() {
    insta::assert_snapshot!(Case::new().run("build --progress quiet --registry-ca nope.pem ."), @r#"
    exit 2
    error: cannot set up HTTPS: registry CA: cannot read DIR/nope.pem: No such file or directory (os error 2)
    "#);
}

#[test]
fn a_login_to_no_registry() {
    insta::assert_snapshot!(Case::new().run("login ghcr"), @r#"
    exit 2
    error: "ghcr" is no registry
      hint: write HOST or HOST:PORT, such as ghcr.io; for Docker Hub leave it out
    "#);
}

#[test]
fn a_login_without_a_user() {
    insta::assert_snapshot!(Case::new().run("login ghcr.io"), @r#"
    exit 2
    error: the user name is missing
      hint: cooperage login ghcr.io -u NAME --password-stdin < TOKENFILE
    "#);
}

#[test]
fn a_login_without_a_password() {
    insta::assert_snapshot!(Case::new().run("login ghcr.io -u me"), @r#"
    exit 2
    error: the password is missing
      hint: pipe it in with --password-stdin
    "#);
}

#[test]
fn a_login_to_a_server_that_is_down() {
    insta::assert_snapshot!(Case::new().stdin(b"secret").run("login 127.0.0.1:9 -u me --password-stdin"), @r#"
    exit 1
    error: cannot log in to 127.0.0.1:9
      because: cannot reach the registry 127.0.0.1:9: cannot connect to 127.0.0.1:9: the connection was refused
      hint: check that the registry runs and that the port is right
    "#);
}

#[test]
fn a_logout_where_nothing_is_stored() {
    insta::assert_snapshot!(Case::new().run("logout ghcr.io"), @r#"
    exit 0
    There were no credentials for ghcr.io
    "#);
}

#[test]
fn a_server_on_a_bad_address() {
    insta::assert_snapshot!(Case::new().run("registry serve --addr nowhere"), @r#"
    exit 2
    error: --addr nowhere: invalid socket address
      hint: write HOST:PORT, such as 127.0.0.1:5000
    "#);
}

#[test]
fn an_image_reference_that_is_invalid() {
    insta::assert_snapshot!(Case::new().run("image inspect Alpine"), @r#"
    exit 2
    error: invalid image reference "Alpine": a repository's name must be lower case
    "#);
}
