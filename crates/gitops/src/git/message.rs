//! Who commits, and what the message says.
use crate::tags::expand;
use std::collections::BTreeMap;
use std::fmt;

/// A name and an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The name.
    pub name: String,
    /// The e-mail address.
    pub email: String,
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} <{}>", self.name, self.email)
    }
}

impl Person {
    /// Reads `Name <address>`.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, email) = text.trim().strip_suffix('>')?.rsplit_once('<')?;
        let (name, email) = (name.trim(), email.trim());
        let good =
            !name.is_empty() && !email.is_empty() && !text.contains(['\n', '\r', '\0']) && !name.contains(['<', '>']);
        good.then(|| Self { name: name.to_owned(), email: email.to_owned() })
    }
}

/// Puts values into a template: `{{image}}: {{version}}`.
///
/// # Errors
/// A text that names what is unknown and what there is.
pub fn render(template: &str, values: &BTreeMap<&str, String>) -> Result<String, String> {
    expand(template, values)
}

/// The message with a `Signed-off-by` trailer, once.
pub fn sign_off(message: &str, person: &Person) -> String {
    let message = message.trim_end();
    let trailer = format!("Signed-off-by: {person}");
    if message.lines().any(|line| line == trailer) {
        return message.to_owned();
    }
    // A last paragraph of trailers is continued; anything else gets a new paragraph.
    let trailers = message.rsplit_once("\n\n").is_some_and(|(_, last)| {
        last.lines().all(|line| line.split_once(": ").is_some_and(|(key, _)| !key.is_empty() && !key.contains(' ')))
    });
    format!("{message}\n{}{trailer}", if trailers { "" } else { "\n" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        let ann = Person::parse("Ann B. <ann@example.org>").unwrap();
        let signed = "Signed-off-by: Ann B. <ann@example.org>";
        assert_eq!(sign_off("a: b\n", &ann), format!("a: b\n\n{signed}"));
        assert_eq!(sign_off("a\n\nb c\n\nRefs: 1\n", &ann), format!("a\n\nb c\n\nRefs: 1\n{signed}"));
        assert_eq!(sign_off(&sign_off("a", &ann), &ann), format!("a\n\n{signed}"));
        for no in ["ann", "<a@b>", "Ann <>", "Ann\n<a@b>", "A <b> <c>"] {
            assert_eq!(Person::parse(no), None, "{no}");
        }
        let values = BTreeMap::from([("image", "web".to_owned()), ("version", "1.2".to_owned())]);
        assert_eq!(render("{{image}}: {{ version }}", &values).unwrap(), "web: 1.2");
        assert_eq!(
            render("{{imge}}", &values).unwrap_err(),
            "`{{imge}}`: `imge` is unknown here; did you mean `image`?"
        );
    }
}
