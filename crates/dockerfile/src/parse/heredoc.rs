//! Here-documents: finding `<<NAME` on an instruction's line and reading the lines behind it.
use super::line::{Lines, Slice};
use crate::ast::{CommandLine, Heredoc, Run};
use crate::{Diagnostic, Span, expand::Expander};

/// `<<NAME` as it stands on the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) name: String,
    pub(super) expand: bool,
    pub(super) chomp: bool,
    pub(super) file_descriptor: u32,
}

/// Reads a word of the form `[N]<<[-]NAME`. The name may be quoted in whole or part; then the body is
/// not expanded.
pub(super) fn marker(word: &str) -> Option<Marker> {
    let digits = word.len() - word.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let rest = word[digits..].strip_prefix("<<")?;
    let (chomp, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let lexer = Expander::new('\\').keep_undefined();
    let plain = lexer.spanned_words(rest).ok()?;
    let raw = lexer.raw_quotes().spanned_words(rest).ok()?;
    let ([(name, _)], [(raw_name, _)]) = (plain.as_slice(), raw.as_slice()) else { return None };
    let quotes = |text: &str| text.chars().filter(|c| matches!(c, '\'' | '"')).count();
    Some(Marker {
        name: name.clone(),
        expand: quotes(name) == quotes(raw_name),
        chomp,
        file_descriptor: word[..digits].parse().unwrap_or(0),
    })
}

/// The markers of an instruction's line. A line that cannot be cut into words (an unclosed quote) has none.
pub(super) fn markers(line: &Slice<'_>) -> Vec<(Marker, Span)> {
    if !line.as_str().contains("<<") {
        return Vec::new();
    }
    let lexer = Expander::new('\\').raw_quotes().raw_escapes().keep_undefined();
    let words = lexer.spanned_words(line.as_str()).unwrap_or_default();
    words.into_iter().filter_map(|(word, range)| Some((marker(&word)?, line.sub(range).span()))).collect()
}

/// Reads the bodies that belong to the markers from the lines that follow.
pub(super) fn read(
    source: &str,
    lines: &mut Lines<'_>,
    markers: Vec<(Marker, Span)>,
) -> Result<Vec<Heredoc>, Box<Diagnostic>> {
    let mut heredocs = Vec::with_capacity(markers.len());
    for (marker, span) in markers {
        let start = lines.offset();
        let Some(last) = lines.find(|line| {
            let text = if marker.chomp { line.text.trim_start_matches('\t') } else { line.text };
            text == marker.name
        }) else {
            return Err(Box::new(unterminated(source, start, &marker, span)));
        };
        let raw = source[start..last.start].to_owned();
        heredocs.push(Heredoc {
            content: if marker.chomp { without_leading_tabs(&raw) } else { raw.clone() },
            raw,
            name: marker.name,
            expand: marker.expand,
            chomp: marker.chomp,
            file_descriptor: marker.file_descriptor,
            span: Span { start, end: last.start },
            marker: span,
        });
    }
    Ok(heredocs)
}

/// What a `RUN` with here-documents runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunScript {
    /// This text, by the shell. It is also what the image's history shows.
    Shell(String),
    /// A file of this name and content, executed by itself: a body that begins with `#!`. BuildKit puts it
    /// under `/dev/pipes/` and shows that path in the history.
    File {
        /// The delimiter.
        name: String,
        /// The body, of `<<-` without leading tabs.
        content: String,
    },
}

/// The script of a `RUN` with here-documents; `None` where it has none.
///
/// A line that is nothing but one marker stands for the body, so that it works with any shell; else the
/// line and the bodies are put together again for the shell to read.
pub fn run_script(run: &Run) -> Option<RunScript> {
    let first = run.heredocs.first()?;
    let CommandLine::Shell(line) = &run.command else { return None };
    if marker(&line.value).is_none() {
        let bodies = run.heredocs.iter().map(|heredoc| format!("\n{}{}", heredoc.raw, heredoc.name));
        return Some(RunScript::Shell(line.value.clone() + &bodies.collect::<String>()));
    }
    let content = first.content.clone();
    if content.starts_with("#!") {
        return Some(RunScript::File { name: first.name.clone(), content });
    }
    Some(RunScript::Shell(content))
}

fn unterminated(source: &str, start: usize, marker: &Marker, span: Span) -> Diagnostic {
    let name = &marker.name;
    let diagnostic = Diagnostic::error("unterminated-heredoc", span, format!("unterminated heredoc {name}"));
    // The usual mistakes: an indented terminator, or blanks behind it.
    let mut lines = Lines::new(source);
    lines.find(|line| line.next >= start);
    match lines.find(|line| line.start >= start && line.text.trim() == name) {
        Some(line) => {
            let place = Span { start: line.start, end: line.start + line.text.len() };
            let help = "the terminator must stand alone on its line, without blanks before or after it \
                        (with <<- leading tabs are allowed)";
            diagnostic.label(place, "this line is not the terminator").help(help)
        }
        None => diagnostic.help(format!("add a line that holds only {name} after the content")),
    }
}

fn without_leading_tabs(raw: &str) -> String {
    raw.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_read() {
        let parse = |word| marker(word).map(|m| (m.name, m.expand, m.chomp, m.file_descriptor));
        assert_eq!(parse("<<EOF"), Some(("EOF".into(), true, false, 0)));
        assert_eq!(parse("3<<-EOF"), Some(("EOF".into(), true, true, 3)));
        assert_eq!(parse("<<'EOF'"), Some(("EOF".into(), false, false, 0)));
        assert_eq!(parse("<<E\"O\"F"), Some(("EOF".into(), false, false, 0)));
        assert_eq!(parse("<<-\"a b\""), Some(("a b".into(), false, true, 0)));
        for none in ["<<", "<<-", "<<<EOF", "x<<EOF", "<EOF", "<<'EOF", "<<''"] {
            assert_eq!(marker(none), None, "{none}");
        }
    }
}
