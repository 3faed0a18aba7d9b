//! `--call=check` and `--check`.
use super::print::{base64, excerpt, json};
use super::{Location, Position, Range};
use crate::lint::Report;
use crate::{Diagnostic, LineIndex};
use serde::Serialize;

/// The result of the checks of one Dockerfile.
#[derive(Debug, Clone)]
pub struct CheckResult<'a> {
    /// The file's name as it is shown.
    pub file: &'a str,
    /// Its text.
    pub source: &'a str,
    /// What the rules found.
    pub report: &'a Report,
}

#[derive(Serialize)]
struct Output<'a> {
    warnings: Option<Vec<Warning<'a>>>,
    sources: Vec<Source<'a>>,
    #[serde(rename = "buildError", skip_serializing_if = "Option::is_none")]
    build_error: Option<BuildError<'a>>,
}

#[derive(Serialize)]
struct Warning<'a> {
    #[serde(rename = "ruleName")]
    rule_name: &'a str,
    description: &'a str,
    url: &'a str,
    detail: &'a str,
    location: Location,
}

#[derive(Serialize)]
struct Source<'a> {
    filename: &'a str,
    data: String,
    language: &'a str,
}

#[derive(Serialize)]
struct BuildError<'a> {
    message: &'a str,
    location: Location,
}

impl CheckResult<'_> {
    /// What `--call=check` prints.
    pub fn text(&self) -> String {
        let index = LineIndex::new(self.source);
        let findings = &self.report.findings;
        let mut out = match findings.len() {
            0 => String::new(),
            1 => "Check complete, 1 warning has been found!\n".to_owned(),
            count => format!("Check complete, {count} warnings have been found!\n"),
        };
        for finding in findings {
            let rule = finding.rule;
            out += &format!("\nWARNING: {} - {}\n{}\n", rule.name, rule.url, finding.detail);
            out += &excerpt(self.file, &index, &Location::new(finding.span, &index));
        }
        match &self.report.problem {
            Some(problem) => {
                if !findings.is_empty() {
                    out.push('\n');
                }
                out += &format!("{}\n", problem.message);
                out += &excerpt(self.file, &index, &problem_location(problem, &index));
            }
            None if findings.is_empty() => out += "Check complete, no warnings found.\n",
            None => {}
        }
        out
    }

    /// What `--call=check,format=json` prints.
    pub fn json(&self) -> String {
        let index = LineIndex::new(self.source);
        let warnings = self.report.findings.iter().map(|finding| Warning {
            rule_name: finding.rule.name,
            description: finding.rule.description,
            url: finding.rule.url,
            detail: &finding.detail,
            location: Location::new(finding.span, &index),
        });
        let warnings: Vec<_> = warnings.collect();
        let build_error = self
            .report
            .problem
            .as_ref()
            .map(|problem| BuildError { message: &problem.message, location: problem_location(problem, &index) });
        json(&Output {
            warnings: (!warnings.is_empty()).then_some(warnings),
            sources: vec![Source { filename: self.file, data: base64(self.source), language: "Dockerfile" }],
            build_error,
        })
    }

    /// The exit status: 1 where something was found.
    pub fn status(&self) -> i32 {
        i32::from(!self.report.findings.is_empty() || self.report.problem.is_some())
    }
}

/// A problem with the target has no place in the file.
fn problem_location(problem: &Diagnostic, index: &LineIndex<'_>) -> Location {
    if problem.span == crate::Span::default() {
        return Location { ranges: Vec::new() };
    }
    let line = index.line(problem.span.start);
    Location { ranges: vec![Range { start: Position { line }, end: Position { line } }] }
}
