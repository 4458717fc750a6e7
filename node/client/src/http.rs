//! A small HTTP/1.1 client for a node's API: connections are kept, every step has a time limit, and no
//! body is longer than the caller takes.

mod client;
mod events;
mod server;
mod tls;

use std::io;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST, IF_NONE_MATCH};
use hyper::{Method, Request};

pub use hyper::StatusCode;

pub use self::client::{Client, Timeouts, ask_socket};
pub use self::events::Events;
pub use self::server::{Server, ServerError};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection could be made: the name is unknown, the node is down, or its port is another's.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// No TLS with it: nobody that is trusted vouches for its name, or it speaks no TLS 1.3.
    #[error("no TLS: {0}")]
    Tls(#[source] io::Error),
    /// The node took too long.
    #[error("no answer in time")]
    Timeout,
    /// The connection broke, or what came is no HTTP.
    #[error("the connection broke: {0}")]
    Broken(#[source] hyper::Error),
    /// The body is longer than the caller takes.
    #[error("the answer is longer than {max} bytes")]
    TooLarge {
        /// The most that was asked for.
        max: usize,
    },
    /// Path or header cannot be written.
    #[error("the request cannot be written: {0}")]
    Request(#[source] hyper::http::Error),
}

/// What to ask.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// Path and query.
    pub path: &'a str,
    /// The body with its media type, for a POST; nothing for a GET.
    pub body: Option<(&'static str, Vec<u8>)>,
    /// Only if it is another one than this (`If-None-Match`).
    pub unless: Option<&'a str>,
    /// Most bytes of the answer's body.
    pub max: usize,
}

impl<'a> Ask<'a> {
    /// A GET.
    #[must_use]
    pub fn get(path: &'a str, max: usize) -> Self {
        Ask {
            path,
            body: None,
            unless: None,
            max,
        }
    }

    /// A POST.
    #[must_use]
    pub fn post(path: &'a str, content_type: &'static str, body: Vec<u8>, max: usize) -> Self {
        Ask {
            path,
            body: Some((content_type, body)),
            unless: None,
            max,
        }
    }

    pub(super) fn request(&self, host: &str) -> Result<Request<Full<Bytes>>, HttpError> {
        let mut builder = Request::builder().uri(self.path).header(HOST, host);
        if let Some(tag) = self.unless {
            builder = builder.header(IF_NONE_MATCH, tag);
        }
        let body = match &self.body {
            None => Bytes::new(),
            Some((content_type, body)) => {
                builder = builder
                    .method(Method::POST)
                    .header(CONTENT_TYPE, *content_type);
                Bytes::from(body.clone())
            }
        };
        builder.body(Full::new(body)).map_err(HttpError::Request)
    }
}

/// An answer with its whole body.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// `ETag`.
    pub etag: Option<String>,
    /// The body.
    pub body: Bytes,
}
