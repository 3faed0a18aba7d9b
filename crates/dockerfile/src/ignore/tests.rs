use super::*;

fn ignore(text: &str) -> Ignore {
    Ignore::parse(text).expect(text)
}

#[test]
fn paths() {
    let table: &[(&str, &[&str], &[&str])] = &[
        ("", &[], &["a", "a/b"]),
        ("*.log", &["a.log"], &["a/b.log", "alog"]),
        ("**/*.log", &["a.log", "a/b.log", "a/b/c.log"], &["a.log.x"]),
        ("node_modules", &["node_modules", "node_modules/a/b"], &["a/node_modules", "node_modules2"]),
        ("/a/b/", &["a/b", "a/b/c"], &["a", "b"]),
        ("a\n!a/b", &["a", "a/c", "a/c/b"], &["a/b", "a/b/c"]),
        ("!a/b\na", &["a", "a/b"], &[]),
        ("*\n!README.md", &["a", "a/README.md"], &["README.md"]),
        ("*\n!src/**\nsrc/gen", &["a", "src/gen/x"], &["src/a", "src/x/y"]),
        ("**", &["a", "a/b"], &[]),
        ("**\n!**/keep", &["a", "a/b"], &["keep", "a/keep", "a/keep/b"]),
        ("# a\n #b\n  c  ", &["#b", "c"], &["a", "# a"]),
        ("\u{feff}a", &["a"], &[]),
        ("a\r\nb\r\n", &["a", "b"], &[]),
        ("! a\n*\n!  b", &["a"], &["b"]),
        ("./a/../b//c", &["b/c"], &["a", "b"]),
        ("a?c", &["abc"], &["a/c", "ac"]),
        ("a[b-d]", &["ac"], &["ae"]),
        ("a\\*", &["a*"], &["ab"]),
        ("[a-b]*.md\n!a.md", &["b.md"], &["a.md", "c.md"]),
        (".\n/", &[], &["a", "."]),
        // A pattern that was not tried on the directory does not hold for what is in it.
        ("d\n!d/x\nd", &["d", "d/y"], &["d/x"]),
        ("docs/*\n!docs/a", &["docs/b", "docs/b/c"], &["docs", "docs/a/b"]),
        ("a/*/c", &["a/b/c", "a/b/c/d"], &["a/c", "a/b"]),
    ];
    for (text, excluded, included) in table {
        let ignore = ignore(text);
        for path in *excluded {
            assert!(ignore.matches(path), "{path} is excluded by {text:?}");
        }
        for path in *included {
            assert!(!ignore.matches(path), "{path} is not excluded by {text:?}");
        }
    }
}

#[test]
fn bad_patterns_have_lines() {
    insta::assert_snapshot!(Ignore::parse("a\n\n!\n").expect_err("bad"), @r#"line 3: illegal exclusion pattern: "!""#);
    let error = Ignore::parse("a\n  b[\n").expect_err("bad");
    insta::assert_snapshot!(error, @r#"line 2: syntax error in pattern "b[": a '[' without its ']'"#);
    assert_eq!((error.line(), error.span()), (2, Span::new(4, 6)));
    insta::assert_snapshot!(Ignore::from_patterns(["a", "x\\"]).expect_err("bad"), @r#"line 2: syntax error in pattern "x\\": a backslash at the end"#);
}

#[test]
fn walks_stop_where_nothing_comes_back() {
    let skips = |text: &str, path: &str| {
        let ignore = ignore(text);
        let mut state = ignore.root();
        for (end, _) in path.match_indices('/') {
            state = ignore.child(&state, &path[..end]);
        }
        ignore.may_skip(&ignore.child(&state, path), path)
    };
    assert!(skips("a", "a"));
    assert!(!skips("a", "b"));
    assert!(!skips("a\n!a/b", "a"));
    assert!(skips("a\n!a/b", "a/c"));
    assert!(skips("a\n!b/c", "a"));
    assert!(!skips("*\n!**/x", "a"));
    assert!(skips("*\n!*/x", "a/b"));
    assert!(skips("!a/b\na", "a"));
    assert!(!skips("*\n!a*/b/c", "ab"));
    assert!(skips("*\n!a*/b/c", "ba"));
    assert!(!skips("*\n!a", "a"), "not excluded");
}

/// moby's algorithm, as its documentation tells it, with patterns matched by plain recursion.
mod reference {
    fn pattern(pattern: &[char], path: &[char]) -> bool {
        let Some(c) = pattern.first() else { return path.is_empty() };
        match c {
            '*' if pattern.get(1) == Some(&'*') => {
                let rest = if pattern.get(2) == Some(&'/') { &pattern[3..] } else { &pattern[2..] };
                if rest.is_empty() {
                    return true;
                }
                self::pattern(rest, path)
                    || (0..path.len()).any(|i| path[i] == '/' && self::pattern(rest, &path[i + 1..]))
            }
            '*' => (0..=path.len()).any(|n| !path[..n].contains(&'/') && self::pattern(&pattern[1..], &path[n..])),
            '?' => path.first().is_some_and(|c| *c != '/') && self::pattern(&pattern[1..], &path[1..]),
            c => path.first() == Some(c) && self::pattern(&pattern[1..], &path[1..]),
        }
    }

    fn fits(text: &str, path: &str) -> bool {
        // The two shapes with a life of their own.
        let plain = |text: &str| !text.contains(['*', '?']);
        if let Some(suffix) = text.strip_prefix("**").filter(|rest| plain(rest)) {
            return path.ends_with(suffix) || suffix.strip_prefix('/') == Some(path);
        }
        if let Some(prefix) = text.strip_suffix("**").filter(|rest| plain(rest)) {
            return path.starts_with(prefix);
        }
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        pattern(&chars(text), &chars(path))
    }

    pub(super) fn walk(patterns: &[(String, bool)], path: &str) -> bool {
        let mut parents: Vec<bool> = vec![false; patterns.len()];
        let mut excluded = false;
        let ends = path.match_indices('/').map(|(i, _)| i).chain([path.len()]);
        for end in ends {
            excluded = false;
            for (i, (text, exception)) in patterns.iter().enumerate() {
                if !parents[i] && *exception != excluded {
                    continue;
                }
                parents[i] = parents[i] || fits(text, &path[..end]);
                if parents[i] {
                    excluded = !exception;
                }
            }
        }
        excluded
    }
}

proptest::proptest! {
    #[test]
    fn agrees_with_the_reference(
        lines in proptest::collection::vec("!?[ab*?]{1,3}(/[ab*?]{1,3}){0,2}", 0..5),
        path in "[ab]{1,2}(/[ab]{1,2}){0,3}",
    ) {
        let ignore = Ignore::parse(&lines.join("\n")).expect("valid");
        let patterns: Vec<_> = ignore.patterns().map(|(text, exception)| (text.to_owned(), exception)).collect();
        proptest::prop_assert_eq!(ignore.matches(&path), reference::walk(&patterns, &path), "{:?} on {}", lines, path);
    }

    #[test]
    fn what_is_skipped_is_excluded(
        lines in proptest::collection::vec("!?[ab*?]{1,3}(/[ab*?]{1,3}){0,2}", 0..5),
        path in "[ab]{1,2}(/[ab]{1,2}){1,3}",
    ) {
        let ignore = Ignore::parse(&lines.join("\n")).expect("valid");
        let mut state = ignore.root();
        for (end, _) in path.match_indices('/') {
            state = ignore.child(&state, &path[..end]);
            if ignore.may_skip(&state, &path[..end]) {
                proptest::prop_assert!(ignore.matches(&path), "{:?} on {} at {}", lines, path, &path[..end]);
            }
        }
    }

    #[test]
    fn never_panics(text in "\\PC{0,60}", path in "\\PC{0,40}") {
        if let Ok(ignore) = Ignore::parse(&text) {
            ignore.matches(&path);
            ignore.matches_or_parent(&path);
        }
    }
}
