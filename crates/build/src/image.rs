//! Putting an image together: config, manifest, and where each layer's bytes are.
use crate::cache::{CONFIG_FIELD, Collected, Remote};
use crate::error::{BuildError, Kind, Result};
use crate::event::VertexId;
use crate::exec::StageResult;
use crate::plan::{ImageOrigin, PlannedStage, ResolvedImage};
use crate::request::{Annotation, AnnotationLevel, BaseMetadata};
use crate::snapshot::{ChainLayer, Layers};
use crate::time::rfc3339;
use oci::media_type::{self, Compression};
use oci::{Descriptor, Digest, ImageConfig, Manifest, Platform};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How an image is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageOptions {
    pub(crate) compression: Compression,
    pub(crate) level: Option<i32>,
    /// Whether base layers are compressed anew, too.
    pub(crate) force: bool,
    pub(crate) oci: bool,
    pub(crate) annotations: Vec<Annotation>,
    pub(crate) base: BaseMetadata,
}

/// A layer of an image.
#[derive(Debug, Clone)]
pub(crate) struct ImageLayer {
    pub(crate) descriptor: Descriptor,
    /// The base image that it comes from, with the layer as that image has it.
    pub(crate) base: Option<(Arc<ResolvedImage>, Descriptor)>,
    /// The external cache that it lies in, where the store does not have it.
    pub(crate) remote: Option<Arc<Remote>>,
}

/// An image for one platform.
#[derive(Debug, Clone)]
pub(crate) struct BuiltImage {
    pub(crate) platform: Platform,
    pub(crate) layers: Vec<ImageLayer>,
    pub(crate) config: Vec<u8>,
    pub(crate) config_descriptor: Descriptor,
    pub(crate) manifest: Vec<u8>,
    /// With the platform, as an index lists it.
    pub(crate) descriptor: Descriptor,
}

/// Makes config and manifest. Layers that are not packed or compressed yet are now. `inline` are the steps whose records
/// the config takes along.
pub(crate) fn assemble(
    layers: &Layers,
    stage: &PlannedStage,
    result: &StageResult,
    epoch: Option<i64>,
    options: &ImageOptions,
    inline: Option<&[Collected]>,
    line: VertexId,
) -> Result<BuiltImage> {
    let mut config: ImageConfig = stage.config.clone();
    let mut out = Vec::new();
    let mut diff_ids: Vec<Digest> = Vec::new();
    let mut times: BTreeMap<String, i64> = BTreeMap::new();
    let mut made = BTreeMap::new();
    for layer in &result.chain {
        match layer {
            ChainLayer::Base(image, n) => {
                let (diff_id, descriptor) = &image.layers[*n];
                diff_ids.push(diff_id.clone());
                let same = media_type::layer_compression(&descriptor.media_type) == Some(options.compression);
                if options.force && !same {
                    layers.base_blob(image, descriptor, Some(line))?;
                    layers.directory_or_toc(layer, Some(line))?;
                    let (_, blob) = layers.step_blob(&layer.id(), options.compression, options.level)?;
                    let kind = media_type::layer(options.compression, options.oci);
                    out.push(ImageLayer {
                        descriptor: Descriptor::new(kind, blob.digest, blob.size),
                        base: None,
                        remote: None,
                    });
                } else {
                    let mut written = descriptor.clone();
                    if let Some(compression) = media_type::layer_compression(&descriptor.media_type)
                        && !descriptor.media_type.contains("foreign")
                        && !descriptor.media_type.contains("nondistributable")
                    {
                        media_type::layer(compression, options.oci).clone_into(&mut written.media_type);
                    }
                    out.push(ImageLayer {
                        descriptor: written,
                        base: Some((Arc::clone(image), descriptor.clone())),
                        remote: None,
                    });
                }
            }
            ChainLayer::Step(id) => {
                let (diff_id, blob) = layers.packed(layer, options.compression, options.level, line)?;
                let kind = media_type::layer(options.compression, options.oci);
                let descriptor = Descriptor::new(kind, blob.digest, blob.size);
                let remote = layers.remote(id).filter(|remote| remote.blob.digest == descriptor.digest);
                out.push(ImageLayer { descriptor, base: None, remote });
                if let Some(created) = layers.created(id) {
                    times.insert(id.as_str().to_owned(), created);
                    made.insert(id.clone(), (diff_id.clone(), epoch.unwrap_or(created)));
                }
                diff_ids.push(diff_id);
            }
        }
    }
    let base = base_of(result);
    if options.base.labels {
        // What the base says of its own base is not true of this image; what the Dockerfile says is.
        let inherited = base_image(result).map(|image| &image.config.config.labels);
        for (key, value) in &base {
            if config.config.labels.get(key) == inherited.and_then(|labels| labels.get(key)) {
                config.config.labels.insert(key.clone(), value.clone());
            }
        }
    }
    config.rootfs.kind = "layers".to_owned();
    config.rootfs.diff_ids = diff_ids;
    finish_history(&mut config, result, &times, epoch);
    // That of a base image speaks of other steps.
    config.extra.remove(CONFIG_FIELD);
    if let Some(steps) = inline {
        config.extra.insert(CONFIG_FIELD.to_owned(), crate::cache::inline(steps, &made));
    }

    let json = |value: serde_json::Result<Vec<u8>>| value.map_err(|e| BuildError::new(Kind::Io, e.to_string()));
    let config_bytes = json(serde_json::to_vec(&config))?;
    let config_type = if options.oci { media_type::OCI_CONFIG } else { media_type::DOCKER_CONFIG };
    let config_descriptor = Descriptor::of(config_type, &config_bytes);
    let mut manifest =
        Manifest::new(config_descriptor.clone(), out.iter().map(|l| l.descriptor.clone()).collect(), options.oci);
    let platform = config.platform();
    let chosen = |level: AnnotationLevel| {
        options
            .annotations
            .iter()
            .filter(move |a| a.level == level)
            .filter(|a| a.platform.as_ref().is_none_or(|p| p.distance_of(&platform) == Some(0)))
            .map(|a| (a.key.clone(), a.value.clone()))
            .collect::<BTreeMap<_, _>>()
    };
    manifest.annotations = chosen(AnnotationLevel::Manifest);
    if options.base.annotations {
        for (key, value) in base {
            manifest.annotations.entry(key).or_insert(value);
        }
    }
    let manifest_bytes = json(serde_json::to_vec_pretty(&manifest))?;
    let kind = if options.oci { media_type::OCI_MANIFEST } else { media_type::DOCKER_MANIFEST };
    let mut descriptor = Descriptor::of(kind, &manifest_bytes);
    descriptor.annotations = chosen(AnnotationLevel::ManifestDescriptor);
    descriptor.platform = Some(platform.clone());
    Ok(BuiltImage {
        platform,
        layers: out,
        config: config_bytes,
        config_descriptor,
        manifest: manifest_bytes,
        descriptor,
    })
}

fn base_image(result: &StageResult) -> Option<&Arc<ResolvedImage>> {
    result.chain.iter().find_map(|layer| match layer {
        ChainLayer::Base(image, _) => Some(image),
        ChainLayer::Step(_) => None,
    })
}

/// The keys of the OCI image-spec for the base image, where that is one of a registry.
fn base_of(result: &StageResult) -> BTreeMap<String, String> {
    match base_image(result).map(|image| (&image.origin, &image.digest)) {
        Some((ImageOrigin::Registry(reference), digest)) => {
            let name = reference.with_tag(reference.tag().unwrap_or("latest")).to_string();
            let key = |key: &str| format!("org.opencontainers.image.base.{key}");
            [(key("name"), name), (key("digest"), digest.to_string())].into()
        }
        _ => BTreeMap::new(),
    }
}

/// Marks the entries that came to no layer, and dates all new ones: with `SOURCE_DATE_EPOCH`, else with the time at
/// which their layer was made, so that a build from the cache gives the same image again.
fn finish_history(config: &mut ImageConfig, result: &StageResult, times: &BTreeMap<String, i64>, epoch: Option<i64>) {
    let mut made: Vec<Option<i64>> = vec![None; config.history.len()];
    for (place, layer) in &result.layers {
        let Some(entry) = config.history.get_mut(*place) else { continue };
        match layer {
            None => entry.empty_layer = true,
            Some(id) => made[*place] = times.get(id.as_str()).copied(),
        }
    }
    // An entry without a layer is dated like the next one with a layer, or else the last one before it.
    let mut last = config.history.iter().rev().find_map(|h| h.created.clone());
    let mut following: Option<i64> = None;
    let mut dates: Vec<Option<String>> = vec![None; config.history.len()];
    for place in (0..config.history.len()).rev() {
        following = made[place].or(following);
        dates[place] = following.map(rfc3339);
    }
    for (place, entry) in config.history.iter_mut().enumerate() {
        if entry.created.is_some() {
            continue;
        }
        let date = match epoch {
            Some(epoch) => rfc3339(epoch),
            None => dates[place].clone().or_else(|| last.clone()).unwrap_or_else(|| rfc3339(0)),
        };
        if epoch.is_none() && dates[place].is_some() {
            last = Some(date.clone());
        }
        entry.created = Some(date);
    }
    config.created = match epoch {
        Some(epoch) => Some(rfc3339(epoch)),
        None => config.history.iter().rev().find_map(|h| h.created.clone()).or(last),
    };
}
