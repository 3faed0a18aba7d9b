//! Edits to the files that say which image runs: one file per kind of file.
//!
//! Every function takes a text and gives the new text; only the lines of the addressed values differ, and the
//! result has been read back and compared ([`crate::yaml`]). A text that says already what it should comes back
//! as it is. Where the address leads nowhere the error names what is there.
pub mod argocd;
pub mod flux;
pub mod helm;
pub mod kubernetes;
pub mod kustomize;
