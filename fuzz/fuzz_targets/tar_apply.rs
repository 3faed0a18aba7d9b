//! Any bytes as a layer and as an archive of ADD: no panic, no unbounded memory, nothing outside of the directory.
#![no_main]

use layer::apply::Limits;
use layer::{ApplyOptions, AttrTable, Owners, Whiteouts};
use libfuzzer_sys::fuzz_target;
use std::fs::{self, File};
use std::os::fd::AsFd;

fuzz_target!(|data: &[u8]| {
    let Ok(tar) = layer::decompress_any(data) else { return };
    let limits = Limits { entries: 1000, total: 1 << 20, metadata: 1 << 20, ..Limits::default() };
    let Ok(toc) = layer::Toc::scan(tar, &limits) else { return };
    assert_eq!(layer::Toc::from_bytes(&toc.to_bytes()).ok().as_ref(), Some(&toc));
    for whiteouts in [Whiteouts::Flat, Whiteouts::Overlay { userxattr: true }, Whiteouts::Literal] {
        let Ok(cage) = tempfile::tempdir() else { return };
        let (root, canary) = (cage.path().join("root"), cage.path().join("canary"));
        if fs::create_dir(&root).and_then(|()| fs::write(&canary, "untouched")).is_err() {
            return;
        }
        let (Ok(root), Ok(tar)) = (File::open(&root), layer::decompress_any(data)) else { return };
        let mut table = AttrTable::new();
        let mut options =
            ApplyOptions { whiteouts, owners: Owners::Recorded(&mut table), limits, ..ApplyOptions::default() };
        let _ = layer::apply(tar, root.as_fd(), &mut options);
        assert_eq!(fs::read(&canary).ok().as_deref(), Some(&b"untouched"[..]));
        assert_eq!(fs::read_dir(cage.path()).map(Iterator::count).ok(), Some(2));
    }
});
