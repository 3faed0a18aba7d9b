//! Durations as `images.yaml` writes them: a number and a unit (`12h`, `7d`, `2w`).
use std::fmt;
use std::str::FromStr;

/// A number of whole seconds that remembers how it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delay {
    seconds: i64,
    text: String,
}

impl Delay {
    /// In seconds, never negative.
    #[must_use]
    pub fn seconds(&self) -> i64 {
        self.seconds
    }
}

impl FromStr for Delay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fail = || format!("{text:?} is no duration; write a number and a unit, such as 12h, 7d or 2w");
        let unit = match text.chars().last() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 24 * 3600,
            Some('w') => 7 * 24 * 3600,
            _ => return Err(fail()),
        };
        let number = &text[..text.len() - 1];
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(fail());
        }
        let seconds = number.parse::<i64>().ok().and_then(|n| n.checked_mul(unit));
        match seconds {
            Some(seconds) if seconds <= 10 * 366 * 24 * 3600 => Ok(Self { seconds, text: text.to_owned() }),
            _ => Err(format!("{text:?} is longer than ten years")),
        }
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_units() {
        for (text, seconds) in
            [("0h", 0), ("90s", 90), ("30m", 1800), ("12h", 43_200), ("7d", 604_800), ("2w", 1_209_600)]
        {
            let delay: Delay = text.parse().unwrap();
            assert_eq!((delay.seconds(), delay.to_string().as_str()), (seconds, text));
        }
        for wrong in ["", "7", "d", "7 d", "-1d", "1.5h", "7y", "99999999999999999999d", "9999w", "7é"] {
            assert!(wrong.parse::<Delay>().is_err(), "{wrong}");
        }
    }
}
