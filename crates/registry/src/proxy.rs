//! Which proxy a URL goes through, after `golang.org/x/net/http/httpproxy` and curl.
//!
//! `NO_PROXY` is a list of `*`, IP addresses, networks (`10.0.0.0/8`), and domains; a domain matches
//! itself and its subdomains, one with a leading dot its subdomains only; each may carry a port.
use crate::{Error, ErrorKind, ProxyVariables};
use reqwest::Url;
use std::net::IpAddr;

/// The proxies with their exceptions, checked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxies {
    http: Option<Url>,
    https: Option<Url>,
    except: Vec<Exception>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Exception {
    All,
    Address(IpAddr, Option<u16>),
    Network(Network),
    Domain { suffix: String, itself: bool, port: Option<u16> },
}

/// An IP network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Reads `10.0.0.0/8` or `fd00::/8`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let (address, bits) = (address.parse::<IpAddr>().ok()?, bits.parse::<u8>().ok()?);
        let width = if address.is_ipv4() { 32 } else { 128 };
        (bits <= width).then_some(Self { address, bits })
    }

    pub(crate) fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                self.bits == 0 || (a.to_bits() ^ b.to_bits()) >> (32 - u32::from(self.bits)) == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                self.bits == 0 || (a.to_bits() ^ b.to_bits()) >> (128 - u32::from(self.bits)) == 0
            }
            _ => false,
        }
    }
}

/// The host of a URL as an IP address, if it is one.
pub(crate) fn ip_of(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Whether a host is this machine by its name alone.
pub(crate) fn is_loopback(host: &str) -> bool {
    let lower = host.to_ascii_lowercase();
    lower == "localhost" || lower.ends_with(".localhost") || ip_of(host).is_some_and(|ip| ip.is_loopback())
}

impl Proxies {
    pub(crate) fn new(variables: &ProxyVariables) -> Result<Self, Error> {
        let get = |own: &Option<String>, name: &str| -> Result<Option<Url>, Error> {
            let Some(text) = own.as_ref().or(variables.all.as_ref()) else { return Ok(None) };
            let full = if text.contains("://") { text.clone() } else { format!("http://{text}") };
            match Url::parse(&full) {
                Ok(url)
                    if url.host_str().is_some()
                        && matches!(url.scheme(), "http" | "https" | "socks4" | "socks4a" | "socks5" | "socks5h") =>
                {
                    Ok(Some(url))
                }
                _ => Err(Error::new(
                    ErrorKind::Options,
                    format!("the proxy in {name} (or ALL_PROXY) is no URL of an HTTP or SOCKS proxy"),
                )
                .or_hint(|| Some("write it as http://host:port or socks5h://host:port".to_owned()))),
            }
        };
        Ok(Self {
            http: get(&variables.http, "HTTP_PROXY")?,
            https: get(&variables.https, "HTTPS_PROXY")?,
            except: exceptions(variables.no_proxy.as_deref().unwrap_or("")),
        })
    }

    /// The proxy for a URL.
    pub(crate) fn for_url(&self, url: &Url) -> Option<&Url> {
        let proxy = if url.scheme() == "https" { self.https.as_ref() } else { self.http.as_ref() }?;
        let host = url.host_str()?;
        if is_loopback(host) {
            return None;
        }
        let port = url.port_or_known_default();
        let ip = ip_of(host);
        let host = host.to_ascii_lowercase();
        let fits = |wanted: &Option<u16>| wanted.is_none() || *wanted == port;
        let excepted = self.except.iter().any(|exception| match exception {
            Exception::All => true,
            Exception::Address(address, wanted) => ip == Some(*address) && fits(wanted),
            Exception::Network(network) => ip.is_some_and(|ip| network.contains(ip)),
            Exception::Domain { suffix, itself, port } => {
                fits(port) && ((*itself && host == suffix[1..]) || host.ends_with(suffix.as_str()))
            }
        });
        (!excepted).then_some(proxy)
    }
}

fn exceptions(text: &str) -> Vec<Exception> {
    text.split([',', ' '])
        .map(|entry| entry.trim().to_ascii_lowercase())
        .filter(|entry| !entry.is_empty())
        .filter_map(|entry| {
            if entry == "*" {
                return Some(Exception::All);
            }
            if let Some(network) = Network::parse(&entry) {
                return Some(Exception::Network(network));
            }
            if let Some(ip) = ip_of(&entry) {
                return Some(Exception::Address(ip, None));
            }
            let (name, port) = match entry.rsplit_once(':') {
                Some((name, port)) => (name.to_owned(), Some(port.parse().ok()?)),
                None => (entry, None),
            };
            if let Some(ip) = ip_of(&name) {
                return Some(Exception::Address(ip, port));
            }
            let name = name.strip_prefix('*').unwrap_or(&name);
            Some(match name.strip_prefix('.') {
                Some(rest) => Exception::Domain { suffix: format!(".{rest}"), itself: false, port },
                None => Exception::Domain { suffix: format!(".{name}"), itself: true, port },
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_match_as_in_go() {
        let proxies = Proxies::new(&ProxyVariables {
            http: Some("proxy:3128".into()),
            https: Some("http://user:secret@proxy:3129".into()),
            all: None,
            no_proxy: Some("example.com, .only.sub,10.0.0.0/8,192.0.2.7,ported.org:5000,fd00::/8".into()),
        })
        .unwrap();
        let goes = |url: &str| proxies.for_url(&url.parse().unwrap()).map(|p| p.port().unwrap());
        assert_eq!(goes("http://ghcr.io/"), Some(3128));
        assert_eq!(goes("https://ghcr.io/"), Some(3129));
        for direct in [
            "https://example.com/",
            "https://a.example.com/",
            "https://x.only.sub/",
            "https://10.2.3.4:5000/",
            "https://192.0.2.7/",
            "https://ported.org:5000/",
            "http://localhost:5000/",
            "http://127.0.0.9/",
            "http://[::1]:5000/",
            "http://[fd00::1]/",
        ] {
            assert_eq!(goes(direct), None, "{direct}");
        }
        for proxied in ["https://notexample.com/", "https://only.sub/", "https://11.2.3.4/", "https://ported.org/"] {
            assert!(goes(proxied).is_some(), "{proxied}");
        }
    }

    #[test]
    fn nonsense_is_refused_without_showing_it() {
        let bad = ProxyVariables { http: Some("ftp://me:secret@x".into()), ..Default::default() };
        let error = Proxies::new(&bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Options);
        assert!(!error.to_string().contains("secret") && !format!("{bad:?}").contains("secret"));
    }
}
