//! `--cache-from` and `--cache-to` in buildx's notation.
//!
//! What buildx takes from the environment is taken here, too: the token and address of the GitHub Actions cache, the
//! credentials and region of S3.
use std::time::Duration;

use build::request::{CacheBackend, CacheMode, CacheTarget, GhaCache, S3Cache};
use oci::Reference;
use oci::media_type::Compression;

use super::values::boolean;
use crate::csv;
use crate::env::Env;
use crate::suggest::closest;

const TYPES: &[&str] = &["registry", "inline", "local", "gha", "s3"];

/// What every export takes.
const TO: &[&str] =
    &["compression", "compression-level", "force-compression", "ignore-error", "mode", "mounts", "oci-mediatypes"];
const REGISTRY: &[&str] = &["ref", "registry.insecure"];
const GHA: &[&str] = &["scope", "timeout", "token", "url", "url_v2", "version"];
const S3: &[&str] = &[
    "access_key_id",
    "blobs_prefix",
    "bucket",
    "endpoint_url",
    "manifests_prefix",
    "name",
    "prefix",
    "region",
    "secret_access_key",
    "session_token",
    "use_path_style",
];

/// A value, or why it is not used: a cache that only exists elsewhere (GitHub Actions) is no mistake here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed<T> {
    Use(T),
    Skip(String),
}

/// Parses one `--cache-from`.
pub(crate) fn from(text: &str, env: &Env) -> Result<Parsed<CacheBackend>, String> {
    let fields = Fields::read(text)?;
    let mut known: Vec<&str> = match fields.kind.as_str() {
        "registry" => REGISTRY.to_vec(),
        "local" => vec!["digest", "src", "tag"],
        "gha" => GHA.to_vec(),
        "s3" => S3.to_vec(),
        _ => {
            return Err(
                "type=inline is no place of its own: name the image that has the cache, with type=registry,ref=IMAGE"
                    .into(),
            );
        }
    };
    known.push("type");
    fields.check(&known)?;
    fields.backend(env, "src")
}

/// Parses one `--cache-to`.
pub(crate) fn to(text: &str, env: &Env) -> Result<Parsed<CacheTarget>, String> {
    let fields = Fields::read(text)?;
    let mut known: Vec<&str> = match fields.kind.as_str() {
        "registry" => [REGISTRY, &["image-manifest"]].concat(),
        "inline" => vec!["ignore-error", "mode"],
        "local" => vec!["dest", "image-manifest", "tag"],
        "gha" => [GHA, &["ghtoken", "repository"]].concat(),
        _ => [S3, &["touch_refresh", "upload_parallelism"]].concat(),
    };
    if fields.kind != "inline" {
        known.extend(TO);
    }
    known.push("type");
    fields.check(&known)?;
    let backend = match fields.backend(env, "dest")? {
        Parsed::Use(backend) => backend,
        Parsed::Skip(why) => return Ok(Parsed::Skip(why)),
    };
    let mode = match fields.get("mode") {
        None | Some("min") => CacheMode::Min,
        Some("max") if fields.kind == "inline" => {
            return Err("mode=max needs a cache of its own: an image holds the layers of its last stage only; use \
                        type=registry,ref=NAME,mode=max"
                .into());
        }
        Some("max") => CacheMode::Max,
        Some(other) => return Err(format!("there is no mode {other:?}; known are min, max")),
    };
    if fields.flag("image-manifest")? == Some(false) {
        return Err(
            "image-manifest=false is not supported: the cache is an image manifest, which every registry takes".into(),
        );
    }
    let compression = match fields.get("compression") {
        None => None,
        Some("gzip") => Some(Compression::Gzip),
        Some("zstd") => Some(Compression::Zstd),
        Some("uncompressed") => Some(Compression::Uncompressed),
        Some("estargz") => return Err("compression=estargz is not supported; use zstd or gzip".into()),
        Some(other) => {
            return Err(format!("there is no compression {other:?}; known are gzip, zstd, uncompressed"));
        }
    };
    let level = match fields.get("compression-level") {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| format!("compression-level is {text:?}, expected a number"))?),
    };
    Ok(Parsed::Use(CacheTarget {
        backend,
        mode,
        ignore_error: fields.flag("ignore-error")?.unwrap_or(false),
        compression,
        level: super::output::checked_level(compression, level)?,
        force_compression: fields.flag("force-compression")?.unwrap_or(false),
        oci: fields.flag("oci-mediatypes")?.unwrap_or(true),
        mounts: fields.flag("mounts")?.unwrap_or(false),
    }))
}

/// `KEY=VALUE,…`
struct Fields {
    kind: String,
    pairs: Vec<(String, String)>,
}

impl Fields {
    fn read(text: &str) -> Result<Self, String> {
        let fields = csv::fields(text)?;
        // The short form names references.
        if fields.iter().all(|field| !field.contains('=')) {
            return match fields.as_slice() {
                [only] => Ok(Self { kind: "registry".into(), pairs: vec![("ref".into(), only.clone())] }),
                _ => Err("one reference is expected; give several with several flags".into()),
            };
        }
        let pairs = csv::pairs(text)?;
        let kind = pairs.iter().find(|(key, _)| key == "type").map(|(_, value)| value.clone());
        let kind = kind.ok_or("type= is missing; write type=registry,ref=NAME, or the name alone")?;
        if kind == "azblob" {
            return Err("type=azblob is not supported; use type=registry with Azure's container registry".into());
        }
        if !TYPES.contains(&kind.as_str()) {
            let known = TYPES.join(", ");
            return Err(match closest(&kind, TYPES.iter().copied()) {
                Some(close) => format!("there is no cache type {kind:?}; did you mean {close}? Known are {known}"),
                None => format!("there is no cache type {kind:?}; known are {known}"),
            });
        }
        Ok(Self { kind, pairs })
    }

    fn check(&self, known: &[&str]) -> Result<(), String> {
        for (key, _) in &self.pairs {
            if !known.contains(&key.as_str()) {
                let mut list: Vec<&str> = known.iter().copied().filter(|k| *k != "type").collect();
                list.sort_unstable();
                let near = match closest(key, list.iter().copied()) {
                    Some(close) => format!("did you mean {close}? Known"),
                    None => "known".to_owned(),
                };
                return Err(format!("type={} has no key {key:?}; {near} are {}", self.kind, list.join(", ")));
            }
        }
        Ok(())
    }

    fn get(&self, key: &str) -> Option<&str> {
        // The last one counts, as in buildx.
        self.pairs.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, String> {
        self.get(key).map(|value| boolean(value).map_err(|why| format!("{key}: {why}"))).transpose()
    }

    fn duration(&self, key: &str) -> Result<Option<Duration>, String> {
        let seconds = self.get(key).map(super::values::duration).transpose().map_err(|why| format!("{key}: {why}"))?;
        Ok(seconds.map(|s| Duration::from_secs(s.unsigned_abs())))
    }

    fn backend(&self, env: &Env, path: &str) -> Result<Parsed<CacheBackend>, String> {
        Ok(Parsed::Use(match self.kind.as_str() {
            "registry" => {
                let text = self.get("ref").ok_or("type=registry needs ref=NAME")?;
                let reference: Reference = text.parse().map_err(|e: oci::ReferenceError| e.to_string())?;
                if path == "dest" && reference.digest().is_some() {
                    return Err("a digest cannot be chosen, it follows from the content; name a tag".into());
                }
                CacheBackend::Registry { reference, insecure: self.flag("registry.insecure")?.unwrap_or(false) }
            }
            "inline" => CacheBackend::Inline,
            "local" => {
                let dir = self.get(path).ok_or_else(|| format!("type=local needs {path}=DIRECTORY"))?;
                let digest = self.get("digest").map(str::parse).transpose();
                CacheBackend::Local {
                    path: env.path(dir),
                    tag: self.get("tag").unwrap_or("latest").to_owned(),
                    digest: digest.map_err(|e: oci::DigestError| format!("digest: {e}"))?,
                }
            }
            "gha" => return self.gha(env),
            _ => CacheBackend::S3(self.s3(env)?),
        }))
    }

    fn gha(&self, env: &Env) -> Result<Parsed<CacheBackend>, String> {
        if let Some(version) = self.get("version").filter(|version| *version != "2") {
            return Err(format!("version={version}: only version 2 of the service exists any more"));
        }
        for key in ["ghtoken", "repository"] {
            if self.get(key).is_some() {
                return Err(format!(
                    "{key}= asks GitHub's API what the cache has; leave it out, the service is asked itself"
                ));
            }
        }
        let token = self.get("token").or_else(|| env.get("ACTIONS_RUNTIME_TOKEN"));
        let url = self.get("url_v2").or_else(|| env.get("ACTIONS_RESULTS_URL")).or_else(|| self.get("url"));
        let (Some(token), Some(url)) = (token, url) else {
            let missing = if token.is_none() { "ACTIONS_RUNTIME_TOKEN" } else { "ACTIONS_RESULTS_URL" };
            return Ok(Parsed::Skip(format!(
                "type=gha is not used: {missing} is not set (a workflow's step gets it from crazy-max/ghaction-github-runtime)"
            )));
        };
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return Err(format!("the cache service's address is {url:?}, expected https://…"));
        }
        Ok(Parsed::Use(CacheBackend::Gha(GhaCache {
            url: url.to_owned(),
            token: token.to_owned(),
            scope: self.get("scope").unwrap_or("buildkit").to_owned(),
            timeout: self.duration("timeout")?.unwrap_or(Duration::from_secs(600)),
        })))
    }

    fn s3(&self, env: &Env) -> Result<S3Cache, String> {
        let value = |key: &str, names: &[&str]| {
            self.get(key).or_else(|| names.iter().find_map(|name| env.get(name))).map(str::to_owned)
        };
        let need = |key: &str, names: &[&str]| {
            value(key, names).ok_or_else(|| format!("type=s3 needs {key}= (or {} in the environment)", names[0]))
        };
        let endpoint = value("endpoint_url", &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]);
        if let Some(url) = &endpoint
            && !url.starts_with("https://")
            && !url.starts_with("http://")
        {
            return Err(format!("endpoint_url is {url:?}, expected http(s)://HOST[:PORT]"));
        }
        let bucket = need("bucket", &["AWS_BUCKET"])?;
        // A host name that begins with the bucket's needs a domain that knows it.
        let by_path = bucket.contains('.') || endpoint.as_deref().is_some_and(is_address);
        Ok(S3Cache {
            region: need("region", &["AWS_REGION", "AWS_DEFAULT_REGION"])?,
            path_style: self.flag("use_path_style")?.unwrap_or(by_path),
            bucket,
            endpoint,
            prefix: self.get("prefix").unwrap_or_default().to_owned(),
            blobs_prefix: self.get("blobs_prefix").unwrap_or("blobs/").to_owned(),
            manifests_prefix: self.get("manifests_prefix").unwrap_or("manifests/").to_owned(),
            names: self.get("name").unwrap_or("buildkit").split(';').map(str::to_owned).collect(),
            access_key: need("access_key_id", &["AWS_ACCESS_KEY_ID"])?,
            secret_key: need("secret_access_key", &["AWS_SECRET_ACCESS_KEY"])?,
            session_token: value("session_token", &["AWS_SESSION_TOKEN"]),
            parallelism: match self.get("upload_parallelism") {
                None => 4,
                Some(text) => match text.parse() {
                    Ok(count @ 1..=64) => count,
                    _ => return Err(format!("upload_parallelism is {text:?}, expected a number from 1 to 64")),
                },
            },
            touch_refresh: self.duration("touch_refresh")?.unwrap_or(Duration::from_secs(24 * 3600)),
        })
    }
}

/// Whether a URL's host is an IP address.
fn is_address(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', ':']).next().unwrap_or_default();
    rest.starts_with('[') || host == "localhost" || host.parse::<std::net::Ipv4Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::testing::env;

    fn plain() -> Env {
        env(std::path::Path::new("/w"), &[("HOME", "/h")])
    }

    #[test]
    fn the_short_form_is_a_reference() {
        let Ok(Parsed::Use(CacheBackend::Registry { reference, .. })) = from("user/app:cache", &plain()) else {
            panic!("a registry")
        };
        assert_eq!(reference.familiar(), "user/app:cache");
        let Ok(Parsed::Use(target)) = to("ghcr.io/me/app:cache", &plain()) else { panic!("a registry") };
        assert_eq!((target.mode, target.oci, target.ignore_error), (CacheMode::Min, true, false));
    }

    #[test]
    fn every_key_arrives() {
        let text = "type=registry,ref=r.io/a:c,mode=max,compression=zstd,compression-level=3,force-compression=true,\
                    ignore-error=true,image-manifest=true,oci-mediatypes=false,mounts=true,registry.insecure=true";
        let Ok(Parsed::Use(target)) = to(text, &plain()) else { panic!("{:?}", to(text, &plain())) };
        assert_eq!((target.mode, target.compression, target.level), (CacheMode::Max, Some(Compression::Zstd), Some(3)));
        assert!(target.force_compression && target.ignore_error && target.mounts && !target.oci);
        assert!(matches!(target.backend, CacheBackend::Registry { insecure: true, .. }));
        let Ok(Parsed::Use(CacheBackend::Local { path, tag, .. })) = from("type=local,src=c,tag=x", &plain()) else {
            panic!("a directory")
        };
        assert_eq!((path.to_str(), tag.as_str()), (Some("/w/c"), "x"));
    }

    #[test]
    fn the_environment_speaks_where_the_flag_does_not() {
        let vars = [
            ("ACTIONS_RESULTS_URL", "https://results.example/"),
            ("ACTIONS_RUNTIME_TOKEN", "t"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "eu-1"),
        ];
        let env = env(std::path::Path::new("/w"), &vars);
        let Ok(Parsed::Use(CacheBackend::Gha(gha))) = from("type=gha,timeout=90s", &env) else { panic!("gha") };
        assert_eq!((gha.scope.as_str(), gha.timeout.as_secs()), ("buildkit", 90));
        let text = "type=s3,bucket=b,\"name=a;b\",prefix=p/,endpoint_url=http://127.0.0.1:1,upload_parallelism=8,touch_refresh=1h";
        let Ok(Parsed::Use(target)) = to(text, &env) else { panic!("{:?}", to(text, &env)) };
        let CacheBackend::S3(s3) = target.backend else { panic!("s3") };
        assert_eq!((s3.region.as_str(), s3.names.len(), s3.parallelism, s3.path_style), ("eu-1", 2, 8, true));
        assert!(!format!("{s3:?} {gha:?}").contains("secret"), "credentials are not shown");
    }

    #[test]
    fn wrong_caches_say_why() {
        let env = plain();
        let from = |text: &str| format!("from {text}: {}", show(from(text, &env)));
        let to = |text: &str| format!("to {text}: {}", show(to(text, &env)));
        fn show<T: std::fmt::Debug>(result: Result<Parsed<T>, String>) -> String {
            match result {
                Ok(Parsed::Skip(why)) => format!("skipped: {why}"),
                other => other.unwrap_err(),
            }
        }
        let lines = [
            from("type=inline"),
            from("type=registy,ref=a"),
            from("type=azblob"),
            from("ref=a"),
            from("a,b"),
            from("type=registry"),
            from("type=registry,ref=A"),
            from("type=registry,ref=a,mode=max"),
            from("type=local,dest=x"),
            from("type=local"),
            from("type=gha"),
            from("type=s3"),
            from("type=s3,bucket=b,region=r,endpoint_url=host"),
            to("type=inline,mode=max"),
            to("type=registry,ref=a,mod=max"),
            to("type=registry,ref=a,mode=all"),
            to("type=registry,ref=a,image-manifest=false"),
            to("type=registry,ref=a,ignore-error=maybe"),
            to("type=registry,ref=a,compression=zstd,compression-level=99"),
            to("type=local,src=x"),
            to("type=gha,token=t,url_v2=https://h,version=1"),
            to("type=s3,bucket=b,region=r,access_key_id=a,secret_access_key=s,upload_parallelism=0"),
        ];
        insta::assert_snapshot!(lines.join("\n"), @r#"
        from type=inline: type=inline is no place of its own: name the image that has the cache, with type=registry,ref=IMAGE
        from type=registy,ref=a: there is no cache type "registy"; did you mean registry? Known are registry, inline, local, gha, s3
        from type=azblob: type=azblob is not supported; use type=registry with Azure's container registry
        from ref=a: type= is missing; write type=registry,ref=NAME, or the name alone
        from a,b: one reference is expected; give several with several flags
        from type=registry: type=registry needs ref=NAME
        from type=registry,ref=A: invalid image reference "A": a repository's name must be lower case
        from type=registry,ref=a,mode=max: type=registry has no key "mode"; known are ref, registry.insecure
        from type=local,dest=x: type=local has no key "dest"; known are digest, src, tag
        from type=local: type=local needs src=DIRECTORY
        from type=gha: skipped: type=gha is not used: ACTIONS_RUNTIME_TOKEN is not set (a workflow's step gets it from crazy-max/ghaction-github-runtime)
        from type=s3: type=s3 needs bucket= (or AWS_BUCKET in the environment)
        from type=s3,bucket=b,region=r,endpoint_url=host: endpoint_url is "host", expected http(s)://HOST[:PORT]
        to type=inline,mode=max: mode=max needs a cache of its own: an image holds the layers of its last stage only; use type=registry,ref=NAME,mode=max
        to type=registry,ref=a,mod=max: type=registry has no key "mod"; did you mean mode? Known are compression, compression-level, force-compression, ignore-error, image-manifest, mode, mounts, oci-mediatypes, ref, registry.insecure
        to type=registry,ref=a,mode=all: there is no mode "all"; known are min, max
        to type=registry,ref=a,image-manifest=false: image-manifest=false is not supported: the cache is an image manifest, which every registry takes
        to type=registry,ref=a,ignore-error=maybe: ignore-error: expected true or false, not "maybe"
        to type=registry,ref=a,compression=zstd,compression-level=99: compression-level=99 is out of range for zstd: 0 to 22
        to type=local,src=x: type=local has no key "src"; known are compression, compression-level, dest, force-compression, ignore-error, image-manifest, mode, mounts, oci-mediatypes, tag
        to type=gha,token=t,url_v2=https://h,version=1: version=1: only version 2 of the service exists any more
        to type=s3,bucket=b,region=r,access_key_id=a,secret_access_key=s,upload_parallelism=0: upload_parallelism is "0", expected a number from 1 to 64
        "#);
    }
}
