//! Times and sizes as BuildKit prints them, and texts cut to a width.
use std::time::{Duration, SystemTime};

use build::history::Cause;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The time from `start` to `end`, zero where the clock went back.
pub(super) fn between(start: SystemTime, end: SystemTime) -> Duration {
    end.duration_since(start).unwrap_or_default()
}

/// `1.2s`
pub(super) fn seconds(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}

/// `12B`, `3.40kB`, `10.12MB`: powers of 1000.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count}B") } else { format!("{value:.2}{}", UNITS[unit]) }
}

/// `cache miss: src/main.c changed`
pub(super) fn miss(cause: &Cause) -> String {
    super::sanitize::clean(format!("cache miss: {}", cause.summary).replace('\n', " ").as_bytes(), false)
}

/// `3.40MB / 10.12MB`, or the first alone where the total is not known.
pub(super) fn amount(current: u64, total: Option<u64>) -> String {
    match total {
        Some(total) if total > 0 => format!("{} / {}", bytes(current), bytes(total)),
        // A count of one is no size: something that is done or not.
        _ if current > 1 => bytes(current),
        _ => String::new(),
    }
}

/// Cells that a text takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// The text cut to at most `max` cells; what was cut shows as `…`.
pub(crate) fn cut(text: &str, max: usize) -> String {
    if text.width() <= max {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let cells = c.width().unwrap_or(0);
        if used + cells + 1 > max {
            break;
        }
        used += cells;
        out.push(c);
    }
    if max > 0 {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_widths() {
        assert_eq!([bytes(0), bytes(999), bytes(1000), bytes(12_345_678)], ["0B", "999B", "1.00kB", "12.35MB"]);
        assert_eq!(amount(5, Some(10)), "5B / 10B");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abc", 0), "");
    }
}
