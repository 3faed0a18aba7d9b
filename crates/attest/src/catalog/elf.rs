//! ELF programs and libraries: finding sections, and what Go and `cargo auditable` left in them.
//!
//! Only headers and the sections that are wanted are read, so a large program costs little. Offsets and sizes come
//! from the file and are checked against it.
use super::{Catalogue, Found, Result, Source, cargo, go, malformed};
use std::io::{Read, SeekFrom};

/// Any ELF file.
pub(super) struct Elf;

impl Catalogue for Elf {
    fn wants(&self, path: &str, head: &[u8]) -> bool {
        // Kernel modules and debug files are no programs.
        head.starts_with(b"\x7fELF") && !path.ends_with(".ko") && !path.ends_with(".debug") && !path.ends_with(".o")
    }

    fn limit(&self) -> u64 {
        2 << 30
    }

    fn read(&self, _: &str, content: &mut dyn Source, found: &mut Found) -> Result<()> {
        let mut file = File::open(content)?;
        if let Some(section) = file.section(".dep-v0") {
            let data = file.bytes(section.offset, section.size, 8 << 20)?;
            cargo::auditable(&data, found)?;
        }
        go::build_info(&mut file, found)
    }
}

const MAX_SECTIONS: u64 = 4096;

pub(super) struct Section {
    name: String,
    pub(super) offset: u64,
    pub(super) size: u64,
}

pub(super) struct Segment {
    pub(super) offset: u64,
    pub(super) address: u64,
    pub(super) file_size: u64,
    pub(super) writable: bool,
    pub(super) executable: bool,
}

/// An ELF file's headers.
pub(super) struct File<'a> {
    content: &'a mut dyn Source,
    size: u64,
    wide: bool,
    little: bool,
    sections: Vec<Section>,
    pub(super) segments: Vec<Segment>,
}

impl<'a> File<'a> {
    fn open(content: &'a mut dyn Source) -> Result<Self> {
        let size = content.seek(SeekFrom::End(0))?;
        let mut file = Self { content, size, wide: true, little: true, sections: Vec::new(), segments: Vec::new() };
        let head = file.bytes(0, 16, 16)?;
        (file.wide, file.little) = match (head[4], head[5]) {
            (1, 1) => (false, true),
            (1, 2) => (false, false),
            (2, 1) => (true, true),
            (2, 2) => (true, false),
            _ => return malformed("it is an ELF file of an unknown class"),
        };
        let head = file.bytes(0, if file.wide { 64 } else { 52 }, 64)?;
        let at = |place: usize, size: usize| file.number(&head[place..place + size]);
        let (program, sections, rest) = match file.wide {
            true => (at(32, 8), at(40, 8), 54),
            false => (at(28, 4), at(32, 4), 42),
        };
        let [program_size, programs, section_size, count, names] = [0, 2, 4, 6, 8].map(|place| at(rest + place, 2));
        if programs > 0 {
            file.read_segments(program, program_size, programs)?;
        }
        if sections > 0 && count > 0 {
            file.read_sections(sections, section_size, count, names)?;
        }
        Ok(file)
    }

    /// A number in the file's byte order.
    pub(super) fn number(&self, bytes: &[u8]) -> u64 {
        let fold = |acc: u64, byte: &u8| acc << 8 | u64::from(*byte);
        if self.little { bytes.iter().rev().fold(0, fold) } else { bytes.iter().fold(0, fold) }
    }

    pub(super) fn pointer_size(&self) -> usize {
        if self.wide { 8 } else { 4 }
    }

    /// Bytes of the file: all of them, or an error.
    pub(super) fn bytes(&mut self, offset: u64, size: u64, limit: u64) -> Result<Vec<u8>> {
        if size > limit || offset.checked_add(size).is_none_or(|end| end > self.size) {
            return malformed("it is a damaged ELF file: a part of it lies outside of it");
        }
        let mut out = vec![0; usize::try_from(size).unwrap_or(0)];
        self.content.seek(SeekFrom::Start(offset))?;
        self.content.read_exact(&mut out)?;
        Ok(out)
    }

    /// Up to `limit` bytes from here on.
    pub(super) fn some(&mut self, offset: u64, limit: u64) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.content.seek(SeekFrom::Start(offset))?;
        Read::take(&mut *self.content, limit).read_to_end(&mut out)?;
        Ok(out)
    }

    /// Where an address of the running program lies in the file.
    pub(super) fn offset_of(&self, address: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let inside = address.checked_sub(segment.address)?;
            (inside < segment.file_size).then(|| segment.offset.checked_add(inside))?
        })
    }

    fn read_segments(&mut self, offset: u64, entry: u64, count: u64) -> Result<()> {
        let wanted = if self.wide { 56 } else { 32 };
        if entry < wanted {
            return malformed("it is a damaged ELF file: its program headers are too small");
        }
        let table = self.bytes(offset, entry * count, 16 << 20)?;
        for row in table.chunks_exact(usize::try_from(entry).unwrap_or(usize::MAX)) {
            let at = |place: usize, size: usize| self.number(&row[place..place + size]);
            if at(0, 4) != 1 {
                continue;
            }
            let (flags, offset, address, file_size) = match self.wide {
                true => (at(4, 4), at(8, 8), at(16, 8), at(32, 8)),
                false => (at(24, 4), at(4, 4), at(8, 4), at(16, 4)),
            };
            let segment = Segment { offset, address, file_size, writable: flags & 2 != 0, executable: flags & 1 != 0 };
            self.segments.push(segment);
        }
        Ok(())
    }

    fn read_sections(&mut self, offset: u64, entry: u64, count: u64, names: u64) -> Result<()> {
        let wanted = if self.wide { 64 } else { 40 };
        if entry < wanted || count > MAX_SECTIONS {
            return malformed("it is a damaged ELF file: its section headers make no sense");
        }
        // A file cut off behind its last segment runs all the same: it has no sections then.
        if offset.checked_add(entry * count).is_none_or(|end| end > self.size) {
            return Ok(());
        }
        let table = self.bytes(offset, entry * count, 16 << 20)?;
        let mut rows = Vec::new();
        for row in table.chunks_exact(usize::try_from(entry).unwrap_or(usize::MAX)) {
            let at = |place: usize, size: usize| self.number(&row[place..place + size]);
            let (offset, size) = if self.wide { (at(24, 8), at(32, 8)) } else { (at(16, 4), at(20, 4)) };
            rows.push((at(0, 4), at(4, 4), offset, size));
        }
        let Some((_, _, start, size)) = usize::try_from(names).ok().and_then(|names| rows.get(names).copied()) else {
            return Ok(());
        };
        let names = self.bytes(start, size, 4 << 20)?;
        for (name, kind, offset, size) in rows {
            const NOBITS: u64 = 8;
            if kind == NOBITS {
                continue;
            }
            let name = usize::try_from(name).ok().and_then(|at| names.get(at..)).unwrap_or_default();
            let name: Vec<u8> = name.iter().take(64).take_while(|b| **b != 0).copied().collect();
            self.sections.push(Section { name: String::from_utf8_lossy(&name).into_owned(), offset, size });
        }
        Ok(())
    }

    pub(super) fn section(&self, name: &str) -> Option<Section> {
        let section = self.sections.iter().find(|section| section.name == name)?;
        Some(Section { name: section.name.clone(), offset: section.offset, size: section.size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let head = &program[..program.len().min(1 << 16)];
        let mut found = Found::default();
        Elf.read("x", &mut Cursor::new(program.clone()), &mut found).unwrap();
        assert!(found.packages.is_empty());
        for at in 4..64 {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bad = head.to_vec();
                bad[at] = value;
                let _ = Elf.read("x", &mut Cursor::new(bad), &mut Found::default());
            }
            let _ = Elf.read("x", &mut Cursor::new(program[..at].to_vec()), &mut Found::default());
        }
    }
}
