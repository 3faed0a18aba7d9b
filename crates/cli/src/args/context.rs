//! Build contexts: the positional argument and `--build-context`.
use std::path::PathBuf;

use build::request::ContextSource;
use build::source::{RemoteKind, git::GitUrl, remote_kind};
use oci::{Digest, Reference};

use crate::env::Env;
use crate::error::{CliError, Result};

/// The positional argument, unless it is `-`. A local directory wins over a text that looks like
/// a URL, as in buildx.
pub(crate) fn main(text: &str, env: &Env) -> Result<ContextSource> {
    let path = env.path(text);
    if path.is_dir() {
        return Ok(ContextSource::Directory(path));
    }
    if let Some(source) = remote(text)? {
        return Ok(source);
    }
    match std::fs::metadata(&path) {
        Ok(_) => Err(CliError::usage(format!("the build context {text:?} is a file, not a directory"))
            .hint(format!("give its directory and name the Dockerfile: cooperage build -f {text} {}", parent(text)))
            .hint(format!("or send it on standard input: cooperage build - < {text}"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut failure = CliError::usage(format!("the build context {text:?} does not exist"));
            if text.contains("://") {
                failure = failure.hint("contexts are directories, git repositories (https://HOST/REPO.git#REF:DIR, git@HOST:REPO) and HTTP(S) archives");
            } else if Reference::parse_like_image(text) {
                failure = failure.hint(format!("is {text} the image's name? Write: cooperage build -t {text} ."));
            } else {
                failure = failure.hint("the last argument is the directory with the files to build from, most often .");
            }
            Err(failure)
        }
        Err(error) => Err(CliError::usage(format!(
            "the build context {text:?} cannot be read: {}",
            crate::error::plain_io(&error)
        ))),
    }
}

trait LooksLikeImage {
    fn parse_like_image(text: &str) -> bool;
}

impl LooksLikeImage for Reference {
    /// `name:tag` or `host/name`, which people give where the context belongs.
    fn parse_like_image(text: &str) -> bool {
        !text.starts_with(['.', '/']) && text.contains([':']) && text.parse::<Self>().is_ok()
    }
}

fn parent(text: &str) -> String {
    match std::path::Path::new(text).parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.display().to_string(),
        _ => ".".into(),
    }
}

fn remote(text: &str) -> Result<Option<ContextSource>> {
    match remote_kind(text) {
        Some(RemoteKind::Git) => {
            GitUrl::parse(text).map_err(|error| CliError::usage(error.to_string()))?;
            Ok(Some(ContextSource::Git(text.to_owned())))
        }
        Some(RemoteKind::Http) => Ok(Some(ContextSource::Http(text.to_owned()))),
        None => Ok(None),
    }
}

/// `--build-context NAME=SOURCE`. The name is kept in its familiar form, without `:latest`, since
/// it replaces images of that name.
pub(crate) fn named(text: &str, env: &Env) -> Result<(String, ContextSource)> {
    let fail = |why: String| CliError::usage(format!("--build-context {text}: {why}"));
    let (name, source) =
        text.split_once('=').filter(|(name, source)| !name.is_empty() && !source.is_empty()).ok_or_else(|| {
            fail("expected NAME=PATH, NAME=URL, NAME=docker-image://IMAGE or NAME=oci-layout://PATH".into())
        })?;
    let reference: Reference = name.parse().map_err(|e: oci::ReferenceError| fail(e.to_string()))?;
    let familiar = reference.familiar();
    let name = familiar.strip_suffix(":latest").unwrap_or(&familiar).to_owned();
    let source = if let Some(image) = source.strip_prefix("docker-image://") {
        ContextSource::Image(image.parse().map_err(|e: oci::ReferenceError| fail(e.to_string()))?)
    } else if let Some(layout) = source.strip_prefix("oci-layout://") {
        oci_layout(layout, env).map_err(fail)?
    } else if let Some(target) = source.strip_prefix("target:") {
        return Err(fail("target: names another target of a bake file".into())
            .hint(format!("build stage {target} of the same Dockerfile with COPY --from={target}")));
    } else if let Some(remote) = remote(source)? {
        remote
    } else if let Some((scheme, _)) = source.split_once("://") {
        return Err(fail(format!("there is no source {scheme}://"))
            .hint("known are paths, docker-image://, oci-layout://, git and http(s) URLs"));
    } else {
        let path = env.path(source);
        match std::fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => ContextSource::Directory(path),
            Ok(_) => return Err(fail(format!("{source} is a file; a named context is a directory"))),
            Err(error) => return Err(fail(format!("{source}: {}", crate::error::plain_io(&error)))),
        }
    };
    Ok((name, source))
}

/// A path, a tag, a digest.
pub(crate) type LayoutParts<'a> = (&'a str, Option<String>, Option<Digest>);

/// `PATH[:TAG][@DIGEST]`
pub(crate) fn layout_parts(text: &str) -> std::result::Result<LayoutParts<'_>, String> {
    let (rest, digest) = match text.rsplit_once('@') {
        Some((rest, digest)) => (rest, Some(digest.parse::<Digest>().map_err(|e| e.to_string())?)),
        None => (text, None),
    };
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag.to_owned())),
        _ => (rest, None),
    };
    if path.is_empty() {
        return Err("oci-layout:// needs a path".into());
    }
    Ok((path, tag, digest))
}

fn oci_layout(text: &str, env: &Env) -> std::result::Result<ContextSource, String> {
    let (path, tag, digest) = layout_parts(text)?;
    let path: PathBuf = env.path(path);
    if !path.join("oci-layout").is_file() && !path.join("index.json").is_file() {
        return Err(format!("{} is no OCI layout: it has no file oci-layout", path.display()));
    }
    Ok(ContextSource::OciLayout { path, tag, digest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::testing::env;

    #[test]
    fn contexts_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("github.com/a/b")).unwrap();
        std::fs::create_dir(dir.path().join("layout")).unwrap();
        std::fs::write(dir.path().join("layout/oci-layout"), "{}").unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let env = env(dir.path(), &[]);
        assert_eq!(main(".", &env).unwrap(), ContextSource::Directory(dir.path().to_owned()));
        assert!(matches!(main("github.com/a/b", &env).unwrap(), ContextSource::Directory(_)));
        assert!(matches!(main("github.com/a/c", &env).unwrap(), ContextSource::Git(_)));
        assert!(matches!(main("https://e.com/x.tar", &env).unwrap(), ContextSource::Http(_)));
        assert!(main("file", &env).unwrap_err().to_string().contains("is a file"));
        assert!(main("app:1", &env).unwrap_err().hints[0].contains("-t app:1"));

        let named = |text: &str| named(text, &env);
        assert_eq!(named("a=.").unwrap().0, "a");
        assert_eq!(named("docker.io/library/alpine:latest=docker-image://b").unwrap().0, "alpine");
        let (_, source) = named("a=oci-layout://layout:v1").unwrap();
        assert_eq!(
            source,
            ContextSource::OciLayout { path: dir.path().join("layout"), tag: Some("v1".into()), digest: None }
        );
        for wrong in [
            "a",
            "=b",
            "A=.",
            "a=missing",
            "a=file",
            "a=target:x",
            "a=s3://x",
            "a=docker-image://",
            "a=oci-layout://nope",
        ] {
            assert!(named(wrong).is_err(), "{wrong}");
        }
    }
}
