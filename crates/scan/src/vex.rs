//! OpenVEX documents (specification 0.2.0, and the older form with plain texts): what somebody who knows a product says
//! about a vulnerability in it.
//!
//! Of all statements that speak of a vulnerability and a package, the latest one decides, in whatever document it
//! stands: `not_affected` and `fixed` take the finding away, `affected` and `under_investigation` leave it.
//!
//! A product is a package (its package URL, with or without version and qualifiers), or the image: `pkg:oci/NAME`,
//! with a version that is the manifest's digest, or the image's name. Subcomponents are packages in it.
use crate::finding::Finding;
use crate::purl::Purl;
use attest::inventory::Inventory;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A statement's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// No remediation is needed.
    NotAffected,
    /// Action is recommended.
    Affected,
    /// The product has the fix.
    Fixed,
    /// Nobody knows yet.
    UnderInvestigation,
}

impl Status {
    /// The word as documents have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAffected => "not_affected",
            Self::Affected => "affected",
            Self::Fixed => "fixed",
            Self::UnderInvestigation => "under_investigation",
        }
    }
}

/// A document that was read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// What to call it in reports: the file's name.
    pub name: String,
    /// Who says it.
    pub author: String,
    statements: Vec<Statement>,
}

/// A statement.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Statement {
    names: Vec<String>,
    products: Vec<Product>,
    status: Status,
    justification: Option<String>,
    impact: Option<String>,
    time: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Product {
    names: Vec<Name>,
    parts: Vec<Vec<Name>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Purl(Purl),
    Other(String),
}

/// What a statement says about a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Said {
    /// The document.
    pub document: String,
    /// Who says it.
    pub author: String,
    /// What.
    pub status: Status,
    /// Why, as one of OpenVEX's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub justification: Option<String>,
    /// Why, in the author's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub impact: Option<String>,
}

/// Why a text is no OpenVEX document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct VexError(String);

/// Justifications that the specification knows (section "Status Justifications").
const JUSTIFICATIONS: [&str; 5] = [
    "component_not_present",
    "vulnerable_code_not_present",
    "vulnerable_code_not_in_execute_path",
    "vulnerable_code_cannot_be_controlled_by_adversary",
    "inline_mitigations_already_exist",
];

/// Statements that one document may have; real ones have some thousands.
const STATEMENTS: usize = 100_000;

impl Document {
    /// Reads a document. `name` is what it is called in reports.
    ///
    /// # Errors
    /// No JSON (with line and column), not OpenVEX, a statement without what the specification demands.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, VexError> {
        let fail = |why: String| VexError(why);
        let root: Value = serde_json::from_slice(bytes).map_err(|e| fail(format!("it is no JSON: {e}")))?;
        let context = root.get("@context").and_then(Value::as_str).unwrap_or_default();
        if !context.starts_with("https://openvex.dev/ns") {
            let what = match (root.get("bomFormat"), root.get("document")) {
                (Some(_), _) => " (it is CycloneDX)",
                (_, Some(_)) => " (it seems to be CSAF)",
                _ => "",
            };
            return Err(fail(format!(
                "it is no OpenVEX document{what}: its @context is {context:?}, expected https://openvex.dev/ns/v0.2.0"
            )));
        }
        let author = root.get("author").and_then(Value::as_str).unwrap_or_default().to_owned();
        let time = time(&root).map_err(|e| fail(format!("timestamp: {e}")))?;
        let list =
            root.get("statements").and_then(Value::as_array).ok_or_else(|| fail("it has no statements".into()))?;
        if list.len() > STATEMENTS {
            return Err(fail(format!("it has {} statements; {STATEMENTS} are the most that are read", list.len())));
        }
        let statements = list
            .iter()
            .enumerate()
            .map(|(number, value)| {
                statement(value, time, &root).map_err(|why| fail(format!("statement {}: {why}", number + 1)))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { name: name.to_owned(), author, statements })
    }
}

/// The last thing that the documents say about a finding.
#[must_use]
pub fn verdict(documents: &[Document], finding: &Finding, inventory: &Inventory) -> Option<Said> {
    let package = Purl::parse(&finding.package.purl)?;
    let mut last: Option<(Timestamp, &Document, &Statement)> = None;
    for document in documents {
        for statement in &document.statements {
            let speaks = statement.names.iter().any(|name| finding.is_called(name))
                && statement.products.iter().any(|product| product.holds(&package, inventory));
            if speaks && last.is_none_or(|(time, ..)| statement.time >= time) {
                last = Some((statement.time, document, statement));
            }
        }
    }
    last.map(|(_, document, statement)| Said {
        document: document.name.clone(),
        author: document.author.clone(),
        status: statement.status,
        justification: statement.justification.clone(),
        impact: statement.impact.clone(),
    })
}

impl Product {
    fn holds(&self, package: &Purl, inventory: &Inventory) -> bool {
        if self.parts.is_empty() {
            return self.names.iter().any(|name| name.is(package) || name.is_image(inventory));
        }
        // A part of this image, or of a package that is in it.
        let here = |name: &Name| {
            name.is(package)
                || name.is_image(inventory)
                || inventory.packages.iter().filter_map(|c| Purl::parse(&c.purl)).any(|purl| name.is(&purl))
        };
        self.parts.iter().any(|part| part.iter().any(|name| name.is(package))) && self.names.iter().any(here)
    }
}

impl Name {
    fn read(text: &str) -> Self {
        Purl::parse(text).map_or_else(|| Self::Other(text.to_owned()), Self::Purl)
    }

    fn is(&self, package: &Purl) -> bool {
        matches!(self, Self::Purl(purl) if purl.covers(package))
    }

    /// Whether this names the image itself.
    fn is_image(&self, inventory: &Inventory) -> bool {
        let image = &inventory.image;
        let digests = [image.digest.as_ref(), image.config.as_ref()];
        let has = |digest: &str| digests.iter().flatten().any(|d| d.to_string() == digest);
        match self {
            Self::Purl(purl) if purl.kind == "oci" => {
                let (repository, last) = repository(&image.name);
                let place = purl.qualifiers.get("repository_url");
                match &purl.version {
                    // The digest says it all.
                    Some(digest) => has(digest),
                    None => {
                        purl.name.eq_ignore_ascii_case(last)
                            && place.is_none_or(|url| {
                                let url = url.trim_start_matches("https://").trim_end_matches('/');
                                url == repository
                                    || repository.rsplit_once('/').is_some_and(|(parent, _)| url == parent)
                            })
                            && purl.qualifiers.get("arch").is_none_or(|arch| {
                                image.platform.as_ref().is_some_and(|platform| *arch == platform.architecture)
                            })
                    }
                }
            }
            Self::Purl(_) => false,
            Self::Other(text) => match text.rsplit_once('@') {
                Some((_, digest)) if digest.contains(':') => has(digest),
                _ => *text == image.name || *text == repository(&image.name).0 || has(text),
            },
        }
    }
}

/// An image's name without tag and digest, and the last part of that.
fn repository(name: &str) -> (&str, &str) {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    (name, name.rsplit_once('/').map_or(name, |(_, last)| last))
}

fn time(value: &Value) -> Result<Option<Timestamp>, String> {
    match value.get("timestamp").and_then(Value::as_str) {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| format!("{text:?} is no time of RFC 3339")),
    }
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn statement(value: &Value, document: Option<Timestamp>, root: &Value) -> Result<Statement, String> {
    let status = text(value, "status").ok_or("it has no status")?;
    let status = serde_json::from_value(Value::String(status.clone())).map_err(|_| {
        format!("unknown status {status:?}; known are not_affected, affected, fixed, under_investigation")
    })?;
    let mut names = Vec::new();
    match value.get("vulnerability") {
        Some(Value::String(name)) => names.push(name.clone()),
        Some(about @ Value::Object(_)) => {
            names.extend(text(about, "name").or_else(|| text(about, "@id")));
            let aliases = about.get("aliases").and_then(Value::as_array).into_iter().flatten();
            names.extend(aliases.filter_map(Value::as_str).map(str::to_owned));
        }
        _ => {}
    }
    if names.is_empty() {
        return Err("it names no vulnerability".into());
    }
    // A document may name the products for all of its statements (0.0.1).
    let listed = value.get("products").or_else(|| root.get("products")).and_then(Value::as_array);
    let mut products = listed.into_iter().flatten().map(product).collect::<Result<Vec<_>, _>>()?;
    if let Some(parts) = value.get("subcomponents").and_then(Value::as_array) {
        let parts = parts.iter().map(identifiers).collect::<Result<Vec<_>, _>>()?;
        products.iter_mut().for_each(|product| product.parts.extend(parts.iter().cloned()));
    }
    if products.is_empty() {
        return Err("it names no product".into());
    }
    let justification = text(value, "justification");
    let impact = text(value, "impact_statement");
    if let Some(word) = justification.as_deref().filter(|word| !JUSTIFICATIONS.contains(word)) {
        return Err(format!("unknown justification {word:?}; known are {}", JUSTIFICATIONS.join(", ")));
    }
    if status == Status::NotAffected && justification.is_none() && impact.is_none() {
        return Err("not_affected needs a justification or an impact_statement".into());
    }
    let time = time(value)?.or(document).ok_or("neither it nor the document has a timestamp")?;
    Ok(Statement { names, products, status, justification, impact, time })
}

fn product(value: &Value) -> Result<Product, String> {
    let parts = value.get("subcomponents").and_then(Value::as_array).into_iter().flatten();
    Ok(Product { names: identifiers(value)?, parts: parts.map(identifiers).collect::<Result<_, _>>()? })
}

/// `@id` and identifiers of a component.
fn identifiers(value: &Value) -> Result<Vec<Name>, String> {
    let mut texts: Vec<String> = value.as_str().map(str::to_owned).into_iter().collect();
    texts.extend(text(value, "@id"));
    if let Some(purl) = value.get("identifiers").and_then(|ids| text(ids, "purl")) {
        if Purl::parse(&purl).is_none() {
            return Err(format!("{purl:?} is no package URL"));
        }
        texts.push(purl);
    }
    if texts.is_empty() {
        return Err("a product has neither @id nor identifiers.purl".into());
    }
    Ok(texts.iter().map(|text| Name::read(text)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{finding, inventory};
    use serde_json::json;

    fn document(statements: Value) -> Document {
        let text = json!({
            "@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://example.com/1", "author": "Ada",
            "timestamp": "2026-01-01T00:00:00Z", "version": 1, "statements": statements,
        });
        Document::parse("a.json", text.to_string().as_bytes()).unwrap()
    }

    fn said(document: &Document) -> Option<Status> {
        verdict(std::slice::from_ref(document), &finding("CVE-1", "lib"), &inventory()).map(|said| said.status)
    }

    fn about(products: Value) -> Option<Status> {
        said(&document(json!([{
            "vulnerability": { "name": "CVE-1" }, "products": products, "status": "not_affected",
            "justification": "component_not_present",
        }])))
    }

    #[test]
    fn products_are_packages_and_images() {
        let digest = inventory().image.digest.unwrap().to_string();
        let yes = Some(Status::NotAffected);
        for (product, expected) in [
            (json!([{ "@id": "pkg:npm/lib" }]), yes),
            (json!([{ "@id": "pkg:npm/lib@1.0.0" }]), yes),
            (json!([{ "@id": "pkg:npm/lib@2.0.0" }]), None),
            (json!([{ "@id": "x", "identifiers": { "purl": "pkg:npm/lib" } }]), yes),
            (json!(["pkg:npm/lib"]), yes),
            (json!([{ "@id": format!("pkg:oci/app@{}", digest.replace(':', "%3A")) }]), yes),
            (json!([{ "@id": "pkg:oci/app@sha256%3A00" }]), None),
            (json!([{ "@id": "pkg:oci/app?repository_url=ghcr.io/me/app" }]), yes),
            (json!([{ "@id": "pkg:oci/app?repository_url=ghcr.io/me" }]), yes),
            (json!([{ "@id": "pkg:oci/app?repository_url=ghcr.io/you" }]), None),
            (json!([{ "@id": "ghcr.io/me/app" }]), yes),
            (json!([{ "@id": format!("docker.io/x@{digest}") }]), yes),
            (json!([{ "@id": "pkg:oci/app", "subcomponents": [{ "@id": "pkg:npm/lib" }] }]), yes),
            (json!([{ "@id": "pkg:oci/app", "subcomponents": [{ "@id": "pkg:npm/other" }] }]), None),
            (json!([{ "@id": "pkg:oci/other", "subcomponents": [{ "@id": "pkg:npm/lib" }] }]), None),
        ] {
            assert_eq!(about(product.clone()), expected, "{product}");
        }
    }

    #[test]
    fn the_latest_statement_decides() {
        let one = |status: &str, time: &str| {
            json!({ "vulnerability": { "name": "GHSA-x", "aliases": ["cve-1"] }, "products": ["pkg:npm/lib"],
                "status": status, "impact_statement": "no", "timestamp": time })
        };
        let status = |list: &[Value]| said(&document(Value::Array(list.to_vec())));
        let fixed = one("fixed", "2026-03-01T00:00:00Z");
        let affected = one("affected", "2026-02-01T00:00:00+01:00");
        assert_eq!(status(&[fixed.clone(), affected.clone()]), Some(Status::Fixed));
        let later = one("under_investigation", "2026-04-01T00:00:00Z");
        assert_eq!(status(&[fixed, affected, later]), Some(Status::UnderInvestigation));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |text: &str| Document::parse("x", text.as_bytes()).unwrap_err().to_string();
        let with = |statement: &str| {
            error(&format!(
                r#"{{"@context":"https://openvex.dev/ns/v0.2.0","timestamp":"2026-01-01T00:00:00Z","statements":[{statement}]}}"#
            ))
        };
        let errors = [
            error("{"),
            error("{}"),
            error(r#"{"bomFormat":"CycloneDX"}"#),
            error(r#"{"@context":"https://openvex.dev/ns/v0.2.0"}"#),
            error(r#"{"@context":"https://openvex.dev/ns","timestamp":"now"}"#),
            with("{}"),
            with(r#"{"status":"fine"}"#),
            with(r#"{"status":"fixed"}"#),
            with(r#"{"status":"fixed","vulnerability":"CVE-1"}"#),
            with(r#"{"status":"fixed","vulnerability":"CVE-1","products":[{}]}"#),
            with(r#"{"status":"not_affected","vulnerability":"CVE-1","products":["pkg:npm/a"]}"#),
            with(
                r#"{"status":"not_affected","vulnerability":"CVE-1","products":["pkg:npm/a"],"justification":"trust me"}"#,
            ),
        ];
        insta::assert_snapshot!(errors.join("\n"), @r#"
        it is no JSON: EOF while parsing an object at line 1 column 1
        it is no OpenVEX document: its @context is "", expected https://openvex.dev/ns/v0.2.0
        it is no OpenVEX document (it is CycloneDX): its @context is "", expected https://openvex.dev/ns/v0.2.0
        it has no statements
        timestamp: "now" is no time of RFC 3339
        statement 1: it has no status
        statement 1: unknown status "fine"; known are not_affected, affected, fixed, under_investigation
        statement 1: it names no vulnerability
        statement 1: it names no product
        statement 1: a product has neither @id nor identifiers.purl
        statement 1: not_affected needs a justification or an impact_statement
        statement 1: unknown justification "trust me"; known are component_not_present, vulnerable_code_not_present, vulnerable_code_not_in_execute_path, vulnerable_code_cannot_be_controlled_by_adversary, inline_mitigations_already_exist
        "#);
    }
}
