//! Requests to a registry: address, authorization and retries put together.
use crate::auth::Auth;
use crate::endpoint::{Endpoints, Target, join};
use crate::transport::{Answer, Call, Opened, Transport, same_origin};
use crate::{ClientOptions, Credentials, Error, retry};
use oci::Reference;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What all clones of a client share.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) options: Arc<ClientOptions>,
    pub(crate) transport: Arc<Transport>,
    pub(crate) endpoints: Endpoints,
    pub(crate) auth: Auth,
    pub(crate) downloads: Arc<Semaphore>,
    pub(crate) uploads: Arc<Semaphore>,
}

/// An answer: read, or with its body still to come.
#[derive(Debug)]
pub(crate) enum Reply {
    Read(Answer),
    Body(Opened),
}

impl Session {
    pub(crate) fn new(options: ClientOptions) -> Result<Self, Error> {
        let options = Arc::new(options);
        let permits = options.concurrency.clamp(1, 1024);
        Ok(Self {
            transport: Transport::new(options.clone())?,
            endpoints: Endpoints::new(&options)?,
            auth: Auth::new(options.credentials.clone()),
            downloads: Arc::new(Semaphore::new(permits)),
            uploads: Arc::new(Semaphore::new(permits)),
            options,
        })
    }

    /// The same connections with other credentials, and with nothing learnt.
    pub(crate) fn with_credentials(&self, credentials: Credentials) -> Result<Self, Error> {
        Ok(Self {
            transport: self.transport.clone(),
            endpoints: Endpoints::new(&self.options)?,
            auth: Auth::new(credentials),
            downloads: self.downloads.clone(),
            uploads: self.uploads.clone(),
            options: self.options.clone(),
        })
    }

    /// The registry itself.
    pub(crate) fn origin(&self, name: &Reference) -> Target {
        Target::new(name.registry(), name.repository())
    }

    /// Where to pull from: the mirrors, then the registry.
    pub(crate) fn sources(&self, name: &Reference) -> Vec<Target> {
        let mut all = self.endpoints.mirrors(name.registry(), name.repository());
        all.push(self.origin(name));
        all
    }

    /// The repository of the target's registry that has what a name stands for: its own, or that of a mirror.
    pub(crate) fn mount_source(&self, registry: &str, name: &Reference) -> Option<String> {
        let known = self.sources(name).into_iter().find(|source| source.registry == registry);
        known.map(|source| source.repository)
    }

    /// `/v2/REPOSITORY/PATH` at a target; a mirror is told whom it stands in for.
    pub(crate) fn url(&self, target: &Target, path: &str) -> Result<Url, Error> {
        let base = self.endpoints.base(&self.transport, target)?;
        let mut url = join(&base, &format!("/v2/{}/{path}", target.repository))?;
        if let Some(mirrored) = &target.mirrored {
            url.query_pairs_mut().append_pair("ns", mirrored);
        }
        Ok(url)
    }

    /// The `Authorization` header for a request to `url`, as far as it is known now. Nothing for
    /// places outside of the registry.
    pub(crate) fn header(&self, target: &Target, url: &Url, scopes: &[String]) -> Result<Option<HeaderValue>, Error> {
        let base = self.endpoints.base(&self.transport, target)?;
        if !same_origin(&base, url) {
            return Ok(None);
        }
        self.auth.header(&self.transport, &self.options.retry, target, scopes)
    }

    /// After a 401 to a request that carried `sent`: the header to try next.
    pub(crate) fn renewed(
        &self,
        target: &Target,
        answer: &Answer,
        scopes: &[String],
        sent: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, Error> {
        let base = self.endpoints.base(&self.transport, target)?;
        if !same_origin(&base, &answer.url) {
            return Ok(None);
        }
        self.auth.challenged(&self.transport, &self.options.retry, target, answer, scopes, sent)
    }

    /// Sends once, or twice when the first answer is a challenge. Gives up with an error after 401.
    fn authorized(
        &self,
        target: &Target,
        scopes: &[String],
        call: &Call,
        send: impl Fn(Call) -> Result<Reply, Error>,
    ) -> Result<Reply, Error> {
        let mut header = self.header(target, &call.url, scopes)?;
        let mut last = false;
        loop {
            let mut call = call.clone();
            if let Some(value) = &header {
                call.headers.insert(AUTHORIZATION, value.clone());
            }
            let answer = match send(call)? {
                Reply::Read(answer) if answer.status == StatusCode::UNAUTHORIZED => answer,
                reply => return Ok(reply),
            };
            let next = if last { None } else { self.renewed(target, &answer, scopes, header.as_ref())? };
            match next {
                Some(next) => header = Some(next),
                None => return Err(self.auth.explain(target, answer.error())),
            }
            last = true;
        }
    }

    fn send(&self, call: Call, limit: usize) -> Result<Answer, Error> {
        let transport = self.transport.clone();
        self.transport.driver.run(async move { transport.exchange(call, limit).await })?
    }

    /// One request with its answer, tried again as the policy says. Statuses below 500 other than 401
    /// and 429 are the caller's to judge.
    pub(crate) fn request(
        &self,
        target: &Target,
        scopes: &[String],
        limit: usize,
        make: impl Fn() -> Result<Call, Error>,
    ) -> Result<Answer, Error> {
        retry::answered(&self.transport.driver, &self.options.retry, || {
            match self.authorized(target, scopes, &make()?, |call| self.send(call, limit).map(Reply::Read))? {
                Reply::Read(answer) => Ok(answer),
                Reply::Body(_) => Err(Error::new(crate::ErrorKind::Protocol, "an answer was not read")),
            }
        })
        .map_err(|error| self.auth.explain(target, error))
    }

    /// The error that an answer is, with what is known of the credential.
    pub(crate) fn refused(&self, target: &Target, answer: &Answer) -> Error {
        self.auth.explain(target, answer.error())
    }

    /// One attempt, no retry: for the clean-up of something that failed anyway.
    pub(crate) fn request_once(&self, target: &Target, scopes: &[String], call: &Call) -> Result<Answer, Error> {
        let limit = crate::error::ERROR_BODY_LIMIT;
        match self.authorized(target, scopes, call, |call| self.send(call, limit).map(Reply::Read))? {
            Reply::Read(answer) => Ok(answer),
            Reply::Body(_) => Err(Error::new(crate::ErrorKind::Protocol, "an answer was not read")),
        }
    }

    /// One attempt at a GET whose body, if the status is a success, stays unread.
    pub(crate) fn open(&self, target: &Target, scopes: &[String], call: &Call) -> Result<Reply, Error> {
        let idle = self.transport.timeouts.idle;
        self.authorized(target, scopes, call, |call| {
            let transport = self.transport.clone();
            self.transport.driver.run(async move {
                let opened = transport.open(call).await?;
                if opened.response.status().is_success() {
                    Ok(Reply::Body(opened))
                } else {
                    Ok(Reply::Read(opened.read(0, idle).await?))
                }
            })?
        })
    }

    /// A request without a body to a path of the target.
    pub(crate) fn simple(&self, target: &Target, method: Method, path: &str) -> Result<Call, Error> {
        Ok(Call::new(method, self.url(target, path)?))
    }
}

/// The scope of an action on the target's repository.
pub(crate) fn scope(target: &Target, actions: &str) -> Vec<String> {
    vec![format!("repository:{}:{actions}", target.repository)]
}
