//! Memory stays flat, whatever the size of a layer.
//!
//! The sizes are chosen for CI. `COOPERAGE_LARGE=1` runs the same with 2 GiB, which takes a minute or two and 8 GB of
//! disk.
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use testkit::bases;

use super::support::{Log, Place, Random, registry};

/// Runs a build and watches the largest size that it ever had in memory.
pub(crate) fn peak(command: &mut Command) -> (Log, u64) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut output = child.stderr.take().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let (mut peak, mut text, mut buffer) = (0, Vec::new(), [0; 4096]);
    loop {
        // The kernel keeps the peak; it only has to be read before the process ends.
        let value = std::fs::read_to_string(&status).unwrap_or_default();
        let line = value.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap_or(0);
        peak = peak.max(kib << 10);
        let timeout = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
        let mut ready = [PollFd::new(&output, PollFlags::IN)];
        if poll(&mut ready, Some(&timeout)).unwrap() > 0 {
            match output.read(&mut buffer).unwrap() {
                0 => break,
                count => text.extend_from_slice(&buffer[..count]),
            }
        }
    }
    let code = child.wait().unwrap().code();
    (Log { code, text: String::from_utf8_lossy(&text).into_owned() }, peak)
}

/// A file of this size, half of it compressible.
fn large_file(place: &Place, mebibytes: u64) {
    let mut out = BufWriter::new(File::create(place.context().join("large")).unwrap());
    let (mut random, mut noise, zeros) = (Random::new(mebibytes), vec![0; 64 << 10], vec![0; 64 << 10]);
    for _ in 0..mebibytes * 8 {
        random.fill(&mut noise);
        out.write_all(&noise).unwrap();
        out.write_all(&zeros).unwrap();
    }
    out.flush().unwrap();
}

/// Peaks of a build that copies, compresses and pushes a file, and of one that pulls and unpacks it.
fn peaks(mebibytes: u64) -> [u64; 2] {
    let name = registry().reference(&format!("large:{mebibytes}"));
    let place = Place::dockerfile("FROM busybox\nCOPY large /large\n");
    large_file(&place, mebibytes);
    let (log, copied) = peak(&mut place.command(&format!("--push -t {name}")));
    assert_eq!(log.code, Some(0), "{}", log.text);
    drop(place);
    let wanted = mebibytes << 20;
    let place = Place::dockerfile(&format!("FROM {name}\nRUN test $(stat -c %s /large) = {wanted}\n"));
    let (log, unpacked) = peak(&mut place.command(""));
    assert_eq!(log.code, Some(0), "{}", log.text);
    [copied, unpacked]
}

#[test]
fn memory_is_flat() {
    let (small, large) = match std::env::var_os("COOPERAGE_LARGE") {
        Some(_) => (64, 2048),
        None => (64, 512),
    };
    let (few, many) = (peaks(small), peaks(large));
    for (what, few, many) in [("copying and pushing", few[0], many[0]), ("pulling and unpacking", few[1], many[1])] {
        let text = format!("{what}: {} MiB at most for {small} MiB, {} MiB for {large} MiB", few >> 20, many >> 20);
        assert!(few > 1 << 20 && many < 150_000_000, "{text}");
        assert!(many < few + 20_000_000, "{text}");
    }
}

/// Debian with Node: 370 MB in tens of thousands of files, all of them listed.
#[test]
fn an_sbom_of_a_large_image_takes_little_memory() {
    let tools = [("mmdebstrap", "mmdebstrap")];
    if !testkit::available("an_sbom_of_a_large_image_takes_little_memory", &tools) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let image = format!("oci-layout://{}", bases::NODE.layout().unwrap().display());
    for name in ["image.spdx.json", "image.cdx.json"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cooperage"));
        command.args(["sbom", &image, "--files", "all", "-o", name, "--root", "store"]).current_dir(place.path());
        let (log, peak) = peak(&mut command);
        assert_eq!(log.code, Some(0), "{}", log.text);
        assert!(place.path().join(name).metadata().unwrap().len() > 1 << 20);
        assert!(peak > 1 << 20 && peak < 200_000_000, "{name}: {} MiB at most", peak >> 20);
    }
}
