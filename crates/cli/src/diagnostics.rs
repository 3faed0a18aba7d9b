//! Findings in a Dockerfile, drawn: file, line, column, the text and a caret.
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use dockerfile::{Diagnostic, LineIndex, Severity, Span};

/// Draws findings in the order of their places, with a line of sum at the end.
pub(crate) fn render(list: &[Diagnostic], file: &str, source: &str, colour: bool) -> String {
    let mut sorted: Vec<&Diagnostic> = list.iter().collect();
    sorted.sort_by_key(|d| (d.span.start, d.span.end));
    let index = LineIndex::new(source);
    let pictures: Vec<String> = sorted.iter().map(|d| one(d, &index, file, source, colour)).collect();
    pictures.join("\n\n")
}

fn one(diagnostic: &Diagnostic, index: &LineIndex<'_>, file: &str, source: &str, colour: bool) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let span = |span: Span| {
        let clamped = index.clamp(span);
        // A multi-line span is marked in its first line alone: the caret says where to look.
        let end = source[clamped.start..clamped.end].find('\n').map_or(clamped.end, |at| clamped.start + at);
        clamped.start..end
    };
    let mut snippet =
        Snippet::source(source).path(file).fold(true).annotation(AnnotationKind::Primary.span(span(diagnostic.span)));
    for label in &diagnostic.labels {
        snippet = snippet.annotation(AnnotationKind::Context.span(span(label.span)).label(label.message.as_str()));
    }
    let mut title = level.primary_title(diagnostic.message.as_str());
    if !diagnostic.code.is_empty() {
        title = title.id(diagnostic.code);
    }
    let mut group: Group<'_> = title.element(snippet);
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    renderer.term_width(140).render(&[group])
}

/// The lines around a place, as buildx shows them: the lines of the span are marked.
///
/// ```text
/// Dockerfile:3
/// --------------------
///    1 |     FROM alpine
///    2 |
///    3 | >>> RUN make
/// --------------------
/// ```
pub(crate) fn excerpt(file: &str, source: &str, span: Span) -> String {
    const AROUND: usize = 2;
    const MOST: usize = 20;
    let index = LineIndex::new(source);
    let (first, last) = index.lines(index.clamp(span));
    let lines = source.lines().count().max(last);
    let from = first.saturating_sub(AROUND).max(1);
    let to = (last + AROUND).min(lines);
    let mut out = format!("{file}:{first}\n--------------------\n");
    for line in from..=to {
        if last - first >= MOST && line > first + MOST / 2 && line < last {
            if line == first + MOST / 2 + 1 {
                out.push_str(&format!("     | ... {} lines\n", last - line));
            }
            continue;
        }
        let mark = if (first..=last).contains(&line) { ">>> " } else { "    " };
        let text = crate::progress::sanitize::clean(index.text(line).as_bytes(), false);
        out.push_str(format!("{line:>4} | {mark}{text}").trim_end());
        out.push('\n');
    }
    out.push_str("--------------------\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "FROM alpine\n\nRUN make \\\n  all\nCOPPY a b\n";

    #[test]
    fn a_finding_has_a_caret_and_help() {
        let list = [Diagnostic::error("unknown-instruction", Span::new(30, 35), "unknown instruction COPPY")
            .help("did you mean COPY?")
            .label(Span::new(0, 4), "the stage begins here")];
        insta::assert_snapshot!(render(&list, "Dockerfile", SOURCE, false), @r#"
        error[unknown-instruction]: unknown instruction COPPY
         --> Dockerfile:5:1
          |
        1 | FROM alpine
          | ---- the stage begins here
        ...
        5 | COPPY a b
          | ^^^^^
          |
          = help: did you mean COPY?
        "#);
        assert!(render(&list, "Dockerfile", SOURCE, true).contains('\x1b'));
    }

    #[test]
    fn spans_outside_the_text_are_no_panic() {
        let list =
            [Diagnostic::warning("x", Span::new(500, 900), "beyond"), Diagnostic::error("y", Span::new(0, 0), "empty")];
        assert!(render(&list, "Dockerfile", "", false).contains("beyond"));
        assert!(excerpt("Dockerfile", "", Span::new(7, 9)).contains(">>>"));
    }

    #[test]
    fn an_excerpt_marks_the_instruction() {
        insta::assert_snapshot!(excerpt("Dockerfile", SOURCE, Span::new(13, 29)), @r#"
        Dockerfile:3
        --------------------
           1 |     FROM alpine
           2 |
           3 | >>> RUN make \
           4 | >>>   all
           5 |     COPPY a b
        --------------------
        "#);
        let long = "RUN <<EOF\n".to_owned() + &"x\n".repeat(100) + "EOF\n";
        assert!(excerpt("Dockerfile", &long, Span::new(0, long.len())).lines().count() < 30);
    }
}
