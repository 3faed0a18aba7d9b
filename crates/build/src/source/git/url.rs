//! The forms in which a git repository is named.
//!
//! `https://host/x.git`, `git@host:x.git`, `ssh://…`, `git://…` and the old `github.com/a/b`, each
//! with an optional fragment `#REF:SUBDIR` and, BuildKit's newer form, a query
//! `?ref=…&tag=…&branch=…&subdir=…&checksum=…&submodules=…&keep-git-dir=…`.
//! An HTTP(S) URL is a git repository only when its path ends in `.git`.

/// A parsed git URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitUrl {
    /// What `git` is given: no fragment, no query.
    pub remote: String,
    /// Branch, tag, full ref or commit; `None` for the remote's default branch.
    pub reference: Option<String>,
    /// The directory in the repository, relative, without `..`.
    pub subdir: Option<String>,
    /// The commit (a prefix of at least 7 digits) that the reference must resolve to.
    pub checksum: Option<String>,
    /// `submodules=`; true where nothing was said.
    pub submodules: bool,
    /// `keep-git-dir=`
    pub keep_git_dir: Option<bool>,
    /// `mtime=checkout`: files have the time of the checkout instead of that of the commit.
    pub checkout_times: bool,
}

/// Why a text is no git URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid git URL {text:?}: {why}")]
pub struct GitUrlError {
    /// The text, without credentials.
    pub text: String,
    /// What is wrong.
    pub why: String,
}

impl GitUrl {
    /// Whether the text has the form of a git URL, valid or not.
    #[must_use]
    pub fn is_git(text: &str) -> bool {
        if text.starts_with("github.com/") {
            return true;
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return match scheme.to_ascii_lowercase().as_str() {
                "git" | "ssh" => true,
                "http" | "https" => {
                    let path = rest.split(['#', '?']).next().unwrap_or_default();
                    path.ends_with(".git")
                }
                _ => false,
            };
        }
        is_scp_form(text)
    }

    /// Parses a URL.
    ///
    /// # Errors
    /// [`GitUrlError`] where the form is unknown, a query key is unknown or contradicts another,
    /// a reference could be taken for an option, or the subdirectory leaves the repository.
    pub fn parse(text: &str) -> Result<Self, GitUrlError> {
        let fail = |why: String| GitUrlError { text: super::super::redact(text), why };
        if !Self::is_git(text) && !text.starts_with("file://") {
            return Err(fail(
                "expected https://HOST/PATH.git, git@HOST:PATH, ssh://… or git://…, with an optional #REF:SUBDIR"
                    .into(),
            ));
        }
        let (base, fragment) = match text.split_once('#') {
            Some((base, fragment)) => (base, fragment),
            None => (text, ""),
        };
        let (base, query) = match base.split_once('?') {
            Some((base, query)) if base.contains("://") || base.starts_with("github.com/") => (base, query),
            _ => (base, ""),
        };
        let remote = if base.starts_with("github.com/") { format!("https://{base}") } else { base.to_owned() };
        let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
        let mut url = Self {
            remote,
            reference: not_empty(&percent_decode(reference)),
            subdir: not_empty(&percent_decode(subdir)),
            checksum: None,
            submodules: true,
            keep_git_dir: None,
            checkout_times: false,
        };
        url.read_query(query).map_err(&fail)?;
        url.check().map_err(fail)?;
        Ok(url)
    }

    fn read_query(&mut self, query: &str) -> Result<(), String> {
        let (mut tag, mut branch, mut seen) = (None, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (percent_decode(key), percent_decode(&value.replace('+', " ")));
            if seen.contains(&key) {
                return Err(format!("{key:?} is given twice"));
            }
            seen.push(key.clone());
            match key.as_str() {
                "submodules" => self.submodules = boolean(&key, &value)?,
                "keep-git-dir" => self.keep_git_dir = Some(boolean(&key, &value)?),
                "mtime" => {
                    self.checkout_times = match value.as_str() {
                        "checkout" => true,
                        "commit" => false,
                        _ => return Err(format!("mtime is {value:?}; known are commit and checkout")),
                    };
                }
                "ref" | "tag" | "branch" | "subdir" | "checksum" | "commit" if value.is_empty() => {
                    return Err(format!("{key:?} has no value"));
                }
                "ref" => set_once(&mut self.reference, value, "ref")?,
                "tag" => tag = Some(full_ref("refs/tags/", &value)),
                "branch" => branch = Some(full_ref("refs/heads/", &value)),
                "subdir" => set_once(&mut self.subdir, value, "subdir")?,
                "checksum" | "commit" => set_once(&mut self.checksum, value, "checksum")?,
                _ => {
                    return Err(format!(
                        "unknown query key {key:?}; known are ref, tag, branch, subdir, checksum, submodules, keep-git-dir and mtime"
                    ));
                }
            }
        }
        if tag.is_some() && branch.is_some() {
            return Err("\"branch\" and \"tag\" exclude each other".into());
        }
        if let Some(full) = tag.or(branch) {
            set_once(&mut self.reference, full, "ref")?;
        }
        if self.reference.is_none() {
            self.reference.clone_from(&self.checksum);
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), String> {
        if self.remote.starts_with('-') {
            return Err("it begins with a dash".into());
        }
        if self.remote.bytes().any(|b| b.is_ascii_control() || b == b' ') {
            return Err("it holds a space or a control character".into());
        }
        if let Some(reference) = &self.reference
            && (reference.starts_with('-')
                || reference.contains("..")
                || reference.bytes().any(|b| b <= b' ' || b == 0x7f || b"~^:?*[\\".contains(&b)))
        {
            return Err(format!("{reference:?} is no branch, tag or commit"));
        }
        if let Some(checksum) = &self.checksum
            && !(checksum.len() >= 7 && checksum.len() <= 64 && checksum.bytes().all(|b| b.is_ascii_hexdigit()))
        {
            return Err(format!("{checksum:?} is no commit: expected 7 to 64 hex digits"));
        }
        if let Some(subdir) = self.subdir.take() {
            let mut parts = Vec::new();
            for part in subdir.split('/') {
                match part {
                    "" | "." => {}
                    ".." => return Err(format!("the subdirectory {subdir:?} leaves the repository")),
                    _ => parts.push(part),
                }
            }
            self.subdir = not_empty(&parts.join("/"));
        }
        Ok(())
    }

    /// The URL for messages: no credentials.
    #[must_use]
    pub fn display(&self) -> String {
        let mut text = super::super::redact(&self.remote);
        if self.reference.is_some() || self.subdir.is_some() {
            text.push('#');
            text.push_str(self.reference.as_deref().unwrap_or_default());
        }
        if let Some(subdir) = &self.subdir {
            text.push(':');
            text.push_str(subdir);
        }
        text
    }

    /// Host of the remote, for secrets that are named after it.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        let rest = match self.remote.split_once("://") {
            Some((_, rest)) => rest.split('/').next()?,
            None => self.remote.split(':').next()?,
        };
        Some(rest.rsplit('@').next().unwrap_or(rest)).filter(|host| !host.is_empty())
    }
}

/// `user@host:path`, where `user` and `host` are plain names.
fn is_scp_form(text: &str) -> bool {
    let Some((user, rest)) = text.split_once('@') else { return false };
    let Some((host, path)) = rest.split_once(':') else { return false };
    let plain = |s: &str| {
        !s.is_empty() && !s.starts_with('-') && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    plain(user) && plain(host) && !path.is_empty() && !path.starts_with("//")
}

fn not_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn full_ref(prefix: &str, name: &str) -> String {
    if name.starts_with(prefix) { name.to_owned() } else { format!("{prefix}{name}") }
}

fn set_once(slot: &mut Option<String>, value: String, what: &str) -> Result<(), String> {
    match slot {
        Some(old) if *old != value => Err(format!("{what} is given as {old:?} and as {value:?}")),
        _ => {
            *slot = Some(value);
            Ok(())
        }
    }
}

fn boolean(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{key:?} is {value:?}, expected true or false")),
    }
}

/// `%41` becomes `A`; anything else stays as it is.
pub(crate) fn percent_decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
        if bytes[i] == b'%'
            && let (Some(high), Some(low)) = (hex(i + 1), hex(i + 2))
        {
            out.push((high * 16 + low) as u8);
            i += 3;
        } else {
            out.push(bytes[i]);
            i += 1;
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, Option<String>, Option<String>) {
        let url = GitUrl::parse(text).unwrap();
        (url.remote, url.reference, url.subdir)
    }

    #[test]
    fn fragments_name_reference_and_directory() {
        let some = |s: &str| Some(s.to_owned());
        assert_eq!(parts("https://e.com/a.git"), ("https://e.com/a.git".into(), None, None));
        assert_eq!(parts("https://e.com/a.git#v1:x/y"), ("https://e.com/a.git".into(), some("v1"), some("x/y")));
        assert_eq!(parts("git@e.com:a/b.git#:x"), ("git@e.com:a/b.git".into(), None, some("x")));
        assert_eq!(parts("github.com/a/b#feature/x"), ("https://github.com/a/b".into(), some("feature/x"), None));
        assert_eq!(parts("ssh://git@e.com:22/a#:/./x//y/"), ("ssh://git@e.com:22/a".into(), None, some("x/y")));
    }

    #[test]
    fn queries_name_everything() {
        let url =
            GitUrl::parse("https://e.com/a.git?branch=main&subdir=x&checksum=0123456789&submodules=0&keep-git-dir")
                .unwrap();
        assert_eq!(url.reference.as_deref(), Some("refs/heads/main"));
        assert_eq!(url.subdir.as_deref(), Some("x"));
        assert_eq!(url.checksum.as_deref(), Some("0123456789"));
        assert!(!url.submodules);
        assert_eq!(url.keep_git_dir, Some(true));
        let url = GitUrl::parse("https://e.com/a.git?checksum=0123456789").unwrap();
        assert_eq!(url.reference.as_deref(), Some("0123456789"));
    }

    #[test]
    fn wrong_urls_say_why() {
        let errors: Vec<String> = [
            "https://e.com/a.git#-upload-pack=x",
            "https://e.com/a.git#main:../../etc",
            "https://e.com/a.git?rev=1",
            "https://e.com/a.git?ref=a&tag=b",
            "https://e.com/a.git?branch=a&tag=b",
            "https://u:p@e.com/a.git?submodules=maybe",
            "https://e.com/a.git?checksum=xyz",
            "ftp://e.com/a.git",
        ]
        .iter()
        .map(|text| GitUrl::parse(text).unwrap_err().to_string())
        .collect();
        insta::assert_snapshot!(errors.join("\n"), @r#"
        invalid git URL "https://e.com/a.git#-upload-pack=x": "-upload-pack=x" is no branch, tag or commit
        invalid git URL "https://e.com/a.git#main:../../etc": the subdirectory "../../etc" leaves the repository
        invalid git URL "https://e.com/a.git?rev=1": unknown query key "rev"; known are ref, tag, branch, subdir, checksum, submodules, keep-git-dir and mtime
        invalid git URL "https://e.com/a.git?ref=a&tag=b": ref is given as "a" and as "refs/tags/b"
        invalid git URL "https://e.com/a.git?branch=a&tag=b": "branch" and "tag" exclude each other
        invalid git URL "https://xxxxx@e.com/a.git?submodules=maybe": "submodules" is "maybe", expected true or false
        invalid git URL "https://e.com/a.git?checksum=xyz": "xyz" is no commit: expected 7 to 64 hex digits
        invalid git URL "ftp://e.com/a.git": expected https://HOST/PATH.git, git@HOST:PATH, ssh://… or git://…, with an optional #REF:SUBDIR
        "#);
    }

    #[test]
    fn hosts_are_found() {
        assert_eq!(GitUrl::parse("https://u:p@e.com/a.git").unwrap().host(), Some("e.com"));
        assert_eq!(GitUrl::parse("git@e.com:a.git").unwrap().host(), Some("e.com"));
    }

    #[test]
    fn messages_hold_no_password() {
        assert_eq!(GitUrl::parse("https://u:p@e.com/a.git#x:y").unwrap().display(), "https://xxxxx@e.com/a.git#x:y");
    }
}
