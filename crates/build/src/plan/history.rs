//! The texts of history entries, letter by letter as BuildKit writes them, since tools read them.
use oci::{Healthcheck, History};

/// BuildKit's mark in each entry.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// One entry. `created` is filled in when the image is put together.
pub(crate) fn entry(created_by: String, layer: bool) -> History {
    History {
        created_by: Some(created_by),
        comment: Some(COMMENT.to_owned()),
        empty_layer: !layer,
        ..History::default()
    }
}

/// Go's `%q` of a list of strings: `["a" "b"]`.
pub(crate) fn quoted_list(list: &[String]) -> String {
    format!("[{}]", list.iter().map(|s| quote(s)).collect::<Vec<_>>().join(" "))
}

/// Go's `%v` of a list of strings: `[a b]`.
pub(crate) fn plain_list(list: &[String]) -> String {
    format!("[{}]", list.join(" "))
}

/// Go's `strconv.Quote`.
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Go's `%q` of a pointer to Docker's health check struct: that is what BuildKit prints, number of retries as a rune.
pub(crate) fn healthcheck(check: &Healthcheck) -> String {
    let durations = [check.interval, check.timeout, check.start_period, check.start_interval];
    let durations: Vec<String> = durations.iter().map(|d| quote(&duration(*d))).collect();
    format!("&{{{} {} {}}}", quoted_list(&check.test), durations.join(" "), quoted_rune(check.retries))
}

/// Go's `%q` of a number.
fn quoted_rune(number: i64) -> String {
    let Some(c) = u32::try_from(number).ok().and_then(char::from_u32) else { return "'\u{fffd}'".to_owned() };
    match c {
        '\'' => "'\\''".to_owned(),
        '"' => "'\"'".to_owned(),
        c => {
            let text = quote(&c.to_string());
            format!("'{}'", &text[1..text.len() - 1])
        }
    }
}

/// Go's `time.Duration.String`.
pub(crate) fn duration(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".to_owned();
    }
    let (sign, n) = if nanos < 0 { ("-", nanos.unsigned_abs()) } else { ("", nanos.unsigned_abs()) };
    let fraction = |value: u64, unit: u64| {
        let text = format!("{}.{:0width$}", value / unit, value % unit, width = unit.ilog10() as usize);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    if n < 1_000 {
        return format!("{sign}{n}ns");
    }
    if n < 1_000_000 {
        return format!("{sign}{}µs", fraction(n, 1_000));
    }
    if n < 1_000_000_000 {
        return format!("{sign}{}ms", fraction(n, 1_000_000));
    }
    let (minutes, rest) = (n / 60_000_000_000, n % 60_000_000_000);
    let seconds = fraction(rest, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, m) => format!("{sign}{m}m{seconds}s"),
        (h, m) => format!("{sign}{h}h{m}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_go() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (2_000_000, "2ms"),
            (1_000_000_000, "1s"),
            (1_500_000_000, "1.5s"),
            (60_000_000_000, "1m0s"),
            (3_661_000_000_000, "1h1m1s"),
            (-5_000_000_000, "-5s"),
        ] {
            assert_eq!(duration(nanos), text);
        }
    }

    #[test]
    fn quotes_like_go() {
        assert_eq!(quoted_list(&["a\"b".to_owned(), "c\n\\".to_owned()]), r#"["a\"b" "c\n\\"]"#);
        assert_eq!(plain_list(&["/bin/sh".to_owned(), "-c".to_owned()]), "[/bin/sh -c]");
    }
}
