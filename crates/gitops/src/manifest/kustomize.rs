//! `kustomization.yaml`: the entries of `images` (`name`, `newName`, `newTag`, `digest`).
//!
//! kustomize writes both tag and digest where both are given, and the digest decides. So a tag that is set
//! alone takes a digest away, and a digest alone takes a tag away: on the same line where that can be.
use crate::image::{ImageUpdate, same_name};
use crate::yaml::edit::{Editor, Place};
use crate::yaml::{Error, tree};

/// Sets what `images` says of the image that the manifests call `image`; adds the entry, and `images` itself,
/// where they are missing.
///
/// # Errors
/// [`Error::Form`] for a file of several documents or one that is no mapping; see [`crate::manifest`].
pub fn set_image(text: &str, image: &str, update: &ImageUpdate) -> Result<String, Error> {
    update.check()?;
    let stream = tree::parse(text)?;
    let mut edit = Editor::new(text, &stream);
    if let Some(second) = stream.documents.get(1) {
        let what = "a kustomization has one document, and a second begins here".into();
        return Err(Error::Form { line: second.line, what });
    }
    let new = entry(image, update);
    let new: Vec<(&str, &str)> = new.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let Some(root) = Place::root(&stream, 0) else {
        edit.begin_list("images", &new)?;
        return edit.finish();
    };
    if root.node.entries().is_none() {
        return Err(Error::Form { line: root.node.line, what: "a kustomization is a mapping; this is not".into() });
    }
    let Some(images) = root.get("images") else {
        edit.insert_list(&root, "images", &new)?;
        return edit.finish();
    };
    let mut found = false;
    for item in images.items() {
        if item.get("name").is_some_and(|name| name.node.scalar().is_some_and(|name| same_name(name, image))) {
            change(&mut edit, &item, update)?;
            found = true;
        }
    }
    if !found {
        edit.push(&images, &new)?;
    }
    edit.finish()
}

/// What `images` says of `image`: new name, tag and digest, where they are there.
///
/// # Errors
/// [`Error::Syntax`].
pub fn image(text: &str, image: &str) -> Result<Option<[Option<String>; 3]>, Error> {
    let stream = tree::parse(text)?;
    let items = Place::root(&stream, 0).and_then(|root| root.get("images")).map(|list| list.items());
    let named = |item: &Place<'_>| item.get("name").and_then(|name| name.node.scalar().map(|n| same_name(n, image)));
    let item = items.unwrap_or_default().into_iter().find(|item| named(item) == Some(true));
    Ok(item.map(|item| {
        ["newName", "newTag", "digest"]
            .map(|key| item.get(key).and_then(|value| value.node.scalar().map(str::to_owned)))
    }))
}

fn entry(image: &str, update: &ImageUpdate) -> Vec<(&'static str, String)> {
    let mut entry = vec![("name", image.to_owned())];
    entry.extend(update.name.clone().map(|name| ("newName", name)));
    entry.extend(update.pin.tag().map(|tag| ("newTag", tag.to_owned())));
    entry.extend(update.pin.digest().map(|digest| ("digest", digest.to_owned())));
    entry
}

fn change(edit: &mut Editor<'_>, item: &Place<'_>, update: &ImageUpdate) -> Result<(), Error> {
    let mut last = "name";
    if let Some(name) = &update.name {
        put(edit, item, "name", "newName", name)?;
        last = "newName";
    } else if item.get("newName").is_some() {
        last = "newName";
    }
    match (update.pin.tag(), update.pin.digest()) {
        (Some(tag), Some(digest)) => {
            match (item.get("newTag"), item.get("digest")) {
                // Both new lines would go to the same place: they stand in this order.
                (None, None) => {
                    let last = if item.get(last).is_some() { last } else { "name" };
                    edit.insert(item, last, "newTag", tag)?;
                    edit.insert(item, last, "digest", digest)?;
                }
                _ => {
                    put(edit, item, last, "newTag", tag)?;
                    put(edit, item, "newTag", "digest", digest)?;
                }
            }
        }
        (Some(tag), None) => only(edit, item, last, ["newTag", "digest"], tag)?,
        (None, Some(digest)) => only(edit, item, last, ["digest", "newTag"], digest)?,
        (None, None) => {}
    }
    Ok(())
}

/// Leaves `key` as the only one of the two, with this value, on a line that one of them has already.
fn only(
    edit: &mut Editor<'_>,
    item: &Place<'_>,
    last: &str,
    [key, other]: [&str; 2],
    value: &str,
) -> Result<(), Error> {
    match (item.get(key), item.get(other)) {
        (_, None) => put(edit, item, last, key, value),
        (None, Some(_)) => edit.rename(item, other, key, value),
        (Some(_), Some(_)) if item.keys().next() == Some(other) => {
            edit.remove(item, key)?;
            edit.rename(item, other, key, value)
        }
        (Some(there), Some(_)) => {
            edit.set(&there, value)?;
            edit.remove(item, other)
        }
    }
}

fn put(edit: &mut Editor<'_>, item: &Place<'_>, after: &str, key: &str, value: &str) -> Result<(), Error> {
    match item.get(key) {
        Some(there) => edit.set(&there, value),
        None => edit.insert(item, after, key, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Pin;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn tag(tag: &str) -> ImageUpdate {
        ImageUpdate { name: None, pin: Pin::Tag(tag.into()) }
    }

    fn both(name: Option<&str>) -> ImageUpdate {
        ImageUpdate { name: name.map(Into::into), pin: Pin::Both { tag: "2".into(), digest: DIGEST.into() } }
    }

    #[test]
    fn an_entry_is_changed_where_it_is() {
        let text =
            "resources:\n- a.yaml # first\nimages:\n- name: web\n  newTag: \"1.0\" # keep\n- newTag: v1\n  name: api\n";
        assert_eq!(set_image(text, "web", &tag("1.1")).unwrap(), text.replace("\"1.0\"", "\"1.1\""));
        assert_eq!(set_image(text, "api", &tag("2")).unwrap(), text.replace("v1", "\"2\""));
        assert_eq!(set_image(text, "api", &tag("v1")).unwrap(), text);
        assert_eq!(
            set_image(text, "docker.io/library/web", &both(Some("ghcr.io/o/web"))).unwrap(),
            text.replace(
                "name: web\n  newTag: \"1.0\" # keep\n",
                &format!("name: web\n  newName: ghcr.io/o/web\n  newTag: \"2\" # keep\n  digest: {DIGEST}\n")
            )
        );
        assert_eq!(image(text, "api").unwrap(), Some([None, Some("v1".into()), None]));
        assert_eq!(image(text, "other").unwrap(), None);
    }

    #[test]
    fn tag_and_digest_take_each_others_place() {
        let digest = ImageUpdate { name: None, pin: Pin::Digest(DIGEST.into()) };
        let text = "images:\n  - name: web\n    newTag: v1 # c\n";
        let pinned = set_image(text, "web", &digest).unwrap();
        assert_eq!(pinned, format!("images:\n  - name: web\n    digest: {DIGEST} # c\n"));
        assert_eq!(set_image(&pinned, "web", &tag("v1")).unwrap(), text);
        let text = format!("images:\n- digest: {DIGEST}\n  name: web\n  newTag: v1 # c\n");
        assert_eq!(set_image(&text, "web", &tag("v2")).unwrap(), "images:\n- newTag: v2\n  name: web\n");
        let text = format!("images: [{{name: web, newTag: v1, digest: \"{DIGEST}\"}}]\n");
        assert_eq!(set_image(&text, "web", &tag("v2")).unwrap(), "images: [{name: web, newTag: v2}]\n");
        assert_eq!(
            set_image(&text, "web", &digest).unwrap(),
            format!("images: [{{name: web, digest: \"{DIGEST}\"}}]\n")
        );
    }

    #[test]
    fn a_missing_entry_is_added() {
        let add = |text| set_image(text, "web", &tag("v2")).unwrap();
        assert_eq!(add(""), "images:\n- name: web\n  newTag: v2\n");
        assert_eq!(add("# hello"), "# hello\nimages:\n- name: web\n  newTag: v2\n");
        assert_eq!(add("---\nkind: Kustomization"), "---\nkind: Kustomization\nimages:\n- name: web\n  newTag: v2");
        assert_eq!(
            add("resources:\r\n  - a\r\n# end\r\n"),
            "resources:\r\n  - a\r\nimages:\r\n  - name: web\r\n    newTag: v2\r\n# end\r\n"
        );
        assert_eq!(add("images:\nx: 1\n"), "images:\n- name: web\n  newTag: v2\nx: 1\n");
        assert_eq!(add("images: []\n"), "images: [{name: web, newTag: v2}]\n");
        assert_eq!(add("images: [{name: a}]\n"), "images: [{name: a}, {name: web, newTag: v2}]\n");
        assert_eq!(
            add("images:\n    - name: a\n      newTag: b # x\n"),
            "images:\n    - name: a\n      newTag: b # x\n    - name: web\n      newTag: v2\n"
        );
        assert_eq!(
            set_image("images:\n- name: web\n", "web", &both(None)).unwrap(),
            format!("images:\n- name: web\n  newTag: \"2\"\n  digest: {DIGEST}\n")
        );
    }

    #[test]
    fn what_is_no_kustomization_is_refused() {
        let error = |text: &str| set_image(text, "web", &tag("v2")).unwrap_err().to_string();
        assert_eq!(error("a: 1\n---\nb: 2\n"), "line 3: a kustomization has one document, and a second begins here");
        assert_eq!(error("- a\n"), "line 1: a kustomization is a mapping; this is not");
        assert_eq!(error("images: {a: b}\n"), "line 1: no list stands here, so that no item can be added");
        assert!(error("a: [\n").contains("not YAML"), "{}", error("a: [\n"));
        assert!(set_image("", "web", &tag("no tag")).is_err());
    }
}
