//! What we write others read, and the other way round.

use crate::support::{assert_same, has, open, packed, permitted, put, run, sample};
use layer::{ApplyOptions, Kind, Toc, TocItem, Whiteouts, apply};
use proptest::prelude::*;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::Path;

#[test]
fn others_read_what_we_write() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    sample(&tree);
    let tar = temp.path().join("layer.tar");
    fs::write(&tar, packed(&tree)).unwrap();
    for program in ["tar", "bsdtar"] {
        if !has(program) {
            eprintln!("skipped: {program} is not installed");
            continue;
        }
        let out = temp.path().join(program);
        fs::create_dir(&out).unwrap();
        let (tar, out_arg) = (tar.to_str().unwrap(), out.to_str().unwrap());
        run(program, &["-xpf", tar, "--numeric-owner", "-C", out_arg]);
        assert_same(&out, &tree);
    }
}

#[test]
fn we_read_what_others_write() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    sample(&tree);
    // Holes at both ends and in the middle.
    let mut sparse = File::create(tree.join("sparse")).unwrap();
    for (at, text) in [(100_000, "one"), (900_000, "two")] {
        sparse.seek(SeekFrom::Start(at)).unwrap();
        sparse.write_all(text.as_bytes()).unwrap();
    }
    sparse.set_len(2_000_000).unwrap();
    drop(sparse);
    let tree_arg = tree.to_str().unwrap();
    let forms: &[(&str, &[&str])] = &[
        ("tar", &["--format=gnu"]),
        ("tar", &["--format=gnu", "-S"]),
        ("tar", &["--format=oldgnu", "-S"]),
        ("tar", &["--format=pax"]),
        ("tar", &["--format=pax", "-S", "--sparse-version=0.0"]),
        ("tar", &["--format=pax", "-S", "--sparse-version=0.1"]),
        ("tar", &["--format=pax", "-S", "--sparse-version=1.0"]),
        ("tar", &["--format=pax", "--xattrs"]),
        ("bsdtar", &["--format=pax"]),
        ("bsdtar", &["--format=gnutar"]),
    ];
    for (at, (program, options)) in forms.iter().enumerate() {
        if !has(program) {
            eprintln!("skipped: {program} is not installed");
            continue;
        }
        let tar = temp.path().join(format!("{at}.tar"));
        let mut args = options.to_vec();
        args.extend(["-cf", tar.to_str().unwrap(), "-C", tree_arg, "."]);
        run(program, &args);
        let out = temp.path().join(format!("out{at}"));
        fs::create_dir(&out).unwrap();
        let applied = apply(File::open(&tar).unwrap(), open(&out).as_fd(), &mut permitted()).unwrap();
        assert_eq!(applied.warnings, [""; 0]);
        assert_same(&out, &tree);
        // The table of contents finds the same contents in the stream.
        assert_eq!(Toc::scan(File::open(&tar).unwrap(), &layer::apply::Limits::default()).unwrap(), applied.toc);
        check_contents(&tar, &applied.toc, &tree);
    }
}

fn check_contents(tar: &Path, toc: &Toc, tree: &Path) {
    let mut tar = File::open(tar).unwrap();
    for item in &toc.items {
        let TocItem::Entry { entry, content } = item else { panic!("unexpected {item:?}") };
        if entry.kind != Kind::File {
            continue;
        }
        let mut want = fs::read(tree.join(&entry.path)).unwrap();
        tar.seek(SeekFrom::Start(content.offset)).unwrap();
        if content.sparse.is_empty() {
            let mut got = vec![0; want.len()];
            tar.read_exact(&mut got).unwrap();
            assert!(got == want, "{:?}", entry.path);
        }
        for (place, length) in &content.sparse {
            let mut got = vec![0; usize::try_from(*length).unwrap()];
            tar.read_exact(&mut got).unwrap();
            let place = usize::try_from(*place).unwrap();
            assert!(got == want[place..place + got.len()], "{:?}", entry.path);
            want[place..place + got.len()].fill(0);
        }
        assert!(content.sparse.is_empty() || want.iter().all(|b| *b == 0));
    }
}

#[test]
fn python_reads_every_field() {
    if !has("python3") {
        eprintln!("skipped: python3 is not installed");
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    sample(&tree);
    let tar = temp.path().join("layer.tar");
    fs::write(&tar, packed(&tree)).unwrap();
    let script = "import sys, tarfile, os, stat\n\
        t = tarfile.open(sys.argv[1], 'r:')\n\
        n = 0\n\
        for m in t:\n    \
            s = os.lstat(os.path.join(sys.argv[2], m.name)); n += 1\n    \
            assert m.mode == stat.S_IMODE(s.st_mode), m.name\n    \
            assert (m.uid, m.gid, int(m.mtime)) == (s.st_uid, s.st_gid, int(s.st_mtime)), m.name\n    \
            assert not m.isreg() or m.size == s.st_size, m.name\n    \
            assert not m.issym() or m.linkname == os.readlink(os.path.join(sys.argv[2], m.name))\n\
        assert n == int(sys.argv[3]), n\n";
    let count = crate::support::listing(&tree).len().to_string();
    run("python3", &["-c", script, tar.to_str().unwrap(), tree.to_str().unwrap(), &count]);
}

#[test]
fn archives_are_told_from_files() {
    let temp = tempfile::tempdir().unwrap();
    put(&temp.path().join("a"), b"content", 0o644);
    let tar = packed(temp.path());
    assert!(layer::detect_archive(&tar));
    let compress = |program: &str| {
        let input = temp.path().join("x.tar");
        fs::write(&input, &tar).unwrap();
        let output = std::process::Command::new(program).args(["-c", input.to_str().unwrap()]).output().ok()?;
        output.status.success().then_some(output.stdout)
    };
    for program in ["gzip", "bzip2", "xz", "zstd"] {
        match compress(program) {
            Some(bytes) => {
                assert!(layer::detect_archive(&bytes), "{program}");
                let mut back = Vec::new();
                layer::decompress_any(&bytes[..]).unwrap().read_to_end(&mut back).unwrap();
                assert!(back == tar);
            }
            None => eprintln!("skipped: {program} is not installed"),
        }
    }
    for other in
        [&b""[..], b"#!/bin/sh\necho", &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], &[0; 10240], b"BZh91AY", &tar[..300]]
    {
        assert!(!layer::detect_archive(other));
    }
}

#[test]
fn add_unpacks_as_buildkit_does() {
    let temp = tempfile::tempdir().unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    for (name, kind) in
        [("dir/new", tar::EntryType::Regular), (".wh.keep", tar::EntryType::Regular), ("pipe", tar::EntryType::Fifo)]
    {
        header.set_entry_type(kind);
        header.set_mode(0o640);
        header.set_uid(55);
        header.set_gid(66);
        header.set_mtime(1_500_000_000);
        header.set_size(0);
        builder.append_data(&mut header, name, std::io::empty()).unwrap();
    }
    let tar = builder.into_inner().unwrap();
    let dest = temp.path().join("app");
    fs::create_dir_all(dest.join("dir")).unwrap();
    put(&dest.join("dir/old"), b"old", 0o600);
    put(&dest.join("keep"), b"keep", 0o600);
    let me = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mut options =
        ApplyOptions { whiteouts: Whiteouts::Literal, chown: Some(me), prefix: "app".into(), ..permitted() };
    let applied = apply(&tar[..], open(temp.path()).as_fd(), &mut options).unwrap();
    assert!(applied.warnings.is_empty());
    let names: Vec<_> = ["dir/new", "dir/old", "keep", ".wh.keep"].iter().map(|n| dest.join(n).exists()).collect();
    assert_eq!(names, [true; 4]);
    assert!(fs::metadata(dest.join("pipe")).unwrap().file_type().is_fifo());
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let meta = fs::metadata(dest.join("dir/new")).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mtime(), meta.mode() & 0o7777), (me.0, me.1, 1_500_000_000, 0o640));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    /// Any entry that the writer takes comes back from our reader and from the `tar` crate.
    #[test]
    fn entries_survive(
        parts in proptest::collection::vec("[a-z\u{e4}. ]{1,80}", 1..5),
        kind in 0..6usize,
        mode in 0u32..0o10000,
        ids in any::<(u32, u32)>(),
        secs in -5_000_000_000i64..50_000_000_000,
        link in "[ -~]{1,180}",
        value in proptest::collection::vec(any::<u8>(), 0..40),
        content in proptest::collection::vec(any::<u8>(), 0..1500),
    ) {
        let path = layer::entry::clean(Path::new(&parts.join("/")));
        prop_assume!(!path.as_os_str().is_empty() && !path.to_string_lossy().contains(".wh."));
        let kinds = [Kind::File, Kind::Dir, Kind::Symlink, Kind::Hardlink, Kind::CharDevice, Kind::Fifo];
        let mut entry = layer::Entry::dir(path, mode);
        entry.kind = kinds[kind];
        entry.uid = ids.0.min(u32::MAX - 1);
        entry.gid = ids.1.min(u32::MAX - 1);
        entry.mtime.secs = secs;
        match entry.kind {
            Kind::File => entry.size = content.len() as u64,
            Kind::Symlink => entry.link = Some(link.into()),
            Kind::Hardlink => entry.link = Some(layer::entry::clean(Path::new(&link.replace('.', "_")))),
            Kind::CharDevice => entry.rdev = (mode, 7),
            _ => {}
        }
        // The `tar` crate ends a record at a newline in its value.
        let binary = value.contains(&b'\n');
        if !value.is_empty() {
            entry.xattrs.insert(b"user.value".to_vec(), value);
        }
        let mut writer = layer::TarWriter::new(Vec::new());
        let offset = writer.append(&entry, &mut &content[..]).unwrap();
        let bytes = writer.finish().unwrap();
        let toc = Toc::scan(&bytes[..], &layer::apply::Limits::default()).unwrap();
        let expected = if entry.kind == Kind::File { offset } else { 0 };
        let content = layer::Content { offset: expected, sparse: Vec::new() };
        prop_assert_eq!(&toc.items, &[TocItem::Entry { entry: entry.clone(), content }]);
        prop_assert_eq!(&Toc::from_bytes(&toc.to_bytes()).unwrap(), &toc);
        if binary {
            return Ok(());
        }
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut entries = archive.entries().unwrap();
        let other = entries.next().unwrap().unwrap();
        prop_assert_eq!(layer::entry::clean(&other.path().unwrap()), entry.path);
        prop_assert_eq!(other.header().mode().unwrap(), mode);
        prop_assert_eq!(other.size(), entry.size);
    }
}
