//! From a reference's registry to the URL that is asked: aliases, schemes, mirrors.
//!
//! A registry is HTTPS. One on this machine is tried over plain HTTP first, because a TLS server
//! answers that at once while a plain server may wait for ever for the end of a TLS hello; no
//! credential is sent until the scheme is known. One that the user calls insecure is tried over
//! HTTPS first.
use crate::transport::{Call, Transport, Trust, authority, host_of};
use crate::{ClientOptions, Error, ErrorKind, Mirror};
use reqwest::{Method, StatusCode, Url};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where a repository is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The name that credentials go by: `docker.io`, `ghcr.io`, a mirror's `host:port`.
    pub(crate) registry: String,
    /// The path in that registry.
    pub(crate) repository: String,
    /// The registry that a mirror stands in for.
    pub(crate) mirrored: Option<String>,
    scheme: Option<&'static str>,
}

impl Target {
    pub(crate) fn new(registry: &str, repository: &str) -> Self {
        Self { registry: registry.to_owned(), repository: repository.to_owned(), mirrored: None, scheme: None }
    }
}

/// The host behind a registry's name.
fn real_authority(registry: &str) -> &str {
    match registry {
        "docker.io" | "index.docker.io" => "registry-1.docker.io",
        other => other,
    }
}

/// Knows the base URL of each registry, once it was asked.
#[derive(Debug)]
pub(crate) struct Endpoints {
    mirrors: Vec<(String, Vec<Target>)>,
    /// By registry. The inner lock is held while the scheme is found out, so that it is asked once.
    known: Mutex<HashMap<String, Arc<Mutex<Option<Url>>>>>,
}

impl Endpoints {
    pub(crate) fn new(options: &ClientOptions) -> Result<Self, Error> {
        let mirrors = options
            .mirrors
            .iter()
            .map(|Mirror { registry, mirrors }| {
                let targets = mirrors.iter().map(|m| parse_mirror(registry, m)).collect::<Result<_, _>>()?;
                let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
                Ok((registry.to_owned(), targets))
            })
            .collect::<Result<_, Error>>()?;
        Ok(Self { mirrors, known: Mutex::default() })
    }

    /// The mirrors of a repository, in order.
    pub(crate) fn mirrors(&self, registry: &str, repository: &str) -> Vec<Target> {
        self.mirrors
            .iter()
            .filter(|(name, _)| name == registry)
            .flat_map(|(_, targets)| targets)
            .map(|mirror| {
                let prefix = &mirror.repository;
                let repository =
                    if prefix.is_empty() { repository.to_owned() } else { format!("{prefix}/{repository}") };
                Target { repository, ..mirror.clone() }
            })
            .collect()
    }

    /// The URL up to and without `/v2/`.
    pub(crate) fn base(&self, transport: &Arc<Transport>, target: &Target) -> Result<Url, Error> {
        let authority = real_authority(&target.registry);
        if let Some(scheme) = target.scheme {
            return url(scheme, authority);
        }
        let trust = transport.trust(authority);
        if trust == Trust::Verified {
            return url("https", authority);
        }
        let slot = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.entry(authority.to_owned()).or_default().clone()
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(url) = &*slot {
            return Ok(url.clone());
        }
        let found = find_scheme(transport, authority, trust)?;
        *slot = Some(found.clone());
        Ok(found)
    }
}

fn url(scheme: &str, authority: &str) -> Result<Url, Error> {
    Url::parse(&format!("{scheme}://{authority}/"))
        .map_err(|e| Error::new(ErrorKind::Options, format!("{authority:?} is no registry: {e}")))
}

fn parse_mirror(registry: &str, text: &str) -> Result<Target, Error> {
    let (scheme, rest) = match text.split_once("://") {
        Some(("https", rest)) => (Some("https"), rest),
        Some(("http", rest)) => (Some("http"), rest),
        Some(_) => (None, ""),
        None => (None, text),
    };
    let rest = rest.trim_end_matches('/');
    let (authority, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let fine = !authority.is_empty()
        && url("https", authority).is_ok_and(|u| u.username().is_empty() && u.path() == "/" && u.query().is_none());
    if !fine {
        return Err(Error::new(ErrorKind::Options, format!("the mirror {text:?} of {registry} is no registry"))
            .or_hint(|| Some("write it as host[:port][/prefix], with https:// or http:// where needed".to_owned())));
    }
    Ok(Target {
        registry: authority.to_owned(),
        repository: prefix.trim_end_matches("/v2").trim_matches('/').to_owned(),
        mirrored: Some(registry.to_owned()),
        scheme,
    })
}

fn find_scheme(transport: &Arc<Transport>, authority: &str, trust: Trust) -> Result<Url, Error> {
    let ask = |base: &Url, limit: Duration| -> Result<StatusCode, Error> {
        let mut call = Call::new(Method::GET, base.join("v2/").unwrap_or_else(|_| base.clone()));
        call.follow = false;
        call.response_timeout = Some(limit);
        let transport = transport.clone();
        let driver = transport.clone();
        Ok(driver.driver.run(async move { transport.open(call).await })??.response.status())
    };
    let (http, https) = (url("http", authority)?, url("https", authority)?);
    let limit = transport.timeouts.response;
    let has_port = authority_has_port(authority);
    if trust == Trust::Loopback && has_port {
        return match ask(&http, limit) {
            // What a TLS server says to plain HTTP.
            Ok(StatusCode::BAD_REQUEST) => match ask(&https, limit) {
                Ok(_) => Ok(https),
                Err(error) if error.kind() == ErrorKind::Certificate => Err(error),
                Err(_) => Ok(http),
            },
            Ok(_) => Ok(http),
            Err(error) if matches!(error.kind(), ErrorKind::Protocol | ErrorKind::Interrupted) => {
                match ask(&https, limit) {
                    Ok(_) => Ok(https),
                    Err(tls) if tls.kind() == ErrorKind::Certificate => Err(tls),
                    // Neither: what is wrong with it will show in the first real request.
                    Err(_) if error.kind() == ErrorKind::Interrupted => Ok(http),
                    Err(_) => Err(error),
                }
            }
            Err(error) => Err(error),
        };
    }
    match ask(&https, limit.min(Duration::from_secs(15))) {
        Ok(_) => Ok(https),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotTls
                    | ErrorKind::Connect
                    | ErrorKind::Timeout
                    | ErrorKind::Interrupted
                    | ErrorKind::Protocol
            ) =>
        {
            match ask(&http, limit) {
                Ok(_) => Ok(http),
                Err(_) => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

fn authority_has_port(authority_text: &str) -> bool {
    host_of(authority_text).len() < authority_text.len()
}

/// Resolves `Location` and `Link` against the URL that sent them. A registry behind a proxy that ends
/// TLS often believes that it is plain HTTP: its own address keeps the scheme that was used to reach it.
pub(crate) fn join(base: &Url, location: &str) -> Result<Url, Error> {
    let mut joined = base
        .join(location)
        .map_err(|_| Error::new(ErrorKind::Protocol, "the registry names a place that is no URL".to_owned()))?;
    if !matches!(joined.scheme(), "http" | "https") || joined.host_str().is_none() {
        return Err(Error::new(
            ErrorKind::Protocol,
            format!("the registry names a place that cannot be used ({}: URL at {})", joined.scheme(), authority(base)),
        ));
    }
    let itself = joined.host_str() == base.host_str() && joined.port() == base.port();
    if itself && (base.scheme(), joined.scheme()) == ("https", "http") {
        // Both schemes are special to the URL standard, so this cannot fail.
        let _ = joined.set_scheme("https");
    }
    Ok(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_stand_in_with_their_prefix() {
        let options = ClientOptions {
            mirrors: vec![Mirror {
                registry: "docker.io".into(),
                mirrors: vec!["http://cache.lan:5000/hub/".into(), "mirror.example".into()],
            }],
            ..ClientOptions::default()
        };
        let endpoints = Endpoints::new(&options).unwrap();
        let found = endpoints.mirrors("docker.io", "library/alpine");
        let show: Vec<String> = found
            .iter()
            .map(|t| format!("{} {} {:?} {:?}", t.registry, t.repository, t.scheme, t.mirrored.as_deref()))
            .collect();
        assert_eq!(
            show,
            [
                "cache.lan:5000 hub/library/alpine Some(\"http\") Some(\"docker.io\")",
                "mirror.example library/alpine None Some(\"docker.io\")"
            ]
        );
        assert!(endpoints.mirrors("ghcr.io", "a/b").is_empty());
    }

    #[test]
    fn nonsense_mirrors_are_refused() {
        for bad in ["", "ftp://x", "https://", "user@host", "a b"] {
            let options = ClientOptions {
                mirrors: vec![Mirror { registry: "docker.io".into(), mirrors: vec![bad.into()] }],
                ..ClientOptions::default()
            };
            assert_eq!(Endpoints::new(&options).unwrap_err().kind(), ErrorKind::Options, "{bad:?}");
        }
    }

    #[test]
    fn hub_lives_elsewhere() {
        assert_eq!(real_authority("docker.io"), "registry-1.docker.io");
        assert!(authority_has_port("[::1]:5000") && !authority_has_port("[::1]") && !authority_has_port("host"));
    }

    #[test]
    fn places_are_resolved_and_checked() {
        let base: Url = "https://host/v2/a/blobs/uploads/".parse().unwrap();
        assert_eq!(join(&base, "/v2/a/blobs/uploads/1?x=y").unwrap().as_str(), "https://host/v2/a/blobs/uploads/1?x=y");
        assert!(join(&base, "file:///etc/passwd").is_err());
        assert_eq!(join(&base, "http://host/u/1").unwrap().as_str(), "https://host/u/1");
        assert_eq!(join(&base, "http://other/u/1").unwrap().as_str(), "http://other/u/1");
    }
}
