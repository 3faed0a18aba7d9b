//! The table `tags.txt`: event × rules × flavor → tags.
use gitops::tags::{Error, Event, Flavor, Rule, compute};
use std::collections::BTreeMap;

const TABLE: &str = include_str!("tags.txt");

fn event(line: &str) -> Event {
    let mut words = line.split(' ');
    let mut event = Event {
        name: words.next().unwrap_or_default().into(),
        git_ref: String::new(),
        sha: Some("860c1904a1ce19322e91ac35af1ab07466440c37".into()),
        now: "2026-03-07T22:30:05Z".parse().expect("a time"),
        commit_date: Some("2026-02-28T06:05:04Z".parse().expect("a time")),
        ..Event::default()
    };
    for word in words {
        match word.split_once('=') {
            Some(("base", branch)) => event.base_ref = Some(branch.into()),
            Some(("default", branch)) => event.default_branch = branch.into(),
            Some(("sha", "none")) => event.sha = None,
            Some(_) => panic!("{word}"),
            None => event.git_ref = word.into(),
        }
    }
    event
}

fn run(event: &Event, rules: &str, flavor: &str) -> Result<String, Error> {
    let lines = |text: &str| text.replace(" & ", "\n");
    let tags = compute(event, &Rule::parse_all(&lines(rules))?, &Flavor::parse(&lines(flavor))?)?;
    assert_eq!(tags.version.as_ref(), tags.tags.first());
    Ok(if tags.tags.is_empty() { "-".into() } else { tags.tags.join(" ") })
}

#[test]
fn the_table_of_tag_rules_holds() {
    let mut events = BTreeMap::new();
    let (mut cases, mut wrong) = (0, Vec::new());
    for (number, line) in TABLE.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        if let Some((name, line)) = line.strip_prefix('@').and_then(|line| line.split_once(": ")) {
            events.insert(name, event(line));
            continue;
        }
        let columns: Vec<&str> = line.split(" | ").map(str::trim).collect();
        // An empty column in the middle has one space.
        let line = line.replace("| |", "|  |").replace("| |", "|  |");
        let columns: Vec<String> = match columns.len() {
            4 => columns.into_iter().map(str::to_owned).collect(),
            _ => line.split(" | ").map(|column| column.trim().to_owned()).collect(),
        };
        let [name, rules, flavor, wanted] = &columns[..] else { panic!("line {}: {columns:?}", number + 1) };
        let got = run(events.get(name.as_str()).unwrap_or_else(|| panic!("no event {name}")), rules, flavor);
        let right = match (&got, wanted.strip_prefix("! ")) {
            (Err(error), Some(text)) => error.to_string().contains(text),
            (Ok(tags), None) => tags == wanted,
            _ => false,
        };
        if !right {
            wrong.push(format!("line {}: {line}\n    {got:?}", number + 1));
        }
        cases += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases >= 200, "{cases} cases");
}
