//! What is attached is found by the program that others look with: `docker buildx imagetools inspect`.
use serde_json::Value;
use testkit::BuildKit;

use super::Place;

#[test]
fn buildx_reads_provenance_and_sbom() {
    let test = "buildx_reads_provenance_and_sbom";
    if !testkit::available(test, testkit::REGISTRY_TOOLS) || !testkit::available(test, testkit::DEBIAN_TOOLS) {
        return;
    }
    let place = Place::new("FROM scratch\nARG GREETING\nCOPY requirements.txt /srv/\n");
    std::fs::write(place.path("context/requirements.txt"), "jinja2==2.10\n").unwrap();
    place.run("build -t REG/app:1 --push --provenance=max --sbom --build-arg GREETING=hello --platform linux/amd64,linux/arm64 context");
    let name = place.registry.reference("app:1");
    let inspect = |format: &str| {
        let mut command = BuildKit::buildx_of(&BuildKit::suite()).unwrap();
        command.env("DOCKER_CONFIG", place.path("docker")).args(["imagetools", "inspect", &name, "--format", format]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let (provenance, sbom) = (inspect("{{json .Provenance}}"), inspect("{{json .SBOM}}"));
    for platform in ["linux/amd64", "linux/arm64"] {
        let slsa = &provenance[platform]["SLSA"];
        let args = &slsa["buildDefinition"]["externalParameters"]["request"]["args"];
        assert_eq!(args["build-arg:GREETING"], "hello", "{provenance}");
        assert!(slsa["runDetails"]["metadata"]["buildkit_metadata"].is_object(), "{slsa}");
        let packages = sbom[platform]["SPDX"]["packages"].as_array().unwrap_or_else(|| panic!("{sbom}"));
        let jinja = packages.iter().find(|package| package["name"] == "jinja2").unwrap();
        assert_eq!(jinja["versionInfo"], "2.10");
    }
}
