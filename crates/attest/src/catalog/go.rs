//! Go's build information in programs (`debug/buildinfo`).
//!
//! ```text
//! 16-aligned: "\xff Go buildinf:" │ pointer size │ flags │ … 32 bytes in all
//!   flags & 2 (since Go 1.18): uvarint length, version; uvarint length, modules
//!   else: at 16 the address of a string header (address, length) of the version, then that of the modules
//! modules: 16 bytes of mark │ text │ 16 bytes of mark
//! ```
use super::elf::File;
use super::{Found, Result, malformed};
use crate::package::{Evidence, Package, PackageType};

const MAGIC: &[u8] = b"\xff Go buildinf:";
/// More modules than fit into this nobody links.
const LIMIT: u64 = 8 << 20;
/// How much of the data segment is searched where there is no section.
const SEARCHED: u64 = 1 << 20;

pub(super) fn build_info(file: &mut File<'_>, found: &mut Found) -> Result<()> {
    let places: Vec<(u64, u64)> = match file.section(".go.buildinfo") {
        Some(section) => vec![(section.offset, section.size.max(32))],
        None => {
            let data = file.segments.iter().filter(|s| s.writable && !s.executable);
            data.take(2).map(|s| (s.offset, s.file_size.min(SEARCHED))).collect()
        }
    };
    for (offset, size) in places {
        let bytes = file.some(offset, size.min(SEARCHED))?;
        let Some(at) = (0..bytes.len().saturating_sub(31)).step_by(16).find(|at| bytes[*at..].starts_with(MAGIC))
        else {
            continue;
        };
        let head: Vec<u8> = bytes[at..at + 32].to_vec();
        let (version, modules) = if head[15] & 2 != 0 {
            inline(file, offset + at as u64 + 32)?
        } else {
            let width = file.pointer_size();
            if usize::from(head[14]) != width {
                return malformed("its Go build information is damaged");
            }
            let pointer = |at: usize| file.number(&head[at..at + width]);
            let (version, modules) = (pointer(16), pointer(16 + width));
            (string(file, version)?, string(file, modules)?)
        };
        let text = match modules.len() {
            0..=32 => "",
            length => std::str::from_utf8(&modules[16..length - 16]).unwrap_or(""),
        };
        packages(&String::from_utf8_lossy(&version), text, found);
        return Ok(());
    }
    Ok(())
}

fn inline(file: &mut File<'_>, offset: u64) -> Result<(Vec<u8>, Vec<u8>)> {
    let (version, next) = counted(file, offset)?;
    let (modules, _) = counted(file, next)?;
    Ok((version, modules))
}

fn counted(file: &mut File<'_>, offset: u64) -> Result<(Vec<u8>, u64)> {
    let head = file.some(offset, 10)?;
    let (mut length, mut shift) = (0_u64, 0);
    for (at, byte) in head.iter().enumerate() {
        length |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        shift += 7;
        if byte & 0x80 == 0 {
            let start = offset + at as u64 + 1;
            return Ok((file.bytes(start, length, LIMIT)?, start + length));
        }
    }
    malformed("its Go build information is damaged")
}

fn string(file: &mut File<'_>, header: u64) -> Result<Vec<u8>> {
    let width = file.pointer_size();
    let Some(offset) = file.offset_of(header) else { return Ok(Vec::new()) };
    let header = file.bytes(offset, 2 * width as u64, 16)?;
    let (address, length) = (file.number(&header[..width]), file.number(&header[width..]));
    match file.offset_of(address) {
        Some(offset) => file.bytes(offset, length, LIMIT),
        None => Ok(Vec::new()),
    }
}

/// The text that `go version -m` prints: `path`, `mod`, `dep`, `=>`, `build`, separated by tabs.
fn packages(version: &str, text: &str, found: &mut Found) {
    let module = |name: &str, version: &str| Package::new(PackageType::Golang, name, version, Evidence::Binary);
    if let Some(version) = version.split_whitespace().next().and_then(|v| v.strip_prefix("go")) {
        let mut stdlib = module("stdlib", version);
        stdlib.licenses.push("BSD-3-Clause".to_owned());
        found.push(stdlib);
    }
    for line in text.lines() {
        let mut words = line.split('\t');
        match (words.next(), words.next(), words.next()) {
            (Some("mod" | "dep"), Some(name), version) if !name.is_empty() => {
                found.push(module(name, version.unwrap_or("")));
            }
            // What was really linked in place of the module above.
            (Some("=>"), Some(name), version) if !name.is_empty() => {
                let replaced = found.packages.pop();
                let is_path = name.starts_with('.') || name.starts_with('/');
                match replaced {
                    Some(replaced) if is_path => found.push(replaced),
                    _ => found.push(module(name, version.unwrap_or(""))),
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_go_version_m() {
        let text = "path\texample.com/app\nmod\texample.com/app\t(devel)\t\ndep\tgithub.com/a/b\tv1.2.3\th1:x=\ndep\tgithub.com/old/c\tv1.0.0\n=>\tgithub.com/new/c\tv1.0.1\th1:y=\ndep\tgithub.com/d/local\tv0.0.0\n=>\t./d\t(devel)\t\nbuild\t-compiler=gc\n";
        let mut found = Found::default();
        packages("go1.22.1 X:exp", text, &mut found);
        let got: Vec<_> = found.packages.iter().map(|p| format!("{}@{}", p.name, p.version)).collect();
        assert_eq!(
            got,
            [
                "stdlib@1.22.1",
                "example.com/app@(devel)",
                "github.com/a/b@v1.2.3",
                "github.com/new/c@v1.0.1",
                "github.com/d/local@v0.0.0"
            ]
        );
    }
}
