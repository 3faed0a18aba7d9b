//! Runs a pattern over a path with all alternatives side by side.

/// One element of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// This character.
    Char(char),
    /// One character, not a slash.
    NameChar,
    /// Any number of characters, no slash.
    Name,
    /// A character of a class. A slash counts as any other.
    Class(Class),
    /// Nothing, or [`Token::InDirectories`], which always follows.
    Directories,
    /// Anything that ends with a slash.
    InDirectories,
    /// Anything.
    Anything,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) negated: bool,
    pub(super) ranges: Vec<(char, char)>,
}

impl Class {
    fn contains(&self, c: char) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != self.negated
    }
}

impl Token {
    pub(super) fn as_char(&self) -> Option<char> {
        match self {
            Token::Char(c) => Some(*c),
            _ => None,
        }
    }
}

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(super) struct Matcher {
    tokens: Vec<Token>,
    /// What every match starts and ends with.
    prefix: String,
    suffix: String,
}

impl Matcher {
    pub(super) fn new(tokens: Vec<Token>) -> Matcher {
        let prefix = tokens.iter().map_while(Token::as_char).collect();
        let mut suffix: Vec<char> = tokens.iter().rev().map_while(Token::as_char).collect();
        suffix.reverse();
        Matcher { prefix, suffix: suffix.into_iter().collect(), tokens }
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        path.starts_with(&self.prefix)
            && path.ends_with(&self.suffix)
            && self.run(path).is_some_and(|states| states.last() == Some(&true))
    }

    /// Whether some text that starts with this one matches.
    pub(super) fn may_match_after(&self, start: &str) -> bool {
        self.run(start).is_some()
    }

    /// The states that are reached at the end of a text: state `i` is in front of token `i`, the last one
    /// is behind all. `None` where none is.
    fn run(&self, text: &str) -> Option<Vec<bool>> {
        let count = self.tokens.len();
        let mut states = vec![false; count + 1];
        let mut next = states.clone();
        states[0] = true;
        self.skip(&mut states);
        for c in text.chars() {
            next.fill(false);
            let mut alive = false;
            for (i, token) in self.tokens.iter().enumerate() {
                if !states[i] {
                    continue;
                }
                let (stay, step) = match token {
                    Token::Char(expected) => (false, *expected == c),
                    Token::NameChar => (false, c != '/'),
                    Token::Name => (c != '/', false),
                    Token::Class(class) => (false, class.contains(c)),
                    Token::Directories => (false, false),
                    Token::InDirectories => (c != '\n', c == '/'),
                    Token::Anything => (c != '\n', false),
                };
                next[i] |= stay;
                next[i + 1] |= step;
                alive |= stay || step;
            }
            if !alive {
                return None;
            }
            std::mem::swap(&mut states, &mut next);
            self.skip(&mut states);
        }
        Some(states)
    }

    /// What need not match anything may be skipped. All moves go forwards, so one pass is enough.
    fn skip(&self, states: &mut [bool]) {
        for (i, token) in self.tokens.iter().enumerate() {
            match token {
                Token::Name | Token::Anything if states[i] => states[i + 1] = true,
                Token::Directories if states[i] => {
                    states[i + 1] = true;
                    states[i + 2] = true;
                }
                _ => {}
            }
        }
    }
}
