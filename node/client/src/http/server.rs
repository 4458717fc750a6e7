//! Where a node's API is: `http://host:port`, or `https://host:port` where a proxy speaks TLS for it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

/// Most bytes of a host name (RFC 1035, 2.3.4).
const MAX_HOST: usize = 253;
/// The port where the address names none (RFC 9110, 4.2.1 and 4.2.2).
const HTTP: u16 = 80;
const HTTPS: u16 = 443;

/// The base address of an HTTP API. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server {
    tls: bool,
    host: Arc<str>,
    port: u16,
}

/// Why an address of an API is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// It does not begin with a scheme that is spoken here.
    #[error("the address of a node begins with http:// or https://")]
    Scheme,
    /// There is a path, a query, or a user name.
    #[error("the address of a node is http://HOST:PORT and nothing more")]
    More,
    /// The host is no name and no IP address.
    #[error("the address of a node names no host that could be looked up")]
    Host,
    /// The port is none.
    #[error("the port of a node is a number from 1 to 65535")]
    Port,
}

impl Server {
    /// Whether it is spoken to by TLS.
    #[must_use]
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// The host: a name, or an IP address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port, as in a `Host` header (RFC 9110, 7.2).
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl From<SocketAddr> for Server {
    fn from(at: SocketAddr) -> Self {
        Server {
            tls: false,
            host: at.ip().to_string().into(),
            port: at.port(),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl FromStr for Server {
    type Err = ServerError;

    fn from_str(text: &str) -> Result<Self, ServerError> {
        let (tls, authority) = match text.strip_prefix("https://") {
            Some(rest) => (true, rest),
            None => (
                false,
                text.strip_prefix("http://").ok_or(ServerError::Scheme)?,
            ),
        };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if authority.contains(['/', '?', '#', '@']) {
            return Err(ServerError::More);
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or(ServerError::Host)?;
                let host: Ipv6Addr = host.parse().map_err(|_| ServerError::Host)?;
                let port = match port.strip_prefix(':') {
                    Some(port) => Some(port),
                    None if port.is_empty() => None,
                    None => return Err(ServerError::Port),
                };
                (host.to_string(), port)
            }
            None => {
                let (host, port) = match authority.split_once(':') {
                    Some((host, port)) => (host, Some(port)),
                    None => (authority, None),
                };
                (host.to_ascii_lowercase(), port)
            }
        };
        let port = match port {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_| ServerError::Port)?
            }
            Some(_) => return Err(ServerError::Port),
            None if tls => HTTPS,
            None => HTTP,
        };
        if port == 0 {
            return Err(ServerError::Port);
        }
        if host.parse::<IpAddr>().is_err() && !is_name(&host) {
            return Err(ServerError::Host);
        }
        Ok(Server {
            tls,
            host: host.into(),
            port,
        })
    }
}

/// A host name by RFC 1123, 2.1: labels of letters, digits and inner hyphens.
fn is_name(host: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    host.len() <= MAX_HOST && host.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, host, port, written) in [
            (
                "http://127.0.0.1:8080",
                "127.0.0.1",
                8080,
                "http://127.0.0.1:8080",
            ),
            (
                "http://Node.example/",
                "node.example",
                80,
                "http://node.example:80",
            ),
            ("http://[::1]:81", "::1", 81, "http://[::1]:81"),
            ("http://[0:0::1]", "::1", 80, "http://[::1]:80"),
            ("https://a.b", "a.b", 443, "https://a.b:443"),
        ] {
            let server: Server = text.parse().unwrap();
            assert_eq!((server.host(), server.port()), (host, port));
            assert_eq!(server.to_string(), written);
            assert_eq!(written.parse(), Ok(server));
        }
        let at: SocketAddr = "127.0.0.1:8080".parse().unwrap();
        assert_eq!(Server::from(at), "http://127.0.0.1:8080".parse().unwrap());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (text, why) in [
            ("", ServerError::Scheme),
            ("ftp://a", ServerError::Scheme),
            ("https:/a", ServerError::Scheme),
            ("127.0.0.1:80", ServerError::Scheme),
            ("http://", ServerError::Host),
            ("http://a..b", ServerError::Host),
            ("http://-a", ServerError::Host),
            ("http://[::1", ServerError::Host),
            ("http://[a]:1", ServerError::Host),
            ("http://a b", ServerError::Host),
            ("http://a\r\nb", ServerError::Host),
            ("http://a:", ServerError::Port),
            ("http://a:0", ServerError::Port),
            ("http://a:65536", ServerError::Port),
            ("http://a:+1", ServerError::Port),
            ("http://::1", ServerError::Port),
            ("http://[::1]81", ServerError::Port),
            ("http://a/v1", ServerError::More),
            ("http://a?b", ServerError::More),
            ("http://me@a", ServerError::More),
        ] {
            assert_eq!(text.parse::<Server>(), Err(why), "{text:?}");
        }
    }
}
