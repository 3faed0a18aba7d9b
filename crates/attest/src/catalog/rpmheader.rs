//! Headers of RPM packages as the databases hold them (rpm's "Header Structure").
//!
//! ```text
//! entries │ bytes of data, both 4 bytes │ entries of 16 bytes: tag, type, offset, count │ data     big-endian
//! ```
use crate::catalog::{MAX_FILES, MAX_PATH, line};
use crate::package::{Evidence, Package, PackageType, SourcePackage};

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const SUMMARY: u32 = 1004;
const VENDOR: u32 = 1011;
const LICENSE: u32 = 1014;
const URL: u32 = 1020;
const ARCH: u32 = 1022;
const SOURCE: u32 = 1044;
const DIR_INDEXES: u32 = 1116;
const BASE_NAMES: u32 = 1117;
const DIR_NAMES: u32 = 1118;

const MAX_ENTRIES: usize = 65_536;

/// The package that a header describes; an error says what is wrong with it.
pub(super) fn package(header: &[u8]) -> Result<Package, &'static str> {
    let header = Header::new(header).ok_or("it is damaged")?;
    let name = header.string(NAME).ok_or("it has no name")?;
    let version = header.string(VERSION).ok_or("it has no version")?;
    let release = header.string(RELEASE).map(|r| format!("-{r}")).unwrap_or_default();
    let epoch = header.numbers(EPOCH).first().filter(|e| **e > 0).map(|e| format!("{e}:")).unwrap_or_default();
    let mut package = Package::new(PackageType::Rpm, name, format!("{epoch}{version}{release}"), Evidence::Installed);
    package.arch = header.string(ARCH).map(str::to_owned);
    package.licenses = header.string(LICENSE).and_then(line).into_iter().collect();
    package.description = header.string(SUMMARY).and_then(line);
    package.supplier = header.string(VENDOR).and_then(line);
    package.homepage = header.string(URL).and_then(line);
    package.source = header.string(SOURCE).and_then(source);
    let dirs = header.strings(DIR_NAMES);
    for (base, dir) in header.strings(BASE_NAMES).into_iter().zip(header.numbers(DIR_INDEXES)).take(MAX_FILES) {
        let Some(dir) = usize::try_from(dir).ok().and_then(|dir| dirs.get(dir)) else { continue };
        if dir.len() + base.len() <= MAX_PATH {
            package.claims.push(format!("{}{base}", dir.trim_start_matches('/')));
        }
    }
    Ok(package)
}

/// `bash-5.2-1.fc40.src.rpm`
fn source(file: &str) -> Option<SourcePackage> {
    let stem = file.strip_suffix(".src.rpm").or_else(|| file.strip_suffix(".nosrc.rpm"))?;
    let (rest, release) = stem.rsplit_once('-')?;
    let (name, version) = rest.rsplit_once('-')?;
    Some(SourcePackage { name: name.to_owned(), version: format!("{version}-{release}") })
}

struct Header<'a> {
    index: &'a [u8],
    data: &'a [u8],
}

impl<'a> Header<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let number = |at: usize| bytes.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize);
        let (entries, length) = (number(0)?, number(4)?);
        if entries > MAX_ENTRIES {
            return None;
        }
        let (index, rest) = bytes.get(8..)?.split_at_checked(entries * 16)?;
        Some(Self { index, data: rest.get(..length)? })
    }

    /// Type, data from its place on, and count.
    fn entry(&self, tag: u32) -> Option<(u32, &'a [u8], usize)> {
        let number = |row: &[u8], at: usize| u32::from_be_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]]);
        let row = self.index.chunks_exact(16).find(|row| number(row, 0) == tag)?;
        Some((number(row, 4), self.data.get(number(row, 8) as usize..)?, number(row, 12) as usize))
    }

    fn string(&self, tag: u32) -> Option<&'a str> {
        self.strings(tag).into_iter().next().filter(|text| !text.is_empty())
    }

    fn strings(&self, tag: u32) -> Vec<&'a str> {
        let Some((6 | 8 | 9, data, count)) = self.entry(tag) else { return Vec::new() };
        data.split(|b| *b == 0).take(count).map(|text| std::str::from_utf8(text).unwrap_or("")).collect()
    }

    fn numbers(&self, tag: u32) -> Vec<u32> {
        let Some((4, data, count)) = self.entry(tag) else { return Vec::new() };
        data.as_chunks::<4>().0.iter().take(count).map(|bytes| u32::from_be_bytes(*bytes)).collect()
    }
}
