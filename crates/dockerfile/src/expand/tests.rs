use super::*;

fn env(name: &str) -> Option<String> {
    let value = match name {
        "A" => "apple",
        "EMPTY" => "",
        "TWO" => "one two",
        "PATH" => "/usr/local/bin:/usr/bin:/bin",
        "FILE" => "archive.tar.gz",
        "LINES" => "ab\ncd",
        "STARS" => "a*b?c",
        _ => return None,
    };
    Some(value.to_owned())
}

fn word(text: &str) -> String {
    Expander::new('\\').word(text, &env).map_or_else(|e| format!("error: {}", e.problem), |e| e.value)
}

#[test]
fn words_expand() {
    let table = [
        ("plain", "plain"),
        ("$A", "apple"),
        ("${A}x", "applex"),
        ("$Ax", ""),
        ("$A.x", "apple.x"),
        ("a$", "a$"),
        ("$ A", "$ A"),
        ("$1$10x", "x"),
        ("\\$A", "$A"),
        ("'$A'", "$A"),
        ("\"$A b\"", "apple b"),
        ("\"\\$A \\\" \\\\ \\n\"", "$A \" \\ \\n"),
        ("a\\ b\\\\c\\", "a b\\c"),
        ("it''s", "its"),
        ("${A:-x}", "apple"),
        ("${EMPTY:-x}", "x"),
        ("${EMPTY-x}", ""),
        ("${NONE-x}", "x"),
        ("${NONE:-${A}}", "apple"),
        ("${NONE:-${NONE:-\"a }b\"}}", "a }b"),
        ("${NONE:-\\}}", "}"),
        ("${A:+x}", "x"),
        ("${EMPTY:+x}", ""),
        ("${EMPTY+x}", "x"),
        ("${NONE+x}", ""),
        ("${A:?gone}", "apple"),
        ("${EMPTY?gone}", ""),
        ("${PATH#*/}", "usr/local/bin:/usr/bin:/bin"),
        ("${PATH##*/}", "bin"),
        ("${PATH%:*}", "/usr/local/bin:/usr/bin"),
        ("${PATH%%:*}", "/usr/local/bin"),
        ("${FILE%.*}", "archive.tar"),
        ("${FILE%%.*}", "archive"),
        ("${FILE#x}", "archive.tar.gz"),
        ("${FILE#arch?ve}", ".tar.gz"),
        ("${STARS#a\\*}", "b?c"),
        ("${STARS%\\?c}", "a*b"),
        ("${NONE#x}", ""),
        ("${FILE/a/X}", "Xrchive.tar.gz"),
        ("${FILE//a/X}", "Xrchive.tXr.gz"),
        ("${FILE/.*/}", "archive"),
        ("${FILE//r?/_}", "a_hive.ta_gz"),
        ("${PATH//\\//_}", "_usr_local_bin:_usr_bin:_bin"),
        ("${A/x/y}", "apple"),
        ("${A//$NONE/-}", "-a-p-p-l-e-"),
        ("${LINES#a*}", "b\ncd"),
        ("${LINES##a*}", "\ncd"),
        ("${A/p*/\\}}", "a\\}"),
        ("${A", "error: missing '}' after '${'"),
        ("${", "error: missing '}' after '${'"),
        ("${A:", "error: missing '}' after '${'"),
        ("${A:-x", "error: missing '}' after '${'"),
        ("${}", "error: bad substitution: a variable name must follow '${'"),
        ("${{A}}", "error: bad substitution: a variable name must follow '${'"),
        ("${A!x}", "error: unsupported modifier (!) in substitution"),
        ("${A:x}", "error: unsupported modifier (:x) in substitution"),
        ("${A/x}", "error: missing '/' between pattern and replacement"),
        ("${A#\\a}", "error: invalid pattern (\\a) in substitution: invalid escape '\\a'"),
        ("${NONE?}", "error: NONE: is not allowed to be unset"),
        ("${EMPTY:?}", "error: EMPTY: is not allowed to be empty"),
        ("${NONE:?set it}", "error: NONE: set it"),
        ("'a", "error: unclosed single quote"),
        ("\"a", "error: unclosed double quote"),
        ("\"a\\", "error: unclosed double quote"),
        ("", ""),
        ("é$A☃", "éapple☃"),
    ];
    for (text, expected) in table {
        assert_eq!(word(text), expected, "{text}");
    }
}

#[test]
fn words_split() {
    let words = |text| Expander::new('\\').words(text, &env).expect("valid").words;
    assert_eq!(words("a b\tc"), ["a", "b", "c"]);
    assert_eq!(words("$TWO 'a b' \"$TWO\" a\\ b"), ["one", "two", "a b", "one two", "a b"]);
    assert_eq!(words("  '' $EMPTY \"\"x "), ["x"]);
    assert_eq!(words("${NONE:-a b}"), ["a", "b"]);
    assert!(words("").is_empty());
}

#[test]
fn the_escape_character_can_be_a_backtick() {
    let expander = Expander::new('`');
    assert_eq!(expander.word("C:\\dir\\`$A `` $A", &env).expect("valid").value, "C:\\dir\\$A ` apple");
    assert_eq!(expander.word("\"`$A\"", &env).expect("valid").value, "$A");
}

#[test]
fn here_documents_keep_quotes() {
    let text = "'$A' \"${A}\" \\$A it's\n";
    assert_eq!(Expander::heredoc().word(text, &env).expect("valid").value, "'apple' \"apple\" $A it's\n");
}

#[test]
fn raw_forms() {
    let raw = Expander::new('\\').raw_quotes().raw_escapes().keep_undefined();
    for text in ["cat <<\"EOF\" 'x y' a\\ b $X ${Y} ${Z:-w} ${Q//a/b}", "<<-'A'"] {
        let text = text.replace("//", "/");
        assert_eq!(raw.word(&text, &|_| None).expect("valid").value, text);
    }
    let spans = raw.spanned_words("RUN  a\\ b 'c d'<<X").expect("valid");
    let ranges: Vec<_> = spans.into_iter().map(|(word, range)| (word, range.start, range.end)).collect();
    assert_eq!(ranges, [("RUN".into(), 0, 3), ("a\\ b".into(), 5, 9), ("'c d'<<X".into(), 10, 18)]);
}

#[test]
fn looked_up_names_are_reported() {
    let result = Expander::new('\\').word("$A ${NONE:-$OTHER} '$QUOTED' ${EMPTY:+$A}", &env).expect("valid");
    assert_eq!(result.used.into_iter().collect::<Vec<_>>(), ["A", "EMPTY"]);
    assert_eq!(result.unmatched.into_iter().collect::<Vec<_>>(), ["NONE", "OTHER"]);
}

#[test]
fn deep_nesting_is_refused() {
    let text = "${a:-".repeat(100_000);
    let error = Expander::new('\\').word(&text, &env).expect_err("too deep");
    assert_eq!(error.problem, Problem::TooDeep);
}

#[test]
fn values_do_not_explode() {
    let env = |_: &str| Some("x".repeat(1 << 18));
    let expand = |text: &str| Expander::new('\\').word(text, &env).map(|done| done.value.len()).map_err(|e| e.problem);
    assert_eq!(expand("$a$b$c"), Ok(3 << 18));
    for text in ["$a$b$c$d$e", "\"$a$b$c$d$e\"", "${a//x/yyyyyyyy}", "\"$a$b$c\"\"$d$e\"", "${n:+$a$b$c$d$e}"] {
        assert_eq!(expand(text), Err(Problem::TooLong), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn never_panics(text in "[${}:#%/?*\\\\'\"a-c `é-]{0,40}") {
        for expander in [Expander::new('\\'), Expander::new('`'), Expander::heredoc(), Expander::new('\\').raw_quotes().raw_escapes().keep_undefined()] {
            let _ = expander.word(&text, &env);
            let _ = expander.words(&text, &env);
        }
    }

    #[test]
    fn text_without_special_characters_stays(text in "[^$\\\\'\"]{0,40}") {
        proptest::prop_assert_eq!(word(&text), text);
    }
}
