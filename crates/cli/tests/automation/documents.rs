//! Commands in the documents exist, with the flags that stand there.
use crate::Place;
use std::collections::{BTreeMap, BTreeSet};

/// Every `cooperage …` in code of a document.
fn commands(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut block = false;
    for line in text.lines() {
        if line.starts_with("```") {
            block = !block;
            continue;
        }
        let line = line.replace("\\|", "|");
        let codes: Vec<&str> = if block { vec![&line] } else { line.split('`').skip(1).step_by(2).collect() };
        for code in codes {
            let code = code.split(" #").next().unwrap_or_default();
            for part in code.split(['|', ';']).flat_map(|part| part.split("&&")) {
                let command = part.split("-- cooperage ").nth(1).or_else(|| part.trim().strip_prefix("cooperage "));
                found.extend(
                    command
                        .map(|command| command.trim().to_owned())
                        .filter(|c| !c.is_empty() && !c.ends_with("COMMAND")),
                );
            }
        }
    }
    found
}

#[test]
fn commands_of_the_documents_exist() {
    let place = Place::new();
    let mut helps: BTreeMap<Vec<String>, Option<String>> = BTreeMap::new();
    let mut help = |words: &[String]| {
        helps
            .entry(words.to_owned())
            .or_insert_with(|| {
                let words: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
                let (code, out, _) = place.run(&words);
                (code == Some(0)).then_some(out)
            })
            .clone()
    };
    let mut wrong = Vec::new();
    let mut count = 0;
    for file in ["migrating.md", "remote.md", "ci.md", "kubernetes.md", "factory.md"] {
        let text = std::fs::read_to_string(testkit::repository().join("docs").join(file)).unwrap();
        for command in commands(&text) {
            count += 1;
            // --env-file and its value may stand before the command.
            let words: Vec<&str> = command.split_whitespace().collect();
            let start = if words.first() == Some(&"--env-file") { 2 } else { 0 };
            let mut path: Vec<String> = Vec::new();
            for word in &words[start.min(words.len())..] {
                let plain = word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-');
                let next = [&path[..], &[(*word).to_owned()]].concat();
                // A word that is no command is an argument, once a command takes some.
                match plain.then(|| help(&next)).flatten() {
                    Some(text) if path.is_empty() || help(&path).is_some_and(|parent| parent != text) => path = next,
                    _ => break,
                }
            }
            let Some(text) = help(&path).filter(|_| !path.is_empty()) else {
                wrong.push(format!("{file}: {command}: there is no such command"));
                continue;
            };
            // What comes after a lone -- is another command's.
            for word in words.iter().take_while(|word| **word != "--").filter(|word| word.starts_with("--")) {
                let flag = word.split('=').next().unwrap_or(word).trim_end_matches(['.', ',', '…']);
                let known = [" ", "[", "=", "\n", "."].iter().any(|end| text.contains(&format!("{flag}{end}")));
                if !known {
                    wrong.push(format!("{file}: {command}: {flag} is not in the help of {}", path.join(" ")));
                }
            }
        }
    }
    assert!(count > 60, "{count} commands");
    assert_eq!(wrong, [""; 0]);
}
