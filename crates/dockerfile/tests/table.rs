//! Every Dockerfile of the workspace's table: what BuildKit built must parse, evaluate and survive the checks.
use dockerfile::call;
use dockerfile::eval::Options;
use dockerfile::lint::{self, Input};
use std::path::{Path, PathBuf};

/// The table's folders, sorted.
fn cases() -> Vec<PathBuf> {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/dockerfiles");
    let entries = std::fs::read_dir(&table).unwrap_or_else(|error| panic!("{}: {error}", table.display()));
    let mut cases: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect();
    cases.sort();
    cases
}

#[test]
fn what_buildkit_builds_parses() {
    let mut failed = Vec::new();
    let mut parsed_files = 0;
    for case in cases() {
        let Ok(source) = std::fs::read_to_string(case.join("Dockerfile")) else { continue };
        let expected = std::fs::read_to_string(case.join("expected.json")).unwrap_or_default();
        let name = case.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let parsed = dockerfile::parse(&source);
        let built = expected.contains("\"config\"");
        match parsed.dockerfile {
            Some(tree) => {
                parsed_files += 1;
                let report = lint::run(&tree, &Input::default());
                let result = call::CheckResult { file: "Dockerfile", source: &source, report: &report };
                assert!(!result.text().is_empty() && !result.json().is_empty(), "{name}");
                let outline = call::outline(&tree, &source, &Options::default());
                assert!(outline.is_ok() || report.problem.is_some(), "{name}");
                assert!(!call::targets(&tree, &source).text().is_empty(), "{name}");
            }
            None if built => failed.push((name, parsed.diagnostics)),
            None => {}
        }
    }
    assert!(failed.is_empty(), "BuildKit builds these: {failed:#?}");
    assert!(parsed_files > 100, "only {parsed_files} files in the table");
}
