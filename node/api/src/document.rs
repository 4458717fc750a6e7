//! Serves the API document, as JSON and as a page. Both are made once, as they never change.

use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use lapwing_protocol::hash::record_hash;

use crate::node::Node;
use crate::router::Shell;
use crate::trust::{REVALIDATE, etag, known, tagged, unchanged};
use crate::{openapi, page};

/// What was made.
#[derive(Default)]
pub(crate) struct Documents {
    json: OnceLock<(Bytes, HeaderValue)>,
    page: OnceLock<(Bytes, HeaderValue)>,
}

fn made(text: String) -> (Bytes, HeaderValue) {
    let tag = etag(&record_hash(text.as_bytes()));
    (text.into(), tag)
}

/// `GET /v1/openapi.json`: the API as an OpenAPI 3.1 document.
pub(crate) async fn json<N: Node>(
    State(shell): State<Arc<Shell<N>>>,
    headers: HeaderMap,
) -> Response {
    let json = &shell.documents.json;
    let (bytes, tag) = json.get_or_init(|| made(openapi::document().to_string()));
    if known(&headers, tag) {
        return unchanged(tag, REVALIDATE);
    }
    tagged("application/json", bytes.clone(), tag, REVALIDATE)
}

/// `GET /v1/docs`: the API as a page.
pub(crate) async fn read<N: Node>(
    State(shell): State<Arc<Shell<N>>>,
    headers: HeaderMap,
) -> Response {
    let (bytes, tag) = shell.documents.page.get_or_init(|| made(page::page()));
    if known(&headers, tag) {
        return unchanged(tag, REVALIDATE);
    }
    let mut response = tagged("text/html; charset=utf-8", bytes.clone(), tag, REVALIDATE);
    let headers = response.headers_mut();
    // Base64 and ASCII: always a header value.
    if let Ok(policy) = HeaderValue::try_from(page::policy()) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
