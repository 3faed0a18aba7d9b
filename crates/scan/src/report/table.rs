//! A line a finding, then the layers, what does not count, and the sum.
use super::{Options, clean};
use crate::finding::{AffectedPackage, Finding};
use crate::policy::Outcome;
use crate::severity::Severity;
use attest::inventory::Inventory;
use std::collections::{BTreeMap, BTreeSet};

const HEAD: [&str; 6] = ["PACKAGE", "VERSION", "FIXED", "SEVERITY", "VULNERABILITY", "LAYER"];

pub(super) fn table(outcome: &Outcome, inventory: &Inventory, options: &Options) -> String {
    let mut out = String::new();
    let mut layers: BTreeMap<usize, Option<&str>> = BTreeMap::new();
    if !outcome.findings.is_empty() {
        let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
        rows[0].push("ABOUT".to_owned());
        for judged in &outcome.findings {
            let finding = &judged.finding;
            if let Some(layer) = &finding.package.layer {
                layers.insert(layer.index, layer.instruction.as_deref());
            }
            rows.push(row(finding));
        }
        let widths: Vec<usize> = (0..HEAD.len())
            .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default())
            .collect();
        for row in &rows {
            let mut line: String = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}  ")).collect();
            line.push_str(&row[HEAD.len()]);
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out.push('\n');
    }
    if !layers.is_empty() {
        out.push_str("Layers:\n");
        for (index, instruction) in layers {
            let short = inventory.layers.get(index).map(|layer| layer.diff_id.short()).unwrap_or_default();
            let line = format!("  {index:>3}  {short}  {}", clean(instruction.unwrap_or_default(), 90));
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out.push('\n');
    }
    if !outcome.suppressed.is_empty() {
        out.push_str("Not counted:\n");
        let mut lines: Vec<[String; 3]> = Vec::new();
        let mut unfixed = 0;
        for suppressed in &outcome.suppressed {
            if suppressed.because == crate::policy::Because::Unfixed {
                unfixed += 1;
                continue;
            }
            let finding = &suppressed.finding;
            lines.push([finding.id.clone(), named(&finding.package), clean(&suppressed.because.text(), 120)]);
        }
        let width = |column: usize| lines.iter().map(|l| l[column].chars().count()).max().unwrap_or_default();
        let (first, second) = (width(0), width(1));
        for [id, package, why] in &lines {
            out.push_str(&format!("  {id:first$}  {package:second$}  {why}\n"));
        }
        if unfixed > 0 {
            out.push_str(&format!("  {unfixed} without a fix\n"));
        }
        out.push('\n');
    }
    for uncovered in &outcome.uncovered {
        let (packages, reason) = (count(uncovered.packages, "package"), clean(&uncovered.reason, 200));
        out.push_str(&format!("Not looked at: {packages} of {}: {reason}\n", clean(&uncovered.ecosystem, 60)));
    }
    out.push_str(&sum(outcome, inventory, options));
    out
}

fn row(finding: &Finding) -> Vec<String> {
    let score = finding.score.map(|score| format!(" {score:.1}")).unwrap_or_default();
    let fixed = match finding.fixed.as_slice() {
        [] => "-".to_owned(),
        [first] => first.clone(),
        [first, rest @ ..] => format!("{first} (+{})", rest.len()),
    };
    vec![
        named(&finding.package),
        clean(&finding.package.version, 40),
        clean(&fixed, 40),
        format!("{}{score}", finding.severity),
        clean(&finding.id, 30),
        finding.package.layer.as_ref().map_or_else(|| "-".to_owned(), |layer| layer.index.to_string()),
        clean(finding.summary.as_deref().or(finding.details.as_deref()).unwrap_or_default(), 60),
    ]
}

/// A package, with its source package where that is called otherwise.
fn named(package: &AffectedPackage) -> String {
    let name = clean(&package.name, 60);
    match &package.source {
        Some(source) if *source != package.name => format!("{name} ({})", clean(source, 40)),
        _ => name,
    }
}

fn sum(outcome: &Outcome, inventory: &Inventory, options: &Options) -> String {
    let image = &inventory.image;
    let mut about = Vec::new();
    about.extend(image.platform.as_ref().map(ToString::to_string));
    about.extend(inventory.os.as_ref().and_then(|os| os.name.as_deref()).map(|name| clean(name, 60)));
    if outcome.packages > 0 {
        about.push(count(outcome.packages, "package"));
    }
    match (&options.scanner.version, options.scanner.name == options.tool.0) {
        (_, true) => {}
        (Some(version), _) => about.push(format!("by {} {version}", options.scanner.name)),
        (None, _) => about.push(format!("by {}", options.scanner.name)),
    }
    if let Some(database) = &options.scanner.database {
        about.push(format!("records of {}", database.split('T').next().unwrap_or_default()));
    }
    let mut out = clean(&image.name, 200);
    if !about.is_empty() {
        out.push_str(&format!(" ({})", about.join(", ")));
    }
    out.push('\n');
    if outcome.findings.is_empty() {
        out.push_str("No known vulnerabilities");
        out.push_str(if outcome.suppressed.is_empty() && options.hidden == 0 { "" } else { " that count" });
    } else {
        let packages: BTreeSet<&str> = outcome.findings.iter().map(|j| j.finding.package.purl.as_str()).collect();
        let by: Vec<String> = Severity::ALL
            .iter()
            .rev()
            .filter_map(|severity| Some(outcome.count(*severity)).filter(|n| *n > 0).map(|n| format!("{n} {severity}")))
            .collect();
        let fixable = outcome.findings.iter().filter(|judged| !judged.finding.fixed.is_empty()).count();
        out.push_str(&format!(
            "{} in {}: {}; {fixable} with a fix",
            match outcome.findings.len() {
                1 => "1 vulnerability".to_owned(),
                many => format!("{many} vulnerabilities"),
            },
            count(packages.len(), "package"),
            by.join(", "),
        ));
    }
    if !outcome.suppressed.is_empty() {
        out.push_str(&format!("; {} not counted", outcome.suppressed.len()));
    }
    if options.hidden > 0 {
        out.push_str(&format!("; {} not shown", options.hidden));
    }
    out.push('\n');
    out
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
