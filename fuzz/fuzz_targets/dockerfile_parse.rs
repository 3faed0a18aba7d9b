//! Any text: the parser, the checks and the outline neither panic nor point outside the text.
#![no_main]
use dockerfile::call;
use dockerfile::eval::Options;
use dockerfile::lint::{self, Input};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(source) = dockerfile::parse::decode(data) else { return };
    let _ = dockerfile::parse::detect_syntax(source);
    let _ = dockerfile::parse_trigger(source);
    let parsed = dockerfile::parse(source);
    let within = |span: dockerfile::Span| source.get(span.start..span.end).is_some();
    for diagnostic in &parsed.diagnostics {
        assert!(within(diagnostic.span), "{diagnostic:?}");
        assert!(diagnostic.labels.iter().all(|label| within(label.span)), "{diagnostic:?}");
    }
    let Ok((tree, _)) = parsed.into_result() else { return };
    assert!(!tree.stages.is_empty());
    for stage in &tree.stages {
        assert!(within(stage.span));
        assert!(stage.instructions.iter().all(|i| within(i.span) && within(i.keyword.span)));
    }
    let report = lint::run(&tree, &Input::default());
    let result = call::CheckResult { file: "Dockerfile", source, report: &report };
    let _ = (result.text(), result.json());
    if let Ok(outline) = call::outline(&tree, source, &Options::default()) {
        let _ = (outline.text(), outline.json());
    }
    let _ = call::targets(&tree, source).text();
});
