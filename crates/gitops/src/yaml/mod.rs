//! YAML texts that people keep: read with places, changed by the byte.
//!
//! Nothing is ever printed anew. An edit replaces the bytes of one scalar, or adds or takes whole lines; all
//! other bytes are those of the input. Before a result is handed out it is parsed again and compared leaf by
//! leaf: a text whose content is not exactly the old content with the wanted change is an error, never a result.
//!
//! - [`tree`]: the text as nodes with spans
//! - [`edit`]: the changes
//! - [`path`][]: `services[name=api].image.tag`
//! - [`emit`]: new documents from JSON values
//! - [`scalar`]: how a value is written so that every YAML reader takes it for a string
pub mod edit;
pub mod emit;
pub mod path;
pub mod scalar;
pub mod tree;

pub use path::{Path, set};

/// Why a text was not read or not changed. Lines and columns count from 1; the caller adds the file's name.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is no YAML.
    #[error("line {line}, column {column}: not YAML: {message}")]
    Syntax {
        /// Line from 1.
        line: usize,
        /// Column from 1.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// What should be changed is not there.
    #[error("{what} is not there{hint}")]
    NotFound {
        /// What was looked for.
        what: String,
        /// What is there instead; begins with `; ` or is empty.
        hint: String,
    },
    /// It is there, in a form that cannot be changed without changing more than was asked for.
    #[error("line {line}: {what}")]
    Form {
        /// Line from 1.
        line: usize,
        /// What stands there and what to do.
        what: String,
    },
    /// A path expression that cannot be read.
    #[error("path `{path}`: {problem}")]
    Path {
        /// The expression.
        path: String,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// A value that cannot stand on one line.
    #[error("the value {0:?} has a line break or control character; give one line of text")]
    Value(String),
    /// An image name, tag or digest that no registry takes.
    #[error("{0}")]
    Image(String),
    /// The changed text does not say what it should. Nothing was changed.
    #[error("the edit would also change {0}; nothing was changed: make this edit by hand and report the file")]
    Unsound(String),
}

impl Error {
    /// That `what` was looked for in vain, with the names that are there.
    pub(crate) fn not_found<'n>(what: impl Into<String>, there: impl IntoIterator<Item = &'n str>) -> Self {
        let mut names: Vec<&str> = there.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        let more = names.len().saturating_sub(12);
        names.truncate(12);
        let hint = match (names.is_empty(), more) {
            (true, _) => String::new(),
            (false, 0) => format!("; there are {}", names.join(", ")),
            (false, more) => format!("; there are {} and {more} more", names.join(", ")),
        };
        Self::NotFound { what: what.into(), hint }
    }
}
