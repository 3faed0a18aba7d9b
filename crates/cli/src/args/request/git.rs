//! What the git repository of a local context says about the image: `vcs` in the provenance, and, where it is asked
//! for, labels and annotations.
//!
//! `BUILDX_GIT_INFO`, `BUILDX_GIT_LABELS` and `BUILDX_GIT_CHECK_DIRTY` mean what they mean to buildx; `--git-metadata`
//! adds the keys of the OCI image-spec. Nothing is added unless it is asked for: digests stay what they are.
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use build::request::{
    Annotation, AnnotationLevel, BaseMetadata, BuildRequest, Context, ContextSource, DockerfileSource, OutputKind,
};

use super::each;
use crate::args::build::BuildArgs;
use crate::args::values;
use crate::env::Env;
use crate::error::{CliError, Result};

const PREFIX: &str = "org.opencontainers.image.";

/// Fills in `vcs`, labels and annotations.
pub(super) fn describe(request: &mut BuildRequest, args: &BuildArgs, env: &Env) -> Result<()> {
    let (labels, annotations) = match args.git_metadata.as_deref() {
        None | Some("false") => (false, false),
        Some("both" | "true") => (true, true),
        Some("labels") => (true, false),
        Some("annotations") => (false, true),
        Some(other) => {
            return Err(each("git-metadata", other, "known are labels, annotations, both"));
        }
    };
    let wanted = labels || annotations;
    let switch = |name: &str| env.get(name).and_then(|value| values::boolean(value).ok());
    let buildx_labels = env.get("BUILDX_GIT_LABELS").filter(|v| *v == "full" || values::boolean(v) == Ok(true));
    let info = request.provenance.is_some() && switch("BUILDX_GIT_INFO") != Some(false);
    if !wanted && !info && buildx_labels.is_none() {
        return Ok(());
    }
    let Context::Source(ContextSource::Directory(directory)) = &request.context else {
        return if wanted {
            Err(CliError::usage("--git-metadata needs a directory as the context")
                .hint("a git URL as the context is told in the provenance: --provenance=true"))
        } else {
            Ok(())
        };
    };
    let git = Git { directory: directory.clone(), env };
    let Some(top) = git.ask(&["rev-parse", "--show-toplevel"]).map(PathBuf::from) else {
        return if wanted {
            Err(CliError::usage(format!(
                "--git-metadata: {} is in no git repository that git can read",
                directory.display()
            ))
            .hint("leave it out, or name labels and annotations with --label and --annotation"))
        } else {
            Ok(())
        };
    };
    let Some(commit) = git.ask(&["rev-parse", "HEAD"]) else {
        return if wanted {
            Err(CliError::usage(format!("--git-metadata: the repository {} has no commit", top.display())))
        } else {
            Ok(())
        };
    };
    let dirty = switch("BUILDX_GIT_CHECK_DIRTY") != Some(false)
        && git.ask(&["status", "--porcelain", "--", "."]).is_some_and(|text| !text.is_empty());
    let revision = if dirty { format!("{commit}-dirty") } else { commit };
    let source = git.remote();
    if info {
        request.vcs.insert("revision".into(), revision.clone());
        if let Some(source) = &source {
            request.vcs.insert("source".into(), source.clone());
        }
        let real = std::fs::canonicalize(directory).unwrap_or_else(|_| directory.clone());
        if let Ok(inside) = real.strip_prefix(&top) {
            let shown = if inside.as_os_str().is_empty() { Path::new(".") } else { inside };
            request.vcs.insert("localdir:context".into(), shown.display().to_string());
        }
    }
    let mut pairs: Vec<(String, String)> = Vec::new();
    if let Some(kind) = buildx_labels {
        let mut own = vec![(format!("{PREFIX}revision"), revision.clone())];
        own.push(("com.docker.image.source.entrypoint".into(), entrypoint(request, directory, &top)));
        if let Some(source) = source.as_ref().filter(|_| kind == "full") {
            own.push((format!("{PREFIX}source"), source.clone()));
        }
        for (key, value) in own {
            request.labels.entry(key).or_insert(value);
        }
    }
    if !wanted {
        return Ok(());
    }
    let mut add = |key: &str, value: Option<String>| {
        pairs.extend(value.filter(|v| !v.is_empty()).map(|v| (format!("{PREFIX}{key}"), v)));
    };
    add("created", git.ask(&["show", "-s", "--format=%cI", "HEAD"]).map(|text| utc(&text)));
    add("revision", Some(revision));
    add("version", git.ask(&["describe", "--tags", "--always", "--dirty"]));
    add("title", title(source.as_deref(), &top));
    add("licenses", licence(&top));
    add("source", source);
    request.base_metadata = BaseMetadata { labels, annotations };
    // Registries show what an index says of itself. A `docker load` knows no index.
    let archive = request.outputs.iter().any(|output| output.kind == OutputKind::Docker);
    let attested = (request.provenance.is_some() || request.sbom.is_some()) && !archive;
    let mut levels = vec![AnnotationLevel::Manifest];
    levels.extend((request.platforms.len() > 1 || attested).then_some(AnnotationLevel::Index));
    for (key, value) in pairs {
        if labels {
            // What the user says himself wins.
            request.labels.entry(key.clone()).or_insert_with(|| value.clone());
        }
        for level in levels.iter().copied().filter(|_| annotations) {
            if !request.annotations.iter().any(|a| a.key == key && a.level == level) {
                let (key, value) = (key.clone(), value.clone());
                request.annotations.push(Annotation { level, platform: None, key, value });
            }
        }
    }
    Ok(())
}

/// The Dockerfile, relative to the repository.
fn entrypoint(request: &BuildRequest, directory: &Path, top: &Path) -> String {
    let path = match &request.dockerfile {
        Some(DockerfileSource::Path(path)) => path.clone(),
        _ => directory.join("Dockerfile"),
    };
    let real = std::fs::canonicalize(&path).unwrap_or(path);
    real.strip_prefix(top).unwrap_or(&real).display().to_string()
}

/// In UTC, so that the same commit gives the same text everywhere.
fn utc(text: &str) -> String {
    text.parse::<jiff::Timestamp>().map_or_else(|_| text.to_owned(), |stamp| stamp.to_string())
}

fn title(source: Option<&str>, top: &Path) -> Option<String> {
    let name = match source {
        Some(url) => url.trim_end_matches('/').rsplit(['/', ':']).next()?.to_owned(),
        None => top.file_name()?.to_string_lossy().into_owned(),
    };
    Some(name.strip_suffix(".git").unwrap_or(&name).to_owned())
}

/// Words that only one licence's text has near its beginning.
const LICENCES: &[(&str, &str)] = &[
    ("apache license version 2.0", "Apache-2.0"),
    ("gnu affero general public license version 3", "AGPL-3.0-only"),
    ("gnu lesser general public license version 3", "LGPL-3.0-only"),
    ("gnu lesser general public license version 2.1", "LGPL-2.1-only"),
    ("gnu general public license version 3", "GPL-3.0-only"),
    ("gnu general public license version 2", "GPL-2.0-only"),
    ("mozilla public license version 2.0", "MPL-2.0"),
    ("permission is hereby granted, free of charge, to any person obtaining a copy", "MIT"),
    ("permission to use, copy, modify, and/or distribute this software for any purpose", "ISC"),
    ("neither the name of", "BSD-3-Clause"),
    ("redistribution and use in source and binary forms", "BSD-2-Clause"),
    ("this is free and unencumbered software released into the public domain", "Unlicense"),
];

/// The licence of the repository's licence file, where it is one that everybody knows. A file that names another
/// beside it (`LICENSE-MIT`) makes no statement about the whole.
fn licence(top: &Path) -> Option<String> {
    let path = ["LICENSE", "LICENSE.md", "LICENSE.txt", "LICENCE", "COPYING"].map(|name| top.join(name));
    let path = path.into_iter().find(|path| path.is_file())?;
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(std::fs::File::open(path).ok()?, 64 << 10), &mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    if let Some((_, rest)) = text.split_once("SPDX-License-Identifier:") {
        return rest.lines().next().map(|line| line.trim().to_owned());
    }
    let words = text.to_lowercase().replace(',', ", ").split_whitespace().collect::<Vec<_>>().join(" ");
    let plain = words.replace("license, version", "license version");
    LICENCES.iter().find(|(mark, _)| plain.contains(mark)).map(|(_, id)| (*id).to_owned())
}

struct Git<'a> {
    directory: PathBuf,
    env: &'a Env,
}

impl Git<'_> {
    /// What git prints; nothing where it fails or is not there.
    fn ask(&self, words: &[&str]) -> Option<String> {
        let output = Command::new("git")
            .arg("-C")
            .arg(&self.directory)
            .args(words)
            .env_clear()
            .envs(self.env.vars.iter().filter(|(name, _)| matches!(name.as_str(), "PATH" | "HOME" | "XDG_CONFIG_HOME")))
            .env("LC_ALL", "C")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The URL of the remote that the branch follows, else of `origin`, without credentials.
    fn remote(&self) -> Option<String> {
        let branch = self.ask(&["symbolic-ref", "--short", "HEAD"]);
        let followed = branch.and_then(|b| self.ask(&["config", "--get", &format!("branch.{b}.remote")]));
        let url = self.ask(&["remote", "get-url", followed.as_deref().unwrap_or("origin")])?;
        // `https://user:token@host/…` becomes `https://host/…`; the user of `git@host:…` stays.
        let bare = match url.split_once("://") {
            Some((scheme, rest)) if scheme.starts_with("http") => {
                let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
                format!("{scheme}://{}/{path}", host.rsplit('@').next().unwrap_or(host))
            }
            _ => build::source::redact(&url),
        };
        (!url.is_empty()).then_some(bare)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_and_licences() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(title(Some("https://example.com/a/app.git"), dir.path()).as_deref(), Some("app"));
        assert_eq!(title(Some("git@example.com:app.git"), dir.path()).as_deref(), Some("app"));
        assert_eq!(licence(dir.path()), None);
        for (text, id) in [
            ("Apache License\n   Version 2.0, January 2004", Some("Apache-2.0")),
            ("GNU GENERAL PUBLIC LICENSE\n  Version 2, June 1991", Some("GPL-2.0-only")),
            (
                "Copyright me\n\nPermission is hereby granted, free of\ncharge, to any person obtaining a copy",
                Some("MIT"),
            ),
            ("SPDX-License-Identifier: MIT OR Apache-2.0\n", Some("MIT OR Apache-2.0")),
            ("All rights reserved.", None),
        ] {
            std::fs::write(dir.path().join("LICENSE"), text).unwrap();
            assert_eq!(licence(dir.path()).as_deref(), id, "{text}");
        }
    }
}
