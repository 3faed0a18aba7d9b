//! Trees to test with, and how two of them are compared.

use layer::walk::{Flow, walk};
use layer::{Kind, XattrPolicy};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Root of the machine, not of a user namespace.
pub(crate) fn is_root() -> bool {
    let all = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    rustix::process::geteuid().is_root() && all.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Options for those who may and those who may not set owners.
pub(crate) fn permitted<'a>() -> layer::ApplyOptions<'a> {
    let owners = if is_root() { layer::Owners::Real } else { layer::Owners::Ignored };
    layer::ApplyOptions { owners, ..Default::default() }
}

/// One line for each object: all that a layer keeps of it.
pub(crate) fn listing(dir: &Path) -> Vec<String> {
    let root = File::open(dir).unwrap();
    let mut lines = Vec::new();
    let mut first: HashMap<u64, PathBuf> = HashMap::new();
    walk(root.as_fd(), &mut |visit| {
        let content = if visit.entry.kind == Kind::File {
            let mut bytes = Vec::new();
            visit.open()?.read_to_end(&mut bytes).unwrap();
            oci::Digest::sha256(&bytes).short().to_owned()
        } else {
            String::new()
        };
        let xattrs = visit.xattrs(XattrPolicy::All)?;
        let e = &visit.entry;
        let same_as = first.entry(visit.key.ino).or_insert_with(|| e.path.clone()).clone();
        let same_as = if same_as == e.path { String::new() } else { format!(" = {}", same_as.display()) };
        lines.push(format!(
            "{:?} {:?} {:04o} {}:{} {} {} {content} {:?} {:?} {xattrs:?}{same_as}",
            e.path, e.kind, e.mode, e.uid, e.gid, e.mtime.secs, e.size, e.link, e.rdev
        ));
        Ok(Flow::Continue)
    })
    .unwrap();
    lines
}

pub(crate) fn assert_same(got: &Path, want: &Path) {
    let (got, want) = (listing(got), listing(want));
    let missing: Vec<_> = want.iter().filter(|l| !got.contains(l)).collect();
    let extra: Vec<_> = got.iter().filter(|l| !want.contains(l)).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing {missing:#?}\nextra {extra:#?}");
}

/// A file with content, mode and time.
pub(crate) fn put(path: &Path, content: &[u8], mode: u32) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

pub(crate) fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {text}");
}

pub(crate) fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success())
}

/// A tree with one of everything that this process may make.
pub(crate) fn sample(dir: &Path) {
    for sub in ["bin", "usr/share/doc", "empty", "var/tmp"] {
        fs::create_dir_all(dir.join(sub)).unwrap();
    }
    put(&dir.join("bin/tool"), b"#!/bin/sh\n", 0o4755);
    put(&dir.join("usr/share/doc/readme"), &vec![b'r'; 70_000], 0o644);
    put(&dir.join("usr/share/doc/empty"), b"", 0o600);
    put(&dir.join("usr/name with space\nand line"), b"x", 0o644);
    put(&dir.join("usr/umlaut-\u{e4}"), b"utf-8", 0o640);
    let long = "n".repeat(200);
    put(&dir.join("usr").join(&long), b"long", 0o644);
    let deep = dir.join("d".repeat(90)).join("e".repeat(90));
    fs::create_dir_all(&deep).unwrap();
    put(&deep.join("f".repeat(90)), b"deep", 0o644);
    symlink("../usr/share", dir.join("bin/share")).unwrap();
    symlink("t".repeat(150), dir.join("bin/long-link")).unwrap();
    symlink("/nowhere", dir.join("dangling")).unwrap();
    fs::hard_link(dir.join("bin/tool"), dir.join("bin/tool2")).unwrap();
    fs::hard_link(dir.join("bin/tool"), dir.join("usr/tool3")).unwrap();
    fs::set_permissions(dir.join("var/tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
    fs::set_permissions(dir.join("empty"), PermissionsExt::from_mode(0o2750)).unwrap();
    let root = File::open(dir).unwrap();
    rustix::fs::mknodat(&root, "pipe", rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o620), 0).unwrap();
    if is_root() {
        let device = rustix::fs::makedev(1, 3);
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(&root, "null", rustix::fs::FileType::CharacterDevice, mode, device).unwrap();
        std::os::unix::fs::chown(dir.join("usr/share/doc/readme"), Some(1234), Some(3_000_000)).unwrap();
        std::os::unix::fs::lchown(dir.join("dangling"), Some(7), Some(8)).unwrap();
    }
    // Times in the past, the innermost first, so that a copy is not equal by chance.
    run("find", &[dir.to_str().unwrap(), "-depth", "-exec", "touch", "-h", "-d", "@1600000000", "{}", "+"]);
}

pub(crate) fn open(dir: &Path) -> File {
    File::open(dir).unwrap()
}

/// The tree as a tar.
pub(crate) fn packed(dir: &Path) -> Vec<u8> {
    let mut tar = layer::TarWriter::new(Vec::new());
    let options = layer::PackOptions { xattrs: XattrPolicy::All, ..Default::default() };
    layer::pack_tree(open(dir).as_fd(), &mut tar, &options).unwrap();
    tar.finish().unwrap()
}
