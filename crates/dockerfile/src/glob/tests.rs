use super::*;

#[test]
fn file_path_match() {
    // The table of Go's own documentation and tests, in our words.
    let table = [
        ("abc", "abc", Some(true)),
        ("*", "abc", Some(true)),
        ("*c", "abc", Some(true)),
        ("a*", "ab/c", Some(false)),
        ("a*/b", "abc/b", Some(true)),
        ("a*/b", "a/c/b", Some(false)),
        ("a*b*c*d*e*/f", "axbxcxdxe/f", Some(true)),
        ("a*b?c*x", "abxbbxdbxebxczzx", Some(true)),
        ("a*b?c*x", "abxbbxdbxebxczzy", Some(false)),
        ("ab[c]", "abc", Some(true)),
        ("ab[b-d]", "abc", Some(true)),
        ("ab[^b-d]", "abc", Some(false)),
        ("ab[^e-g]", "abc", Some(true)),
        ("[!a]", "!", Some(true)),
        ("a\\*b", "a*b", Some(true)),
        ("a\\*b", "ab", Some(false)),
        ("a?b", "a☺b", Some(true)),
        ("a[^a]b", "a☺b", Some(true)),
        ("a???b", "a☺b", Some(false)),
        ("[a-ζ]*", "α", Some(true)),
        ("*[a-ζ]", "A", Some(false)),
        ("a?b", "a/b", Some(false)),
        ("a*b", "a/b", Some(false)),
        ("a[^x]b", "a/b", Some(true)),
        ("[\\]a]", "]", Some(true)),
        ("[\\-x]", "-", Some(true)),
        ("[z-a]", "m", Some(false)),
        ("**", "ab", Some(true)),
        ("a/**", "a/b/c", Some(false)),
        ("", "", Some(true)),
        ("*", "", Some(true)),
        ("[]a]", "a", None),
        ("[-]", "-", None),
        ("[x-]", "x", None),
        ("[-x]", "x", None),
        ("[a-b-c]", "a", None),
        ("[", "a", None),
        ("[^", "a", None),
        ("[^bc", "a", None),
        ("a[", "ab", None),
        ("\\", "a", None),
        ("[\\", "a", None),
    ];
    for (pattern, path, expected) in table {
        assert_eq!(Glob::new(pattern).ok().map(|glob| glob.matches(path)), expected, "{pattern} on {path}");
    }
}

#[test]
fn literals() {
    let literal = |pattern| Glob::new(pattern).expect("valid").as_literal().map(str::to_owned);
    assert_eq!(literal("a/b.txt").as_deref(), Some("a/b.txt"));
    assert_eq!(literal("a\\*b").as_deref(), Some("a*b"));
    assert_eq!(literal("a*"), None);
    assert!(has_wildcards("a[b]") && has_wildcards("a?") && !has_wildcards("a\\*b"));
}

#[test]
fn path_patterns() {
    let table = [
        ("**", "a/b", true),
        ("**/foo", "foo", true),
        ("**/foo", "a/foo", true),
        ("**/foo", "afoo", false),
        ("**foo", "afoo", true),
        ("**/*.go", "x.go", true),
        ("**/*.go", "a/b/x.go", true),
        ("**/*.go", "a/b/x.go/y", false),
        ("foo/**", "foo", false),
        ("foo/**", "foo/a/b", true),
        ("foo**", "foox/y", true),
        ("a/**/b", "a/b", true),
        ("a/**/b", "a/x/y/b", true),
        ("a/**/b", "ab", false),
        ("a**/b", "ax/b", true),
        ("a**/b", "ab", true),
        ("a/**/b/**", "a/x/b/y/z", true),
        ("a/*/b", "a/x/y/b", false),
        ("a.b", "axb", false),
        ("a+(b)|{c}$", "a+(b)|{c}$", true),
        ("a\\*", "a*", true),
        ("a\\*", "ab", false),
        ("[a-c]x", "bx", true),
        ("*", ".hidden", true),
        ("?", "/", false),
    ];
    for (pattern, path, expected) in table {
        assert_eq!(PathPattern::new(pattern).expect(pattern).matches(path), expected, "{pattern} on {path}");
    }
    assert!(PathPattern::new("[z-a]").is_err());
    assert!(PathPattern::new("a[").is_err());
}

#[test]
fn paths_are_cleaned() {
    let table = [
        ("", "."),
        (".", "."),
        ("./a//b/", "a/b"),
        ("a/../b", "b"),
        ("../a", "../a"),
        ("a/../../b", "../b"),
        ("/", "/"),
        ("/../a", "/a"),
        ("/a/./b", "/a/b"),
        ("a/..", "."),
    ];
    for (path, expected) in table {
        assert_eq!(clean(path), expected, "{path}");
    }
}

/// The obvious implementation: by recursion, exponential.
fn slow(tokens: &[Token], text: &[char]) -> bool {
    let Some((token, rest)) = tokens.split_first() else { return text.is_empty() };
    let eats = |count: usize| slow(rest, &text[count..]);
    match token {
        Token::Char(c) => text.first() == Some(c) && eats(1),
        Token::NameChar => text.first().is_some_and(|c| *c != '/') && eats(1),
        Token::Class(class) => {
            let listed = |c: char| class.ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
            text.first().is_some_and(|c| listed(*c) != class.negated) && eats(1)
        }
        Token::Name => (0..=text.len()).any(|n| !text[..n].contains(&'/') && eats(n)),
        Token::Anything => (0..=text.len()).any(eats),
        Token::Directories => {
            slow(&rest[1..], text) || (1..=text.len()).any(|n| text[n - 1] == '/' && slow(&rest[1..], &text[n..]))
        }
        Token::InDirectories => false,
    }
}

proptest::proptest! {
    #[test]
    fn fast_and_slow_agree(pattern in "[ab/*?.\\[\\]^\\-\\\\]{0,9}", path in "[ab/.]{0,9}") {
        let chars: Vec<char> = path.chars().collect();
        for deep in [false, true] {
            if let Ok(tokens) = tokens(&pattern, deep) {
                let expected = slow(&tokens, &chars);
                proptest::prop_assert_eq!(Matcher::new(tokens).matches(&path), expected, "{} on {}", pattern, path);
            }
        }
    }

    #[test]
    fn a_directory_that_may_hold_matches_is_never_skipped(pattern in "[ab/*?]{1,9}", path in "[ab]{1,2}(/[ab]{1,2}){1,3}") {
        let parent = path.rsplit_once('/').expect("has a slash").0;
        if let Ok(pattern) = PathPattern::new(&pattern) {
            proptest::prop_assert!(!pattern.matches(&path) || pattern.may_match_below(parent));
        }
        if let Ok(glob) = Glob::new(&pattern) {
            proptest::prop_assert!(!glob.matches(&path) || glob.may_match_below(parent));
        }
    }

    #[test]
    fn never_panics(pattern in "\\PC{0,40}", path in "\\PC{0,40}") {
        let _ = Glob::new(&pattern).map(|glob| glob.matches(&path));
        let _ = PathPattern::new(&pattern).map(|pattern| pattern.matches(&path));
        let _ = clean(&pattern);
    }
}
