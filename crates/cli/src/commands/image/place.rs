//! Where images are: a registry, a layout, the store. What is read there is passed on byte for byte.
use std::io::{self, Read};

use build::Store;
use oci::layout::{Layout, REF_NAME};
use oci::{Descriptor, Digest, Manifest, Reference, media_type};
use registry::{Client, ErrorKind, Progress, Pushed};

use super::{LIMIT, from_store, remote};
use crate::app::Context;
use crate::config::Settings;
use crate::error::{CliError, Result};
use crate::signing::bare;

/// A place.
#[expect(clippy::large_enum_variant, reason = "a command has a handful of them")]
pub(super) enum Place {
    Registry(Client, Reference),
    Layout { layout: Layout, tag: Option<String>, digest: Option<Digest> },
    Store(Store, Descriptor),
}

/// Which side of a copy a place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The store is asked first, unless this says no.
    From {
        remote: bool,
    },
    To,
}

impl Place {
    /// `oci-layout://DIR[:TAG][@DIGEST]`, `oci:DIR[:TAG]` or a name.
    pub(super) fn parse(text: &str, side: Side, settings: &Settings, context: &Context<'_>) -> Result<Self> {
        for prefix in ["oci-layout://", "oci:"] {
            let Some(rest) = text.strip_prefix(prefix) else { continue };
            let (path, tag, digest) =
                crate::args::context::layout_parts(rest).map_err(|why| CliError::usage(format!("{text}: {why}")))?;
            let path = context.env.path(path);
            let layout = match side {
                Side::To => Layout::create(&path).map_err(|e| CliError::io("make the layout", &path, &e))?,
                Side::From { .. } => Layout::open(&path).map_err(|e| CliError::usage(e.to_string()))?,
            };
            return Ok(Self::Layout { layout, tag, digest });
        }
        let name: Reference = text.parse().map_err(|e: oci::ReferenceError| {
            CliError::usage(e.to_string()).hint("a layout is named oci-layout://DIR[:TAG]")
        })?;
        let name = name.or_latest();
        if side == (Side::From { remote: false }) && settings.root.value.join("blobs").is_dir() {
            let store = super::open(settings, context)?;
            if let Some(record) = store.image(&name.to_string()) {
                return Ok(Self::Store(store, record.descriptor));
            }
        }
        Ok(Self::Registry(crate::commands::client(settings, context.env)?, name))
    }

    /// How people call it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Registry(_, name) => name.familiar(),
            Self::Layout { layout, tag, .. } => {
                let tag = tag.as_ref().map(|t| format!(":{t}")).unwrap_or_default();
                format!("oci-layout://{}{tag}", layout.root().display())
            }
            Self::Store(_, descriptor) => descriptor.digest.to_string(),
        }
    }

    /// What the name points to.
    pub(super) fn top(&self) -> Result<(Descriptor, Vec<u8>)> {
        match self {
            Self::Registry(client, name) => {
                let fetched = client.manifest(name).map_err(|e| remote(name, &e))?;
                Ok((fetched.descriptor, fetched.bytes))
            }
            Self::Layout { layout, tag, digest } => {
                let resolved = build::source::oci_layout::resolve(layout.root(), tag.as_deref(), digest.as_ref());
                let (_, mut top) = resolved.map_err(|e| CliError::failed(e.to_string()))?;
                top.annotations.clear();
                let bytes = self.manifest(&top)?;
                Ok((top, bytes))
            }
            Self::Store(_, descriptor) => Ok((descriptor.clone(), self.manifest(descriptor)?)),
        }
    }

    /// A manifest or an index.
    pub(super) fn manifest(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        match self {
            Self::Registry(client, name) => {
                let by_digest = bare(name, &descriptor.digest);
                client.manifest(&by_digest).map(|f| f.bytes).map_err(|e| remote(&by_digest, &e))
            }
            Self::Layout { layout, .. } => {
                if descriptor.size > LIMIT {
                    return Err(CliError::failed(format!("{} is too large for a manifest", descriptor.digest)));
                }
                layout.read_blob(&descriptor.digest).map_err(|e| CliError::failed(e.to_string()))
            }
            Self::Store(store, _) => from_store(store, descriptor),
        }
    }

    /// A blob as a stream.
    pub(super) fn open(&self, descriptor: &Descriptor) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Registry(client, name) => {
                Box::new(client.blob(name, descriptor, Progress::none()).map_err(io::Error::other)?)
            }
            Self::Layout { layout, .. } => Box::new(std::fs::File::open(layout.blob_path(&descriptor.digest))?),
            Self::Store(store, _) => Box::new(store.open_blob(&descriptor.digest)?),
        })
    }

    /// Brings a blob here; how it came.
    pub(super) fn take_blob(&self, descriptor: &Descriptor, from: &Self) -> Result<Pushed> {
        let what = || format!("cannot copy blob {} of {}", descriptor.digest, from.shown());
        match self {
            Self::Registry(client, name) => {
                let mount = match from {
                    Self::Registry(_, source) if source.registry() == name.registry() => vec![source.clone()],
                    _ => Vec::new(),
                };
                let source = || from.open(descriptor);
                client.push_blob(name, descriptor, &source, &mount, Progress::none()).map_err(|e| {
                    let out = CliError::failed(what()).caused_by(&e);
                    match (from, e.hint()) {
                        (Self::Store(..), _) => out.hint(
                            "a layer of a base image may never have been fetched: build with --push, or with -o type=oci",
                        ),
                        (_, Some(hint)) => out.hint(hint),
                        _ => out,
                    }
                })
            }
            Self::Layout { layout, .. } => {
                if layout.has(&descriptor.digest) {
                    return Ok(Pushed::Existed);
                }
                let content = from.open(descriptor).and_then(|content| layout.copy_blob(&descriptor.digest, content));
                content.map(|()| Pushed::Uploaded).map_err(|e| CliError::failed(what()).caused_by(&e))
            }
            Self::Store(..) => Err(CliError::usage("the store takes images from builds alone")),
        }
    }

    /// Stores a manifest: under a tag, as an entry of a layout's index, or only by its digest.
    pub(super) fn take_manifest(&self, descriptor: &Descriptor, bytes: &[u8], entry: Entry<'_>) -> Result<()> {
        match self {
            Self::Registry(client, name) => {
                let to = match entry {
                    Entry::Top => name.clone(),
                    Entry::Tag(tag) => name.with_tag(tag),
                    Entry::Inner | Entry::Referrer => bare(name, &descriptor.digest),
                };
                client
                    .push_manifest(&to, &descriptor.media_type, bytes)
                    .map(drop)
                    .map_err(|e| crate::signing::remote(&format!("cannot write {}", to.familiar()), &e))
            }
            Self::Layout { layout, tag, .. } => {
                let failed = |e: io::Error| CliError::io("write the layout", layout.root(), &e);
                layout.write_blob(bytes).map_err(failed)?;
                let tag = match entry {
                    Entry::Top => tag.as_deref().or(Some("latest")),
                    Entry::Tag(tag) => Some(tag),
                    Entry::Referrer => None,
                    Entry::Inner => return Ok(()),
                };
                let mut descriptor = descriptor.clone();
                descriptor.annotations.clear();
                if let Some(tag) = tag {
                    descriptor.annotations.insert(REF_NAME.to_owned(), tag.to_owned());
                }
                layout.add(descriptor).map_err(failed)
            }
            Self::Store(..) => Err(CliError::usage("the store takes images from builds alone")),
        }
    }

    /// The manifests that refer to this one.
    pub(super) fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>> {
        match self {
            Self::Registry(client, name) => client.referrers(name, digest, None).map_err(|e| remote(name, &e)),
            Self::Layout { layout, .. } => {
                let index = layout.index().map_err(|e| CliError::io("read the layout", layout.root(), &e))?;
                let mut found = Vec::new();
                for entry in index.manifests.into_iter().filter(|d| media_type::is_manifest(&d.media_type)) {
                    let Ok(bytes) = self.manifest(&entry) else { continue };
                    let about = serde_json::from_slice::<Manifest>(&bytes).ok().and_then(|m| m.subject);
                    if about.is_some_and(|subject| subject.digest == *digest) {
                        found.push(entry);
                    }
                }
                Ok(found)
            }
            Self::Store(..) => Ok(Vec::new()),
        }
    }

    /// What lies under another tag of the same repository, or in an entry of that name.
    pub(super) fn tagged(&self, tag: &str) -> Result<Option<(Descriptor, Vec<u8>)>> {
        match self {
            Self::Registry(client, name) => match client.manifest(&name.with_tag(tag)) {
                Ok(fetched) => Ok(Some((fetched.descriptor, fetched.bytes))),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(remote(name, &error)),
            },
            Self::Layout { layout, .. } => {
                let index = layout.index().map_err(|e| CliError::io("read the layout", layout.root(), &e))?;
                let named = |d: &Descriptor| d.annotations.get(REF_NAME).is_some_and(|name| name == tag);
                match index.manifests.into_iter().find(named) {
                    Some(entry) => self.manifest(&entry).map(|bytes| Some((entry, bytes))),
                    None => Ok(None),
                }
            }
            Self::Store(..) => Ok(None),
        }
    }
}

/// Under what a manifest is stored.
#[derive(Debug, Clone, Copy)]
pub(super) enum Entry<'a> {
    /// The name of the place.
    Top,
    /// Another tag.
    Tag(&'a str),
    /// Its digest; something else lists it.
    Inner,
    /// Its digest; its subject is what leads to it.
    Referrer,
}
