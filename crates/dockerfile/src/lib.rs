//! The Dockerfile language: parser with spans, expansion, .dockerignore, lint rules. Pure: no I/O.
#![forbid(unsafe_code)]
pub mod ast;

/// A range of bytes in the source text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, serde::Serialize)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}
