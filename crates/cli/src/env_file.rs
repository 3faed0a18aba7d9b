//! `--env-file`: variables from a file, in the shell's notation, without a shell.
//!
//! ```text
//! # a comment
//! export GITHUB_TOKEN='as it is: $ and \ mean nothing'
//! NAME="with \" and $OTHER or ${OTHER:-what where OTHER is not set}"
//! PLAIN=up/to/the/blank   # a comment
//! ```
//!
//! What `source` would run (`$(…)`, backquotes) is refused. No message shows a value, nor a line that cannot be read: it
//! may be a token that was pasted without its name. A variable of the environment that is not empty stays as it is.
use std::collections::BTreeMap;
use std::path::Path;

use crate::env::Env;
use crate::error::{CliError, Result};

/// The largest file that is read.
const LARGEST: u64 = 1 << 20;

/// The environment with the variables of these files laid under it, later files over earlier ones.
pub(crate) fn load(env: &Env, files: &[std::path::PathBuf]) -> Result<Env> {
    let mut from_files = BTreeMap::new();
    for file in files {
        let path = env.path(file);
        let text = read(&path, file)?;
        let given = |name: &str, files: &BTreeMap<String, String>| {
            env.get(name).map(str::to_owned).or_else(|| files.get(name).cloned())
        };
        parse(&text, &mut from_files, &given).map_err(|(line, what, hint)| {
            let error = CliError::usage(format!("{}:{line}: {what}", file.display()));
            if hint.is_empty() { error } else { error.hint(hint) }
        })?;
    }
    let mut env = env.clone();
    for (name, value) in from_files {
        if env.get(&name).is_none() {
            env.vars.insert(name, value);
        }
    }
    Ok(env)
}

fn read(path: &Path, shown: &Path) -> Result<String> {
    use std::io::Read as _;
    let fail = |why: String| CliError::usage(format!("cannot read --env-file {}: {why}", shown.display()));
    let file = std::fs::File::open(path).map_err(|e| fail(crate::error::plain_io(&e)))?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|e| fail(crate::error::plain_io(&e)))?;
    if bytes.len() as u64 > LARGEST {
        return Err(fail("it is larger than 1 MiB".into()));
    }
    let text = String::from_utf8(bytes).map_err(|_| fail("it is no UTF-8 text".into()))?;
    Ok(text.trim_start_matches('\u{feff}').replace("\r\n", "\n"))
}

/// What is wrong: line, what, what to do.
type Wrong = (usize, String, String);

/// Looks a variable up, with what the files have given so far.
type Look<'l> = &'l dyn Fn(&str, &BTreeMap<String, String>) -> Option<String>;

fn parse(text: &str, vars: &mut BTreeMap<String, String>, given: Look<'_>) -> std::result::Result<(), Wrong> {
    let mut reader = Reader { chars: text.chars().peekable(), line: 1 };
    loop {
        reader.blanks(true);
        match reader.chars.peek() {
            None => return Ok(()),
            Some('#') => reader.comment(),
            Some(_) => {
                let line = reader.line;
                let mut name = reader.name();
                if name == "export" && matches!(reader.chars.peek(), Some(' ' | '\t')) {
                    reader.blanks(false);
                    name = reader.name();
                }
                if name.is_empty() || reader.chars.next() != Some('=') {
                    let hint = "write NAME=VALUE; names have letters, digits and _; a comment begins with #";
                    return Err((line, "this is no variable".into(), hint.into()));
                }
                let look = |other: &str| given(other, vars);
                let value = reader.value(&name, &look)?;
                vars.insert(name, value);
            }
        }
    }
}

struct Reader<'t> {
    chars: std::iter::Peekable<std::str::Chars<'t>>,
    line: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.chars.next();
        if c == Some('\n') {
            self.line += 1;
        }
        c
    }

    fn blanks(&mut self, breaks: bool) {
        while self.chars.peek().is_some_and(|c| matches!(c, ' ' | '\t') || (breaks && *c == '\n')) {
            self.next();
        }
    }

    fn comment(&mut self) {
        while self.chars.peek().is_some_and(|c| *c != '\n') {
            self.next();
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.chars.peek() {
            if !(c.is_ascii_alphabetic() || *c == '_' || (!name.is_empty() && c.is_ascii_digit())) {
                break;
            }
            name.push(*c);
            self.next();
        }
        name
    }

    /// From behind the `=` to the end of the line.
    fn value(&mut self, name: &str, look: &dyn Fn(&str) -> Option<String>) -> std::result::Result<String, Wrong> {
        let mut value = String::new();
        let fail = |line: usize, what: &str, hint: &str| Err((line, format!("{name}: {what}"), hint.to_owned()));
        loop {
            let line = self.line;
            match self.chars.peek().copied() {
                None | Some('\n') => return Ok(value),
                Some(' ' | '\t') => {
                    self.blanks(false);
                    return match self.chars.peek() {
                        None | Some('\n') => Ok(value),
                        Some('#') => {
                            self.comment();
                            Ok(value)
                        }
                        Some(_) => fail(line, "the value has blanks in it", "put it between ' and '"),
                    };
                }
                Some('\'') => {
                    self.next();
                    loop {
                        match self.next() {
                            Some('\'') => break,
                            Some(c) => value.push(c),
                            None => return fail(line, "the ' that begins here has no end", ""),
                        }
                    }
                }
                Some('"') => {
                    self.next();
                    loop {
                        match self.next() {
                            Some('"') => break,
                            Some('\\') => match self.next() {
                                Some('\n') => {}
                                Some(c @ ('$' | '`' | '"' | '\\')) => value.push(c),
                                Some(c) => value.extend(['\\', c]),
                                None => return fail(line, "the \" that begins here has no end", ""),
                            },
                            Some('$') => value.push_str(&self.variable(name, look)?),
                            Some('`') => return fail(self.line, COMMAND, COMMAND_HINT),
                            Some(c) => value.push(c),
                            None => return fail(line, "the \" that begins here has no end", ""),
                        }
                    }
                }
                Some('\\') => {
                    self.next();
                    if let Some(c) = self.next().filter(|c| *c != '\n') {
                        value.push(c);
                    }
                }
                Some('$') => {
                    self.next();
                    value.push_str(&self.variable(name, look)?);
                }
                Some('`') => return fail(line, COMMAND, COMMAND_HINT),
                Some(';' | '&' | '|' | '<' | '>' | '(' | ')') => {
                    return fail(line, "a shell would not take this value as it is", "put it between ' and '");
                }
                Some(c) => {
                    self.next();
                    value.push(c);
                }
            }
        }
    }

    /// From behind a `$`.
    fn variable(&mut self, of: &str, look: &dyn Fn(&str) -> Option<String>) -> std::result::Result<String, Wrong> {
        let line = self.line;
        let fail = |what: &str, hint: &str| Err((line, format!("{of}: {what}"), hint.to_owned()));
        match self.chars.peek() {
            Some('(') => fail(COMMAND, COMMAND_HINT),
            Some('{') => {
                self.next();
                let name = self.name();
                let mut rest = String::new();
                loop {
                    match self.next() {
                        Some('}') => break,
                        Some('\n') | None => return fail("the ${ that begins here has no }", ""),
                        Some(c) => rest.push(c),
                    }
                }
                let usual = rest.strip_prefix(":-").or(rest.strip_prefix('-')).map(str::to_owned);
                if name.is_empty() || (usual.is_none() && !rest.is_empty()) || rest.contains(['$', '`', '\'', '"']) {
                    return fail("only ${NAME} and ${NAME:-TEXT} are understood", "put a text with $ between ' and '");
                }
                Ok(look(&name).filter(|value| !value.is_empty()).or(usual).unwrap_or_default())
            }
            _ => match self.name() {
                name if name.is_empty() => Ok("$".into()),
                name => Ok(look(&name).unwrap_or_default()),
            },
        }
    }
}

const COMMAND: &str = "the value would be the output of a command, and none is run";
const COMMAND_HINT: &str = "set the variable in the shell, or put the value between ' and ' if it is meant as it is";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> std::result::Result<BTreeMap<String, String>, Wrong> {
        let mut vars = BTreeMap::new();
        let env = |name: &str, vars: &BTreeMap<String, String>| match name {
            "HOME" => Some("/home/me".to_owned()),
            other => vars.get(other).cloned(),
        };
        parse(text, &mut vars, &env).map(|()| vars)
    }

    #[test]
    fn as_a_shell_reads_it() {
        // Each line with what `sh -c '. FILE; printf %s "$A"'` gives.
        for (line, value) in [
            ("A=plain", "plain"),
            ("  export A=x#y # comment", "x#y"),
            ("A=", ""),
            ("A='$HOME \\n \"q\"'", "$HOME \\n \"q\""),
            ("A=\"$HOME/${B:-b c} \\$x \\n \\\"q\\\"\"", "/home/me/b c $x \\n \"q\""),
            ("A=$HOME'/a b'\"c\"\\ d", "/home/me/a bc d"),
            ("B=1\nA=${B}2$B", "121"),
            ("A='two\nlines'", "two\nlines"),
            ("A=\"one \\\nline\"", "one line"),
            ("A=a=b==", "a=b=="),
            ("A=cost$", "cost$"),
            ("A=1\n\n# x\nA=2", "2"),
        ] {
            assert_eq!(read(line).unwrap()["A"], value, "{line}");
        }
    }

    #[test]
    fn what_a_shell_would_run_is_refused_and_no_value_is_told() {
        for text in [
            "A=$(s3cret)",
            "A=`s3cret`",
            "A=\"$(s3cret)\"",
            "ghp_s3cret",
            "A=s3cret b",
            "\nA='s3cret",
            "A=\"s3cret",
            "A=s3cret;ls",
            "A=${s3cret",
            "A=${B/s3cret}",
            "s3-cret=1",
            "A = s3cret",
            "A=${B:-$s3cret}",
        ] {
            let (line, what, hint) = read(text).unwrap_err();
            assert!(line >= 1 && !format!("{what}{hint}").contains("s3cret"), "{text}: {what}; {hint}");
        }
        assert_eq!(read("A=1\n\nB='x\ny\n'\nC").unwrap_err().0, 6);
    }
}
