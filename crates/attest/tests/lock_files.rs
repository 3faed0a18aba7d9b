//! Lock files of real tools give the packages that the tools themselves would install (`lock-files/README.md`).
use attest::catalog::interest;
use std::collections::BTreeSet;
use std::io::Cursor;
use std::path::Path;

#[test]
fn packages_are_those_that_the_tools_list() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lock-files");
    for (tool, name) in [
        ("npm", "package-lock.json"),
        ("pnpm", "pnpm-lock.yaml"),
        ("yarn-1", "yarn.lock"),
        ("yarn-4", "yarn.lock"),
        ("uv", "uv.lock"),
        ("poetry", "poetry.lock"),
    ] {
        let bytes = std::fs::read(directory.join(tool).join(name)).unwrap();
        let path = format!("srv/app/{name}");
        let found = interest(&path, &bytes).unwrap().read(&path, &mut Cursor::new(bytes));
        let got: BTreeSet<String> =
            found.packages.iter().map(|package| format!("{} {}", package.name, package.version)).collect();
        let expected = std::fs::read_to_string(directory.join(tool).join("expected.txt")).unwrap();
        assert_eq!(got, expected.lines().map(str::to_owned).collect(), "{tool}");
    }
}
