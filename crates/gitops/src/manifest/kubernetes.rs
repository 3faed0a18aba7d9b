//! Kubernetes manifests: the images of containers, whatever object holds them (Pod, Deployment, CronJob, List,
//! custom resources with pod templates).
use crate::image::{ImageRef, ImageUpdate, same_name};
use crate::yaml::edit::{Editor, Place};
use crate::yaml::{Error, tree};

/// Which containers are meant. What is not given holds for all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// The image's name, without tag and digest.
    pub image: Option<String>,
    /// The container's name.
    pub container: Option<String>,
    /// The object's kind.
    pub kind: Option<String>,
    /// The object's `metadata.name`.
    pub object: Option<String>,
}

/// Updates the images of the containers, init containers and ephemeral containers that `select` means.
///
/// # Errors
/// [`Error::NotFound`] where there is none, naming the images that are there; see [`crate::manifest`].
pub fn set_image(text: &str, select: &Selector, update: &ImageUpdate) -> Result<String, Error> {
    update.check()?;
    let stream = tree::parse(text)?;
    let mut edit = Editor::new(text, &stream);
    let (mut found, mut seen) = (false, Vec::new());
    for place in containers(&stream, select) {
        let Some(image) = place.get("image") else { continue };
        let Some(old) = image.node.scalar() else { continue };
        let name = ImageRef::split(old).name;
        seen.push(name);
        if select.image.as_deref().is_none_or(|wanted| same_name(wanted, name)) {
            edit.set(&image, &update.apply(old))?;
            found = true;
        }
    }
    if !found {
        let what = format!("a container {}", describe(select));
        return Err(Error::not_found(what, seen));
    }
    edit.finish()
}

/// The images of all containers that `select` means, in the order of the text.
///
/// # Errors
/// [`Error::Syntax`].
pub fn images(text: &str, select: &Selector) -> Result<Vec<String>, Error> {
    let stream = tree::parse(text)?;
    let images = containers(&stream, select).into_iter().filter_map(|place| place.get("image")?.node.scalar());
    let wanted = |image: &&str| select.image.as_deref().is_none_or(|name| same_name(name, ImageRef::split(image).name));
    Ok(images.filter(wanted).map(str::to_owned).collect())
}

fn describe(select: &Selector) -> String {
    let parts = [
        select.image.as_ref().map(|image| format!("with the image `{image}`")),
        select.container.as_ref().map(|name| format!("called `{name}`")),
        (select.kind.is_some() || select.object.is_some()).then(|| {
            let kind = select.kind.as_deref().unwrap_or("object");
            format!("of {kind} `{}`", select.object.as_deref().unwrap_or("*"))
        }),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// The mappings that describe the containers of all objects.
fn containers<'s>(stream: &'s tree::Stream, select: &Selector) -> Vec<Place<'s>> {
    let mut found = Vec::new();
    for root in Place::roots(stream) {
        // A List's items are objects of their own.
        let is_list =
            root.get("kind").is_some_and(|kind| kind.node.scalar().is_some_and(|kind| kind.ends_with("List")));
        let objects = match root.get("items") {
            Some(items) if is_list => items.items(),
            _ => vec![root],
        };
        for object in objects {
            let kind = object.get("kind").and_then(|kind| kind.node.scalar());
            let name = object.get("metadata").and_then(|meta| meta.get("name")).and_then(|name| name.node.scalar());
            let is = |wanted: &Option<String>, there: Option<&str>| wanted.as_deref().is_none_or(|w| there == Some(w));
            if is(&select.kind, kind) && is(&select.object, name) {
                search(&object, select, &mut found);
            }
        }
    }
    found
}

fn search<'s>(place: &Place<'s>, select: &Selector, found: &mut Vec<Place<'s>>) {
    for (key, value) in place.values() {
        if matches!(key, "containers" | "initContainers" | "ephemeralContainers") {
            let named =
                |item: &Place<'_>| item.get("name").and_then(|name| name.node.scalar()) == select.container.as_deref();
            found.extend(value.items().into_iter().filter(|item| select.container.is_none() || named(item)));
        } else {
            search(&value, select, found);
        }
    }
    for item in place.items() {
        search(&item, select, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Pin;

    const TEXT: &str = "\
# two objects
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec:
      initContainers:
      - name: migrate
        image: ghcr.io/o/web:1 # same
      containers:
        - image: \"ghcr.io/o/web:1\"
          name: web
        - {name: side, image: 'nginx'}
---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: job
spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: web, image: ghcr.io/o/web:1}]}}}}}
";

    fn set(select: Selector, tag: &str) -> Result<String, String> {
        let update = ImageUpdate { name: None, pin: Pin::Tag(tag.into()) };
        set_image(TEXT, &select, &update).map_err(|error| error.to_string())
    }

    #[test]
    fn containers_of_every_object() {
        let web = || Selector { image: Some("ghcr.io/o/web".into()), ..Selector::default() };
        assert_eq!(set(web(), "2").unwrap(), TEXT.replace("web:1", "web:2"));
        let one = Selector { object: Some("web".into()), container: Some("migrate".into()), ..web() };
        assert_eq!(set(one, "2").unwrap(), TEXT.replacen("web:1", "web:2", 1));
        let job = Selector { kind: Some("CronJob".into()), ..web() };
        assert_eq!(set(job, "2").unwrap(), TEXT.replace("image: ghcr.io/o/web:1}", "image: ghcr.io/o/web:2}"));
        let side = Selector { image: Some("docker.io/library/nginx".into()), ..Selector::default() };
        assert_eq!(set(side, "1.27").unwrap(), TEXT.replace("'nginx'", "'nginx:1.27'"));
        assert_eq!(images(TEXT, &Selector::default()).unwrap().len(), 4);
        assert_eq!(
            set(Selector { image: Some("api".into()), ..Selector::default() }, "2").unwrap_err(),
            "a container with the image `api` is not there; there are ghcr.io/o/web, nginx"
        );
    }
}
