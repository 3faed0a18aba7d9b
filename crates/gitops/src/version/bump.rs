//! The next version.
use super::TagVersion;
use jiff::civil::Date;

/// Why there is no next version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The version before is none that can be counted up.
    #[error("`{0}` is no release like 1.2.3 that a next one follows; give the version with --tag")]
    NoRelease(String),
    /// A calendar format.
    #[error("calendar format `{format}`: {problem}")]
    Format {
        /// The format.
        format: String,
        /// What is wrong and what is allowed.
        problem: String,
    },
}

/// How far a version moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The third number.
    Patch,
    /// The second number.
    Minor,
    /// The first number.
    Major,
}

/// The version that follows `version`; `v` in front stays, the number of a rebuild goes. A pre-release is followed by
/// its release where that is far enough (`1.3.0-rc.1` by `1.3.0` for a patch or minor step).
///
/// # Errors
/// [`Error::NoRelease`] for anything but three numbers.
pub fn next(version: &str, step: Step) -> Result<String, Error> {
    let none = || Error::NoRelease(version.to_owned());
    let old = TagVersion::parse(version).ok_or_else(none)?;
    let [major, minor, patch] = old.numbers[..] else { return Err(none()) };
    let up = |number: u64| number.checked_add(1).ok_or_else(none);
    let enough = !old.pre.is_empty()
        && match step {
            Step::Patch => true,
            Step::Minor => patch == 0,
            Step::Major => minor == 0 && patch == 0,
        };
    let numbers = match step {
        _ if enough => vec![major, minor, patch],
        Step::Patch => vec![major, minor, up(patch)?],
        Step::Minor => vec![major, up(minor)?, 0],
        Step::Major => vec![up(major)?, 0, 0],
    };
    Ok(TagVersion { numbers, pre: semver::Prerelease::EMPTY, rebuild: 0, ..old }.to_string())
}

/// The messages of a `git log --format=%B%x00`: whole messages with a NUL byte behind each.
pub fn messages(log: &str) -> impl Iterator<Item = &str> {
    log.split('\0').map(str::trim).filter(|message| !message.is_empty())
}

/// How far messages in the form of Conventional Commits 1.0 move a version that is `version` now: a breaking change
/// (`!`, `BREAKING CHANGE:`) the first number, `feat` the second, `fix`, `perf` and `revert` the third, others none.
/// While the first number is 0 a breaking change moves the second (SemVer 2.0, item 4).
pub fn conventional<'m>(messages: impl IntoIterator<Item = &'m str>, version: &str) -> Option<Step> {
    let step = messages.into_iter().filter_map(conventional_one).max()?;
    let zero = TagVersion::parse(version).is_some_and(|version| version.numbers.first() == Some(&0));
    Some(if zero && step == Step::Major { Step::Minor } else { step })
}

fn conventional_one(message: &str) -> Option<Step> {
    let mut lines = message.lines();
    let (head, _) = lines.next()?.split_once(": ")?;
    let (head, bang) = head.strip_suffix('!').map_or((head, false), |head| (head, true));
    let (kind, scope) = head.split_once('(').map_or((head, ")"), |(kind, scope)| (kind, scope));
    if kind.is_empty()
        || !kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        || !scope.ends_with(')')
    {
        return None;
    }
    if bang || lines.any(|line| line.starts_with("BREAKING CHANGE: ") || line.starts_with("BREAKING-CHANGE: ")) {
        return Some(Step::Major);
    }
    match kind.to_ascii_lowercase().as_str() {
        "feat" => Some(Step::Minor),
        "fix" | "perf" | "revert" => Some(Step::Patch),
        _ => None,
    }
}

/// The calendar version for `date` that comes behind those that exist: `YYYY.MM.DD`, `YY.0M.MICRO` and other formats of
/// <https://calver.org>: `YYYY` `YY` `0Y`, `MM` `0M`, `WW` `0W`, `DD` `0D`, and once `MICRO`, the counter from 0 within
/// the same date. Without a counter, a second version of a date is a rebuild: `2026.11.21-1`.
///
/// # Errors
/// [`Error::Format`].
pub fn calendar<'t>(format: &str, date: Date, existing: impl IntoIterator<Item = &'t str>) -> Result<String, Error> {
    let wrong = |problem: &str| Error::Format { format: format.to_owned(), problem: problem.to_owned() };
    let week = date.iso_week_date().week();
    let tokens: [(&str, String); 10] = [
        ("YYYY", format!("{:04}", date.year())),
        ("YY", (date.year() - 2000).to_string()),
        ("0Y", format!("{:02}", date.year() - 2000)),
        ("MM", date.month().to_string()),
        ("0M", format!("{:02}", date.month())),
        ("WW", week.to_string()),
        ("0W", format!("{week:02}")),
        ("DD", date.day().to_string()),
        ("0D", format!("{:02}", date.day())),
        ("MICRO", "\0".into()),
    ];
    let (mut version, mut rest, mut dated) = (String::new(), format, false);
    while let Some(first) = rest.chars().next() {
        if let Some((token, value)) = tokens.iter().find(|(token, _)| rest.starts_with(token)) {
            version.push_str(value);
            dated |= *token != "MICRO";
            rest = &rest[token.len()..];
        } else if first.is_ascii_lowercase() || matches!(first, '.' | '-' | '_') {
            version.push(first);
            rest = &rest[1..];
        } else {
            return Err(wrong(
                "there are YYYY, YY, 0Y, MM, 0M, WW, 0W, DD, 0D and MICRO, with `.`, `-`, `_` and small letters between",
            ));
        }
    }
    if !dated {
        return Err(wrong("it has no part of a date, such as YYYY"));
    }
    let Some((before, behind)) = version.split_once('\0') else {
        return Ok(rebuild(&version, existing));
    };
    if behind.contains('\0') {
        return Err(wrong("MICRO stands there twice"));
    }
    let counter = |tag: &str| super::number(tag.strip_prefix(before)?.strip_suffix(behind)?);
    let next = existing.into_iter().filter_map(counter).max().map_or(0, |last| last.saturating_add(1));
    Ok(format!("{before}{next}{behind}"))
}

/// The tag for one more build of `version`: `version` itself where that does not exist, else with the next counter
/// (`1.2.3-1`, `1.2.3-2`, …). A gap is not filled: a counter that was given once is not given again while a higher one
/// exists.
pub fn rebuild<'t>(version: &str, existing: impl IntoIterator<Item = &'t str>) -> String {
    let base = match TagVersion::parse(version) {
        Some(parsed) if parsed.rebuild > 0 => TagVersion { rebuild: 0, ..parsed }.to_string(),
        _ => version.to_owned(),
    };
    let counter = |tag: &str| match tag.strip_prefix(base.as_str())? {
        "" => Some(0),
        rest => super::number(rest.strip_prefix('-')?),
    };
    match existing.into_iter().filter_map(counter).max() {
        None => base,
        Some(last) => format!("{base}-{}", last.saturating_add(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps() {
        let next = |version| [Step::Patch, Step::Minor, Step::Major].map(|step| next(version, step).unwrap());
        assert_eq!(next("1.2.3"), ["1.2.4", "1.3.0", "2.0.0"]);
        assert_eq!(next("v0.2.9-4"), ["v0.2.10", "v0.3.0", "v1.0.0"]);
        assert_eq!(next("1.3.0-rc.1"), ["1.3.0", "1.3.0", "2.0.0"]);
        assert_eq!(next("2.0.0-beta"), ["2.0.0", "2.0.0", "2.0.0"]);
        for no in ["1.2", "latest", "1.2.18446744073709551615"] {
            assert!(super::next(no, Step::Patch).is_err(), "{no}");
        }
    }

    #[test]
    fn conventional_commits() {
        let step = |log: &str, version| conventional(messages(log), version);
        assert_eq!(step("docs: x\n\0chore(deps): y\n\0Merge branch 'a'\n\0", "1.0.0"), None);
        assert_eq!(step("fix: x\0feat(ui): y\0", "1.0.0"), Some(Step::Minor));
        assert_eq!(step("fix(core)!: x\0", "1.0.0"), Some(Step::Major));
        assert_eq!(step("refactor: x\n\nwhy\n\nBREAKING CHANGE: the flag is gone\0", "1.0.0"), Some(Step::Major));
        assert_eq!(step("feat!: x\0", "0.3.1"), Some(Step::Minor));
        assert_eq!(step("perf: x\0feature: y\0Fix: z\0", "v1.0.0"), Some(Step::Patch));
        assert_eq!(step("fix:x\0fix(: y\0", "1.0.0"), None);
    }

    #[test]
    fn calendars() {
        let date: Date = "2026-03-07".parse().unwrap();
        let at = |format, existing: &[&str]| calendar(format, date, existing.iter().copied()).unwrap();
        assert_eq!(at("YYYY.0M.0D", &[]), "2026.03.07");
        assert_eq!(at("YYYY.0M.0D", &["2026.03.07", "2026.03.07-1"]), "2026.03.07-2");
        assert_eq!(at("YY.MM.MICRO", &["26.3.0", "26.3.10", "26.2.40", "latest"]), "26.3.11");
        assert_eq!(at("vYYYY.WW-MICRO", &[]), "v2026.10-0");
        for no in ["YYYY.Q", "MICRO", "YYYY.MICRO.MICRO", "YYYY/MM"] {
            assert!(calendar(no, date, []).is_err(), "{no}");
        }
    }

    #[test]
    fn rebuilds() {
        let next = |version, existing: &[&str]| rebuild(version, existing.iter().copied());
        assert_eq!(next("1.2.3", &["1.2.30", "1.2"]), "1.2.3");
        assert_eq!(next("1.2.3", &["1.2.3"]), "1.2.3-1");
        assert_eq!(next("1.2.3", &["1.2.3", "1.2.3-3", "1.2.3-rc.1", "1.2.3-04"]), "1.2.3-4");
        assert_eq!(next("1.2.3-2", &["1.2.3", "1.2.3-2"]), "1.2.3-3");
        assert_eq!(next("2026.03.07", &["2026.03.07"]), "2026.03.07-1");
    }
}
