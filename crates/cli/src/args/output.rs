//! `-o`: where the result goes, in buildx's notation, with `--push` and `--load` folded in.
use build::request::{Annotation, AnnotationLevel, Output, OutputKind};
use oci::media_type::Compression;
use oci::{Platform, Reference};

use super::values::boolean;
use crate::csv;

/// Keys that every output takes.
const IMAGE_KEYS: &[&str] = &[
    "annotation",
    "compression",
    "compression-level",
    "force-compression",
    "name",
    "name-canonical",
    "oci-artifact",
    "oci-mediatypes",
    "push",
    "push-by-digest",
    "registry.insecure",
    "rewrite-timestamp",
];
const LAYOUT_KEYS: &[&str] = &[
    "annotation",
    "compression",
    "compression-level",
    "dest",
    "force-compression",
    "name",
    "oci-artifact",
    "oci-mediatypes",
    "rewrite-timestamp",
    "tar",
];
const FILE_KEYS: &[&str] = &["dest", "platform-split"];

/// Parses one `-o`.
pub(crate) fn parse(text: &str) -> Result<Output, String> {
    let fields = csv::fields(text)?;
    if let [only] = fields.as_slice()
        && only == text
        && !text.starts_with("type=")
    {
        let kind = if text == "-" { OutputKind::Tar } else { OutputKind::Local };
        return Ok(Output { dest: Some(text.to_owned()), ..empty(kind) });
    }
    let pairs = csv::pairs(text)?;
    let kind_name = pairs.iter().find(|(key, _)| key == "type").map(|(_, value)| value.as_str());
    let kind = match kind_name {
        Some("image") => OutputKind::Image,
        Some("registry") => OutputKind::Registry,
        Some("oci") => OutputKind::Oci,
        Some("docker") => OutputKind::Docker,
        Some("tar") => OutputKind::Tar,
        Some("local") => OutputKind::Local,
        Some("cacheonly") => {
            return Err("type=cacheonly needs no output: leave -o out, the result stays in the store".into());
        }
        Some(other) => {
            return Err(format!(
                "there is no output type {other:?}; known are image, registry, oci, docker, tar, local"
            ));
        }
        None => return Err("type= is missing; write type=local,dest=DIRECTORY, or the directory alone".into()),
    };
    let mut output = empty(kind);
    for (key, value) in pairs.iter().filter(|(key, _)| key != "type") {
        apply(&mut output, key, value)?;
    }
    check(&output)?;
    Ok(output)
}

/// An output with nothing said.
pub(crate) fn empty(kind: OutputKind) -> Output {
    Output {
        kind,
        dest: None,
        names: Vec::new(),
        push: kind == OutputKind::Registry,
        push_by_digest: false,
        name_canonical: false,
        compression: None,
        compression_level: None,
        force_compression: false,
        oci_mediatypes: None,
        rewrite_timestamp: false,
        tar: true,
        platform_split: None,
        annotations: Vec::new(),
        insecure: false,
        oci_artifact: false,
    }
}

fn apply(output: &mut Output, key: &str, value: &str) -> Result<(), String> {
    let known = match output.kind {
        OutputKind::Image | OutputKind::Registry => IMAGE_KEYS,
        OutputKind::Oci | OutputKind::Docker => LAYOUT_KEYS,
        OutputKind::Tar | OutputKind::Local => FILE_KEYS,
    };
    let bool_of = || boolean(value).map_err(|why| format!("{key}: {why}"));
    let plain = key.split(['.', '-', '[']).next() == Some("annotation");
    let accepted = known.contains(&if plain { "annotation" } else { key });
    if !accepted {
        return Err(match key {
            "store" | "unpack" | "dangling-name-prefix" | "buildinfo" | "prefer-nondist-layers" => {
                format!("{key}= belongs to a daemon's image store; leave it out")
            }
            "context" if output.kind == OutputKind::Docker => {
                "context= is not supported; set DOCKER_HOST, or write dest=FILE and load that".into()
            }
            _ => format!("type={} has no key {key:?}; known are {}", kind_name(output.kind), known.join(", ")),
        });
    }
    match key {
        "dest" => output.dest = Some(value.to_owned()),
        "name" => {
            for name in value.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                output.names.push(name.parse::<Reference>().map_err(|e| e.to_string())?);
            }
        }
        "push" => output.push = bool_of()?,
        "push-by-digest" => output.push_by_digest = bool_of()?,
        "name-canonical" => output.name_canonical = bool_of()?,
        "force-compression" => output.force_compression = bool_of()?,
        "oci-artifact" => output.oci_artifact = bool_of()?,
        "oci-mediatypes" => output.oci_mediatypes = Some(bool_of()?),
        "rewrite-timestamp" => output.rewrite_timestamp = bool_of()?,
        "tar" => output.tar = bool_of()?,
        "platform-split" => output.platform_split = Some(bool_of()?),
        "registry.insecure" => output.insecure = bool_of()?,
        "compression" => {
            output.compression = Some(match value {
                "gzip" => Compression::Gzip,
                "zstd" => Compression::Zstd,
                "uncompressed" => Compression::Uncompressed,
                "estargz" => return Err("compression=estargz is not supported; use zstd or gzip".into()),
                _ => return Err(format!("there is no compression {value:?}; known are gzip, zstd, uncompressed")),
            });
        }
        "compression-level" => {
            output.compression_level =
                Some(value.parse().map_err(|_| format!("compression-level is {value:?}, expected a number"))?);
        }
        _ => {
            let name = &key["annotation".len()..];
            let (target, name) =
                name.split_once('.').ok_or_else(|| format!("{key:?} is not annotation[-LEVEL].KEY"))?;
            let (level, platform) = annotation_target(target.strip_prefix('-').unwrap_or(target))?;
            output.annotations.push(Annotation { level, platform, key: name.to_owned(), value: value.to_owned() });
        }
    }
    Ok(())
}

fn check(output: &Output) -> Result<(), String> {
    match (output.kind, output.dest.as_deref()) {
        (OutputKind::Local, None | Some("")) => Err("type=local needs dest=DIRECTORY".into()),
        (OutputKind::Local, Some("-")) => {
            Err("type=local writes a directory, not standard output; use type=tar,dest=-".into())
        }
        (OutputKind::Oci | OutputKind::Docker, None | Some("-")) if !output.tar => {
            Err("tar=false needs dest=DIRECTORY".into())
        }
        (_, Some("")) => Err("dest= is empty".into()),
        _ => checked_level(output.compression, output.compression_level).map(drop),
    }
}

/// The level, where the compression knows it.
pub(crate) fn checked_level(compression: Option<Compression>, level: Option<i32>) -> Result<Option<i32>, String> {
    let Some(level) = level else { return Ok(None) };
    let (range, name) = match compression {
        Some(Compression::Zstd) => (0..=22, "zstd"),
        Some(Compression::Uncompressed) => {
            return Err("compression-level has no meaning with compression=uncompressed".into());
        }
        _ => (-1..=9, "gzip"),
    };
    if range.contains(&level) {
        Ok(Some(level))
    } else {
        Err(format!("compression-level={level} is out of range for {name}: {} to {}", range.start(), range.end()))
    }
}

pub(crate) fn kind_name(kind: OutputKind) -> &'static str {
    match kind {
        OutputKind::Image => "image",
        OutputKind::Registry => "registry",
        OutputKind::Oci => "oci",
        OutputKind::Docker => "docker",
        OutputKind::Tar => "tar",
        OutputKind::Local => "local",
    }
}

/// Folds `--push` and `--load` into the outputs, as buildx does: they change an output that is
/// there, or add one.
pub(crate) fn with_shorthands(mut outputs: Vec<Output>, push: bool, load: bool) -> Vec<Output> {
    if push {
        let images = |o: &&mut Output| matches!(o.kind, OutputKind::Image | OutputKind::Registry);
        let mut any = false;
        for output in outputs.iter_mut().filter(images) {
            output.push = true;
            any = true;
        }
        if !any {
            outputs.push(Output { push: true, ..empty(OutputKind::Image) });
        }
    }
    if load && !outputs.iter().any(|o| o.kind == OutputKind::Docker && o.dest.is_none()) {
        outputs.push(empty(OutputKind::Docker));
    }
    outputs
}

/// `LEVEL[PLATFORM]` of an annotation; empty for the manifest.
fn annotation_target(text: &str) -> Result<(AnnotationLevel, Option<Platform>), String> {
    let (level, platform) = match text.split_once('[') {
        Some((level, platform)) => {
            let platform = platform
                .strip_suffix(']')
                .ok_or_else(|| format!("{text:?} has an opening bracket without its closing one"))?;
            (level, Some(platform.parse::<Platform>().map_err(|e| e.to_string())?))
        }
        None => (text, None),
    };
    let level = match level {
        "" | "manifest" => AnnotationLevel::Manifest,
        "index" => AnnotationLevel::Index,
        "manifest-descriptor" => AnnotationLevel::ManifestDescriptor,
        "index-descriptor" => AnnotationLevel::IndexDescriptor,
        _ => {
            return Err(format!(
                "there is no annotation level {level:?}; known are manifest, index, manifest-descriptor, index-descriptor"
            ));
        }
    };
    if platform.is_some() && matches!(level, AnnotationLevel::Index | AnnotationLevel::IndexDescriptor) {
        return Err(format!("{text:?}: an index has no platform"));
    }
    Ok((level, platform))
}

/// Parses one `--annotation`, which may name several levels.
pub(crate) fn annotations(text: &str) -> Result<Vec<Annotation>, String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not [LEVEL:]KEY=VALUE"))?;
    let (levels, key) = key.split_once(':').unwrap_or(("manifest", key));
    if key.is_empty() {
        return Err(format!("{text:?} has no key"));
    }
    levels
        .split(',')
        .map(|target| {
            let (level, platform) = annotation_target(target.trim())?;
            Ok(Annotation { level, platform, key: key.to_owned(), value: value.to_owned() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms() {
        assert_eq!(parse("out").unwrap().kind, OutputKind::Local);
        assert_eq!(parse("a=b").unwrap().dest.as_deref(), Some("a=b"));
        assert_eq!(parse("-").unwrap().kind, OutputKind::Tar);
    }

    #[test]
    fn every_key_arrives() {
        let text = "type=image,\"name=a:1,ghcr.io/b\",push=true,push-by-digest=1,name-canonical=true,compression=zstd,\
                    compression-level=19,force-compression=true,oci-mediatypes=false,rewrite-timestamp=true,\
                    registry.insecure=true,annotation.a=b,annotation-index.c=d,annotation-manifest[linux/arm64].e.f=g=h";
        let output = parse(text).unwrap();
        assert_eq!(output.names.iter().map(Reference::familiar).collect::<Vec<_>>(), ["a:1", "ghcr.io/b"]);
        assert!(output.push && output.push_by_digest && output.name_canonical && output.force_compression);
        assert!(output.rewrite_timestamp && output.insecure);
        assert_eq!(output.compression, Some(Compression::Zstd));
        assert_eq!((output.compression_level, output.oci_mediatypes), (Some(19), Some(false)));
        assert_eq!(output.annotations.len(), 3);
        assert_eq!(output.annotations[1].level, AnnotationLevel::Index);
        assert_eq!((output.annotations[2].key.as_str(), output.annotations[2].value.as_str()), ("e.f", "g=h"));
        assert!(output.annotations[2].platform.is_some());
        let layout = parse("type=oci,dest=x,tar=false").unwrap();
        assert!(!layout.tar);
        assert_eq!(parse("type=local,dest=x,platform-split=false").unwrap().platform_split, Some(false));
    }

    #[test]
    fn wrong_outputs_say_why() {
        let errors: Vec<String> = [
            "type=local",
            "type=local,dest=-",
            "type=tarball,dest=x",
            "dest=x,name=y",
            "type=image,dest=x",
            "type=image,unpack=true",
            "type=oci,tar=false",
            "type=image,compression=lz4",
            "type=image,compression=zstd,compression-level=30",
            "type=image,push=maybe",
            "type=image,name=UPPER",
            "type=image,annotation-layer.x=y",
            "type=image,push",
        ]
        .iter()
        .map(|text| format!("{text}: {}", parse(text).unwrap_err()))
        .collect();
        insta::assert_snapshot!(errors.join("\n"), @r#"
        type=local: type=local needs dest=DIRECTORY
        type=local,dest=-: type=local writes a directory, not standard output; use type=tar,dest=-
        type=tarball,dest=x: there is no output type "tarball"; known are image, registry, oci, docker, tar, local
        dest=x,name=y: type= is missing; write type=local,dest=DIRECTORY, or the directory alone
        type=image,dest=x: type=image has no key "dest"; known are annotation, compression, compression-level, force-compression, name, name-canonical, oci-artifact, oci-mediatypes, push, push-by-digest, registry.insecure, rewrite-timestamp
        type=image,unpack=true: unpack= belongs to a daemon's image store; leave it out
        type=oci,tar=false: tar=false needs dest=DIRECTORY
        type=image,compression=lz4: there is no compression "lz4"; known are gzip, zstd, uncompressed
        type=image,compression=zstd,compression-level=30: compression-level=30 is out of range for zstd: 0 to 22
        type=image,push=maybe: push: expected true or false, not "maybe"
        type=image,name=UPPER: invalid image reference "UPPER": a repository's name must be lower case
        type=image,annotation-layer.x=y: there is no annotation level "layer"; known are manifest, index, manifest-descriptor, index-descriptor
        type=image,push: the field "push" is no KEY=VALUE pair
        "#);
    }

    #[test]
    fn push_and_load_change_or_add() {
        let outputs = with_shorthands(vec![parse("type=image,name=a").unwrap()], true, true);
        assert_eq!(outputs.len(), 2);
        assert!(outputs[0].push);
        assert_eq!(with_shorthands(vec![parse("type=docker").unwrap()], false, true).len(), 1);
        assert_eq!(with_shorthands(vec![parse("type=docker,dest=x").unwrap()], true, true).len(), 3);
    }

    #[test]
    fn annotation_levels() {
        let list = annotations("index,manifest-descriptor[linux/amd64]:org.example.a:b=c=d").unwrap();
        assert_eq!(list.len(), 2);
        assert_eq!((list[0].key.as_str(), list[0].value.as_str()), ("org.example.a:b", "c=d"));
        assert!(annotations("index[linux/amd64]:a=b").unwrap_err().contains("no platform"));
        assert!(annotations("layer:a=b").unwrap_err().contains("no annotation level"));
        assert!(annotations("a").is_err());
    }
}
