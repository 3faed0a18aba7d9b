//! Name resolution without the C library, which in a static binary loads modules of the host.
//!
//! `/etc/hosts` is read first (anew for each lookup, so that a long-running process sees changes),
//! then the servers of `/etc/resolv.conf` are asked. Without that file nobody is asked: a public
//! resolver would learn names that are nobody's business. `localhost` and `*.localhost` are loopback.
use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

/// A name that has no address, or that could not be looked up.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{host}: {why}")]
pub(crate) struct DnsError {
    pub(crate) host: String,
    pub(crate) why: String,
}

/// The resolver of all connections. Made when it is first needed, inside the runtime.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resolver {
    state: Arc<OnceLock<Result<TokioResolver, String>>>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let state = self.state.clone();
        Box::pin(async move {
            let host = name.as_str().trim_end_matches('.').to_owned();
            let found = if let Some(addresses) = local(&host, &hosts_file()) {
                addresses
            } else {
                let fail = |why: String| DnsError { host: host.clone(), why };
                let resolver = state.get_or_init(make).as_ref().map_err(|why| fail(why.clone()))?;
                let answer = resolver.lookup_ip(host.as_str()).await.map_err(|e| fail(words(&e)))?;
                answer.iter().collect()
            };
            let addresses: Addrs = Box::new(found.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(addresses)
        })
    }
}

fn make() -> Result<TokioResolver, String> {
    let mut builder = TokioResolver::builder_tokio()
        .map_err(|e| format!("the name servers of /etc/resolv.conf cannot be read: {e}"))?;
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.build().map_err(|e| e.to_string())
}

fn words(error: &hickory_resolver::net::NetError) -> String {
    if error.is_nx_domain() {
        "there is no such host".to_owned()
    } else if error.is_no_records_found() {
        "the name has no address".to_owned()
    } else {
        crate::error::clean(&error.to_string(), 200)
    }
}

fn hosts_file() -> String {
    std::fs::read_to_string("/etc/hosts").unwrap_or_default()
}

/// The addresses that need no name server.
fn local(host: &str, hosts: &str) -> Option<Vec<IpAddr>> {
    let found: Vec<IpAddr> = hosts
        .lines()
        .filter_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            let ip = words.next()?.parse().ok()?;
            words.any(|name| name.trim_end_matches('.').eq_ignore_ascii_case(host)).then_some(ip)
        })
        .collect();
    if !found.is_empty() {
        return Some(found);
    }
    let lower = host.to_ascii_lowercase();
    (lower == "localhost" || lower.ends_with(".localhost"))
        .then(|| vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_localhost_need_no_server() {
        let hosts = "127.0.0.1 localhost\n10.1.2.3 registry.lan Registry # comment other\n::1 registry.lan\nbad line\n";
        let get =
            |host| local(host, hosts).map(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        assert_eq!(get("registry.lan").as_deref(), Some("10.1.2.3 ::1"));
        assert_eq!(get("REGISTRY").as_deref(), Some("10.1.2.3"));
        assert_eq!(get("localhost").as_deref(), Some("127.0.0.1"));
        assert_eq!(get("a.localhost").as_deref(), Some("127.0.0.1 ::1"));
        assert_eq!(get("other"), None);
        assert_eq!(get("line"), None);
    }
}
