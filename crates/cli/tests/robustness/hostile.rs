//! Images from strangers: layers that try to leave the tree, that lie about themselves, or that are far larger than
//! they look. Each comes from a registry and from a layout on disk.
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use oci::{Digest, ImageConfig, Platform};
use serde_json::{Value, json};

use super::memory::peak;
use super::server::{Answer, Server};
use super::support::{Log, Place, files};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// One header of a tar archive, with the content after it. Nothing is checked.
pub(crate) struct Entry<'a> {
    pub(crate) path: &'a str,
    pub(crate) kind: u8,
    pub(crate) link: &'a str,
    pub(crate) data: &'a [u8],
    pub(crate) size: Option<u64>,
    pub(crate) device: (u64, u64),
}

impl<'a> Entry<'a> {
    pub(crate) fn file(path: &'a str, data: &'a [u8]) -> Self {
        Self { path, kind: b'0', link: "", data, size: None, device: (0, 0) }
    }

    fn dir(path: &'a str) -> Self {
        Self { kind: b'5', ..Self::file(path, b"") }
    }

    fn symlink(path: &'a str, link: &'a str) -> Self {
        Self { kind: b'2', link, ..Self::file(path, b"") }
    }

    fn hardlink(path: &'a str, link: &'a str) -> Self {
        Self { kind: b'1', link, ..Self::file(path, b"") }
    }

    fn device(path: &'a str, kind: u8, device: (u64, u64)) -> Self {
        Self { kind, device, ..Self::file(path, b"") }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut header = [0_u8; 512];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, self.path.as_bytes());
        put(100, if self.kind == b'5' { b"0000755\0" } else { b"0000644\0" });
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, format!("{:011o}\0", self.size.unwrap_or(self.data.len() as u64)).as_bytes());
        put(136, b"14520445760\0");
        put(148, b"        ");
        put(156, &[self.kind]);
        put(157, self.link.as_bytes());
        put(257, b"ustar\x0000");
        put(329, format!("{:07o}\0", self.device.0).as_bytes());
        put(337, format!("{:07o}\0", self.device.1).as_bytes());
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(self.data);
        out.resize(out.len().next_multiple_of(512), 0);
    }
}

pub(crate) fn tar(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    entries.iter().for_each(|entry| entry.write(&mut out));
    out.resize(out.len() + 1024, 0);
    out
}

fn gzip(tar: &[u8]) -> Vec<u8> {
    repeated(tar, &[], 0)
}

/// A gzip stream of `start` and then `block` many times.
fn repeated(start: &[u8], block: &[u8], times: usize) -> Vec<u8> {
    use std::io::Write;
    let mut writer = layer::LayerWriter::create(Vec::new(), layer::Compression::Gzip, Some(9), 2).unwrap();
    writer.write_all(start).unwrap();
    (0..times).for_each(|_| writer.write_all(block).unwrap());
    writer.finish().unwrap().1
}

/// An image to be spoiled.
pub(crate) struct Evil {
    blobs: BTreeMap<String, Vec<u8>>,
    manifest: Value,
}

impl Evil {
    /// Blobs and what they are said to inflate to.
    fn new(layers: Vec<(Vec<u8>, Digest)>) -> Self {
        let mut config = ImageConfig::scratch(&Platform::host());
        config.config.env = vec!["PATH=/bin".to_owned()];
        config.rootfs.diff_ids = layers.iter().map(|(_, diff_id)| diff_id.clone()).collect();
        let config = serde_json::to_vec(&config).unwrap();
        let mut evil = Self { blobs: BTreeMap::new(), manifest: Value::Null };
        let config = json!({ "mediaType": CONFIG, "digest": evil.add(&config), "size": config.len() });
        let layers: Vec<Value> = layers
            .into_iter()
            .map(|(blob, _)| json!({ "mediaType": GZIP, "digest": evil.add(&blob), "size": blob.len() }))
            .collect();
        evil.manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        evil
    }

    /// Of plain tars, compressed.
    pub(crate) fn of(tars: &[Vec<u8>]) -> Self {
        Self::new(tars.iter().map(|tar| (gzip(tar), Digest::sha256(tar))).collect())
    }

    fn add(&mut self, bytes: &[u8]) -> String {
        let digest = Digest::sha256(bytes).to_string();
        self.blobs.insert(digest.clone(), bytes.to_vec());
        digest
    }

    /// Digest of the layer with this number.
    pub(crate) fn layer(&self, number: usize) -> String {
        self.manifest["layers"][number]["digest"].as_str().unwrap().to_owned()
    }

    /// Replaces the bytes behind a digest.
    fn spoil(mut self, digest: &str, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        change(self.blobs.get_mut(digest).unwrap());
        self
    }

    pub(crate) fn serve(&self) -> Server {
        let (blobs, manifest) = (self.blobs.clone(), serde_json::to_vec(&self.manifest).unwrap());
        Server::start(move |request| {
            let last = request.path.rsplit('/').next().unwrap_or_default();
            if request.path.contains("/manifests/") {
                let digest = Digest::sha256(&manifest).to_string();
                let headers = vec![("Content-Type", MANIFEST.to_owned()), ("Docker-Content-Digest", digest)];
                return Answer::Say("200 OK", headers, manifest.clone());
            }
            match blobs.get(last) {
                Some(blob) => Answer::Say("200 OK", vec![], blob.clone()),
                None => Answer::Say(
                    if last == "v2" || last.is_empty() { "200 OK" } else { "404 Not Found" },
                    vec![],
                    vec![],
                ),
            }
        })
    }

    fn layout(&self, dir: &Path) {
        let blobs = dir.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        for (digest, bytes) in &self.blobs {
            fs::write(blobs.join(digest.trim_start_matches("sha256:")), bytes).unwrap();
        }
        let manifest = serde_json::to_vec(&self.manifest).unwrap();
        let digest = Digest::sha256(&manifest);
        fs::write(blobs.join(digest.hex()), &manifest).unwrap();
        let entry = json!({ "mediaType": MANIFEST, "digest": digest.to_string(), "size": manifest.len() });
        fs::write(dir.join("index.json"), json!({ "schemaVersion": 2, "manifests": [entry] }).to_string()).unwrap();
    }
}

/// What lies around the store, with contents.
fn around(place: &Place) -> BTreeMap<String, Vec<u8>> {
    let inside = [place.store(), place.path("layout"), place.path("out"), place.path("tmp")];
    files(&place.path(""))
        .into_iter()
        .filter(|path| !inside.iter().any(|dir| path.starts_with(dir)))
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect()
}

/// Ways to touch an image: all layers unpacked, only listed, exported as files.
const USES: [(&str, &str); 4] = [
    ("FROM evil\nCOPY --from=busybox /bin/busybox /bin/sh\nRUN exit 0\n", ""),
    ("FROM busybox\nCOPY --from=evil / /all/\nRUN --mount=from=evil,target=/m,rw exit 0\n", ""),
    ("FROM evil\n", "-o type=local,dest=out"),
    ("FROM evil\n", "-o type=tar,dest=out/files.tar"),
];

/// Builds with the image in every way; each build ends in order, and nothing outside changes. The logs come back.
fn everywhere(evil: &Evil, place: &Place) -> Vec<Log> {
    let server = evil.serve();
    evil.layout(&place.path("layout"));
    fs::write(place.path("canary"), "alive").unwrap();
    let mut logs = Vec::new();
    let sources = [format!("docker-image://{}/evil:1", server.address), "oci-layout://layout".to_owned()];
    for (number, (dockerfile, output)) in USES.into_iter().enumerate() {
        // Where it comes from matters only for how bytes are fetched: each use of the image takes one of the two.
        for source in &sources[number % 2..=number % 2] {
            let _ = fs::remove_dir_all(place.path("out"));
            fs::create_dir(place.path("out")).unwrap();
            let _ = fs::remove_dir_all(place.store());
            place.write("Dockerfile", dockerfile);
            let before = around(place);
            let log = place.attempt(&format!("--build-context evil={source} {output}"));
            assert!(matches!(log.code, Some(0 | 1)), "{:?}:\n{}", log.code, log.text);
            assert!(!log.text.contains("panicked"), "{}", log.text);
            assert_eq!(around(place), before, "something was written outside:\n{}", log.text);
            place.assert_sound();
            logs.push(log);
        }
    }
    logs
}

#[test]
fn layers_do_not_leave_the_tree() {
    let place = Place::new();
    let canary = place.path("canary").display().to_string();
    let home = place.path("home").display().to_string();
    let up = format!("{}{canary}", "../".repeat(12));
    let (into, through) = (format!("{home}/pwned"), format!("{up}/../pwned"));
    let (deep, out_of) = ("d/".repeat(30), format!("out{into}"));
    let evils: Vec<Vec<Entry<'_>>> = vec![
        vec![Entry::file(&up, b"dead"), Entry::file("../pwned", b"x"), Entry::dir("../../pwned-dir")],
        vec![Entry::file(&canary, b"dead"), Entry::file(&into, b"x")],
        vec![
            Entry::symlink("out", &home),
            Entry::file("out/pwned", b"x"),
            Entry::dir("out/dir"),
            Entry::file("out/dir/x", b""),
        ],
        vec![Entry::symlink("out", "../../../../../../../../../../../.."), Entry::file(&out_of, b"x")],
        vec![Entry::symlink("canary", &canary), Entry::file("canary", b"dead")],
        vec![Entry::hardlink("link", &canary), Entry::file("link", b"dead")],
        vec![Entry::hardlink("link", &up), Entry::file("link", b"dead"), Entry::hardlink("link2", &through)],
        vec![Entry::symlink("s", &canary), Entry::hardlink("link", "s"), Entry::file("link", b"dead")],
        vec![Entry::symlink("d", &home), Entry::hardlink("link", "d/../canary"), Entry::file("link", b"dead")],
        vec![Entry::dir("d"), Entry::symlink("d", &home), Entry::file("d/pwned", b"x")],
        vec![Entry::symlink("d", "loop"), Entry::symlink("loop", "d"), Entry::file("d/x", b"x")],
        vec![Entry::symlink("a", &home), Entry::dir("a/.wh..wh..opq"), Entry::file("a/.wh.x", b"")],
        vec![
            Entry::file(".wh...", b""),
            Entry::file(".wh..", b""),
            Entry::file(".wh.", b""),
            Entry::file("d/.wh...", b""),
        ],
        vec![Entry::file("..", b"x"), Entry::file(".", b"x"), Entry::file("", b"x"), Entry::file("/", b"x")],
        vec![Entry::file(&deep, b""), Entry::file("d/../../..", b"x"), Entry::file("a//../../b", b"x")],
    ];
    for entries in evils {
        for tars in [vec![tar(&entries)], entries.iter().map(|e| tar(std::slice::from_ref(e))).collect()] {
            everywhere(&Evil::of(&tars), &place);
        }
    }
}

#[test]
fn devices_of_an_image_reach_no_hardware() {
    let place = Place::new();
    let disk = fs::metadata(place.path("")).unwrap().dev();
    let (major, minor) = (u64::from(rustix::fs::major(disk)), u64::from(rustix::fs::minor(disk)));
    let evil = Evil::of(&[tar(&[
        Entry::device("disk", b'4', (major, minor)),
        Entry::device("block", b'4', (8, 0)),
        Entry::device("realdisk", b'3', (major, minor)),
        Entry::device("memory", b'3', (1, 1)),
        Entry::device("port", b'3', (1, 4)),
        Entry::device("fifo", b'6', (0, 0)),
    ])]);
    let server = evil.serve();
    place.write(
        "Dockerfile",
        format!(
            "FROM {}/evil:1\nCOPY --from=busybox /bin /bin\n\
             RUN for d in disk block realdisk memory port; do head -c 1 /$d >/dev/null 2>&1 && echo open: $d; done; echo end\n",
            server.address
        ),
    );
    let log = place.attempt("");
    // Refused, or made and useless.
    for name in ["disk", "block", "realdisk", "memory", "port"] {
        assert!(!log.text.contains(&format!("open: {name}")), "{}", log.text);
    }
    assert!(log.code == Some(1) || log.text.contains(" end"), "{}", log.text);
    everywhere(&evil, &place);
}

#[test]
fn the_last_of_several_entries_counts() {
    let place = Place::new();
    let evil = Evil::of(&[
        tar(&[Entry::file("a", b"1"), Entry::dir("b"), Entry::file("b/inner", b"1"), Entry::symlink("c", "a")]),
        tar(&[
            Entry::dir("a"),
            Entry::file("a/x", b"2"),
            Entry::file("a", b"3"),
            Entry::symlink("b", "a"),
            Entry::file("c", b"4"),
            Entry::file("c", b"5"),
            Entry::hardlink("d", "c"),
            Entry::file("c", b"6"),
            Entry::dir("e"),
            Entry::dir("e"),
            Entry::file("e/f", b"7"),
        ]),
    ]);
    for log in everywhere(&evil, &place) {
        assert_eq!(log.code, Some(0), "{}", log.text);
    }
    let server = evil.serve();
    place.write("Dockerfile", format!("FROM {}/evil:1\nCOPY --from=busybox /bin /bin\nRUN cp -a a b c d e /copy/ || {{ mkdir /copy && cp -a a b c d e /copy/; }}\n", server.address));
    let (image, _) = place.image("");
    let files = image.files().unwrap();
    for (path, text) in [("a", "3"), ("c", "6"), ("d", "5"), ("e/f", "7")] {
        for root in ["", "copy/"] {
            let file = &files[&format!("{root}{path}")];
            assert_eq!(file.text.as_deref(), Some(text), "{root}{path}");
        }
    }
    assert_eq!(files["b"].link.as_deref(), Some("a"));
}

/// The error of `FROM` such an image, with what differs from run to run left out.
fn refused(evil: &Evil) -> String {
    let server = evil.serve();
    let place = Place::new();
    place.write(
        "Dockerfile",
        format!("FROM {}/evil:1\nCOPY --from=busybox /bin/busybox /bin/sh\nRUN exit 0\n", server.address),
    );
    let log = place.attempt("");
    assert_eq!(log.code, Some(1), "{}", log.text);
    place.assert_sound();
    log.error().replace(&server.address, "HOST")
}

fn simple() -> Evil {
    Evil::of(&[tar(&[Entry::file("a", b"a")]), tar(&[Entry::file("b", b"b")])])
}

#[test]
fn a_layer_that_inflates_to_something_else() {
    let blob = gzip(&tar(&[Entry::file("a", b"a")]));
    let evil = Evil::new(vec![(blob, Digest::sha256(b"something else"))]);
    insta::assert_snapshot!(refused(&evil), @r#"
    exit 1
    error: layer sha256:9882fefc4e6a of HOST/evil:1: the layer's content has diff ID sha256:669b7916f3943de508930cfe61af9b0d3181b4c24e9dd4ef3143e67d4fa273b3, the image's config says sha256:f41f3fa625ff120ddca7ef456bf66371ecea23c129f4e4c32367101edb516cf8
     --> context/Dockerfile:2:1
      |
    2 | COPY --from=busybox /bin/busybox /bin/sh
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: the image is damaged: ask whoever pushed it to push it again
    "#);
}

#[test]
fn a_blob_of_another_content() {
    let evil = simple();
    let digest = evil.layer(1);
    let evil = evil.spoil(&digest, |blob| blob[60] ^= 1);
    insta::assert_snapshot!(refused(&evil), @r#"
    exit 1
    error: cannot pull blob sha256:9225e6e58e5e3b526db770c62eabd221848fcdab74d57073ae67a23969e76b40 of HOST/evil: its content has digest sha256:b746ab3c69eb57a2e9352d8775bdafd7f31de98c7ef4b2732ae3fc9c7bba6e57
     --> context/Dockerfile:2:1
      |
    2 | COPY --from=busybox /bin/busybox /bin/sh
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: the registry, a mirror or a proxy on the way holds damaged content
    "#);
}

#[test]
fn a_blob_that_is_cut_short() {
    let evil = simple();
    let digest = evil.layer(0);
    let evil = evil.spoil(&digest, |blob| blob.truncate(40));
    insta::assert_snapshot!(refused(&evil), @r#"
    exit 1
    error: cannot pull blob sha256:9882fefc4e6a258a8bab8facb7a1f6f65094b01d1b320c2a3b7a93a5e6c27ba4 of HOST/evil: the registry offers 40 bytes, the descriptor says 87
     --> context/Dockerfile:2:1
      |
    2 | COPY --from=busybox /bin/busybox /bin/sh
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: the content was damaged in the registry or on its way: try again, and if that does not help, push it anew
    "#);
}

#[test]
fn a_blob_that_is_longer_than_the_manifest_says() {
    let mut evil = simple();
    evil.manifest["layers"][0]["size"] = json!(50);
    insta::assert_snapshot!(refused(&evil), @r#"
    exit 1
    error: cannot pull blob sha256:9882fefc4e6a258a8bab8facb7a1f6f65094b01d1b320c2a3b7a93a5e6c27ba4 of HOST/evil: the registry offers 87 bytes, the descriptor says 50
     --> context/Dockerfile:2:1
      |
    2 | COPY --from=busybox /bin/busybox /bin/sh
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: the content was damaged in the registry or on its way: try again, and if that does not help, push it anew
    "#);
}

#[test]
fn a_manifest_that_promises_more_than_there_is() {
    let mut evil = simple();
    evil.manifest["layers"][0]["size"] = json!(5_000_000_000_u64);
    insta::assert_snapshot!(refused(&evil), @r#"
    exit 1
    error: cannot pull blob sha256:9882fefc4e6a258a8bab8facb7a1f6f65094b01d1b320c2a3b7a93a5e6c27ba4 of HOST/evil: the registry offers 87 bytes, the descriptor says 5000000000
     --> context/Dockerfile:2:1
      |
    2 | COPY --from=busybox /bin/busybox /bin/sh
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: the content was damaged in the registry or on its way: try again, and if that does not help, push it anew
    "#);
}

#[test]
fn a_layer_that_is_no_archive() {
    let noise = b"this is not a tar archive, whatever its media type says".repeat(20);
    insta::assert_snapshot!(refused(&Evil::of(&[noise])), @r#"
    exit 1
    error: layer sha256:c8368a34176f of HOST/evil:1: broken tar archive at byte 0: this is no tar archive
     --> context/Dockerfile:2:1
      |
    2 | COPY --from=busybox /bin/busybox /bin/sh
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: the layer is what the manifest says, so it was pushed broken: ask whoever pushed the image to build it again
    "#);
}

#[test]
fn a_layer_whose_last_file_is_cut() {
    let mut cut = tar(&[Entry { size: Some(1 << 33), ..Entry::file("large", b"a little") }]);
    cut.truncate(1024);
    insta::assert_snapshot!(refused(&Evil::of(&[cut])), @r#"
    exit 1
    error: layer sha256:b374de879eea of HOST/evil:1: broken tar archive at byte 1024: it ends in the middle of a file
     --> context/Dockerfile:2:1
      |
    2 | COPY --from=busybox /bin/busybox /bin/sh
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: the layer is what the manifest says, so it was pushed broken: ask whoever pushed the image to build it again
    "#);
}

#[test]
fn a_layer_in_another_compression() {
    let mut evil = simple();
    evil.manifest["layers"][0]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+brotli");
    let plain = b"\x8b\x05\x80hello".to_vec();
    let digest = evil.add(&plain);
    evil.manifest["layers"][0]["digest"] = json!(digest);
    evil.manifest["layers"][0]["size"] = json!(plain.len());
    insta::assert_snapshot!(refused(&evil), @r#"
    exit 1
    error: layer sha256:877686036354480067f0bd8165c9bce0fad73b69f6031347fbda533782dad968 of HOST/evil:1 has the unknown type application/vnd.oci.image.layer.v1.tar+brotli
     --> context/Dockerfile:2:1
      |
    2 | COPY --from=busybox /bin/busybox /bin/sh
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: layers are plain, gzip or zstd archives: build the image again with such layers
    "#);
}

#[test]
fn fewer_layers_than_diff_ids() {
    let mut evil = simple();
    evil.manifest["layers"].as_array_mut().unwrap().pop();
    insta::assert_snapshot!(refused(&evil), @r#"
    exit 1
    error: HOST/evil:1: HOST/evil:1@sha256:3bf5fc906b906e4771dc7fbcc74f36e7ed8ea32cc2ad97e88a651900ca9f508b: the config lists 2 layers, the manifest 1
     --> context/Dockerfile:1:6
      |
    1 | FROM HOST/evil:1
      |      ^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: the image was put together wrongly: ask whoever pushed it to build it again
    "#);
}

#[test]
fn a_header_of_a_hundred_megabytes() {
    let pax = vec![b'x'; 100 << 20];
    let bomb = tar(&[Entry { kind: b'x', ..Entry::file("pax", &pax) }, Entry::file("a", b"a")]);
    let text = refused(&Evil::of(&[bomb]));
    insta::assert_snapshot!(text, @r#"
    exit 1
    error: layer sha256:3ee9cb0f25e0 of HOST/evil:1: the archive exceeds the limit of 1048576 bytes of extended headers for one entry
     --> context/Dockerfile:2:1
      |
    2 | COPY --from=busybox /bin/busybox /bin/sh
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: no usual tool makes such a layer: ask where the image comes from
    "#);
}

/// A few kilobytes that inflate to hundreds of megabytes: as a file, after the archive's end, as entries. (An entry takes about
/// 220 bytes of memory, and a layer may have a million of them.)
#[test]
fn bombs_do_not_fill_the_memory() {
    const MIB: usize = 1 << 20;
    let block = vec![0_u8; MIB];
    let mut file = Vec::new();
    Entry { size: Some(256 * MIB as u64), ..Entry::file("zeros", b"") }.write(&mut file);
    let mut entry = Vec::new();
    Entry::dir("same/../same/./same").write(&mut entry);
    for (what, start, block, times) in [
        ("a file", file, &block, 256),
        ("padding", tar(&[Entry::file("a", b"a")]), &block, 512),
        ("one entry again and again", vec![], &entry, 300_000),
    ] {
        let blob = repeated(&start, block, times);
        let mut digester = oci::Digester::new();
        digester.update(&start);
        (0..times).for_each(|_| digester.update(block));
        let size = blob.len();
        let evil = Evil::new(vec![(blob, digester.finish())]);
        let server = evil.serve();
        let place = Place::new();
        place.write(
            "Dockerfile",
            format!("FROM {}/evil:1\nCOPY --from=busybox /bin/busybox /bin/sh\nRUN exit 0\n", server.address),
        );
        let (log, peak) = peak(&mut place.command(""));
        assert!(matches!(log.code, Some(0 | 1)), "{what}:\n{}", log.text);
        assert!(peak < 150 << 20, "{what}: {size} bytes took {} MiB of memory", peak >> 20);
        place.assert_sound();
    }
}
