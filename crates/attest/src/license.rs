//! Licences as packages state them, turned into SPDX licence expressions.
//!
//! What is an expression already stays one. The short names of Debian's copyright files and of older RPM packages are
//! translated. What remains unknown becomes a `LicenseRef-` whose text the document carries, never a guess.
use spdx::{Expression, ParseMode};

/// An SPDX licence expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct License {
    /// The expression; operands that SPDX does not list are `LicenseRef-…`.
    pub expression: String,
    /// The `LicenseRef-…` identifiers in it, each with the text that the package states.
    pub references: Vec<(String, String)>,
}

/// The version of the SPDX licence list that names are checked against, such as `3.27`.
#[must_use]
pub fn list_version() -> &'static str {
    spdx::license_version()
}

/// The longest statement that is looked at as an expression; a longer one is the text of a licence.
const LONGEST: usize = 400;

/// One expression for all that a package states; `None` where it states nothing.
#[must_use]
pub fn declared(statements: &[String]) -> Option<License> {
    let mut parts: Vec<(String, bool)> = Vec::new();
    let mut references = Vec::new();
    for statement in statements.iter().map(|s| s.trim()).filter(|s| !s.is_empty()) {
        let one = normalize(statement);
        let compound = one.expression.contains(" OR ");
        if !parts.iter().any(|(known, _)| *known == one.expression) {
            parts.push((one.expression, compound));
        }
        for reference in one.references {
            if !references.contains(&reference) {
                references.push(reference);
            }
        }
    }
    if parts.is_empty() {
        return None;
    }
    let several = parts.len() > 1;
    let texts: Vec<String> = parts
        .into_iter()
        .map(|(text, compound)| if compound && several { format!("({text})") } else { text })
        .collect();
    Some(License { expression: texts.join(" AND "), references })
}

fn normalize(statement: &str) -> License {
    if statement.len() <= LONGEST && !statement.contains('\n') {
        if let Some(expression) = strict(statement) {
            return License { expression, references: Vec::new() };
        }
        if let Some(translated) = translate(statement) {
            return translated;
        }
    }
    let id = reference(statement);
    License { expression: id.clone(), references: vec![(id, statement.to_owned())] }
}

fn strict(text: &str) -> Option<String> {
    let parsed = Expression::parse(text).ok()?;
    // A reference of somebody else's document means nothing in ours.
    if text.contains("Ref-") {
        return None;
    }
    let upper = |word: &str| match word {
        "and" | "or" | "with" => word.to_ascii_uppercase(),
        _ => word.to_owned(),
    };
    Some(parsed.as_ref().split(' ').map(upper).collect::<Vec<_>>().join(" "))
}

/// Reads words of licence names between and, or, commas, parentheses.
fn translate(text: &str) -> Option<License> {
    let spaced = text.replace('(', " ( ").replace(')', " ) ").replace(',', " , ").replace('|', " or ");
    let mut words = spaced.split_whitespace().peekable();
    let mut out: Vec<String> = Vec::new();
    let mut references = Vec::new();
    let mut name: Vec<&str> = Vec::new();
    let mut close = |name: &mut Vec<&str>, out: &mut Vec<String>| {
        if name.is_empty() {
            return;
        }
        let text = name.join(" ");
        name.clear();
        out.push(known(&text).unwrap_or_else(|| {
            let id = reference(&text);
            if !references.iter().any(|(known, _)| *known == id) {
                references.push((id.clone(), text));
            }
            id
        }));
    };
    while let Some(word) = words.next() {
        match word.to_ascii_lowercase().as_str() {
            "(" | ")" => {
                close(&mut name, &mut out);
                out.push(word.to_owned());
            }
            // In Debian's lists a comma stands before the operator: `A, and B`.
            "," => {
                let next = words.peek().map(|w| w.to_ascii_lowercase());
                if !matches!(next.as_deref(), Some("and" | "or")) {
                    close(&mut name, &mut out);
                    out.push("AND".to_owned());
                }
            }
            operator @ ("and" | "or" | "and/or" | "&" | "&&" | "||") => {
                close(&mut name, &mut out);
                out.push(if operator.contains("or") || operator == "||" { "OR" } else { "AND" }.to_owned());
            }
            _ => name.push(word),
        }
    }
    close(&mut name, &mut out);
    let expression = out.join(" ").replace("( ", "(").replace(" )", ")");
    let mode = ParseMode { allow_deprecated: true, ..ParseMode::STRICT };
    Expression::parse_mode(&expression, mode).ok()?;
    Some(License { expression, references })
}

/// The expression for one name.
fn known(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    if let Some(id) = gnu(&lower) {
        return Some(id);
    }
    if let Some(id) = spdx::license_id(name) {
        return Some(id.name.to_owned());
    }
    if let Some((_, id)) = NAMES.iter().find(|(known, _)| *known == lower) {
        return Some((*id).to_owned());
    }
    if let Some((base, exception)) = lower.split_once(" with ") {
        let exception = EXCEPTIONS.iter().find(|(known, _)| exception.starts_with(known))?.1;
        return Some(format!("{} WITH {exception}", known(&name[..base.len()])?));
    }
    let (id, length) = spdx::imprecise_license_id(name)?;
    (length == name.len()).then(|| id.name.to_owned())
}

/// `GPL-2+`, `GPLv2+`, `LGPL-2.1`, `GFDL-1.3-no-invariants`, …
fn gnu(lower: &str) -> Option<String> {
    let (family, rest) = ["agpl", "lgpl", "gpl", "gfdl"]
        .iter()
        .find_map(|family| lower.strip_prefix(family).map(|rest| (family.to_ascii_uppercase(), rest)))?;
    let rest = rest.trim_start_matches(['-', 'v', ' ']);
    let rest = rest.split("-no-invariant").next().unwrap_or(rest);
    let (number, later) = match rest.strip_suffix('+').or_else(|| rest.strip_suffix("-or-later")) {
        Some(number) => (number, true),
        None => (rest.strip_suffix("-only").unwrap_or(rest), false),
    };
    let number = if number.contains('.') { number.to_owned() } else { format!("{number}.0") };
    let id = format!("{family}-{number}-{}", if later { "or-later" } else { "only" });
    spdx::license_id(&id).map(|id| id.name.to_owned())
}

const NAMES: &[(&str, &str)] = &[
    ("apache 2", "Apache-2.0"),
    ("apache 2.0", "Apache-2.0"),
    ("apache license 2.0", "Apache-2.0"),
    ("apache license, version 2.0", "Apache-2.0"),
    ("apache software license", "Apache-2.0"),
    ("apache-2", "Apache-2.0"),
    ("asl 2.0", "Apache-2.0"),
    ("artistic", "Artistic-1.0-Perl"),
    ("artistic-2", "Artistic-2.0"),
    ("boost", "BSL-1.0"),
    ("bsd-2-clause", "BSD-2-Clause"),
    ("bsd-3-clause", "BSD-3-Clause"),
    ("bsd-4-clause", "BSD-4-Clause"),
    ("bsd license", "BSD-3-Clause"),
    ("cc0", "CC0-1.0"),
    ("expat", "MIT"),
    ("isc license (iscl)", "ISC"),
    ("mit license", "MIT"),
    ("mit/x11", "MIT"),
    ("mozilla public license 2.0 (mpl 2.0)", "MPL-2.0"),
    ("mplv2.0", "MPL-2.0"),
    ("openldap-2.8", "OLDAP-2.8"),
    ("psf", "PSF-2.0"),
    ("psf-2", "PSF-2.0"),
    ("python", "Python-2.0"),
    ("python software foundation license", "PSF-2.0"),
    ("ruby", "Ruby"),
    ("the apache license, version 2.0", "Apache-2.0"),
    ("the apache software license, version 2.0", "Apache-2.0"),
    ("the mit license", "MIT"),
    ("the unlicense (unlicense)", "Unlicense"),
    ("unlicense", "Unlicense"),
    ("zlib", "Zlib"),
];

const EXCEPTIONS: &[(&str, &str)] = &[
    ("autoconf exception", "Autoconf-exception-2.0"),
    ("autoconf-exception", "Autoconf-exception-2.0"),
    ("bison exception", "Bison-exception-2.2"),
    ("classpath exception", "Classpath-exception-2.0"),
    ("font exception", "Font-exception-2.0"),
    ("gcc exception", "GCC-exception-3.1"),
    ("libtool exception", "Libtool-exception"),
    ("openssl exception", "openvpn-openssl-exception"),
];

/// A `LicenseRef-` for a name: readable where the name is short, by its digest where it is a text.
fn reference(name: &str) -> String {
    let mut out = String::from("LicenseRef-");
    if name.len() <= 64 {
        for c in name.chars() {
            out.push(if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '-' });
        }
        while out.ends_with('-') {
            out.pop();
        }
    }
    if out.len() <= "LicenseRef-".len() {
        out.truncate("LicenseRef".len());
        out.push('-');
        out.push_str(oci::Digest::sha256(name.as_bytes()).short());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(statements: &[&str]) -> String {
        let statements: Vec<String> = statements.iter().map(|s| (*s).to_owned()).collect();
        declared(&statements).map(|l| l.expression).unwrap_or_default()
    }

    #[test]
    fn names_of_all_worlds_become_expressions() {
        for (statement, want) in [
            ("MIT", "MIT"),
            ("MIT OR Apache-2.0", "MIT OR Apache-2.0"),
            ("GPL-2+", "GPL-2.0-or-later"),
            ("GPL-3", "GPL-3.0-only"),
            ("LGPL-2.1+", "LGPL-2.1-or-later"),
            ("GPLv2+ and LGPLv2+", "GPL-2.0-or-later AND LGPL-2.0-or-later"),
            ("GPL-1+ or Artistic", "GPL-1.0-or-later OR Artistic-1.0-Perl"),
            ("GPL-2+ with Autoconf exception", "GPL-2.0-or-later WITH Autoconf-exception-2.0"),
            ("GFDL-1.3-no-invariants+", "GFDL-1.3-only"),
            ("Expat", "MIT"),
            ("(MIT or GPL-2+) and Zlib", "(MIT OR GPL-2.0-or-later) AND Zlib"),
            ("public-domain", "LicenseRef-public-domain"),
            ("MIT and something own", "MIT AND LicenseRef-something-own"),
            ("Ӂ", "LicenseRef-7ec6b8a40d34"),
        ] {
            let got = of(&[statement]);
            if want.len() == "LicenseRef-".len() + 12 {
                assert!(got.starts_with("LicenseRef-") && got.len() == want.len(), "{got}");
            } else {
                assert_eq!(got, want, "{statement}");
            }
        }
        assert_eq!(of(&["MIT OR ISC", "Zlib", "Zlib"]), "(MIT OR ISC) AND Zlib");
        assert_eq!(of(&["", " "]), "");
        let text = "Copyright (c)\nall of it";
        assert!(of(&[text]).starts_with("LicenseRef-"));
    }
}
