//! An HTTP client for what is no registry (a forge's API, a webhook) with the same certificates, proxies and name
//! resolution.
use crate::dns::Resolver;
use crate::failure::chain;
use crate::proxy::Proxies;
use crate::{ClientOptions, Error, ErrorKind, tls};
use std::time::Duration;

/// A blocking client with these options: at most five redirects, which take no credentials to another host; a timeout of
/// 60 seconds for each part of an answer. Must not be made or used inside an async runtime.
///
/// # Errors
/// When a CA file or a proxy makes no sense.
pub fn http_client(options: &ClientOptions) -> Result<reqwest::blocking::Client, Error> {
    let config = tls::config(tls::roots(&options.trust)?, true, options.http2, None)?;
    let proxies = Proxies::new(&options.proxy)?;
    reqwest::blocking::Client::builder()
        .tls_backend_preconfigured(config)
        .dns_resolver(Resolver::default().into())
        .no_proxy()
        .proxy(reqwest::Proxy::custom(move |url| proxies.for_url(url).cloned()))
        .redirect(reqwest::redirect::Policy::limited(5))
        .referer(false)
        .connect_timeout(options.timeouts.connect)
        .timeout(Duration::from_secs(60))
        .user_agent(options.user_agent.clone())
        .build()
        .map_err(|e| Error::new(ErrorKind::Options, format!("cannot make an HTTP client: {}", chain(&e))))
}
