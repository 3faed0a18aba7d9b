//! Authentication: what to send with a request, and what to do after a 401.
//!
//! A registry answers 401 with a challenge: `Basic`, or `Bearer` with the address of a token server.
//! The challenge is remembered per registry and tokens per scope, so only the first request of a
//! scope pays. Credentials go to the token server that the registry names, which is how the
//! protocol works; they never leave HTTPS for HTTP.
use crate::challenge::{self, Challenge};
use crate::credentials::{Credential, CredentialError, Credentials, Found, Secret};
use crate::endpoint::Target;
use crate::error::bare_url;
use crate::transport::{Answer, Call, Transport, Trust, authority};
use crate::{Error, ErrorKind, RetryPolicy, retry};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, Url};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The largest answer of a token server.
const TOKEN_LIMIT: usize = 256 * 1024;

const SPEAKER: &str = "the token server";

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Auth {
    credentials: Credentials,
    registries: Mutex<HashMap<String, Arc<Registry>>>,
}

/// What is known of one registry.
#[derive(Debug, Default)]
struct Registry {
    demand: Mutex<Option<Demand>>,
    /// By scope. The inner lock is held while a token is fetched, so that it is fetched once.
    tokens: Mutex<HashMap<String, Slot>>,
    /// By repository.
    found: Mutex<HashMap<String, Lookup>>,
}

type Slot = Arc<Mutex<Option<Token>>>;
type Lookup = Result<Option<Found>, CredentialError>;

/// What a registry wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Demand {
    Basic,
    Bearer { realm: Url, service: Option<String> },
}

#[derive(Debug, Clone)]
struct Token {
    value: Secret,
    expires: Instant,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<f64>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sensitive(text: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| Error::new(ErrorKind::Protocol, "a token or credential holds characters that no header can"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn bearer(token: &Secret) -> Result<HeaderValue, Error> {
    sensitive(&format!("Bearer {}", token.expose()))
}

fn basic(username: &str, password: &Secret) -> Result<HeaderValue, Error> {
    sensitive(&format!("Basic {}", STANDARD.encode(format!("{username}:{}", password.expose()))))
}

impl Auth {
    pub(crate) fn new(credentials: Credentials) -> Self {
        Self { credentials, registries: Mutex::default() }
    }

    fn registry(&self, name: &str) -> Arc<Registry> {
        lock(&self.registries).entry(name.to_owned()).or_default().clone()
    }

    fn found(&self, target: &Target) -> Lookup {
        let registry = self.registry(&target.registry);
        let mut cache = lock(&registry.found);
        if let Some(found) = cache.get(&target.repository) {
            return found.clone();
        }
        // The lock is held: a helper that asks the user must not be started eight times.
        let found = self.credentials.lookup(&target.registry, &target.repository);
        cache.insert(target.repository.clone(), found.clone());
        found
    }

    /// A credential that could be looked up; a helper that fails must not stop an anonymous pull.
    fn credential(&self, target: &Target) -> Option<Credential> {
        self.found(target).ok().flatten().map(|f| f.credential)
    }

    /// What to send before the registry has asked for anything.
    pub(crate) fn header(
        &self,
        transport: &Arc<Transport>,
        policy: &RetryPolicy,
        target: &Target,
        scopes: &[String],
    ) -> Result<Option<HeaderValue>, Error> {
        let demand = lock(&self.registry(&target.registry).demand).clone();
        match (demand, self.credential(target)) {
            (_, Some(Credential::RegistryToken(token))) => bearer(&token).map(Some),
            (Some(Demand::Basic), Some(Credential::Basic { username, password })) => {
                basic(&username, &password).map(Some)
            }
            (Some(Demand::Bearer { realm, service }), _) => {
                self.token(transport, policy, target, &realm, service.as_deref(), scopes, None).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// After a 401: what to send instead, or `None` when there is nothing better.
    pub(crate) fn challenged(
        &self,
        transport: &Arc<Transport>,
        policy: &RetryPolicy,
        target: &Target,
        answer: &Answer,
        scopes: &[String],
        sent: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, Error> {
        let challenges: Vec<Challenge> = answer
            .headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(challenge::parse)
            .collect();
        let credential = self.credential(target);
        if matches!(credential, Some(Credential::RegistryToken(_))) {
            return Ok(None);
        }
        let registry = self.registry(&target.registry);
        if let Some((challenge, realm)) = challenges
            .iter()
            .filter(|c| c.scheme == "bearer")
            .find_map(|c| Some((c, Url::parse(c.get("realm")?).ok()?)))
        {
            let service = challenge.get("service").map(str::to_owned);
            *lock(&registry.demand) = Some(Demand::Bearer { realm: realm.clone(), service: service.clone() });
            let mut wanted = scopes.to_vec();
            for scope in challenge.get("scope").unwrap_or("").split_whitespace() {
                if !covers(scopes, scope) {
                    wanted.push(scope.to_owned());
                }
            }
            let fresh =
                self.token(transport, policy, target, &realm, service.as_deref(), &wanted, Some((scopes, sent)))?;
            return Ok(Some(fresh));
        }
        if challenges.iter().any(|c| c.scheme == "basic") {
            *lock(&registry.demand) = Some(Demand::Basic);
            if let Some(Credential::Basic { username, password }) = credential {
                let header = basic(&username, &password)?;
                // The same once more will not be accepted either.
                return Ok((sent != Some(&header)).then_some(header));
            }
        }
        Ok(None)
    }

    /// A token for these scopes. `rejected` names the scopes under which a token was cached, and the
    /// header that the registry has just refused.
    #[expect(clippy::too_many_arguments, reason = "one private call, each argument a separate fact")]
    fn token(
        &self,
        transport: &Arc<Transport>,
        policy: &RetryPolicy,
        target: &Target,
        realm: &Url,
        service: Option<&str>,
        scopes: &[String],
        rejected: Option<(&[String], Option<&HeaderValue>)>,
    ) -> Result<HeaderValue, Error> {
        let key = rejected.map_or(scopes, |(own, _)| own).join(" ");
        let slot = lock(&self.registry(&target.registry).tokens).entry(key).or_default().clone();
        let mut slot = lock(&slot);
        if let Some(token) = &*slot
            && token.expires > Instant::now()
        {
            let header = bearer(&token.value)?;
            if rejected.is_none_or(|(_, sent)| sent != Some(&header)) {
                return Ok(header);
            }
        }
        let credential = self.credential(target);
        let fresh = fetch(transport, policy, target, realm, service, scopes, credential.as_ref())
            .map_err(|error| self.explain(target, error))?;
        let header = bearer(&fresh.value)?;
        *slot = Some(fresh);
        Ok(header)
    }

    /// Says who was asked for and what to do, in an error about missing rights.
    pub(crate) fn explain(&self, target: &Target, error: Error) -> Error {
        let registry = &target.registry;
        let login = || format!("`cooperage login {registry}`");
        let kind = error.kind();
        if !matches!(kind, ErrorKind::Unauthorized | ErrorKind::Forbidden | ErrorKind::RateLimited) {
            return error;
        }
        match (self.found(target), kind) {
            (Err(failed), _) => error
                .note(format!("no credential could be read: {failed}"))
                .or_hint(|| Some(format!("repair the credential helper, or log in with {}", login()))),
            (Ok(None), ErrorKind::RateLimited) => error.or_hint(|| {
                Some(format!(
                    "logging in with {} often raises the limit; a mirror avoids it (--registry-mirror)",
                    login()
                ))
            }),
            (Ok(None), _) => error
                .note(format!("no credential for {registry} was found"))
                .or_hint(|| Some(format!("log in with {}", login()))),
            (Ok(Some(_)), ErrorKind::RateLimited) => {
                error.or_hint(|| Some("wait, or pull through a mirror (--registry-mirror)".to_owned()))
            }
            (Ok(Some(found)), kind) => {
                let who = match found.credential.username() {
                    Some(name) => format!("user {name:?}, from {}", found.origin),
                    None => format!("a token, from {}", found.origin),
                };
                let hint = if kind == ErrorKind::Forbidden && found.origin == "GITHUB_TOKEN" {
                    "give the workflow `permissions: packages: write`, and the repository access to the package"
                        .to_owned()
                } else if kind == ErrorKind::Unauthorized {
                    format!("if that credential is old, log in again with {}", login())
                } else {
                    "ask for the right to this repository, or check its name".to_owned()
                };
                error.note(format!("the credential was of {who}")).or_hint(|| Some(hint))
            }
        }
    }
}

/// Whether the scopes that are asked for anyway hold this one.
fn covers(scopes: &[String], wanted: &str) -> bool {
    let Some((resource, actions)) = wanted.rsplit_once(':') else { return false };
    scopes.iter().any(|scope| {
        scope
            .rsplit_once(':')
            .is_some_and(|(r, have)| r == resource && actions.split(',').all(|a| have.split(',').any(|h| h == a)))
    })
}

/// Asks the token server.
fn fetch(
    transport: &Arc<Transport>,
    policy: &RetryPolicy,
    target: &Target,
    realm: &Url,
    service: Option<&str>,
    scopes: &[String],
    credential: Option<&Credential>,
) -> Result<Token, Error> {
    check_realm(transport, target, realm, credential.is_some())?;
    let describe = || format!("get a token for {} from {}", target.registry, bare_url(realm));
    let send = |call: Call| {
        retry::answered(&transport.driver, policy, || {
            let (own, call) = (transport.clone(), call.clone());
            transport.driver.run(async move { own.exchange(call, TOKEN_LIMIT).await })?
        })
        .map_err(|e| e.by(SPEAKER).doing(describe))
    };
    let post = |fields: &[(&str, &str)]| {
        let mut form = url_form(fields);
        for (name, value) in [("service", service.unwrap_or("")), ("scope", &scopes.join(" "))] {
            if !value.is_empty() {
                form.push('&');
                form.push_str(&url_form(&[(name, value)]));
            }
        }
        send(
            Call::new(Method::POST, realm.clone())
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form.into_bytes()),
        )
    };
    let get = |header: Option<HeaderValue>, account: Option<&str>| {
        let mut url = realm.clone();
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = service {
                query.append_pair("service", service);
            }
            for scope in scopes {
                query.append_pair("scope", scope);
            }
            if let Some(account) = account {
                query.append_pair("account", account);
            }
        }
        let mut call = Call::new(Method::GET, url);
        if let Some(header) = header {
            call.headers.insert(AUTHORIZATION, header);
        }
        send(call)
    };
    let answer = match credential {
        Some(Credential::IdentityToken(token)) => {
            post(&[("grant_type", "refresh_token"), ("client_id", "cooperage"), ("refresh_token", token.expose())])?
        }
        Some(Credential::Basic { username, password }) => {
            let answer = get(Some(basic(username, password)?), Some(username))?;
            // Some servers know the OAuth2 way only.
            if matches!(answer.status.as_u16(), 404 | 405) {
                post(&[
                    ("grant_type", "password"),
                    ("client_id", "cooperage"),
                    ("username", username),
                    ("password", password.expose()),
                ])?
            } else {
                answer
            }
        }
        Some(Credential::RegistryToken(_)) | None => get(None, None)?,
    };
    read_token(&answer).map_err(|e| e.by(SPEAKER).doing(describe))
}

fn read_token(answer: &Answer) -> Result<Token, Error> {
    if !answer.status.is_success() {
        return Err(answer.error());
    }
    let body: TokenAnswer = serde_json::from_slice(&answer.body)
        .map_err(|_| Error::new(ErrorKind::Protocol, "the token server's answer is not the JSON of a token"))?;
    let value = [body.token, body.access_token].into_iter().flatten().find(|t| !t.is_empty());
    let Some(value) = value else {
        return Err(Error::new(ErrorKind::Protocol, "the token server's answer holds no token"));
    };
    // The specification's default is 60 s. Clocks differ, so only the length counts, less a tenth.
    let seconds = body.expires_in.filter(|s| s.is_finite() && *s > 0.0).unwrap_or(60.0).clamp(10.0, 86_400.0);
    Ok(Token { value: Secret::new(value), expires: Instant::now() + Duration::from_secs_f64(seconds * 0.9) })
}

fn check_realm(transport: &Transport, target: &Target, realm: &Url, secret: bool) -> Result<(), Error> {
    let fail = |why: String| Err(Error::new(ErrorKind::Protocol, why));
    let plain = realm.scheme() == "http";
    if !(plain || realm.scheme() == "https") || realm.host_str().is_none() {
        return fail(format!("{} names a token server that is no HTTP(S) URL", target.registry));
    }
    if plain && secret && transport.trust(&authority(realm)) == Trust::Verified {
        return fail(format!(
            "{} wants its credentials sent over plain HTTP to {}, which is not done",
            target.registry,
            bare_url(realm)
        ));
    }
    Ok(())
}

fn url_form(fields: &[(&str, &str)]) -> String {
    // A URL's query is the serializer at hand.
    let Ok(mut url) = Url::parse("http://form/") else { return String::new() };
    url.query_pairs_mut().extend_pairs(fields);
    url.query().unwrap_or("").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_that_are_held_are_not_asked_for_twice() {
        let scopes = ["repository:a/b:pull,push".to_owned()];
        assert!(covers(&scopes, "repository:a/b:pull"));
        assert!(covers(&scopes, "repository:a/b:push,pull"));
        assert!(!covers(&scopes, "repository:a/b:delete"));
        assert!(!covers(&scopes, "repository:a:pull"));
        assert!(!covers(&scopes, "nonsense"));
    }

    #[test]
    fn token_answers() {
        let answer = |status: u16, body: &str| Answer {
            status: reqwest::StatusCode::from_u16(status).unwrap(),
            headers: reqwest::header::HeaderMap::new(),
            url: "https://auth/".parse().unwrap(),
            body: body.as_bytes().to_vec(),
        };
        let value = |body: &str| read_token(&answer(200, body)).map(|t| t.value.expose().to_owned());
        assert_eq!(value(r#"{"token":"a","access_token":"b"}"#).unwrap(), "a");
        assert_eq!(value(r#"{"access_token":"b","expires_in":300}"#).unwrap(), "b");
        assert_eq!(value(r#"{"token":"a","expires_in":1e300}"#).unwrap(), "a");
        assert_eq!(value(r#"{"token":""}"#).unwrap_err().kind(), ErrorKind::Protocol);
        assert_eq!(value("<html>").unwrap_err().kind(), ErrorKind::Protocol);
        assert_eq!(read_token(&answer(401, "{}")).unwrap_err().kind(), ErrorKind::Unauthorized);
    }

    #[test]
    fn forms_are_escaped() {
        assert_eq!(url_form(&[("a", "x y&z"), ("b", "ü=")]), "a=x+y%26z&b=%C3%BC%3D");
    }
}
