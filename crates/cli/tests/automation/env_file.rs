//! `--env-file`: what the variables do, and that they are seen nowhere.
use crate::{Place, TOKEN};

#[test]
fn variables_reach_a_build_and_are_never_printed() {
    let file = format!("# tokens\nexport GITHUB_TOKEN='{TOKEN}'\nVERSION=\"1.2\"\nBUILDKIT_PROGRESS=plain\n");
    let place = Place::new()
        .file(".env.local", &file)
        .file("Dockerfile", "FROM scratch\nARG VERSION\nLABEL version=$VERSION\nCOPY Dockerfile /\n")
        .var("COOPERAGE_ROOT", "store");
    let words = [
        "--env-file",
        ".env.local",
        "-D",
        "build",
        "--build-arg",
        "VERSION",
        "--metadata-file",
        "m.json",
        "-t",
        "a:1",
        ".",
    ];
    place.ok(&words);
    assert!(place.ok(&["image", "inspect", "a:1"]).contains("\"version\": \"1.2\""));
    // The environment wins, unless it is empty; a later file wins over an earlier one.
    let place = place.var("VERSION", "2").file("more", "VERSION=3\n");
    place.ok(&[&words[..], &["--env-file", "more"]].concat());
    assert!(place.ok(&["image", "inspect", "a:1"]).contains("\"version\": \"2\""));
    let place = place.var("VERSION", "");
    place.ok(&[&words[..], &["--env-file", "more"]].concat());
    assert!(place.ok(&["image", "inspect", "a:1"]).contains("\"version\": \"3\""));
    let shown = place.ok(&["--env-file", ".env.local", "config", "show"]);
    assert!(shown.contains("BUILDKIT_PROGRESS"), "{shown}");
}

#[test]
fn files_that_cannot_be_used() {
    let fails = |text: &str| Place::new().file(".env.local", text).fails(&["version", "--env-file", ".env.local"]);
    insta::assert_snapshot!(fails(&format!("A=1\n{TOKEN}\n")), @"
    exit 2
    error: .env.local:2: this is no variable
      hint: write NAME=VALUE; names have letters, digits and _; a comment begins with #
    ");
    insta::assert_snapshot!(fails(&format!("TOKEN={TOKEN} b\n")), @"
    exit 2
    error: .env.local:1: TOKEN: the value has blanks in it
      hint: put it between ' and '
    ");
    insta::assert_snapshot!(fails("TOKEN=$(gh auth token)\n"), @"
    exit 2
    error: .env.local:1: TOKEN: the value would be the output of a command, and none is run
      hint: set the variable in the shell, or put the value between ' and ' if it is meant as it is
    ");
    insta::assert_snapshot!(fails(&format!("A=1\nTOKEN=\"{TOKEN}\n")), @r#"
    exit 2
    error: .env.local:2: TOKEN: the " that begins here has no end
    "#);
    insta::assert_snapshot!(Place::new().fails(&["version", "--env-file", "nope"]), @"
    exit 2
    error: cannot read --env-file nope: No such file or directory
    ");
}
