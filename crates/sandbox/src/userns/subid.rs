//! /etc/subuid and /etc/subgid: which ids a user may have beside his own.

/// A range of ids outside the namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: u32,
    pub(super) count: u32,
}

/// The ranges of a user, listed by name or by number. Lines that make no sense are passed over, as newuidmap does.
pub(super) fn ranges(text: &str, name: Option<&str>, id: u32) -> Vec<Range> {
    let number = id.to_string();
    let mut found = Vec::new();
    for line in text.lines() {
        let mut fields = line.trim().split(':');
        let (Some(who), Some(start), Some(count), None) = (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if who.is_empty() || (Some(who) != name && who != number) {
            continue;
        }
        let (Ok(start), Ok(count)) = (start.parse::<u32>(), count.parse::<u32>()) else { continue };
        if count > 0 && start.checked_add(count - 1).is_some() {
            found.push(Range { start, count });
        }
    }
    found
}

/// The lines of an id map: `own` becomes 0, the ranges follow from 1 on. At most 340 lines, the kernel's limit.
pub(super) fn map(own: u32, ranges: &[Range]) -> Vec<(u32, u32, u32)> {
    let mut lines = vec![(0, own, 1)];
    let mut next = 1u32;
    for range in ranges.iter().take(339) {
        let count = range.count.min(u32::MAX - next);
        if count > 0 {
            lines.push((next, range.start, count));
            next += count;
        }
    }
    lines
}

/// How many ids a map holds.
pub(super) fn size(map: &[(u32, u32, u32)]) -> u32 {
    map.iter().fold(0, |sum, line| sum.saturating_add(line.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let text = "root:1:1\nuser:100000:65536\n# comment\n\n1000:300000:10\nuser:bad:1\nuser:1:0\nuser2:5:5\nuser:4294967295:2\n";
        let got = ranges(text, Some("user"), 1000);
        assert_eq!(got, [Range { start: 100_000, count: 65536 }, Range { start: 300_000, count: 10 }]);
        assert_eq!(ranges(text, None, 7), []);
        let map = map(1000, &got);
        assert_eq!(map, [(0, 1000, 1), (1, 100_000, 65536), (65537, 300_000, 10)]);
        assert_eq!(size(&map), 65547);
        assert_eq!(super::map(1, &[Range { start: 0, count: u32::MAX }; 3]).len(), 2);
    }
}
