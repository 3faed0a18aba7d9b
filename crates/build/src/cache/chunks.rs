//! Cutting a stream where its content says so: a change moves the cuts around it, and no others.
//!
//! A rolling hash over the last 64 bytes decides ("gear" hashing, as FastCDC has it). The numbers below are part of the
//! format: other numbers cut elsewhere, and nothing that was sent before would be found again.

/// No chunk but the last is smaller.
const LEAST: usize = 512 << 10;
/// No chunk is larger.
pub(super) const MOST: usize = 8 << 20;
/// Bits of the hash that must be zero: two MiB between cuts on average, after the least.
const MASK: u64 = !0 << (64 - 21);

const GEAR: [u64; 256] = gear();

/// Numbers without a pattern (splitmix64).
const fn gear() -> [u64; 256] {
    let mut table = [0; 256];
    let mut state: u64 = 0x636f_6f70_6572_6167;
    let mut n = 0;
    while n < 256 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        table[n] = z ^ (z >> 31);
        n += 1;
    }
    table
}

/// Collects a stream and hands out its chunks.
pub(super) struct Chunker<F> {
    buffer: Vec<u8>,
    hash: u64,
    take: F,
}

impl<F: FnMut(Vec<u8>) -> std::io::Result<()>> Chunker<F> {
    pub(super) fn new(take: F) -> Self {
        Self { buffer: Vec::new(), hash: 0, take }
    }

    fn cut(&mut self) -> std::io::Result<()> {
        self.hash = 0;
        (self.take)(std::mem::take(&mut self.buffer))
    }

    /// Hands out the rest.
    pub(super) fn finish(mut self) -> std::io::Result<()> {
        if self.buffer.is_empty() { Ok(()) } else { self.cut() }
    }
}

impl<F: FnMut(Vec<u8>) -> std::io::Result<()>> std::io::Write for Chunker<F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut start = 0;
        for (place, byte) in bytes.iter().enumerate() {
            self.hash = (self.hash << 1).wrapping_add(GEAR[usize::from(*byte)]);
            let length = self.buffer.len() + place + 1 - start;
            if (length >= LEAST && self.hash & MASK == 0) || length >= MOST {
                self.buffer.extend_from_slice(&bytes[start..=place]);
                start = place + 1;
                self.cut()?;
            }
        }
        self.buffer.extend_from_slice(&bytes[start..]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::io::Write;

    fn chunks(bytes: &[u8], step: usize) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let mut chunker = Chunker::new(|chunk| {
            out.push(chunk);
            Ok(())
        });
        bytes.chunks(step).for_each(|part| chunker.write_all(part).unwrap());
        chunker.finish().unwrap();
        out
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 7_u64;
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        (0..length).map(next).collect()
    }

    #[test]
    fn a_change_moves_few_cuts() {
        let bytes = noise(40 << 20);
        let before = chunks(&bytes, 1 << 20);
        assert_eq!(before.concat(), bytes);
        assert!(before.iter().rev().skip(1).all(|chunk| (LEAST..=MOST).contains(&chunk.len())));
        assert!((8..=40).contains(&before.len()), "{}", before.len());
        assert_eq!(chunks(&bytes, 777), before, "however it is written");
        let mut changed = bytes;
        changed.splice(20 << 20..20 << 20, *b"some more");
        let known: HashSet<&Vec<u8>> = before.iter().collect();
        let new = chunks(&changed, 1 << 20).iter().filter(|chunk| !known.contains(chunk)).count();
        assert!((1..=2).contains(&new), "{new}");
        assert_eq!(chunks(&vec![0; 20 << 20], 1 << 20).len(), 3, "what has no content is cut by size");
        assert!(chunks(b"", 1).is_empty());
    }
}
