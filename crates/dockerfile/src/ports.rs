//! What `EXPOSE` takes: `[[IP:]HOSTPORT:]PORT[-PORT][/PROTOCOL]`. Address and host port are checked and
//! dropped, as BuildKit does (a lint rule says so).
use std::net::IpAddr;

/// A port specification that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid port: {text:?}: {problem}")]
pub struct PortError {
    /// The specification.
    pub text: String,
    /// What is wrong with it.
    pub problem: String,
}

/// A specification cut into its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSpec<'a> {
    /// The address in front; empty without one.
    pub ip: &'a str,
    /// The host's port or range; empty without one.
    pub host: &'a str,
    /// The container's port or range.
    pub port: &'a str,
    /// The protocol as written; empty without one.
    pub protocol: &'a str,
}

impl<'a> PortSpec<'a> {
    /// Cuts a specification; nothing is checked.
    pub fn split(text: &'a str) -> PortSpec<'a> {
        let (rest, container) = text.rsplit_once(':').unwrap_or(("", text));
        let (ip, host) = rest.rsplit_once(':').unwrap_or(("", rest));
        let (port, protocol) = container.split_once('/').unwrap_or((container, ""));
        PortSpec { ip, host, port, protocol }
    }
}

/// The `PORT/PROTOCOL` entries of an image configuration that a specification stands for, in order.
pub fn expose(text: &str) -> Result<Vec<String>, PortError> {
    let error = |problem: String| PortError { text: text.to_owned(), problem };
    let spec = PortSpec::split(text);
    if spec.port.is_empty() {
        return Err(error("no port specified".to_owned()));
    }
    let protocol = match spec.protocol.to_lowercase().as_str() {
        "" => "tcp".to_owned(),
        known @ ("tcp" | "udp" | "sctp") => known.to_owned(),
        other => return Err(error(format!("invalid proto: {other}"))),
    };
    let ip = spec.ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(spec.ip);
    if !ip.is_empty() && ip.split('%').next().is_none_or(|ip| ip.parse::<IpAddr>().is_err()) {
        return Err(error(format!("invalid IP address: {ip}")));
    }
    let (first, last) = range(spec.port).ok_or_else(|| error(format!("invalid containerPort: {}", spec.port)))?;
    if !spec.host.is_empty() {
        let (low, high) = range(spec.host).ok_or_else(|| error(format!("invalid hostPort: {}", spec.host)))?;
        if last - first != high - low && last != first {
            let message =
                format!("invalid ranges specified for container and host Ports: {} and {}", spec.port, spec.host);
            return Err(error(message));
        }
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn range(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| !text.starts_with('+'));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((number(first)?, number(last)?)).filter(|(first, last)| first <= last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifications() {
        let table: [(&str, Result<&[&str], &str>); 14] = [
            ("80", Ok(&["80/tcp"])),
            ("80/UDP", Ok(&["80/udp"])),
            ("80/", Ok(&["80/tcp"])),
            ("1-3/sctp", Ok(&["1/sctp", "2/sctp", "3/sctp"])),
            ("8080:80", Ok(&["80/tcp"])),
            ("127.0.0.1:8080:80", Ok(&["80/tcp"])),
            ("[::1]:8080:80", Ok(&["80/tcp"])),
            ("8000-9000:80", Ok(&["80/tcp"])),
            (
                "1-3:1-2",
                Err("invalid port: \"1-3:1-2\": invalid ranges specified for container and host Ports: 1-2 and 1-3"),
            ),
            ("/tcp", Err("invalid port: \"/tcp\": no port specified")),
            ("80/http", Err("invalid port: \"80/http\": invalid proto: http")),
            ("70000", Err("invalid port: \"70000\": invalid containerPort: 70000")),
            ("3-1", Err("invalid port: \"3-1\": invalid containerPort: 3-1")),
            ("x:1:1", Err("invalid port: \"x:1:1\": invalid IP address: x")),
        ];
        for (text, expected) in table {
            match (expose(text), expected) {
                (Ok(ports), Ok(expected)) => assert_eq!(ports, expected, "{text}"),
                (Err(error), Err(expected)) => assert_eq!(error.to_string(), expected),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }
}
