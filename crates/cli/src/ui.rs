//! All that the command writes goes through here: the result to standard output, everything for
//! people to standard error. A reader that went away (`| head`) ends the output, not with a panic.
use std::io::{ErrorKind, Write};

use crate::env::Env;
use crate::error::CliError;

/// Where to write, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ui {
    /// Colours on standard error.
    pub(crate) colour: bool,
    /// Whether causes are shown in full.
    pub(crate) debug: bool,
}

impl Ui {
    pub(crate) fn new(env: &Env, debug: bool) -> Self {
        Self { colour: env.colour_stderr(), debug }
    }

    /// Writes a result; the text ends as it is.
    pub(crate) fn out(self, text: &str) -> crate::error::Result<()> {
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(e) if e.kind() != ErrorKind::BrokenPipe => {
                Err(CliError::failed(format!("cannot write to standard output: {}", crate::error::plain_io(&e))))
            }
            _ => Ok(()),
        }
    }

    /// Writes a line for people.
    pub(crate) fn note(self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// A warning.
    pub(crate) fn warn(self, text: &str) {
        self.note(&format!("{}: {text}", self.paint("33;1", "warning")));
    }

    /// An error: report, message, causes, hints.
    pub(crate) fn error(self, error: &CliError) {
        let text = self.render(error);
        if !text.is_empty() {
            self.note(text.trim_end());
        }
    }

    pub(crate) fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn render(self, error: &CliError) -> String {
        let mut out = String::new();
        if let Some(report) = &error.report {
            out.push_str(report.trim_end());
            out.push('\n');
        }
        if !error.message.is_empty() {
            out.push_str(&format!("{}: {}\n", self.paint("31;1", "error"), error.message));
        }
        // The innermost cause is the one that says why; those between are for --debug.
        let causes = if self.debug { &error.causes[..] } else { &error.causes[error.causes.len().saturating_sub(1)..] };
        for cause in causes {
            out.push_str(&format!("  {}: {cause}\n", self.paint("2", "because")));
        }
        for hint in &error.hints {
            out.push_str(&format!("  {}: {hint}\n", self.paint("36", "hint")));
        }
        out
    }
}
