//! What counts, and what makes a scan fail; and the gate that pipelines use.
use crate::db::{Database, DbError};
use crate::finding::{Finding, Scan, Uncovered};
use crate::ignore::IgnoreRule;
use crate::severity::Severity;
use crate::vex::{self, Said, Status};
use attest::inventory::Inventory;
use serde::Serialize;

/// What is decided about findings.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Findings that are as severe as this or more make the scan fail; [`Severity::Unknown`] is every finding.
    pub fail_on: Option<Severity>,
    /// Whether findings without a fix do not count.
    pub ignore_unfixed: bool,
    /// Rules of `.cooperage/ignore.yaml`.
    pub rules: Vec<IgnoreRule>,
    /// OpenVEX documents.
    pub vex: Vec<vex::Document>,
}

/// A finding that counts.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judged {
    /// The finding.
    #[serde(flatten)]
    pub finding: Finding,
    /// Whether it makes the scan fail.
    pub fails: bool,
    /// What a VEX document says about it, where that does not take it away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vex: Option<Said>,
}

/// A finding that does not count.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Suppressed {
    /// The finding.
    #[serde(flatten)]
    pub finding: Finding,
    /// Why not.
    pub because: Because,
}

/// Why a finding does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub enum Because {
    /// A rule says so.
    Rule {
        /// The line of the rule.
        line: usize,
        /// The rule's reason.
        reason: String,
        /// The last day on which the rule holds, `YYYY-MM-DD`.
        expires: String,
    },
    /// A VEX document says so.
    Vex(Said),
    /// There is no fix, and those were not asked for.
    Unfixed,
}

impl Because {
    /// In words, on one line.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Rule { reason, expires, .. } => format!("{reason} (until {expires})"),
            Self::Vex(said) => {
                let why: Vec<&str> =
                    [&said.justification, &said.impact].into_iter().flatten().map(String::as_str).collect();
                let why = if why.is_empty() { String::new() } else { format!(": {}", why.join("; ")) };
                format!("{}{why} ({})", said.status.as_str(), said.document)
            }
            Self::Unfixed => "no fix is known".to_owned(),
        }
    }
}

/// What a scan comes to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// What counts, most severe first.
    pub findings: Vec<Judged>,
    /// What does not count.
    pub suppressed: Vec<Suppressed>,
    /// How many packages were matched.
    pub packages: usize,
    /// Packages that were not matched.
    pub uncovered: Vec<Uncovered>,
    /// Rules that fit no finding.
    pub unused: Vec<IgnoreRule>,
}

impl Outcome {
    /// Whether what was found is not allowed.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.findings.iter().any(|judged| judged.fails)
    }

    /// Leaves out findings of other severities than these, but never one that makes the scan fail. Gives the number of
    /// those that were left out.
    pub fn show_only(&mut self, severities: &[Severity]) -> usize {
        let before = self.findings.len();
        self.findings.retain(|judged| judged.fails || severities.contains(&judged.finding.severity));
        self.suppressed.retain(|suppressed| severities.contains(&suppressed.finding.severity));
        before - self.findings.len()
    }

    /// How many of what counts have this severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|judged| judged.finding.severity == severity).count()
    }
}

impl Policy {
    /// Decides about what a scan found in an image.
    #[must_use]
    pub fn judge(&self, scan: Scan, inventory: &Inventory) -> Outcome {
        let mut out = Outcome { packages: scan.packages, uncovered: scan.uncovered, ..Outcome::default() };
        let mut used = vec![false; self.rules.len()];
        for finding in scan.findings {
            let mut rule = None;
            for (number, candidate) in self.rules.iter().enumerate().filter(|(_, rule)| rule.fits(&finding)) {
                used[number] = true;
                rule = rule.or(Some(candidate));
            }
            let said = vex::verdict(&self.vex, &finding, inventory);
            let because = match (rule, &said) {
                (_, Some(said)) if matches!(said.status, Status::NotAffected | Status::Fixed) => {
                    Some(Because::Vex(said.clone()))
                }
                (Some(rule), _) => Some(Because::Rule {
                    line: rule.line,
                    reason: rule.reason.clone(),
                    expires: rule.expires.to_string(),
                }),
                _ if self.ignore_unfixed && finding.fixed.is_empty() => Some(Because::Unfixed),
                _ => None,
            };
            match because {
                Some(because) => out.suppressed.push(Suppressed { finding, because }),
                None => {
                    let fails = self.fail_on.is_some_and(|least| finding.severity >= least);
                    out.findings.push(Judged { finding, fails, vex: said });
                }
            }
        }
        let unused = self.rules.iter().zip(used).filter(|(_, used)| !used);
        out.unused = unused.map(|(rule, _)| rule.clone()).collect();
        out
    }
}

/// Matches what is in an image against the database and decides about it. [`Outcome::failed`] says whether the image
/// may go on. The database's age is the caller's to check ([`Database::check_age`]).
///
/// # Errors
/// Where the database cannot answer: that is never a clean result.
pub fn gate(inventory: &Inventory, database: &Database, policy: &Policy) -> Result<Outcome, DbError> {
    Ok(policy.judge(database.scan(inventory)?, inventory))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{finding, inventory};
    use jiff::civil::date;

    #[test]
    fn what_counts_and_what_fails() {
        let mut findings = Vec::new();
        for (id, severity, fixed) in [
            ("CVE-1", Severity::Critical, "2"),
            ("CVE-2", Severity::High, ""),
            ("CVE-3", Severity::High, "2"),
            ("CVE-4", Severity::Medium, "2"),
            ("CVE-5", Severity::Unknown, "2"),
        ] {
            let mut one = finding(id, "lib");
            one.severity = severity;
            one.fixed = Some(fixed).filter(|f| !f.is_empty()).map(str::to_owned).into_iter().collect();
            findings.push(one);
        }
        let scan = Scan { findings, packages: 1, uncovered: Vec::new() };
        let text = "ignore:\n  - {id: CVE-1, reason: no, expires: 2030-01-01}\n  - {id: CVE-9, reason: no, expires: 2030-01-01}\n";
        let rules = crate::ignore::parse(text, date(2026, 1, 1)).unwrap();
        let document = br#"{"@context":"https://openvex.dev/ns/v0.2.0","author":"Ada","timestamp":"2026-01-01T00:00:00Z",
            "statements":[{"vulnerability":{"name":"CVE-3"},"products":["pkg:npm/lib"],"status":"not_affected",
            "justification":"vulnerable_code_not_present"},
            {"vulnerability":{"name":"CVE-4"},"products":["pkg:npm/lib"],"status":"affected","action_statement":"update"}]}"#;
        let vex = vec![vex::Document::parse("v.json", document).unwrap()];
        let policy = Policy { fail_on: Some(Severity::High), ignore_unfixed: true, rules, vex };
        let outcome = policy.judge(scan.clone(), &inventory());
        let kept: Vec<_> = outcome.findings.iter().map(|j| (j.finding.id.as_str(), j.fails, j.vex.is_some())).collect();
        assert_eq!(kept, [("CVE-4", false, true), ("CVE-5", false, false)]);
        assert!(!outcome.failed());
        let why: Vec<_> = outcome.suppressed.iter().map(|s| format!("{} {}", s.finding.id, s.because.text())).collect();
        assert_eq!(
            why,
            [
                "CVE-1 no (until 2030-01-01)",
                "CVE-2 no fix is known",
                "CVE-3 not_affected: vulnerable_code_not_present (v.json)"
            ]
        );
        assert_eq!(outcome.unused.iter().map(|r| r.line).collect::<Vec<_>>(), [3]);
        let fails = |fail_on| {
            let outcome = Policy { fail_on, ..Policy::default() }.judge(scan.clone(), &inventory());
            outcome.findings.iter().filter(|j| j.fails).count()
        };
        assert_eq!(fails(None), 0);
        assert_eq!(fails(Some(Severity::Critical)), 1);
        assert_eq!(fails(Some(Severity::Low)), 4);
        assert_eq!(fails(Some(Severity::Unknown)), 5);
    }
}
