//! Helm values: one value by path, or an image in the forms that charts use for it.
use crate::image::ImageUpdate;
use crate::yaml::edit::{Editor, Place};
use crate::yaml::tree::Kind;
use crate::yaml::{Error, Path, tree};

pub use crate::yaml::set;

/// Updates the image at `path`: either one value (`image: repo:tag`) or a mapping with `repository`, `tag` and,
/// where the chart has them, `registry` and `digest`.
///
/// A digest goes into `digest`; into the tag (`1.2@sha256:…`) where the chart has no `digest` and a tag is given
/// too. A tag alone empties a `digest`, since charts let that win.
///
/// # Errors
/// [`Error::NotFound`] where the chart's values have no key for what is to be set; see [`crate::manifest`].
pub fn set_image(text: &str, path: &Path, update: &ImageUpdate) -> Result<String, Error> {
    update.check()?;
    let stream = tree::parse(text)?;
    let root = Place::root(&stream, 0).ok_or_else(|| Error::not_found(format!("`{path}`"), []))?;
    let place = path.find(&root)?;
    let mut edit = Editor::new(text, &stream);
    match &place.node.kind {
        Kind::Scalar { value, .. } => edit.set(&place, &update.apply(value))?,
        Kind::Mapping { .. } => mapping(&mut edit, &place, path, update)?,
        _ => {
            let what = format!("`{path}` is neither an image nor a mapping with `repository` and `tag`");
            return Err(Error::Form { line: place.node.line, what });
        }
    }
    edit.finish()
}

fn mapping(edit: &mut Editor<'_>, place: &Place<'_>, path: &Path, update: &ImageUpdate) -> Result<(), Error> {
    let missing = |key: &str| Error::not_found(format!("`{key}` of `{path}`"), place.keys());
    if let Some(name) = &update.name {
        let repository = place.get("repository").or_else(|| place.get("name")).ok_or_else(|| missing("repository"))?;
        match (place.get("registry"), name.split_once('/')) {
            (Some(registry), Some((host, rest))) if host.contains(['.', ':']) || host == "localhost" => {
                edit.set(&registry, host)?;
                edit.set(&repository, rest)?;
            }
            _ => edit.set(&repository, name)?,
        }
    }
    let digest_key = place.get("digest").or_else(|| place.get("sha"));
    match (update.pin.tag(), update.pin.digest()) {
        (Some(tag), None) => {
            edit.set(&place.get("tag").ok_or_else(|| missing("tag"))?, tag)?;
            if let Some(there) = digest_key.filter(|there| !there.node.is_null() && there.node.scalar() != Some("")) {
                edit.set(&there, "")?;
            }
        }
        (tag, Some(digest)) => match (digest_key, tag) {
            (Some(there), _) => {
                edit.set(&there, digest)?;
                if let (Some(tag), Some(there)) = (tag, place.get("tag")) {
                    edit.set(&there, tag)?;
                }
            }
            (None, Some(tag)) => {
                edit.set(&place.get("tag").ok_or_else(|| missing("tag"))?, &format!("{tag}@{digest}"))?;
            }
            (None, None) => return Err(missing("digest")),
        },
        (None, None) => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Pin;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn update(text: &str, name: Option<&str>, pin: Pin) -> Result<String, String> {
        let update = ImageUpdate { name: name.map(Into::into), pin };
        set_image(text, &"image".parse().unwrap(), &update).map_err(|error| error.to_string())
    }

    #[test]
    fn images_in_the_forms_of_charts() {
        let tag = || Pin::Tag("1.10".into());
        let both = || Pin::Both { tag: "1.10".into(), digest: DIGEST.into() };
        assert_eq!(update("image: a/b:1 # c\n", None, tag()).unwrap(), "image: a/b:1.10 # c\n");
        assert_eq!(
            update("image: 'a/b:1'\n", Some("c.io/d"), both()).unwrap(),
            format!("image: 'c.io/d:1.10@{DIGEST}'\n")
        );
        let text = "image:\n  registry: docker.io\n  repository: a/b\n  tag: 1.9 # v\n  digest: \"\"\n";
        assert_eq!(update(text, None, tag()).unwrap(), text.replace("1.9", "\"1.10\""));
        assert_eq!(
            update(text, Some("ghcr.io/x/y"), both()).unwrap(),
            format!("image:\n  registry: ghcr.io\n  repository: x/y\n  tag: \"1.10\" # v\n  digest: \"{DIGEST}\"\n")
        );
        let pinned = update(text, None, Pin::Digest(DIGEST.into())).unwrap();
        assert_eq!(pinned, text.replace("\"\"", &format!("\"{DIGEST}\"")));
        assert_eq!(update(&pinned, None, Pin::Tag("1.9".into())).unwrap(), text);
        let text = "image: {repository: a, tag: v1}\n";
        assert_eq!(update(text, None, both()).unwrap(), format!("image: {{repository: a, tag: 1.10@{DIGEST}}}\n"));
        let error = update(text, None, Pin::Digest(DIGEST.into())).unwrap_err();
        assert_eq!(error, "`digest` of `image` is not there; there are repository, tag");
        assert!(update("image: [a]\n", None, tag()).unwrap_err().starts_with("line 1: `image` is neither"));
    }
}
