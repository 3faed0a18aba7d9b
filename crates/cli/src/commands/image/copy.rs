//! `cooperage image copy` and `merge`: manifests byte for byte, blobs without unpacking them.
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use build::request::{Annotation, AnnotationLevel};
use oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, media_type};
use registry::Pushed;

use super::LIMIT;
use super::place::{Entry, Place, Side};
use crate::app::Context;
use crate::args::build::{PlaceArgs, RegistryFlags};
use crate::config::{Flags, Settings};
use crate::error::{CliError, Result};

/// Blobs at once.
const WIDTH: usize = 4;
/// How deep indexes may be nested.
const DEPTH: usize = 8;

#[derive(Debug, clap::Args)]
pub(super) struct CopyArgs {
    /// From: a name (in the store, else in its registry), or oci-layout://DIR[:TAG][@DIGEST]
    #[arg(value_name = "FROM")]
    from: String,
    /// To: a name in a registry, or oci-layout://DIR[:TAG]
    #[arg(value_name = "TO")]
    to: String,
    /// Copy only the image for this platform, not the whole index
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Leave attestations and signatures that refer to the image behind
    #[arg(long)]
    no_referrers: bool,
    /// Ask the registry even where the store has the image
    #[arg(long)]
    remote: bool,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    registries: RegistryFlags,
}

#[derive(Debug, clap::Args)]
pub(super) struct MergeArgs {
    /// The name of the index: in a registry, or oci-layout://DIR[:TAG]
    #[arg(short, long = "tag", value_name = "NAME", required = true)]
    tag: Vec<String>,
    /// The images, best by digest: names, or oci-layout://DIR[:TAG][@DIGEST]
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// Add an annotation: [index|manifest-descriptor[PLATFORM]:]KEY=VALUE
    #[arg(long, value_name = "SPEC")]
    annotation: Vec<String>,
    /// Leave attestations and signatures that refer to the images behind
    #[arg(long)]
    no_referrers: bool,
    /// Ask the registry even where the store has an image
    #[arg(long)]
    remote: bool,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    registries: RegistryFlags,
}

/// How many objects came, and how.
#[derive(Debug, Default)]
pub(super) struct Counts {
    manifests: usize,
    uploaded: usize,
    mounted: usize,
    existed: usize,
}

impl Counts {
    fn add(&mut self, how: Pushed) {
        match how {
            Pushed::Uploaded => self.uploaded += 1,
            Pushed::Mounted => self.mounted += 1,
            Pushed::Existed => self.existed += 1,
        }
    }

    fn shown(&self) -> String {
        format!(
            "{} manifests; blobs: {} copied, {} mounted, {} there already",
            self.manifests, self.uploaded, self.mounted, self.existed
        )
    }
}

/// Copies from one place to another.
pub(super) struct Copier<'a> {
    pub(super) from: &'a Place,
    pub(super) to: &'a Place,
    pub(super) referrers: bool,
    pub(super) done: HashSet<Digest>,
    pub(super) counts: Counts,
}

impl<'a> Copier<'a> {
    pub(super) fn new(from: &'a Place, to: &'a Place, referrers: bool) -> Self {
        Self { from, to, referrers, done: HashSet::new(), counts: Counts::default() }
    }

    /// A manifest with all that it names, and then what refers to it.
    pub(super) fn tree(&mut self, descriptor: &Descriptor, bytes: &[u8], entry: Entry<'_>, depth: usize) -> Result<()> {
        let again = !self.done.insert(descriptor.digest.clone());
        if again && matches!(entry, Entry::Inner | Entry::Referrer) {
            return Ok(());
        }
        if depth > DEPTH {
            return Err(CliError::failed(format!("{}: indexes are nested too deep", self.from.shown())));
        }
        let invalid = |e: serde_json::Error| CliError::failed(format!("{} is no manifest: {e}", descriptor.digest));
        if !again {
            if media_type::is_index(&descriptor.media_type) {
                let index: Index = serde_json::from_slice(bytes).map_err(invalid)?;
                for child in &index.manifests {
                    let bytes = self.from.manifest(child)?;
                    self.tree(child, &bytes, Entry::Inner, depth + 1)?;
                }
            } else {
                let manifest: Manifest = serde_json::from_slice(bytes).map_err(invalid)?;
                self.blobs(&manifest)?;
            }
            self.counts.manifests += 1;
        }
        self.to.take_manifest(descriptor, bytes, entry)?;
        if self.referrers && !again {
            self.about(&descriptor.digest, depth)?;
        }
        Ok(())
    }

    /// What refers to a manifest: by `subject`, and by cosign's tags.
    fn about(&mut self, digest: &Digest, depth: usize) -> Result<()> {
        for referrer in self.from.referrers(digest)? {
            let bytes = self.from.manifest(&referrer)?;
            self.tree(&referrer, &bytes, Entry::Referrer, depth + 1)?;
        }
        for suffix in ["sig", "att", "sbom"] {
            let tag = attest::cosign::tag(digest, suffix);
            if let Some((descriptor, bytes)) = self.from.tagged(&tag)? {
                self.tree(&descriptor, &bytes, Entry::Tag(&tag), depth + 1)?;
            }
        }
        Ok(())
    }

    fn blobs(&mut self, manifest: &Manifest) -> Result<()> {
        let mut wanted: Vec<&Descriptor> = Vec::new();
        for descriptor in manifest.layers.iter().chain([&manifest.config]) {
            // A foreign layer lives elsewhere.
            if descriptor.urls.is_empty() && self.done.insert(descriptor.digest.clone()) {
                wanted.push(descriptor);
            }
        }
        let (from, to) = (self.from, self.to);
        let queue = Mutex::new(wanted);
        let ended: Mutex<(Vec<Pushed>, Option<CliError>)> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..WIDTH {
                scope.spawn(|| {
                    loop {
                        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                        let Some(descriptor) = next else { return };
                        let result = to.take_blob(descriptor, from);
                        let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
                        match result {
                            Ok(how) => ended.0.push(how),
                            Err(error) => {
                                queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
                                ended.1.get_or_insert(error);
                            }
                        }
                    }
                });
            }
        });
        let (ways, error) = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
        for how in ways {
            self.counts.add(how);
        }
        error.map_or(Ok(()), Err)
    }
}

/// The entry for a platform.
pub(super) fn select(from: &Place, top: &Descriptor, bytes: &[u8], platform: &Platform) -> Result<Descriptor> {
    if !media_type::is_index(&top.media_type) {
        return Ok(top.clone());
    }
    let index: Index = serde_json::from_slice(bytes)
        .map_err(|e| CliError::failed(format!("{}: the index is invalid: {e}", from.shown())))?;
    index.select(platform).cloned().ok_or_else(|| {
        let has: Vec<String> =
            index.manifests.iter().filter_map(|m| m.platform.as_ref()).map(ToString::to_string).collect();
        CliError::failed(format!("{} has no image for {platform}", from.shown()))
            .hint(format!("it has {}", has.join(", ")))
    })
}

fn settings(place: &PlaceArgs, registries: &RegistryFlags, context: &Context<'_>) -> Result<Settings> {
    let flags =
        Flags { place: Some(place), registries: Some(registries), config: context.config.clone(), ..Flags::default() };
    Settings::load(&flags, context.env)
}

pub(super) fn run(args: &CopyArgs, context: &Context<'_>) -> Result<()> {
    let settings = settings(&args.place, &args.registries, context)?;
    let from = Place::parse(&args.from, Side::From { remote: args.remote }, &settings, context)?;
    let (mut top, mut bytes) = from.top()?;
    if let Some(text) = &args.platform {
        let platform: Platform =
            text.parse().map_err(|e: oci::PlatformError| CliError::usage(format!("--platform {text}: {e}")))?;
        top = select(&from, &top, &bytes, &platform)?;
        bytes = from.manifest(&top)?;
    }
    let to = Place::parse(&args.to, Side::To, &settings, context)?;
    let mut copier = Copier::new(&from, &to, !args.no_referrers);
    copier.tree(&top, &bytes, Entry::Top, 0)?;
    context.ui.note(&format!("Copied {} to {}: {}", from.shown(), to.shown(), copier.counts.shown()));
    context.ui.out(&format!("{}\n", top.digest))
}

pub(super) fn merge(args: &MergeArgs, context: &Context<'_>) -> Result<()> {
    let settings = settings(&args.place, &args.registries, context)?;
    let mut annotations: Vec<Annotation> = Vec::new();
    for text in &args.annotation {
        let fail = |why: String| CliError::usage(format!("--annotation {text}: {why}"));
        for mut annotation in crate::args::output::annotations(text).map_err(fail)? {
            let bare = !text.split('=').next().unwrap_or_default().contains(':');
            if annotation.level == AnnotationLevel::Manifest && bare {
                annotation.level = AnnotationLevel::Index;
            }
            if !matches!(annotation.level, AnnotationLevel::Index | AnnotationLevel::ManifestDescriptor) {
                return Err(fail("an index has annotations of the levels index and manifest-descriptor".into())
                    .hint("the images themselves are not changed; annotate them when they are built"));
            }
            annotations.push(annotation);
        }
    }
    let mut sources = Vec::new();
    for text in &args.images {
        sources.push(Place::parse(text, Side::From { remote: args.remote }, &settings, context)?);
    }
    let (mut images, mut attestations): (Vec<Descriptor>, Vec<Descriptor>) = Default::default();
    for tag in &args.tag {
        let to = Place::parse(tag, Side::To, &settings, context)?;
        let mut counts = Counts::default();
        (images, attestations) = Default::default();
        for from in &sources {
            let mut copier = Copier::new(from, &to, !args.no_referrers);
            for mut entry in entries(from)? {
                let bytes = from.manifest(&entry)?;
                copier.tree(&entry, &bytes, Entry::Inner, 0)?;
                let unknown = entry.platform.as_ref().is_some_and(|p| p.os == "unknown");
                if unknown {
                    // An image that is given twice brings its attestations twice.
                    if !attestations.iter().any(|known| known.digest == entry.digest) {
                        attestations.push(entry);
                    }
                    continue;
                }
                if entry.platform.is_none() {
                    entry.platform = Some(platform_of(from, &bytes)?);
                }
                if let Some(same) = images.iter().find(|d| d.platform == entry.platform) {
                    if same.digest == entry.digest {
                        continue;
                    }
                    let platform = entry.platform.as_ref().map(ToString::to_string).unwrap_or_default();
                    return Err(CliError::failed(format!(
                        "two images are for {platform}: {} and {}",
                        same.digest, entry.digest
                    ))
                    .hint("leave one of them out"));
                }
                images.push(entry);
            }
            counts.manifests += copier.counts.manifests;
            counts.uploaded += copier.counts.uploaded;
            counts.mounted += copier.counts.mounted;
            counts.existed += copier.counts.existed;
        }
        let (descriptor, bytes) = index_of(&images, &attestations, &annotations);
        to.take_manifest(&descriptor, &bytes, Entry::Top)?;
        context.ui.note(&format!("Merged {} images into {}: {}", images.len(), to.shown(), counts.shown()));
    }
    let (descriptor, _) = index_of(&images, &attestations, &annotations);
    context.ui.out(&format!("{}\n", descriptor.digest))
}

/// The images of a source, and its attestations.
fn entries(from: &Place) -> Result<Vec<Descriptor>> {
    let (top, bytes) = from.top()?;
    if !media_type::is_index(&top.media_type) {
        return Ok(vec![top]);
    }
    let index: Index = serde_json::from_slice(&bytes)
        .map_err(|e| CliError::failed(format!("{}: the index is invalid: {e}", from.shown())))?;
    Ok(index.manifests)
}

fn platform_of(from: &Place, manifest: &[u8]) -> Result<Platform> {
    use std::io::Read;
    let invalid = |why: String| CliError::failed(format!("{}: {why}", from.shown()));
    let manifest: Manifest =
        serde_json::from_slice(manifest).map_err(|e| invalid(format!("the manifest is invalid: {e}")))?;
    let mut bytes = Vec::new();
    let stream = from.open(&manifest.config).map_err(|e| invalid(format!("the configuration cannot be read: {e}")))?;
    stream
        .take(LIMIT)
        .read_to_end(&mut bytes)
        .map_err(|e| invalid(format!("the configuration cannot be read: {e}")))?;
    let config: ImageConfig =
        serde_json::from_slice(&bytes).map_err(|e| invalid(format!("the configuration is invalid: {e}")))?;
    if config.os.is_empty() || config.architecture.is_empty() {
        return Err(invalid("the image does not say for which platform it is".into()));
    }
    Ok(config.platform())
}

fn index_of(images: &[Descriptor], attestations: &[Descriptor], annotations: &[Annotation]) -> (Descriptor, Vec<u8>) {
    let mut entries = images.to_vec();
    for entry in &mut entries {
        for annotation in annotations.iter().filter(|a| a.level == AnnotationLevel::ManifestDescriptor) {
            let fits = |p: &Platform| entry.platform.as_ref().is_some_and(|own| p.distance_of(own) == Some(0));
            if annotation.platform.as_ref().is_none_or(fits) {
                entry.annotations.insert(annotation.key.clone(), annotation.value.clone());
            }
        }
    }
    entries.extend_from_slice(attestations);
    let mut index = Index::new(entries, true);
    let own = annotations.iter().filter(|a| a.level == AnnotationLevel::Index);
    index.annotations = own.map(|a| (a.key.clone(), a.value.clone())).collect();
    let bytes = serde_json::to_vec_pretty(&index).unwrap_or_default();
    (Descriptor::of(media_type::OCI_INDEX, &bytes), bytes)
}
