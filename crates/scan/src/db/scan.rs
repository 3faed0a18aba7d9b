//! Matches an inventory against the database.
//!
//! Packages of a distribution are looked for under the name of the source package (Debian, Ubuntu), or of the package
//! and its origin (Alpine, RPM), in the records of the image's release. A package of another world that a package of
//! the distribution brought is the distribution's: it fixes such packages without a change of their own version.
use super::{Database, DbError, Entry, RECORDS_PER_BLOCK, Text};
use crate::ecosystem::{self, Release};
use crate::finding::{AffectedPackage, Finding, LayerRef, Scan, Uncovered};
use crate::osv::Event;
use crate::severity::{self, Vector};
use crate::version::Order;
use attest::inventory::{Component, Inventory};
use attest::package::PackageType;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// Blocks that are kept unpacked: records of one package often lie together.
const BLOCKS: usize = 32;

/// What a package is looked for as.
pub(crate) struct Target<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: String,
}

/// Under which names and versions the records of its world speak of a package.
pub(crate) fn targets(component: &Component) -> Vec<Target<'_>> {
    let package = &component.package;
    let own = || Target { name: &package.name, version: package.version.clone() };
    match (package.kind, &package.source) {
        (PackageType::Deb, Some(source)) => vec![Target { name: &source.name, version: source.version.clone() }],
        (PackageType::Apk | PackageType::Rpm, Some(source)) if source.name != package.name => {
            vec![own(), Target { name: &source.name, version: package.version.clone() }]
        }
        (PackageType::Golang, _) if package.name == "stdlib" => {
            vec![Target { name: &package.name, version: go_version(&package.version) }]
        }
        _ => vec![own()],
    }
}

/// Go's own versions as semantic ones: `1.21rc2` is `1.21.0-rc.2`; what an experiment adds does not count.
fn go_version(version: &str) -> String {
    let version = version.split(' ').next().unwrap_or_default().trim_start_matches("go");
    // `1.19.13-vendor`, but not `1.21.0-rc.2`.
    let version = match version.split_once('-') {
        Some((version, vendor))
            if vendor.starts_with(|c: char| c.is_ascii_alphabetic())
                && !vendor.starts_with("rc")
                && !vendor.starts_with("beta") =>
        {
            version
        }
        Some(_) => return version.to_owned(),
        None => version,
    };
    match version.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => {
            let (numbers, word) = version.split_at(at);
            let digits = word.find(|c: char| c.is_ascii_digit()).unwrap_or(word.len());
            let (word, number) = word.split_at(digits);
            let patch = if numbers.matches('.').count() < 2 { ".0" } else { "" };
            format!("{numbers}{patch}-{word}.{number}")
        }
        None => version.to_owned(),
    }
}

/// Whether an entry holds for a version.
fn affects(entry: &Entry, version: &str, order: Order) -> bool {
    // Versions of one meaning are one version; but of semantic ones the build is a part of the name.
    let plain = |version: &str| version.trim_start_matches(['v', '=']).to_owned();
    entry.ranges.iter().any(|range| range.holds(version, order))
        || entry.versions.iter().any(|listed| match order {
            Order::Semver => plain(listed) == plain(version),
            order => listed == version || order.compare(listed, version).is_eq(),
        })
}

/// The first version above one that is affected that nothing of the record holds for.
fn fix(entries: &[&Entry], version: &str, order: Order) -> Option<String> {
    let events = entries.iter().flat_map(|entry| &entry.ranges).flat_map(|range| &range.events);
    let mut fixes: Vec<&str> = events
        .filter_map(|event| match event {
            Event::Fixed(fixed) => Some(fixed.as_str()),
            _ => None,
        })
        .filter(|fixed| order.compare(fixed, version).is_gt())
        .collect();
    fixes.sort_by(|a, b| order.compare(a, b).then_with(|| a.cmp(b)));
    fixes.dedup();
    fixes.into_iter().find(|fixed| !entries.iter().any(|entry| affects(entry, fixed, order))).map(str::to_owned)
}

/// A record that holds for a package.
struct Hit {
    record: u32,
    fixed: Vec<String>,
    urgency: Option<String>,
    vectors: Vec<Vector>,
    source: Option<String>,
}

pub(super) fn scan(database: &Database, inventory: &Inventory) -> Result<Scan, DbError> {
    let os = inventory.os.as_ref();
    let mut scan = Scan::default();
    let mut uncovered: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut lacking = BTreeSet::new();
    let mut work = Vec::new();
    for component in &inventory.packages {
        let kind = component.package.kind;
        let Some(base) = ecosystem::of(kind, os) else {
            let (name, reason) = match os {
                Some(os) => {
                    let name = os.name.clone().unwrap_or_else(|| os.id.clone());
                    (name, "OSV has no records of this distribution")
                }
                None => (format!("{} packages", kind.as_str()), "the image does not say which distribution it is"),
            };
            *uncovered.entry((name, reason.to_owned())).or_default() += 1;
            continue;
        };
        let info = database.info().ecosystems.get(base).filter(|info| info.whole);
        let Some(info) = info else {
            lacking.insert(base.to_owned());
            continue;
        };
        let release = Release::of(base, os);
        let has_records = info.releases.is_empty() || info.releases.iter().any(|name| release.matches(name));
        if release != Release::None && !has_records {
            let name = os.and_then(|os| os.name.clone()).unwrap_or_else(|| release.name(base));
            *uncovered.entry((name, "the database has no records of this release".into())).or_default() += 1;
            continue;
        }
        work.push((component, base, release));
    }
    if !lacking.is_empty() {
        let ecosystems = lacking.into_iter().collect();
        return Err(DbError::NotCovered { path: database.path.clone(), ecosystems });
    }
    let mut blocks = Blocks { database, kept: VecDeque::new() };
    // The packages of the distribution that were matched: what they brought is theirs.
    let matched: BTreeSet<&str> =
        work.iter().filter(|(c, ..)| c.package.kind.is_system()).map(|(c, ..)| c.purl.as_str()).collect();
    for (component, base, release) in &work {
        scan.packages += 1;
        let owner = component.part_of.and_then(|owner| inventory.packages.get(owner));
        if !component.package.kind.is_system() && owner.is_some_and(|owner| matched.contains(owner.purl.as_str())) {
            continue;
        }
        let (hits, unclear) = hits(database, component, base, release)?;
        if unclear {
            let reason = match component.package.version.as_str() {
                "" | "(devel)" => "nothing says which version it is".to_owned(),
                version => format!("{version} is no version as {base} has them"),
            };
            let name = format!("{base} package {}", component.package.name);
            *uncovered.entry((name, reason)).or_default() += 1;
        }
        findings(hits, component, base, release, inventory, &mut blocks, &mut scan.findings)?;
    }
    scan.findings.sort_by(|a, b| {
        let key = |f: &Finding| (f.package.name.clone(), f.package.version.clone(), f.id.clone());
        b.severity.cmp(&a.severity).then_with(|| key(a).cmp(&key(b)))
    });
    scan.uncovered = uncovered
        .into_iter()
        .map(|((ecosystem, reason), packages)| Uncovered { ecosystem, packages, reason })
        .collect();
    Ok(scan)
}

/// The records that hold for a package; and whether there are some of which that cannot be said.
fn hits(
    database: &Database,
    component: &Component,
    base: &str,
    release: &Release,
) -> Result<(Vec<Hit>, bool), DbError> {
    let Some(order) = ecosystem::order(base) else { return Ok((Vec::new(), false)) };
    let mut hits: BTreeMap<u32, Hit> = BTreeMap::new();
    let mut unclear = false;
    for target in targets(component) {
        let entries = database.entries(base, &ecosystem::normalize(base, target.name))?;
        let known = order.is_version(&target.version);
        let mut records: BTreeMap<u32, Vec<&Entry>> = BTreeMap::new();
        for entry in entries.iter().filter(|entry| release.matches(&entry.release)) {
            records.entry(entry.record).or_default().push(entry);
        }
        unclear |= !known && !records.is_empty();
        for (record, entries) in records {
            let holds = |entry: &&&Entry| match known {
                true => affects(entry, &target.version, order),
                false => entry.versions.contains(&target.version),
            };
            let holding: Vec<&Entry> = entries.iter().filter(holds).copied().collect();
            if holding.is_empty() {
                continue;
            }
            let hit = hits.entry(record).or_insert_with(|| Hit {
                record,
                fixed: Vec::new(),
                urgency: None,
                vectors: Vec::new(),
                source: (target.name != component.package.name).then(|| target.name.to_owned()),
            });
            hit.fixed.extend(fix(&entries, &target.version, order));
            for entry in holding {
                hit.urgency = hit.urgency.take().or_else(|| entry.urgency.clone());
                hit.vectors.extend(entry.vectors.iter().cloned());
            }
        }
    }
    Ok((hits.into_values().collect(), unclear))
}

/// Unpacked blocks, the last used first.
struct Blocks<'a> {
    database: &'a Database,
    kept: VecDeque<(u32, Vec<Text>)>,
}

impl Blocks<'_> {
    fn text(&mut self, record: u32) -> Result<Text, DbError> {
        let number = record / RECORDS_PER_BLOCK;
        match self.kept.iter().position(|(kept, _)| *kept == number) {
            Some(place) => {
                if let Some(block) = self.kept.remove(place) {
                    self.kept.push_front(block);
                }
            }
            None => {
                self.kept.push_front((number, self.database.block(number)?));
                self.kept.truncate(BLOCKS);
            }
        }
        let place = (record % RECORDS_PER_BLOCK) as usize;
        let text = self.kept.front().and_then(|(_, block)| block.get(place)).cloned();
        text.ok_or_else(|| self.database.unreadable(format!("record {record} is missing")))
    }
}

/// What several records say of one vulnerability.
#[derive(Default)]
struct Group {
    names: BTreeSet<String>,
    /// Advisories about several vulnerabilities, of which this is one.
    advisories: BTreeSet<String>,
    parts: Vec<(usize, usize)>,
}

/// Records of one package that share a name speak of the same vulnerability. An advisory about several is a part of
/// each.
fn groups(texts: &[Text]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut by_name: HashMap<String, usize> = HashMap::new();
    for (number, text) in texts.iter().enumerate() {
        let several = text.aliases.is_empty() && text.upstream.len() > 1;
        let each: Vec<(Vec<&String>, Option<&String>)> = if several {
            text.upstream.iter().map(|name| (vec![name], Some(&text.id))).collect()
        } else {
            let upstream = text.upstream.iter().filter(|_| text.upstream.len() == 1);
            vec![([&text.id].into_iter().chain(&text.aliases).chain(upstream).collect(), None)]
        };
        for (part, (names, advisory)) in each.into_iter().enumerate() {
            // All groups that have one of the names become one.
            let mut joined: BTreeSet<usize> = names.iter().filter_map(|name| by_name.get(*name).copied()).collect();
            let into = joined.pop_first().unwrap_or_else(|| {
                groups.push(Group::default());
                groups.len() - 1
            });
            for other in joined {
                let other = std::mem::take(&mut groups[other]);
                for name in &other.names {
                    by_name.insert(name.clone(), into);
                }
                groups[into].names.extend(other.names);
                groups[into].advisories.extend(other.advisories);
                groups[into].parts.extend(other.parts);
            }
            for name in names {
                by_name.insert(name.clone(), into);
                groups[into].names.insert(name.clone());
            }
            groups[into].advisories.extend(advisory.cloned());
            groups[into].parts.push((number, part));
        }
    }
    groups.retain(|group| !group.parts.is_empty());
    groups
}

fn findings(
    hits: Vec<Hit>,
    component: &Component,
    base: &str,
    release: &Release,
    inventory: &Inventory,
    blocks: &mut Blocks<'_>,
    out: &mut Vec<Finding>,
) -> Result<(), DbError> {
    if hits.is_empty() {
        return Ok(());
    }
    let texts = hits.iter().map(|hit| blocks.text(hit.record)).collect::<Result<Vec<_>, _>>()?;
    let order = ecosystem::order(base).unwrap_or(Order::Semver);
    let package = &component.package;
    let affected = AffectedPackage {
        kind: package.kind.as_str().to_owned(),
        name: package.name.clone(),
        version: package.version.clone(),
        source: hits.iter().find_map(|hit| hit.source.clone()),
        ecosystem: release.name(base),
        purl: component.purl.clone(),
        paths: package.locations.clone(),
        layer: inventory.layers.get(component.layer).map(|layer| LayerRef {
            index: component.layer,
            diff_id: layer.diff_id.clone(),
            instruction: layer.instruction.clone(),
        }),
    };
    for group in groups(&texts) {
        let mut parts: Vec<usize> = group.parts.iter().map(|(number, _)| *number).collect();
        parts.sort_unstable();
        parts.dedup();
        // What GitHub writes is meant to be read; of others whatever is there.
        parts.sort_by_key(|number| !texts[*number].id.starts_with("GHSA-"));
        let texts = || parts.iter().map(|number| &texts[*number]);
        let hits = || parts.iter().map(|number| &hits[*number]);
        let mut vectors: Vec<Vector> = Vec::new();
        for vector in hits().flat_map(|hit| &hit.vectors).chain(texts().flat_map(|text| &text.vectors)) {
            if !vectors.contains(vector) {
                vectors.push(vector.clone());
            }
        }
        let urgency = hits().find_map(|hit| hit.urgency.clone());
        let malicious = group.names.iter().any(|name| name.starts_with("MAL-")).then_some("CRITICAL");
        let word = malicious.or_else(|| texts().find_map(|text| text.word.as_deref()));
        let rating = severity::rate(&vectors, urgency.as_deref(), word);
        let mut fixed: Vec<String> = hits().flat_map(|hit| hit.fixed.iter().cloned()).collect();
        fixed.sort_by(|a, b| order.compare(a, b).then_with(|| a.cmp(b)));
        fixed.dedup();
        let mut references = Vec::new();
        for reference in texts().flat_map(|text| &text.references) {
            if !references.contains(reference) {
                references.push(reference.clone());
            }
        }
        let id = name(&group.names);
        let names = group.names.into_iter().chain(group.advisories).collect::<BTreeSet<_>>();
        out.push(Finding {
            aliases: names.into_iter().filter(|name| *name != id).collect(),
            id,
            package: affected.clone(),
            severity: rating.severity,
            score: rating.score,
            vectors,
            urgency,
            fixed,
            summary: texts().find_map(|text| text.summary.clone()),
            details: texts().find_map(|text| text.details.clone()),
            references,
            published: texts().filter_map(|text| text.published.clone()).min(),
            modified: texts().map(|text| text.modified.clone()).max().filter(|time| !time.is_empty()),
        });
    }
    Ok(())
}

/// What people call a vulnerability: its CVE, else GitHub's name, else any.
fn name(names: &BTreeSet<String>) -> String {
    let first = |prefix: &str| names.iter().find(|name| name.starts_with(prefix));
    first("CVE-").or_else(|| first("GHSA-")).or_else(|| names.first()).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(id: &str, aliases: &[&str], upstream: &[&str]) -> Text {
        let all = |names: &[&str]| -> Vec<String> { names.iter().map(|name| (*name).to_owned()).collect() };
        let (aliases, upstream) = (all(aliases), all(upstream));
        serde_json::from_value(serde_json::json!({ "id": id, "aliases": aliases, "upstream": upstream })).unwrap()
    }

    fn grouped(texts: &[Text]) -> Vec<String> {
        let mut out: Vec<String> = groups(texts)
            .iter()
            .map(|g| format!("{}: {:?} {:?}", name(&g.names), g.names.len(), g.advisories))
            .collect();
        out.sort();
        out
    }

    #[test]
    fn records_of_one_vulnerability_are_one() {
        // By an alias, and by way of a third that comes last.
        let all = [
            text("PYSEC-1", &["CVE-1"], &[]),
            text("GHSA-2", &["CVE-2"], &[]),
            text("GHSA-1", &["CVE-1"], &[]),
            text("X-1", &["CVE-1", "CVE-2"], &[]),
        ];
        assert_eq!(grouped(&all[..3]), ["CVE-1: 3 {}", "CVE-2: 2 {}"]);
        assert_eq!(grouped(&all), ["CVE-1: 6 {}"]);
        // Debian's record of a CVE, and the advisory about several.
        let debian = [
            text("DEBIAN-CVE-3", &[], &["CVE-3"]),
            text("DSA-1-1", &[], &["CVE-3", "CVE-4"]),
            text("DSA-2-1", &[], &[]),
        ];
        assert_eq!(grouped(&debian), ["CVE-3: 2 {\"DSA-1-1\"}", "CVE-4: 1 {\"DSA-1-1\"}", "DSA-2-1: 1 {}"]);
    }

    #[test]
    fn versions_of_go_itself() {
        for (go, semver) in [
            ("1.21.3", "1.21.3"),
            ("1.21", "1.21"),
            ("1.21rc2", "1.21.0-rc.2"),
            ("go1.20.5 X:boringcrypto", "1.20.5"),
            ("1.22.1-fips", "1.22.1"),
            ("1.21.0-rc.2", "1.21.0-rc.2"),
        ] {
            assert_eq!(go_version(go), semver);
        }
    }
}
