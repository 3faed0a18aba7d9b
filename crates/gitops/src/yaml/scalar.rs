//! How a string is written as a scalar, so that YAML 1.1 readers (Go's `yaml.v2`, PyYAML) and YAML 1.2 readers
//! read it as the same string.
//!
//! The fact that is not obvious: tags look like numbers. `1.10` is 1.1 and `1234e5` (a short commit) is 123400000
//! to a reader that was not told otherwise, so such values are quoted even where the old one was not.
use super::Error;
use granit_parser::ScalarStyle;
use regex::Regex;
use std::sync::LazyLock;

/// What a reader of YAML 1.1 or 1.2 takes for something else than a string.
static TYPED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?x)^(?:
            ~ | null | Null | NULL | y | Y | n | N
          | yes | Yes | YES | no | No | NO | on | On | ON | off | Off | OFF
          | true | True | TRUE | false | False | FALSE
          | [-+]? [0-9][0-9_]*                                    # whole and octal
          | [-+]? 0[bB][01_]+ | [-+]? 0[oO][0-7_]+ | [-+]? 0[xX][0-9a-fA-F_]+
          | [-+]? (?: [0-9][0-9_]* (?: \.[0-9_]* )? | \.[0-9_]+ ) (?: [eE][-+]?[0-9]+ )?
          | [-+]? [0-9][0-9_]* (?: :[0-5]?[0-9] )+ (?: \.[0-9_]* )? # base 60
          | [-+]? \.(?: inf | Inf | INF ) | \.(?: nan | NaN | NAN )
          | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2} (?: [Tt\ ] .* )?        # a date
          | = | <<
        )$",
    )
    .unwrap_or_else(|error| unreachable!("a fixed expression: {error}"))
});

/// Whether `value` may stand without quotes: it reads as itself, and as a string, in block and flow context.
pub fn plain(value: &str) -> bool {
    let first = value.chars().next();
    first.is_some_and(|first| first.is_ascii_alphanumeric() || matches!(first, '_' | '/' | '.' | '$' | '^' | '+'))
        && value.chars().all(|c| c.is_ascii_alphanumeric() || " _-./:@+~=%$^*()\\;<>!?&|".contains(c))
        && !value.ends_with([':', ' '])
        && !value.contains(": ")
        && !value.starts_with("...")
        && !TYPED.is_match(value)
}

/// Writes `value` in the style of what it replaces; with double quotes where that style cannot hold it.
///
/// # Errors
/// [`Error::Value`] for a value with line breaks or control characters.
pub fn render(value: &str, style: ScalarStyle) -> Result<String, Error> {
    if value.chars().any(char::is_control) {
        return Err(Error::Value(value.to_owned()));
    }
    Ok(match style {
        ScalarStyle::SingleQuoted => format!("'{}'", value.replace('\'', "''")),
        ScalarStyle::Plain if plain(value) => value.to_owned(),
        _ => format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_something_else_is_quoted() {
        for typed in [
            "1",
            "1.10",
            "1234e5",
            "0777",
            "0x1f",
            "1_000",
            "12:30",
            "on",
            "No",
            "null",
            "~",
            "2026-11-21",
            ".5",
            "+1",
            "1e3",
            "1.",
            ".inf",
            "-7",
            "",
        ] {
            assert!(!plain(typed), "{typed}");
        }
        for text in ["1.2.3", "v1", "sha-12ab", "1.2.3-4", "22-bookworm", "nginx:1.25", "a/b@sha256:00", "latest", "1e"]
        {
            assert!(plain(text), "{text}");
        }
        for special in ["- a", "a: b", "a #b", "*x", "&x", "a:", " a", "a ", "{a}", "[a", "'a", "#a", "a,b", "...", "é"]
        {
            assert!(!plain(special), "{special}");
        }
    }

    #[test]
    fn the_style_stays_where_it_can() {
        let all = [ScalarStyle::Plain, ScalarStyle::SingleQuoted, ScalarStyle::DoubleQuoted];
        let write = |value| all.map(|style| render(value, style).unwrap());
        assert_eq!(write("v1.2"), ["v1.2", "'v1.2'", "\"v1.2\""]);
        assert_eq!(write("1.2"), ["\"1.2\"", "'1.2'", "\"1.2\""]);
        assert_eq!(write("it's \"\\"), ["\"it's \\\"\\\\\"", "'it''s \"\\'", "\"it's \\\"\\\\\""]);
        assert!(render("a\nb", ScalarStyle::Plain).is_err());
    }
}
