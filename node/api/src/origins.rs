//! Which web pages may call the API, by their origin (RFC 6454), and what a browser is told of it (CORS).
//!
//! This protects nobody's data: the API knows no cookies and no sessions, and whatever is not a browser
//! ignores it. It lets an operator serve its own apps and no others.

use std::collections::BTreeSet;
use std::str::FromStr;

use axum::body::Body;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
    VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use axum::response::Response;

/// Longest text of an origin: a scheme, a name of 253 characters and a port.
const MAX_ORIGIN: usize = 300;

/// The origin of a page, as a browser writes it: scheme, host and, unless it is the scheme's own, port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin(HeaderValue);

/// Text that is no origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an origin is scheme://host or scheme://host:port, in small letters and without a path")]
pub struct OriginError;

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let (scheme, rest) = text.split_once("://").ok_or(OriginError)?;
        // A colon within brackets belongs to an IPv6 address.
        let name_ends = rest.rfind(']').map_or(0, |i| i + 1);
        let (host, port) = match rest.get(name_ends..).and_then(|r| r.find(':')) {
            Some(at) => (&rest[..name_ends + at], Some(&rest[name_ends + at + 1..])),
            None => (rest, None),
        };
        let small = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let scheme_holds = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme.bytes().all(|c| small(c) || b"+-.".contains(&c));
        let host_holds = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.bytes().all(|c| small(c) || b"-._".contains(&c)),
        };
        let own = match scheme {
            "http" => "80",
            "https" => "443",
            _ => "",
        };
        let port_holds =
            port.is_none_or(|p| p != own && !p.starts_with(['0', '+']) && p.parse::<u16>().is_ok());
        if text.len() <= MAX_ORIGIN && scheme_holds && host_holds && port_holds {
            HeaderValue::from_str(text)
                .map(Self)
                .map_err(|_| OriginError)
        } else {
            Err(OriginError)
        }
    }
}

/// The pages that may call the API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// All: an app may be served from anywhere.
    #[default]
    Any,
    /// Those of these origins; none when empty.
    Only(BTreeSet<Origin>),
}

impl Origins {
    /// Says on a response which page may read it.
    pub(crate) fn mark(&self, asking: Option<&HeaderValue>, headers: &mut HeaderMap) {
        let allowed = match self {
            Self::Any => Some(HeaderValue::from_static("*")),
            Self::Only(origins) => {
                // The answer differs by origin: a cache must not give one page another's.
                headers.append(VARY, HeaderValue::from_static("origin"));
                asking
                    .filter(|o| origins.contains(&Origin((*o).clone())))
                    .cloned()
            }
        };
        if let Some(allowed) = allowed {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
            headers.insert(
                ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static("etag, retry-after, lapwing-version"),
            );
        }
    }
}

/// The origin of the page that asks, where a browser named it.
pub(crate) fn asking<B>(request: &Request<B>) -> Option<HeaderValue> {
    request.headers().get(ORIGIN).cloned()
}

/// Whether a browser asks what a page may send, before it sends it.
pub(crate) fn is_preflight<B>(request: &Request<B>) -> bool {
    request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// What every page may send that may call at all.
pub(crate) fn preflight() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, HEAD, POST"),
    );
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("content-type, if-none-match, last-event-id, lapwing-version"),
    );
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_as_browsers_write_them() {
        for good in [
            "https://app.example.org",
            "http://localhost:5173",
            "https://[2001:db8::1]:8443",
            "http://[::1]",
            "https://192.0.2.1",
            "moz-extension://0a1b",
        ] {
            assert!(good.parse::<Origin>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "*",
            "null",
            "app.example.org",
            "https://",
            "https://App.example.org",
            "https://app.example.org/",
            "https://app.example.org/app",
            "https://app.example.org:",
            "https://app.example.org:443",
            "http://localhost:80",
            "http://localhost:065",
            "http://localhost:70000",
            "https://user@app.example.org",
            "https://app.example.org https://b.example.org",
            "https://[::1",
            "https://[x]",
            "https://é.example.org",
            "HTTPS://app.example.org",
        ] {
            assert_eq!(bad.parse::<Origin>(), Err(OriginError), "{bad}");
        }
        assert!(
            format!("https://{}", "a".repeat(300))
                .parse::<Origin>()
                .is_err()
        );
    }
}
