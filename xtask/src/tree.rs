//! Checks of the repository itself: which crate may use which, how many packages the build may draw
//! in, which words no file may hold.
use crate::Failure;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Who may depend on whom (ARCHITECTURE.md draws it). Tests may use more: this is about what is shipped.
const ARROWS: &[(&str, &[&str])] = &[
    ("agent", &[]),
    ("build", &["attest", "dockerfile", "layer", "oci", "registry", "sandbox"]),
    (
        "cooperage",
        &[
            "attest",
            "build",
            "dockerfile",
            "factory",
            "gitops",
            "layer",
            "oci",
            "registry",
            "sandbox",
            "scan",
            "signing",
            "server",
        ],
    ),
    ("dockerfile", &[]),
    ("gitops", &[]),
    ("layer", &["oci"]),
    ("oci", &[]),
    ("registry", &["oci"]),
    ("sandbox", &["agent"]),
    ("scan", &["attest", "oci"]),
    ("signing", &["attest", "oci", "registry"]),
    ("attest", &["oci"]),
    ("factory", &["attest", "build", "dockerfile", "gitops", "oci", "registry", "sandbox", "scan", "signing"]),
    ("server", &["factory", "oci", "registry"]),
    ("testkit", &["oci"]),
    ("xtask", &["testkit"]),
];

/// More packages than this in Cargo.lock are a decision, not an accident.
const PACKAGES: usize = 420;

/// Everything that is wrong, a line each.
pub(crate) fn problems() -> Result<Vec<String>, Failure> {
    let root = testkit::repository();
    let mut problems = arrows(&metadata(&root)?);
    let lock = std::fs::read_to_string(root.join("Cargo.lock"))?;
    let packages = lock.lines().filter(|line| *line == "[[package]]").count();
    if packages > PACKAGES {
        problems.push(format!("Cargo.lock: {packages} packages; {PACKAGES} are allowed (xtask/src/tree.rs)"));
    }
    problems.extend(words(&root)?);
    Ok(problems)
}

fn metadata(root: &Path) -> Result<Value, Failure> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root)
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn arrows(metadata: &Value) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let packages = list(&metadata["packages"]);
    let ours: BTreeSet<String> = packages.iter().map(name).collect();
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut problems = Vec::new();
    for package in &packages {
        let from = name(package);
        let Some(allowed) = allowed.get(from.as_str()) else {
            problems.push(format!("crate {from}: not in the map of xtask/src/tree.rs"));
            continue;
        };
        for dependency in list(&package["dependencies"]) {
            let to = name(&dependency);
            if dependency["kind"].is_null() && ours.contains(&to) && !allowed.contains(&to.as_str()) {
                problems.push(format!("crate {from} must not depend on {to}"));
            }
        }
    }
    problems
}

/// Paths of one machine, and what does not belong into the project's texts. Written in pieces: this file is searched too.
fn forbidden() -> Vec<String> {
    [
        ("/wo", "rk/main"),
        ("/wo", "rk/shared"),
        ("/tmp/te", "am"),
        ("/tmp/te", "stkit"),
        ("an", "thropic"),
        ("chat", "gpt"),
        ("language ", "model"),
    ]
    .iter()
    .map(|(a, b)| format!("{a}{b}"))
    .collect()
}

fn words(root: &Path) -> Result<Vec<String>, Failure> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output()?;
    let mut problems = Vec::new();
    for file in String::from_utf8_lossy(&output.stdout).split('\0').filter(|file| !file.is_empty()) {
        // A file that is gone from the work tree or is no text holds no words.
        let Ok(text) = std::fs::read_to_string(root.join(file)) else { continue };
        for (number, line) in text.lines().enumerate() {
            let line = line.to_lowercase();
            for word in forbidden().iter().filter(|word| line.contains(word.as_str())) {
                problems.push(format!("{file}:{}: {word}", number + 1));
            }
        }
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_in_order() {
        let problems = super::problems().expect("cargo and git answer");
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }

    #[test]
    fn an_arrow_that_is_not_drawn_is_found() {
        let metadata = serde_json::json!({ "packages": [
            { "name": "oci", "dependencies": [{ "name": "build", "kind": null }, { "name": "testkit", "kind": "dev" }] },
            { "name": "build", "dependencies": [{ "name": "oci", "kind": null }, { "name": "serde", "kind": null }] },
            { "name": "testkit", "dependencies": [] },
        ] });
        assert_eq!(super::arrows(&metadata), ["crate oci must not depend on build"]);
    }
}
