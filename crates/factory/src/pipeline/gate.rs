//! What stands between an image in the registry and a name for it: the bill of materials, the scan,
//! signatures and attestations.
//!
//! Documents are made of what the registry holds, so a run that is taken up again, or `--scan-only`,
//! needs no build. What is attached has the same digest each time; a signature is looked for before
//! it is made.
use super::steps::repository;
use super::{Ended, Failure, Hand, Machine, Options};
use crate::enrol::Managed;
use crate::time;
use ::scan::DbError;
use attest::inventory::Inventory;
use attest::key::PrivateKey;
use attest::provenance::{Dependency, Provenance, Version, image_purl};
use attest::sbom::{Files, Format};
use attest::statement::{CYCLONEDX, SPDX, Statement, Subject, digest_set};
use build::inspect::{ImageLocation, InventoryOptions, OpenOptions, inventory, open};
use oci::{Descriptor, Digest, Platform, Reference};
use serde_json::{Value, json};
use signing::{Signer, Storage, Verdict, bare, claims};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The images of a build: platform and digest.
fn images(built: &Value) -> Vec<(Platform, Digest)> {
    let one =
        |image: &Value| Some((image["platform"].as_str()?.parse().ok()?, image["digest"].as_str()?.parse().ok()?));
    built["platforms"].as_array().into_iter().flatten().filter_map(one).collect()
}

/// Where an image is looked into: behind the push in the registry, with `--local` in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Where {
    Registry,
    Store,
}

fn inventory_of(
    machine: &Machine<'_>,
    name: &Reference,
    platform: &Platform,
    digest: &Digest,
    at: Where,
) -> Result<Inventory, Failure> {
    let fail = |error: build::BuildError| Failure::new(error.message().to_owned());
    let client = machine.factory.client.clone();
    let client = move || Ok(client.clone());
    let (store, of) = match at {
        Where::Registry => (None, bare(name, digest)),
        Where::Store => (Some(machine.factory.engine.shared_store()), name.with_tag(super::steps::LOCAL_TAG)),
    };
    let options = OpenOptions { remote: store.is_none(), store, client: &client, platform: platform.clone() };
    let image = open(&ImageLocation::Named(of), &options).map_err(fail)?;
    if at == Where::Store && image.digest.as_ref() != Some(digest) {
        return Err(Failure::new(format!(
            "the store's {}:{} is not what this run built",
            name.name(),
            super::steps::LOCAL_TAG
        ))
        .hint("another build took its place; start a new run"));
    }
    let scratch = machine.factory.runs.work_dir(machine.run);
    std::fs::create_dir_all(&scratch)
        .map_err(|error| Failure::new(format!("cannot create {}: {error}", scratch.display())))?;
    inventory(&image, &InventoryOptions { digests: true, scratch }).map_err(fail)
}

/// One document for each platform, kept with the run and attached to the image in the registry.
pub(super) fn sbom(
    machine: &Machine<'_>,
    managed: &Managed,
    options: &Options,
    plan: &Value,
    tree: &Value,
    built: &Value,
    at: Where,
) -> Result<Ended, Failure> {
    if !managed.sbom.configured && !options.attest {
        return Ok(Ended::Skipped("not configured".into()));
    }
    let name = repository(machine)?;
    let (format, kind, ending) = match managed.sbom.with.as_deref() {
        Some("cyclonedx") => (Format::CycloneDx, "application/vnd.cyclonedx+json", "cdx.json"),
        _ => (Format::Spdx, "application/spdx+json", "spdx.json"),
    };
    let writing = attest::sbom::Options {
        files: Files::None,
        created: time::stamp(plan["at"].as_i64().unwrap_or(0)).replace("+00:00", "Z"),
        tool: ("cooperage".into(), env!("CARGO_PKG_VERSION").into()),
        pretty: true,
    };
    let mut list = Vec::new();
    for (platform, digest) in images(built) {
        let inventory = inventory_of(machine, &name, &platform, &digest, at)?;
        for warning in &inventory.warnings {
            machine.log("sbom", &format!("warning: {warning}"));
        }
        let mut document = Vec::new();
        attest::sbom::write(&inventory, format, &writing, &mut document)
            .map_err(|error| Failure::new(format!("cannot write the SBOM: {error}")))?;
        let file = artefact(machine, &format!("sbom-{}.{ending}", platform.to_string().replace('/', "-")));
        crate::state::replace(&file, &document)
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", file.display())))?;
        let attached = match at {
            Where::Store => None,
            Where::Registry => {
                let subject = machine.factory.client.resolve(&bare(&name, &digest))?;
                Some(signing::attach(machine.factory.client, &name, &subject, kind, &document)?.to_string())
            }
        };
        let place = attached.as_ref().map_or_else(|| file.display().to_string(), Clone::clone);
        machine.log("sbom", &format!("{platform}: {} packages, {place}", inventory.packages.len()));
        list.push(json!({
            "platform": platform.to_string(), "digest": digest.to_string(), "packages": inventory.packages.len(),
            "file": file.display().to_string(), "attached": attached,
        }));
    }
    // Signed provenance comes with the signatures.
    if options.attest && at == Where::Registry && !managed.signing.configured {
        attach_provenance(machine, managed, plan, tree, built)?;
    }
    Ok(Ended::Done(json!({ "sboms": list })))
}

/// Where each image comes from, beside it; unsigned, as builders do it.
fn attach_provenance(
    machine: &Machine<'_>,
    managed: &Managed,
    plan: &Value,
    tree: &Value,
    built: &Value,
) -> Result<(), Failure> {
    const KIND: &str = "application/vnd.in-toto+json";
    let (name, client) = (repository(machine)?, machine.factory.client);
    let provenance = provenance(machine, managed, plan, tree, built);
    for (platform, digest) in images(built) {
        // An attempt before this one may have done it, at another time.
        if !client.referrers(&name, &digest, Some(KIND))?.is_empty() {
            continue;
        }
        let subject = client.resolve(&bare(&name, &digest))?;
        let about = vec![Subject::new(name.name(), &digest)];
        let statement = Statement::new(about, Version::V1.predicate_type(), provenance.clone());
        let attached = signing::attach(client, &name, &subject, KIND, &statement.to_bytes())?;
        machine.log("sbom", &format!("{platform}: provenance {attached}"));
    }
    Ok(())
}

fn artefact(machine: &Machine<'_>, name: &str) -> PathBuf {
    machine.factory.runs.artefacts(machine.run).join(name)
}

/// Holds what is in the image against the vulnerability database; an image that the policy refuses ends the run.
/// `asked`: this is what the run is for.
pub(super) fn scan(
    machine: &Machine<'_>,
    managed: &Managed,
    built: &Value,
    at: Where,
    asked: bool,
) -> Result<Ended, Failure> {
    let policy = &managed.scan;
    if !policy.configured && !asked {
        return Ok(Ended::Skipped("not configured".into()));
    }
    let fail = |error: &dyn std::fmt::Display| Failure::new(error.to_string());
    let now = std::time::UNIX_EPOCH
        + std::time::Duration::from_secs(u64::try_from((machine.factory.clock)()).unwrap_or_default());
    let opened = ::scan::Database::open(machine.factory.scan_database)
        .and_then(|database| database.check_age(now, ::scan::db::DEFAULT_MAX_AGE).map(|()| database));
    let database = match opened {
        Ok(database) => database,
        Err(error @ (DbError::Missing(_) | DbError::Stale { .. })) => {
            // Nobody relies on a scan of what is not published.
            if !asked && (at == Where::Store || !policy.required) {
                return Ok(Ended::Skipped(format!("{error}; cooperage scan db update makes one")));
            }
            let failure = Failure::new(error.to_string())
                .hint("cooperage scan db update makes one; --scan-db or COOPERAGE_SCAN_DB names another");
            return Err(match asked {
                true => failure,
                false => failure.hint("with scan.required: false in images.yaml an image may go unscanned"),
            });
        }
        Err(error) => return Err(fail(&error)),
    };
    let rules = match &policy.ignore_file {
        Some(file) => {
            let path = machine.factory.enrolment.dir().join(file);
            let text = std::fs::read_to_string(&path)
                .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
            let today = jiff::Timestamp::try_from(now).unwrap_or_default().to_zoned(jiff::tz::TimeZone::UTC).date();
            ::scan::ignore::parse(&text, today).map_err(|error| Failure::new(format!("{}: {error}", path.display())))?
        }
        None => Vec::new(),
    };
    let fail_on = Some(severity(&policy.fail_on));
    let policy = ::scan::Policy { fail_on, ignore_unfixed: policy.only_fixed, rules, ..::scan::Policy::default() };
    let name = repository(machine)?;
    let (mut list, mut refused) = (Vec::new(), Vec::new());
    for (platform, digest) in images(built) {
        let inventory = inventory_of(machine, &name, &platform, &digest, at)?;
        let outcome = ::scan::gate(&inventory, &database, &policy).map_err(|e| fail(&e))?;
        for judged in &outcome.findings {
            let finding = &judged.finding;
            let line = format!(
                "{platform} {} {} {} {}{}",
                finding.id,
                finding.severity.as_str(),
                finding.package.name,
                finding.package.version,
                finding.fixed.first().map(|v| format!(", fixed in {v}")).unwrap_or_default(),
            );
            machine.log("scan", &line);
            if judged.fails {
                refused.push(line);
            }
        }
        list.push(json!({
            "platform": platform.to_string(), "digest": digest.to_string(), "packages": outcome.packages,
            "findings": outcome.findings.len(), "suppressed": outcome.suppressed.len(),
        }));
    }
    if let Some(first) = refused.first() {
        return Err(Failure::new(format!(
            "{} vulnerabilities are {} or worse: {first}{}",
            refused.len(),
            managed.scan.fail_on,
            if refused.len() > 1 { ", …" } else { "" }
        ))
        .hint("nothing was tagged; cooperage factory logs lists them all")
        .hint("accept single ones in the file that scan.ignoreFile names"));
    }
    Ok(Ended::Done(json!({ "scans": list })))
}

fn severity(word: &str) -> ::scan::Severity {
    match word {
        "negligible" => ::scan::Severity::Negligible,
        "low" => ::scan::Severity::Low,
        "medium" => ::scan::Severity::Medium,
        "high" => ::scan::Severity::High,
        _ => ::scan::Severity::Critical,
    }
}

/// Signs the image, what it is for each platform, its SBOMs and where it comes from.
pub(super) fn sign(
    machine: &Machine<'_>,
    managed: &Managed,
    plan: &Value,
    tree: &Value,
    built: &Value,
    sboms: &Value,
) -> Result<Ended, Failure> {
    if !managed.signing.configured {
        return Ok(Ended::Skipped("not configured".into()));
    }
    let Some(hand) = (machine.factory.signing_key)(managed.signing.with.as_deref())? else {
        let hint = "name one with signing.key in images.yaml or in cooperage.toml; or say keyless there";
        return match managed.signing.required {
            true => Err(Failure::new("signing.required is true, and there is no key").hint(hint)),
            false => Ok(Ended::Skipped("there is no key".into())),
        };
    };
    let (name, client) = (repository(machine)?, machine.factory.client);
    let digest = |text: &Value| text.as_str().unwrap_or_default().parse::<Digest>();
    let top = digest(&built["digest"]).map_err(|error| Failure::new(error.to_string()))?;
    let provenance = provenance(machine, managed, plan, tree, built);
    let mut subjects: Vec<(Descriptor, Vec<Statement>)> = Vec::new();
    let about = |digest: &Digest, kind: &str, value: Value| {
        Statement::new(vec![Subject::new(name.name(), digest)], kind, value)
    };
    for (_, digest) in images(built) {
        let descriptor = client.resolve(&bare(&name, &digest))?;
        let mut statements = vec![about(&digest, Version::V1.predicate_type(), provenance.clone())];
        for sbom in sboms["sboms"].as_array().into_iter().flatten().filter(|s| s["digest"] == digest.to_string()) {
            let path = PathBuf::from(sbom["file"].as_str().unwrap_or_default());
            let text = std::fs::read(&path)
                .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
            let value =
                serde_json::from_slice(&text).map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
            let kind = if path.to_string_lossy().ends_with(".cdx.json") { CYCLONEDX } else { SPDX };
            statements.push(about(&digest, kind, value));
        }
        subjects.push((descriptor, statements));
    }
    if !subjects.iter().any(|(descriptor, _)| descriptor.digest == top) {
        let statements = vec![about(&top, Version::V1.predicate_type(), provenance.clone())];
        subjects.push((client.resolve(&bare(&name, &top))?, statements));
    }
    let mut signed = Vec::new();
    for (descriptor, statements) in &subjects {
        // Whose an identity's signature is, its program knows: it signs again.
        let there = match &hand {
            Hand::Key(key) => Some(there(machine, &name, &descriptor.digest, key)?),
            Hand::Identity(_) => None,
        };
        if !there.as_ref().is_some_and(Verdict::is_signed) {
            match &hand {
                Hand::Key(key) => signer(client, key).image(&name, descriptor, &BTreeMap::new())?,
                Hand::Identity(sign) => sign(&name, &descriptor.digest, None)?,
            }
            machine.log("sign", &format!("signed {}", bare(&name, &descriptor.digest)));
        }
        let missing = |kind: &str| !there.as_ref().is_some_and(|there| there.attests(kind));
        for statement in statements.iter().filter(|statement| missing(&statement.predicate_type)) {
            match &hand {
                Hand::Key(key) => signer(client, key).statement(&name, descriptor, statement)?,
                Hand::Identity(sign) => sign(&name, &descriptor.digest, Some(statement))?,
            }
            machine.log("sign", &format!("attested {}: {}", descriptor.digest, statement.predicate_type));
        }
        signed.push(descriptor.digest.to_string());
    }
    Ok(Ended::Done(json!({ "signed": signed })))
}

fn signer<'a>(client: &'a registry::Client, key: &'a PrivateKey) -> Signer<'a> {
    Signer { client, key, storage: Storage { tags: true, bundles: true } }
}

/// What this key signed already, before the run was interrupted.
fn there(machine: &Machine<'_>, name: &Reference, digest: &Digest, key: &PrivateKey) -> Result<Verdict, Failure> {
    let found = claims(machine.factory.client, name, digest)?;
    Ok(Verdict::of(found, digest, &[key.public()]))
}

fn provenance(machine: &Machine<'_>, managed: &Managed, plan: &Value, tree: &Value, built: &Value) -> Value {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let commit = || BTreeMap::from([("sha1".to_owned(), text(&tree["commit"]))]);
    let mut dependencies = Vec::new();
    for base in built["bases"].as_array().into_iter().flatten() {
        let Ok(base) = text(base).parse::<Reference>() else { continue };
        let Some(digest) = base.digest() else { continue };
        dependencies.push(Dependency { name: None, uri: image_purl(&base, None), digest: digest_set(digest) });
    }
    let source = managed.source.as_ref();
    let config_uri = source
        .filter(|_| tree["commit"].is_string())
        .map(|source| (format!("{}#refs/heads/{}", source.url, source.branch), commit()));
    if let Some((uri, digest)) = &config_uri {
        dependencies.push(Dependency { name: None, uri: uri.clone(), digest: digest.clone() });
    }
    let mut vcs = BTreeMap::new();
    if let Some(source) = source {
        vcs.insert("source".to_owned(), source.url.clone());
        vcs.insert("revision".to_owned(), text(&tree["commit"]));
    }
    let stamp = |at: i64| time::stamp(at).replace("+00:00", "Z");
    Provenance {
        builder_id: machine.factory.builder.clone(),
        config_path: source.map_or_else(|| "Dockerfile".into(), crate::enrol::Source::dockerfile_path),
        config_uri,
        builder_platform: Platform::host().to_string(),
        dependencies,
        invocation_id: format!("{}-{}", machine.image.name, machine.run),
        started_on: stamp(plan["at"].as_i64().unwrap_or(0)),
        finished_on: stamp((machine.factory.clock)()),
        vcs,
        ..Provenance::default()
    }
    .predicate(Version::V1)
}
