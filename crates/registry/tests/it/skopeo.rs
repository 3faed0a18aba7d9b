//! Skopeo, which is somebody else's client, against our server.
use crate::support::*;
use oci::media_type;
use registry::serve::ServeOptions;
use registry::{ClientOptions, Credential, CredentialSources, Credentials};
use std::process::Command;

fn skopeo(arguments: &[&str]) -> String {
    // Without a policy file and without the user's own credentials.
    let home = tempfile::tempdir().unwrap();
    run(Command::new("skopeo").arg("--insecure-policy").args(arguments).env("HOME", home.path()))
}

#[test]
fn copies_in_and_out() {
    if !have("skopeo") {
        return;
    }
    let registry = OwnRegistry::start(ServeOptions::default());
    let client = client();
    let name = name_of(&registry.host, "from/client:1");
    let layer = {
        // A tar archive of nothing: two blocks of zeros.
        vec![0_u8; 1024]
    };
    let config = br#"{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"]}}"#;
    let config = push(&client, &name, media_type::OCI_CONFIG, config);
    let layer = push(&client, &name, media_type::OCI_LAYER, &layer);
    let manifest = serde_json::to_vec(&oci::Manifest::new(config, vec![layer], true)).unwrap();
    let pushed = client.push_manifest(&name, media_type::OCI_MANIFEST, &manifest).unwrap();

    let directory = tempfile::tempdir().unwrap();
    let layout = format!("oci:{}:x", directory.path().join("layout").display());
    let source = format!("docker://{name}");
    skopeo(&["copy", "--src-tls-verify=false", &source, &layout]);
    let target = format!("docker://{}/from/skopeo:2", registry.host);
    skopeo(&["copy", "--dest-tls-verify=false", &layout, &target]);
    let pulled = client.manifest(&name_of(&registry.host, "from/skopeo:2")).unwrap();
    assert_eq!(pulled.descriptor.digest, pushed.digest);

    let inspected = skopeo(&["inspect", "--tls-verify=false", &target]);
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["Digest"], pushed.digest.as_str());
    assert_eq!(inspected["RepoTags"], serde_json::json!(["2"]));
    let tags = skopeo(&["list-tags", "--tls-verify=false", &format!("docker://{}/from/skopeo", registry.host)]);
    assert!(tags.contains("\"2\""), "{tags}");
    let docker = format!("docker://{}/from/docker:3", registry.host);
    skopeo(&["copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--format=v2s2", &source, &docker]);
    assert_eq!(
        client.manifest(&name_of(&registry.host, "from/docker:3")).unwrap().media_type,
        media_type::DOCKER_MANIFEST
    );
    skopeo(&["delete", "--tls-verify=false", &target]);
    assert!(client.manifest(&name_of(&registry.host, "from/skopeo:2")).is_err());
}

#[test]
fn a_password_is_asked_for() {
    if !have("skopeo") {
        return;
    }
    let options = ServeOptions { basic_auth: Some(("bob".into(), "pw".into())), ..ServeOptions::default() };
    let registry = OwnRegistry::start(options);
    let sources = CredentialSources {
        explicit: vec![(registry.host.clone(), Credential::basic("bob", "pw"))],
        ..CredentialSources::default()
    };
    let client =
        registry::Client::new(ClientOptions { credentials: Credentials::new(sources), ..crate::support::options() })
            .unwrap();
    let name = name_of(&registry.host, "a/b:1");
    let (pushed, _) = push_image(&client, &name, b"x");
    let raw = skopeo(&["inspect", "--raw", "--tls-verify=false", "--creds", "bob:pw", &format!("docker://{name}")]);
    assert_eq!(oci::Digest::sha256(raw.as_bytes()), pushed.digest);
}
