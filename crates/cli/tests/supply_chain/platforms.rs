//! Attestations and signatures of several platforms in one index: each about its own image, and all of them move along.
use std::fs;

use serde_json::Value;

use super::{BASE, Place, Served, program, text};

#[test]
fn each_platform_is_attested_and_signed() {
    if !testkit::available("each_platform_is_attested_and_signed", testkit::REGISTRY_TOOLS) {
        return;
    }
    let place = Place::new("FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /\n");
    for (arch, version) in [("amd64", "1.0"), ("arm64", "2.0")] {
        let dir = place.path(&format!("context/{arch}/lib/apk/db"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("installed"), format!("P:musl\nV:{version}-r0\nA:x\n\n")).unwrap();
    }
    place.git(&["init", "--quiet", "--initial-branch=main"]);
    place.git(&["add", "."]);
    place.git(&["commit", "--quiet", "--message=x"]);
    let commit = program("git", &["-C", text(&place.path("context")), "rev-parse", "HEAD"]).trim().to_owned();
    place.run("key generate key");
    place.run(
        "build -t REG/app:1 --push --platform linux/amd64,linux/arm64 --provenance=max --sbom --sign=key.key --git-metadata=annotations context",
    );
    let index = place.manifest("app:1");
    assert_eq!(index["annotations"]["org.opencontainers.image.revision"], commit.as_str());
    let entries = index["manifests"].as_array().unwrap();
    assert_eq!(entries.len(), 4);
    let digest = |entry: &Value| entry["digest"].as_str().unwrap().to_owned();
    for (number, version) in [(0, "1.0-r0"), (1, "2.0-r0")] {
        let (image, attestation) = (&entries[number], &entries[number + 2]);
        assert_eq!(attestation["annotations"]["vnd.docker.reference.digest"], image["digest"]);
        let manifest = place.manifest(&format!("app@{}", digest(attestation)));
        assert_eq!(manifest["subject"]["digest"], image["digest"]);
        let mut kinds = Vec::new();
        for layer in manifest["layers"].as_array().unwrap() {
            let statement = place.blob("app", layer["digest"].as_str().unwrap());
            let hex = statement["subject"][0]["digest"]["sha256"].as_str().unwrap();
            assert_eq!(format!("sha256:{hex}"), digest(image));
            kinds.push(statement["predicateType"].as_str().unwrap().to_owned());
            if statement["predicateType"] == "https://spdx.dev/Document" {
                let packages = statement["predicate"]["packages"].as_array().unwrap();
                let musl = packages.iter().find(|p| p["name"] == "musl").unwrap();
                assert_eq!(musl["versionInfo"], version, "each platform's own packages");
            }
        }
        kinds.sort();
        assert_eq!(kinds, ["https://slsa.dev/provenance/v1", "https://spdx.dev/Document"]);
    }

    // Wherever the index goes, by whichever way, all of it can be verified.
    let all = "--attestation slsaprovenance1 --attestation spdxjson";
    let verify = |name: &str| {
        place.run(&format!("verify --key key.pub {all} {name}:1"));
        for entry in &entries[..2] {
            place.run(&format!("verify --key key.pub {all} {name}@{}", digest(entry)));
        }
    };
    verify("REG/app");
    place.run("image copy --remote REG/app:1 oci-layout://DIR/layout:1");
    let served = Served::start(&place);
    place.run(&format!("image copy oci-layout://DIR/layout:1 {}/team/app:1", served.1));
    verify(&format!("{}/team/app", served.1));
    place.run(&format!("image copy --remote {}/team/app:1 REG/back:1", served.1));
    verify("REG/back");
    place.run("image copy --remote REG/back:1 oci-layout://DIR/again:1");
    let names = |layout: &str| {
        let index: Value = serde_json::from_slice(&fs::read(place.path(layout).join("index.json")).unwrap()).unwrap();
        let mut names: Vec<String> = index["manifests"].as_array().unwrap().iter().map(digest).collect();
        names.sort();
        names
    };
    assert_eq!(names("layout"), names("again"));
    assert_eq!(place.manifest("back:1"), index);

    // The halves of it, joined again: also where one is given twice.
    let half = |number: usize| format!("REG/app@{}", digest(&entries[number]));
    place.run(&format!("image merge --remote -t REG/joined:1 {} {} REG/app:1 REG/app:1", half(0), half(1)));
    let joined = place.manifest("joined:1");
    let digests = |index: &Value| index["manifests"].as_array().unwrap().iter().map(digest).collect::<Vec<_>>();
    assert_eq!(digests(&joined), digests(&index));
}

/// What was changed in the registry behind everybody's back.
#[test]
fn a_changed_image_is_refused() {
    if !testkit::available("a_changed_image_is_refused", testkit::REGISTRY_TOOLS) {
        return;
    }
    let place = Place::new(&format!("{BASE}COPY hello /hello\n"));
    place.run("key generate key");
    place.run("build -t REG/app:1 --push --sign=key.key context");
    place.run("verify --key key.pub REG/app:1");
    let manifest = place.manifest("app:1");
    fs::write(place.path("context/Dockerfile"), format!("FROM {}/app:1\nCOPY hello /more\n", place.registry.host()))
        .unwrap();
    let layer = manifest["layers"][1]["digest"].as_str().unwrap();
    let blob = place.stored(layer);
    let mut bytes = fs::read(&blob).unwrap();
    // The time in the header of gzip: the content is what it was, the blob is not.
    bytes[4] ^= 1;
    fs::write(&blob, &bytes).unwrap();
    for words in [
        "sbom --remote REG/app:1",
        "image copy --remote REG/app:1 oci-layout://DIR/copy:1",
        "build --root DIR/fresh -o DIR/out context",
    ] {
        let error = place.refused(words);
        assert!(error.contains("digest") && error.contains(&layer[..19]), "{words}: {error}");
    }

    // Its manifest, under the digest that it had.
    let index = place.run("image inspect --remote --raw REG/app:1");
    let digest = oci::Digest::sha256(index.as_bytes()).to_string();
    let blob = place.stored(&digest);
    fs::write(&blob, index.replacen("\"schemaVersion\"", "\"SchemaVersion\"", 1)).unwrap();
    for words in ["verify --key key.pub REG/app:1".to_owned(), format!("verify --key key.pub REG/app@{digest}")] {
        let error = place.refused(&words);
        assert!(error.contains("sha256:"), "{words}: {error}");
    }
}
