//! The `Range` of a blob download (RFC 9110 §14), one range only.

/// What part is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it: no range, or one of a kind that may be ignored.
    Whole,
    /// `start..end`.
    Some(u64, u64),
    /// A range outside of the content.
    Nothing,
}

pub(super) fn parse(header: Option<&str>, size: u64) -> Part {
    let Some(ranges) = header.and_then(|h| h.trim().strip_prefix("bytes=")) else { return Part::Whole };
    let Some((first, last)) = ranges.split_once('-').filter(|_| !ranges.contains(',')) else { return Part::Whole };
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        let Ok(count) = last.parse::<u64>() else { return Part::Whole };
        return if count == 0 || size == 0 { Part::Nothing } else { Part::Some(size.saturating_sub(count), size) };
    }
    let Ok(first) = first.parse::<u64>() else { return Part::Whole };
    let end = match last {
        "" => size,
        last => match last.parse::<u64>() {
            Ok(last) if last >= first => last.saturating_add(1).min(size),
            _ => return Part::Whole,
        },
    };
    if first >= size { Part::Nothing } else { Part::Some(first, end) }
}

/// The `START-END` of a chunk's `Content-Range`, both included; with `bytes` and a total size tolerated.
pub(super) fn parse_chunk(header: &str) -> Option<(u64, u64)> {
    let text = header.trim().trim_start_matches("bytes").trim_start_matches([' ', '=']);
    let text = text.split('/').next()?;
    let (first, last) = text.split_once('-')?;
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (header, part) in [
            ("bytes=0-3", Part::Some(0, 4)),
            ("bytes=4-", Part::Some(4, 10)),
            ("bytes=-3", Part::Some(7, 10)),
            ("bytes=-30", Part::Some(0, 10)),
            ("bytes=9-99", Part::Some(9, 10)),
            ("bytes=10-", Part::Nothing),
            ("bytes=-0", Part::Nothing),
            ("bytes=5-4", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=0-18446744073709551615", Part::Some(0, 10)),
        ] {
            assert_eq!(parse(Some(header), 10), part, "{header}");
        }
        assert_eq!(parse(None, 10), Part::Whole);
        assert_eq!(parse(Some("bytes=0-"), 0), Part::Nothing);
    }

    #[test]
    fn chunks() {
        assert_eq!(parse_chunk("0-9"), Some((0, 9)));
        assert_eq!(parse_chunk("bytes 5-9/100"), Some((5, 9)));
        assert_eq!(parse_chunk("9-5"), None);
        assert_eq!(parse_chunk("x"), None);
    }
}
