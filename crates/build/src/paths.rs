//! Paths inside images, as text: always with forward slashes, cleaned as Go's `path.Clean` does.

/// Go's `path.Clean`: no `.`, no empty components, `..` resolved as far as possible.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|p| *p != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            other => parts.push(other),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// `path` as an absolute clean path, relative ones below `base`.
pub(crate) fn clean_absolute(base: &str, path: &str) -> String {
    if path.starts_with('/') { clean(path) } else { clean(&format!("/{base}/{path}")) }
}

/// Without the leading slash: a path relative to a root; empty for the root.
pub(crate) fn relative(path: &str) -> &str {
    path.trim_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans_like_go() {
        for (given, wanted) in [
            ("", "."),
            ("/", "/"),
            ("a/./b//c/", "a/b/c"),
            ("../a", "../a"),
            ("/../a", "/a"),
            ("a/../..", ".."),
            ("/a/b/../c", "/a/c"),
        ] {
            assert_eq!(clean(given), wanted);
        }
        assert_eq!(clean_absolute("/app", "x"), "/app/x");
        assert_eq!(clean_absolute("/app", "../x"), "/x");
        assert_eq!(clean_absolute("/app", "/x/"), "/x");
        assert_eq!(clean_absolute("/", "./"), "/");
    }
}
