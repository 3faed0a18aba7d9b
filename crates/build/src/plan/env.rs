//! An ordered set of variables, as an image config and a shell have it.

/// `NAME` to value, in the order of first assignment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Env(Vec<(String, String)>);

impl Env {
    /// From `NAME=value` strings.
    pub(crate) fn from_strings<'a>(list: impl IntoIterator<Item = &'a String>) -> Self {
        let mut env = Self::default();
        for text in list {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            env.set(name, value);
        }
        env
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }
}
