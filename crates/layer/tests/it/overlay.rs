//! Against the kernel: what overlayfs records is what the layer says, and what we unpack for overlayfs it understands.

use crate::support::{assert_same, is_root, open, packed, put, run, sample};
use layer::{ApplyOptions, PackOptions, TarWriter, Toc, TocItem, View, Whiteouts, XattrPolicy, apply};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

struct Mount(PathBuf);

impl Mount {
    fn new(lower: &str, upper: Option<(&Path, &Path)>, at: &Path) -> Option<Self> {
        if !is_root() {
            eprintln!("skipped: mounting an overlay needs root");
            return None;
        }
        fs::create_dir_all(at).unwrap();
        let mut options = format!("lowerdir={lower}");
        if let Some((upper, work)) = upper {
            fs::create_dir_all(upper).unwrap();
            fs::create_dir_all(work).unwrap();
            options += &format!(",upperdir={},workdir={}", upper.display(), work.display());
        }
        run("mount", &["-t", "overlay", "overlay", "-o", &options, at.to_str().unwrap()]);
        Some(Self(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        run("umount", &[self.0.to_str().unwrap()]);
    }
}

/// What a step might do to a tree.
fn change(root: &Path) {
    fs::remove_file(root.join("usr/share/doc/readme")).unwrap();
    fs::remove_dir_all(root.join("var")).unwrap();
    fs::create_dir(root.join("var")).unwrap();
    put(&root.join("var/fresh"), b"fresh", 0o600);
    fs::create_dir_all(root.join("var/new/deep")).unwrap();
    fs::remove_file(root.join("bin/share")).unwrap();
    fs::create_dir(root.join("bin/share")).unwrap();
    fs::remove_dir_all(root.join("empty")).unwrap();
    put(&root.join("empty"), b"now a file", 0o644);
    put(&root.join("usr/share/doc/empty"), b"no longer", 0o600);
    fs::set_permissions(root.join("bin/tool"), PermissionsExt::from_mode(0o711)).unwrap();
    fs::hard_link(root.join("var/fresh"), root.join("var/linked")).unwrap();
    symlink("fresh", root.join("var/sym")).unwrap();
    put(&root.join("temporary"), b"", 0o644);
    fs::remove_file(root.join("temporary")).unwrap();
    fs::set_permissions(root.join("usr/share"), PermissionsExt::from_mode(0o711)).unwrap();
    run("touch", &["-h", "-d", "@1650000000", root.join("var/sym").to_str().unwrap()]);
}

fn unpack(tars: &[&[u8]], into: &Path) {
    fs::create_dir_all(into).unwrap();
    for tar in tars {
        apply(*tar, open(into).as_fd(), &mut ApplyOptions::default()).unwrap();
    }
}

#[test]
fn an_upper_directory_becomes_a_layer() {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    sample(&at("lower"));
    let base = packed(&at("lower"));
    let base_toc = Arc::new(Toc::scan(&base[..], &layer::apply::Limits::default()).unwrap());
    let lower = at("lower");
    let Some(mount) = Mount::new(lower.to_str().unwrap(), Some((&at("upper"), &at("work"))), &at("merged")) else {
        return;
    };
    change(&mount.0);
    // Seen but not changed: copied up, equal.
    fs::create_dir(mount.0.join("usr/gone")).unwrap();
    fs::remove_dir(mount.0.join("usr/gone")).unwrap();
    let view = View::of([base_toc]);
    for below in [None, Some(&view)] {
        let mut tar = TarWriter::new(Vec::new());
        let options = PackOptions { below, xattrs: XattrPolicy::All, ..Default::default() };
        let toc = layer::pack_upper(open(&at("upper")).as_fd(), &mut tar, &options).unwrap();
        let tar = tar.finish().unwrap();
        assert_eq!(Toc::scan(&tar[..], &layer::apply::Limits::default()).unwrap(), toc);
        // In two steps: first the table, from which the tar can be made at any time.
        let first = layer::scan_upper(open(&at("upper")).as_fd(), &options).unwrap();
        let mut later = TarWriter::new(Vec::new());
        layer::pack_toc(open(&at("upper")).as_fd(), &first, &mut later, None).unwrap();
        assert!(later.finish().unwrap() == tar, "the tar differs");
        // On a flat tree.
        let flat = at(if below.is_some() { "flat1" } else { "flat2" });
        unpack(&[&base, &tar], &flat);
        assert_same_but_directory_times(&flat, &mount.0);
        // As layers of another overlay.
        let mut names = Vec::new();
        for (number, bytes) in [(0, &base), (1, &tar)] {
            let dir = at(&format!("layer{number}-{}", below.is_some()));
            fs::create_dir(&dir).unwrap();
            let mut options = ApplyOptions { whiteouts: Whiteouts::Overlay { userxattr: false }, ..Default::default() };
            let applied = apply(&bytes[..], open(&dir).as_fd(), &mut options).unwrap();
            assert_eq!(applied.implied, [""; 0].map(PathBuf::from));
            names.push(dir.to_str().unwrap().to_owned());
        }
        let again = Mount::new(&format!("{}:{}", names[1], names[0]), None, &at("again")).unwrap();
        assert_same(&again.0, &flat);
        // And as a table of contents.
        let mut merged = view.clone();
        merged.push(Arc::new(toc));
        let mut seen = Vec::new();
        list(&merged, Path::new(""), &mut seen);
        let on_disk: Vec<_> =
            crate::support::listing(&flat).iter().map(|l| l.split('"').nth(1).unwrap().replace("\\n", "\n")).collect();
        assert_eq!(seen, on_disk);
    }
}

fn list(view: &View, path: &Path, out: &mut Vec<String>) {
    for (name, node) in view.read_dir(path) {
        out.push(path.join(name).to_string_lossy().into_owned());
        if node.is_dir() {
            list(view, &path.join(name), out);
        }
    }
}

/// A layer with `below` keeps the time of a directory in which something came and went.
fn assert_same_but_directory_times(got: &Path, want: &Path) {
    let strip = |dir: &Path| -> Vec<String> {
        let lines = crate::support::listing(dir).into_iter();
        lines
            .map(|l| {
                let mut words: Vec<_> = l.split(' ').map(str::to_owned).collect();
                if let Some(at) = words.iter().position(|w| w == "Dir") {
                    words[at + 3].clear();
                }
                words.join(" ")
            })
            .collect()
    };
    assert_eq!(strip(got), strip(want));
}

#[test]
fn with_a_view_below_the_layer_is_small() {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    fs::create_dir_all(at("lower/a/b")).unwrap();
    fs::create_dir_all(at("lower/c/d")).unwrap();
    put(&at("lower/a/b/f"), b"f", 0o644);
    put(&at("lower/c/d/old"), b"f", 0o644);
    put(&at("lower/c/x"), b"f", 0o644);
    let base = Arc::new(Toc::scan(&packed(&at("lower"))[..], &layer::apply::Limits::default()).unwrap());
    let lower = at("lower");
    let Some(mount) = Mount::new(lower.to_str().unwrap(), Some((&at("upper"), &at("work"))), &at("merged")) else {
        return;
    };
    put(&mount.0.join("a/b/tmp"), b"", 0o644);
    fs::remove_file(mount.0.join("a/b/tmp")).unwrap();
    fs::remove_dir_all(mount.0.join("c")).unwrap();
    fs::create_dir_all(mount.0.join("c/d")).unwrap();
    put(&mount.0.join("c/m"), b"", 0o644);
    put(&mount.0.join("resolv.conf"), b"", 0o644);
    drop(mount);
    let view = View::of([base]);
    let pack = |below| {
        let mut tar = TarWriter::new(Vec::new());
        let options = PackOptions { below, exclude: vec!["resolv.conf".into()], ..Default::default() };
        let toc = layer::pack_upper(open(&at("upper")).as_fd(), &mut tar, &options).unwrap();
        toc.items
            .iter()
            .map(|item| match item {
                TocItem::Entry { entry, .. } => entry.path.display().to_string(),
                TocItem::Whiteout(path) => format!("-{}", path.display()),
                TocItem::Opaque(path) => format!("!{}", path.display()),
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(pack(Some(&view)), ["c", "c/d", "-c/d/old", "c/m", "-c/x"]);
    assert_eq!(pack(None), ["a", "a/b", "c", "!c", "c/d", "c/m"]);
}
