//! The names of base images' state files.
use oci::Reference;

/// The normal name of a reference as a Dockerfile has it: `:`, `/` and `@` become `-`, and the
/// registry is left out where the name has three parts. A digest behind a tag does not count, and
/// one alone is cut to twelve digits.
#[must_use]
pub fn normal(reference: &str) -> String {
    let (name, digest) = match reference.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (reference, None),
    };
    let parts: Vec<&str> = name.split('/').collect();
    let short = if parts.len() == 3 { parts[1..].join("/") } else { name.to_owned() };
    let tagged = short.rfind(':').is_some_and(|at| !short[at..].contains('/'));
    let mut out = short.replace([':', '/'], "-");
    if let Some(digest) = digest.filter(|_| !tagged) {
        let digest: String = digest.replace(':', "-").chars().take("sha256-".len() + 12).collect();
        out = format!("{out}-{digest}");
    }
    out
}

/// A name for a reference whose normal name is that of another one.
#[must_use]
pub(crate) fn distinct(reference: &Reference) -> String {
    let text = reference.to_string();
    let digest = oci::Digest::sha256(text.as_bytes()).to_string();
    let hex = digest.split_once(':').map_or("", |(_, hex)| hex);
    format!("{}-{}", normal(&text), &hex[..hex.len().min(8)])
}

/// A tag as an expression that fits it alone.
#[must_use]
pub fn exactly(tag: &str) -> String {
    let mut out = String::from("^");
    for c in tag.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('$');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_files_in_use() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        for (reference, name) in [
            ("node:22-bookworm-slim", "node-22-bookworm-slim"),
            ("node", "node"),
            ("library/node:22", "library-node-22"),
            ("ghcr.io/owner/base:1.2", "owner-base-1.2"),
            ("gcr.io/distroless:latest", "gcr.io-distroless-latest"),
            ("ghcr.io/a/b/c:1", "ghcr.io-a-b-c-1"),
            ("127.0.0.1:5000/node:22", "127.0.0.1-5000-node-22"),
            ("127.0.0.1:5000/library/node:22", "library-node-22"),
            (&format!("node:22@{digest}"), "node-22"),
            (&format!("node@{digest}"), "node-sha256-abababababab"),
        ] {
            assert_eq!(normal(reference), name, "{reference}");
        }
        assert_eq!(exactly("22.1-slim"), "^22\\.1-slim$");
        assert_eq!(exactly("22-bookworm-slim"), "^22-bookworm-slim$");
    }
}
