//! Archives that try to leave the tree, to fill the memory, or to make no sense.

use crate::support::{listing, open, packed, permitted, put, sample};
use layer::apply::Limits;
use layer::{Applied, ApplyOptions, AttrTable, Error, Owners, Whiteouts, apply};
use proptest::prelude::*;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tar::EntryType as Type;

/// A directory `root` to unpack into, and beside it one that must not change.
struct Cage {
    temp: tempfile::TempDir,
    before: Vec<String>,
}

impl Cage {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("root")).unwrap();
        fs::create_dir(temp.path().join("outside")).unwrap();
        put(&temp.path().join("outside/canary"), b"untouched", 0o604);
        fs::set_permissions(temp.path().join("outside"), PermissionsExt::from_mode(0o705)).unwrap();
        let before = Self::look(temp.path());
        Self { temp, before }
    }

    fn look(path: &Path) -> Vec<String> {
        // The tree itself may change, its name may not.
        let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|e| e.unwrap().path().display().to_string()).collect();
        names.sort();
        names.extend(listing(&path.join("outside")));
        let meta = fs::metadata(path.join("outside")).unwrap();
        names.push(format!("{:?} {:?}", meta.permissions(), meta.modified().unwrap()));
        names
    }

    fn root(&self) -> PathBuf {
        self.temp.path().join("root")
    }

    fn apply_with(&self, tar: &[u8], options: &mut ApplyOptions<'_>) -> Result<Applied, Error> {
        let result = apply(tar, open(&self.root()).as_fd(), options);
        assert_eq!(Self::look(self.temp.path()), self.before, "something outside of the root changed");
        result
    }

    fn apply(&self, tar: &[u8]) -> Result<Applied, Error> {
        for userxattr in [true, false] {
            let other = Cage::new();
            let mut options = ApplyOptions { whiteouts: Whiteouts::Overlay { userxattr }, ..permitted() };
            let _ = other.apply_with(tar, &mut options);
        }
        let (mut table, other) = (AttrTable::new(), Cage::new());
        let mut options = ApplyOptions { owners: Owners::Recorded(&mut table), ..Default::default() };
        let _ = other.apply_with(tar, &mut options);
        self.apply_with(tar, &mut permitted())
    }

    fn add(&self, tar: &[u8]) -> Result<Applied, Error> {
        self.apply_with(tar, &mut ApplyOptions { whiteouts: Whiteouts::Literal, ..permitted() })
    }
}

struct Raw(Vec<u8>);

impl Raw {
    fn new() -> Self {
        Self(Vec::new())
    }

    /// An entry whose names are taken as they are.
    fn entry(mut self, kind: Type, name: &str, link: &str, data: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o777);
        header.set_uid(rustix::process::geteuid().as_raw().into());
        header.set_gid(rustix::process::getegid().as_raw().into());
        header.set_size(data.len() as u64);
        header.set_mtime(1);
        if kind == Type::Char {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, data: &str) -> Self {
        self.entry(Type::Regular, name, "", data.as_bytes())
    }

    fn link(self, name: &str, text: &str) -> Self {
        self.entry(Type::Symlink, name, text, b"")
    }

    fn dir(self, name: &str) -> Self {
        self.entry(Type::Directory, name, "", b"")
    }

    fn hard(self, name: &str, target: &str) -> Self {
        self.entry(Type::Link, name, target, b"")
    }
}

fn refused(result: Result<Applied, Error>, text: &str) {
    let error = result.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains(text), "{error}");
}

fn refused_pack<T>(result: Result<T, Error>) {
    let text = result.map(|_| ()).unwrap_err().to_string();
    assert!(text.contains("directories are nested deeper than 500"), "{text}");
}

#[test]
fn names_that_point_outside_land_inside() {
    for name in ["../outside/x", "/../../outside/x", "a/../../outside/x", "./.././outside/x", "//outside/x"] {
        let cage = Cage::new();
        cage.apply(&Raw::new().file(name, "x").0).unwrap();
        assert_eq!(fs::read(cage.root().join("outside/x")).unwrap(), b"x", "{name}");
    }
    refused(Cage::new().add(&Raw::new().file("a/../../outside/x", "x").0), "it points outside of the destination");
    Cage::new().add(&Raw::new().file("/x", "x").0).unwrap();
}

#[test]
fn links_on_the_way_lead_inside() {
    for target in ["../outside", "../../../../outside", "/outside", "/../outside", "x/../../outside"] {
        let cage = Cage::new();
        let tar = Raw::new().link("link", target).file("link/x", "x").dir("link/sub").file("link/sub/y", "y");
        cage.apply(&tar.0).unwrap();
        assert_eq!(fs::read(cage.root().join("outside/sub/y")).unwrap(), b"y", "{target}");
    }
    let climbing = Raw::new().link("link", "../outside").file("link/x", "x");
    refused(Cage::new().add(&climbing.0), "a symbolic link on its way points outside of the destination");
    let chain = Raw::new().link("a", "b/../..").link("b", "a").file("a/x", "x");
    assert!(matches!(Cage::new().apply(&chain.0), Err(Error::Loop { .. })));
    assert!(matches!(Cage::new().apply(&Raw::new().link("l", "l").file("l/x", "").0), Err(Error::Loop { .. })));
}

#[test]
fn an_entry_replaces_a_link_and_never_writes_through_it() {
    for target in ["../outside/canary", "/outside/canary", "../outside"] {
        let cage = Cage::new();
        cage.apply(&Raw::new().link("a", target).file("a", "new").0).unwrap();
        assert_eq!(fs::read(cage.root().join("a")).unwrap(), b"new");
        cage.apply(&Raw::new().link("d", target).dir("d").file("d/x", "x").0).unwrap();
        assert!(fs::symlink_metadata(cage.root().join("d")).unwrap().is_dir());
        cage.add(&Raw::new().link("e", target).dir("e/").0).unwrap();
    }
}

#[test]
fn hardlinks_stay_inside() {
    let canary = "../outside/canary";
    refused(Cage::new().apply(&Raw::new().hard("h", canary).0), "which is not in the tree");
    refused(Cage::new().add(&Raw::new().hard("h", canary).0), "it points outside of the destination");
    let through = Raw::new().link("l", "../outside").hard("h", "l/canary");
    refused(Cage::new().apply(&through.0), "which is not in the tree");
    // A hardlink to a symlink is that link again; its attributes must not reach what it points to.
    let cage = Cage::new();
    cage.apply(&Raw::new().link("l", canary).hard("h", "l").0).unwrap();
    assert!(fs::symlink_metadata(cage.root().join("h")).unwrap().is_symlink());
    refused(Cage::new().apply(&Raw::new().file("f", "").hard("f", "f").0), "a hardlink to itself");
    refused(Cage::new().apply(&Raw::new().dir("d").hard("h", "d").0), "a hardlink to a directory");
    refused(Cage::new().apply(&Raw::new().hard("h", "/").0), "a hardlink to the root directory");
    refused(Cage::new().apply(&Raw::new().file("d/f", "").hard("d", "d/f").0), "which is not in the tree");
}

#[test]
fn whiteouts_stay_inside() {
    for mark in ["link/.wh.canary", "link/.wh..wh..opq", "../outside/.wh.canary", ".wh.outside"] {
        let cage = Cage::new();
        cage.apply(&Raw::new().link("link", "../outside").file(mark, "").0).unwrap();
    }
    for bad in [".wh.", ".wh..", ".wh...", "a/.wh.."] {
        refused(Cage::new().apply(&Raw::new().file(bad, "").0), "whiteout without a valid name");
    }
    let cage = Cage::new();
    cage.apply(&Raw::new().file(".wh..wh.plnk/1.2", "x").file(".wh..wh.aufs", "").0).unwrap();
    assert_eq!(fs::read_dir(cage.root()).unwrap().count(), 0);
}

#[test]
fn whiteouts_hide_only_what_lies_below() {
    let cage = Cage::new();
    for name in ["d/old", "d/sub/old", "gone/x", "file", "e/old"] {
        let path = cage.root().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        put(&path, b"old", 0o644);
    }
    let layer = Raw::new()
        .file("d/sub/new", "n")
        .file("d/.wh..wh..opq", "")
        .file(".wh.gone", "")
        .file("file", "n")
        .file(".wh.file", "")
        .file(".wh.e", "")
        .file("e/new", "n")
        .file(".wh.never", "");
    cage.apply(&layer.0).unwrap();
    let names: Vec<_> = listing(&cage.root()).iter().map(|l| l.split('"').nth(1).unwrap().to_owned()).collect();
    assert_eq!(names, ["d", "d/sub", "d/sub/new", "e", "e/new", "file"]);
    assert_eq!(fs::read(cage.root().join("file")).unwrap(), b"n");
}

#[test]
fn the_last_of_several_entries_counts() {
    let cage = Cage::new();
    let tar = Raw::new().file("a", "1").dir("a").file("a/in", "x").link("a", "b").file("a", "2").file("a", "3");
    cage.apply(&tar.0).unwrap();
    assert_eq!(fs::read(cage.root().join("a")).unwrap(), b"3");
    refused(cage.apply(&Raw::new().file("a/below", "").0), "/a, in which it should lie, is no directory");
}

#[test]
fn limits_hold() {
    let with = |limits: Limits| ApplyOptions { limits, ..permitted() };
    let three = Raw::new().file("a", "12345").file("b", "12345").file("c", "12345").0;
    let text = |limits| Cage::new().apply_with(&three, &mut with(limits)).map(|_| ()).unwrap_err().to_string();
    assert_eq!(text(Limits { entries: 2, ..Default::default() }), "the archive exceeds the limit of 2 entries");
    assert_eq!(
        text(Limits { total: 12, ..Default::default() }),
        "the archive exceeds the limit of 12 bytes of files at c"
    );
    let bytes = Limits { metadata: 2, ..Default::default() };
    assert_eq!(text(bytes), "the archive exceeds the limit of 2 bytes of names and attributes at c");
    let deep = Raw::new().file("a/b/c/d/e", "").0;
    let result = Cage::new().apply_with(&deep, &mut with(Limits { entries: 3, ..Default::default() }));
    refused(result, "the limit of 3 implied directories at a/b/c/d");
    let long = Raw::new().file(&"n/".repeat(40), "").0;
    let result = Cage::new().apply_with(&long, &mut with(Limits { path: 50, ..Default::default() }));
    assert!(matches!(result, Err(Error::Limit { what: "bytes in a path", .. })));
    for kind in [Type::XHeader, Type::GNULongName, Type::GNULongLink, Type::XGlobalHeader] {
        let big = Raw::new().entry(kind, "x", "", &vec![b'1'; 2 << 20]).file("a", "").0;
        assert!(matches!(Cage::new().apply(&big), Err(Error::Limit { .. })), "{kind:?}");
        let mut many = Raw::new();
        for _ in 0..20 {
            many = many.entry(kind, "x", "", &vec![b'\0'; 100 << 10]);
        }
        assert!(Cage::new().apply(&many.file("a", "").0).is_err(), "{kind:?}");
    }
}

#[test]
fn what_is_cut_off_is_an_error() {
    let whole = Raw::new().dir("d").file("d/a", &"a".repeat(700)).link("l", "d").0;
    for length in 0..whole.len() {
        let result = Cage::new().apply_with(&whole[..length], &mut permitted());
        // An archive may end after an entry without an end mark.
        let ends = [0, 512, 512 + 512 + 1024];
        assert_eq!(result.is_ok(), ends.contains(&length), "{length}");
    }
}

#[test]
fn nonsense_is_refused() {
    let mut sparse = tar::Header::new_gnu();
    sparse.set_path("s").unwrap();
    sparse.set_entry_type(Type::GNUSparse);
    sparse.set_size(10);
    let gnu = sparse.as_gnu_mut().unwrap();
    gnu.sparse[0].offset = *b"00000000100\0";
    gnu.sparse[0].numbytes = *b"00000000012\0";
    gnu.realsize = *b"00000000020\0";
    sparse.set_cksum();
    let mut bytes = sparse.as_bytes().to_vec();
    bytes.extend_from_slice(&[0; 512]);
    refused(Cage::new().apply(&bytes), "the pieces of a sparse file overlap or lie outside of it");
    let pax = |text: &str| Raw::new().entry(Type::XHeader, "x", "", text.as_bytes()).file("a", "").0;
    refused(Cage::new().apply(&pax("24 uid=99999999999999999\n")), "malformed");
    refused(Cage::new().apply(&pax("18 uid=4294967296\n")), "is no user or group id");
    refused(Cage::new().apply(&pax("8 path=\0\n")), "malformed");
    refused(Cage::new().apply(&pax("11 path=a\0\n")), "contains a NUL byte");
    refused(Cage::new().apply(&pax("22 GNU.sparse.major=1\n")), "does not say how long it is");
    refused(Cage::new().apply(&Raw::new().entry(Type::new(b'V'), "v", "", b"").0), "its type 'V' is not one");
    refused(Cage::new().apply(b"not a tar"), "it ends in the middle of a header");
    refused(Cage::new().apply(&[b'x'; 1024]), "this is no tar archive");
    refused(Cage::new().apply(&Raw::new().link("l", "").0), "a symbolic link without a target");
}

#[test]
fn very_deep_trees_come_and_go() {
    let cage = Cage::new();
    // Each entry begins in the depth that the link before leads to.
    let mut tar = Raw::new();
    let step = "d/".repeat(45);
    let mut here = String::from("top/");
    for number in 0..16 {
        tar = tar.dir(&format!("{here}{step}"));
        let link = format!("l{number}");
        tar = tar.link(&link, &format!("{here}{step}"));
        here = format!("{link}/");
    }
    cage.apply_with(&tar.0, &mut permitted()).unwrap();
    let mut tar = layer::TarWriter::new(Vec::new());
    refused_pack(layer::pack_tree(open(&cage.root()).as_fd(), &mut tar, &Default::default()));
    refused_pack(layer::Table::scan(open(&cage.root()).as_fd(), &Default::default()));
    refused_pack(layer::walk::walk(open(&cage.root()).as_fd(), &mut |_| Ok(layer::walk::Flow::Continue)));
    let copy = tempfile::tempdir().unwrap();
    refused_pack(layer::copy_tree(open(&cage.root()).as_fd(), open(copy.path()).as_fd()));
    cage.apply_with(&Raw::new().file(".wh.top", "").0, &mut permitted()).unwrap();
    assert!(!cage.root().join("top").exists());
    assert_eq!(fs::read_dir(cage.root()).unwrap().count(), 16);
}

#[test]
fn devices_need_somebody_who_may_make_them() {
    let tar = Raw::new().entry(Type::Char, "dev/null", "", b"").0;
    let mut table = AttrTable::new();
    let cage = Cage::new();
    let mut options = ApplyOptions { owners: Owners::Recorded(&mut table), ..Default::default() };
    cage.apply_with(&tar, &mut options).unwrap();
    assert!(fs::metadata(cage.root().join("dev/null")).unwrap().is_file());
    let mut writer = layer::TarWriter::new(Vec::new());
    let options = layer::PackOptions { attrs: Some(&table), owner: Some((0, 0)), ..Default::default() };
    let toc = layer::pack_tree(open(&cage.root()).as_fd(), &mut writer, &options).unwrap();
    let layer::TocItem::Entry { entry, .. } = &toc.items[1] else { panic!() };
    assert_eq!((entry.kind, entry.mode), (layer::Kind::CharDevice, 0o777));
    if !rustix::process::geteuid().is_root() {
        refused(Cage::new().apply(&tar), "device node, which this process may not make (CAP_MKNOD)");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..Default::default() })]

    /// A good archive with some bytes changed: no panic, nothing outside.
    #[test]
    fn damaged_archives_stay_inside(changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6)) {
        thread_local!(static GOOD: Vec<u8> = {
            let temp = tempfile::tempdir().unwrap();
            sample(temp.path());
            let mut tar = packed(temp.path());
            tar.truncate(tar.len().min(40_000));
            tar.extend(Raw::new().link("l", "../outside").file("l/.wh.canary", "").hard("h", "l/canary").0);
            tar
        });
        let mut tar = GOOD.with(Clone::clone);
        for (at, value) in changes {
            let at = at.index(tar.len());
            tar[at] = value;
            // Half of the changes get past the checksum.
            let start = at / 512 * 512;
            if value & 1 == 0 && let Some(block) = tar.get_mut(start..start + 512) {
                let mut header = tar::Header::from_byte_slice(block).clone();
                header.set_cksum();
                block.copy_from_slice(header.as_bytes());
            }
        }
        let _ = Cage::new().apply_with(&tar, &mut permitted());
    }
}
