//! The harness itself: registries take and give images, and the oracle reads them.
use testkit::{Image, Registry, RegistryOptions, bases, compare, run};

const TOOLS: &[(&str, &str)] = &[
    ("docker-registry", "docker-registry"),
    ("skopeo", "skopeo"),
    ("busybox", "busybox-static"),
    ("htpasswd", "apache2-utils"),
    ("openssl", "openssl"),
];

#[test]
fn an_image_comes_back_as_it_went() {
    if !testkit::available("an_image_comes_back_as_it_went", TOOLS) {
        return;
    }
    let registry = Registry::start().expect("docker-registry is installed");
    let reference = bases::BUSYBOX.push(&registry).expect("skopeo is installed");
    assert!(reference.starts_with("127.0.0.1:") && reference.ends_with("/library/busybox:latest"), "{reference}");
    let before = Image::from_layout(&bases::BUSYBOX.layout().expect("made"), None).expect("a layout");
    let after = Image::from_registry(&registry, "library/busybox").expect("an image");
    assert_eq!(before.config, after.config);
    assert_eq!(compare(&before, &after).expect("two images"), []);
    let files = after.files().expect("layers apply");
    assert_eq!((files["bin/sh"].link.as_deref(), files["etc/shadow"].mode.as_str()), (Some("busybox"), "0640"));
    assert_eq!((files["tmp"].mode.as_str(), files["home/app"].uid), ("1777", 1000));
    assert!(registry.log().contains("/v2/library/busybox/manifests/latest"));
}

#[test]
fn a_registry_with_a_password_asks_for_it() {
    if !testkit::available("a_registry_with_a_password_asks_for_it", TOOLS) {
        return;
    }
    let registry = Registry::start_with_password("somebody", "secret").expect("docker-registry and htpasswd");
    bases::BUSYBOX.push(&registry).expect("our own push has the password");
    let reference = format!("docker://{}", registry.reference("library/busybox"));
    let skopeo = |creds: &str| {
        let mut command = std::process::Command::new("skopeo");
        run(command.args(["inspect", "--raw", "--tls-verify=false", creds, &reference]))
    };
    assert!(skopeo("--creds=somebody:secret").is_ok());
    let refused = skopeo("--creds=somebody:wrong").expect_err("a wrong password").to_string();
    assert!(refused.contains("authentication required") || refused.contains("unauthorized"), "{refused}");
}

#[test]
fn a_registry_with_tls_is_trusted_by_its_authority() {
    if !testkit::available("a_registry_with_tls_is_trusted_by_its_authority", TOOLS) {
        return;
    }
    let options =
        RegistryOptions { tls: true, auth: Some(("a".to_owned(), "b".to_owned())), ..RegistryOptions::default() };
    let registry = Registry::start_with(options).expect("docker-registry, openssl and htpasswd");
    assert!(registry.url().starts_with("https://127.0.0.1:"));
    let ca = std::fs::read_to_string(registry.ca()).expect("a certificate");
    assert!(ca.contains("BEGIN CERTIFICATE"));
    bases::BUSYBOX.push(&registry).expect("a push over TLS");
    let verify = ["verify", "-CAfile", "ca.pem", "-verify_ip", "127.0.0.1", "server.pem"];
    let directory = registry.ca().parent().expect("a directory").to_owned();
    run(std::process::Command::new("openssl").args(verify).current_dir(directory)).expect("the authority signs it");
}
