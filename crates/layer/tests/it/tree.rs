//! Flat trees: tables, what changed, copies.

use crate::support::{assert_same, open, packed, permitted, put, sample};
use layer::{AttrTable, Attrs, Change, Kind, OwnerSink, PackOptions, ScanOptions, Table, TarWriter, TocItem, apply};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

fn scan(dir: &Path) -> Table {
    Table::scan(open(dir).as_fd(), &ScanOptions { threads: 3, ..Default::default() }).unwrap()
}

#[test]
fn an_untouched_tree_has_no_changes() {
    let temp = tempfile::tempdir().unwrap();
    sample(temp.path());
    let table = scan(temp.path());
    assert_eq!(table.len(), crate::support::listing(temp.path()).len());
    let changes = table.diff(open(temp.path()).as_fd(), &ScanOptions::default()).unwrap();
    assert_eq!(changes.items, []);
    assert_eq!(changes.into_table(), table);
    assert_eq!(Table::from_bytes(&table.to_bytes()).unwrap(), table);
    let store = tempfile::tempdir().unwrap();
    table.save(open(store.path()).as_fd(), Path::new("tree.table")).unwrap();
    assert_eq!(Table::load(open(store.path()).as_fd(), Path::new("tree.table")).unwrap(), table);
    assert_eq!(fs::read_dir(store.path()).unwrap().count(), 1);
}

#[test]
fn changes_become_a_layer() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    sample(&tree);
    let base = packed(&tree);
    let mut table = scan(&tree);
    fs::remove_file(tree.join("usr/share/doc/readme")).unwrap();
    fs::remove_dir_all(tree.join("var")).unwrap();
    fs::create_dir_all(tree.join("new/dir")).unwrap();
    put(&tree.join("new/dir/file"), b"x", 0o600);
    fs::hard_link(tree.join("new/dir/file"), tree.join("new/link")).unwrap();
    fs::set_permissions(tree.join("usr/share"), PermissionsExt::from_mode(0o700)).unwrap();
    put(&tree.join("usr/share/doc/empty"), b"text", 0o600);
    fs::remove_file(tree.join("dangling")).unwrap();
    symlink("elsewhere", tree.join("dangling")).unwrap();
    fs::create_dir(tree.join("made-by-sandbox")).unwrap();
    let options = ScanOptions { threads: 2, exclude: vec!["made-by-sandbox".into()], ..Default::default() };
    let changes = table.diff(open(&tree).as_fd(), &options).unwrap();
    let path = PathBuf::from;
    assert_eq!(
        changes.items,
        [
            (path("dangling"), Change::Modified),
            (path("new"), Change::Added),
            (path("new/dir"), Change::Added),
            (path("new/dir/file"), Change::Added),
            (path("new/link"), Change::Added),
            (path("usr/share"), Change::Modified),
            (path("usr/share/doc/empty"), Change::Modified),
            (path("usr/share/doc/readme"), Change::Deleted),
            (path("var"), Change::Deleted),
        ]
    );
    let mut tar = TarWriter::new(Vec::new());
    let toc =
        layer::pack_changes(open(&tree).as_fd(), &changes, &mut tar, &mut table, &PackOptions::default()).unwrap();
    let paths: Vec<_> = toc.items.iter().map(|i| i.path().display().to_string()).collect();
    assert_eq!(
        paths,
        [
            "dangling",
            "new",
            "new/dir",
            "new/dir/file",
            "new/link",
            "usr",
            "usr/share",
            "usr/share/doc",
            "usr/share/doc/empty",
            "usr/share/doc/readme",
            "var"
        ]
    );
    assert!(matches!(&toc.items[10], TocItem::Whiteout(_)));
    let tar = tar.finish().unwrap();
    fs::remove_dir(tree.join("made-by-sandbox")).unwrap();
    let again = table.diff(open(&tree).as_fd(), &ScanOptions::default()).unwrap();
    assert_eq!(again.items, []);
    let copy = temp.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for layer in [&base, &tar] {
        apply(&layer[..], open(&copy).as_fd(), &mut permitted()).unwrap();
    }
    assert_same(&copy, &tree);
}

#[test]
fn the_side_table_counts() {
    let temp = tempfile::tempdir().unwrap();
    put(&temp.path().join("f"), b"", 0o644);
    let mut attrs = AttrTable::new();
    let table = Table::scan(open(temp.path()).as_fd(), &ScanOptions { attrs: Some(&attrs), ..Default::default() });
    let mut key = None;
    layer::walk::walk(open(temp.path()).as_fd(), &mut |visit| {
        key = Some(visit.key);
        Ok(layer::walk::Flow::Continue)
    })
    .unwrap();
    let claimed = Attrs { kind: Kind::File, uid: 33, gid: 33, mode: 0o4755, rdev: (0, 0), xattrs: Default::default() };
    attrs.record(key.unwrap(), claimed);
    let options = ScanOptions { attrs: Some(&attrs), ..Default::default() };
    let changes = table.unwrap().diff(open(temp.path()).as_fd(), &options).unwrap();
    assert_eq!(changes.items, [(PathBuf::from("f"), Change::Modified)]);
    let mut tar = TarWriter::new(Vec::new());
    let options = PackOptions { attrs: Some(&attrs), owner: Some((0, 0)), ..Default::default() };
    let toc = layer::pack_tree(open(temp.path()).as_fd(), &mut tar, &options).unwrap();
    let TocItem::Entry { entry, .. } = &toc.items[0] else { panic!() };
    assert_eq!((entry.uid, entry.mode), (33, 0o4755));
}

#[test]
fn copies_are_equal() {
    let temp = tempfile::tempdir().unwrap();
    let (from, to) = (temp.path().join("from"), temp.path().join("to"));
    sample(&from);
    fs::create_dir(&to).unwrap();
    let copied = layer::copy_tree(open(&from).as_fd(), open(&to).as_fd()).unwrap();
    assert_eq!(copied.objects, crate::support::listing(&from).len() as u64);
    assert_same(&to, &from);
}

#[test]
fn parents_that_a_layer_only_implies_are_adopted() {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    fs::create_dir_all(at("lower/etc/conf.d")).unwrap();
    fs::set_permissions(at("lower/etc"), PermissionsExt::from_mode(0o2711)).unwrap();
    put(&at("lower/etc/conf.d/old"), b"", 0o644);
    crate::support::run("find", &[at("lower").to_str().unwrap(), "-exec", "touch", "-d", "@1500000000", "{}", "+"]);
    let base = layer::Toc::scan(&packed(&at("lower"))[..], &Default::default()).unwrap();
    let mut tar = TarWriter::new(Vec::new());
    let me = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let file = layer::Entry { uid: me.0, gid: me.1, ..layer::Entry::file("etc/conf.d/new", 0o600, 0) };
    tar.append(&file, &mut std::io::empty()).unwrap();
    fs::create_dir(at("upper")).unwrap();
    let mut options = layer::ApplyOptions { whiteouts: layer::Whiteouts::Overlay { userxattr: true }, ..permitted() };
    let applied = apply(&tar.finish().unwrap()[..], open(&at("upper")).as_fd(), &mut options).unwrap();
    assert_eq!(applied.implied, [PathBuf::from("etc"), PathBuf::from("etc/conf.d")]);
    let view = layer::View::of([base.into()]);
    let root = open(&at("upper"));
    layer::apply::adopt_parents(root.as_fd(), &applied.implied, &view, &mut options.owners).unwrap();
    let only_dirs = |name: &str| -> Vec<String> {
        crate::support::listing(&at(name)).into_iter().filter(|l| l.contains(" Dir ")).collect()
    };
    assert_eq!(only_dirs("upper"), only_dirs("lower"));
}
