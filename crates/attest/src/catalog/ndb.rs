//! `Packages.db`: rpm's own database format, "ndb" (rpm's `lib/backend/ndb/rpmpkg.c`).
//!
//! ```text
//! page 0: "RpmP" │ version │ generation │ pages of slots │ …          all numbers little-endian
//! slots, 16 bytes each, from byte 32 on: "Slot" │ package │ first block │ blocks
//! blob, at block × 16: "BlbS" │ package │ generation │ length │ the package's header │ …
//! ```
use super::{Result, Source, malformed};
use std::io::{Read, SeekFrom};

pub(super) const MAGIC: &[u8] = b"RpmP";
const PAGE: u64 = 4096;
const BLOCK: u64 = 16;
const MAX_SLOT_PAGES: u32 = 2048;
const MAX_BLOB: u32 = 64 << 20;

pub(super) fn blobs(content: &mut dyn Source, blob: &mut dyn FnMut(&[u8])) -> Result<()> {
    let number = |bytes: &[u8], at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let mut budget = content.seek(SeekFrom::End(0))?;
    content.rewind()?;
    let mut head = [0; 32];
    if content.read_exact(&mut head).is_err() || !head.starts_with(MAGIC) {
        return malformed("it is no package database of rpm");
    }
    if number(&head, 4) != 0 {
        return malformed(format!("its version {} is unknown", number(&head, 4)));
    }
    let pages = number(&head, 12);
    if pages == 0 || pages > MAX_SLOT_PAGES {
        return malformed("it is a damaged package database: its table of slots makes no sense");
    }
    let mut slots = Vec::new();
    Read::take(&mut *content, u64::from(pages) * PAGE - 32).read_to_end(&mut slots)?;
    for slot in slots.chunks_exact(16) {
        if &slot[..4] != b"Slot" {
            return malformed("it is a damaged package database: a slot has no mark");
        }
        let (package, block) = (number(slot, 4), number(slot, 8));
        if block == 0 {
            continue;
        }
        let mut head = [0; 16];
        content.seek(SeekFrom::Start(u64::from(block) * BLOCK))?;
        let length = match content.read_exact(&mut head) {
            Ok(()) if &head[..4] == b"BlbS" && number(&head, 4) == package => number(&head, 12),
            _ => return malformed("it is a damaged package database: a package is not where its slot says"),
        };
        let Some(left) = budget.checked_sub(u64::from(length)) else {
            return malformed("it is a damaged package database: its packages are larger than it is");
        };
        budget = left;
        if length > MAX_BLOB {
            return malformed("it is a damaged package database: a package is too large");
        }
        let mut bytes = Vec::new();
        Read::take(&mut *content, u64::from(length)).read_to_end(&mut bytes)?;
        blob(&bytes);
    }
    Ok(())
}
