//! Fetch, edit, commit, push, and again when somebody else was faster.
use super::command::{Error, Git, Output};
use super::message::{Person, sign_off};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A bare repository in a directory that belongs to one remote, kept between runs or thrown away. Of several processes
/// each needs its own.
#[derive(Debug, Clone)]
pub struct Repository {
    git: Git,
    dir: PathBuf,
}

/// How often and how fast a push is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all.
    pub attempts: u32,
    /// The longest pause before the second attempt; it doubles with each. Pauses are random between nothing and this.
    pub first: Duration,
    /// No pause is longer.
    pub longest: Duration,
}

impl Default for Retry {
    /// 20 attempts, pauses up to 100 ms growing to 5 s: less than a minute in all.
    fn default() -> Self {
        Self { attempts: 20, first: Duration::from_millis(100), longest: Duration::from_secs(5) }
    }
}

/// What to commit where.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The branch that is read, and written unless `head` is given.
    pub branch: String,
    /// Another branch that gets the commit, for a pull request. It belongs to the automation: what it held before is
    /// replaced.
    pub head: Option<String>,
    /// The message.
    pub message: String,
    /// Who made the change.
    pub author: Person,
    /// Who commits; the author unless given.
    pub committer: Option<Person>,
    /// Adds the committer's `Signed-off-by`.
    pub sign_off: bool,
    /// Options that the remote is given with the push, such as GitLab's `merge_request.create`.
    pub push_options: Vec<String>,
}

/// A file's new content; `None` removes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The path in the repository, with `/`.
    pub path: String,
    /// The content.
    pub content: Option<Vec<u8>>,
}

/// What a branch holds at the moment.
#[derive(Debug)]
pub struct Snapshot<'r> {
    repository: &'r Repository,
    /// The commit, in hexadecimal.
    pub commit: String,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The branch's commit now: the new one, or the one that holds everything already.
    pub commit: String,
    /// Whether something was pushed.
    pub outcome: Outcome,
    /// How many attempts it took.
    pub attempts: u32,
    /// What the remote said to the push, line by line.
    pub said: Vec<String>,
}

/// Whether something was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A commit was pushed.
    Pushed,
    /// The branch says already what it should.
    Unchanged,
}

/// Git's mode, kind and object of a path.
struct Entry {
    mode: String,
    kind: String,
    object: String,
}

impl Snapshot<'_> {
    /// A file's bytes; `None` where there is no such path.
    ///
    /// # Errors
    /// [`Error::Path`] for a directory, a symbolic link or a submodule.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        let Some(entry) = self.entry(path)? else { return Ok(None) };
        let problem = match (entry.kind.as_str(), entry.mode.as_str()) {
            ("blob", "120000") => "is a symbolic link; name the file that it leads to",
            ("blob", _) => {
                let repository = self.repository;
                let arguments = ["cat-file", "blob", &entry.object];
                let output = repository.git.run(&repository.dir, &arguments, &[], &[])?;
                return if output.success {
                    Ok(Some(output.stdout))
                } else {
                    Err(repository.git.failed(&arguments, &output))
                };
            }
            ("tree", _) => "is a directory",
            _ => "is a submodule; change it in its own repository",
        };
        Err(Error::Path { path: path.into(), remote: self.repository.git.url().into(), problem: problem.into() })
    }

    /// A file's text.
    ///
    /// # Errors
    /// As [`Self::read`]; [`Error::Path`] where it is missing or not UTF-8.
    pub fn text(&self, path: &str) -> Result<String, Error> {
        let wrong = |problem: &str| Error::Path {
            path: path.into(),
            remote: self.repository.git.url().into(),
            problem: problem.into(),
        };
        let bytes = self.read(path)?.ok_or_else(|| wrong("does not exist"))?;
        String::from_utf8(bytes).map_err(|_| wrong("is not text (UTF-8)"))
    }

    /// All files below `directory` (all of the repository where it is empty), sorted.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub fn files(&self, directory: &str) -> Result<Vec<String>, Error> {
        let mut arguments = vec!["ls-tree", "-r", "-z", "--name-only", "--full-tree", &self.commit];
        if !directory.is_empty() {
            check_path(directory)?;
            arguments.extend(["--", directory]);
        }
        let list = self.repository.git.text(&self.repository.dir, &arguments, &[], &[])?;
        Ok(list.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
    }

    fn entry(&self, path: &str) -> Result<Option<Entry>, Error> {
        check_path(path)?;
        let arguments = ["ls-tree", "-z", "--full-tree", &self.commit, "--", path];
        let line = self.repository.git.text(&self.repository.dir, &arguments, &[], &[])?;
        let mut words = line.split(['\t', '\0']).next().unwrap_or_default().split(' ').map(str::to_owned);
        let (mode, kind, object) = (words.next(), words.next(), words.next());
        Ok(match (mode, kind, object) {
            (Some(mode), Some(kind), Some(object)) => Some(Entry { mode, kind, object }),
            _ => None,
        })
    }
}

impl Repository {
    /// Opens, or begins, the bare repository in `dir`.
    ///
    /// # Errors
    /// [`Error::Start`], [`Error::Io`], [`Error::Failed`].
    pub fn open(git: Git, dir: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(dir).map_err(Git::io(dir))?;
        let repository = Self { git, dir: dir.to_owned() };
        if !dir.join("HEAD").exists() {
            repository.git.text(dir, &["init", "--quiet", "--bare", "."], &[], &[])?;
        }
        Ok(repository)
    }

    /// Fetches a branch's tip.
    ///
    /// # Errors
    /// [`Error::NoBranch`], [`Error::Failed`].
    pub fn fetch(&self, branch: &str) -> Result<Snapshot<'_>, Error> {
        check_branch(branch)?;
        let refspec = format!("+refs/heads/{branch}:refs/gitops/{branch}");
        let arguments =
            ["fetch", "--quiet", "--no-tags", "--depth=1", "--no-write-fetch-head", self.git.url(), &refspec];
        let output = self.git.run(&self.dir, &arguments, &[], &[])?;
        if output.stderr.contains("couldn't find remote ref") {
            return Err(Error::NoBranch { remote: self.git.url().into(), branch: branch.into() });
        }
        if !output.success {
            return Err(self.git.failed(&arguments, &output));
        }
        let name = format!("refs/gitops/{branch}");
        let commit = self.git.text(&self.dir, &["rev-parse", "--verify", "--end-of-options", &name], &[], &[])?;
        Ok(Snapshot { repository: self, commit })
    }

    /// Applies `edit` to the branch's tip, commits and pushes; when somebody else pushed in between, fetches, applies
    /// `edit` to what is there now, and pushes again.
    ///
    /// `edit` gives the files that it changes; those that come out as they were are no change, and without a change
    /// nothing is committed. `cancelled` is asked before each attempt.
    ///
    /// # Errors
    /// [`Error::Edit`] with what `edit` gave, [`Error::Contended`], [`Error::Refused`], and those of git.
    pub fn publish<E>(
        &self,
        commit: &Commit,
        retry: Retry,
        cancelled: &dyn Fn() -> bool,
        mut edit: impl FnMut(&Snapshot<'_>) -> Result<Vec<Change>, E>,
    ) -> Result<Published, Error>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let target = commit.head.as_deref().unwrap_or(&commit.branch);
        check_branch(target)?;
        let mut ours: Option<String> = None;
        for attempt in 1..=retry.attempts.max(1) {
            if cancelled() {
                return Err(Error::Cancelled);
            }
            let published = |commit, outcome| Ok(Published { commit, outcome, attempts: attempt, said: Vec::new() });
            let tip = match self.fetch(&commit.branch) {
                Err(Error::Failed { message, .. }) if passing(&message) && attempt < retry.attempts => {
                    pause(retry, attempt);
                    continue;
                }
                tip => tip?,
            };
            if ours.as_deref() == Some(&tip.commit) {
                // The answer to the last push was lost, not the push.
                return published(tip.commit, Outcome::Pushed);
            }
            let changes = edit(&tip).map_err(|error| Error::Edit(error.into()))?;
            let Some(tree) = self.tree(&tip, &changes)? else { return published(tip.commit, Outcome::Unchanged) };
            let old_head = match &commit.head {
                Some(head) => match self.fetch(head) {
                    Ok(head) => Some(head.commit),
                    Err(Error::NoBranch { .. }) => Some(String::new()),
                    Err(error) => return Err(error),
                },
                None => None,
            };
            if let Some(head) = old_head.as_ref().filter(|head| !head.is_empty())
                && self.is_commit(head, &tree, &tip.commit)?
            {
                return published(head.clone(), Outcome::Unchanged);
            }
            let new = self.commit(commit, &tree, &tip.commit)?;
            let lease = old_head.map(|old| format!("--force-with-lease=refs/heads/{target}:{old}"));
            let refspec = format!("{}{new}:refs/heads/{target}", if lease.is_some() { "+" } else { "" });
            let mut arguments = vec!["push", "--porcelain", "--no-verify"];
            arguments.extend(lease.as_deref());
            let options: Vec<String> = commit
                .push_options
                .iter()
                .map(|option| format!("--push-option={}", option.replace('\n', " ")))
                .collect();
            arguments.extend(options.iter().map(String::as_str));
            arguments.extend([self.git.url(), &refspec]);
            let output = self.git.run(&self.dir, &arguments, &[], &[])?;
            if output.success {
                let said = remote_lines(&output.stderr).map(str::to_owned).collect();
                return Ok(Published { commit: new, outcome: Outcome::Pushed, attempts: attempt, said });
            }
            self.verdict(target, &arguments, &output)?;
            ours = Some(new);
            if attempt < retry.attempts {
                pause(retry, attempt);
            }
        }
        let (remote, branch) = (self.git.url().to_owned(), target.to_owned());
        Err(Error::Contended { remote, branch, attempts: retry.attempts.max(1) })
    }

    /// The messages of the commits on a branch since a commit, or else since a tag; `None` where neither is known in
    /// its history. Files are not fetched.
    ///
    /// # Errors
    /// [`Error::NoBranch`], [`Error::Failed`].
    pub fn messages(&self, branch: &str, since: Option<&str>, tag: &str) -> Result<Option<Vec<String>>, Error> {
        check_branch(branch)?;
        let refspec = format!("+refs/heads/{branch}:refs/gitops/history");
        let arguments =
            ["fetch", "--quiet", "--tags", "--filter=tree:0", "--no-write-fetch-head", self.git.url(), &refspec];
        let output = self.git.run(&self.dir, &arguments, &[], &[])?;
        if output.stderr.contains("couldn't find remote ref") {
            return Err(Error::NoBranch { remote: self.git.url().into(), branch: branch.into() });
        }
        if !output.success {
            return Err(self.git.failed(&arguments, &output));
        }
        let tag = format!("refs/tags/{tag}");
        for from in since.into_iter().chain([tag.as_str()]) {
            let range = format!("{from}..refs/gitops/history");
            let arguments = ["log", "--format=%B%x00", "--end-of-options", &range, "--"];
            let output = self.git.run(&self.dir, &arguments, &[], &[])?;
            if output.success {
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                return Ok(Some(crate::version::bump::messages(&text).map(str::to_owned).collect()));
            }
        }
        Ok(None)
    }

    /// Makes an annotated tag and pushes it. A tag that exists stays: for the same commit that is success, for another
    /// one an error.
    ///
    /// # Errors
    /// [`Error::Refused`] where the tag names another commit already.
    pub fn tag(&self, name: &str, commit: &str, message: &str, tagger: &Person) -> Result<Outcome, Error> {
        check_branch(name)?;
        let full = format!("refs/tags/{name}");
        let listed =
            self.git.text(&self.dir, &["ls-remote", self.git.url(), &full, &format!("{full}^{{}}")], &[], &[])?;
        // The peeled line, where there is one, is the last.
        if let Some(there) = listed.lines().last().and_then(|line| line.split('\t').next()) {
            if there == commit {
                return Ok(Outcome::Unchanged);
            }
            let reason = format!("the tag exists and names {there}");
            return Err(Error::Refused { remote: self.git.url().into(), branch: name.into(), reason });
        }
        let stamp = self.git.text(&self.dir, &["var", "GIT_COMMITTER_IDENT"], &identity(tagger, tagger), &[])?;
        let object = format!("object {commit}\ntype commit\ntag {name}\ntagger {stamp}\n\n{}\n", message.trim_end());
        let object = self.git.text(&self.dir, &["mktag"], &[], object.as_bytes())?;
        let refspec = format!("{object}:{full}");
        let arguments = ["push", "--porcelain", "--no-verify", self.git.url(), &refspec];
        let output = self.git.run(&self.dir, &arguments, &[], &[])?;
        if output.success {
            return Ok(Outcome::Pushed);
        }
        self.verdict(name, &arguments, &output)?;
        Err(self.git.failed(&arguments, &output))
    }

    /// The tree of the tip with the changes; `None` where it is the tip's own.
    fn tree(&self, tip: &Snapshot<'_>, changes: &[Change]) -> Result<Option<String>, Error> {
        let mut lines = Vec::new();
        let unique: BTreeMap<&str, &Change> = changes.iter().map(|change| (change.path.as_str(), change)).collect();
        for (path, change) in unique {
            let entry = tip.entry(path)?;
            let mode = entry.as_ref().map_or("100644", |entry| entry.mode.as_str());
            match &change.content {
                None => lines.push(format!("0 {}\t{path}", "0".repeat(tip.commit.len()))),
                Some(content) => {
                    if !mode.starts_with("100") {
                        let problem = "is no regular file and is not overwritten".into();
                        return Err(Error::Path { path: path.into(), remote: self.git.url().into(), problem });
                    }
                    let object = self.git.text(&self.dir, &["hash-object", "-w", "--stdin"], &[], content)?;
                    lines.push(format!("{mode} {object}\t{path}"));
                }
            }
        }
        let index = tempfile::tempdir_in(&self.dir).map_err(Git::io(&self.dir))?;
        let index = [("GIT_INDEX_FILE", index.path().join("index").display().to_string())];
        self.git.text(&self.dir, &["read-tree", &tip.commit], &index, &[])?;
        let input = lines.iter().fold(String::new(), |all, line| all + line + "\0");
        self.git.text(&self.dir, &["update-index", "-z", "--index-info"], &index, input.as_bytes())?;
        let tree = self.git.text(&self.dir, &["write-tree"], &index, &[])?;
        let old = self.git.text(&self.dir, &["rev-parse", &format!("{}^{{tree}}", tip.commit)], &[], &[])?;
        Ok((tree != old).then_some(tree))
    }

    fn commit(&self, commit: &Commit, tree: &str, parent: &str) -> Result<String, Error> {
        let committer = commit.committer.as_ref().unwrap_or(&commit.author);
        let mut message = commit.message.trim_end().to_owned();
        if message.is_empty() {
            return Err(Error::Input("the commit's message is empty".into()));
        }
        if commit.sign_off {
            message = sign_off(&message, committer);
        }
        message.push('\n');
        let variables = identity(&commit.author, committer);
        self.git.text(&self.dir, &["commit-tree", tree, "-p", parent, "-F", "-"], &variables, message.as_bytes())
    }

    /// Whether `commit` has this tree and this first parent.
    fn is_commit(&self, commit: &str, tree: &str, parent: &str) -> Result<bool, Error> {
        let raw = self.git.text(&self.dir, &["cat-file", "commit", commit], &[], &[])?;
        let mut lines = raw.lines();
        Ok(lines.next() == Some(&format!("tree {tree}")) && lines.next() == Some(&format!("parent {parent}")))
    }

    /// Whether a failed push may be tried again; an error where it may not.
    fn verdict(&self, branch: &str, arguments: &[&str], output: &Output) -> Result<(), Error> {
        let stdout = String::from_utf8_lossy(&output.stdout);
        let Some(line) = stdout.lines().find(|line| line.starts_with('!')) else {
            let error = self.git.failed(arguments, output);
            return if passing(&error.to_string()) { Ok(()) } else { Err(error) };
        };
        let reason = line.rsplit('\t').next().unwrap_or(line);
        // What a remote says when two pushes meet; git words it in many ways.
        const RACES: [&str; 10] = [
            "fetch first",
            "non-fast-forward",
            "stale info",
            "cannot lock ref",
            "failed to update ref",
            "incorrect old value",
            "remote ref updated since checkout",
            "already exists",
            "failed to lock",
            "reference already",
        ];
        if RACES.iter().any(|race| reason.contains(race) || output.stderr.contains(race)) {
            return Ok(());
        }
        let reason = std::iter::once(reason).chain(remote_lines(&output.stderr)).collect::<Vec<_>>().join("; ");
        Err(Error::Refused { remote: self.git.url().into(), branch: branch.into(), reason: self.git.redact(&reason) })
    }
}

/// What the remote said.
fn remote_lines(stderr: &str) -> impl Iterator<Item = &str> {
    stderr.lines().filter_map(|line| line.strip_prefix("remote:")).map(str::trim).filter(|line| !line.is_empty())
}

/// Whether an error of the network may be gone at the next attempt.
fn passing(message: &str) -> bool {
    const PASSING: [&str; 12] = [
        "early EOF",
        "hung up unexpectedly",
        "Connection reset",
        "Connection refused",
        "timed out",
        "RPC failed",
        "returned error: 500",
        "returned error: 502",
        "returned error: 503",
        "returned error: 504",
        "returned error: 429",
        "shallow file has changed",
    ];
    PASSING.iter().any(|text| message.contains(text))
}

/// A random pause, so that those who met do not meet again.
fn pause(retry: Retry, attempt: u32) {
    let most = retry.first.saturating_mul(1 << (attempt - 1).min(16)).min(retry.longest);
    // The standard library's random keys are the one source of randomness at hand.
    let random = RandomState::new().build_hasher().finish();
    let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
    std::thread::sleep(Duration::from_nanos(random % nanos.max(1)));
}

fn identity(author: &Person, committer: &Person) -> [(&'static str, String); 4] {
    [
        ("GIT_AUTHOR_NAME", author.name.clone()),
        ("GIT_AUTHOR_EMAIL", author.email.clone()),
        ("GIT_COMMITTER_NAME", committer.name.clone()),
        ("GIT_COMMITTER_EMAIL", committer.email.clone()),
    ]
}

/// The rules of git-check-ref-format that matter here.
fn check_branch(name: &str) -> Result<(), Error> {
    let bad = name.is_empty()
        || name.starts_with(['-', '/', '.'])
        || name.ends_with(['/', '.'])
        || name.ends_with(".lock")
        || ["..", "//", "@{", "/."].iter().any(|part| name.contains(part))
        || name.chars().any(|c| c.is_control() || " ~^:?*[\\".contains(c));
    if bad { Err(Error::Input(format!("`{name}` is no name of a branch or tag"))) } else { Ok(()) }
}

fn check_path(path: &str) -> Result<(), Error> {
    let bad = path.is_empty()
        || path.starts_with([':', '/'])
        || path.contains(['\0', '\n'])
        || path.split('/').any(|part| matches!(part, "" | "." | ".." | ".git"));
    if bad {
        Err(Error::Input(format!("`{path}` is no path inside the repository; write it like k8s/kustomization.yaml")))
    } else {
        Ok(())
    }
}
