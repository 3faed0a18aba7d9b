//! Flux's markers: `# {"$imagepolicy": "namespace:policy"}` behind a value, with `:tag`, `:name` or `:digest` for a
//! part of the image (image-automation-controller).
use crate::image::ImageUpdate;
use crate::yaml::Error;
use crate::yaml::edit::{Editor, Place};
use crate::yaml::tree::{self, Comment, Kind};

/// The part of an image that a marked value holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Image,
    Name,
    Tag,
    Digest,
}

/// Updates every value that is marked for `policy` (`namespace:policy`).
///
/// A whole image keeps its name unless a new one is given. `:name` is changed only by a new name, `:tag` and
/// `:digest` only where the update has one.
///
/// # Errors
/// [`Error::NotFound`] where no value is marked so, with the policies that are; [`Error::Form`] for a marker that is
/// no such JSON or stands behind no value; see [`crate::manifest`].
pub fn set_image(text: &str, policy: &str, update: &ImageUpdate) -> Result<String, Error> {
    update.check()?;
    let stream = tree::parse(text)?;
    let mut scalars = Vec::new();
    Place::roots(&stream).for_each(|root| collect(&root, &mut scalars));
    let mut edit = Editor::new(text, &stream);
    let (mut found, mut seen) = (false, Vec::new());
    for comment in &stream.comments {
        let Some((marked, part)) = marker(text, comment)? else { continue };
        if marked != policy {
            seen.push(marked);
            continue;
        }
        let start = text[..comment.span.start].rfind('\n').map_or(0, |newline| newline + 1);
        let on_line = |place: &&Place<'_>| (start..comment.span.start).contains(&place.node.span.start);
        let Some(place) = scalars.iter().rfind(on_line) else {
            let what = format!("the marker of `{policy}` stands behind no value");
            return Err(Error::Form { line: line_of(text, comment), what });
        };
        found = true;
        let old = place.node.scalar().unwrap_or_default();
        match part {
            Part::Image => edit.set(place, &update.apply(old))?,
            Part::Name => update.name.as_deref().map_or(Ok(()), |name| edit.set(place, name))?,
            Part::Tag => update.pin.tag().map_or(Ok(()), |tag| edit.set(place, tag))?,
            Part::Digest => update.pin.digest().map_or(Ok(()), |digest| edit.set(place, digest))?,
        }
    }
    if !found {
        return Err(Error::not_found(format!("a marker of the policy `{policy}`"), seen.iter().map(String::as_str)));
    }
    edit.finish()
}

fn line_of(text: &str, comment: &Comment) -> usize {
    text[..comment.span.start].matches('\n').count() + 1
}

fn marker(text: &str, comment: &Comment) -> Result<Option<(String, Part)>, Error> {
    if !comment.text.contains("$imagepolicy") {
        return Ok(None);
    }
    let wrong = || Error::Form {
        line: line_of(text, comment),
        what:
            "a marker reads # {\"$imagepolicy\": \"namespace:policy\"}, with :tag, :name or :digest behind the policy"
                .into(),
    };
    let json: serde_json::Value = serde_json::from_str(comment.text.trim()).map_err(|_| wrong())?;
    let value = json.get("$imagepolicy").and_then(serde_json::Value::as_str).ok_or_else(wrong)?;
    let parts: Vec<&str> = value.split(':').collect();
    let part = match parts.get(2) {
        None => Part::Image,
        Some(&"name") => Part::Name,
        Some(&"tag") => Part::Tag,
        Some(&"digest") => Part::Digest,
        Some(_) => return Err(wrong()),
    };
    match parts[..] {
        [namespace, policy] | [namespace, policy, _] => Ok(Some((format!("{namespace}:{policy}"), part))),
        _ => Err(wrong()),
    }
}

/// All scalars in values (no keys), in the order of the text.
fn collect<'s>(place: &Place<'s>, scalars: &mut Vec<Place<'s>>) {
    match &place.node.kind {
        Kind::Scalar { .. } => scalars.push(place.clone()),
        Kind::Mapping { .. } => place.values().iter().for_each(|(_, value)| collect(value, scalars)),
        Kind::Sequence { .. } => place.items().iter().for_each(|item| collect(item, scalars)),
        Kind::Alias { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Pin;

    const TEXT: &str = "\
image: ghcr.io/o/web:v1 # {\"$imagepolicy\": \"flux:web\"}
values:
  - name: ghcr.io/o/web  # {\"$imagepolicy\": \"flux:web:name\"}
    tag: 'v1'  # { \"$imagepolicy\":\"flux:web:tag\" }
    other: v1 # {\"$imagepolicy\": \"flux:api:tag\"}
";

    fn set(text: &str, name: Option<&str>) -> Result<String, String> {
        let update = ImageUpdate { name: name.map(Into::into), pin: Pin::Tag("v2".into()) };
        set_image(text, "flux:web", &update).map_err(|error| error.to_string())
    }

    #[test]
    fn marked_values() {
        let tags = TEXT.replace("web:v1", "web:v2").replace("'v1'", "'v2'");
        assert_eq!(set(TEXT, None).unwrap(), tags);
        assert_eq!(set(TEXT, Some("x/y")).unwrap(), tags.replace("ghcr.io/o/web", "x/y"));
        assert_eq!(
            set("a: b # {\"$imagepolicy\": \"flux:api\"}\n", None).unwrap_err(),
            "a marker of the policy `flux:web` is not there; there are flux:api"
        );
        assert!(set("a: b # {\"$imagepolicy\": \"flux\"}\n", None).unwrap_err().starts_with("line 1: a marker reads"));
        assert_eq!(
            set("a: b\n# {\"$imagepolicy\": \"flux:web\"}\n", None).unwrap_err(),
            "line 2: the marker of `flux:web` stands behind no value"
        );
    }
}
