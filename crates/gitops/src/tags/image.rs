//! The action's inputs `images` and `labels`: which repositories the tags are for, and what the image says of itself.
use super::compute::global;
use super::rule::{fields, lines};
use super::{Error, Event, suggestion};
use std::collections::BTreeMap;

/// What a forge says of the repository that is built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// Its name without owner.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Its page.
    pub url: String,
    /// The SPDX identifier of its licence.
    pub license: String,
}

/// The repositories of `images`, in lower case: names with commas or line breaks between them, or lines
/// `name=…,enable=…`. None stands there twice.
///
/// # Errors
/// [`Error::Image`], [`Error::Expression`].
pub fn images(text: &str, event: &Event) -> Result<Vec<String>, Error> {
    let mut names: Vec<String> = Vec::new();
    for line in lines(text) {
        let wrong = |problem: String| Error::Image { line: line.to_owned(), problem };
        let fields = fields(line).map_err(|problem| wrong(problem.into()))?;
        let mut found: Vec<String> = Vec::new();
        let (mut enabled, mut named) = (true, false);
        for field in fields {
            match field.split_once('=').map(|(key, value)| (key.trim().to_lowercase(), value.trim())) {
                None => found.push(field.trim().to_lowercase()),
                Some((key, value)) => match key.as_str() {
                    "name" => {
                        named = true;
                        found.push(value.to_lowercase());
                    }
                    "enable" => {
                        enabled = match global(value, event)?.as_str() {
                            "true" => true,
                            "false" => false,
                            other => {
                                return Err(wrong(format!("`enable` gives `{other}`; it must give true or false")));
                            }
                        };
                    }
                    _ => return Err(wrong(format!("`{key}` is unknown; {}", suggestion(&key, &["name", "enable"])))),
                },
            }
        }
        found.retain(|name| !name.is_empty());
        if found.is_empty() || (named && found.len() > 1) {
            return Err(wrong("a line has one `name=`, or names with commas between them".into()));
        }
        for name in found.into_iter().filter(|_| enabled) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    Ok(names)
}

/// The labels (or annotations) of OCI's image specification, and the lines `key=value` of `extra`, which win and may
/// have expressions. What is not known is left out, where the action writes an empty value.
///
/// # Errors
/// [`Error::Expression`].
pub fn labels(
    source: &Source,
    event: &Event,
    version: Option<&str>,
    extra: &str,
) -> Result<BTreeMap<String, String>, Error> {
    let mut labels = BTreeMap::new();
    let created = event.now.to_string();
    for (key, value) in [
        ("title", source.name.as_str()),
        ("description", &source.description),
        ("url", &source.url),
        ("source", &source.url),
        ("version", version.unwrap_or_default()),
        ("created", &created),
        ("revision", event.sha.as_deref().unwrap_or_default()),
        ("licenses", &source.license),
    ] {
        if !value.is_empty() {
            labels.insert(format!("org.opencontainers.image.{key}"), value.to_owned());
        }
    }
    for line in lines(extra) {
        let line = global(line, event)?;
        let (key, value) = line.split_once('=').unwrap_or((&line, ""));
        labels.insert(key.trim().to_owned(), value.to_owned());
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event { git_ref: "refs/heads/dev".into(), sha: Some("cafe".into()), ..Event::default() }
    }

    #[test]
    fn repositories() {
        let images = |text| images(text, &event()).map_err(|error| error.to_string());
        assert_eq!(images("Ghcr.io/O/App,o/app,o/APP\no/app").unwrap(), ["ghcr.io/o/app", "o/app"]);
        assert_eq!(
            images("name=a/b\nname=c/d,enable={{is_default_branch}}\n# x\nname=e/F,enable=true").unwrap(),
            ["a/b", "e/f"]
        );
        assert_eq!(images("").unwrap(), [""; 0]);
        assert_eq!(images("nmae=a").unwrap_err(), "images `nmae=a`: `nmae` is unknown; did you mean `name`?");
        assert!(images("name=a,enable=maybe").unwrap_err().contains("must give true or false"));
        assert!(images("enable=true").unwrap_err().contains("one `name=`"));
    }

    #[test]
    fn what_the_image_says_of_itself() {
        let source = Source { name: "app".into(), url: "https://github.com/o/app".into(), ..Source::default() };
        let extra = "org.opencontainers.image.title=My App\nteam={{branch}}=x\n# none";
        let labels = labels(&source, &event(), Some("1.2.3"), extra).unwrap();
        let lines: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(
            lines,
            [
                "org.opencontainers.image.created=1970-01-01T00:00:00Z",
                "org.opencontainers.image.revision=cafe",
                "org.opencontainers.image.source=https://github.com/o/app",
                "org.opencontainers.image.title=My App",
                "org.opencontainers.image.url=https://github.com/o/app",
                "org.opencontainers.image.version=1.2.3",
                "team=dev=x",
            ]
        );
    }
}
