//! Pull requests on GitHub and merge requests on GitLab, through their REST APIs.
//!
//! The HTTP client is the caller's: it knows the certificates and proxies. The token goes into the request's header and
//! nowhere else.
use crate::secret::Secret;
use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// Whose API it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// github.com and GitHub Enterprise.
    GitHub,
    /// gitlab.com and one's own GitLab.
    GitLab,
}

/// A forge's API.
#[derive(Debug, Clone)]
pub struct Forge {
    /// Whose.
    pub kind: Kind,
    /// The API's base URL: `https://api.github.com`, `https://gitlab.com/api/v4`.
    pub api: String,
    /// A token that may open requests.
    pub token: Secret,
}

/// What the request says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequest {
    /// `owner/name`; on GitLab the project's path.
    pub repository: String,
    /// The branch with the commits, in the same repository.
    pub head: String,
    /// The branch that they shall go to.
    pub base: String,
    /// The title.
    pub title: String,
    /// The text.
    pub body: String,
    /// Labels.
    pub labels: Vec<String>,
}

/// A request that is open now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Its page.
    pub url: String,
    /// Its number within the repository.
    pub number: u64,
    /// Whether it was opened just now, and not brought up to date.
    pub created: bool,
}

/// Why there is no request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection.
    #[error("cannot reach {url}: {message}")]
    Connection {
        /// What was asked.
        url: String,
        /// Why not.
        message: String,
    },
    /// The forge's answer.
    #[error("{url} says {status}: {message}{hint}")]
    Answer {
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
        /// The forge's message.
        message: String,
        /// What to do; begins with `; ` or is empty.
        hint: &'static str,
    },
    /// An answer in another form than documented.
    #[error("{url} answers in an unknown form: {message}")]
    Form {
        /// What was asked.
        url: String,
        /// What is missing.
        message: String,
    },
}

impl Forge {
    /// Opens a request from `head` to `base`, or brings title and text of the open one up to date.
    ///
    /// # Errors
    /// All of [`Error`].
    pub fn ensure(&self, client: &Client, request: &PullRequest) -> Result<Opened, Error> {
        if let Some(number) = self.find(client, request)? {
            return self.update(client, request, number);
        }
        match self.create(client, request) {
            // Somebody opened it in between.
            Err(Error::Answer { status: 409 | 422, .. }) if let Some(number) = self.find(client, request)? => {
                self.update(client, request, number)
            }
            opened => opened,
        }
    }

    fn base(&self, request: &PullRequest) -> String {
        let api = self.api.trim_end_matches('/');
        match self.kind {
            Kind::GitHub => format!("{api}/repos/{}/pulls", request.repository),
            Kind::GitLab => format!("{api}/projects/{}/merge_requests", request.repository.replace('/', "%2F")),
        }
    }

    /// The number of the open request, if there is one.
    fn find(&self, client: &Client, request: &PullRequest) -> Result<Option<u64>, Error> {
        let url = self.base(request);
        let owner = request.repository.split('/').next().unwrap_or_default();
        let head = format!("{owner}:{}", request.head);
        let query = match self.kind {
            Kind::GitHub => [("state", "open"), ("head", &head), ("base", &request.base)],
            Kind::GitLab => [("state", "opened"), ("source_branch", &request.head), ("target_branch", &request.base)],
        };
        let list = self.send(client.request(Method::GET, &url).query(&query), &url)?;
        let list = list.as_array().ok_or_else(|| Error::Form { url: url.clone(), message: "no list".into() })?;
        list.first().map(|first| number(self.kind, first, &url)).transpose()
    }

    fn create(&self, client: &Client, request: &PullRequest) -> Result<Opened, Error> {
        let url = self.base(request);
        let PullRequest { head, base, title, body, labels, .. } = request;
        let json = match self.kind {
            Kind::GitHub => json!({ "title": title, "body": body, "head": head, "base": base }),
            Kind::GitLab => json!({
                "title": title, "description": body, "source_branch": head, "target_branch": base,
                "labels": labels.join(","), "remove_source_branch": true,
            }),
        };
        let answer = self.send(client.request(Method::POST, &url).body(json.to_string()), &url)?;
        let opened = self.opened(&answer, &url, true)?;
        self.label(client, request, opened.number)?;
        Ok(opened)
    }

    fn update(&self, client: &Client, request: &PullRequest, number: u64) -> Result<Opened, Error> {
        let url = format!("{}/{number}", self.base(request));
        let PullRequest { title, body, labels, .. } = request;
        let (method, json) = match self.kind {
            Kind::GitHub => (Method::PATCH, json!({ "title": title, "body": body })),
            Kind::GitLab => {
                (Method::PUT, json!({ "title": title, "description": body, "add_labels": labels.join(",") }))
            }
        };
        let answer = self.send(client.request(method, &url).body(json.to_string()), &url)?;
        self.label(client, request, number)?;
        self.opened(&answer, &url, false)
    }

    /// GitHub takes labels in a request of their own.
    fn label(&self, client: &Client, request: &PullRequest, number: u64) -> Result<(), Error> {
        if self.kind == Kind::GitLab || request.labels.is_empty() {
            return Ok(());
        }
        let url = format!("{}/repos/{}/issues/{number}/labels", self.api.trim_end_matches('/'), request.repository);
        let body = json!({ "labels": request.labels }).to_string();
        self.send(client.request(Method::POST, &url).body(body), &url).map(drop)
    }

    fn opened(&self, answer: &Value, url: &str, created: bool) -> Result<Opened, Error> {
        let page = answer[if self.kind == Kind::GitHub { "html_url" } else { "web_url" }].as_str();
        let page = page.ok_or_else(|| Error::Form { url: url.into(), message: "no page".into() })?;
        Ok(Opened { url: page.to_owned(), number: number(self.kind, answer, url)?, created })
    }

    fn send(&self, request: RequestBuilder, url: &str) -> Result<Value, Error> {
        let request = request
            .bearer_auth(self.token.expose())
            .header("Content-Type", "application/json")
            .header("User-Agent", "cooperage");
        let request = match self.kind {
            Kind::GitHub => {
                request.header("Accept", "application/vnd.github+json").header("X-GitHub-Api-Version", "2022-11-28")
            }
            Kind::GitLab => request,
        };
        let connection = |error: &dyn std::error::Error| Error::Connection {
            url: url.into(),
            message: self.token.redact(&causes(error)),
        };
        let response = request.send().map_err(|error| connection(&error.without_url()))?;
        let status = response.status();
        let text = body(response).map_err(|error| connection(&error))?;
        let json: Option<Value> = serde_json::from_str(&text).ok();
        if !status.is_success() {
            return Err(self.answer(url, status, json.as_ref(), &text));
        }
        json.ok_or_else(|| Error::Form { url: url.into(), message: "no JSON".into() })
    }

    fn answer(&self, url: &str, status: StatusCode, json: Option<&Value>, text: &str) -> Error {
        // GitHub: message, and errors[].message; GitLab: message as text, list or object, or error.
        let said = json.and_then(|json| [&json["message"], &json["error"]].into_iter().find(|value| !value.is_null()));
        let mut message = match said {
            Some(Value::String(message)) => message.clone(),
            Some(other) => other.to_string(),
            None => text.chars().take(200).collect(),
        };
        let errors = json.and_then(|json| json["errors"].as_array()).into_iter().flatten();
        for error in errors.filter_map(|error| error["message"].as_str().or(error["code"].as_str())) {
            message = format!("{message}; {error}");
        }
        let hint = match status {
            StatusCode::UNAUTHORIZED => "; the token is wrong or has expired",
            StatusCode::FORBIDDEN => "; the token may not do this: it needs write access to pull requests",
            StatusCode::NOT_FOUND => "; the repository does not exist, or the token cannot see it",
            _ => "",
        };
        Error::Answer { url: url.into(), status: status.as_u16(), message: self.token.redact(&message), hint }
    }
}

fn number(kind: Kind, answer: &Value, url: &str) -> Result<u64, Error> {
    let number = answer[if kind == Kind::GitHub { "number" } else { "iid" }].as_u64();
    number.ok_or_else(|| Error::Form { url: url.into(), message: "no number".into() })
}

/// At most 4 MiB of an answer.
fn body(response: Response) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = Vec::new();
    response.take(4 << 20).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
