//! BuildKit's checks: what a Dockerfile had better not do, though it builds.
//!
//! One file per rule under [`rules`]: its name, words and condition. Findings are plain data in BuildKit's
//! words; [`run`] collects them in the order of the source. `# check=skip=…;error=true;experimental=…` at the
//! top of the file counts for all of it, and above an instruction for that one.
mod config;
mod linter;
pub mod rules;

pub use config::{Config, ConfigError};

use crate::ast::Dockerfile;
use crate::eval::{self, Options};
use crate::ignore::Ignore;
use crate::{Diagnostic, Span};

/// A check.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, as `# check=skip=` takes it.
    pub name: &'static str,
    /// What it wants.
    pub description: &'static str,
    /// Where it is explained.
    pub url: &'static str,
    /// Whether it only runs when asked for.
    pub experimental: bool,
}

/// Something that a rule found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// What it found, in BuildKit's words.
    pub detail: String,
    /// The instruction (where BuildKit points to).
    pub span: Span,
    /// The exact place inside the instruction, where there is one.
    pub at: Span,
}

impl Finding {
    /// As a warning that can be drawn into the source.
    pub fn to_diagnostic(&self) -> Diagnostic {
        let message = format!("{}: {}", self.rule.name, self.detail);
        Diagnostic::warning(self.rule.name, self.at, message).help(format!("see {}", self.rule.url))
    }
}

/// What the rules may look at beside the Dockerfile.
#[derive(Default)]
pub struct Input<'a> {
    /// Build arguments, target, platforms, base images. Without a target all stages are checked.
    pub options: Options<'a>,
    /// The context's `.dockerignore`.
    pub ignore: Option<&'a Ignore>,
    /// Options given from outside (`BUILDKIT_DOCKERFILE_CHECK`) instead of those in the file.
    pub config: Option<Config>,
}

/// The result of the checks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// What was found, in the order of the source.
    pub findings: Vec<Finding>,
    /// Why the checks could not go on to the end.
    pub problem: Option<Diagnostic>,
    /// Whether findings fail the build (`error=true`).
    pub error: bool,
}

impl Report {
    /// The report on a Dockerfile that does not parse: BuildKit's words for the first error.
    pub fn unparsed(diagnostics: &[Diagnostic], source: &str) -> Report {
        let problem = diagnostics.iter().find(|diagnostic| diagnostic.is_error()).map(|first| {
            let line = crate::LineIndex::new(source).line(first.span.start);
            Diagnostic { message: format!("dockerfile parse error on line {line}: {}", first.message), ..first.clone() }
        });
        Report { problem, ..Report::default() }
    }

    /// The error of a build with `error=true` and findings, in BuildKit's words.
    pub fn violation(&self) -> Option<String> {
        let mut rules: Vec<&str> = self.findings.iter().map(|finding| finding.rule.name).collect();
        rules.sort_unstable();
        rules.dedup();
        let failed = self.error && !rules.is_empty();
        failed.then(|| format!("lint violation found for rules: {}", rules.join(", ")))
    }
}

/// Runs all rules.
pub fn run(dockerfile: &Dockerfile, input: &Input<'_>) -> Report {
    let config = match (&input.config, &dockerfile.directives.check) {
        (Some(config), _) => config.clone(),
        (None, None) => Config::default(),
        (None, Some(text)) => match Config::parse(&text.value) {
            Ok(config) => config,
            Err(error) => {
                let message = format!("failed to parse check options: {error}");
                let help = "write # check=skip=RULE,RULE;error=true;experimental=all";
                let problem = Diagnostic::error("invalid-check-directive", text.span, message).help(help);
                return Report { problem: Some(problem), ..Report::default() };
            }
        },
    };
    let error = config.error;
    let mut linter = linter::Linter::new(config, input);
    linter.check_text(dockerfile);
    linter.check_defaults(dockerfile, &input.options);
    let all = input.options.target.is_none();
    let problem = eval::walk(dockerfile, &input.options, all, &mut linter).err().map(|problem| *problem);
    let (mut findings, asked_for_error) = linter.finish();
    findings.sort_by_key(|finding| finding.span.start);
    Report { findings, problem, error: error || asked_for_error }
}

#[cfg(test)]
mod tests;
