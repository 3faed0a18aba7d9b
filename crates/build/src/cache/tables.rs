//! Tables of contents in an external cache: a COPY onto layers that lie in a registry needs to know what is in them, not
//! their bytes.
//!
//! Each table is a blob of its own, the store's form of it in zstd. Layers whose blob is hardly larger than a table have
//! none; nor do layers that nobody listed before the export. A table that cannot be had costs a warning and the download
//! of the layer.
use super::{CacheStore, Open, document::TableEntry, unusable};
use crate::error::Result;
use crate::snapshot::Layers;
use crate::store::LayerId;
use ::layer::Toc;
use oci::{Descriptor, Digest};
use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::sync::Arc;

/// The media type of a table.
pub(super) const MEDIA_TYPE: &str = "application/vnd.cooperage.toc.v1+zstd";

/// Layers of fewer compressed bytes have no table.
const WORTH: u64 = 256 << 10;

/// A table of more bytes is refused: two million files.
const LIMIT: u64 = 512 << 20;

/// A table that lies in an external cache.
#[derive(Clone)]
pub(crate) struct RemoteTable {
    pub(super) cache: Arc<dyn CacheStore>,
    pub(super) blob: Descriptor,
}

impl RemoteTable {
    /// Fetches it.
    ///
    /// # Errors
    /// Where it is missing, damaged, or no table.
    pub(crate) fn read(&self) -> Result<Toc> {
        let raw = self.cache.open(&self.blob, registry::Progress::none())?;
        let mut bytes = Vec::new();
        let mut inflated = ::layer::decompress(raw).map_err(|e| unusable(e.to_string()))?.take(LIMIT);
        inflated.read_to_end(&mut bytes).map_err(|e| unusable(e.to_string()))?;
        Toc::from_bytes(&bytes).map_err(|e| unusable(format!("a table of contents is damaged ({e})")))
    }

    /// For messages.
    pub(crate) fn place(&self) -> String {
        self.cache.name()
    }
}

/// Writes the tables of layers, given as diff ID, name and compressed size; what the document has to say about them.
pub(super) fn export(
    layers: &Layers,
    cache: &dyn CacheStore,
    wanted: &BTreeMap<Digest, (LayerId, u64)>,
) -> Result<Vec<TableEntry>> {
    let mut entries = Vec::new();
    for (diff_id, (id, size)) in wanted {
        if *size < WORTH {
            continue;
        }
        let imported = layers.imports().and_then(|imports| imports.table(&LayerId::of_diff(diff_id)));
        if let Some(table) = &imported
            && table.cache.name() == cache.name()
        {
            // It came from there; where objects age, it is looked at.
            if cache.ages() {
                let source = || table.cache.open(&table.blob, registry::Progress::none()).map_err(io::Error::other);
                cache.put(&table.blob, &source, &[], registry::Progress::none())?;
            }
            entries.push(TableEntry { diff_id: diff_id.clone(), blob: table.blob.clone() });
            continue;
        }
        let known = layers.store.layer_toc(id).or_else(|| imported.and_then(|table| table.read().ok()).map(Arc::new));
        let Some(toc) = known else { continue };
        let bytes = compressed(&toc.to_bytes()).map_err(|e| unusable(e.to_string()))?;
        let blob = Descriptor::of(MEDIA_TYPE, &bytes);
        let source = || -> io::Result<Box<dyn Read + Send>> { Ok(Box::new(Cursor::new(bytes.clone()))) };
        let open: Open<'_> = &source;
        cache.put(&blob, open, &[], registry::Progress::none())?;
        entries.push(TableEntry { diff_id: diff_id.clone(), blob });
    }
    Ok(entries)
}

/// The same bytes give the same blob, with the same version of zstd.
fn compressed(table: &[u8]) -> io::Result<Vec<u8>> {
    let writer = ::layer::LayerWriter::create(Vec::new(), ::layer::Compression::Zstd, None, 1);
    let mut writer = writer.map_err(io::Error::other)?;
    io::Write::write_all(&mut writer, table)?;
    Ok(writer.finish().map_err(io::Error::other)?.1)
}
