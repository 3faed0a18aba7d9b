//! What happened: the event that tags are worked out for.
use super::Error;
use jiff::Timestamp;
use serde_json::Value;

/// An event in GitHub's terms. A local build is a `push` of the checked-out branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The event's name: `push`, `pull_request`, `schedule`, `workflow_dispatch`, …
    pub name: String,
    /// The git reference: `refs/heads/…`, `refs/tags/…` or `refs/pull/N/merge`.
    pub git_ref: String,
    /// The commit; without one, `type=sha` gives no tag.
    pub sha: Option<String>,
    /// The branch that a pushed tag or a pull request is based on, for `{{base_ref}}`.
    pub base_ref: Option<String>,
    /// The repository's default branch; empty when unknown.
    pub default_branch: String,
    /// When the commit was made; the time of the build where that is not known.
    pub commit_date: Option<Timestamp>,
    /// The time of the build.
    pub now: Timestamp,
    /// The length of a short commit; 7 unless `DOCKER_METADATA_SHORT_SHA_LENGTH` says otherwise.
    pub short_sha_length: usize,
}

impl Default for Event {
    fn default() -> Self {
        Self {
            name: "push".into(),
            git_ref: String::new(),
            sha: None,
            base_ref: None,
            default_branch: "main".into(),
            commit_date: None,
            now: Timestamp::UNIX_EPOCH,
            short_sha_length: 7,
        }
    }
}

impl Event {
    /// From what a GitHub job has: `GITHUB_EVENT_NAME`, `GITHUB_REF`, `GITHUB_SHA` and the JSON in the file
    /// `GITHUB_EVENT_PATH`. With `head_sha` (`DOCKER_METADATA_PR_HEAD_SHA`) a pull request's commit is its head and
    /// not the merge that GitHub made.
    ///
    /// A `pull_request_target` runs on the base branch; its reference is taken to be the pull request's.
    ///
    /// # Errors
    /// [`Error::Payload`] for text that is no JSON object.
    pub fn from_github(name: &str, git_ref: &str, sha: &str, payload: &str, head_sha: bool) -> Result<Self, Error> {
        let payload: Value = serde_json::from_str(payload).map_err(|error| Error::Payload(error.to_string()))?;
        if !payload.is_object() {
            return Err(Error::Payload("it is no JSON object".into()));
        }
        let text = |pointer: &str| payload.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let number = payload.pointer("/number").or(payload.pointer("/pull_request/number")).and_then(Value::as_u64);
        let git_ref = match number {
            Some(number) if name == "pull_request_target" => format!("refs/pull/{number}/merge"),
            _ => git_ref.to_owned(),
        };
        let head = text("/pull_request/head/sha").filter(|_| head_sha && name.starts_with("pull_request"));
        let base_ref = if git_ref.starts_with("refs/tags/") {
            text("/base_ref").map(|branch| branch.strip_prefix("refs/heads/").unwrap_or(&branch).to_owned())
        } else if git_ref.starts_with("refs/pull/") {
            text("/pull_request/base/ref")
        } else {
            None
        };
        Ok(Self {
            name: name.to_owned(),
            base_ref,
            sha: head.or((!sha.is_empty()).then(|| sha.to_owned())),
            default_branch: text("/repository/default_branch").unwrap_or_default(),
            commit_date: text("/head_commit/timestamp").and_then(|date| date.parse().ok()),
            git_ref,
            ..Self::default()
        })
    }

    /// The branch, on a branch.
    pub fn branch(&self) -> Option<&str> {
        self.git_ref.strip_prefix("refs/heads/")
    }

    /// The git tag, on a tag.
    pub fn tag(&self) -> Option<&str> {
        self.git_ref.strip_prefix("refs/tags/")
    }

    /// The number of the pull or merge request.
    pub fn pull_request(&self) -> Option<&str> {
        let rest = self.git_ref.strip_prefix("refs/pull/")?;
        Some(rest.strip_suffix("/merge").unwrap_or(rest))
    }

    /// The short commit; empty without one.
    pub fn short_sha(&self) -> &str {
        let sha = self.sha.as_deref().unwrap_or_default();
        sha.get(..self.short_sha_length).unwrap_or(sha)
    }

    /// Whether the event is about the default branch. Events without a reference of their own (`schedule`, issues)
    /// always are.
    pub fn is_default_branch(&self) -> bool {
        let branch = self.branch().unwrap_or(&self.git_ref);
        let always = ["create", "discussion", "issues", "schedule"].iter().any(|name| self.name.contains(name));
        !branch.is_empty() && (branch == self.default_branch || always)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_github() {
        let payload = r#"{"number": 7, "base_ref": "refs/heads/rel", "repository": {"default_branch": "trunk"},
            "head_commit": {"timestamp": "2026-11-21T10:00:00+02:00"},
            "pull_request": {"base": {"ref": "trunk"}, "head": {"sha": "feed"}}}"#;
        let event = |name, git_ref, head| Event::from_github(name, git_ref, "cafe", payload, head).unwrap();
        let target = event("pull_request_target", "refs/heads/trunk", true);
        assert_eq!((target.pull_request(), target.sha.as_deref()), (Some("7"), Some("feed")));
        assert_eq!(target.base_ref.as_deref(), Some("trunk"));
        let tag = event("push", "refs/tags/v1", true);
        assert_eq!((tag.base_ref.as_deref(), tag.sha.as_deref()), (Some("rel"), Some("cafe")));
        assert_eq!(tag.commit_date, Some("2026-11-21T08:00:00Z".parse().unwrap()));
        assert!(event("push", "refs/heads/trunk", false).is_default_branch());
        assert!(!tag.is_default_branch());
        assert!(Event::from_github("push", "refs/heads/a", "", "[]", false).is_err());
    }
}
