//! SBOMs in the place of images: what was shipped then, with what is known now.
use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::{Place, REQUIREMENTS, findings};

#[test]
fn an_sbom_says_what_its_image_says() {
    let place = Place::new();
    place.file("context/requirements.txt", REQUIREMENTS);
    place.file("context/status", "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nSource: glibc (2.36-9)\nVersion: 2.36-9+b1\n\n");
    place.file("context/os-release", "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n");
    place.build(
        "FROM scratch\nCOPY os-release /etc/\nCOPY status /var/lib/dpkg/\nCOPY requirements.txt /srv/\n",
        &["-t", "app", "--sbom", "-o", "type=oci,dest=app.tar"],
    );
    place.update();
    let image = place.json(&["app.tar"]);
    let found = findings(&image);
    assert!(found.len() >= 3 && found.iter().any(|f| f == "CVE-2099-0001 libc6"), "{found:?}");
    for (name, word) in [("app.spdx.json", "app.spdx.json"), ("app.cdx.json", "sbom:app.cdx.json")] {
        assert!(place.output(&["sbom", "app.tar", "-o", name]).status.success());
        let report = place.json(&[word]);
        let same = |field: &str| assert_eq!(report[field], image[field], "{name}: {field}");
        ["image", "os", "findings", "packages", "summary", "uncovered"].into_iter().for_each(same);
        // Rules know the place of a package.
        let rule = "ignore:\n  - {path: srv/*.txt, reason: never read, expires: 2999-01-01}\n";
        place.file("rules.yaml", rule);
        let words = ["scan", name, "--fail-on", "any", "--ignore-file", "rules.yaml"];
        let (code, stdout, stderr) = place.run(&words);
        assert_eq!(code, Some(3), "{stderr}");
        assert!(stdout.contains("COPY status") && stdout.contains("never read (until 2999-01-01)"), "{stdout}");
    }

    // Of others, of which something cannot be looked up.
    let foreign = json!({ "bomFormat": "CycloneDX", "specVersion": "1.5", "metadata": { "component": { "name": "shop", "type": "application" } },
    "components": [
        { "type": "library", "name": "jinja2", "version": "2.10", "purl": "pkg:pypi/jinja2@2.10" },
        { "type": "library", "name": "Json", "version": "1", "purl": "pkg:nuget/Json@1" },
        { "type": "library", "name": "own" },
    ]});
    place.file("shop.json", foreign.to_string());
    let (code, stdout, stderr) = place.run(&["scan", "shop.json"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("shop (1 package, records of "), "{stdout}");
    insta::assert_snapshot!(stderr, @r#"
    warning: 1 package without a package URL (own) was not looked at
    warning: 1 package of the type nuget (Json) was not looked at
    "#);

    // Another scanner gets the document.
    let script = "#!/bin/sh\necho \"$@\" > \"$HOME/arguments\"\necho '{\"SchemaVersion\":2,\"Results\":[]}'\n";
    let program = place.file("bin/trivy", script);
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    let (code, _, stderr) = place.run(&["scan", "shop.json", "--scanner", "trivy"]);
    assert_eq!(code, Some(0), "{stderr}");
    let arguments = fs::read_to_string(place.path("arguments")).unwrap();
    assert!(arguments.starts_with("sbom --quiet") && arguments.trim_end().ends_with("/shop.json"), "{arguments}");

    let errors = |words: &[&str]| {
        let (code, stdout, stderr) = place.run(&[&["scan"], words].concat());
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{words:?}: {stderr}");
        stderr
    };
    place.file("settings.json", r#"{ "a": 1 }"#);
    insta::assert_snapshot!(errors(&["settings.json"]), @r#"
    error: /place/settings.json cannot be used: it is no SBOM: it has neither spdxVersion nor bomFormat
      hint: an SBOM is SPDX 2.2 or 2.3, or CycloneDX 1, in JSON: cooperage sbom IMAGE -o FILE
    "#);
    place.file("app.spdx", "SPDXVersion: SPDX-2.3\n");
    insta::assert_snapshot!(errors(&["app.spdx"]), @r#"
    error: /place/app.spdx cannot be used: it is no image, and no SBOM in JSON
      hint: SPDX 2.2 and 2.3 and CycloneDX 1 are read, in JSON: write the SBOM again in that form
    "#);
    insta::assert_snapshot!(errors(&["shop.json", "--platform", "linux/arm64"]), @"error: --platform says nothing about an SBOM, which is of one image");
    assert!(errors(&["sbom:none.json"]).contains("none.json cannot be read: No such file"));
}
