//! What came on standard input or from a URL: a tar archive, plain or compressed, or a Dockerfile.
//!
//! The content decides, not the name: compressed streams begin with a magic number, a tar archive
//! begins with a header whose checksum fits, and everything else is taken for a Dockerfile.
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveCompression {
    /// Not at all.
    None,
    /// gzip
    Gzip,
    /// bzip2
    Bzip2,
    /// xz
    Xz,
    /// zstd
    Zstd,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A build context: a tar archive.
    Tar(ArchiveCompression),
    /// No archive: the text of a Dockerfile.
    Text,
    /// Nothing.
    Empty,
}

/// The size of a tar header.
const HEADER: usize = 512;

/// Says what the first bytes of a content (at least 512, or all) belong to.
#[must_use]
pub fn detect(head: &[u8]) -> Content {
    const MAGIC: &[(&[u8], ArchiveCompression)] = &[
        (&[0x1f, 0x8b], ArchiveCompression::Gzip),
        (b"BZh", ArchiveCompression::Bzip2),
        (&[0xfd, b'7', b'z', b'X', b'Z', 0], ArchiveCompression::Xz),
        (&[0x28, 0xb5, 0x2f, 0xfd], ArchiveCompression::Zstd),
    ];
    if head.is_empty() {
        return Content::Empty;
    }
    for (magic, compression) in MAGIC {
        if head.starts_with(magic) {
            return Content::Tar(*compression);
        }
    }
    if is_tar_header(head) { Content::Tar(ArchiveCompression::None) } else { Content::Text }
}

/// [`detect`] for a file.
///
/// # Errors
/// Where the file cannot be read.
pub fn detect_file(path: &Path) -> io::Result<Content> {
    let mut head = Vec::with_capacity(HEADER);
    File::open(path)?.take(HEADER as u64).read_to_end(&mut head)?;
    Ok(detect(&head))
}

/// A header's checksum is the sum of its bytes with the checksum field taken as spaces. Two blocks
/// of zeros are an archive too: an empty one.
fn is_tar_header(head: &[u8]) -> bool {
    let Some(header) = head.get(..HEADER) else { return false };
    if header.iter().all(|b| *b == 0) {
        return true;
    }
    let field = &header[148..156];
    let text: String = field.iter().map(|b| char::from(*b)).filter(|c| !matches!(c, '\0' | ' ')).collect();
    let Ok(expected) = u64::from_str_radix(&text, 8) else { return false };
    let sum: u64 =
        header.iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { u64::from(*b) }).sum();
    sum == expected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_decides() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_old();
        header.set_size(0);
        tar.append_data(&mut header, "Dockerfile", io::empty()).unwrap();
        let tar = tar.into_inner().unwrap();
        assert_eq!(detect(&tar), Content::Tar(ArchiveCompression::None));
        assert_eq!(detect(&[0; 1024]), Content::Tar(ArchiveCompression::None));
        assert_eq!(detect(&[0x1f, 0x8b, 8]), Content::Tar(ArchiveCompression::Gzip));
        assert_eq!(detect(b"BZh9"), Content::Tar(ArchiveCompression::Bzip2));
        assert_eq!(detect(b"\xfd7zXZ\0"), Content::Tar(ArchiveCompression::Xz));
        assert_eq!(detect(b"\x28\xb5\x2f\xfd"), Content::Tar(ArchiveCompression::Zstd));
        assert_eq!(detect(b"FROM scratch\n"), Content::Text);
        assert_eq!(detect(&[b' '; 600]), Content::Text);
        assert_eq!(detect(b""), Content::Empty);
    }
}
