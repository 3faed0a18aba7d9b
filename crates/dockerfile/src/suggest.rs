//! "Did you mean": the nearest of the known names.

/// The option nearest to `word` if at most two edits away, compared without case; `None` where the word
/// is one of the options (then something else is wrong with it). Of equally near ones the first.
pub fn nearest<'a>(word: &str, options: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase();
    let mut best = None;
    let mut least = 3;
    for option in options {
        let candidate = option.to_lowercase();
        if candidate == word {
            return None;
        }
        let distance = distance(&word, &candidate, true);
        if distance < least {
            least = distance;
            best = Some(option);
        }
    }
    best
}

/// As [`nearest`], but letters in another case count as different, and swapped letters as two edits: what
/// BuildKit's checks suggest.
pub fn nearest_exact<'a>(word: &str, options: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let mut best = None;
    let mut least = 3;
    for option in options {
        if option == word {
            return None;
        }
        let distance = distance(word, option, false);
        if distance < least {
            least = distance;
            best = Some(option);
        }
    }
    best
}

/// The number of insertions, deletions and replacements between two words; with `swaps`, two neighbours in
/// the wrong order count as one.
fn distance(a: &str, b: &str, swaps: bool) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    if a.len().abs_diff(b.len()) > 2 {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = row[j] + usize::from(x != y);
            let mut least = replaced.min(next[j] + 1).min(row[j + 1] + 1);
            if swaps && i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                least = least.min(before[j - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_nearest() {
        assert_eq!(nearest("FORM", ["ADD", "FROM", "RUN"]), Some("FROM"));
        assert_eq!(nearest("rum", ["ADD", "FROM", "RUN"]), Some("RUN"));
        assert_eq!(nearest("rnu", ["ENV", "RUN"]), Some("RUN"), "swapped letters are near");
        assert_eq!(nearest("banana", ["ADD", "FROM"]), None);
        assert_eq!(nearest("run", ["RUN"]), None, "the word itself is known");
        assert_eq!(nearest_exact("target", ["TARGET", "targets"]), Some("targets"));
        assert_eq!(distance("kitten", "sitting", false), 3);
        assert_eq!(distance("", "ab", false), 2);
    }
}
