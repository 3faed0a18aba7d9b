//! The objects of a source tree that an instruction means.
use crate::error::{BuildError, Kind, Result};
use crate::history::FileList;
use crate::snapshot::layer_error;
use crate::tree::{self, Node, Tree};
use dockerfile::glob::{Glob, PathPattern, has_wildcards};
use layer::Kind as EntryKind;
use oci::{Digest, Digester};
use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is asked of a tree.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// Absolute pattern; with `parents` the directory that the pattern there is relative to.
    pub(crate) source: &'a str,
    /// `--parents`: the pattern below `source`.
    pub(crate) parents: Option<&'a str>,
    /// `--exclude`, relative to what is copied.
    pub(crate) exclude: &'a [String],
}

/// One match of a pattern: a file, or a directory with what is in it.
#[derive(Debug, Clone)]
pub(crate) struct Selected {
    /// The name under which a file lands in a directory.
    pub(crate) name: OsString,
    pub(crate) node: Node,
    /// Everything below a directory, parents first: path relative to it.
    pub(crate) below: Vec<(PathBuf, Node)>,
}

/// All matches in one tree.
#[derive(Clone)]
pub(crate) struct Selection {
    pub(crate) tree: Arc<dyn Tree>,
    pub(crate) matches: Vec<Selected>,
    /// Whether directories that exist already keep their attributes (`--parents` copies parents, too).
    pub(crate) parents: bool,
}

impl Selection {
    /// One file of a tree, by its name.
    pub(crate) fn of_file(tree: Arc<dyn Tree>, name: &str) -> Result<Self> {
        let node = tree.lookup(Path::new(name))?.ok_or_else(|| not_found(tree.as_ref(), Path::new(name), name))?;
        let matches = vec![Selected { name: name.into(), node, below: Vec::new() }];
        Ok(Self { tree, matches, parents: false })
    }
}

/// Lists the objects. Nothing is read but directories.
pub(crate) fn select(tree: &Arc<dyn Tree>, wanted: &Wanted<'_>) -> Result<Selection> {
    let exclude = Patterns::new(wanted.exclude)?;
    if let Some(pattern) = wanted.parents {
        let matches = with_parents(tree, wanted.source, pattern, &exclude)?;
        return Ok(Selection { tree: Arc::clone(tree), matches, parents: true });
    }
    let source = crate::paths::relative(wanted.source);
    let (fixed, pattern) = split_wildcards(source);
    let mut matches = Vec::new();
    if pattern.is_empty() {
        matches.push(selected(tree, Path::new(&fixed), &exclude, source)?);
    } else {
        let start = tree::resolve(tree.as_ref(), Path::new(&fixed), true)?;
        let mut found = Vec::new();
        let glob = Glob::new(&pattern).map_err(bad_pattern)?;
        matching(tree.as_ref(), &start, Path::new(""), &glob, &mut found)?;
        for path in found {
            matches.push(selected(tree, &start.join(&path), &exclude, source)?);
        }
    }
    Ok(Selection { tree: Arc::clone(tree), matches, parents: false })
}

fn selected(tree: &Arc<dyn Tree>, path: &Path, exclude: &Patterns, asked: &str) -> Result<Selected> {
    let followed = tree::resolve(tree.as_ref(), path, true)?;
    let Some(node) = tree.lookup(&followed)? else { return Err(not_found(tree.as_ref(), path, asked)) };
    let mut below = Vec::new();
    if node.is_dir() {
        list(tree.as_ref(), &followed, Path::new(""), exclude, &mut below)?;
    }
    let name = path.file_name().map(OsString::from).unwrap_or_default();
    Ok(Selected { name, node, below })
}

fn not_found(tree: &dyn Tree, path: &Path, asked: &str) -> BuildError {
    let mut error = BuildError::new(Kind::Dockerfile, format!("\"/{asked}\" not found in {}", tree.describe()));
    let parent = path.parent().unwrap_or(Path::new(""));
    if let (Ok(siblings), Some(name)) = (tree.read_dir(parent), path.file_name().and_then(|n| n.to_str())) {
        let names: Vec<&str> = siblings.iter().filter_map(|(n, _)| n.to_str()).collect();
        if let Some(near) = dockerfile::suggest::nearest(name, names.iter().copied()) {
            error = error.hint(format!("did you mean {:?}?", parent.join(near).display().to_string()));
        }
    }
    error.hint("paths are relative to the root of the source; a file that .dockerignore excludes does not exist")
}

/// Everything below a directory, without what is excluded.
fn list(
    tree: &dyn Tree,
    root: &Path,
    relative: &Path,
    exclude: &Patterns,
    out: &mut Vec<(PathBuf, Node)>,
) -> Result<()> {
    for (name, node) in tree.read_dir(&root.join(relative))? {
        let path = relative.join(&name);
        let excluded = exclude.matches(&path);
        let directory = node.is_dir();
        if excluded && !(directory && exclude.has_exceptions()) {
            continue;
        }
        let place = out.len();
        out.push((path.clone(), node));
        if directory {
            list(tree, root, &path, exclude, out)?;
            if excluded && out.len() == place + 1 {
                out.pop();
            }
        }
    }
    Ok(())
}

/// Paths below `root` that match, in the order of a walk; what is in a matching directory is not looked at.
fn matching(tree: &dyn Tree, root: &Path, relative: &Path, glob: &Glob, out: &mut Vec<PathBuf>) -> Result<()> {
    for (name, node) in tree.read_dir(&root.join(relative))? {
        let path = relative.join(&name);
        let text = path.to_string_lossy();
        if glob.matches(&text) {
            out.push(path);
        } else if node.is_dir() && glob.may_match_below(&text) {
            matching(tree, root, &path, glob, out)?;
        }
    }
    Ok(())
}

fn bad_pattern(error: dockerfile::glob::BadPattern) -> BuildError {
    BuildError::new(Kind::Dockerfile, error.to_string()).caused_by(error)
}

/// `--parents`: what matches below the pivot, with the directories on the way.
fn with_parents(tree: &Arc<dyn Tree>, pivot: &str, pattern: &str, exclude: &Patterns) -> Result<Vec<Selected>> {
    let mut roots = Vec::new();
    let (fixed, wild) = split_wildcards(crate::paths::relative(pivot));
    let start = tree::resolve(tree.as_ref(), Path::new(&fixed), true)?;
    if wild.is_empty() {
        roots.push(start);
    } else {
        let mut found = Vec::new();
        matching(tree.as_ref(), &start, Path::new(""), &Glob::new(&wild).map_err(bad_pattern)?, &mut found)?;
        roots.extend(found.into_iter().map(|p| start.join(p)));
    }
    let literal = !has_wildcards(pattern) && wild.is_empty();
    let below_pivot = PathPattern::new(pattern.trim_end_matches('/')).map_err(bad_pattern)?;
    let mut matches = Vec::new();
    for root in roots {
        let Some(node) = tree.lookup(&root)? else {
            return Err(not_found(tree.as_ref(), &root, crate::paths::relative(pivot)));
        };
        let mut below = Vec::new();
        if below_pivot.as_str().is_empty() {
            list(tree.as_ref(), &root, Path::new(""), exclude, &mut below)?;
        } else {
            included(tree.as_ref(), &root, Path::new(""), &below_pivot, exclude, &mut below)?;
        }
        if below.is_empty() && literal {
            let asked = format!("{}/{pattern}", crate::paths::relative(pivot));
            return Err(not_found(tree.as_ref(), &root.join(pattern), asked.trim_start_matches('/')));
        }
        matches.push(Selected { name: OsString::new(), node, below });
    }
    Ok(matches)
}

fn included(
    tree: &dyn Tree,
    root: &Path,
    relative: &Path,
    pattern: &PathPattern,
    exclude: &Patterns,
    out: &mut Vec<(PathBuf, Node)>,
) -> Result<()> {
    for (name, node) in tree.read_dir(&root.join(relative))? {
        let path = relative.join(&name);
        let text = path.to_string_lossy();
        let (directory, excluded) = (node.is_dir(), exclude.matches(&path));
        let place = out.len();
        if pattern.matches(&text) {
            if !excluded || (directory && exclude.has_exceptions()) {
                out.push((path.clone(), node));
                if directory {
                    list(tree, root, &path, exclude, out)?;
                }
            }
        } else if directory && pattern.may_match_below(&text) {
            out.push((path.clone(), node));
            included(tree, root, &path, pattern, exclude, out)?;
            if out.len() == place + 1 {
                out.pop();
            }
        }
    }
    Ok(())
}

/// `--exclude`: the patterns of `.dockerignore`, relative to what is copied.
struct Patterns(Option<dockerfile::ignore::Ignore>, bool);

impl Patterns {
    fn new(list: &[String]) -> Result<Self> {
        if list.is_empty() {
            return Ok(Self(None, false));
        }
        let ignore = dockerfile::ignore::Ignore::from_patterns(list.iter().map(String::as_str))
            .map_err(|e| BuildError::new(Kind::Dockerfile, format!("invalid --exclude: {e}")))?;
        let exceptions = ignore.has_exceptions();
        Ok(Self(Some(ignore), exceptions))
    }

    fn matches(&self, path: &Path) -> bool {
        self.0.as_ref().is_some_and(|i| i.matches(&path.to_string_lossy()))
    }

    fn has_exceptions(&self) -> bool {
        self.1
    }
}

/// The part of a path before its first wildcard, and the rest.
fn split_wildcards(path: &str) -> (String, String) {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let first = parts.iter().position(|p| has_wildcards(p)).unwrap_or(parts.len());
    (parts[..first].join("/"), parts[first..].join("/"))
}

/// A digest of what was selected: paths in the source, attributes (but for times) and contents. It is the same for
/// equal objects of a context, an image and a stage, and no two different selections have the same bytes: everything
/// has its length before it, and every list its count.
pub(crate) fn digest(selection: &Selection) -> Result<(Digest, Contents<'_>)> {
    let mut files: Vec<&Node> = Vec::new();
    describe(selection, &mut |node| {
        files.push(node);
        Ok([0; 32])
    })?;
    let contents = contents(selection.tree.as_ref(), &files)?;
    let mut each = contents.iter();
    let digest = describe(selection, &mut |_| Ok(each.next().copied().unwrap_or_default()))?;
    Ok((digest, Contents { selection, files, contents }))
}

/// The digests of the files of a selection.
pub(crate) struct Contents<'s> {
    selection: &'s Selection,
    files: Vec<&'s Node>,
    contents: Vec<[u8; 32]>,
}

impl Contents<'_> {
    /// The list of the objects, for `explain`.
    pub(crate) fn list(&self) -> FileList {
        let (mut list, mut hashed) = (FileList::default(), self.files.iter().zip(&self.contents).peekable());
        let nodes = self.selection.matches.iter().flat_map(|selected| {
            let own = Some(&selected.node).filter(|node| !node.is_dir());
            own.into_iter().chain(selected.below.iter().map(|(_, node)| node))
        });
        for node in nodes {
            let entry = &node.entry;
            let content = match hashed.next_if(|(file, _)| std::ptr::eq(**file, node)) {
                Some((_, digest)) => *digest,
                None => {
                    let link = entry.link.as_ref().map_or(&[][..], |link| link.as_os_str().as_encoded_bytes());
                    Digest::sha256(link).sha256_bytes().unwrap_or_default()
                }
            };
            let attributes = format!("{:?} {:o} {} {}", entry.kind, entry.mode, entry.uid, entry.gid);
            list.add(entry.path.as_os_str().as_encoded_bytes(), &attributes, &content);
        }
        list
    }
}

/// See [`digest`]; `content` gives the digest of a file's content.
fn describe<'s>(selection: &'s Selection, content: &mut dyn FnMut(&'s Node) -> Result<[u8; 32]>) -> Result<Digest> {
    let mut digester = Digester::new();
    frame(&mut digester, &[u8::from(selection.parents)]);
    for selected in &selection.matches {
        frame(&mut digester, b"match");
        frame(&mut digester, selected.name.as_encoded_bytes());
        let mut links = Links::default();
        if selected.node.is_dir() {
            // The attributes of the directory itself are not copied, but for parents.
            frame(&mut digester, b"dir");
        } else {
            object(&mut digester, &selected.node, &mut links, content)?;
        }
        frame(&mut digester, &(selected.below.len() as u64).to_le_bytes());
        for (path, node) in &selected.below {
            frame(&mut digester, path.as_os_str().as_encoded_bytes());
            object(&mut digester, node, &mut links, content)?;
        }
    }
    Ok(digester.finish())
}

fn frame(digester: &mut Digester, bytes: &[u8]) {
    digester.update(&(bytes.len() as u64).to_le_bytes());
    digester.update(bytes);
}

/// The files of a match, counted, and those among them that may have more names than one.
#[derive(Default)]
struct Links {
    files: u64,
    numbers: HashMap<(u64, u64), u64>,
}

fn object<'s>(
    digester: &mut Digester,
    node: &'s Node,
    links: &mut Links,
    content: &mut dyn FnMut(&'s Node) -> Result<[u8; 32]>,
) -> Result<()> {
    let entry = &node.entry;
    frame(digester, format!("{:?} {:o} {} {}", entry.kind, entry.mode, entry.uid, entry.gid).as_bytes());
    frame(digester, &(entry.xattrs.len() as u64).to_le_bytes());
    for (name, value) in &entry.xattrs {
        frame(digester, name);
        frame(digester, value);
    }
    match entry.kind {
        EntryKind::Symlink => {
            frame(digester, entry.link.as_ref().map_or(&[][..], |l| l.as_os_str().as_encoded_bytes()));
        }
        EntryKind::CharDevice | EntryKind::BlockDevice => frame(digester, format!("{:?}", entry.rdev).as_bytes()),
        EntryKind::File => {
            // Another name of a file that came before stands for its content. A context's tree numbers only files
            // with several names, a stage's numbers all: the number itself must not count.
            links.files += 1;
            if let Some(inode) = node.inode {
                let number = *links.numbers.entry(inode).or_insert(links.files);
                if number != links.files {
                    frame(digester, b"link");
                    frame(digester, &number.to_le_bytes());
                    return Ok(());
                }
            }
            frame(digester, b"content");
            digester.update(&entry.size.to_le_bytes());
            digester.update(&content(node)?);
        }
        _ => {}
    }
    Ok(())
}

/// The digests of the contents of files; what the tree does not know is read, by several threads where that pays.
fn contents(tree: &dyn Tree, files: &[&Node]) -> Result<Vec<[u8; 32]>> {
    /// Work that is worth a thread: bytes, with so many for opening a file.
    const WORTH: u64 = 8 << 20;
    const OPENING: u64 = 32 << 10;
    let known: Vec<Option<[u8; 32]>> = files.iter().map(|node| tree.known_digest(node)).collect();
    let unknown: Vec<usize> = (0..files.len()).filter(|place| known[*place].is_none()).collect();
    let work: u64 = unknown.iter().map(|place| files[*place].entry.size.saturating_add(OPENING)).sum();
    let width = std::thread::available_parallelism().map_or(2, usize::from).clamp(1, 8);
    let width = usize::try_from(work / WORTH).unwrap_or(width).clamp(1, width);
    let next = AtomicUsize::new(0);
    type Hashed = Result<Vec<(usize, [u8; 32])>>;
    let hash = || -> Hashed {
        let mut done = Vec::new();
        let mut buffer = vec![0_u8; 64 << 10];
        while let Some(place) = unknown.get(next.fetch_add(1, Ordering::Relaxed)) {
            match content(tree, files[*place], &mut buffer) {
                Ok(digest) => done.push((*place, digest)),
                Err(error) => {
                    next.store(unknown.len(), Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(done)
    };
    let results: Vec<Hashed> = match width {
        1 => vec![hash()],
        _ => std::thread::scope(|scope| {
            let threads: Vec<_> = (0..width).map(|_| scope.spawn(hash)).collect();
            threads.into_iter().map(|t| t.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
        }),
    };
    let mut all: Vec<[u8; 32]> = known.into_iter().map(Option::unwrap_or_default).collect();
    for result in results {
        for (place, digest) in result? {
            all[place] = digest;
        }
    }
    Ok(all)
}

/// The digest of a file's bytes. One that shrinks meanwhile would have the bytes of another file's key.
fn content(tree: &dyn Tree, node: &Node, buffer: &mut [u8]) -> Result<[u8; 32]> {
    let (entry, since) = (&node.entry, crate::time::now());
    let mut digester = Digester::new();
    let mut reader = tree.open(&entry.path)?.take(entry.size);
    let mut total = 0;
    loop {
        let count = reader.read(buffer).map_err(|e| BuildError::io("read", &entry.path, e))?;
        if count == 0 {
            break;
        }
        digester.update(&buffer[..count]);
        total += count as u64;
    }
    if total != entry.size {
        return Err(layer_error(layer::Error::Changed { path: entry.path.clone(), expected: entry.size, got: total }));
    }
    let digest = digester.finish().sha256_bytes().unwrap_or_default();
    tree.learn_digest(node, digest, since);
    Ok(digest)
}
