//! Contexts and where the Dockerfile is.
use crate::Case;

#[test]
fn a_context_that_does_not_exist() {
    insta::assert_snapshot!(Case::new().build("nope"), @r#"
    exit 2
    error: the build context "nope" does not exist
      hint: the last argument is the directory with the files to build from, most often .
    "#);
}

#[test]
fn a_context_that_is_a_name() {
    insta::assert_snapshot!(Case::new().build("app:1.0"), @r#"
    exit 2
    error: the build context "app:1.0" does not exist
      hint: is app:1.0 the image's name? Write: cooperage build -t app:1.0 .
    "#);
}

#[test]
fn a_context_that_is_a_file() {
    insta::assert_snapshot!(Case::new().build("Dockerfile"), @r#"
    exit 2
    error: the build context "Dockerfile" is a file, not a directory
      hint: give its directory and name the Dockerfile: cooperage build -f Dockerfile .
      hint: or send it on standard input: cooperage build - < Dockerfile
    "#);
}

#[test]
fn a_context_with_an_unknown_scheme() {
    insta::assert_snapshot!(Case::new().build("s3://bucket/context.tar"), @r#"
    exit 2
    error: the build context "s3://bucket/context.tar" does not exist
      hint: contexts are directories, git repositories (https://HOST/REPO.git#REF:DIR, git@HOST:REPO) and HTTP(S) archives
    "#);
}

#[test]
fn a_context_that_is_empty_text() {
    insta::assert_snapshot!(Case::new().build("-t app --"), @r#"
    exit 2
    error: the build context is missing
      hint: name the directory with the files to build from; here: cooperage build .
      hint: cooperage build --help shows examples
    "#);
}

#[test]
fn a_context_without_a_dockerfile() {
    insta::assert_snapshot!(Case::empty().dir("sub").file("sub/main.c", "").build("sub"), @r#"
    exit 2
    error: there is no Dockerfile in the build context "sub"
      hint: name another file with -f, or another directory as the context
    "#);
}

#[test]
fn a_context_with_another_dockerfile() {
    insta::assert_snapshot!(Case::empty().file("Dockerfile.dev", "FROM scratch").build("."), @r#"
    exit 2
    error: there is no Dockerfile in the build context "."
      hint: Dockerfile.dev is there: cooperage build -f Dockerfile.dev .
    "#);
}

#[test]
fn a_context_with_a_containerfile() {
    insta::assert_snapshot!(Case::empty().file("sub/Containerfile", "FROM scratch").build("sub"), @r#"
    exit 2
    error: there is no Dockerfile in the build context "sub"
      hint: Containerfile is there: cooperage build -f sub/Containerfile sub
    "#);
}

#[test]
fn a_dockerfile_that_does_not_exist() {
    insta::assert_snapshot!(Case::new().build("-f Dockerfil ."), @r#"
    exit 2
    error: --file Dockerfil: No such file or directory
      hint: paths are taken from the current directory, DIR
    "#);
}

#[test]
fn a_dockerfile_relative_to_the_context() {
    insta::assert_snapshot!(Case::new().file("sub/prod.Dockerfile", "FROM scratch").build("-f prod.Dockerfile sub"), @r#"
    exit 2
    error: --file prod.Dockerfile: No such file or directory
      hint: the path is taken from the current directory, not from the context: write -f sub/prod.Dockerfile
    "#);
}

#[test]
fn a_dockerfile_that_is_a_directory() {
    insta::assert_snapshot!(Case::new().file("docker/Dockerfile", "FROM scratch").build("-f docker ."), @r#"
    exit 2
    error: --file docker: is a directory
      hint: write -f docker/Dockerfile
    "#);
}

#[test]
fn context_and_dockerfile_from_standard_input() {
    insta::assert_snapshot!(Case::new().build("-f - -"), @r#"
    exit 2
    error: the context and the Dockerfile cannot both come from standard input
      hint: leave -f out where standard input is a Dockerfile, or name a file of the archive with -f
    "#);
}

#[test]
fn standard_input_that_is_empty() {
    insta::assert_snapshot!(Case::new().build("-"), @r#"
    exit 2
    error: standard input is empty
      hint: redirect a Dockerfile or a tar archive to it
    "#);
}

#[test]
fn a_git_url_with_an_unknown_key() {
    insta::assert_snapshot!(Case::new().build("https://example.com/a.git?rev=main"), @r#"
    exit 2
    error: invalid git URL "https://example.com/a.git?rev=main": unknown query key "rev"; known are ref, tag, branch, subdir, checksum, submodules, keep-git-dir and mtime
    "#);
}

#[test]
fn a_git_url_that_leaves_the_repository() {
    insta::assert_snapshot!(Case::new().build("https://example.com/a.git#main:../.."), @r#"
    exit 2
    error: invalid git URL "https://example.com/a.git#main:../..": the subdirectory "../.." leaves the repository
    "#);
}

#[test]
fn a_git_url_that_would_be_an_option() {
    insta::assert_snapshot!(Case::new().build("https://example.com/a.git#--upload-pack=x"), @r#"
    exit 2
    error: invalid git URL "https://example.com/a.git#--upload-pack=x": "--upload-pack=x" is no branch, tag or commit
    "#);
}

#[test]
fn a_named_context_without_a_source() {
    insta::assert_snapshot!(Case::new().build("--build-context app ."), @r#"
    exit 2
    error: --build-context app: expected NAME=PATH, NAME=URL, NAME=docker-image://IMAGE or NAME=oci-layout://PATH
    "#);
}

#[test]
fn a_named_context_that_does_not_exist() {
    insta::assert_snapshot!(Case::new().build("--build-context app=nope ."), @r#"
    exit 2
    error: --build-context app=nope: nope: No such file or directory
    "#);
}

#[test]
fn a_named_context_that_is_a_file() {
    insta::assert_snapshot!(Case::new().build("--build-context app=a ."), @r#"
    exit 2
    error: --build-context app=a: a is a file; a named context is a directory
    "#);
}

#[test]
fn a_named_context_with_an_unknown_scheme() {
    insta::assert_snapshot!(Case::new().build("--build-context app=docker://alpine ."), @r#"
    exit 2
    error: --build-context app=docker://alpine: there is no source docker://
      hint: known are paths, docker-image://, oci-layout://, git and http(s) URLs
    "#);
}

#[test]
fn a_named_context_of_an_invalid_image() {
    insta::assert_snapshot!(Case::new().build("--build-context app=docker-image://Alpine ."), @r#"
    exit 2
    error: --build-context app=docker-image://Alpine: invalid image reference "Alpine": a repository's name must be lower case
    "#);
}

#[test]
fn a_named_context_that_is_no_layout() {
    insta::assert_snapshot!(Case::new().dir("layout").build("--build-context app=oci-layout://layout ."), @r#"
    exit 2
    error: --build-context app=oci-layout://layout: DIR/layout is no OCI layout: it has no file oci-layout
    "#);
}

#[test]
fn a_named_context_of_a_bake_target() {
    insta::assert_snapshot!(Case::new().build("--build-context app=target:base ."), @r#"
    exit 2
    error: --build-context app=target:base: target: names another target of a bake file
      hint: build stage base of the same Dockerfile with COPY --from=base
    "#);
}

#[test]
fn a_git_server_that_is_down() {
    insta::assert_snapshot!(Case::new().build("git://127.0.0.1:9/a.git"), @r#"
    exit 1
    error: cannot resolve git://127.0.0.1:9/a.git: fatal: unable to connect to 127.0.0.1:; 127.0.0.1[0: 127.0.0.1]: errno=Connection refused
      hint: check the host's name, the network, and the proxy variables
    "#);
}

#[test]
fn an_http_server_that_is_down() {
    insta::assert_snapshot!(Case::new().build("http://127.0.0.1:9/a.tar"), @r#"
    exit 1
    error: cannot download http://127.0.0.1:9/a.tar: tcp connect error: Connection refused
      hint: check the host's name, the network, and the proxy variables
    "#);
}
