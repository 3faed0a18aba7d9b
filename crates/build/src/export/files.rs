//! `type=local` and `type=tar`: the files of the result.
use super::{Export, Sboms, to_destination};
use crate::copy::{Destination, Selection, Wanted, select, write};
use crate::error::{BuildError, Kind, Result};
use crate::provenance::Captured;
use crate::request::{Output, OutputKind};
use crate::snapshot::{ChainLayer, layer_error, open_dir};
use crate::tree::{Bytes, SingleTree, Tree, builder_time};
use attest::statement::{Statement, Subject};
use layer::{ApplyOptions, Owners, TarWriter, Whiteouts};
use oci::Platform;
use std::io::{BufWriter, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Writes the files of each platform's result; with several platforms (or `platform-split=true`) each has a
/// directory of its own, `linux_amd64`.
pub(crate) fn write_files(
    export: &Export<'_>,
    output: &Output,
    results: &[(Platform, Vec<ChainLayer>)],
    captured: &[Captured],
    sboms: &Sboms<'_>,
    epoch: Option<i64>,
) -> Result<()> {
    let dest = output
        .dest
        .as_deref()
        .ok_or_else(|| BuildError::new(Kind::Input, "this output needs a destination").hint("add dest=PATH"))?;
    let split = output.platform_split.unwrap_or(results.len() > 1);
    let prefix = |platform: &Platform| split.then(|| platform.to_string().replace('/', "_"));
    let mut all = Vec::new();
    for (platform, chain) in results {
        let tree: Arc<dyn Tree> = export.layers.tree(chain, "the result", Some(export.line))?;
        let number = all.len();
        let mut attestations = Vec::new();
        let mut attest = |name: &'static str, statement: Statement| {
            let bytes = statement.to_bytes();
            let (size, time) = (bytes.len() as u64, builder_time(epoch));
            let file = SingleTree::new(name, 0o644, size, time, Bytes::Memory(bytes.into()));
            attestations.push((name, Arc::new(file) as Arc<dyn Tree>));
        };
        if sboms.request.is_some()
            && let Some(statement) = sboms.about_files(number, subjects(&tree)?)?
        {
            attest("sbom.spdx.json", statement);
        }
        if let Some(captured) = captured.get(number) {
            attest("provenance.json", captured.about_files(subjects(&tree)?));
        }
        all.push((prefix(platform), tree, attestations));
    }
    let pack = |out: &mut dyn Write, clamp: Option<i64>| -> Result<()> {
        let mut destination = Destination::new(None, None, None, builder_time(epoch), false);
        for (prefix, tree, attestations) in &all {
            let selection = select(tree, &Wanted { source: "/", parents: None, exclude: &[] })?;
            let target = prefix.as_ref().map_or_else(|| "/".to_owned(), |p| format!("/{p}/"));
            destination.copy(&selection, &target)?;
            for (name, file) in attestations {
                destination.copy(&Selection::of_file(Arc::clone(file), name)?, &target)?;
            }
        }
        let mut placed = destination.into_placed();
        for object in placed.values_mut() {
            if let Some(epoch) = clamp {
                object.entry.mtime = object.entry.mtime.min(layer::Time::secs(epoch));
            }
        }
        let mut tar = TarWriter::new(out);
        write(&placed, &mut tar)?;
        tar.finish().map_err(layer_error)?;
        Ok(())
    };
    match output.kind {
        OutputKind::Tar => to_destination(dest, |out| pack(out, epoch)),
        _ => {
            let dir = PathBuf::from(dest);
            std::fs::create_dir_all(&dir).map_err(|e| BuildError::io("make", &dir, e))?;
            unpack_into(&dir, |out| pack(out, None))
        }
    }
}

/// Files land with the user's own ids, as `docker buildx build -o dir` leaves them.
fn unpack_into(dir: &Path, pack: impl FnOnce(&mut dyn Write) -> Result<()> + Send) -> Result<()> {
    let root = open_dir(dir)?;
    let (reader, writer) = std::io::pipe().map_err(|e| BuildError::io("make", "a pipe", e))?;
    std::thread::scope(|scope| {
        let packing = scope.spawn(move || {
            let mut out = BufWriter::with_capacity(256 << 10, writer);
            pack(&mut out)?;
            out.flush().map_err(|e| BuildError::io("write", "a pipe", e))
        });
        let mut options =
            ApplyOptions { whiteouts: Whiteouts::Literal, owners: Owners::Ignored, ..ApplyOptions::default() };
        let applied = layer::apply(reader, root.as_fd(), &mut options).map_err(layer_error);
        let packed = packing.join().unwrap_or_else(|p| std::panic::resume_unwind(p));
        packed.and(applied.map(|_| ()))
    })
}

/// Every regular file with its digest: what a statement beside them is about.
fn subjects(tree: &Arc<dyn Tree>) -> Result<Vec<Subject>> {
    let mut found = Vec::new();
    for matched in select(tree, &Wanted { source: "/", parents: None, exclude: &[] })?.matches {
        for (path, _) in matched.below.iter().filter(|(_, node)| node.entry.kind == layer::Kind::File) {
            let mut digester = oci::Digester::new();
            std::io::copy(&mut tree.open(path)?, &mut digester).map_err(|e| BuildError::io("read", path, e))?;
            found.push(Subject::new(path.to_string_lossy(), &digester.finish()));
        }
    }
    if found.is_empty() {
        found.push(Subject::new("_", &oci::Digest::sha256(b"")));
    }
    Ok(found)
}
