//! Reading layers: one pass over each tar, at most four layers at once.
//!
//! ```text
//! blob ─► inflate ─► digest of the tar ─► entries ─┬─► table of contents ─► merged view
//!                                                  ├─► digests of every file
//!                                                  └─► files that a catalogue wants ─► what was found in them
//! ```
//! A wanted file is held in memory up to 16 MiB, in an unnamed temporary file beyond that.
use super::OpenImage;
use super::image::is_foreign;
use crate::error::{BuildError, Kind, Result};
use attest::catalog::{LayerScan, interest};
use attest::inventory::{FileDigests, FileFacts, ImageFacts, Inventory, LayerFacts, Tree, merge};
use layer::apply::{Limits, toc_item};
use layer::codec::ReadAhead;
use layer::tar_reader::{Header, TarReader};
use layer::{Kind as Object, Node, Toc, TocItem, View};
use oci::{Digest, ImageConfig};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tempfile::SpooledTempFile;

/// How an inventory is made.
#[derive(Debug, Clone)]
pub struct InventoryOptions {
    /// Whether files get digests, without which no document lists them.
    pub digests: bool,
    /// The directory for what does not fit into memory.
    pub scratch: PathBuf,
}

const IN_MEMORY: usize = 16 << 20;
/// Bytes of a file that catalogues look at first.
const HEAD: usize = 64;
const PIECE: usize = 256 << 10;

/// What a layer is known to be before it is read.
pub(crate) type Known = Option<LayerFacts>;
/// Takes the tar of a layer and reads it to its end.
pub(crate) type Take<'a> = &'a mut dyn FnMut(Box<dyn Read + Send>) -> Result<()>;

/// Layers to be read, wherever they are.
pub(crate) struct Layered<'a> {
    /// What is known of them; the diff ID is checked.
    pub(crate) layers: Vec<Known>,
    /// Gives the inflated tar of the layer with this number.
    pub(crate) read: &'a (dyn Fn(usize, Take<'_>) -> Result<()> + Sync),
}

/// Reads all layers of an image and tells what it holds.
///
/// # Errors
/// Where a layer cannot be had, is no tar, or is not what the image's config says. What is wrong with single files in
/// it is in [`Inventory::warnings`].
pub fn inventory(image: &OpenImage, options: &InventoryOptions) -> Result<Inventory> {
    let instructions = instructions(&image.config, image.layers.len());
    let layers = image.layers.iter().zip(instructions).map(|(layer, instruction)| {
        let digest = layer.descriptor.as_ref().map(|d| d.digest.clone());
        Some(LayerFacts { diff_id: layer.diff_id.clone(), digest, instruction })
    });
    let read = |number: usize, take: Take<'_>| {
        let layer = &image.layers[number];
        let context = |e: BuildError| e.context(format!("layer {} of {}", layer.diff_id.short(), image.name));
        if is_foreign(layer) {
            return Err(context(BuildError::new(Kind::Input, "it is a foreign layer, which registries do not hold")));
        }
        let tar = layer::decompress(image.layer(number).map_err(context)?).map_err(damaged).map_err(context)?;
        take(tar).map_err(context)
    };
    let about = ImageFacts {
        name: image.name.clone(),
        digest: image.digest.clone(),
        config: Some(image.config_digest.clone()),
        platform: Some(image.platform()),
    };
    inventory_of(&Layered { layers: layers.collect(), read: &read }, about, options)
}

/// Reads layers and tells what they hold together.
pub(crate) fn inventory_of(layered: &Layered<'_>, image: ImageFacts, options: &InventoryOptions) -> Result<Inventory> {
    let (mut facts, mut tocs, mut scans, mut digests) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (read, known) in read_all(layered, options)?.into_iter().zip(&layered.layers) {
        facts.push(match known {
            Some(known) => known.clone(),
            None => LayerFacts { diff_id: read.diff_id, digest: None, instruction: None },
        });
        tocs.push(Arc::new(read.toc));
        scans.push(read.scan);
        digests.push(read.digests);
    }
    let view = View::of(tocs);
    let mut files = Vec::new();
    walk(&view, &digests, &mut files);
    Ok(merge(image, facts, scans, files, &Merged(view)))
}

/// What one layer gave.
struct LayerRead {
    diff_id: Digest,
    toc: Toc,
    scan: LayerScan,
    /// By the number of the entry in the table.
    digests: Vec<Option<FileDigests>>,
}

fn damaged(error: layer::Error) -> BuildError {
    BuildError::new(Kind::Remote, error.to_string()).caused_by(error)
}

fn read_all(layered: &Layered<'_>, options: &InventoryOptions) -> Result<Vec<LayerRead>> {
    let count = layered.layers.len();
    let width = std::thread::available_parallelism().map_or(2, usize::from).clamp(1, 4).min(count);
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Option<Result<LayerRead>>>> = Mutex::new(layered.layers.iter().map(|_| None).collect());
    std::thread::scope(|scope| {
        for _ in 0..width {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let result = read_layer(layered, number, options);
                    if result.is_err() {
                        // Nobody needs the layers after it.
                        next.store(count, Ordering::Relaxed);
                    }
                    done.lock().unwrap_or_else(PoisonError::into_inner)[number] = Some(result);
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(failed) = done.iter_mut().find(|result| matches!(result, Some(Err(_))))
        && let Some(Err(error)) = failed.take()
    {
        return Err(error);
    }
    done.into_iter().flatten().collect()
}

fn read_layer(layered: &Layered<'_>, number: usize, options: &InventoryOptions) -> Result<LayerRead> {
    let mut out = None;
    (layered.read)(number, &mut |tar| {
        let mut ahead = ReadAhead::start(tar).map_err(damaged)?;
        let mut read = read_tar(&mut ahead, options)?;
        let (diff_id, _) = ahead.finish().map_err(damaged)?;
        if let Some(known) = &layered.layers[number]
            && known.diff_id != diff_id
        {
            let text = format!("the layer's content has diff ID {diff_id}, the image's config says {}", known.diff_id);
            return Err(BuildError::new(Kind::Remote, text).hint("the image is damaged: pull, push or build it again"));
        }
        read.diff_id = diff_id;
        out = Some(read);
        Ok(())
    })?;
    out.ok_or_else(|| BuildError::new(Kind::Io, "a layer was not read"))
}

fn read_tar(ahead: &mut ReadAhead, options: &InventoryOptions) -> Result<LayerRead> {
    let mut reader = TarReader::new(ahead, Limits::default());
    let mut read = LayerRead {
        diff_id: Digest::sha256(b""),
        toc: Toc::default(),
        scan: LayerScan::default(),
        digests: Vec::new(),
    };
    while let Some(header) = reader.next_entry().map_err(damaged)? {
        let Some(item) = toc_item(&header).map_err(damaged)? else { continue };
        let mut digests = None;
        if let TocItem::Entry { entry, .. } = &item
            && entry.kind == Object::File
        {
            digests = read_file(&mut reader, &header, &entry.path, &mut read.scan, options)?;
        }
        read.toc.items.push(item);
        read.digests.push(digests);
    }
    Ok(read)
}

/// Hashes a file, and hands it to the catalogue that wants it.
fn read_file(
    reader: &mut TarReader<&mut ReadAhead>,
    header: &Header,
    path: &Path,
    scan: &mut LayerScan,
    options: &InventoryOptions,
) -> Result<Option<FileDigests>> {
    // Nobody installs packages as files with holes; their stored pieces are not their content.
    if header.sparse.is_some() {
        return Ok(None);
    }
    let mut head = Vec::with_capacity(HEAD);
    while head.len() < HEAD {
        let piece = reader.content(HEAD - head.len()).map_err(damaged)?;
        if piece.is_empty() {
            break;
        }
        head.extend_from_slice(piece);
        let used = piece.len();
        reader.used(used);
    }
    let name = path.to_str();
    let wanted = name.and_then(|name| interest(name, &head));
    let mut kept = None;
    if let (Some(wanted), Some(name)) = (wanted, name) {
        if header.size > wanted.limit() {
            scan.refuse(name, format!("it has {} bytes; no more than {} are read", header.size, wanted.limit()));
        } else {
            let mut file = tempfile::spooled_tempfile_in(IN_MEMORY, &options.scratch);
            keep(&mut file, &head)?;
            kept = Some((wanted, name, file));
        }
    }
    if kept.is_none() && !options.digests {
        return Ok(None);
    }
    let mut hasher = options.digests.then(attest::inventory::FileHasher::default);
    if let Some(hasher) = &mut hasher {
        hasher.update(&head);
    }
    loop {
        let piece = reader.content(PIECE).map_err(damaged)?;
        if piece.is_empty() {
            break;
        }
        if let Some((_, _, file)) = &mut kept {
            keep(file, piece)?;
        }
        if let Some(hasher) = &mut hasher {
            hasher.update(piece);
        }
        let used = piece.len();
        reader.used(used);
    }
    if let Some((wanted, name, mut file)) = kept {
        scan.read(wanted, name, &mut file);
    }
    Ok(hasher.map(attest::inventory::FileHasher::finish))
}

fn keep(file: &mut SpooledTempFile, bytes: &[u8]) -> Result<()> {
    file.write_all(bytes).map_err(|e| BuildError::io("write", "a temporary file", e))
}

/// Lists the regular files of the merged tree.
fn walk(view: &View, digests: &[Vec<Option<FileDigests>>], files: &mut Vec<FileFacts>) {
    let mut todo = vec![PathBuf::new()];
    while let Some(dir) = todo.pop() {
        for (name, node) in view.read_dir(&dir) {
            let path = dir.join(name);
            match node.kind() {
                Object::Dir => todo.push(path),
                Object::File => {
                    let digests = node.item.and_then(|item| *digests.get(node.layer)?.get(item)?);
                    if let Ok(path) = path.into_os_string().into_string() {
                        let (size, mode) = node.entry.map_or((0, 0), |e| (e.size, e.mode));
                        files.push(FileFacts { path, layer: node.layer, size, mode, digests });
                    }
                }
                _ => {}
            }
        }
    }
}

struct Merged(View);

impl Tree for Merged {
    fn layer_of(&self, path: &str) -> Option<usize> {
        let node: Node<'_> = self.0.lookup(Path::new(path))?;
        (node.kind() == Object::File).then_some(node.layer)
    }

    fn resolve(&self, path: &str) -> Option<String> {
        self.0.resolve(Path::new(path), true).ok()?.into_os_string().into_string().ok()
    }
}

/// For each layer the instruction that made it, where the history fits the layers.
pub(crate) fn instructions(config: &ImageConfig, layers: usize) -> Vec<Option<String>> {
    let history: Vec<Option<String>> = config
        .history
        .iter()
        .filter(|h| !h.empty_layer)
        .map(|h| h.created_by.as_deref().and_then(instruction))
        .collect();
    if history.len() == layers { history } else { vec![None; layers] }
}

/// The instruction in the words of a Dockerfile: without what builders put around it.
fn instruction(created_by: &str) -> Option<String> {
    let text = created_by.trim();
    let text = text.strip_suffix("# buildkit").unwrap_or(text).trim_end();
    let text = match text.strip_prefix("/bin/sh -c ") {
        Some(rest) => match rest.trim_start().strip_prefix("#(nop)") {
            Some(rest) => rest.trim_start().to_owned(),
            None => format!("RUN {rest}"),
        },
        None => text.to_owned(),
    };
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_as_they_were_written() {
        for (history, want) in [
            ("RUN /bin/sh -c apt-get update # buildkit", "RUN /bin/sh -c apt-get update"),
            ("/bin/sh -c #(nop) COPY file:x in / ", "COPY file:x in /"),
            ("/bin/sh -c npm ci", "RUN npm ci"),
            ("COPY a b # buildkit", "COPY a b"),
        ] {
            assert_eq!(instruction(history).as_deref(), Some(want));
        }
        assert_eq!(instruction(" "), None);
    }
}
