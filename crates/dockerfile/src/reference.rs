//! Whether a text can be the name of an image, as `FROM` takes it.
//!
//! Only the grammar: `[DOMAIN[:PORT]/]PATH[:TAG][@DIGEST]`, lower case, and not 64 hexadecimal digits. The
//! parts are the business of whoever fetches the image.

/// Whether the reference could be resolved as far as its form goes.
pub fn is_valid(text: &str) -> bool {
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return false;
    }
    let (name, digest) = text.split_once('@').map_or((text, None), |(name, digest)| (name, Some(digest)));
    if digest.is_some_and(|digest| !is_digest(digest)) {
        return false;
    }
    let (domain, rest) = match name.split_once('/') {
        Some((first, rest)) if is_domain_like(first) => (Some(first), rest),
        _ => (None, name),
    };
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (rest, None),
    };
    domain.is_none_or(is_domain)
        && tag.is_none_or(is_tag)
        && path.len() + domain.map_or(0, str::len) < 255
        && path.split('/').all(is_path_component)
}

/// Docker's guess whether the first component is a registry.
fn is_domain_like(text: &str) -> bool {
    text.contains(['.', ':']) || text == "localhost" || text.chars().any(char::is_uppercase)
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else { return false };
            let port = if port.is_empty() { None } else { Some(port.strip_prefix(':').unwrap_or("x")) };
            if address.is_empty() || !address.chars().all(|c| c.is_ascii_hexdigit() || c == ':') {
                return false;
            }
            ("ip", port)
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let label = |label: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty() && label.chars().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    host.split('.').all(label) && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// Lower-case letters and digits, joined by `.`, `_`, `__` or any number of `-`.
fn is_path_component(text: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_digit() || b.is_ascii_lowercase();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !alnum(*first) || !alnum(*last) {
        return false;
    }
    text.split(|c: char| c.is_ascii_digit() || c.is_ascii_lowercase())
        .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

fn is_tag(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.starts_with(word) && text.len() <= 128 && text.chars().all(|c| word(c) || matches!(c, '.' | '-'))
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.chars().all(|c| c.is_ascii_alphanumeric())
    };
    let length = match algorithm {
        "sha256" => hex.len() == 64,
        "sha384" => hex.len() == 96,
        "sha512" => hex.len() == 128,
        _ => hex.len() >= 32,
    };
    algorithm.split(['+', '.', '-', '_']).all(part) && length && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let digest = format!("a@sha256:{}", "0".repeat(64));
        for valid in [
            "alpine",
            "alpine:3.20",
            "library/alpine",
            "ghcr.io/a/b:c",
            "localhost/a",
            "localhost:5000/a",
            "a.b_c__d--e",
            "[::1]:5000/a",
            "Host/a",
            "a:b_C.d",
            &digest,
            "scratch",
        ] {
            assert!(is_valid(valid), "{valid}");
        }
        for invalid in [
            "",
            ":tag",
            "alpine:",
            "Alpine",
            "a/B",
            "a//b",
            "-a",
            "a_-b",
            "a:b:c",
            "a@sha256:0",
            "a b",
            "a/",
            "/a",
            "host:x/a",
            &"0".repeat(64),
            "busybox:-x",
            "___",
            "a@",
            "ho_st.x/a",
        ] {
            assert!(!is_valid(invalid), "{invalid}");
        }
    }
}
