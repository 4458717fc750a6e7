//! Refusals as RFC 9457 problem details.

use axum::body::Body;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use lapwing_protocol::problem::Problem;
use serde::Serialize;

use crate::node::NotReady;

/// The stable code of a refusal, on its response: for who counts.
#[derive(Clone, Copy)]
pub(crate) struct Code(pub(crate) &'static str);

/// Why a request got no answer: a [`Problem`] of the protocol, or one that only HTTP has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The protocol refuses.
    Problem(Problem),
    /// The network spent its allowance.
    Limited {
        /// Seconds until it has enough again.
        after: u32,
    },
    /// The node is not ready.
    NotReady(NotReady),
    /// The path takes other methods.
    WrongMethod,
    /// The body is of another media type than the call takes, or encoded.
    WrongType,
    /// The body took too long.
    SlowBody,
    /// The client needs a version of the API that this node does not speak.
    WrongVersion,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

#[derive(Serialize)]
struct Details<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<bool>,
}

impl Refusal {
    /// Those that exist over HTTP only.
    pub(crate) const OF_HTTP: [Self; 4] = [
        Self::WrongMethod,
        Self::WrongType,
        Self::SlowBody,
        Self::WrongVersion,
    ];

    /// The problem of the protocol that this is, if any.
    fn problem(self) -> Option<Problem> {
        match self {
            Self::Problem(p) => Some(p),
            Self::Limited { .. } => Some(Problem::RateLimited),
            Self::NotReady(_) => Some(Problem::NotReady),
            Self::WrongMethod | Self::WrongType | Self::SlowBody | Self::WrongVersion => None,
        }
    }

    /// Code, status, message.
    pub(crate) fn row(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::WrongMethod => (
                "wrong_method",
                405,
                "The path does not take this method; see Allow.",
            ),
            Self::WrongType => (
                "wrong_type",
                415,
                "The body must be of the media type that this call takes, and not compressed.",
            ),
            Self::SlowBody => ("slow_body", 408, "The body took too long to arrive."),
            Self::WrongVersion => (
                "wrong_version",
                406,
                "This node does not speak the API version that the request needs.",
            ),
            other => {
                let p = other.problem().unwrap_or(Problem::Internal);
                (p.text(), p.status(), p.message())
            }
        }
    }

    /// Seconds after which to try again, where that can help.
    pub(crate) fn retry_after(self) -> Option<u32> {
        if let Self::Limited { after } = self {
            return Some(after);
        }
        let problem = self.problem().filter(|p| p.retry())?;
        Some(match problem {
            Problem::StatusExpired => 60,
            Problem::IssuerAway | Problem::NotReady => 5,
            Problem::RateLimited | Problem::HoldersAway => 2,
            _ => 1,
        })
    }

    /// As a response.
    pub(crate) fn respond(self) -> Response {
        let (code, status, message) = self.row();
        let reason;
        let detail = match self {
            Self::NotReady(why) => {
                reason = why.to_string();
                reason.as_str()
            }
            _ => message,
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after();
        let details = Details {
            r#type: format!("urn:lapwing:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Refused"),
            status: status.as_u16(),
            detail,
            code,
            retry: retry_after.map(|_| true),
        };
        // Strings and numbers alone: serialising them cannot fail.
        let body = serde_json::to_vec(&details).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        response.extensions_mut().insert(Code(code));
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.respond()
    }
}

/// For a path that exists with a method that it does not take. RFC 9110 §15.5.6 wants `Allow`, which
/// the router adds from what it knows of the path.
pub(crate) async fn wrong_method() -> Response {
    let mut response = Refusal::WrongMethod.respond();
    response.headers_mut().remove(ALLOW);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every problem is in `docs/spec/problems.md`, with its status and whether to try again.
    #[test]
    fn the_spec_page_lists_every_problem() {
        let page = include_str!("../../../docs/spec/problems.md");
        let mut rows = Vec::new();
        for code in 1.. {
            let Some(problem) = Problem::from_code(code) else {
                break;
            };
            assert_eq!(Problem::from_text(problem.text()), Some(problem));
            let refusal = Refusal::from(problem);
            assert_eq!(refusal.retry_after().is_some(), problem.retry());
            rows.push((code.to_string(), refusal));
        }
        assert!(rows.len() >= 43);
        for refusal in Refusal::OF_HTTP {
            rows.push(("–".to_owned(), refusal));
        }
        for (code, refusal) in &rows {
            let (text, status, message) = refusal.row();
            let retry = if refusal.retry_after().is_some() {
                "yes"
            } else {
                ""
            };
            let row = format!("| {code} | `{text}` | {status} | {retry} | {message} |");
            assert!(page.contains(&row), "docs/spec/problems.md lacks\n{row}");
        }
        let listed = page.lines().filter(|l| l.contains("| `")).count();
        assert_eq!(listed, rows.len(), "a row for a problem that is none");
    }
}
