//! Signing with an identity. No identity provider is to be had in a test, so a program stands in for cosign: it takes
//! what cosign takes without a key, and lets the real cosign do it with a key that belongs to one identity.
use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{BASE, Outcome, Place, cosign, text};

const STAND_IN: &str = r#"#!/bin/sh
echo "$*" >> "$STAND_IN/log"
verb=$1
shift
case $verb in
sign | attest)
    [ "$1" = --yes ] || { echo 'Error: nobody is there to be asked' >&2; exit 1; }
    exec "$REAL" "$verb" --key "$STAND_IN/id.key" --tlog-upload=false "$@" 2> "$STAND_IN/err"
    ;;
esac
keep=
while [ $# -gt 0 ]; do
    case $1 in
    --certificate-identity | --certificate-identity-regexp)
        echo me@example.com | grep -qx -e "$2" ||
            { echo 'Error: no matching signatures: none of the expected identities matched'; exit 1; } >&2
        shift
        ;;
    --certificate-oidc-issuer) shift ;;
    *) keep="$keep $1" ;;
    esac
    shift
done
exec "$REAL" "$verb" --key "$STAND_IN/id.pub" --insecure-ignore-tlog $keep
"#;

#[test]
fn an_identity_signs_and_is_verified_through_cosign() {
    let test = "an_identity_signs_and_is_verified_through_cosign";
    if !testkit::available(test, testkit::REGISTRY_TOOLS) {
        return;
    }
    let Some(real) = testkit::cosign_for(test) else { return };
    let place = Place::new(BASE);
    fs::create_dir(place.path("bin")).unwrap();
    fs::write(place.path("bin/cosign"), STAND_IN).unwrap();
    fs::set_permissions(place.path("bin/cosign"), fs::Permissions::from_mode(0o755)).unwrap();
    let pair = cosign(&place, &real, "generate-key-pair --output-key-prefix bin/id");
    assert!(pair.ok, "{}", pair.err);
    let (bin, path) = (place.path("bin"), std::env::var("PATH").unwrap());
    let path = format!("{}:{path}", text(&bin));
    let run = |words: &str| -> Outcome {
        place.try_with(&[("PATH", &path), ("STAND_IN", text(&bin)), ("REAL", text(&real))], words)
    };
    let done = |words: &str| {
        let outcome = run(words);
        assert!(outcome.ok, "{words}: {}", outcome.err);
        outcome.out
    };
    let refused = |words: &str| {
        let outcome = run(words);
        assert!(!outcome.ok, "{words} was accepted: {}", outcome.out);
        outcome.err
    };

    done("build -t REG/app:1 --push --provenance=max --sbom --sign=keyless context");
    let who = "--certificate-identity me@example.com --certificate-oidc-issuer https://issuer.example.com";
    let told = done(&format!("verify {who} --attestation slsaprovenance1 --attestation spdxjson REG/app:1"));
    assert!(told.contains("docker-manifest-digest"), "{told}");
    // What was attested is what the build said, to the last field: nothing fell out on the way through cosign.
    fs::copy(place.path("bin/id.pub"), place.path("id.pub")).unwrap();
    let told = done("verify --key id.pub --attestation-only --attestation slsaprovenance1 --format json REG/app:1");
    assert!(told.contains("cooperage_steps") && told.contains("buildkit_metadata"), "{told}");
    let log = fs::read_to_string(place.path("bin/log")).unwrap();
    // The index and its image, and for each the two statements.
    assert_eq!((log.matches("sign --yes").count(), log.matches("attest --yes").count()), (2, 4), "{log}");

    // One command for each.
    fs::write(place.path("context/Dockerfile"), format!("{BASE}LABEL a=b\n")).unwrap();
    done("build -t REG/other:1 --push context");
    assert!(refused(&format!("verify {who} REG/other:1")).contains("is not accepted by cosign"));
    done("sign --keyless -a env=production REG/other:1");
    fs::write(place.path("note.json"), "{\"a\":1}").unwrap();
    done("attest --keyless --type https://example.com/note --predicate note.json REG/other:1");
    done(&format!("verify {who} --attestation https://example.com/note REG/other:1"));
    done("verify --certificate-identity *@example.com --certificate-oidc-issuer https://i REG/other:1");
    // The settings say it once for all.
    fs::write(place.path("cooperage.toml"), "[signing]\nkey = \"keyless\"\n").unwrap();
    done("build -t REG/settled:1 --push --sign context");
    done("sign REG/settled:1");
    done(&format!("verify {who} REG/settled:1"));
    fs::remove_file(place.path("cooperage.toml")).unwrap();
    let error =
        refused("verify --certificate-identity you@example.com --certificate-oidc-issuer https://i REG/other:1");
    assert!(error.contains("none of the expected identities matched"), "{error}");
    let error = refused(&format!("verify {who} --attestation cyclonedx REG/other:1"));
    assert!(error.contains("(attestation https://cyclonedx.org/bom)"), "{error}");

    // The pipeline signs with it as well.
    place.git(&["init", "--quiet", "--initial-branch=main"]);
    place.git(&["add", "."]);
    place.git(&["commit", "--quiet", "--message=first"]);
    let enrolment = format!(
        "- name: app\n  registry: {}\n  repository: piped\n  source: {{url: \"file://{}\", branch: main}}\n  sbom: {{format: spdx}}\n  signing: {{key: keyless, required: true}}\n",
        place.registry.host(),
        text(&place.path("context"))
    );
    fs::write(place.path("images.yaml"), enrolment).unwrap();
    done("factory build app --tag 1.0.0");
    done(&format!("verify {who} --attestation slsaprovenance1 --attestation spdxjson REG/piped:1.0.0"));

    // Base images of an identity.
    fs::write(place.path("context/Dockerfile"), format!("FROM {}/app:1\n", place.registry.host())).unwrap();
    let policy = |subject: &str, kind: &str| {
        let rule = format!(
            "[[image]]\nmatch = \"*/app\"\nattestations = [\"{kind}\"]\nidentity = {{ subject = \"{subject}\", issuer = \"https://i\" }}\n"
        );
        fs::write(place.path("policy.toml"), rule).unwrap();
    };
    let build = "build --verify-bases --signature-policy policy.toml context";
    policy("me@example.com", "spdxjson");
    done(build);
    policy("me@example.com", "cyclonedx");
    assert!(refused(build).contains("(attestation https://cyclonedx.org/bom)"));
    policy("*@example.org", "spdxjson");
    let error = refused(build);
    assert!(error.contains("none of the expected identities matched") && error.contains("rule \"*/app\""), "{error}");

    // Without the program.
    let outcome = place.try_with(&[("PATH", "/nowhere")], "sign --keyless REG/other:1");
    insta::assert_snapshot!(outcome.err, @r"
    error: signing and verifying without a key needs the program cosign, and it is not installed
      hint: install it (https://docs.sigstore.dev), or use a key: cooperage key generate
    ");
    let outcome = place.try_with(&[("PATH", "/nowhere")], build);
    assert!(outcome.err.contains("an identity is verified by the program cosign, and it is not installed"));
}
