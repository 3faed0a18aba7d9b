//! What a failed exchange means, found in the causes of the HTTP library's error.
use crate::dns::DnsError;
use crate::transport::authority;
use crate::{Error, ErrorKind};
use reqwest::Url;
use std::error::Error as StdError;
use std::io;

/// An error with all its causes, in one line.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let words = error.to_string();
        if !text.ends_with(&words) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&words);
        }
        next = error.source();
    }
    crate::error::clean(&text, 400)
}

/// All causes; those that are wrapped in an I/O error are looked into.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> Vec<&'a (dyn StdError + 'static)> {
    let mut all = Vec::new();
    let mut next: Option<&'a (dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        all.push(error);
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    all
}

/// What a failed exchange means.
pub(crate) fn classify(error: &reqwest::Error, url: Option<&Url>) -> Error {
    let host = url.map(authority).unwrap_or_default();
    let causes = causes(error);
    let plain_hint = || Some(format!("if {host} speaks plain HTTP, allow it with --insecure-registry {host}"));
    for cause in &causes {
        if let Some(dns) = cause.downcast_ref::<DnsError>() {
            return Error::new(ErrorKind::Dns, format!("cannot find the address of {}: {}", dns.host, dns.why))
                .or_hint(|| Some("check the registry's name, the network, and the proxy variables".to_owned()));
        }
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return tls_error(tls, &host);
        }
        if let Some(io) = cause.downcast_ref::<io::Error>()
            && io.get_ref().is_none_or(|inner| !inner.is::<rustls::Error>())
            && let Some(found) = io_error(io, &host, error.is_connect())
        {
            return if found.kind() == ErrorKind::NotTls { found.or_hint(plain_hint) } else { found };
        }
        if let Some(http) = cause.downcast_ref::<hyper::Error>() {
            if http.is_parse() {
                return Error::new(ErrorKind::Protocol, format!("{host} does not answer in HTTP ({http})"));
            }
            if http.is_incomplete_message() || http.is_closed() || http.is_canceled() {
                return Error::new(ErrorKind::Interrupted, "the connection was closed in the middle of an answer");
            }
        }
    }
    if error.is_timeout() {
        return Error::new(ErrorKind::Timeout, format!("cannot connect to {host} in time"));
    }
    let words = causes.last().map_or_else(String::new, |e| crate::error::clean(&e.to_string(), 200));
    if error.is_connect() {
        return Error::new(ErrorKind::Connect, format!("cannot connect to {host}: {words}"))
            .or_hint(|| Some("check the network and the proxy variables".to_owned()));
    }
    if error.is_builder() {
        return Error::new(ErrorKind::Protocol, format!("no request can be made: {words}"));
    }
    Error::new(ErrorKind::Interrupted, format!("the connection broke: {words}"))
}

fn tls_error(error: &rustls::Error, host: &str) -> Error {
    use rustls::CertificateError as Cert;
    let certificate = |why: &str| Error::new(ErrorKind::Certificate, format!("the certificate of {host} {why}"));
    match error {
        rustls::Error::InvalidCertificate(Cert::UnknownIssuer) => {
            certificate("is signed by an authority that is not trusted here").or_hint(|| {
                Some(format!(
                    "trust its CA with --registry-ca FILE.pem, or give up verification with --insecure-registry {host}"
                ))
            })
        }
        rustls::Error::InvalidCertificate(Cert::Expired | Cert::ExpiredContext { .. }) => certificate("has expired")
            .or_hint(|| Some("check this machine's clock, or renew the certificate".to_owned())),
        rustls::Error::InvalidCertificate(Cert::NotValidYet | Cert::NotValidYetContext { .. }) => {
            certificate("is not valid yet").or_hint(|| Some("check this machine's clock".to_owned()))
        }
        rustls::Error::InvalidCertificate(Cert::NotValidForName | Cert::NotValidForNameContext { .. }) => {
            certificate("is made for another name").or_hint(|| {
                Some(format!(
                    "use the name that the certificate holds, or give up verification with --insecure-registry {host}"
                ))
            })
        }
        rustls::Error::InvalidCertificate(other) => certificate(&format!("is not accepted: {other}")).or_hint(|| {
            Some(format!("renew the certificate, or give up verification with --insecure-registry {host}"))
        }),
        rustls::Error::InvalidMessage(_) => Error::new(ErrorKind::NotTls, format!("{host} does not answer in TLS"))
            .or_hint(|| Some(format!("if {host} speaks plain HTTP, allow it with --insecure-registry {host}"))),
        other => Error::new(ErrorKind::Certificate, format!("the TLS handshake with {host} failed: {other}")),
    }
}

fn io_error(error: &io::Error, host: &str, connecting: bool) -> Option<Error> {
    let connect = |why: &str, hint: &str| {
        Some(
            Error::new(ErrorKind::Connect, format!("cannot connect to {host}: {why}"))
                .or_hint(|| Some(hint.to_owned())),
        )
    };
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            connect("the connection was refused", "check that the registry runs and that the port is right")
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            connect("the host cannot be reached", "check the network and the proxy variables")
        }
        io::ErrorKind::TimedOut => Some(Error::new(ErrorKind::Timeout, format!("the connection to {host} timed out"))),
        io::ErrorKind::UnexpectedEof if connecting => {
            Some(Error::new(ErrorKind::NotTls, format!("{host} closed the connection during the TLS handshake")))
        }
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => Some(Error::new(ErrorKind::Interrupted, "the connection broke".to_owned())),
        _ => None,
    }
}
