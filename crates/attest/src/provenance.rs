//! SLSA provenance in the shape that BuildKit gives it, so that its readers find their way.
//!
//! The fields and their meaning are those of BuildKit's `slsa-definitions.md`; what BuildKit does not have stands
//! beside them under names of our own (`cooperage_steps`, the digest of a local context). No value of a secret has a
//! place in these types: secrets are ids.
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What BuildKit's provenance of version 1 says it is.
pub const BUILD_TYPE: &str = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";
/// The same of version 0.2.
pub const BUILD_TYPE_V02: &str = "https://mobyproject.org/buildkit@v1";

/// Which version of SLSA's predicate is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// `https://slsa.dev/provenance/v1`
    #[default]
    V1,
    /// `https://slsa.dev/provenance/v0.2`
    V02,
}

impl Version {
    /// The predicate type.
    #[must_use]
    pub fn predicate_type(self) -> &'static str {
        match self {
            Self::V1 => crate::statement::SLSA_V1,
            Self::V02 => crate::statement::SLSA_V02,
        }
    }
}

/// Something that the build drew in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Dependency {
    /// What it is called, where the URI does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A package URL of an image, or the URL of a repository or file, without credentials.
    pub uri: String,
    /// Algorithm to hex digits.
    pub digest: BTreeMap<String, String>,
}

/// A secret or SSH agent that a step asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Asked {
    /// Its id.
    pub id: String,
    /// Whether the step runs without it, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// A step of the build (`mode=max`).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// `step0`, `step1`, …
    pub id: String,
    /// The operation, as BuildKit's LLB writes it in JSON.
    pub op: Value,
    /// `step0:0`: the steps whose results it reads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
}

/// How long a step took (`mode=max`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timing {
    /// Its id.
    pub id: String,
    /// Its line of progress.
    pub name: String,
    /// Whether its result was in the cache.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cached: bool,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_on: Option<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_on: Option<String>,
}

/// What only `mode=max` tells.
#[derive(Debug, Clone, Default)]
pub struct Details {
    /// The steps.
    pub steps: Vec<Step>,
    /// Their times.
    pub timings: Vec<Timing>,
    /// Name and text of the Dockerfile.
    pub source: Option<(String, String)>,
    /// The lines (from 1, first and last) that each step comes from.
    pub locations: BTreeMap<String, (u32, u32)>,
    /// The layers of the image that each step ends on, as descriptors.
    pub layers: BTreeMap<String, Vec<oci::Descriptor>>,
}

/// What is known of a build.
#[derive(Debug, Clone, Default)]
pub struct Provenance {
    /// Who built: a URL, or nothing.
    pub builder_id: String,
    /// The URL of a remote context, and its digest.
    pub config_uri: Option<(String, BTreeMap<String, String>)>,
    /// The Dockerfile in the context.
    pub config_path: String,
    /// `build-arg:NAME`, `label:NAME`, `target`, …
    pub args: BTreeMap<String, String>,
    /// Secrets that steps asked for.
    pub secrets: Vec<Asked>,
    /// SSH agents that steps asked for.
    pub ssh: Vec<Asked>,
    /// Contexts on the builder's disk, by name.
    pub locals: Vec<String>,
    /// The platform of the machine that built.
    pub builder_platform: String,
    /// Images, repositories, files.
    pub dependencies: Vec<Dependency>,
    /// The same for all platforms of one build.
    pub invocation_id: String,
    /// RFC 3339.
    pub started_on: String,
    /// RFC 3339.
    pub finished_on: String,
    /// `source`, `revision`, … of a local context's repository, as the caller said.
    pub vcs: BTreeMap<String, String>,
    /// Whether no step could reach the network.
    pub hermetic: bool,
    /// Whether `dependencies` holds everything.
    pub complete_dependencies: bool,
    /// What the caller promises.
    pub reproducible: bool,
    /// Only in `mode=max`; without it build arguments, labels, secrets and agents are left out.
    pub details: Option<Details>,
}

impl Provenance {
    /// The predicate.
    #[must_use]
    pub fn predicate(&self, version: Version) -> Value {
        match version {
            Version::V1 => self.v1(),
            Version::V02 => self.v02(),
        }
    }

    fn request(&self) -> Value {
        let max = self.details.is_some();
        let private = |key: &str| key.starts_with("build-arg:") || key.starts_with("label:");
        let args: BTreeMap<_, _> = self.args.iter().filter(|(key, _)| max || !private(key)).collect();
        let mut request = json!({ "frontend": "dockerfile.v0", "args": args });
        if max {
            for (key, list) in [("secrets", &self.secrets), ("ssh", &self.ssh)] {
                if !list.is_empty() {
                    request[key] = json!(list);
                }
            }
        }
        if !self.locals.is_empty() {
            request["locals"] = self.locals.iter().map(|name| json!({ "name": name })).collect();
        }
        request
    }

    fn config_source(&self, path: &str) -> Value {
        let mut source = Map::new();
        if let Some((uri, digest)) = &self.config_uri {
            source.insert("uri".into(), uri.clone().into());
            if !digest.is_empty() {
                source.insert("digest".into(), json!(digest));
            }
        }
        source.insert(path.into(), self.config_path.clone().into());
        source.into()
    }

    fn build_config(&self) -> Option<Value> {
        let details = self.details.as_ref()?;
        Some(json!({ "llbDefinition": details.steps }))
    }

    fn buildkit_metadata(&self) -> Value {
        let mut out = Map::new();
        if !self.vcs.is_empty() {
            out.insert("vcs".into(), json!(self.vcs));
        }
        let Some(details) = &self.details else { return out.into() };
        if let Some((name, text)) = &details.source {
            let locations: Map<String, Value> = details
                .locations
                .iter()
                .map(|(step, (first, last))| {
                    let range = json!({ "start": { "line": first }, "end": { "line": last } });
                    (step.clone(), json!({ "locations": [{ "ranges": [range] }] }))
                })
                .collect();
            let info = json!({
                "filename": name,
                "language": "Dockerfile",
                "data": base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text),
            });
            out.insert("source".into(), json!({ "locations": locations, "infos": [info] }));
        }
        if !details.layers.is_empty() {
            let layers: Map<String, Value> =
                details.layers.iter().map(|(step, chain)| (format!("{step}:0"), json!([chain]))).collect();
            out.insert("layers".into(), layers.into());
        }
        out.into()
    }

    fn v1(&self) -> Value {
        let mut internal = Map::new();
        if let Some(config) = self.build_config() {
            internal.insert("buildConfig".into(), config);
        }
        internal.insert("builderPlatform".into(), self.builder_platform.clone().into());
        let mut metadata = json!({
            "invocationId": self.invocation_id,
            "startedOn": self.started_on,
            "finishedOn": self.finished_on,
            "buildkit_metadata": self.buildkit_metadata(),
        });
        if self.hermetic {
            metadata["buildkit_hermetic"] = true.into();
        }
        metadata["buildkit_completeness"] =
            json!({ "request": self.details.is_some(), "resolvedDependencies": self.complete_dependencies });
        if self.reproducible {
            metadata["buildkit_reproducible"] = true.into();
        }
        if let Some(details) = &self.details {
            metadata["cooperage_steps"] = json!(details.timings);
        }
        json!({
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": { "configSource": self.config_source("path"), "request": self.request() },
                "internalParameters": internal,
                "resolvedDependencies": self.dependencies,
            },
            "runDetails": { "builder": { "id": self.builder_id }, "metadata": metadata },
        })
    }

    fn v02(&self) -> Value {
        let materials: Vec<Value> =
            self.dependencies.iter().map(|d| json!({ "uri": d.uri, "digest": d.digest })).collect();
        let mut metadata = json!({
            "buildInvocationID": self.invocation_id,
            "buildStartedOn": self.started_on,
            "buildFinishedOn": self.finished_on,
            "completeness": {
                "parameters": self.details.is_some(),
                "environment": true,
                "materials": self.complete_dependencies,
            },
            "reproducible": self.reproducible,
            "https://mobyproject.org/buildkit@v1#metadata": self.buildkit_metadata(),
        });
        if self.hermetic {
            metadata["https://mobyproject.org/buildkit@v1#hermetic"] = true.into();
        }
        let mut out = json!({
            "builder": { "id": self.builder_id },
            "buildType": BUILD_TYPE_V02,
            "materials": materials,
            "invocation": {
                "configSource": self.config_source("entryPoint"),
                "parameters": self.request(),
                "environment": { "platform": self.builder_platform },
            },
        });
        if let Some(config) = self.build_config() {
            out["buildConfig"] = config;
        }
        out["metadata"] = metadata;
        out
    }
}

/// The package URL of an image as BuildKit writes it: `pkg:docker/golang@1.24?platform=linux%2Famd64`. The registry
/// stands in front of the name, Docker Hub is left out.
#[must_use]
pub fn image_purl(reference: &oci::Reference, platform: Option<&oci::Platform>) -> String {
    let bare = match reference.digest() {
        Some(_) => reference.with_tag("latest"),
        None => reference.clone(),
    };
    let familiar = bare.familiar();
    // The last colon belongs to a tag, unless it is the port of a registry.
    let name = match familiar.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => &familiar,
    };
    let mut purl = format!("pkg:docker/{name}");
    let mut qualifiers = Vec::new();
    match (reference.tag_or_latest(), reference.digest()) {
        (Some(tag), _) => purl.push_str(&format!("@{tag}")),
        (None, Some(digest)) => qualifiers.push(format!("digest={digest}")),
        (None, None) => {}
    }
    if let Some(platform) = platform {
        qualifiers.push(format!("platform={}", platform.to_string().replace('/', "%2F")));
    }
    if !qualifiers.is_empty() {
        purl.push_str(&format!("?{}", qualifiers.join("&")));
    }
    purl
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_urls() {
        let platform: oci::Platform = "linux/amd64".parse().unwrap();
        let digest = oci::Digest::sha256(b"");
        let purl = |name: &str| image_purl(&name.parse().unwrap(), Some(&platform));
        assert_eq!(purl("alpine:3.17"), "pkg:docker/alpine@3.17?platform=linux%2Famd64");
        assert_eq!(purl("me/app"), "pkg:docker/me/app@latest?platform=linux%2Famd64");
        assert_eq!(purl("127.0.0.1:5000/a/b:v1"), "pkg:docker/127.0.0.1:5000/a/b@v1?platform=linux%2Famd64");
        assert_eq!(purl(&format!("a:v1@{digest}")), "pkg:docker/a@v1?platform=linux%2Famd64");
        assert_eq!(
            purl(&format!("h:1/a@{digest}")),
            format!("pkg:docker/h:1/a?digest={digest}&platform=linux%2Famd64")
        );
    }

    #[test]
    fn min_leaves_out_what_may_be_private() {
        let mut provenance = Provenance {
            args: [("build-arg:TOKEN", "t0k3n"), ("label:a", "private"), ("target", "x")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            secrets: vec![Asked { id: "npm".into(), optional: true }],
            ..Provenance::default()
        };
        for version in [Version::V1, Version::V02] {
            provenance.details = None;
            let min = provenance.predicate(version).to_string();
            assert!(!min.contains("t0k3n") && !min.contains("private") && !min.contains("npm"), "{min}");
            assert!(min.contains(r#""target":"x""#));
            provenance.details = Some(Details::default());
            let max = provenance.predicate(version).to_string();
            assert!(max.contains("t0k3n") && max.contains(r#"{"id":"npm","optional":true}"#), "{max}");
        }
    }
}
