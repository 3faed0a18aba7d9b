//! A failed build, as the user sees it: the step's last output, its lines in the Dockerfile, why, and
//! what to do.
use build::request::BuildRequest;
use build::{BuildError, Kind, StepFailure};
use dockerfile::Diagnostic;

use crate::app::Context;
use crate::diagnostics;
use crate::error::{CliError, ErrorKind};
use crate::progress::sanitize;

/// Lines of a failed step's output that are shown again.
const TAIL: usize = 20;

/// Folds an error of the engine.
pub(crate) fn build_error(error: &BuildError, request: Option<&BuildRequest>, context: &Context<'_>) -> CliError {
    if error.kind() == Kind::Canceled {
        return CliError::interrupted();
    }
    let mut out = CliError::failed(error.message());
    if error.kind() == Kind::Input {
        out.kind = ErrorKind::Usage;
    }
    if let Some(source) = std::error::Error::source(error) {
        out = out.caused_by(source);
    }
    out.hints.extend(error.hints().iter().cloned());
    if out.hints.is_empty() {
        out.hints.extend(source_hint(error));
    }
    let mut report = String::new();
    if let Some(step) = error.step() {
        report.push_str(&step_output(step));
        if let (Some(found), Some(span)) = (error.diagnostics(), error.span()) {
            report.push_str(&diagnostics::excerpt(shown(&found.file, context), &found.source, span));
        }
        let known = !out.hints.is_empty();
        out.hints.extend(step_hints(step, request, context));
        if !known {
            out.hints.extend(code_hint(step));
        }
    } else if let Some(found) = error.diagnostics() {
        if !found.list.is_empty() {
            report = diagnostics::render(&found.list, shown(&found.file, context), &found.source, context.ui.colour);
            let errors = found.list.iter().filter(|d| d.is_error()).count();
            out.message = format!(
                "{} has {errors} {}",
                shown(&found.file, context),
                if errors == 1 { "error" } else { "errors" }
            );
        } else if let Some(span) = error.span() {
            // The picture says the message, the help says the hints.
            let mut finding = Diagnostic::error("", span, error.message());
            finding.help = out.hints.first().cloned();
            report = diagnostics::render(&[finding], shown(&found.file, context), &found.source, context.ui.colour);
            out.message.clear();
            if !out.hints.is_empty() {
                out.hints.remove(0);
            }
        }
    }
    if report.is_empty() { out } else { out.with_report(report) }
}

fn step_output(step: &StepFailure) -> String {
    let mut lines = sanitize::Lines::default();
    let mut all = Vec::new();
    lines.push(&step.log_tail, false, |line| all.push(line));
    all.extend(lines.take(false));
    let skipped = all.len().saturating_sub(TAIL);
    let mut out = format!("------\n > {}:\n", sanitize::clean(step.name.as_bytes(), false));
    if skipped > 0 {
        out.push_str("...\n");
    }
    for line in &all[skipped..] {
        out.push_str(line);
        out.push('\n');
    }
    out.push_str("------\n");
    out
}

/// What an error below knows to do.
fn source_hint(error: &BuildError) -> Option<String> {
    use build::source::{git::GitError, http::HttpError};
    let mut next = std::error::Error::source(error);
    while let Some(error) = next {
        let hint = error
            .downcast_ref::<GitError>()
            .and_then(GitError::hint)
            .or_else(|| error.downcast_ref::<HttpError>().and_then(HttpError::hint))
            .or_else(|| error.downcast_ref::<registry::Error>().and_then(|e| e.hint()).map(str::to_owned));
        if hint.is_some() {
            return hint;
        }
        next = error.source();
    }
    None
}

/// What the output and the exit code of a step give away.
fn step_hints(step: &StepFailure, request: Option<&BuildRequest>, context: &Context<'_>) -> Vec<String> {
    let log = String::from_utf8_lossy(&step.log_tail);
    let says = |words: &[&str]| words.iter().any(|word| log.contains(word));
    let mut hints = Vec::new();
    if request.is_some_and(|r| r.host_ca.is_none())
        && says(&[
            "certificate verify failed",
            "self-signed certificate",
            "self signed certificate",
            "unable to get local issuer certificate",
            "certificate signed by unknown authority",
            "SELF_SIGNED_CERT_IN_CHAIN",
            "server certificate verification failed",
        ])
    {
        hints.push("a server's certificate is not trusted in the image; --host-ca gives RUN the CA certificates of this machine".into());
    }
    let proxy =
        ["https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"].iter().find(|name| context.env.get(name).is_some());
    if let Some(name) = proxy
        && request.is_some_and(|r| r.proxy.is_empty())
        && says(&[
            "Could not resolve",
            "Temporary failure in name resolution",
            "Connection timed out",
            "Connection refused",
            "Network is unreachable",
            "ETIMEDOUT",
            "ENOTFOUND",
            "EAI_AGAIN",
            "ECONNREFUSED",
        ])
    {
        hints.push(format!("{name} is set here but not in RUN; --http-proxy passes it on"));
    }
    hints
}

/// What an exit code means by custom.
fn code_hint(step: &StepFailure) -> Option<String> {
    let text = match step.code {
        126 => "exit code 126: the command cannot be executed; is the file executable, and for this platform?",
        127 => "exit code 127: a command was not found; is its package installed in this stage, and is it in PATH?",
        137 => {
            "the step was killed, most often because memory ran out; raise the memory limit of the place of the build"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

/// A file's name as the user knows it: relative to the current directory where it lies below.
pub(crate) fn shown<'a>(file: &'a str, context: &Context<'_>) -> &'a str {
    let below = std::path::Path::new(file).strip_prefix(&context.env.cwd).ok().and_then(std::path::Path::to_str);
    below.filter(|name| !name.is_empty()).unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::Ui;
    use build::Diagnostics;
    use dockerfile::Span;

    fn show(error: &BuildError, vars: &[(&str, &str)]) -> String {
        let env = crate::env::testing::env(std::path::Path::new("/"), vars);
        let ui = Ui { colour: false, debug: false };
        let cancel = sandbox::CancelToken::new();
        let context =
            Context { env: &env, ui, cancel: &cancel, config: None, entered: sandbox::userns::Entered::NotNeeded };
        ui.render(&build_error(error, None, &context))
    }

    fn dockerfile(list: Vec<Diagnostic>) -> Diagnostics {
        Diagnostics { file: "Dockerfile".into(), source: "FROM alpine\nRUN make\nCOPY --from=x a b\n".into(), list }
    }

    #[test]
    fn a_failed_step_shows_its_output_and_lines() {
        let step = StepFailure {
            name: "[2/2] RUN make".into(),
            command: "/bin/sh -c make".into(),
            code: 127,
            signal: None,
            log_tail: b"\x1b[31m/bin/sh: make: not found\x1b[0m\n".to_vec(),
        };
        let error =
            BuildError::new(Kind::Step, "process \"/bin/sh -c make\" did not complete successfully: exit code: 127")
                .at(Span::new(12, 20))
                .with_step(step)
                .with_diagnostics(dockerfile(Vec::new()));
        insta::assert_snapshot!(show(&error, &[]), @r#"
        ------
         > [2/2] RUN make:
        /bin/sh: make: not found
        ------
        Dockerfile:2
        --------------------
           1 |     FROM alpine
           2 | >>> RUN make
           3 |     COPY --from=x a b
        --------------------
        error: process "/bin/sh -c make" did not complete successfully: exit code: 127
          hint: exit code 127: a command was not found; is its package installed in this stage, and is it in PATH?
        "#);
    }

    #[test]
    fn an_error_with_a_place_has_a_caret() {
        let error = BuildError::new(Kind::Dockerfile, "there is no stage x")
            .at(Span::new(33, 34))
            .hint("stages are named with FROM … AS NAME")
            .with_diagnostics(dockerfile(Vec::new()));
        insta::assert_snapshot!(show(&error, &[]), @r#"
        error: there is no stage x
         --> Dockerfile:3:13
          |
        3 | COPY --from=x a b
          |             ^
          |
          = help: stages are named with FROM … AS NAME
        "#);
    }

    #[test]
    fn parse_errors_are_drawn_and_counted() {
        let list = vec![
            Diagnostic::error("bad", Span::new(12, 15), "bad run"),
            Diagnostic::error("bad", Span::new(0, 4), "bad from"),
        ];
        let error = BuildError::new(Kind::Dockerfile, "bad from").with_diagnostics(dockerfile(list));
        insta::assert_snapshot!(show(&error, &[]), @r#"
        error[bad]: bad from
         --> Dockerfile:1:1
          |
        1 | FROM alpine
          | ^^^^

        error[bad]: bad run
         --> Dockerfile:2:1
          |
        2 | RUN make
          | ^^^
        error: Dockerfile has 2 errors
        "#);
    }
}
