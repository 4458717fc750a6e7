//! The version of the API, and what a client may ask of it.
//!
//! The path has the major version. Within it things are only added, and each addition raises the minor
//! version: a client that needs one says so, and learns at once that a node does not have it yet.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::problem::Refusal;

/// In a request: the least version that the client needs. In a response: the node's.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("lapwing-version");

/// The major version: that of the paths.
const MAJOR: u16 = 1;
/// The minor version: raised by every addition.
const MINOR: u16 = 0;
/// Both.
pub(crate) const TEXT: &str = "1.0";

/// Says the node's version on a response.
pub(crate) fn mark(headers: &mut HeaderMap) {
    headers.insert(HEADER, HeaderValue::from_static(TEXT));
}

/// Refuses a request that needs a version which this node does not speak.
pub(crate) fn check(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut asked = headers.get_all(HEADER).iter();
    let Some(first) = asked.next() else {
        return Ok(());
    };
    let speaks = first
        .to_str()
        .ok()
        .and_then(parse)
        .is_some_and(|asked| asked.0 == MAJOR && asked <= (MAJOR, MINOR));
    if speaks && asked.next().is_none() {
        Ok(())
    } else {
        Err(Refusal::WrongVersion)
    }
}

/// `MAJOR.MINOR`, or `MAJOR` for its first minor version.
fn parse(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| digits)
    };
    match text.split_once('.') {
        Some((major, minor)) => Some((number(major)?, number(minor)?)),
        None => Some((number(text)?, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_what_it_needs_or_a_refusal() {
        assert_eq!(TEXT, format!("{MAJOR}.{MINOR}"));
        assert_eq!(check(&HeaderMap::new()), Ok(()));
        let asking = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, text.parse().unwrap());
            check(&headers)
        };
        for good in ["1", "1.0", TEXT] {
            assert_eq!(asking(good), Ok(()), "{good}");
        }
        for bad in [
            "", "1.", "1.1", "1.99999", "0.9", "2", "2.0", "+1.0", "1.0.0", "one",
        ] {
            assert_eq!(asking(bad), Err(Refusal::WrongVersion), "{bad}");
        }
        let mut twice = HeaderMap::new();
        twice.append(HEADER, HeaderValue::from_static("1.0"));
        twice.append(HEADER, HeaderValue::from_static("1.0"));
        assert_eq!(check(&twice), Err(Refusal::WrongVersion));
    }
}
