//! How bad a vulnerability is: from CVSS vectors, or from what the distribution says.
//!
//! A distribution's own word about its package comes first, since it knows how it builds the package and what of it
//! can be reached; `not yet assigned` and the like say nothing. Then the vector of the newest CVSS version (4.0, 3.1,
//! 3.0, 2.0) that can be read, of several of one version the highest; then the word of the database.
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How bad it is. The order is that of badness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nobody has said.
    #[default]
    Unknown,
    /// Of no practical consequence: a score of 0, Debian's `unimportant`.
    Negligible,
    /// Below 4.
    Low,
    /// Below 7.
    Medium,
    /// Below 9.
    High,
    /// 9 and above.
    Critical,
}

impl Severity {
    /// All, the least first.
    pub const ALL: [Self; 6] = [Self::Unknown, Self::Negligible, Self::Low, Self::Medium, Self::High, Self::Critical];

    /// Its name, in small letters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Negligible => "negligible",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// The rating of a CVSS score (specification of 3.1, section 5; that of 4.0, section 6).
    #[must_use]
    pub fn of_score(score: f32) -> Self {
        match score {
            s if s >= 9.0 => Self::Critical,
            s if s >= 7.0 => Self::High,
            s if s >= 4.0 => Self::Medium,
            s if s > 0.0 => Self::Low,
            _ => Self::Negligible,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that is no severity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no severity; known are unknown, negligible, low, medium, high, critical")]
pub struct SeverityError(String);

impl FromStr for Severity {
    type Err = SeverityError;

    /// Letters may be of either case; `moderate` is medium, `none` is negligible.
    fn from_str(text: &str) -> Result<Self, SeverityError> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "unknown" => Self::Unknown,
            "negligible" | "none" => Self::Negligible,
            "low" => Self::Low,
            "medium" | "moderate" => Self::Medium,
            "high" => Self::High,
            "critical" => Self::Critical,
            _ => return Err(SeverityError(text.to_owned())),
        })
    }
}

/// A severity as a record has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vector {
    /// OSV's type: `CVSS_V2`, `CVSS_V3`, `CVSS_V4`, `Ubuntu`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The vector, or the word.
    pub score: String,
}

/// A severity, and the score that it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rating {
    /// How bad.
    pub severity: Severity,
    /// 0 to 10.
    pub score: Option<f32>,
}

/// Rates a vulnerability from its vectors, what the distribution says (Debian's urgency, Ubuntu's priority), and the
/// word of the database (`HIGH`, `MODERATE`).
#[must_use]
pub fn rate(vectors: &[Vector], urgency: Option<&str>, word: Option<&str>) -> Rating {
    let score = newest(vectors);
    let said = urgency.and_then(distribution).or_else(|| {
        vectors.iter().filter(|v| v.kind.eq_ignore_ascii_case("Ubuntu")).find_map(|v| distribution(&v.score))
    });
    let severity = said
        .or_else(|| score.map(Severity::of_score))
        .or_else(|| word.and_then(|word| word.parse().ok()))
        .unwrap_or_default();
    Rating { severity, score }
}

/// What a distribution's word means; `None` where it says nothing.
fn distribution(word: &str) -> Option<Severity> {
    match word.trim().trim_end_matches('*').to_ascii_lowercase().as_str() {
        "unimportant" | "negligible" => Some(Severity::Negligible),
        "important" => Some(Severity::High),
        "unknown" | "none" => None,
        other => other.parse().ok(),
    }
}

/// The score of the newest version of CVSS; of several the highest.
fn newest(vectors: &[Vector]) -> Option<f32> {
    let mut best: Option<(u8, f32)> = None;
    for vector in vectors {
        let Some((version, score)) = cvss(&vector.score) else { continue };
        if best.is_none_or(|(v, s)| (version, score) > (v, s)) {
            best = Some((version, score));
        }
    }
    best.map(|(_, score)| score)
}

/// Version (2, 3, 4) and score of a vector; `None` where it is none, or lacks a metric that every vector must have.
#[must_use]
pub fn cvss(vector: &str) -> Option<(u8, f32)> {
    const V2: &[&str] = &["AV", "AC", "Au", "C", "I", "A"];
    const V3: &[&str] = &["AV", "AC", "PR", "UI", "S", "C", "I", "A"];
    const V4: &[&str] = &["AV", "AC", "AT", "PR", "UI", "VC", "VI", "VA", "SC", "SI", "SA"];
    if vector.len() > 1000 {
        return None;
    }
    let parsed: cvss::Cvss = vector.trim().trim_start_matches('(').trim_end_matches(')').parse().ok()?;
    let (version, needed) = match parsed {
        cvss::Cvss::CvssV20(_) => (2, V2),
        cvss::Cvss::CvssV30(_) | cvss::Cvss::CvssV31(_) => (3, V3),
        cvss::Cvss::CvssV40(_) => (4, V4),
        _ => return None,
    };
    let has = |name: &str| {
        vector.split(['/', '(']).any(|part| part.split_once(':').is_some_and(|(n, value)| n == name && value != "X"))
    };
    if !needed.iter().all(|name| has(name)) {
        return None;
    }
    let score = parsed.score();
    // Scores have one decimal.
    #[allow(clippy::cast_possible_truncation, reason = "0 to 10")]
    score.is_finite().then_some((version, (score * 10.0).round() as f32 / 10.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the documents "Examples" of FIRST, and the ends of the scales.
    #[test]
    fn the_published_examples() {
        for (vector, version, score) in [
            ("CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", 3, 6.4),
            ("CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N", 3, 3.1),
            ("CVSS:3.1/AV:L/AC:L/PR:H/UI:N/S:U/C:L/I:L/A:L", 3, 4.2),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 3, 9.8),
            ("CVSS:3.0/AV:N/AC:L/PR:L/UI:N/S:C/C:H/I:H/A:H", 3, 9.9),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", 3, 0.0),
            ("CVSS:4.0/AV:L/AC:L/AT:P/PR:L/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", 4, 7.3),
            ("CVSS:4.0/AV:N/AC:L/AT:P/PR:N/UI:P/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", 4, 7.7),
            ("CVSS:4.0/AV:N/AC:L/AT:P/PR:N/UI:P/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N/E:U", 4, 5.2),
            ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:L/VA:L/SC:N/SI:N/SA:N", 4, 8.8),
            ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H", 4, 10.0),
            ("AV:N/AC:L/Au:N/C:N/I:N/A:C", 2, 7.8),
            ("AV:N/AC:L/Au:N/C:C/I:C/A:C", 2, 10.0),
        ] {
            assert_eq!(cvss(vector), Some((version, score)), "{vector}");
        }
        for none in [
            "",
            "HIGH",
            "9.8",
            "CVSS:3.1",
            "CVSS:3.1/AV:N",
            "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H",
            "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H",
            "CVSS:3.1/AV:Q/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
            "CVSS:5.0/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
        ] {
            assert_eq!(cvss(none), None, "{none}");
        }
    }

    #[test]
    fn scores_become_ratings_at_the_limits() {
        for (score, severity) in [
            (0.0, Severity::Negligible),
            (0.1, Severity::Low),
            (3.9, Severity::Low),
            (4.0, Severity::Medium),
            (6.9, Severity::Medium),
            (7.0, Severity::High),
            (8.9, Severity::High),
            (9.0, Severity::Critical),
            (10.0, Severity::Critical),
        ] {
            assert_eq!(Severity::of_score(score), severity, "{score}");
        }
        for severity in Severity::ALL {
            assert_eq!(severity.to_string().to_uppercase().parse(), Ok(severity));
        }
        assert!("hihg".parse::<Severity>().is_err());
    }

    #[test]
    fn who_is_believed() {
        let vector = |kind: &str, score: &str| Vector { kind: kind.into(), score: score.into() };
        let v3 = vector("CVSS_V3", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H");
        let low = vector("CVSS_V3", "CVSS:3.1/AV:L/AC:L/PR:H/UI:N/S:U/C:L/I:L/A:L");
        let v4 = vector("CVSS_V4", "CVSS:4.0/AV:N/AC:L/AT:P/PR:N/UI:P/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N");
        let broken = vector("CVSS_V4", "CVSS:4.0/AV:N");
        let rated = |vectors: &[&Vector], urgency: Option<&str>, word: Option<&str>| {
            let rating = rate(&vectors.iter().map(|v| (*v).clone()).collect::<Vec<_>>(), urgency, word);
            (rating.severity, rating.score)
        };
        assert_eq!(rated(&[&low, &v3], None, Some("LOW")), (Severity::Critical, Some(9.8)));
        assert_eq!(rated(&[&v4, &v3], None, None), (Severity::High, Some(7.7)));
        assert_eq!(rated(&[&broken, &v3], None, None), (Severity::Critical, Some(9.8)));
        assert_eq!(rated(&[&broken], None, Some("MODERATE")), (Severity::Medium, None));
        assert_eq!(rated(&[&v3], Some("unimportant"), None), (Severity::Negligible, Some(9.8)));
        assert_eq!(rated(&[&v3], Some("low**"), None), (Severity::Low, Some(9.8)));
        for nothing in ["not yet assigned", "end-of-life", "untriaged", ""] {
            assert_eq!(rated(&[&v3], Some(nothing), None), (Severity::Critical, Some(9.8)));
        }
        assert_eq!(rated(&[&vector("Ubuntu", "medium"), &v3], None, None), (Severity::Medium, Some(9.8)));
        assert_eq!(rated(&[], None, None), (Severity::Unknown, None));
    }
}
