//! Path expressions for values: `image.tag`, `.services[0].image`, `services[name=api].image.tag`,
//! `"dotted.key".tag`.
use super::Error;
use super::edit::{Editor, Place};
use super::tree::{Kind, parse};
use std::fmt;
use std::str::FromStr;

/// A parsed path expression. `Display` gives the text that was parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    text: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Item(usize),
    Where(String, String),
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Path {
    type Err = Error;

    /// Keys are separated by dots; `[N]` takes an item, `[key=value]` the item whose `key` is `value`,
    /// `["key"]` or `"key"` a key with any characters. A leading dot or `$.` is allowed.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |problem: &str| Error::Path { path: text.to_owned(), problem: problem.to_owned() };
        let mut rest = text.strip_prefix('$').unwrap_or(text);
        rest = rest.strip_prefix('.').unwrap_or(rest);
        let mut steps = Vec::new();
        let mut first = true;
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('[') {
                let (step, tail) = if inner.starts_with(['"', '\'']) {
                    let (key, tail) = quoted(inner).ok_or_else(|| wrong("a quote is not closed"))?;
                    (Step::Key(key), tail.strip_prefix(']').ok_or_else(|| wrong("a bracket is not closed"))?)
                } else {
                    let (inner, tail) = inner.split_once(']').ok_or_else(|| wrong("a bracket is not closed"))?;
                    (bracket(inner).ok_or_else(|| wrong("brackets hold a number, `key=value` or a quoted key"))?, tail)
                };
                steps.push(step);
                rest = tail;
            } else {
                if !first {
                    rest = rest.strip_prefix('.').ok_or_else(|| wrong("a dot is missing between two keys"))?;
                }
                let (key, tail) = if rest.starts_with(['"', '\'']) {
                    quoted(rest).ok_or_else(|| wrong("a quote is not closed"))?
                } else {
                    let end = rest.find(['.', '[']).unwrap_or(rest.len());
                    (rest[..end].to_owned(), &rest[end..])
                };
                if key.is_empty() {
                    return Err(wrong("a key is empty"));
                }
                steps.push(Step::Key(key));
                rest = tail;
            }
            first = false;
        }
        if steps.is_empty() {
            return Err(wrong("it is empty; write for example `image.tag`"));
        }
        Ok(Self { text: text.to_owned(), steps })
    }
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next()?;
    let end = text[1..].find(quote)? + 1;
    Some((text[1..end].to_owned(), &text[end + 1..]))
}

fn bracket(inner: &str) -> Option<Step> {
    if let Ok(number) = inner.parse() {
        return Some(Step::Item(number));
    }
    let (key, value) = inner.split_once('=')?;
    (!key.is_empty()).then(|| Step::Where(key.to_owned(), value.trim_matches(['"', '\'']).to_owned()))
}

impl Path {
    /// The place that the path leads to from `root`.
    ///
    /// # Errors
    /// [`Error::NotFound`] with the step that leads nowhere and what is there; [`Error::Form`] where the path
    /// goes through an alias or stops at one value too early.
    pub fn find<'s>(&self, root: &Place<'s>) -> Result<Place<'s>, Error> {
        match self.walk(root)? {
            (place, []) => Ok(place),
            (place, [step, ..]) => Err(missing(&place, step, &self.text)),
        }
    }

    /// As far as the path leads, and the steps that are left.
    fn walk<'s>(&self, root: &Place<'s>) -> Result<(Place<'s>, &[Step]), Error> {
        let mut place = root.clone();
        for (number, step) in self.steps.iter().enumerate() {
            if let Kind::Alias { line, .. } = place.node.kind {
                let what = format!(
                    "`{}` goes through an alias; change the value at its anchor in line {line}, or write the values \
                     out here",
                    self.text
                );
                return Err(Error::Form { line: place.node.line, what });
            }
            let next = match step {
                Step::Key(key) => place.get(key),
                Step::Item(number) => place.items().into_iter().nth(*number),
                Step::Where(key, value) => {
                    place.items().into_iter().find(|item| item.get(key).is_some_and(|v| v.node.scalar() == Some(value)))
                }
            };
            match next {
                Some(next) => place = next,
                None => return Ok((place, &self.steps[number..])),
            }
        }
        Ok((place, &[]))
    }
}

fn missing(place: &Place<'_>, step: &Step, path: &str) -> Error {
    let what = match step {
        Step::Key(key) => format!("`{key}` of `{path}`"),
        Step::Item(number) => format!("item {number} of `{path}`"),
        Step::Where(key, value) => format!("an item with `{key}: {value}` of `{path}`"),
    };
    match &place.node.kind {
        Kind::Scalar { .. } if !place.node.is_null() => {
            Error::Form { line: place.node.line, what: format!("one value stands here; {what} cannot be inside it") }
        }
        _ if place.get("<<").is_some() => Error::NotFound {
            what,
            hint: "; it may come from the merge key `<<`: write it here, or name its place at the anchor".into(),
        },
        _ => {
            let items = place.items();
            let of = |key: &str| items.iter().filter_map(|item| item.get(key)?.node.scalar()).collect::<Vec<_>>();
            let mut names: Vec<&str> = place.keys().collect();
            if let Step::Where(key, _) = step {
                names.extend(of(key));
            }
            Error::not_found(what, names)
        }
    }
}

/// Sets the value at `path` in the first document that has it (Helm values have one). With `add`, a last key that
/// is missing is added to its mapping.
///
/// # Errors
/// As [`Path::find`] and [`Editor::finish`].
pub fn set(text: &str, path: &Path, value: &str, add: bool) -> Result<String, Error> {
    let stream = parse(text)?;
    let mut edit = Editor::new(text, &stream);
    let mut first = None;
    for root in Place::roots(&stream) {
        match path.walk(&root)? {
            (place, []) => {
                edit.set(&place, value)?;
                return edit.finish();
            }
            (place, [Step::Key(key)]) if add && place.node.entries().is_some() => {
                edit.insert(&place, "", key, value)?;
                return edit.finish();
            }
            (place, [step, ..]) => first = first.or_else(|| Some(missing(&place, step, &path.text))),
        }
    }
    Err(first.unwrap_or_else(|| Error::not_found(format!("`{path}`"), [])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(text: &str, path: &str, value: &str) -> Result<String, String> {
        let path = path.parse().map_err(|error: Error| error.to_string())?;
        set(text, &path, value, false).map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_found_by_path() {
        let text =
            "a:\n  - name: x\n    image: {tag: '1'} # one\n  - name: y\n    image:\n      tag: \"2\"\nb.c: 3 # three\n";
        let done = |path, value| put(text, path, value).unwrap();
        assert_eq!(done("a[0].image.tag", "9"), text.replace("'1'", "'9'"));
        assert_eq!(done(".a[name=y].image.tag", "9"), text.replace("\"2\"", "\"9\""));
        assert_eq!(done("$[\"b.c\"]", "v9"), text.replace(": 3 #", ": v9 #"));
        assert_eq!(done("'b.c'", "9"), text.replace(": 3 #", ": \"9\" #"));
        assert_eq!(done("a[0].image.tag", "1"), text);
    }

    #[test]
    fn what_is_not_there_is_said() {
        let text = "image:\n  repository: a\n  tag: b\nbase: &b\n  tag: c\nuse: *b\nmore:\n  <<: *b\n  x: 1\nlist: [{name: q}]\n";
        let error = |path| put(text, path, "x").unwrap_err();
        assert_eq!(error("image.tags"), "`tags` of `image.tags` is not there; there are repository, tag");
        assert_eq!(error("image.tag.x"), "line 3: one value stands here; `x` of `image.tag.x` cannot be inside it");
        assert_eq!(
            error("use.tag"),
            "line 6: `use.tag` goes through an alias; change the value at its anchor in line 5, or write the values out here"
        );
        assert_eq!(
            error("more.tag"),
            "`tag` of `more.tag` is not there; it may come from the merge key `<<`: write it here, or name its place at \
             the anchor"
        );
        assert_eq!(error("list[name=p]"), "an item with `name: p` of `list[name=p]` is not there; there are q");
        assert_eq!(error("image"), "line 2: a mapping or a list stands here, not one value; name the value inside it");
        assert_eq!(error("a..b"), "path `a..b`: a key is empty");
        assert_eq!(error(""), "path ``: it is empty; write for example `image.tag`");
        assert_eq!(error("a[x]"), "path `a[x]`: brackets hold a number, `key=value` or a quoted key");
        assert_eq!(error("a[0]b"), "path `a[0]b`: a dot is missing between two keys");
    }

    #[test]
    fn a_last_key_can_be_added() {
        let add =
            |text: &str, path: &str| set(text, &path.parse().unwrap(), "v1", true).map_err(|error| error.to_string());
        assert_eq!(add("image:\n  name: a # c\nx: 1", "image.tag").unwrap(), "image:\n  name: a # c\n  tag: v1\nx: 1");
        assert_eq!(add("image: {name: a}", "image.tag").unwrap(), "image: {name: a, tag: v1}");
        assert_eq!(add("image: {}", "image.tag").unwrap(), "image: {tag: v1}");
        assert_eq!(add("image:\r\n  name: a", "image.tag").unwrap(), "image:\r\n  name: a\r\n  tag: v1");
        assert_eq!(add("x: |+\n  a\n\n", "tag").unwrap(), "x: |+\n  a\n\ntag: v1\n");
        assert_eq!(
            add("image:\n  &a name: a\n  x: y\n", "image.tag").unwrap(),
            "image:\n  &a name: a\n  x: y\n  tag: v1\n"
        );
        // An alias stays what it is although its anchor is a line further down now.
        let aliases = "image:\n  name: a\nx: &x\n  y: z\nq: *x\n";
        assert_eq!(add(aliases, "image.tag").unwrap(), aliases.replace("name: a\n", "name: a\n  tag: v1\n"));
        assert!(add("x: 1\n", "image.tag").is_err());
    }
}
