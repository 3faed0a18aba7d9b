//! Expressions in braces: `{{name}}`, `{{name 'argument' key='value'}}`, `{{{name}}}`. The part of Handlebars that tag
//! rules use, without its HTML escapes.
use super::Error;

/// A parsed text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Call(Call),
}

/// What stands between braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) arguments: Vec<String>,
    pub(super) options: Vec<(String, String)>,
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |problem: String| Error::Expression { template: text.to_owned(), problem };
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("{{") {
            if start > 0 {
                parts.push(Part::Text(rest[..start].to_owned()));
            }
            let (open, close) = if rest[start..].starts_with("{{{") { ("{{{", "}}}") } else { ("{{", "}}") };
            let inner = &rest[start + open.len()..];
            let end = inner.find(close).ok_or_else(|| wrong(format!("`{open}` is not closed by `{close}`")))?;
            parts.push(Part::Call(call(inner[..end].trim()).map_err(wrong)?));
            rest = &inner[end + close.len()..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// Puts in what `value` says for each expression.
    pub(super) fn render(&self, mut value: impl FnMut(&Call) -> Result<String, String>) -> Result<String, Error> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Call(call) => {
                    let value = value(call);
                    out.push_str(&value.map_err(|problem| Error::Expression { template: self.text.clone(), problem })?);
                }
            }
        }
        Ok(out)
    }

    /// Whether this is `{{name}}` and nothing else.
    pub(super) fn is_only(&self, name: &str) -> bool {
        matches!(&self.parts[..], [Part::Call(call)] if call.name == name)
    }
}

fn call(text: &str) -> Result<Call, String> {
    if text.starts_with(['#', '/', '>', '!', '&', '^', '*']) || text == "else" {
        return Err(format!(
            "`{{{{{text}}}}}` is no simple expression; blocks, partials and comments are not supported"
        ));
    }
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (key, tail) = match rest.find(['=', ' ', '\'', '"']) {
            Some(at) if rest[at..].starts_with('=') => (Some(&rest[..at]), &rest[at + 1..]),
            _ => (None, rest),
        };
        let quote = tail.chars().next().filter(|c| matches!(c, '\'' | '"'));
        let (word, tail) = match quote {
            Some(quote) => tail[1..].split_once(quote).ok_or_else(|| format!("a quote is not closed in `{text}`"))?,
            None => tail.split_once(char::is_whitespace).unwrap_or((tail, "")),
        };
        words.push((key, word.to_owned(), quote.is_some()));
        rest = tail.trim_start();
    }
    let mut words = words.into_iter();
    let name = match words.next() {
        Some((None, name, false)) if !name.is_empty() => name,
        _ => return Err(format!("`{{{{{text}}}}}` does not begin with a name")),
    };
    let (mut arguments, mut options) = (Vec::new(), Vec::new());
    for (key, word, _) in words {
        match key {
            Some(key) => options.push((key.to_owned(), word)),
            None => arguments.push(word),
        }
    }
    Ok(Call { name, arguments, options })
}
