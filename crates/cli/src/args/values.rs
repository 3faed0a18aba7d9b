//! Parsers of single values, with Docker's meaning: booleans, sizes, hosts, limits.

/// `true`, `1`, `t`, … as Go's `strconv.ParseBool` has it.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("expected true or false, not {text:?}")),
    }
}

/// A size in bytes: `64m`, `1.5g`, `4096`, `128MiB`; units are powers of 1024.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let fail = || format!("{text:?} is no size; expected a number with b, k, m, g or t, such as 64m");
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let number: f64 = number.parse().map_err(|_| fail())?;
    let factor = match unit.trim().trim_end_matches('b').trim_end_matches('i') {
        "" if unit.contains('i') => return Err(fail()),
        "" => 1u64,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        "p" => 1 << 50,
        _ => return Err(fail()),
    };
    let bytes = number * factor as f64;
    if !(0.0..=9.0e18).contains(&bytes) {
        return Err(format!("{text:?} is out of range"));
    }
    Ok(bytes as u64)
}

/// The limits that `--ulimit` knows.
pub(crate) const ULIMITS: &[&str] = &[
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// `NAME=SOFT[:HARD]`; -1 and `unlimited` stand for no limit.
pub(crate) fn ulimit(text: &str) -> Result<(String, u64, u64), String> {
    let (name, limits) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=SOFT[:HARD]"))?;
    if !ULIMITS.contains(&name) {
        return Err(format!("there is no limit {name:?}; known are {}", ULIMITS.join(", ")));
    }
    let number = |text: &str| match text {
        "-1" | "unlimited" => Ok(u64::MAX),
        _ => text.parse::<u64>().map_err(|_| format!("{text:?} is no limit; expected a number or -1")),
    };
    let (soft, hard) = match limits.split_once(':') {
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(limits)?, number(limits)?),
    };
    if soft > hard {
        return Err(format!("the soft limit {soft} of {name} is above its hard limit {hard}"));
    }
    Ok((name.to_owned(), soft, hard))
}

/// `NAME:IP` or `NAME=IP`; IPv6 with or without brackets.
pub(crate) fn host(text: &str) -> Result<(String, String), String> {
    let (name, ip) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .filter(|(name, ip)| !name.is_empty() && !ip.is_empty())
        .ok_or_else(|| format!("{text:?} is not NAME:IP"))?;
    if ip == "host-gateway" {
        return Err("host-gateway needs a daemon's bridge network; give the address itself, such as 127.0.0.1 \
                    (steps share the network of this machine)"
            .into());
    }
    let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    let address: std::net::IpAddr = bare.parse().map_err(|_| format!("{ip:?} is no IP address"))?;
    if name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("{name:?} is no host name"));
    }
    Ok((name.to_owned(), address.to_string()))
}

/// `KEY=VALUE`; without `=` the value is looked up, and the pair left out where there is none.
pub(crate) fn pair(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<Option<(String, String)>, String> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (text, lookup(text)),
    };
    if key.is_empty() {
        return Err(format!("{text:?} has no name in front of \"=\""));
    }
    Ok(value.map(|value| (key.to_owned(), value)))
}

/// `90s`, `30m`, `24h`, `7d`, and sums of them, in seconds.
pub(crate) fn duration(text: &str) -> std::result::Result<i64, String> {
    let fail = || format!("{text:?} is no duration; write it as 30m, 24h or 7d");
    let (mut total, mut number) = (0_i64, String::new());
    for c in text.chars() {
        if c.is_ascii_digit() {
            number.push(c);
            continue;
        }
        let unit = match c {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 24 * 3600,
            'w' => 7 * 24 * 3600,
            _ => return Err(fail()),
        };
        let value: i64 = number.parse().map_err(|_| fail())?;
        total = value.checked_mul(unit).and_then(|v| total.checked_add(v)).ok_or_else(fail)?;
        number.clear();
    }
    if number.is_empty() && !text.is_empty() { Ok(total) } else { Err(fail()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_dockers() {
        for (text, bytes) in [
            ("0", 0),
            ("64m", 64 << 20),
            ("1.5g", 3 << 29),
            ("1kb", 1024),
            ("2KiB", 2048),
            ("7b", 7),
            ("1 gb", 1 << 30),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "m", "-1", "1x", "1ib", "1e3", "99999999999t"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn limits() {
        assert_eq!(ulimit("nofile=1024:2048"), Ok(("nofile".into(), 1024, 2048)));
        assert_eq!(ulimit("core=-1"), Ok(("core".into(), u64::MAX, u64::MAX)));
        assert!(ulimit("files=1").unwrap_err().starts_with("there is no limit \"files\""));
        assert!(ulimit("nofile=2:1").unwrap_err().contains("above its hard limit"));
        assert!(ulimit("nofile").is_err());
    }

    #[test]
    fn hosts() {
        assert_eq!(host("a:1.2.3.4"), Ok(("a".into(), "1.2.3.4".into())));
        assert_eq!(host("a=::1"), Ok(("a".into(), "::1".into())));
        assert_eq!(host("a:[::1]"), Ok(("a".into(), "::1".into())));
        assert!(host("a:").is_err() && host("a").is_err() && host("a:b").is_err());
        assert!(host("a:host-gateway").unwrap_err().contains("daemon"));
    }

    #[test]
    fn pairs_take_their_value_from_the_environment() {
        let lookup = |name: &str| (name == "SET").then(|| "yes".to_owned());
        assert_eq!(pair("A=b=c", lookup), Ok(Some(("A".into(), "b=c".into()))));
        assert_eq!(pair("SET", lookup), Ok(Some(("SET".into(), "yes".into()))));
        assert_eq!(pair("UNSET", lookup), Ok(None));
        assert!(pair("=x", lookup).is_err());
    }

    #[test]
    fn durations() {
        assert_eq!(duration("90s"), Ok(90));
        assert_eq!(duration("1h30m"), Ok(5400));
        assert_eq!(duration("7d"), Ok(604_800));
        for bad in ["", "7", "d", "1y", "99999999999999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
