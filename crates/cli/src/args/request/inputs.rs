//! The context and the Dockerfile of a command line; standard input goes to a file first.
use std::path::{Path, PathBuf};

use build::request::{Context, ContextSource, DockerfileSource};

use crate::args::build::BuildArgs;
use crate::args::context;
use crate::env::Env;
use crate::error::{CliError, Result};

/// Context and Dockerfile, with standard input spooled to a file where one of them is `-`.
pub(super) fn inputs(
    args: &BuildArgs,
    env: &Env,
) -> Result<(Context, Option<DockerfileSource>, Option<tempfile::TempDir>)> {
    if let Some(archive) = &args.archive {
        let dockerfile = args.file.as_deref().filter(|file| !file.is_empty()).map(|f| DockerfileSource::Path(f.into()));
        return Ok((Context::Stdin(archive.clone()), dockerfile, None));
    }
    let Some(text) = args.context.as_deref() else {
        return Err(CliError::usage("the build context is missing")
            .hint("name the directory with the files to build from; here: cooperage build .")
            .hint("cooperage build --help shows examples"));
    };
    if text.is_empty() {
        return Err(
            CliError::usage("the build context is an empty text").hint("is a variable unset? The directory here is .")
        );
    }
    let file = args.file.as_deref();
    if text == "-" && file == Some("-") {
        return Err(CliError::usage("the context and the Dockerfile cannot both come from standard input")
            .hint("leave -f out where standard input is a Dockerfile, or name a file of the archive with -f"));
    }
    if (text == "-" || file == Some("-")) && env.stdin_terminal {
        let what = if text == "-" { "a tar archive or a Dockerfile" } else { "the Dockerfile" };
        return Err(CliError::usage(format!("{what} is expected on standard input, which is a terminal"))
            .hint("redirect a file: cooperage build - < Dockerfile"));
    }
    let spool = if text == "-" || file == Some("-") { Some(spool_stdin(env)?) } else { None };
    let spooled =
        |spool: &Option<tempfile::TempDir>| spool.as_ref().map_or_else(PathBuf::new, |dir| dir.path().join("stdin"));
    let context =
        if text == "-" { Context::Stdin(spooled(&spool)) } else { Context::Source(context::main(text, env)?) };
    let dockerfile = match file {
        None | Some("") => None,
        Some("-") => Some(DockerfileSource::Stdin(spooled(&spool))),
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
            Some(DockerfileSource::Url(url.to_owned()))
        }
        Some(path) => Some(DockerfileSource::Path(dockerfile_path(path, &context, env)?)),
    };
    if let (None, Context::Source(ContextSource::Directory(dir))) = (&dockerfile, &context) {
        check_default_dockerfile(text, dir)?;
    }
    Ok((context, dockerfile, spool))
}

/// With a local context `-f` is a path here, and must exist; with a remote one a path in it.
fn dockerfile_path(path: &str, context: &Context, env: &Env) -> Result<PathBuf> {
    let Context::Source(ContextSource::Directory(dir)) = context else {
        return Ok(PathBuf::from(path));
    };
    let here = env.path(path);
    match std::fs::metadata(&here) {
        Ok(meta) if meta.is_dir() => {
            let mut error = CliError::usage(format!("--file {path}: is a directory"));
            if here.join("Dockerfile").is_file() {
                error = error.hint(format!("write -f {}", Path::new(path).join("Dockerfile").display()));
            }
            Err(error)
        }
        Ok(_) => Ok(here),
        Err(error) => {
            let mut failure = CliError::usage(format!("--file {path}: {}", crate::error::plain_io(&error)));
            if dir.join(path).is_file() {
                let shown = dir.strip_prefix(&env.cwd).unwrap_or(dir).join(path);
                failure = failure.hint(format!(
                    "the path is taken from the current directory, not from the context: write -f {}",
                    shown.display()
                ));
            } else {
                failure = failure.hint(format!("paths are taken from the current directory, {}", env.cwd.display()));
            }
            Err(failure)
        }
    }
}

fn check_default_dockerfile(text: &str, dir: &Path) -> Result<()> {
    if ["Dockerfile", "dockerfile"].iter().any(|name| dir.join(name).exists()) {
        return Ok(());
    }
    let mut error = CliError::usage(format!("there is no Dockerfile in the build context {text:?}"));
    let mut others: Vec<String> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| {
            let lower = name.to_lowercase();
            !lower.ends_with("ignore") && (lower.contains("dockerfile") || lower == "containerfile")
        })
        .collect();
    others.sort();
    error = match others.first() {
        Some(found) => {
            let shown = if text == "." { found.clone() } else { Path::new(text).join(found).display().to_string() };
            error.hint(format!("{found} is there: cooperage build -f {shown} {text}"))
        }
        None => error.hint("name another file with -f, or another directory as the context"),
    };
    Err(error)
}

fn spool_stdin(env: &Env) -> Result<tempfile::TempDir> {
    let temp = env.get("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    let dir = tempfile::Builder::new()
        .prefix("cooperage-")
        .tempdir_in(&temp)
        .map_err(|e| CliError::io("create a directory in", &temp, &e).hint("set TMPDIR to a writable directory"))?;
    let path = dir.path().join("stdin");
    let mut file = std::fs::File::create(&path).map_err(|e| CliError::io("create", &path, &e))?;
    let size = std::io::copy(&mut std::io::stdin().lock(), &mut file)
        .map_err(|e| CliError::io("copy standard input to", &path, &e))?;
    if size == 0 {
        return Err(CliError::usage("standard input is empty").hint("redirect a Dockerfile or a tar archive to it"));
    }
    Ok(dir)
}
