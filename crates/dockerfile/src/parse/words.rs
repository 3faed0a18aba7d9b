//! How arguments are cut into words: quoted words, JSON arrays.
use super::line::Slice;
use crate::ast::Text;

/// Words separated by blanks, quotes and escape characters kept (they are taken off by the expansion).
/// Blanks inside quotes and escaped blanks belong to the word.
pub(super) fn quoted_words(rest: &Slice<'_>, escape: char) -> Vec<Text> {
    let text = rest.as_str();
    let mut words = Vec::new();
    let mut chars = text.char_indices().peekable();
    loop {
        while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {}
        let Some(&(start, _)) = chars.peek() else { return words };
        let mut word = String::new();
        let mut quote = None;
        let mut end = start;
        while let Some((at, c)) = chars.next_if(|(_, c)| quote.is_some() || !c.is_whitespace()) {
            end = at + c.len_utf8();
            if c == escape && quote != Some('\'') {
                // At the very end of the line it is dropped.
                let Some((at, escaped)) = chars.next() else { break };
                end = at + escaped.len_utf8();
                word.extend([c, escaped]);
                continue;
            }
            match quote {
                None if c == '\'' || c == '"' => quote = Some(c),
                Some(open) if open == c => quote = None,
                _ => {}
            }
            word.push(c);
        }
        if !word.is_empty() {
            words.push(Text { value: word, span: rest.sub(start..end).span() });
        }
    }
}

/// What a JSON form turned out to be.
pub(super) enum Json {
    /// An array of strings, with the place of each.
    Strings(Vec<Text>),
    /// An array with something else in it; BuildKit refuses it.
    NotStrings,
    /// No JSON array: the shell form.
    No,
}

/// Reads the JSON form where the text is one.
pub(super) fn json_array(rest: &Slice<'_>) -> Json {
    let text = rest.as_str();
    if !text.trim_start().starts_with('[') {
        return Json::No;
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text.trim()) else { return Json::No };
    let mut places = string_tokens(text).into_iter();
    let mut strings = Vec::with_capacity(values.len());
    for value in values {
        let serde_json::Value::String(value) = value else { return Json::NotStrings };
        let span = places.next().map_or(rest.span(), |range| rest.sub(range).span());
        strings.push(Text { value, span });
    }
    Json::Strings(strings)
}

/// The ranges of the string tokens of a valid JSON text, quotes included.
fn string_tokens(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut tokens = Vec::new();
    let mut start = None;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match (start, byte) {
            (None, b'"') => start = Some(at),
            (Some(_), _) if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(from), b'"') => {
                tokens.push(from..at + 1);
                start = None;
            }
            _ => {}
        }
    }
    tokens
}
