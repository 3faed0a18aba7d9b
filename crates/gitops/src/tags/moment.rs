//! Dates in the formats of moment.js, in English, which tag rules use: `YYYYMMDD`, `YYYY-[W]WW`, …
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// Formats `time` in the time zone `zone` (an IANA name; empty is UTC).
///
/// # Errors
/// A text that says which zone or token is unknown.
pub(super) fn format(time: Timestamp, format: &str, zone: &str) -> Result<String, String> {
    let zone = match zone {
        "" | "UTC" | "Z" => TimeZone::UTC,
        name => TimeZone::get(name)
            .map_err(|_| format!("the time zone `{name}` is unknown; write it like Europe/Berlin"))?,
    };
    let mut out = String::new();
    write(&time.to_zoned(zone), format, &mut out)?;
    Ok(out)
}

/// Longer ones first. What moment knows beyond these is an error, so that no date is silently another.
const TOKENS: [&str; 73] = [
    "LLLL",
    "llll",
    "LTS",
    "LLL",
    "lll",
    "LT",
    "LL",
    "ll",
    "L",
    "l",
    "Hmmss",
    "hmmss",
    "Hmm",
    "hmm",
    "YYYYYY",
    "YYYYY",
    "YYYY",
    "YY",
    "Y",
    "MMMM",
    "MMM",
    "MM",
    "Mo",
    "M",
    "DDDD",
    "DDDo",
    "DDD",
    "DD",
    "Do",
    "D",
    "dddd",
    "ddd",
    "dd",
    "do",
    "d",
    "ww",
    "wo",
    "w",
    "WW",
    "Wo",
    "W",
    "Qo",
    "Q",
    "gggg",
    "gg",
    "GGGG",
    "GG",
    "HH",
    "H",
    "hh",
    "h",
    "kk",
    "k",
    "mm",
    "m",
    "ss",
    "s",
    "SSSSSSSSS",
    "SSSSSS",
    "SSSS",
    "SSS",
    "SS",
    "S",
    "ZZ",
    "Z",
    "zz",
    "z",
    "X",
    "x",
    "A",
    "a",
    "E",
    "e",
];

fn write(time: &Zoned, format: &str, out: &mut String) -> Result<(), String> {
    let mut rest = format;
    while let Some(first) = rest.chars().next() {
        if let Some(inner) = rest.strip_prefix('[')
            && let Some(end) = inner.find(']')
        {
            out.push_str(&inner[..end]);
            rest = &inner[end + 1..];
        } else if let Some(inner) = rest.strip_prefix('\\') {
            let next = inner.chars().next();
            out.extend(next);
            rest = &inner[next.map_or(0, char::len_utf8)..];
        } else if let Some(token) = TOKENS.iter().find(|token| rest.starts_with(**token)) {
            put(time, token, out)?;
            rest = &rest[token.len()..];
        } else if matches!(first, 'N' | 'y') {
            return Err(format!("`{first}` (an era) is not supported in a date; write [{first}] for the letter"));
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    Ok(())
}

fn put(time: &Zoned, token: &str, out: &mut String) -> Result<(), String> {
    let long = match token {
        "LT" => "h:mm A",
        "LTS" => "h:mm:ss A",
        "L" => "MM/DD/YYYY",
        "l" => "M/D/YYYY",
        "LL" => "MMMM D, YYYY",
        "ll" => "MMM D, YYYY",
        "LLL" => "MMMM D, YYYY h:mm A",
        "lll" => "MMM D, YYYY h:mm A",
        "LLLL" => "dddd, MMMM D, YYYY h:mm A",
        "llll" => "ddd, MMM D, YYYY h:mm A",
        "Hmm" => "H[]mm",
        "Hmmss" => "H[]mm[]ss",
        "hmm" => "h[]mm",
        "hmmss" => "h[]mm[]ss",
        _ => "",
    };
    if !long.is_empty() {
        return write(time, long, out);
    }
    let date = time.date();
    let (year, month, day) = (i64::from(date.year()), i64::from(date.month()), i64::from(date.day()));
    let day_of_year = i64::from(date.day_of_year());
    let hour = i64::from(time.hour());
    let twelve = if hour % 12 == 0 { 12 } else { hour % 12 };
    let twenty_four = if hour == 0 { 24 } else { hour };
    let weekday = i64::from(date.weekday().to_sunday_zero_offset());
    let iso = date.iso_week_date();
    let (week_year, week) = local_week(year, day_of_year, weekday, date.days_in_year().into());
    let nanosecond = i64::from(time.subsec_nanosecond());
    let names = NAMES[usize::try_from(date.month() - 1).unwrap_or(0)];
    let day_name = match date.weekday() {
        Weekday::Sunday => "Sunday",
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
    };
    let offset = time.offset().seconds();
    let sign = if offset < 0 { '-' } else { '+' };
    let (hours, minutes) = (offset.abs() / 3600, offset.abs() / 60 % 60);
    out.push_str(&match token {
        "YYYYYY" => format!("+{year:06}"),
        "YYYYY" => format!("{year:05}"),
        "YYYY" => format!("{year:04}"),
        "YY" => format!("{:02}", year % 100),
        "Y" => year.to_string(),
        "MMMM" => names.to_owned(),
        "MMM" => names[..3].to_owned(),
        "MM" => format!("{month:02}"),
        "Mo" => ordinal(month),
        "M" => month.to_string(),
        "DDDD" => format!("{day_of_year:03}"),
        "DDDo" => ordinal(day_of_year),
        "DDD" => day_of_year.to_string(),
        "DD" => format!("{day:02}"),
        "Do" => ordinal(day),
        "D" => day.to_string(),
        "dddd" => day_name.to_owned(),
        "ddd" => day_name[..3].to_owned(),
        "dd" => day_name[..2].to_owned(),
        "do" => ordinal(weekday),
        "d" | "e" => weekday.to_string(),
        "E" => (if weekday == 0 { 7 } else { weekday }).to_string(),
        "ww" => format!("{week:02}"),
        "wo" => ordinal(week),
        "w" => week.to_string(),
        "WW" => format!("{:02}", iso.week()),
        "Wo" => ordinal(iso.week().into()),
        "W" => iso.week().to_string(),
        "Qo" => ordinal((month + 2) / 3),
        "Q" => ((month + 2) / 3).to_string(),
        "gggg" => format!("{week_year:04}"),
        "gg" => format!("{:02}", week_year % 100),
        "GGGG" => format!("{:04}", iso.year()),
        "GG" => format!("{:02}", iso.year() % 100),
        "HH" => format!("{hour:02}"),
        "H" => hour.to_string(),
        "hh" => format!("{twelve:02}"),
        "h" => twelve.to_string(),
        "kk" => format!("{twenty_four:02}"),
        "k" => twenty_four.to_string(),
        "mm" => format!("{:02}", time.minute()),
        "m" => time.minute().to_string(),
        "ss" => format!("{:02}", time.second()),
        "s" => time.second().to_string(),
        "ZZ" => format!("{sign}{hours:02}{minutes:02}"),
        "Z" => format!("{sign}{hours:02}:{minutes:02}"),
        "zz" | "z" => time.time_zone().to_offset_info(time.timestamp()).abbreviation().to_owned(),
        "X" => time.timestamp().as_second().to_string(),
        "x" => time.timestamp().as_millisecond().to_string(),
        "A" => (if hour < 12 { "AM" } else { "PM" }).to_owned(),
        "a" => (if hour < 12 { "am" } else { "pm" }).to_owned(),
        fraction => format!("{nanosecond:09}")[..fraction.len().min(9)].to_owned(),
    });
    Ok(())
}

const NAMES: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The week as it is counted in the United States: from Sunday, week 1 holds January 1.
fn local_week(year: i64, day_of_year: i64, weekday: i64, days: i64) -> (i64, i64) {
    // The weekday of January 1.
    let first = (weekday - (day_of_year - 1)).rem_euclid(7);
    let week = (day_of_year - 1 + first) / 7 + 1;
    // The last days belong to the next year's first week, where that begins among them.
    let next = (first + days).rem_euclid(7);
    if next != 0 && day_of_year > days - next { (year + 1, 1) } else { (year, week) }
}

fn ordinal(number: i64) -> String {
    let ending = match (number % 100, number % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn formats_of_moment() {
        let at = |time: &str, format: &str, zone| super::format(time.parse().unwrap(), format, zone).unwrap();
        let time = "2026-11-21T15:04:05.678Z";
        assert_eq!(
            at(time, "YYYY YY M MM MMM MMMM D DD Do DDD DDDD", ""),
            "2026 26 11 11 Nov November 21 21 21st 325 325"
        );
        assert_eq!(
            at(time, "d do dd ddd dddd e E w ww W WW gggg GGGG Q Qo", ""),
            "6 6th Sa Sat Saturday 6 6 47 47 47 47 2026 2026 4 4th"
        );
        assert_eq!(
            at(time, "H HH h hh k kk m mm s ss S SS SSS a A Hmm hmmss", ""),
            "15 15 3 03 15 15 4 04 5 05 6 67 678 pm PM 1504 30405"
        );
        assert_eq!(at(time, "Z ZZ z X x", "America/New_York"), "-05:00 -0500 EST 1795273445 1795273445678");
        assert_eq!(at(time, "YYYY-MM-DDTHH:mm:ssZ", "Asia/Tokyo"), "2026-11-22T00:04:05+09:00");
        assert_eq!(
            at(time, "LT|LTS|L|l|LL|ll|LLLL", ""),
            "3:04 PM|3:04:05 PM|11/21/2026|11/21/2026|November 21, 2026|Nov 21, 2026|Saturday, November 21, 2026 3:04 PM"
        );
        assert_eq!(at(time, "[week] W \\W", ""), "week 47 W");
        assert_eq!(at("2025-12-31T00:00:00Z", "w gggg W GGGG", ""), "1 2026 1 2026");
        assert_eq!(at("2027-01-01T00:00:00Z", "w gggg W GGGG", ""), "1 2027 53 2026");
        assert_eq!(at("2026-01-01T00:30:00Z", "Do h kk", ""), "1st 12 24");
        assert!(super::format("2026-01-01T00:00:00Z".parse().unwrap(), "YYYY", "Mars/Base").is_err());
        assert!(super::format("2026-01-01T00:00:00Z".parse().unwrap(), "N", "").is_err());
    }
}
