//! Argo CD's Applications (and the templates of ApplicationSets): `helm.parameters` and `kustomize.images` of
//! `spec.source` and `spec.sources`.
use crate::image::{ImageRef, ImageUpdate, same_name};
use crate::yaml::edit::{Editor, Place};
use crate::yaml::tree::Stream;
use crate::yaml::{Error, tree};

/// Sets a Helm parameter of the Applications called `application`, or of all in the text. Where the Application has
/// one source with `helm` and no such parameter, it is added.
///
/// # Errors
/// [`Error::NotFound`] where there is no such Application or source; see [`crate::manifest`].
pub fn set_parameter(text: &str, application: Option<&str>, name: &str, value: &str) -> Result<String, Error> {
    let stream = tree::parse(text)?;
    let mut edit = Editor::new(text, &stream);
    for sources in applications(&stream, application)? {
        let helms: Vec<Place<'_>> = sources.iter().filter_map(|source| source.get("helm")).collect();
        let parameters = helms.iter().filter_map(|helm| helm.get("parameters"));
        let items: Vec<Place<'_>> = parameters.flat_map(|list| list.items()).collect();
        let is = |item: &&Place<'_>| item.get("name").is_some_and(|it| it.node.scalar() == Some(name));
        let there: Vec<&Place<'_>> = items.iter().filter(is).collect();
        for item in &there {
            match item.get("value") {
                Some(old) => edit.set(&old, value)?,
                None => edit.insert(item, "name", "value", value)?,
            }
        }
        match (there.is_empty(), &helms[..]) {
            (false, _) => {}
            (true, [helm]) => match helm.get("parameters") {
                Some(list) => edit.push(&list, &[("name", name), ("value", value)])?,
                None => edit.insert_list(helm, "parameters", &[("name", name), ("value", value)])?,
            },
            (true, _) => {
                let names = items.iter().filter_map(|item| item.get("name")?.node.scalar());
                return Err(Error::not_found(format!("the Helm parameter `{name}`"), names));
            }
        }
    }
    edit.finish()
}

/// Sets what `kustomize.images` says of `image`: entries like `name:tag`, `name@digest` and `name=new:tag`. Where the
/// Application has one source with such a list and no entry for the image, it is added.
///
/// # Errors
/// As [`set_parameter`].
pub fn set_image(text: &str, application: Option<&str>, image: &str, update: &ImageUpdate) -> Result<String, Error> {
    update.check()?;
    let stream = tree::parse(text)?;
    let mut edit = Editor::new(text, &stream);
    for sources in applications(&stream, application)? {
        let lists = sources.iter().filter_map(|source| source.get("kustomize")?.get("images"));
        let lists: Vec<Place<'_>> = lists.collect();
        let (mut found, mut seen) = (false, Vec::new());
        for item in lists.iter().flat_map(Place::items) {
            let Some(old) = item.node.scalar() else { continue };
            let (alias, target) = old.split_once('=').map_or((None, old), |(alias, target)| (Some(alias), target));
            let name = ImageRef::split(alias.unwrap_or(target)).name;
            seen.push(name);
            if same_name(name, image) {
                edit.set(&item, &entry(name, alias, target, update))?;
                found = true;
            }
        }
        match (found, &lists[..]) {
            (true, _) => {}
            (false, [list]) => edit.push_scalar(list, &entry(image, None, image, update))?,
            (false, _) => return Err(Error::not_found(format!("`{image}` in `kustomize.images`"), seen)),
        }
    }
    edit.finish()
}

fn entry(name: &str, alias: Option<&str>, target: &str, update: &ImageUpdate) -> String {
    match (alias, &update.name) {
        (Some(alias), _) => format!("{alias}={}", update.apply(target)),
        (None, Some(new)) if !same_name(new, name) => format!("{name}={}", update.apply(target)),
        (None, _) => ImageUpdate { name: None, pin: update.pin.clone() }.apply(target),
    }
}

/// The sources of each Application that is meant.
fn applications<'s>(stream: &'s Stream, wanted: Option<&str>) -> Result<Vec<Vec<Place<'s>>>, Error> {
    let (mut found, mut seen) = (Vec::new(), Vec::new());
    for root in Place::roots(stream) {
        let kind = root.get("kind").and_then(|kind| kind.node.scalar());
        let name = root.get("metadata").and_then(|meta| meta.get("name")).and_then(|name| name.node.scalar());
        let spec = match kind {
            Some("Application") => root.get("spec"),
            Some("ApplicationSet") => root.get("spec").and_then(|spec| spec.get("template")?.get("spec")),
            _ => continue,
        };
        seen.extend(name);
        if let Some(spec) = spec.filter(|_| wanted.is_none() || wanted == name) {
            let many = spec.get("sources").map(|list| list.items()).unwrap_or_default();
            found.push(spec.get("source").into_iter().chain(many).collect());
        }
    }
    if found.is_empty() {
        let what = wanted.map_or("an Application".to_owned(), |name| format!("an Application called `{name}`"));
        return Err(Error::not_found(what, seen));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Pin;

    const TEXT: &str = "\
kind: Application
metadata:
  name: web
spec:
  source:
    helm:
      releaseName: web
      parameters:
      - name: image.tag   # the tag
        value: \"1.0\"
        forceString: true
---
kind: Application
metadata: {name: api}
spec:
  sources:
    - repoURL: x
      kustomize:
        images:
          - ghcr.io/o/api:1
          - 'old=ghcr.io/o/new:1'
";

    #[test]
    fn parameters() {
        let set = |app, name, value| set_parameter(TEXT, Some(app), name, value).map_err(|error| error.to_string());
        assert_eq!(set("web", "image.tag", "1.1").unwrap(), TEXT.replace("\"1.0\"", "\"1.1\""));
        assert_eq!(
            set("web", "image.name", "x").unwrap(),
            TEXT.replace("forceString: true\n", "forceString: true\n      - name: image.name\n        value: x\n")
        );
        assert_eq!(set("api", "image.tag", "1").unwrap_err(), "the Helm parameter `image.tag` is not there");
        assert_eq!(
            set("wep", "image.tag", "1").unwrap_err(),
            "an Application called `wep` is not there; there are api, web"
        );
        let text = "kind: Application\nmetadata: {name: a}\nspec: {source: {helm: {releaseName: a}}}\n";
        assert_eq!(
            set_parameter(text, None, "tag", "v1").unwrap(),
            text.replace("releaseName: a", "releaseName: a, parameters: [{name: tag, value: v1}]")
        );
    }

    #[test]
    fn kustomize_images() {
        let set = |image, name: Option<&str>| {
            let update = ImageUpdate { name: name.map(Into::into), pin: Pin::Tag("2".into()) };
            set_image(TEXT, Some("api"), image, &update).map_err(|error| error.to_string())
        };
        assert_eq!(set("ghcr.io/o/api", None).unwrap(), TEXT.replace("api:1", "api:2"));
        assert_eq!(set("old", None).unwrap(), TEXT.replace("new:1", "new:2"));
        assert_eq!(
            set("ghcr.io/o/api", Some("q/r")).unwrap(),
            TEXT.replace("- ghcr.io/o/api:1", "- ghcr.io/o/api=q/r:2")
        );
        assert_eq!(
            set("more", None).unwrap(),
            TEXT.replace("'old=ghcr.io/o/new:1'\n", "'old=ghcr.io/o/new:1'\n          - 'more:2'\n")
        );
    }
}
