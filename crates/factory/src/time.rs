//! Times as state files have them: `2025-12-01T10:00:00+00:00`, in UTC, to the second.
use jiff::Timestamp;

/// A time as state files have it.
#[must_use]
pub fn stamp(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

/// The seconds of a time in RFC 3339, with or without fractions and offset (then UTC).
#[must_use]
pub fn seconds(text: &str) -> Option<i64> {
    let text = text.trim();
    let time = text.parse::<Timestamp>().or_else(|_| format!("{text}Z").parse::<Timestamp>());
    time.ok().map(Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        assert_eq!(stamp(1_764_583_200), "2025-12-01T10:00:00+00:00");
        for text in [
            "2025-12-01T10:00:00+00:00",
            "2025-12-01T10:00:00Z",
            "2025-12-01T10:00:00.123456",
            "2025-12-01T12:00:00+02:00",
        ] {
            assert_eq!(seconds(text), Some(1_764_583_200), "{text}");
        }
        assert_eq!(seconds("yesterday"), None);
    }
}
