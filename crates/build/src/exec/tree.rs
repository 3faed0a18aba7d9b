//! RUN on a flat directory: where there is no overlayfs.
//!
//! A stage has one tree. It is filled from the layers so far, and goes on being used by the stage's later steps, which
//! add to it; after a command, a walk of `stat` calls finds what changed. A command that fails leaves a tree that
//! nobody uses again.
use super::{At, Executor, StageResult};
use crate::error::{BuildError, Result};
use crate::event::{Phase, VertexId};
use crate::key::Key;
use crate::owners::Owners;
use crate::plan::{Base, RunOp};
use crate::snapshot::{ChainLayer, codec, layer_error, open_dir};
use crate::store::{LayerId, LayerMeta, Store, StoredBlob};
use crate::tree::DirTree;
use layer::table::ScanOptions;
use layer::{ApplyOptions, AttrSource, LayerWriter, PackOptions, Table, TarWriter, Whiteouts};
use sandbox::intercept::{OwnershipTable, table_path};
use std::fs;
use std::io::{BufWriter, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

/// The tree of a stage.
pub(crate) struct WorkTree {
    dir: PathBuf,
    /// The layers that are in it.
    chain: Vec<LayerId>,
    table: Table,
    store: Arc<Store>,
}

impl Drop for WorkTree {
    fn drop(&mut self) {
        // With the table of owners beside it.
        if let Some(parent) = self.dir.parent() {
            self.store.discard(parent);
        }
    }
}

impl Executor<'_> {
    pub(super) fn run_in_tree(&self, at: At, run: &RunOp, so_far: &StageResult, key: &Key) -> Result<Option<LayerId>> {
        let At { stage, line, .. } = at;
        // Unpacking gives the tables of contents as well.
        let mut tree = self.work_tree(stage, so_far, line)?;
        let view = self.layers.tree(&so_far.chain, "the image", Some(line))?;
        for path in ["/dev", "/proc", "/sys", &run.cwd] {
            super::run::make_missing(&tree.dir, view.as_ref(), path)?;
        }
        let mut held = super::run::Held::default();
        let rootfs = sandbox::Rootfs::Directory(tree.dir.clone());
        // Names of users are looked up where the files are: the layers need no second unpacking for that.
        let files = DirTree::open(&tree.dir, None, "the image")?;
        self.execute(at, run, rootfs, &files, &mut held)?;
        drop(held);
        let id = self.commit_tree(at, key, &mut tree, view.view())?;
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        tree.chain.push(id.clone());
        trees.insert(stage, tree);
        Ok(Some(id))
    }

    /// Unpacks a base image that is met for the first time into the tree that a later command will need.
    pub(super) fn fill_tree(&self, at: At, so_far: &StageResult) -> Result<()> {
        if so_far.chain.iter().all(|layer| self.layers.store.layer(&layer.id()).is_some()) {
            return Ok(());
        }
        let tree = self.work_tree(at.stage, so_far, at.line)?;
        self.trees.lock().unwrap_or_else(PoisonError::into_inner).insert(at.stage, tree);
        Ok(())
    }

    /// The stage's tree with exactly these layers in it.
    fn work_tree(&self, stage: usize, so_far: &StageResult, line: VertexId) -> Result<WorkTree> {
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        // A stage that is built on another one goes on in its tree: that one has ended.
        let known = trees.remove(&stage).or_else(|| match self.stage_plan(stage).base {
            Base::Stage(parent) => trees.remove(&parent),
            _ => None,
        });
        drop(trees);
        let wanted: Vec<LayerId> = so_far.chain.iter().map(ChainLayer::id).collect();
        let mut tree = match known.filter(|t| wanted.starts_with(&t.chain)) {
            Some(tree) => tree,
            None => {
                let dir = self.layers.store.scratch_dir("tree")?.join("root");
                crate::store::create_root(&dir)?;
                WorkTree { dir, chain: Vec::new(), table: Table::default(), store: Arc::clone(&self.layers.store) }
            }
        };
        let missing = &so_far.chain[tree.chain.len()..];
        if missing.is_empty() && !tree.table.is_empty() {
            return Ok(tree);
        }
        let owners_file = table_path(&tree.dir);
        let mut owners =
            Owners(OwnershipTable::load(&owners_file).map_err(|e| BuildError::io("read", &owners_file, e))?);
        let root = open_dir(&tree.dir)?;
        // Layers lie on one another, so they are unpacked in turn; the next ones come in meanwhile.
        let (rest, applied) = (missing.get(1..).unwrap_or_default(), AtomicBool::new(false));
        std::thread::scope(|scope| -> Result<()> {
            scope.spawn(|| self.layers.bring(rest, &applied, Some(line)));
            let mut apply = || -> Result<()> {
                for layer in missing {
                    if self.stop.is_cancelled() {
                        return Err(BuildError::canceled());
                    }
                    let mut options = ApplyOptions {
                        whiteouts: Whiteouts::Flat,
                        owners: if self.layers.real_owners() {
                            layer::Owners::Real
                        } else {
                            layer::Owners::Recorded(&mut owners)
                        },
                        write_back: self.layers.store.is_lasting(),
                        ..ApplyOptions::default()
                    };
                    self.layers.apply_flat(layer, root.as_fd(), &mut options, Some(line))?;
                    drop(options);
                    tree.chain.push(layer.id());
                }
                Ok(())
            };
            let result = apply();
            applied.store(true, Ordering::Relaxed);
            result
        })?;
        if !self.layers.real_owners() {
            owners.0.save(&owners_file).map_err(|e| BuildError::io("write", &owners_file, e))?;
        }
        let _span = self.fetcher.events.span(Some(line), Phase::Scan, "root file system");
        tree.table = Table::scan(root.as_fd(), &self.scan_options(&owners)).map_err(layer_error)?;
        Ok(tree)
    }

    fn scan_options<'o>(&self, owners: &'o Owners) -> ScanOptions<'o> {
        let attrs: Option<&dyn AttrSource> = if self.layers.real_owners() { None } else { Some(owners) };
        ScanOptions {
            threads: std::thread::available_parallelism().map_or(2, usize::from),
            attrs,
            ..ScanOptions::default()
        }
    }

    fn commit_tree(&self, at: At, key: &Key, tree: &mut WorkTree, below: &layer::View) -> Result<LayerId> {
        let line = at.line;
        let store = &self.layers.store;
        let owners_file = table_path(&tree.dir);
        let owners = Owners(OwnershipTable::load(&owners_file).map_err(|e| BuildError::io("read", &owners_file, e))?);
        let root = open_dir(&tree.dir)?;
        let diff = self.fetcher.events.span(Some(line), Phase::Diff, "root file system");
        let changes = tree.table.diff(root.as_fd(), &self.scan_options(&owners)).map_err(layer_error)?;
        drop(diff);
        let _span = self.fetcher.events.span(Some(line), Phase::Write, "layer");
        let emulated = !self.layers.real_owners();
        let options = PackOptions {
            below: Some(below),
            clamp_mtime: self.rewrite,
            attrs: if emulated { Some(&owners) } else { None },
            owner: emulated.then_some((0, 0)),
            ..PackOptions::default()
        };
        let work = store.scratch_dir("layer")?;
        let mut meta = LayerMeta { created: crate::time::now(), ..LayerMeta::default() };
        // Where something follows, the blob is made from a plain tar while that runs: the tree itself will change.
        let at_once = self.is_exported(at.stage) && !self.goes_on(at.stage, at.number);
        let toc = match self.compression.filter(|_| at_once) {
            Some((compression, level)) => {
                let threads = std::thread::available_parallelism().map_or(2, usize::from);
                let blob = store.new_blob();
                let sink = BufWriter::with_capacity(1 << 20, blob.create()?);
                let writer = LayerWriter::create(sink, codec(compression), level, threads).map_err(layer_error)?;
                let mut tar = TarWriter::new(writer);
                let toc = layer::pack_changes(root.as_fd(), &changes, &mut tar, &mut tree.table, &options)
                    .map_err(layer_error)?;
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
                let file = fs::File::create(&path).map_err(|e| BuildError::io("write", &path, e))?;
                let mut tar = TarWriter::new(BufWriter::with_capacity(1 << 20, file));
                let toc = layer::pack_changes(root.as_fd(), &changes, &mut tar, &mut tree.table, &options)
                    .map_err(layer_error)?;
                tar.finish().map_err(layer_error)?.flush().map_err(|e| BuildError::io("write", &path, e))?;
                toc
            }
        };
        let id = store.new_layer_id(key);
        store.add_layer(&id, &work, &meta, &toc)?;
        self.layers.remember(&id, Arc::new(toc));
        Ok(id)
    }
}
