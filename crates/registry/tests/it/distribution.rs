//! One suite over Debian's `docker-registry` and over our own server: push, pull, mount, chunks, lists,
//! referrers, deletion. For the former, TLS and htpasswd as well.
use crate::support::*;
use oci::{Descriptor, Digest, Manifest, media_type};
use registry::{
    Client, ClientCertificate, ClientOptions, Credential, CredentialSources, Credentials, ErrorKind, Progress, Pushed,
    TrustStore, serve::ServeOptions,
};
use std::io::Read;
use std::process::Command;

/// Runs a test against both.
fn with_each(test: fn(&str)) {
    if let Some(registry) = DockerRegistry::start("", "") {
        test(&registry.host);
    }
    test(&OwnRegistry::start(ServeOptions::default()).host);
}

#[test]
fn push_and_pull() {
    with_each(pushes_and_pulls);
}

fn pushes_and_pulls(host: &str) {
    let client = client();
    client.ping(host).unwrap();
    let name = name_of(host, "team/app:1.0");
    let layer = noise(3 << 20, 1);
    let (manifest, layer_descriptor) = push_image(&client, &name, &layer);

    assert_eq!(client.resolve(&name).unwrap(), manifest);
    let fetched = client.manifest(&name).unwrap();
    assert_eq!((fetched.descriptor.clone(), fetched.media_type.as_str()), (manifest.clone(), media_type::OCI_MANIFEST));
    assert_eq!(Digest::sha256(&fetched.bytes), manifest.digest);
    assert_eq!(client.manifest(&name.with_digest(manifest.digest.clone())).unwrap().bytes, fetched.bytes);

    let mut pulled = Vec::new();
    client.blob(&name, &layer_descriptor, Progress::none()).unwrap().read_to_end(&mut pulled).unwrap();
    assert!(pulled == layer);
    assert!(client.has_blob(&name, &layer_descriptor.digest).unwrap());
    assert!(!client.has_blob(&name, &Digest::sha256(b"no such blob")).unwrap());

    let again = client.push_blob(&name, &layer_descriptor, &source(&layer), &[], Progress::none()).unwrap();
    assert_eq!(again, Pushed::Existed);
    let other = name_of(host, "team/other:1");
    let mounted =
        client.push_blob(&other, &layer_descriptor, &source(&layer), std::slice::from_ref(&name), Progress::none());
    assert_eq!(mounted.unwrap(), Pushed::Mounted);
    // A source that has not got the blob: the registry answers 202, and the upload goes on with that session.
    let small = Descriptor::of(media_type::OCI_LAYER, b"small");
    let pushed = client.push_blob(&other, &small, &source(b"small"), &[name_of(host, "team/none")], Progress::none());
    assert_eq!(pushed.unwrap(), Pushed::Uploaded);
    let empty = Descriptor::of(media_type::OCI_LAYER, b"");
    assert_eq!(client.push_blob(&other, &empty, &source(b""), &[], Progress::none()).unwrap(), Pushed::Uploaded);
    assert_eq!(client.blob_bytes(&other, &empty, 10).unwrap(), b"");
    client.check_push_access(&other).unwrap();
}

#[test]
fn chunks_and_streams() {
    with_each(uploads_in_chunks);
}

fn uploads_in_chunks(host: &str) {
    let client = Client::new(ClientOptions { upload_chunk: Some(1 << 20), ..options() }).unwrap();
    let name = name_of(host, "chunked");
    let content = noise((3 << 20) + 17, 2);
    let descriptor = push(&client, &name, media_type::OCI_LAYER, &content);
    assert!(client.blob_bytes(&name, &descriptor, 8 << 20).unwrap() == content);

    for length in [0, 1, 5 << 20, 8 << 20, (17 << 20) + 3] {
        let content = noise(length, length as u64);
        let seen = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let told = seen.clone();
        let progress = Progress::new(move |n| told.store(n, std::sync::atomic::Ordering::SeqCst));
        let stored = client.push_blob_stream(&name, media_type::OCI_LAYER, &mut &content[..], progress).unwrap();
        assert_eq!(stored, Descriptor::of(media_type::OCI_LAYER, &content));
        assert_eq!(seen.load(std::sync::atomic::Ordering::SeqCst), length as u64);
        assert!(client.blob_bytes(&name, &stored, 32 << 20).unwrap() == content);
    }
}

#[test]
fn lists_referrers_and_deletion() {
    with_each(lists_and_deletes);
}

fn lists_and_deletes(host: &str) {
    let client = client();
    let name = name_of(host, "lists/app:v1");
    let (subject, layer) = push_image(&client, &name, b"layer");
    let image = client.manifest(&name).unwrap();
    for tag in ["v2", "v3", "latest"] {
        client.push_manifest(&name.with_tag(tag), &image.media_type, &image.bytes).unwrap();
    }
    let mut tags = client.tags(&name).unwrap();
    tags.sort();
    assert_eq!(tags, ["latest", "v1", "v2", "v3"]);
    assert_eq!(client.catalog(host).unwrap(), ["lists/app"]);

    // Debian's registry knows no referrers API: there the fallback tag has them.
    let empty = push(&client, &name, media_type::OCI_EMPTY, b"{}");
    let mut expected = Vec::new();
    for kind in ["application/vnd.example.sbom", "application/vnd.example.signature"] {
        let mut artifact = Manifest::new(empty.clone(), vec![empty.clone()], true);
        artifact.artifact_type = Some(kind.to_owned());
        artifact.subject = Some(subject.clone());
        artifact.annotations.insert("kind".into(), kind.into());
        let bytes = serde_json::to_vec(&artifact).unwrap();
        let at = name.with_digest(Digest::sha256(&bytes));
        let at: oci::Reference = format!("{}@{}", at.name(), at.digest().unwrap()).parse().unwrap();
        expected.push(client.push_manifest(&at, media_type::OCI_MANIFEST, &bytes).unwrap().digest);
    }
    let all = client.referrers(&name, &subject.digest, None).unwrap();
    let mut digests: Vec<Digest> = all.iter().map(|d| d.digest.clone()).collect();
    digests.sort();
    expected.sort();
    assert_eq!(digests, expected);
    let one = client.referrers(&name, &subject.digest, Some("application/vnd.example.sbom")).unwrap();
    assert_eq!(one.len(), 1);
    assert_eq!(one[0].annotations["kind"], "application/vnd.example.sbom");
    assert!(client.referrers(&name, &Digest::sha256(b"other"), None).unwrap().is_empty());

    client.delete_manifest(&format!("{}@{}", name.name(), subject.digest).parse().unwrap()).unwrap();
    assert_eq!(client.manifest(&name).unwrap_err().kind(), ErrorKind::NotFound);
    client.delete_blob(&name, &layer.digest).unwrap();
    assert!(!client.has_blob(&name, &layer.digest).unwrap());
}

fn with_login(host: &str, user: &str, password: &str, base: ClientOptions) -> Client {
    let sources = CredentialSources {
        explicit: vec![(host.to_owned(), Credential::basic(user, password))],
        ..CredentialSources::default()
    };
    Client::new(ClientOptions { credentials: Credentials::new(sources), ..base }).unwrap()
}

#[test]
fn passwords() {
    if !have("htpasswd") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("htpasswd");
    let line = run(Command::new("htpasswd").args(["-nbB", "alice", "s3cret!"]));
    std::fs::write(&file, line).unwrap();
    let auth = format!("auth:\n  htpasswd:\n    realm: test\n    path: {}", file.display());
    let Some(registry) = DockerRegistry::start(&auth, "") else { return };
    let name = name_of(&registry.host, "private/app:1");

    let anonymous = client();
    assert_eq!(anonymous.ping(&registry.host).unwrap_err().kind(), ErrorKind::Unauthorized);
    let error = anonymous.check_push_access(&name).unwrap_err();
    assert_eq!(error.hint().unwrap(), format!("log in with `cooperage login {}`", registry.host));
    anonymous.check_login(&registry.host, &Credential::basic("alice", "s3cret!")).unwrap();
    let error = anonymous.check_login(&registry.host, &Credential::basic("alice", "wrong")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);

    let alice = with_login(&registry.host, "alice", "s3cret!", options());
    push_image(&alice, &name, &noise(1 << 20, 3));
    assert_eq!(alice.tags(&name).unwrap(), ["1"]);
    let wrong = with_login(&registry.host, "alice", "wr0ng-secret", options());
    let error = wrong.manifest(&name).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    let everything = format!("{error} {error:?} {:?} {wrong:?}", error.notes());
    assert!(everything.contains("alice") && !everything.contains("wr0ng"), "{everything}");
}

#[test]
fn certificates() {
    if !have("openssl") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    make_certificates(directory.path());
    let path = |name: &str| directory.path().join(name);
    let tls =
        format!("  tls:\n    certificate: {}\n    key: {}", path("cert.pem").display(), path("key.pem").display());
    let Some(registry) = DockerRegistry::start("", &tls) else { return };
    let name = name_of(&registry.host, "tls/app:1");

    let error = client().ping(&registry.host).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Certificate, "{error}");
    assert!(error.hint().unwrap().contains("--registry-ca"), "{error:?}");

    let trusting =
        ClientOptions { trust: TrustStore { extra: vec![path("ca.pem")], ..TrustStore::default() }, ..options() };
    push_image(&Client::new(trusting).unwrap(), &name, &noise(1 << 20, 4));
    let careless = ClientOptions { insecure: vec![registry.host.clone()], ..options() };
    assert_eq!(Client::new(careless).unwrap().tags(&name).unwrap(), ["1"]);
    // The registry asks for a certificate of the client.
    let asking = format!("{tls}\n    clientcas:\n      - {}", path("ca.pem").display());
    if let Some(strict) = DockerRegistry::start("", &asking) {
        let trust = TrustStore { extra: vec![path("ca.pem")], ..TrustStore::default() };
        let without = ClientOptions { trust: trust.clone(), ..options() };
        assert!(Client::new(without).unwrap().ping(&strict.host).is_err());
        let own =
            ClientCertificate { registry: strict.host.clone(), certificate: path("cert.pem"), key: path("key.pem") };
        let with = ClientOptions { trust, client_certificates: vec![own], ..options() };
        Client::new(with).unwrap().ping(&strict.host).unwrap();
    }
    let by_variable =
        ClientOptions { trust: TrustStore { system_file: Some(path("ca.pem")), ..TrustStore::default() }, ..options() };
    assert_eq!(Client::new(by_variable).unwrap().tags(&name).unwrap(), ["1"]);
    let no_certificate = TrustStore { extra: vec![path("key.pem")], ..TrustStore::default() };
    let error = Client::new(ClientOptions { trust: no_certificate, ..options() }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Options);
}
