//! What is shown of a scan: a table for people, JSON, SARIF 2.1.0.
mod json;
mod sarif;
mod table;

use crate::policy::Outcome;
use attest::inventory::Inventory;
use serde::Serialize;
use std::io;

/// A form to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A line a finding.
    Table,
    /// All that is known: `cooperage.scan/v1`.
    Json,
    /// SARIF 2.1.0, for code scanning of forges and for editors.
    Sarif,
}

/// Who looked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Scanner {
    /// Its name.
    pub name: String,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When the records that it looked in were fetched (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
}

/// What documents say beside the outcome.
#[derive(Debug, Clone)]
pub struct Options {
    /// When the scan was made (RFC 3339).
    pub created: String,
    /// Name and version of the program that writes.
    pub tool: (String, String),
    /// Who looked.
    pub scanner: Scanner,
    /// How many findings are left out by [`crate::Outcome::show_only`].
    pub hidden: usize,
}

/// Writes a report.
///
/// # Errors
/// Those of `out`.
pub fn write(
    format: Format,
    outcome: &Outcome,
    inventory: &Inventory,
    options: &Options,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    match format {
        Format::Table => out.write_all(table::table(outcome, inventory, options).as_bytes()),
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, &json::document(outcome, inventory, options))?;
            out.write_all(b"\n")
        }
        Format::Sarif => {
            serde_json::to_writer_pretty(&mut *out, &sarif::document(outcome, inventory, options))?;
            out.write_all(b"\n")
        }
    }
}

/// Text of others for a terminal: one line, without control characters, cut to so many characters.
fn clean(text: &str, most: usize) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    let line = words.join(" ");
    if line.chars().count() <= most { line } else { line.chars().take(most - 1).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Scan, Uncovered};
    use crate::policy::Policy;
    use crate::severity::Severity;
    use crate::testing::{finding, inventory};
    use jiff::civil::date;
    use serde_json::Value;

    fn outcome() -> Outcome {
        let mut first = finding("CVE-2026-1", "lib");
        first.severity = Severity::Critical;
        first.score = Some(9.8);
        first.aliases = vec!["GHSA-1".into()];
        first.details = Some("Long\nstory".into());
        let mut second = finding("GO-2026-2", "other");
        (second.severity, second.score, second.summary, second.fixed) =
            (Severity::Unknown, None, Some("evil\u{1b}[2J\nname".into()), Vec::new());
        second.package.source = Some("src".into());
        second.package.layer = None;
        let third = finding("CVE-2026-3", "lib");
        let uncovered = vec![Uncovered { ecosystem: "Slackware".into(), packages: 2, reason: "no records".into() }];
        let scan = Scan { findings: vec![first, second, third], packages: 7, uncovered };
        let text = "ignore:\n  - {id: CVE-2026-3, reason: only for tests, expires: 2030-01-01}\n";
        let rules = crate::ignore::parse(text, date(2026, 1, 1)).unwrap();
        Policy { fail_on: Some(Severity::High), rules, ..Policy::default() }.judge(scan, &inventory())
    }

    fn report(format: Format) -> String {
        let options = Options {
            created: "2026-01-01T00:00:00Z".into(),
            tool: ("cooperage".into(), "0.1.0".into()),
            scanner: Scanner { name: "cooperage".into(), version: None, database: Some("2025-12-31T00:00:00Z".into()) },
            hidden: 1,
        };
        let mut out = Vec::new();
        write(format, &outcome(), &inventory(), &options, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_table_for_people() {
        insta::assert_snapshot!(report(Format::Table), @r#"
        PACKAGE      VERSION  FIXED  SEVERITY      VULNERABILITY  LAYER  ABOUT
        lib          1.0.0    1.0.1  critical 9.8  CVE-2026-1     1      It breaks
        other (src)  1.0.0    -      unknown       GO-2026-2      -      evil [2J name

        Layers:
            1  6b86b273ff34  RUN npm ci # buildkit

        Not counted:
          CVE-2026-3  lib  only for tests (until 2030-01-01)

        Not looked at: 2 packages of Slackware: no records
        ghcr.io/me/app:1 (linux/amd64, 7 packages, records of 2025-12-31)
        2 vulnerabilities in 2 packages: 1 critical, 1 unknown; 1 with a fix; 1 not counted; 1 not shown
        "#);
    }

    #[test]
    fn json_has_all() {
        let value: Value = serde_json::from_str(&report(Format::Json)).unwrap();
        assert_eq!(value["schema"], "cooperage.scan/v1");
        assert_eq!((&value["failed"], &value["packages"]), (&Value::Bool(true), &Value::from(7)));
        assert_eq!(value["summary"]["critical"], 1);
        assert_eq!(value["findings"][0]["package"]["layer"]["instruction"], "RUN npm ci # buildkit");
        assert_eq!((&value["findings"][0]["id"], &value["findings"][0]["fails"]), (&"CVE-2026-1".into(), &true.into()));
        assert_eq!(value["suppressed"][0]["because"]["by"], "rule");
        assert_eq!(value["suppressed"][0]["because"]["reason"], "only for tests");
        assert_eq!(value["uncovered"][0]["ecosystem"], "Slackware");
    }

    /// What section 3 of the specification demands of the objects that are there.
    #[test]
    fn sarif_has_what_it_must() {
        let value: Value = serde_json::from_str(&report(Format::Sarif)).unwrap();
        assert_eq!((&value["version"], value["$schema"].is_string()), (&"2.1.0".into(), true));
        let run = &value["runs"][0];
        let driver = &run["tool"]["driver"];
        assert_eq!(driver["name"], "cooperage");
        let rules = driver["rules"].as_array().unwrap();
        let results = run["results"].as_array().unwrap();
        assert_eq!((rules.len(), results.len()), (3, 3));
        for result in results {
            let rule = &rules[usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
            assert_eq!(rule["id"], result["ruleId"]);
            assert!(["none", "note", "warning", "error"].contains(&result["level"].as_str().unwrap()));
            assert!(result["message"]["text"].is_string());
            let place = &result["locations"][0]["physicalLocation"];
            let uri = place["artifactLocation"]["uri"].as_str().unwrap();
            assert!(!uri.starts_with('/') && !uri.contains(' '), "{uri}");
            let base = place["artifactLocation"]["uriBaseId"].as_str().unwrap();
            assert!(run["originalUriBaseIds"][base]["uri"].as_str().unwrap().ends_with('/'));
            assert!(place["region"]["startLine"].as_u64().unwrap() > 0);
        }
        assert_eq!(rules[0]["properties"]["security-severity"], "9.8");
        assert_eq!((&results[0]["level"], &results[1]["level"]), (&"error".into(), &"note".into()));
        let suppression = &results[2]["suppressions"][0];
        assert_eq!((&suppression["kind"], &suppression["status"]), (&"external".into(), &"accepted".into()));
        assert_eq!(suppression["justification"], "only for tests (until 2030-01-01)");
    }
}
