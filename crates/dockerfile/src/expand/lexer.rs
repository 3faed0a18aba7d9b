//! One pass over a text that builds the expanded value and its words at the same time.
use super::{Env, ExpandError, Expander, MAX_DEPTH, MAX_GROWTH, Problem, pattern::Pattern};
use std::collections::BTreeSet;
use std::ops::Range;

/// All that one pass finds out.
pub(super) struct Done {
    pub(super) value: String,
    pub(super) words: Vec<Word>,
    pub(super) used: BTreeSet<String>,
    pub(super) unmatched: BTreeSet<String>,
}

/// A word and where it stands in the text.
pub(super) struct Word {
    pub(super) text: String,
    pub(super) range: Range<usize>,
}

pub(super) fn run(options: Expander, text: &str, env: Env<'_>) -> Result<Done, ExpandError> {
    let limit = text.len() + MAX_GROWTH;
    let mut lexer =
        Lexer { options, text, at: 0, env, depth: 0, limit, used: BTreeSet::new(), unmatched: BTreeSet::new() };
    match lexer.until(None, options.raw_escapes) {
        Ok((value, words)) => Ok(Done { value, words, used: lexer.used, unmatched: lexer.unmatched }),
        Err(problem) => Err(ExpandError { word: text.to_owned(), problem }),
    }
}

struct Lexer<'a> {
    options: Expander,
    text: &'a str,
    at: usize,
    env: Env<'a>,
    depth: usize,
    /// How long a result may be.
    limit: usize,
    used: BTreeSet<String>,
    unmatched: BTreeSet<String>,
}

/// Splits what is added to it into words.
#[derive(Default)]
struct Words {
    done: Vec<Word>,
    word: String,
    start: Option<usize>,
}

impl Words {
    /// A character that separates words where it is a blank. `start` is where it came from.
    fn add(&mut self, c: char, start: usize) {
        if c.is_whitespace() { self.finish(start) } else { self.add_plain(c, start) }
    }

    fn add_plain(&mut self, c: char, start: usize) {
        self.start.get_or_insert(start);
        self.word.push(c);
    }

    /// Text of quotes: it belongs to the word whatever it holds.
    fn add_quoted(&mut self, text: &str, start: usize) {
        self.start.get_or_insert(start);
        self.word.push_str(text);
    }

    /// Ends the word. An empty one (`""`) is no word.
    fn finish(&mut self, end: usize) {
        if !self.word.is_empty() {
            let start = self.start.take().unwrap_or(end);
            self.done.push(Word { text: std::mem::take(&mut self.word), range: start..end });
        }
    }
}

impl Lexer<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// Expands up to a stop character (which is eaten) or, without one, to the end.
    fn until(&mut self, stop: Option<char>, raw_escapes: bool) -> Result<(String, Vec<Word>), Problem> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Problem::TooDeep);
        }
        let before = std::mem::replace(&mut self.options.raw_escapes, raw_escapes);
        let result = self.until_inner(stop);
        self.options.raw_escapes = before;
        self.depth -= 1;
        result
    }

    fn until_inner(&mut self, stop: Option<char>) -> Result<(String, Vec<Word>), Problem> {
        let mut value = String::new();
        let mut words = Words::default();
        loop {
            let start = self.at;
            let Some(c) = self.peek() else { break };
            if Some(c) == stop {
                self.next();
                words.finish(start);
                return Ok((value, words.done));
            }
            match c {
                '$' => {
                    let text = self.dollar(value.len())?;
                    value.push_str(&text);
                    text.chars().for_each(|c| words.add(c, start));
                }
                '\'' | '"' if !self.options.plain_quotes => {
                    let text = if c == '"' { self.double_quoted()? } else { self.single_quoted()? };
                    if value.len() + text.len() > self.limit {
                        return Err(Problem::TooLong);
                    }
                    value.push_str(&text);
                    words.add_quoted(&text, start);
                }
                _ => {
                    self.next();
                    if c != self.options.escape {
                        value.push(c);
                        words.add(c, start);
                        continue;
                    }
                    if self.options.raw_escapes {
                        value.push(c);
                        words.add_plain(c, start);
                    }
                    // An escape character at the very end is dropped.
                    let Some(escaped) = self.next() else { break };
                    value.push(escaped);
                    words.add_plain(escaped, start);
                }
            }
        }
        match stop {
            // The callers report the end of the text in their own words.
            Some('/') => Err(Problem::MissingSlash),
            Some(_) => Err(Problem::MissingBrace),
            None => {
                words.finish(self.at);
                Ok((value, words.done))
            }
        }
    }

    fn single_quoted(&mut self) -> Result<String, Problem> {
        let start = self.at;
        self.next();
        let Some(length) = self.text[self.at..].find('\'') else {
            self.at = self.text.len();
            return Err(Problem::UnclosedQuote("single"));
        };
        let inner = self.at..self.at + length;
        self.at = inner.end + 1;
        Ok(self.text[if self.options.raw_quotes { start..self.at } else { inner }].to_owned())
    }

    fn double_quoted(&mut self) -> Result<String, Problem> {
        let mut result = String::new();
        self.next();
        if self.options.raw_quotes {
            result.push('"');
        }
        loop {
            match self.peek() {
                None => return Err(Problem::UnclosedQuote("double")),
                Some('"') => {
                    self.next();
                    if self.options.raw_quotes {
                        result.push('"');
                    }
                    return Ok(result);
                }
                Some('$') => result.push_str(&self.dollar(result.len())?),
                Some(c) => {
                    self.next();
                    if c != self.options.escape {
                        result.push(c);
                        continue;
                    }
                    if self.options.raw_escapes {
                        result.push(c);
                    }
                    match self.peek() {
                        None => {}
                        Some(next) if next == '"' || next == '$' || next == c => {
                            self.next();
                            result.push(next);
                        }
                        // Before another character it is an ordinary one (kept twice in the raw
                        // form, as BuildKit does).
                        Some(_) => result.push(c),
                    }
                }
            }
        }
    }

    /// `$…`: the value, or `$` where no name follows.
    fn dollar(&mut self, before: usize) -> Result<String, Problem> {
        let value = self.dollar_inner()?;
        if before + value.len() > self.limit { Err(Problem::TooLong) } else { Ok(value) }
    }

    fn dollar_inner(&mut self) -> Result<String, Problem> {
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.get(&name) {
                None if self.options.keep_undefined => format!("${name}"),
                value => value.unwrap_or_default(),
            });
        }
        self.next();
        match self.peek() {
            None => return Err(Problem::MissingBrace),
            Some('{' | '}' | ':') => return Err(Problem::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        let Some(operator) = self.next() else { return Err(Problem::MissingBrace) };
        match operator {
            '}' => Ok(match self.get(&name) {
                None if self.options.keep_undefined => format!("${{{name}}}"),
                value => value.unwrap_or_default(),
            }),
            ':' => {
                let operator = self.next().ok_or(Problem::MissingBrace)?;
                self.operator(&name, operator, true)
            }
            '+' | '-' | '?' | '#' | '%' => self.operator(&name, operator, false),
            '/' => self.replace(&name),
            other => Err(Problem::UnsupportedModifier(other.to_string())),
        }
    }

    fn operator(&mut self, name: &str, operator: char, empty_is_unset: bool) -> Result<String, Problem> {
        let is_pattern = matches!(operator, '#' | '%');
        let (word, _) = self.until(Some('}'), is_pattern)?;
        let colon = if empty_is_unset { ":" } else { "" };
        let value = self.get(name);
        if self.options.keep_undefined && value.is_none() {
            return Ok(format!("${{{name}{colon}{operator}{word}}}"));
        }
        let missing = match &value {
            None => true,
            Some(value) => empty_is_unset && value.is_empty(),
        };
        match operator {
            '-' => Ok(value.filter(|_| !missing).unwrap_or(word)),
            '+' => Ok(if missing { String::new() } else { word }),
            '?' if missing => {
                let default = if value.is_none() { "is not allowed to be unset" } else { "is not allowed to be empty" };
                let message = if word.is_empty() { default.to_owned() } else { word };
                Err(Problem::Required { name: name.to_owned(), message })
            }
            '?' => Ok(value.unwrap_or_default()),
            '#' | '%' => {
                let value = value.unwrap_or_default();
                let (text, longest) = match word.strip_prefix(operator) {
                    Some(rest) => (rest, true),
                    None => (word.as_str(), false),
                };
                let pattern = Pattern::parse(text)?;
                Ok(if operator == '#' {
                    pattern.trim_start(&value, longest)
                } else {
                    pattern.trim_end(&value, longest)
                })
            }
            other => Err(Problem::UnsupportedModifier(format!("{colon}{other}"))),
        }
    }

    /// `${NAME/pattern/replacement}` and `${NAME//pattern/replacement}`.
    fn replace(&mut self, name: &str) -> Result<String, Problem> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let (pattern, _) = self.until(Some('/'), true)?;
        let (replacement, _) = self.until(Some('}'), true)?;
        match self.get(name) {
            None if self.options.keep_undefined => Ok(format!("${{{name}/{pattern}/{replacement}}}")),
            value => {
                let pattern = Pattern::parse(&pattern)?;
                pattern.replace(&value.unwrap_or_default(), &replacement, all, self.limit).ok_or(Problem::TooLong)
            }
        }
    }

    /// A name: letters, digits and `_`; or digits alone; or one special parameter such as `@`.
    fn name(&mut self) -> String {
        let start = self.at;
        match self.peek() {
            Some(c) if is_digit(c) => {
                while self.peek().is_some_and(is_digit) {
                    self.next();
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => {
                self.next();
            }
            _ => {
                while self.peek().is_some_and(|c| c == '_' || is_letter(c) || is_digit(c)) {
                    self.next();
                }
            }
        }
        self.text[start..self.at].to_owned()
    }

    fn get(&mut self, name: &str) -> Option<String> {
        let value = (self.env)(name);
        let set = if value.is_some() { &mut self.used } else { &mut self.unmatched };
        set.insert(name.to_owned());
        value
    }
}

fn is_letter(c: char) -> bool {
    c.is_alphabetic()
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}
