//! Over many files as people write them: an edit touches only the lines of the addressed value, and a YAML reader
//! reads the new value. The second is also asked of another reader, PyYAML (YAML 1.1), in one run.
#![allow(clippy::print_stderr)] // a test that is skipped says so
use gitops::image::{ImageUpdate, Pin};
use gitops::manifest::{argocd, flux, helm, kubernetes, kustomize};
use gitops::yaml::edit::Place;
use gitops::yaml::tree;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// A generated case: the text, the lines that may change, and what must be read afterwards.
#[derive(Debug, Clone)]
struct Case {
    text: String,
    /// The first line that may change and the number of such lines.
    lines: (usize, usize),
    action: Action,
    tag: String,
    /// Where the tag is read: document, then keys and item numbers.
    at: Vec<String>,
}

#[derive(Debug, Clone)]
enum Action {
    Kustomize(String),
    Helm(String),
    Kubernetes(String, String),
    Flux(String),
    Argo(String, String),
}

/// How a file is written.
#[derive(Debug, Clone)]
struct Style {
    indent: usize,
    dash: usize,
    quote: usize,
    crlf: bool,
    last_newline: bool,
    comments: u64,
    start: bool,
    order: bool,
}

fn style() -> impl Strategy<Value = Style> {
    (1usize..5, 0usize..5, 0usize..3, any::<bool>(), any::<bool>(), any::<u64>(), any::<bool>(), any::<bool>())
        .prop_map(|(indent, dash, quote, crlf, last_newline, comments, start, order)| Style {
            indent: indent.max(2),
            dash,
            quote,
            crlf,
            last_newline,
            comments,
            start,
            order,
        })
}

/// Tags that are easy to read wrongly among ordinary ones.
fn tags() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "1.10",
            "1234e5",
            "0755",
            "on",
            "2026-11-21",
            "latest",
            "null",
            "1_0",
            "007",
            "y",
            "0x1f"
        ])
        .prop_map(str::to_owned),
        "v?[0-9]{1,2}\\.[0-9]{1,2}\\.[0-9]{1,3}(-[0-9]{1,2})?",
        "sha-[0-9a-f]{7}",
        "[0-9a-f]{7}",
        "[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,20}",
    ]
}

/// Collects lines with noise between them.
struct Writer<'s> {
    style: &'s Style,
    lines: Vec<String>,
    noise: u64,
}

impl<'s> Writer<'s> {
    fn new(style: &'s Style) -> Self {
        let mut writer = Self { style, lines: Vec::new(), noise: style.comments };
        if style.start {
            writer.lines.push("---".into());
        }
        writer
    }

    fn bits(&mut self, modulo: u64) -> u64 {
        self.noise = self.noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.noise >> 33) % modulo
    }

    /// A line of content; at times with a comment behind it, a comment above it or an empty line.
    fn line(&mut self, depth: usize, text: &str) -> usize {
        match self.bits(8) {
            0 => self.lines.push(String::new()),
            1 => self.lines.push(format!("{:depth$}# newTag: no, a comment: {{x}} 'it''s'", "")),
            _ => {}
        }
        let behind = match self.bits(6) {
            0 => " # why: \"because\"",
            1 => "   #x",
            2 => "  ",
            _ => "",
        };
        self.lines.push(format!("{:depth$}{text}{behind}", ""));
        self.lines.len() - 1
    }

    fn quote(&self, value: &str) -> String {
        match self.style.quote {
            0 => format!("'{value}'"),
            1 => format!("\"{value}\""),
            _ => value.to_owned(),
        }
    }

    fn text(self) -> String {
        let eol = if self.style.crlf { "\r\n" } else { "\n" };
        let mut text = self.lines.join(eol);
        if self.style.last_newline {
            text.push_str(eol);
        }
        text
    }
}

fn kustomization() -> impl Strategy<Value = Case> {
    (style(), 1usize..5, 0usize..6, tags(), 0usize..4).prop_map(|(style, count, target, tag, shape)| {
        let mut w = Writer::new(&style);
        w.line(0, "apiVersion: kustomize.config.k8s.io/v1beta1");
        w.line(0, "kind: Kustomization");
        w.line(0, "resources:");
        w.line(style.dash, "- deployment.yaml");
        w.line(style.dash, "- ../base");
        w.line(0, "patches:");
        w.line(style.dash, "- target: {kind: Deployment, name: 'web'}");
        w.line(style.dash, "  patch: |-");
        for line in ["- op: replace", "  path: /images", "# images:", "  newTag: 7"] {
            w.lines.push(format!("{:1$}{line}", "", style.dash + 6));
        }
        let mut lines = (0, 0);
        w.line(0, "images:");
        for number in 0..count {
            let name = w.quote(&format!("ghcr.io/o/app{number}"));
            let old = w.quote("v0.9");
            let mut entries = vec![format!("name: {name}")];
            if w.bits(3) == 0 {
                entries.push("newName: registry.local:5000/x".into());
            }
            if shape != 1 {
                entries.push(format!("newTag: {old}"));
            }
            if shape == 2 {
                entries.push(format!("digest: sha256:{}", "ab".repeat(32)));
            }
            if style.order {
                entries.reverse();
            }
            let first = w.lines.len();
            for (position, entry) in entries.iter().enumerate() {
                let dash = if position == 0 { "- " } else { "  " };
                w.line(style.dash, &format!("{dash}{entry}"));
            }
            if number == target {
                lines = (first, w.lines.len() - first);
            }
        }
        if target >= count {
            // A new entry comes behind the last one.
            lines = (w.lines.len(), 0);
        }
        if shape == 3 {
            w.line(0, "configMapGenerator:");
            w.line(style.dash, "- name: settings");
            w.line(style.dash, "  literals: [\"a=b\", 'c=d']");
        }
        let number = target.min(count);
        let name = if target >= count { "other/image".to_owned() } else { format!("ghcr.io/o/app{number}") };
        let at = vec!["0".into(), "images".into(), number.to_string(), "newTag".into()];
        Case { text: w.text(), lines, action: Action::Kustomize(name), tag, at }
    })
}

fn values() -> impl Strategy<Value = Case> {
    (style(), tags(), any::<bool>(), any::<bool>()).prop_map(|(style, tag, deep, flow)| {
        let mut w = Writer::new(&style);
        w.line(0, "global: &defaults");
        w.line(style.indent, "pullPolicy: IfNotPresent");
        w.line(style.indent, "tag: &tag v0");
        w.line(0, "replicas: 3");
        let (depth, path) = if deep { (style.indent, "services.api.image.tag") } else { (0, "api.image.tag") };
        if deep {
            w.line(0, "services:");
        }
        w.line(depth, "worker:");
        w.line(depth + style.indent, "<<: *defaults");
        w.line(depth + style.indent, "tag: *tag");
        w.line(depth, "api:");
        let old = w.quote("1.9");
        let line = if flow {
            w.line(depth + style.indent, &format!("image: {{repository: o/api, tag: {old}}}"))
        } else {
            w.line(depth + style.indent, "image:");
            w.line(depth + 2 * style.indent, "repository: o/api");
            w.line(depth + 2 * style.indent, &format!("tag: {old}"))
        };
        w.line(depth + style.indent, "env: {TAG: '1.9', \"x\": [1, 2]}");
        w.line(0, "notes: >-");
        w.lines.push(format!("{:1$}tag: 1.9", "", style.indent));
        let at = ["0"].into_iter().chain(path.split('.')).map(str::to_owned).collect();
        Case { text: w.text(), lines: (line, 1), action: Action::Helm(path.into()), tag, at }
    })
}

fn manifests() -> impl Strategy<Value = Case> {
    (style(), tags(), 1usize..4, 0usize..3, 0usize..3).prop_map(|(style, tag, objects, target, kind)| {
        let target = target % objects;
        let mut w = Writer::new(&style);
        let (mut line, mut at) = (0, Vec::new());
        for number in 0..objects {
            if number > 0 {
                w.lines.push("---".into());
            }
            w.line(0, "apiVersion: apps/v1");
            w.line(0, "kind: Deployment");
            w.line(0, "metadata:");
            w.line(style.indent, &format!("name: app{number}"));
            w.line(0, "spec:");
            w.line(style.indent, "template:");
            w.line(2 * style.indent, "spec:");
            w.line(3 * style.indent, "containers:");
            let dash = 3 * style.indent + style.dash;
            w.line(dash, "- name: side");
            w.line(dash, "  image: envoy");
            let (image, marker) = match kind {
                1 => ("v1".to_owned(), format!(" # {{\"$imagepolicy\": \"flux:app{number}:tag\"}}")),
                _ => (format!("localhost:5000/app{number}:v1@sha256:{}", "0f".repeat(32)), String::new()),
            };
            let image = w.quote(&image);
            w.line(dash, "- name: main");
            let here = if marker.is_empty() {
                w.line(dash, &format!("  image: {image}"))
            } else {
                w.lines.push(format!("{:dash$}  image: {image}{marker}", ""));
                w.lines.len() - 1
            };
            w.line(dash, "  args: [--image, 'localhost:5000/app0:v1']");
            if number == target {
                line = here;
                at = [&number.to_string(), "spec", "template", "spec", "containers", "1", "image"]
                    .map(str::to_owned)
                    .to_vec();
            }
        }
        let action = match kind {
            1 => Action::Flux(format!("flux:app{target}")),
            _ => Action::Kubernetes(format!("localhost:5000/app{target}"), format!("app{target}")),
        };
        Case { text: w.text(), lines: (line, 1), action, tag, at }
    })
}

fn applications() -> impl Strategy<Value = Case> {
    (style(), tags(), any::<bool>()).prop_map(|(style, tag, add)| {
        let mut w = Writer::new(&style);
        w.line(0, "kind: AppProject");
        w.lines.push("---".into());
        w.line(0, "kind: Application");
        w.line(0, "metadata: {name: web, namespace: argocd}");
        w.line(0, "spec:");
        w.line(style.indent, "source:");
        w.line(2 * style.indent, "helm:");
        w.line(3 * style.indent, "parameters:");
        let dash = 3 * style.indent + style.dash;
        w.line(dash, "- name: replicas");
        w.line(dash, "  value: '2'");
        let old = w.quote("1.9");
        let (lines, name, at) = if add {
            ((w.lines.len(), 0), "image.new", "1")
        } else {
            w.line(dash, "- name: image.tag");
            ((w.line(dash, &format!("  value: {old}")), 1), "image.tag", "1")
        };
        w.line(style.indent, "destination: {server: https://kubernetes.default.svc}");
        let at = ["1", "spec", "source", "helm", "parameters", at, "value"].map(str::to_owned).to_vec();
        Case { text: w.text(), lines, action: Action::Argo("web".into(), name.into()), tag, at }
    })
}

fn any_case() -> impl Strategy<Value = Case> {
    prop_oneof![3 => kustomization(), 2 => values(), 2 => manifests(), 1 => applications()]
}

fn edit(case: &Case) -> String {
    let update = ImageUpdate { name: None, pin: Pin::Tag(case.tag.clone()) };
    let text = &case.text;
    match &case.action {
        Action::Kustomize(image) => kustomize::set_image(text, image, &update),
        Action::Helm(path) => helm::set(text, &path.parse().expect("a path"), &case.tag, false),
        Action::Kubernetes(image, object) => {
            let select =
                kubernetes::Selector { image: Some(image.clone()), object: Some(object.clone()), ..Default::default() };
            kubernetes::set_image(text, &select, &update)
        }
        Action::Flux(policy) => flux::set_image(text, policy, &update),
        Action::Argo(app, name) => argocd::set_parameter(text, Some(app), name, &case.tag),
    }
    .unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn wanted(case: &Case) -> String {
    match &case.action {
        Action::Kubernetes(image, _) => format!("{image}:{}", case.tag),
        _ => case.tag.clone(),
    }
}

fn check(case: &Case) -> Result<(), TestCaseError> {
    let new = edit(case);
    let lines = |text: &str| text.split_inclusive('\n').map(str::to_owned).collect::<Vec<_>>();
    let (old, now) = (lines(&case.text), lines(&new));
    let (first, count) = case.lines;
    let mut behind = old.len() - (first + count);
    let mut before = first;
    if count == 0 && behind == 0 && !case.text.ends_with('\n') {
        // The old last line gets its line break, the new one has none.
        before -= 1;
        prop_assert!(now[before].starts_with(&old[before]) && now[before].trim_end() == old[before].trim_end());
        prop_assert!(!new.ends_with('\n'));
    }
    if count == 0 {
        // Empty lines and comments between the list and what follows stay on either side.
        let noise = old[..first].iter().rev().take_while(|line| line.trim().is_empty()).count();
        before -= noise;
        behind = old.len() - first;
    }
    prop_assert_eq!(&old[..before], &now[..before], "lines before\n{}", new);
    prop_assert_eq!(&old[old.len() - behind..], &now[now.len() - behind..], "lines behind\n{}", new);
    // Inside an entry only the lines of tag and digest are others; comments stay.
    let fixed = |lines: &[String]| -> Vec<String> {
        let of = |line: &&String| {
            !["newTag", "digest"].iter().any(|key| line.trim_start_matches([' ', '-']).starts_with(key))
        };
        lines
            .iter()
            .filter(of)
            .map(|line| line.trim_start_matches([' ', '-']).trim_end_matches(['\r', '\n']).to_owned())
            .collect()
    };
    if let (Action::Kustomize(_), 1..) = (&case.action, count) {
        prop_assert_eq!(fixed(&old[first..first + count]), fixed(&now[first..now.len() - behind]));
    }
    if case.lines.1 == 1 && !matches!(case.action, Action::Kustomize(_)) {
        prop_assert_eq!(old.len(), now.len());
        let tail = |line: &str| line.split_once(" #").map(|(_, tail)| tail.to_owned());
        prop_assert_eq!(tail(&old[first]), tail(&now[first]));
    }
    prop_assert_eq!(read(&new, &case.at), Some(wanted(case)), "{}", new);
    let again = Case { text: new.clone(), ..case.clone() };
    prop_assert_eq!(edit(&again), new, "a second edit changes nothing");
    Ok(())
}

fn read(text: &str, at: &[String]) -> Option<String> {
    let stream = tree::parse(text).expect("the new text is YAML");
    let mut place = Place::root(&stream, at[0].parse().ok()?)?;
    for step in &at[1..] {
        place = match step.parse::<usize>() {
            Ok(number) => place.items().into_iter().nth(number)?,
            Err(_) => place.get(step)?,
        };
    }
    place.node.scalar().map(str::to_owned)
}

proptest! {
    #![proptest_config(Config { cases: 1500, failure_persistence: None, ..Config::default() })]

    #[test]
    fn an_edit_touches_only_the_addressed_lines(case in any_case()) {
        check(&case)?;
    }
}

proptest! {
    #![proptest_config(Config { cases: 4000, failure_persistence: None, ..Config::default() })]

    /// Whatever the text: an answer, never a panic, and one that is YAML.
    #[test]
    fn any_text_gets_an_answer(
        text in "(images:|image:|kind: Application|containers:|[a-z:&*!|>'\"%@ \\t\\r\\n0-9,?#{}\\[\\]-]|- |\n  |é|\u{feff}){0,40}",
    ) {
        let update = ImageUpdate { name: None, pin: Pin::Tag("v1".into()) };
        let path = "image.a".parse().expect("a path");
        let results = [
            kustomize::set_image(&text, "a", &update),
            helm::set(&text, &path, "v1", true),
            helm::set_image(&text, &path, &update),
            kubernetes::set_image(&text, &kubernetes::Selector::default(), &update),
            flux::set_image(&text, "a:b", &update),
            argocd::set_image(&text, None, "a", &update),
            argocd::set_parameter(&text, None, "a", "v1"),
        ];
        for new in results.iter().flatten() {
            tree::parse(new).expect("the new text is YAML");
        }
    }
}

/// PyYAML reads YAML 1.1, the version that is most eager to take tags for numbers, dates and truth values.
#[test]
fn another_reader_reads_the_new_values() {
    let works = Command::new("python3").args(["-c", "import yaml"]).stderr(Stdio::null()).status();
    if !works.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "python3 with yaml (Debian: python3-yaml) is missing");
        eprintln!("skipped: python3 with yaml is missing");
        return;
    }
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut input = String::new();
    for _ in 0..400 {
        let case = any_case().new_tree(&mut runner).expect("a case").current();
        let line = serde_json::json!({ "old": case.text, "new": edit(&case), "at": case.at, "value": wanted(&case) });
        writeln!(input, "{line}").expect("text");
    }
    let mut python = Command::new("python3")
        .args(["-c", include_str!("read.py")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    python.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let output = python.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "400 read\n");
}
