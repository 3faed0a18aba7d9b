//! `WWW-Authenticate`, as RFC 9110 §11.6.1 has it: several challenges in one header or in many,
//! each a scheme with `name=value` or `name="quoted value"` parameters.

/// One challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// The scheme in lower case: `bearer`, `basic`.
    pub(crate) scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// A parameter; names are compared without case.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// All challenges of one header value. What cannot be read is skipped.
pub(crate) fn parse(header: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
        if end == 0 {
            match rest.chars().next() {
                // A stray character: step over it.
                Some(c) => rest = &rest[c.len_utf8()..],
                None => return found,
            }
            continue;
        }
        let word = &rest[..end];
        let after = rest[end..].trim_start_matches([' ', '\t']);
        // A word with `=` behind it is a parameter, unless it belongs to a token68 (`Negotiate abc==`),
        // which no registry sends and which then ends as an odd parameter.
        if let Some(value) = after.strip_prefix('=') {
            let (value, left) = read_value(value.trim_start_matches([' ', '\t']));
            if let Some(challenge) = found.last_mut() {
                challenge.parameters.push((word.to_ascii_lowercase(), value));
            }
            rest = left;
        } else {
            found.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
            rest = after;
        }
    }
}

fn read_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in quoted.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, &quoted[at + 1..]),
            _ => value.push(c),
        }
    }
    (value, "")
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(header: &str) -> String {
        parse(header)
            .iter()
            .map(|c| {
                let p: Vec<String> = c.parameters.iter().map(|(n, v)| format!("{n}={v}")).collect();
                format!("{}({})", c.scheme, p.join(" & "))
            })
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn reads_what_registries_send() {
        assert_eq!(
            show(
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#
            ),
            "bearer(realm=https://auth.docker.io/token & service=registry.docker.io & scope=repository:a/b:pull,push)"
        );
        assert_eq!(show(r#"Basic realm="a \"b\", c", Bearer realm=x"#), r#"basic(realm=a "b", c) bearer(realm=x)"#);
        assert_eq!(show("BASIC"), "basic()");
        assert_eq!(show("Negotiate, Basic Realm = x"), "negotiate() basic(realm=x)");
        assert_eq!(
            show(r#"Bearer realm="x" service="y""#),
            "bearer(realm=x & service=y)",
            "some servers forget the comma"
        );
    }

    #[test]
    fn nonsense_ends() {
        for bad in ["", ",,,", "=x", "\"", "Bearer realm=\"open", "é è", "a=b", "\u{0}\u{1}"] {
            parse(bad);
        }
        assert_eq!(show("a=b"), "");
    }

    proptest::proptest! {
        #[test]
        fn never_panics(header in "\\PC{0,80}", tricky in "[a-z=\",\\\\ ]{0,40}") {
            parse(&header);
            parse(&tricky);
        }
    }
}
