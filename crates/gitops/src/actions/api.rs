//! The requests: retries, limits of requests, errors with what to do.
use super::run::{Job, Run, Workflow};
use crate::secret::Secret;
use jiff::Timestamp;
use reqwest::blocking::{Client, Response};
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read as _;
use std::sync::Mutex;
use std::time::Duration;

/// How often a request is tried.
const ATTEMPTS: u32 = 5;
/// The longest pause that a server may ask for; a longer one is an error.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// The largest answer that is read.
const LARGEST: u64 = 16 << 20;

/// The API of a repository.
pub struct Actions<'a> {
    client: Client,
    api: String,
    repository: String,
    token: Option<Secret>,
    /// Waits, and says whether to go on.
    wait: Box<dyn Fn(Duration) -> bool + 'a>,
    /// What was answered, by URL, with its ETag: an answer that has not changed costs nothing of the limit.
    answers: Mutex<HashMap<String, (String, Value)>>,
}

impl std::fmt::Debug for Actions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Actions").field("api", &self.api).field("repository", &self.repository).finish_non_exhaustive()
    }
}

/// Why something could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection.
    #[error("cannot {doing}: cannot reach {url}: {message}")]
    Connection {
        /// What was wanted.
        doing: String,
        /// What was asked.
        url: String,
        /// Why not.
        message: String,
    },
    /// GitHub's answer.
    #[error("cannot {doing}: GitHub says {status}: {message}")]
    Answer {
        /// What was wanted.
        doing: String,
        /// The status.
        status: u16,
        /// GitHub's message.
        message: String,
        /// What to do.
        hints: Vec<String>,
    },
    /// Too many requests.
    #[error("cannot {doing}: the limit of requests is reached, and is lifted in {minutes} min")]
    Limit {
        /// What was wanted.
        doing: String,
        /// How long it lasts.
        minutes: u64,
        /// Whether requests were made with a token.
        token: bool,
    },
    /// An answer in another form than documented.
    #[error("cannot {doing}: the answer of {url} is in an unknown form")]
    Form {
        /// What was wanted.
        doing: String,
        /// What was asked.
        url: String,
    },
    /// The dispatched run did not appear.
    #[error("{workflow} was dispatched, but no run of it appeared within {seconds} s")]
    NoRun {
        /// The workflow.
        workflow: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The caller stopped it.
    #[error("interrupted")]
    Stopped,
}

impl Error {
    /// What to do.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Answer { hints, .. } => hints.clone(),
            Self::Limit { token: false, .. } => vec!["set GITHUB_TOKEN: with a token the limit is much higher".into()],
            Self::Limit { .. } => vec!["wait, or ask less often with --interval".into()],
            Self::Connection { .. } => {
                vec!["behind a proxy set HTTPS_PROXY; for a server of your own set GITHUB_API_URL".into()]
            }
            Self::NoRun { .. } => vec!["it may wait behind others: cooperage remote status".into()],
            Self::Form { .. } | Self::Stopped => Vec::new(),
        }
    }

    fn status(&self) -> Option<u16> {
        if let Self::Answer { status, .. } = self { Some(*status) } else { None }
    }
}

/// A run that was dispatched.
#[derive(Debug)]
pub struct Dispatched {
    /// The run.
    pub run: Run,
    /// Other runs that began in the same moment and could be it, where the server does not say which it is.
    pub others: usize,
}

/// Which runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// A workflow's file or number.
    pub workflow: Option<String>,
    /// A branch.
    pub branch: Option<String>,
    /// `push`, `workflow_dispatch`, …
    pub event: Option<String>,
    /// A status or conclusion.
    pub status: Option<String>,
    /// A commit, in full.
    pub sha: Option<String>,
    /// How many at most, the newest first; up to 100.
    pub limit: usize,
}

/// What a request is.
struct Ask<'a> {
    doing: &'a str,
    method: Method,
    /// Below the repository, unless it begins with `/`.
    path: &'a str,
    query: Vec<(&'a str, String)>,
    body: Option<Value>,
}

impl<'a> Ask<'a> {
    fn get(doing: &'a str, path: &'a str) -> Self {
        Self { doing, method: Method::GET, path, query: Vec::new(), body: None }
    }

    fn post(doing: &'a str, path: &'a str, body: Value) -> Self {
        Self { doing, method: Method::POST, path, query: Vec::new(), body: Some(body) }
    }
}

impl<'a> Actions<'a> {
    /// The API at `api` (`https://api.github.com`, `https://HOST/api/v3`) for `repository` (`OWNER/NAME`). `wait` waits
    /// that long and says whether to go on.
    pub fn new(
        client: Client,
        api: &str,
        repository: &str,
        token: Option<Secret>,
        wait: impl Fn(Duration) -> bool + 'a,
    ) -> Self {
        Self {
            client,
            api: api.trim_end_matches('/').to_owned(),
            repository: repository.to_owned(),
            token,
            wait: Box::new(wait),
            answers: Mutex::default(),
        }
    }

    /// Waits.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub fn pause(&self, time: Duration) -> Result<(), Error> {
        if (self.wait)(time) { Ok(()) } else { Err(Error::Stopped) }
    }

    /// The repository's default branch.
    ///
    /// # Errors
    /// All of [`Error`], as of every function here.
    pub fn default_branch(&self) -> Result<String, Error> {
        let ask = Ask::get("find the default branch", "");
        let answer = self.json(&ask)?;
        answer["default_branch"].as_str().map(str::to_owned).ok_or_else(|| self.form(&ask))
    }

    /// The repository's workflows.
    ///
    /// # Errors
    /// As everywhere.
    pub fn workflows(&self) -> Result<Vec<Workflow>, Error> {
        self.pages("list the workflows", "actions/workflows", "workflows", Workflow::read)
    }

    /// Starts a run of a workflow (file name or number) on a branch or tag, and finds it: the server says which it is, or
    /// it is the first new one of the same workflow, branch and person. Waits up to `patience` for it to appear.
    ///
    /// # Errors
    /// As everywhere; nothing was started but for [`Error::NoRun`], and a connection that broke meanwhile.
    pub fn dispatch(
        &self,
        workflow: &str,
        git_ref: &str,
        inputs: &BTreeMap<String, String>,
        patience: Duration,
    ) -> Result<Dispatched, Error> {
        let doing = format!("dispatch {workflow}");
        let short = git_ref.strip_prefix("refs/heads/").or(git_ref.strip_prefix("refs/tags/")).unwrap_or(git_ref);
        let filter = Filter {
            workflow: Some(workflow.to_owned()),
            branch: Some(short.to_owned()),
            event: Some("workflow_dispatch".into()),
            limit: 50,
            ..Filter::default()
        };
        let known: BTreeSet<u64> = self.runs(&filter)?.iter().map(|run| run.id).collect();
        let path = format!("actions/workflows/{workflow}/dispatches");
        let body = json!({ "ref": git_ref, "inputs": inputs });
        let mut asking = body.clone();
        asking["return_run_details"] = json!(true);
        let answer = match self.json(&Ask::post(&doing, &path, asking)) {
            // Servers of one's own up to 3.20 do not know the field.
            Err(Error::Answer { status: 400 | 422, message, .. })
                if message.contains("return_run_details") || message.contains("permitted key") =>
            {
                self.json(&Ask::post(&doing, &path, body))?
            }
            other => other?,
        };
        if let Some(id) = answer["workflow_run_id"].as_u64() {
            return Ok(Dispatched { run: self.appear(id, patience)?, others: 0 });
        }
        // Of whom the token is: tokens of Actions and of apps may not ask.
        let login = self.json(&Ask::get("find out whose the token is", "/user")).ok();
        let login = login.as_ref().and_then(|user| user["login"].as_str());
        let mut waited = Duration::ZERO;
        let mut pause = Duration::from_millis(300);
        loop {
            let mut new = self.runs(&filter)?;
            new.retain(|run| !known.contains(&run.id) && login.is_none_or(|login| run.actor == login));
            new.sort_by_key(|run| run.id);
            let others = new.len().saturating_sub(1);
            if let Some(run) = new.into_iter().next() {
                return Ok(Dispatched { run, others });
            }
            if waited >= patience {
                return Err(Error::NoRun { workflow: workflow.to_owned(), seconds: patience.as_secs() });
            }
            self.pause(pause)?;
            waited += pause;
            pause = (pause * 2).min(Duration::from_secs(3));
        }
    }

    /// A run whose number is known, but which replicas of the server may not know yet.
    fn appear(&self, id: u64, patience: Duration) -> Result<Run, Error> {
        let (mut waited, pause) = (Duration::ZERO, Duration::from_millis(500));
        loop {
            match self.run(id) {
                Err(error) if error.status() == Some(404) && waited < patience => self.pause(pause)?,
                other => return other,
            }
            waited += pause;
        }
    }

    /// Runs, the newest first.
    ///
    /// # Errors
    /// As everywhere.
    pub fn runs(&self, filter: &Filter) -> Result<Vec<Run>, Error> {
        let path = match &filter.workflow {
            Some(workflow) => format!("actions/workflows/{workflow}/runs"),
            None => "actions/runs".into(),
        };
        let mut ask = Ask::get("list the runs", &path);
        let given = [
            ("branch", &filter.branch),
            ("event", &filter.event),
            ("status", &filter.status),
            ("head_sha", &filter.sha),
        ];
        ask.query = given.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect();
        ask.query.push(("per_page", filter.limit.clamp(1, 100).to_string()));
        let answer = self.json(&ask)?;
        let list = answer["workflow_runs"].as_array().ok_or_else(|| self.form(&ask))?;
        list.iter().take(filter.limit.max(1)).map(|run| Run::read(run).ok_or_else(|| self.form(&ask))).collect()
    }

    /// A run.
    ///
    /// # Errors
    /// As everywhere.
    pub fn run(&self, id: u64) -> Result<Run, Error> {
        let path = format!("actions/runs/{id}");
        let doing = format!("read run {id}");
        let ask = Ask::get(&doing, &path);
        Run::read(&self.json(&ask)?).ok_or_else(|| self.form(&ask))
    }

    /// The jobs of a run's attempt.
    ///
    /// # Errors
    /// As everywhere.
    pub fn jobs(&self, run: &Run) -> Result<Vec<Job>, Error> {
        let path = format!("actions/runs/{}/attempts/{}/jobs", run.id, run.attempt);
        self.pages(&format!("read the jobs of run {}", run.id), &path, "jobs", Job::read)
    }

    /// Gives the log of a job to `line`, line by line, as it comes; [`super::log`] reads it.
    ///
    /// # Errors
    /// As everywhere; 404 where there is none (yet).
    pub fn log(&self, job: &Job, mut line: impl FnMut(&str)) -> Result<(), Error> {
        let (doing, path) = (format!("read the log of {}", job.name), format!("actions/jobs/{}/logs", job.id));
        let response = self.send(&Ask::get(&doing, &path), None)?;
        let broken = |error: std::io::Error| Error::Connection {
            doing: doing.clone(),
            url: self.url(&path),
            message: error.to_string(),
        };
        super::log::lines(response, &mut line).map_err(broken)
    }

    /// Runs all jobs of a run again, or those that failed; `debug` has runner and steps say more.
    ///
    /// # Errors
    /// As everywhere.
    pub fn rerun(&self, run: &Run, failed: bool, debug: bool) -> Result<(), Error> {
        let doing = format!("run {} again", run.id);
        let path = format!("actions/runs/{}/{}", run.id, if failed { "rerun-failed-jobs" } else { "rerun" });
        self.json(&Ask::post(&doing, &path, json!({ "enable_debug_logging": debug }))).map(drop)
    }

    /// Ends a run; `force`: without waiting for what its steps do when they are cancelled.
    ///
    /// # Errors
    /// As everywhere; a run that has ended is refused (409).
    pub fn cancel(&self, run: &Run, force: bool) -> Result<(), Error> {
        let doing = format!("cancel run {}", run.id);
        let path = format!("actions/runs/{}/{}", run.id, if force { "force-cancel" } else { "cancel" });
        self.json(&Ask::post(&doing, &path, json!({}))).map(drop)
    }

    fn pages<T>(&self, doing: &str, path: &str, key: &str, read: fn(&Value) -> Option<T>) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        // A run has no more than 256 jobs of a matrix, and no repository a thousand workflows.
        for page in 1..=20 {
            let mut ask = Ask::get(doing, path);
            ask.query = vec![("per_page", "100".into()), ("page", page.to_string())];
            let answer = self.json(&ask)?;
            let list = answer[key].as_array().ok_or_else(|| self.form(&ask))?;
            for item in list {
                all.push(read(item).ok_or_else(|| self.form(&ask))?);
            }
            if list.len() < 100 {
                break;
            }
        }
        Ok(all)
    }

    fn url(&self, path: &str) -> String {
        match path.strip_prefix('/') {
            Some(path) => format!("{}/{path}", self.api),
            None if path.is_empty() => format!("{}/repos/{}", self.api, self.repository),
            None => format!("{}/repos/{}/{path}", self.api, self.repository),
        }
    }

    fn form(&self, ask: &Ask<'_>) -> Error {
        Error::Form { doing: ask.doing.to_owned(), url: self.url(ask.path) }
    }

    /// The answer as JSON; `null` where it is empty.
    fn json(&self, ask: &Ask<'_>) -> Result<Value, Error> {
        let key = format!("{} {:?}", self.url(ask.path), ask.query);
        let get = ask.method == Method::GET;
        let answers = || self.answers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let tag = get.then(|| answers().get(&key).map(|(tag, _)| tag.clone())).flatten();
        let response = self.send(ask, tag.as_deref())?;
        if response.status() == StatusCode::NOT_MODIFIED
            && let Some((_, value)) = answers().get(&key)
        {
            return Ok(value.clone());
        }
        let tag = header(response.headers(), "etag").map(str::to_owned);
        let bytes = body(response).map_err(|error| Error::Connection {
            doing: ask.doing.to_owned(),
            url: self.url(ask.path),
            message: error.to_string(),
        })?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        let value: Value = serde_json::from_slice(&bytes).map_err(|_| self.form(ask))?;
        if let Some(tag) = tag.filter(|_| get) {
            answers().insert(key, (tag, value.clone()));
        }
        Ok(value)
    }

    /// A successful answer, or one that says that nothing changed.
    fn send(&self, ask: &Ask<'_>, etag: Option<&str>) -> Result<Response, Error> {
        let url = self.url(ask.path);
        let mut pause = Duration::from_millis(500);
        for attempt in 1.. {
            let last = attempt == ATTEMPTS;
            let mut request = self
                .client
                .request(ask.method.clone(), &url)
                .query(&ask.query)
                .header("Accept", "application/vnd.github+json")
                .header("X-GitHub-Api-Version", "2022-11-28")
                .header("User-Agent", "cooperage");
            if let Some(token) = &self.token {
                request = request.bearer_auth(token.expose());
            }
            if let Some(etag) = etag {
                request = request.header("If-None-Match", etag);
            }
            if let Some(body) = &ask.body {
                request = request.header("Content-Type", "application/json").body(body.to_string());
            }
            // What may have been done must not be done twice.
            let again = ask.method == Method::GET;
            match request.send() {
                Ok(answer) if answer.status().is_success() || answer.status() == StatusCode::NOT_MODIFIED => {
                    return Ok(answer);
                }
                Ok(answer) => {
                    let status = answer.status();
                    if let Some(wait) = limited(status, answer.headers()) {
                        if wait > LONGEST_PAUSE || last {
                            let minutes = wait.as_secs().div_ceil(60);
                            let doing = ask.doing.to_owned();
                            return Err(Error::Limit { doing, minutes, token: self.token.is_some() });
                        }
                        self.pause(wait)?;
                        continue;
                    }
                    if !status.is_server_error() || last || !again {
                        return Err(self.refused(ask, answer));
                    }
                }
                Err(error) if last || !(again || error.is_connect()) => {
                    let message = self.hidden(&causes(&error.without_url()));
                    return Err(Error::Connection { doing: ask.doing.to_owned(), url, message });
                }
                Err(_) => {}
            }
            self.pause(pause)?;
            pause *= 2;
        }
        unreachable!("the loop ends with the last attempt")
    }

    fn hidden(&self, text: &str) -> String {
        self.token.as_ref().map_or_else(|| text.to_owned(), |token| token.redact(text))
    }

    fn refused(&self, ask: &Ask<'_>, answer: Response) -> Error {
        let (status, headers) = (answer.status(), answer.headers().clone());
        let text = body(answer).unwrap_or_default();
        let json: Value = serde_json::from_slice(&text).unwrap_or_default();
        let mut message = match json["message"].as_str() {
            Some(message) => message.to_owned(),
            None => status.canonical_reason().unwrap_or("an error without a message").to_owned(),
        };
        let details = json["errors"].as_array().into_iter().flatten();
        for detail in details.filter_map(|error| error["message"].as_str().or(error.as_str())) {
            message = format!("{message}; {detail}");
        }
        let message = self.hidden(&message.chars().filter(|c| !c.is_control()).take(500).collect::<String>());
        let hints = self.remedies(ask, status, &headers, &message);
        Error::Answer { doing: ask.doing.to_owned(), status: status.as_u16(), message, hints }
    }

    fn remedies(&self, ask: &Ask<'_>, status: StatusCode, headers: &HeaderMap, message: &str) -> Vec<String> {
        let writes = ask.method != Method::GET;
        let repository = &self.repository;
        let access = if writes { "write" } else { "read" };
        let mut hints: Vec<String> = Vec::new();
        let mut hint = |text: &str| hints.push(text.to_owned());
        match status.as_u16() {
            401 => hint(
                "the token is wrong or has expired; make one at https://github.com/settings/tokens and set GITHUB_TOKEN",
            ),
            403 if header(headers, "x-github-sso").is_some() => {
                hint("the organisation asks for SAML: authorise the token for it in the token's settings");
            }
            403 if message.contains("not accessible by integration") => {
                hint(&format!("the token of this job may not: set permissions: {{actions: {access}}} in its workflow"))
            }
            403 if message.contains("cannot be rerun") => {
                hint("a run can be run again for 30 days, and not while it runs; dispatch a new one");
            }
            403 => hint(&format!(
                "the token may not: a fine-grained one needs the permission Actions: {access} for {repository}, a classic one the scope repo"
            )),
            404 if self.token.is_none() => hint("a private repository is not found without a token: set GITHUB_TOKEN"),
            404 => {
                hint(&format!("check the name {repository}; it is the repository's or that of --repo"));
                hint(&format!("where it exists, the token cannot see it: it needs the permission Actions: {access}"));
            }
            422 if message.contains("workflow_dispatch") => {
                hint(
                    "add workflow_dispatch: below on: in the workflow, on the branch that is dispatched and on the default branch",
                );
            }
            422 if message.contains("No ref found") => hint("push the branch first, or name another with --ref"),
            422 if message.contains("nputs") || message.contains("nput '") => {
                hint(
                    "the inputs are listed below on.workflow_dispatch.inputs in the workflow; give each with --input NAME=VALUE",
                );
            }
            500.. if writes => hint("it may have been done all the same: cooperage remote status"),
            500.. => hint("GitHub may have a problem: https://www.githubstatus.com"),
            _ => {}
        }
        hints
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// How long to wait, where the answer says that there were too many requests.
fn limited(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::FORBIDDEN) {
        return None;
    }
    let number = |name: &str| header(headers, name)?.parse::<i64>().ok();
    if let Some(seconds) = number("retry-after") {
        return Some(Duration::from_secs(seconds.max(0).unsigned_abs()));
    }
    if number("x-ratelimit-remaining") == Some(0) {
        let left = number("x-ratelimit-reset").map_or(60, |reset| reset - Timestamp::now().as_second() + 1);
        return Some(Duration::from_secs(left.max(1).unsigned_abs()));
    }
    // A secondary limit without a time: GitHub asks for a minute.
    (status == StatusCode::TOO_MANY_REQUESTS).then_some(Duration::from_secs(60))
}

fn body(response: Response) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    response.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}
