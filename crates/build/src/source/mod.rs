//! Where a build's files come from when they are not a directory: git repositories, HTTP(S)
//! downloads, archives on standard input, image layouts.
//!
//! Every function takes what it needs (environment, temporary directory, HTTP client, a question
//! whether the build was cancelled) as arguments; nothing here reads the process's own
//! environment. Nothing that is fetched is trusted: subdirectories are resolved inside the tree
//! that was fetched, and credentials never appear in an error or in a cache key.
pub mod archive;
pub mod git;
pub mod http;
pub mod oci_layout;

/// Asked between units of work; true ends them with a `Cancelled` error.
pub type Cancelled<'a> = &'a (dyn Fn() -> bool + Sync);

/// What a text given as a context is. Classified by its form alone, as BuildKit does: nothing is
/// asked of the file system or the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteKind {
    /// A git repository.
    Git,
    /// A file behind HTTP(S): an archive or a Dockerfile.
    Http,
}

/// Says whether `text` is remote, and how. `None` stands for a local path.
#[must_use]
pub fn remote_kind(text: &str) -> Option<RemoteKind> {
    if git::GitUrl::is_git(text) {
        Some(RemoteKind::Git)
    } else if has_scheme(text, "http") || has_scheme(text, "https") {
        Some(RemoteKind::Http)
    } else {
        None
    }
}

fn has_scheme(text: &str, scheme: &str) -> bool {
    text.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme))
        && text[scheme.len()..].starts_with("://")
}

/// The text with the user information of every URL in it replaced by `xxxxx`, for messages.
#[must_use]
pub fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        out.push_str(head);
        let authority =
            tail.find(|c: char| c == '/' || c.is_whitespace() || c == '\'' || c == '"').unwrap_or(tail.len());
        match tail[..authority].rfind('@') {
            Some(user) => {
                out.push_str("xxxxx");
                rest = &tail[user..];
            }
            None => rest = tail,
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_from_paths() {
        for git in [
            "https://example.com/a.git",
            "https://example.com/a.git#main:sub",
            "https://example.com/a.git?ref=main",
            "git@example.com:a/b.git",
            "git://example.com/a",
            "ssh://git@example.com/a",
            "github.com/a/b",
        ] {
            assert_eq!(remote_kind(git), Some(RemoteKind::Git), "{git}");
        }
        for http in ["https://example.com/a.tar.gz", "HTTP://example.com/Dockerfile", "http://example.com/a.git.tar"] {
            assert_eq!(remote_kind(http), Some(RemoteKind::Http), "{http}");
        }
        for local in [".", "./github.com/a", "/srv/a.git", "dir@host", "é", "ht"] {
            assert_eq!(remote_kind(local), None, "{local}");
        }
    }

    #[test]
    fn credentials_are_redacted_wherever_they_stand() {
        assert_eq!(
            redact("fetch 'https://me:tok@example.com/a.git' via http://p:q@proxy:3128 for a@b"),
            "fetch 'https://xxxxx@example.com/a.git' via http://xxxxx@proxy:3128 for a@b"
        );
        assert_eq!(redact("https://example.com/@scope"), "https://example.com/@scope");
    }
}
