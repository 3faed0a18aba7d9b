//! The same bytes and the same trees under another umask, time zone and order of creation.

use crate::support::{assert_same, open, packed, permitted, put, sample};
use layer::{Compression, LayerWriter, apply};
use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;

const TAR: &str = "LAYER_TEST_TAR";

/// Run by [`umask_and_time_zone_do_not_matter`] in a process of its own.
#[test]
#[ignore = "helper of another test"]
fn child() {
    let Ok(tar) = std::env::var(TAR) else { return };
    let out = Path::new(&tar).with_extension("out");
    fs::create_dir(&out).unwrap();
    let bytes = fs::read(&tar).unwrap();
    apply(&bytes[..], open(&out).as_fd(), &mut permitted()).unwrap();
    assert!(packed(&out) == bytes);
}

#[test]
fn umask_and_time_zone_do_not_matter() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    sample(&tree);
    let bytes = packed(&tree);
    for (umask, zone) in [("077", "Asia/Kathmandu"), ("000", "UTC"), ("027", "America/New_York")] {
        let tar = temp.path().join(format!("{umask}.tar"));
        fs::write(&tar, &bytes).unwrap();
        let script = format!("umask {umask}; exec \"$0\" --exact determinism::child --ignored");
        let status = Command::new("sh")
            .args(["-c", &script])
            .arg(std::env::current_exe().unwrap())
            .env("TZ", zone)
            .env(TAR, &tar)
            .output()
            .unwrap();
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
        let out = tar.with_extension("out");
        assert!(out.is_dir());
        assert_same(&out, &tree);
    }
}

#[test]
fn order_of_creation_does_not_matter() {
    let names: Vec<String> = (0..300).map(|n| format!("f{:03}", (n * 7919) % 300)).collect();
    let mut blobs = Vec::new();
    for reversed in [false, true] {
        let temp = tempfile::tempdir().unwrap();
        let mut names = names.clone();
        if reversed {
            names.reverse();
        }
        for name in &names {
            let path = temp.path().join(name);
            put(&path, name.as_bytes(), 0o644);
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
            fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        }
        for threads in [1, 2, 5] {
            let mut writer = LayerWriter::create(Vec::new(), Compression::Gzip, None, threads).unwrap();
            writer.write_all(&packed(temp.path())).unwrap();
            blobs.push(writer.finish().unwrap());
        }
    }
    assert!(blobs.iter().all(|b| *b == blobs[0]));
}
