//! Owners, devices and attributes that the process may not set come back from the side table.

use crate::support::{is_root, open, packed, put, sample};
use layer::{ApplyOptions, AttrTable, Entry, Kind, Owners, PackOptions, TarWriter, XattrPolicy, apply};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

const DIR: &str = "LAYER_TEST_DIR";

/// A layer of somebody who may do everything.
fn privileged(dir: &Path) -> Vec<u8> {
    sample(dir);
    if is_root() {
        put(&dir.join("usr/share/doc/readme"), b"short", 0o000);
    }
    let mut tar = packed(dir);
    tar.truncate(tar.len() - 1024);
    let mut writer = TarWriter::new(&mut tar);
    let plain = |path: &str, kind| Entry { kind, uid: 33, gid: 44, ..Entry::dir(path, 0o640) };
    let mut ping = Entry { size: 4, ..plain("z/ping", Kind::File) };
    ping.xattrs.insert(b"security.capability".to_vec(), b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec());
    ping.xattrs.insert(b"trusted.note".to_vec(), b"kept".to_vec());
    let disk = Entry { rdev: (8, 300), ..plain("z/disk", Kind::BlockDevice) };
    let link = Entry { link: Some("z/ping".into()), kind: Kind::Hardlink, size: 0, ..ping.clone() };
    let text = Entry { link: Some("ping".into()), mode: 0o777, ..plain("z/symlink", Kind::Symlink) };
    writer.append(&Entry { mode: 0o500, ..plain("z", Kind::Dir) }, &mut std::io::empty()).unwrap();
    writer.append(&disk, &mut std::io::empty()).unwrap();
    writer.append(&ping, &mut &b"ping"[..]).unwrap();
    writer.append(&Entry { path: "z/ping2".into(), ..link }, &mut std::io::empty()).unwrap();
    writer.append(&text, &mut std::io::empty()).unwrap();
    writer.finish().unwrap();
    tar
}

fn repacked(dir: &Path, table: &AttrTable, owner: Option<(u32, u32)>) -> Vec<u8> {
    let mut tar = TarWriter::new(Vec::new());
    let options = PackOptions { attrs: Some(table), owner, xattrs: XattrPolicy::All, ..Default::default() };
    layer::pack_tree(open(dir).as_fd(), &mut tar, &options).unwrap();
    tar.finish().unwrap()
}

fn assert_same_tar(got: &[u8], want: &[u8]) {
    let lines = |tar: &[u8]| layer::Toc::scan(tar, &Default::default()).unwrap().items;
    assert_eq!(lines(got), lines(want));
    assert!(got == want);
}

#[test]
fn a_recorded_tree_packs_to_the_same_bytes() {
    let temp = tempfile::tempdir().unwrap();
    let tar = privileged(&temp.path().join("tree"));
    let out = temp.path().join("out");
    fs::create_dir(&out).unwrap();
    let mut table = AttrTable::new();
    let mut options = ApplyOptions { owners: Owners::Recorded(&mut table), ..Default::default() };
    apply(&tar[..], open(&out).as_fd(), &mut options).unwrap();
    assert!(fs::read(out.join("z/disk")).unwrap().is_empty());
    assert!(!table.is_empty());
    assert_eq!(AttrTable::from_bytes(&table.to_bytes()).unwrap(), table);
    assert_same_tar(&repacked(&out, &table, Some((0, 0))), &tar);
}

/// Run by [`a_user_namespace_with_one_id_packs_to_the_same_bytes`] as another user.
#[test]
#[ignore = "helper of another test"]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let dir = Path::new(&dir);
    let tar = fs::read(dir.join("layer.tar")).unwrap();
    let out = dir.join("out");
    fs::create_dir(&out).unwrap();
    let error = apply(&tar[..], open(&out).as_fd(), &mut ApplyOptions::default()).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("may not make (CAP_MKNOD)") || error.starts_with("cannot set owner"), "{error}");
    let out = dir.join("out2");
    fs::create_dir(&out).unwrap();
    let mut table = AttrTable::new();
    let mut options = ApplyOptions { owners: Owners::Fallback(&mut table), ..Default::default() };
    apply(&tar[..], open(&out).as_fd(), &mut options).unwrap();
    assert_same_tar(&repacked(&out, &table, None), &tar);
    fs::write(dir.join("done"), "").unwrap();
}

#[test]
fn a_user_namespace_with_one_id_packs_to_the_same_bytes() {
    if !is_root() {
        eprintln!("skipped: making the layer needs root");
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let tar = privileged(&temp.path().join("tree"));
    let shared = temp.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(temp.path(), PermissionsExt::from_mode(0o755)).unwrap();
    fs::set_permissions(&shared, PermissionsExt::from_mode(0o777)).unwrap();
    put(&shared.join("layer.tar"), &tar, 0o644);
    // The directory of the build may be closed for others.
    let exe = shared.join("it");
    fs::copy(std::env::current_exe().unwrap(), &exe).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid", "4321", "--regid", "4321", "--clear-groups", "unshare", "-U", "-r"])
        .arg(&exe)
        .args(["--exact", "owners::child", "--ignored"])
        .env(DIR, &shared)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    if text.is_empty() {
        eprintln!("skipped: no user namespaces here: {}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    assert!(output.status.success(), "{text}");
    assert!(shared.join("done").exists());
}
