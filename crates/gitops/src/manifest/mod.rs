//! Edits to the files that say which image runs: one module per kind of file, and [`Target`] for what a configuration
//! names.
//!
//! Every function takes a text and gives the new text; only the lines of the addressed values differ, and the
//! result has been read back and compared ([`crate::yaml`]). A text that says already what it should comes back
//! as it is. Where the address leads nowhere the error names what is there.
pub mod argocd;
pub mod flux;
pub mod helm;
pub mod kubernetes;
pub mod kustomize;

use crate::image::ImageUpdate;
use crate::yaml::{Error, Path};

/// A place that says which image runs, within a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// An entry of a kustomization's `images`.
    Kustomize {
        /// The image as the manifests call it.
        image: String,
    },
    /// An image in Helm values: one value, or a mapping with `repository` and `tag`.
    Helm {
        /// Where.
        path: Path,
    },
    /// One value in Helm values, or any YAML file, that holds the tag (the digest where there is no tag).
    Value {
        /// Where.
        path: Path,
        /// Adds a last key that is missing.
        add: bool,
    },
    /// Containers in Kubernetes manifests.
    Kubernetes(kubernetes::Selector),
    /// Values with Flux's marker.
    Flux {
        /// `namespace:policy`.
        policy: String,
    },
    /// `kustomize.images` of Argo CD Applications.
    ArgoImage {
        /// The Application's name; all in the file where there is none.
        application: Option<String>,
        /// The image as the manifests call it.
        image: String,
    },
    /// A Helm parameter of Argo CD Applications that holds the tag (the digest where there is no tag).
    ArgoParameter {
        /// The Application's name; all in the file where there is none.
        application: Option<String>,
        /// The parameter.
        name: String,
    },
}

impl Target {
    /// The text with the image brought up to date.
    ///
    /// # Errors
    /// Those of the file's kind.
    pub fn apply(&self, text: &str, update: &ImageUpdate) -> Result<String, Error> {
        update.check()?;
        let value = update.pin.tag().or(update.pin.digest()).unwrap_or_default();
        match self {
            Self::Kustomize { image } => kustomize::set_image(text, image, update),
            Self::Helm { path } => helm::set_image(text, path, update),
            Self::Value { path, add } => helm::set(text, path, value, *add),
            Self::Kubernetes(select) => kubernetes::set_image(text, select, update),
            Self::Flux { policy } => flux::set_image(text, policy, update),
            Self::ArgoImage { application, image } => argocd::set_image(text, application.as_deref(), image, update),
            Self::ArgoParameter { application, name } => {
                argocd::set_parameter(text, application.as_deref(), name, value)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Pin;

    #[test]
    fn targets_go_to_their_file() {
        let update = ImageUpdate { name: None, pin: Pin::Tag("v2".into()) };
        let path = |text: &str| text.parse().unwrap();
        for (target, before, after) in [
            (Target::Kustomize { image: "a".into() }, "images: []\n", "images: [{name: a, newTag: v2}]\n"),
            (Target::Helm { path: path("image") }, "image: a:v1\n", "image: a:v2\n"),
            (Target::Value { path: path("tag"), add: false }, "tag: v1\n", "tag: v2\n"),
            (Target::Value { path: path("tag"), add: true }, "a: 1\n", "a: 1\ntag: v2\n"),
            (
                Target::Kubernetes(kubernetes::Selector::default()),
                "containers: [{image: a}]\n",
                "containers: [{image: a:v2}]\n",
            ),
            (
                Target::Flux { policy: "n:p".into() },
                "a: b # {\"$imagepolicy\": \"n:p:tag\"}\n",
                "a: v2 # {\"$imagepolicy\": \"n:p:tag\"}\n",
            ),
            (
                Target::ArgoImage { application: None, image: "a".into() },
                "{kind: Application, spec: {source: {kustomize: {images: [a]}}}}\n",
                "{kind: Application, spec: {source: {kustomize: {images: [a:v2]}}}}\n",
            ),
            (
                Target::ArgoParameter { application: None, name: "t".into() },
                "{kind: Application, spec: {source: {helm: {parameters: [{name: t, value: x}]}}}}\n",
                "{kind: Application, spec: {source: {helm: {parameters: [{name: t, value: v2}]}}}}\n",
            ),
        ] {
            assert_eq!(target.apply(before, &update).unwrap(), after);
        }
    }
}
