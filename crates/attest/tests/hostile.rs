//! Files of every kind that a catalogue reads, damaged in thousands of ways: what comes of it is packages or a warning,
//! never a panic, and never more memory than the file deserves. The fuzz targets go on where this ends.
use attest::catalog::{LayerScan, interest};
use std::io::{Cursor, Write};

/// A repeatable source of numbers (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A 64-bit ELF file with these sections.
fn elf(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut names = vec![0];
    let (mut body, mut table) = (Vec::<u8>::new(), vec![0_u8; 64]);
    let mut header = |name: u32, offset: usize, size: usize| {
        table.extend(name.to_le_bytes());
        table.extend([1, 0, 0, 0]);
        table.extend([0; 16]);
        table.extend((offset as u64).to_le_bytes());
        table.extend((size as u64).to_le_bytes());
        table.extend([0; 24]);
    };
    for (name, content) in sections {
        header(names.len() as u32, 64 + body.len(), content.len());
        names.extend(name.as_bytes());
        names.push(0);
        body.extend(*content);
    }
    let name = names.len() as u32;
    names.extend(b".shstrtab\0");
    header(name, 64 + body.len(), names.len());
    body.extend(&names);
    let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    out.extend([0; 16]);
    out.extend((64 + body.len() as u64).to_le_bytes());
    out.extend([0, 0, 0, 0, 64, 0, 56, 0, 0, 0, 64, 0]);
    out.extend((sections.len() as u16 + 2).to_le_bytes());
    out.extend((sections.len() as u16 + 1).to_le_bytes());
    out.extend(body);
    out.extend(table);
    out
}

/// An RPM header of strings.
fn rpm_header(strings: &[(u32, &str)]) -> Vec<u8> {
    let (mut index, mut data) = (Vec::new(), Vec::new());
    for (tag, text) in strings {
        for number in [*tag, 6, data.len() as u32, 1] {
            index.extend(number.to_be_bytes());
        }
        data.extend(text.as_bytes());
        data.push(0);
    }
    let mut out = (strings.len() as u32).to_be_bytes().to_vec();
    out.extend((data.len() as u32).to_be_bytes());
    out.extend(index);
    out.extend(data);
    out
}

fn ndb() -> Vec<u8> {
    let header =
        rpm_header(&[(1000, "bash"), (1001, "5.2"), (1002, "1"), (1014, "GPLv3+"), (1044, "bash-5.2-1.src.rpm")]);
    let mut out = b"RpmP\0\0\0\0\x01\0\0\0\x01\0\0\0\x02\0\0\0".to_vec();
    out.resize(32, 0);
    out.extend(b"Slot\x01\0\0\0\0\x01\0\0\x10\0\0\0");
    while out.len() < 4096 {
        out.extend(b"Slot\0\0\0\0\0\0\0\0\0\0\0\0");
    }
    out.extend(b"BlbS\x01\0\0\0\x01\0\0\0");
    out.extend((header.len() as u32).to_le_bytes());
    out.extend(header);
    out
}

fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let text = |text: &str| text.as_bytes().to_vec();
    let modules =
        "0123456789abcdefpath\tx\nmod\texample.com/x\tv1.0.0\th1:=\ndep\texample.com/y\tv1.1.0\n0123456789abcdef";
    let mut go = b"\xff Go buildinf:\x08\x02".to_vec();
    go.resize(32, 0);
    go.extend(b"\x08go1.22.1");
    go.push(modules.len() as u8);
    go.extend(modules.as_bytes());
    let crates = zlib(br#"{"packages":[{"name":"serde","version":"1.0.1"}]}"#);
    vec![
        ("usr/bin/both", elf(&[(".go.buildinfo", &go), (".dep-v0", &crates)])),
        ("var/lib/rpm/Packages.db", ndb()),
        ("lib/apk/db/installed", text("P:musl\nV:1\nA:x\nF:lib\nR:a\n\nP:b\nV:2\n")),
        (
            "var/lib/dpkg/status",
            text("Package: a\nStatus: install ok installed\nVersion: 1\nSource: b (2)\nDescription: x\n y\n"),
        ),
        ("usr/share/doc/a/copyright", text("Format: x\n\nFiles: *\nLicense: GPL-2+ or (MIT and X)\n")),
        (
            "app/node_modules/a/package.json",
            text(r#"{"name":"a","version":"1","licenses":[{"type":"MIT"}],"author":{"name":"x"}}"#),
        ),
        (
            "app/package-lock.json",
            text(r#"{"dependencies":{"a":{"version":"1","dependencies":{"b":{"version":"2"}}}}}"#),
        ),
        ("app/yarn.lock", text("\"@a/b@^1\", c@2:\n  version \"1.0\"\n  resolution: \"x@npm:1\"\n")),
        ("app/pnpm-lock.yaml", text("packages:\n\n  '@a/b@1.0.0(c@2)':\n    dev: true\n  /d/1.0_e@1:\n  /f@1:\n")),
        (
            "x/a.dist-info/METADATA",
            text("Name: a\nVersion: 1\nLicense: MIT\n more\nClassifier: License :: OSI Approved :: X\n"),
        ),
        ("x/a.dist-info/RECORD", text("a.py,sha256=x,1\n\"b\"\"c\",,\n../../../../x,,\n")),
        ("app/requirements.txt", text("a[b]==1.0 ; x\nc===2\n")),
        ("app/Cargo.lock", text("[[package]]\nname = \"a\"\nversion = \"1\"\n")),
        (
            "x/specifications/a.gemspec",
            text("# stub: a 1 ruby lib\ns.licenses = [\"MIT\".freeze, 'x\\'y']\ns.summary = \"a\\\"b\"\n"),
        ),
        ("app/Gemfile.lock", text("GEM\n  specs:\n    a (1.0-x86)\n      b (> 1)\n")),
        ("etc/os-release", text("ID=\"x\"\nVERSION_ID='1'\n")),
    ]
}

fn damaged(sample: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bad = sample.to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bad.len());
        match numbers.below(5) {
            0 => bad[at] = numbers.below(256) as u8,
            1 => bad[at] = [0, 0x7f, 0x80, 0xff, b'\n', b':', b'"'][numbers.below(7)],
            2 => bad.truncate(at),
            3 => bad.insert(at, numbers.below(256) as u8),
            _ => {
                let end = (at + numbers.below(32)).min(bad.len());
                bad.drain(at..end);
            }
        }
        if bad.is_empty() {
            break;
        }
    }
    bad
}

/// What a registry may hold as a signature, an attestation, a bundle, a key or a policy: refused with a reason, and
/// never accepted with another content than was signed.
#[test]
fn damaged_signatures_prove_nothing() {
    use attest::bundle::Bundle;
    use attest::cosign::{Claim, attestation, signature};
    use attest::key::{PrivateKey, PublicKey};
    use attest::statement::{SPDX, Statement, Subject};
    let (key, digest) = (PrivateKey::generate().unwrap(), oci::Digest::sha256(b"image"));
    let keys = [key.public()];
    let said = Statement::new(vec![Subject::new("_", &digest)], SPDX, serde_json::json!({ "a": [1, "two"] }));
    let simple = signature(&key, "h/r", &digest, &[("a".to_owned(), "b".to_owned())].into()).unwrap();
    let envelope = attestation(&key, &said).unwrap();
    let bundle = Bundle::sign(&said, &key).unwrap().to_bytes();
    type Make<'a> = &'a dyn Fn(Vec<u8>) -> Claim;
    let claims: [(Vec<u8>, Make<'_>); 3] = [
        (simple.bytes, &|bytes| Claim::Simple(bytes, simple.descriptor.annotations.clone())),
        (envelope.bytes, &|bytes| Claim::Envelope(bytes, envelope.descriptor.annotations.clone())),
        (bundle, &Claim::Bundle),
    ];
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    for (bytes, claim) in claims {
        let whole = claim(bytes.clone()).verify(&digest, &keys).unwrap();
        for _ in 0..300 {
            match claim(damaged(&bytes, &mut numbers)).verify(&digest, &keys) {
                // Damage outside of what is signed, such as in a hint.
                Ok(proof) => assert_eq!(proof, whole),
                Err(why) => assert!(!why.is_empty()),
            }
        }
    }
    assert!(matches!(
        Claim::Bundle(include_bytes!("data/bundle.json").to_vec()).verify(&digest, &keys),
        Err(why) if why.contains("another key")
    ));
    let texts = [key.public().to_pem(), include_str!("data/cosign.key").to_owned()];
    let policy = "[[image]]\nmatch = \"a/*\"\nkeys = [\"k\"]\nattestations = [\"spdxjson\"]\n";
    for _ in 0..500 {
        for text in &texts {
            let bad = String::from_utf8_lossy(&damaged(text.as_bytes(), &mut numbers)).into_owned();
            let _ = PublicKey::from_pem(&bad);
            // Without a password nothing is decrypted: scrypt is slow by design.
            let _ = PrivateKey::from_pem(&bad, || None);
        }
        let bad = damaged(policy.as_bytes(), &mut numbers);
        if let Ok(policy) = attest::policy::Policy::parse(&String::from_utf8_lossy(&bad)) {
            let _ = policy.need("a/b");
        }
    }
}

#[test]
fn damage_is_survived() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for (path, sample) in samples() {
        let read = |bytes: &[u8]| {
            let mut scan = LayerScan::default();
            if let Some(interest) = interest(path, bytes) {
                let found = interest.read(path, &mut Cursor::new(bytes.to_vec()));
                for package in &found.packages {
                    assert!(attest::purl::purl(package, None).starts_with("pkg:"));
                    let _ = attest::license::declared(&package.licenses);
                }
                scan.read(interest, path, &mut Cursor::new(bytes.to_vec()));
                return found;
            }
            attest::catalog::Found::default()
        };
        let whole = read(&sample);
        assert!(whole.warnings.is_empty(), "{path}: {:?}", whole.warnings);
        let brings = !path.ends_with("copyright") && !path.ends_with("RECORD") && !path.ends_with("os-release");
        assert_eq!(brings, !whole.packages.is_empty(), "{path}");
        for _ in 0..2000 {
            let _ = read(&damaged(&sample, &mut numbers));
        }
    }
}
