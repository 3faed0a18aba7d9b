//! COPY, ADD and WORKDIR: steps that need no root file system.
use super::{At, Executor, StageResult, users};
use crate::copy::{Destination, Placed, Selection, write};
use crate::error::{BuildError, Kind, Result};
use crate::event::{Event, Phase};
use crate::key::Key;
use crate::plan::{CopyItem, CopyOp};
use crate::snapshot::{ChainLayer, codec, layer_error, open_dir};
use crate::store::{LayerId, LayerMeta, StoredBlob, fs_name, remove_tree};
use crate::tree::{Tree, builder_time};
use layer::{LayerWriter, TarWriter, TreeWriter};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

impl Executor<'_> {
    pub(super) fn mkdir(
        &self,
        at: At,
        path: &str,
        user: &str,
        so_far: &StageResult,
        key: &Key,
    ) -> Result<Option<LayerId>> {
        let below = self.below(at, so_far)?;
        let owner = match user {
            "" => None,
            user => {
                let account = users::account(below.as_deref(), user)?;
                Some((account.uid, account.gid))
            }
        };
        let time = builder_time(self.plan.epoch);
        let mut destination = Destination::new(below, None, None, time, self.plan.epoch.is_some());
        destination.workdir(path, owner)?;
        self.layer_of(at, &destination.into_placed(), &so_far.chain, key)
    }

    pub(super) fn copy(&self, at: At, copy: &CopyOp, so_far: &StageResult, key: &Key) -> Result<Option<LayerId>> {
        let named = copy.chown.as_ref().is_some_and(|c| c.split(':').any(|p| p.parse::<u32>().is_err()));
        if copy.link && named {
            return Err(BuildError::new(
                Kind::Dockerfile,
                "--chown with a name cannot go with --link: the layer is made without a look at /etc/passwd below",
            )
            .hint("use numbers: --chown=UID:GID"));
        }
        let below = if copy.link { None } else { self.below(at, so_far)? };
        let chown = match copy.chown.as_ref().map(|c| users::owner(below.as_deref(), c)).transpose()? {
            None => None,
            Some((owner, unknown)) => {
                if let Some(unknown) = unknown {
                    let message = format!("{unknown}; the files belong to root (0:0), as BuildKit has it");
                    self.fetcher.events.send(Event::Warning { id: Some(at.line), message });
                }
                Some(owner)
            }
        };
        let time = builder_time(self.plan.epoch);
        let mut destination = Destination::new(below, chown, copy.chmod.clone(), time, self.plan.epoch.is_some());
        let mut unpacked: Vec<PathBuf> = Vec::new();
        for (position, item) in copy.items.iter().enumerate() {
            let selection = self.item_selection((at.stage, at.number, position), item, copy, Some(at.line))?;
            let (unpack, span) = match item {
                CopyItem::Tree { unpack, span, .. } | CopyItem::Http { unpack, span, .. } => (*unpack, Some(*span)),
                CopyItem::Git { span, .. } => (false, Some(*span)),
                CopyItem::Inline { .. } => (false, None),
            };
            let place = |e: BuildError| span.map_or(e.duplicate(), |s| e.at(s));
            if unpack {
                self.copy_or_unpack(&mut destination, &selection, &copy.dest, &mut unpacked).map_err(place)?;
            } else {
                destination.copy(&selection, &copy.dest).map_err(place)?;
            }
        }
        let result = self.layer_of(at, &destination.into_placed(), &so_far.chain, key);
        unpacked.iter().for_each(|dir| remove_tree(dir));
        result
    }

    /// ADD: archives among the matches are unpacked, everything else is copied.
    fn copy_or_unpack(
        &self,
        destination: &mut Destination,
        selection: &Selection,
        dest: &str,
        unpacked: &mut Vec<PathBuf>,
    ) -> Result<()> {
        for selected in &selection.matches {
            let entry = &selected.node.entry;
            let archive = entry.kind == layer::Kind::File
                && crate::archive::is_archive(selection.tree.as_ref(), &entry.path, entry.size)?;
            if !archive {
                let one = Selection {
                    tree: Arc::clone(&selection.tree),
                    matches: vec![selected.clone()],
                    parents: selection.parents,
                };
                destination.copy(&one, dest)?;
                continue;
            }
            let dir = self.layers.store.scratch_dir("archive")?;
            unpacked.push(dir.clone());
            let name = entry.path.display().to_string();
            let tree = crate::archive::tree(selection.tree.open(&entry.path)?, &dir, &name)
                .map_err(|e| e.context(format!("cannot unpack {name}")))?;
            let wanted = crate::copy::Wanted { source: "/", parents: None, exclude: &[] };
            destination.unpack(&crate::copy::select(&tree, &wanted)?, dest)?;
        }
        Ok(())
    }

    /// What lies below the new layer; `None` where that is nothing.
    fn below(&self, at: At, so_far: &StageResult) -> Result<Option<Arc<dyn Tree>>> {
        if so_far.chain.is_empty() {
            return Ok(None);
        }
        if self.will_run(at.stage, at.number) && self.place.choice().is_ok() {
            // One pass over the base instead of two.
            match self.place.uses_overlay() {
                true => drop(self.layers.directories(&so_far.chain, Some(at.line))?),
                false => self.fill_tree(at, so_far)?,
            }
        }
        let tree: Arc<dyn Tree> = self.layers.tree(&so_far.chain, "the image", Some(at.line))?;
        Ok(Some(tree))
    }

    /// Writes the layer: as a directory where a command will need its files, else compressed where it is exported, else
    /// as a plain tar for other steps to read from.
    fn layer_of(
        &self,
        at: At,
        placed: &BTreeMap<PathBuf, Placed>,
        below: &[ChainLayer],
        key: &Key,
    ) -> Result<Option<LayerId>> {
        let clamped: BTreeMap<PathBuf, Placed>;
        let placed = match self.rewrite.map(layer::Time::secs) {
            None => placed,
            Some(limit) => {
                let clamp = |(path, object): (&PathBuf, &Placed)| {
                    let mut object = object.clone();
                    object.entry.mtime = object.entry.mtime.min(limit);
                    (path.clone(), object)
                };
                clamped = placed.iter().map(clamp).collect();
                &clamped
            }
        };
        let _span = self.fetcher.events.span(Some(at.line), Phase::Write, "layer");
        let store = &self.layers.store;
        let work = store.scratch_dir("copy")?;
        let will_run = self.will_run(at.stage, at.number);
        let exported = self.compression.filter(|_| self.is_exported(at.stage) && !will_run);
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let whiteout = |reserved: Vec<PathBuf>| {
            for path in reserved {
                let message = format!(
                    "/{} is left out: names that begin with .wh. mean deletions in an image's layers",
                    path.display()
                );
                self.fetcher.events.send(Event::Warning { id: Some(at.line), message });
            }
        };
        let id = store.new_layer_id(key);
        let mut meta = LayerMeta { created: crate::time::now(), ..LayerMeta::default() };
        let as_directory = will_run && self.place.uses_overlay();
        let toc = match exported {
            _ if as_directory => {
                let dir = work.join(fs_name(self.layers.real_owners()));
                crate::store::create_root(&dir)?;
                let root = open_dir(&dir)?;
                let mut options = self.layers.unpack_options();
                let mut tree = TreeWriter::new(root.as_fd(), &mut options).map_err(layer_error)?;
                let (_, reserved) = write(placed, &mut tree)?;
                whiteout(reserved);
                let (toc, implied) = tree.finish().map_err(layer_error)?;
                self.layers.adopt(root.as_fd(), &implied, below, &mut options, Some(at.line))?;
                toc
            }
            Some((compression, level)) => {
                let blob = store.new_blob();
                let sink = BufWriter::with_capacity(1 << 20, blob.create()?);
                let writer = LayerWriter::create(sink, codec(compression), level, threads).map_err(layer_error)?;
                let mut tar = TarWriter::new(writer);
                let (toc, reserved) = write(placed, &mut tar)?;
                whiteout(reserved);
                let (written, mut sink) = tar.finish().map_err(layer_error)?.finish().map_err(layer_error)?;
                sink.flush().map_err(|e| BuildError::io("write", "blob", e))?;
                blob.commit(store, &written.digest)?;
                meta.diff_id = Some(written.diff_id);
                meta.tar_size = written.diff_size;
                meta.blobs = vec![StoredBlob { digest: written.digest, size: written.size, compression, level }];
                toc
            }
            None => {
                let path = work.join("tar");
                let file = File::create(&path).map_err(|e| BuildError::io("write", &path, e))?;
                let mut tar = TarWriter::new(BufWriter::with_capacity(1 << 20, file));
                let (toc, reserved) = write(placed, &mut tar)?;
                whiteout(reserved);
                let mut sink = tar.finish().map_err(layer_error)?;
                sink.flush().map_err(|e| BuildError::io("write", &path, e))?;
                toc
            }
        };
        store.add_layer(&id, &work, &meta, &toc)?;
        self.layers.remember(&id, Arc::new(toc));
        Ok(Some(id))
    }
}
