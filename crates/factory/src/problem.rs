//! What is wrong with a file of the user's: data with a place, never printed here.
use crate::yaml::Mark;
use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub mark: Mark,
    /// What, one line.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Problem {
    /// A problem at a place.
    #[must_use]
    pub fn new(mark: Mark, message: impl Into<String>) -> Self {
        Self { mark, message: message.into(), help: None }
    }

    /// With what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// All that is wrong with one file, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The file.
    pub file: PathBuf,
    /// At least one.
    pub list: Vec<Problem>,
}

impl Problems {
    /// Sorted by place.
    #[must_use]
    pub fn new(file: &Path, mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| problem.mark);
        Self { file: file.to_owned(), list }
    }
}

impl fmt::Display for Problems {
    /// `FILE:LINE:COLUMN: MESSAGE`, and below it `hint: …`, for each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.list.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            let Mark { line, column } = problem.mark;
            write!(f, "{}:{line}:{column}: {}", self.file.display(), problem.message)?;
            if let Some(help) = &problem.help {
                write!(f, "\n  hint: {help}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
