//! `build --call`: look at a Dockerfile instead of building it. Texts and JSON are BuildKit's.
use build::event::Events;
use build::request::BuildRequest;
use build::{Diagnostics, Engine, LoadedDockerfile};
use dockerfile::call::{CheckResult, outline, targets};
use dockerfile::eval::Options;
use dockerfile::ignore::Ignore;
use dockerfile::lint::{self, Config};
use dockerfile::platform::Platform;

use crate::app::Context;
use crate::args::request::{Call, Plan};
use crate::diagnostics;
use crate::error::{CliError, Result};
use crate::report::shown;

/// The build argument that sets the checks' options from outside.
const CHECK_ARG: &str = "BUILDKIT_DOCKERFILE_CHECK";

pub(crate) fn run(plan: &Plan, engine: &Engine, context: &Context<'_>) -> Result<()> {
    let loaded = engine
        .load(&plan.request, &Events::none(), context.cancel)
        .map_err(|error| crate::report::build_error(&error, Some(&plan.request), context))?;
    let errors: Vec<_> = loaded.parsed.diagnostics.iter().filter(|d| d.is_error()).cloned().collect();
    let Some(file) = loaded.parsed.dockerfile.as_ref().filter(|_| errors.is_empty()) else {
        let found = Diagnostics { file: loaded.name.clone(), source: loaded.text.clone(), list: errors };
        let error =
            build::BuildError::new(build::Kind::Dockerfile, "the Dockerfile cannot be parsed").with_diagnostics(found);
        return Err(crate::report::build_error(&error, None, context));
    };
    let options = options(&plan.request);
    let text = match plan.call {
        Call::Targets => {
            let found = targets(file, &loaded.text);
            if plan.json { found.json() } else { found.text() }
        }
        Call::Outline => {
            let found = outline(file, &loaded.text, &options).map_err(|problem| {
                let report =
                    diagnostics::render(&[*problem], shown(&loaded.name, context), &loaded.text, context.ui.colour);
                CliError::failed("").with_report(report)
            })?;
            if plan.json { found.json() } else { found.text() }
        }
        Call::Build | Call::Check => return check(plan, &loaded, file, options, context),
    };
    context.ui.out(&text)
}

fn check(
    plan: &Plan,
    loaded: &LoadedDockerfile,
    file: &dockerfile::ast::Dockerfile,
    options: Options<'_>,
    context: &Context<'_>,
) -> Result<()> {
    let ignore = match &loaded.ignore {
        Some(text) => Some(Ignore::parse(text).map_err(|e| CliError::usage(format!(".dockerignore: {e}")))?),
        None => None,
    };
    let config = match plan.request.build_args.get(CHECK_ARG) {
        Some(text) => {
            Some(Config::parse(text).map_err(|e| CliError::usage(format!("--build-arg {CHECK_ARG}={text}: {e}")))?)
        }
        None => None,
    };
    let report = lint::run(file, &lint::Input { options, ignore: ignore.as_ref(), config });
    let result = CheckResult { file: shown(&loaded.name, context), source: &loaded.text, report: &report };
    context.ui.out(&if plan.json { result.json() } else { result.text() })?;
    match result.status() {
        0 => Ok(()),
        _ => Err(CliError::silent()),
    }
}

fn options(request: &BuildRequest) -> Options<'static> {
    let platform = |platform: &oci::Platform| {
        let host = Options::default().build_platform;
        Platform::parse(&platform.to_string(), &host).unwrap_or(host)
    };
    let host = oci::Platform::host();
    Options {
        build_args: request.build_args.clone(),
        target: request.target.clone(),
        target_platform: platform(request.platforms.first().unwrap_or(&host)),
        build_platform: platform(&host),
        ..Options::default()
    }
}
