//! A small HTTP/1.1 client: connections are kept, every step has a time limit, and each client may
//! come from a loopback address of its own (`127.x.y.z`), so that a node sees clients of many networks
//! and its limits per network can stay on.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, ETAG, HOST, IF_NONE_MATCH};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, UnixStream};
use tokio::time::timeout;

/// How long connecting may take: all nodes are on this machine.
const CONNECT: Duration = Duration::from_secs(2);
/// How long an exchange may take, the answer's body included.
const EXCHANGE: Duration = Duration::from_secs(20);
/// Idle connections kept to one address.
const MAX_IDLE: usize = 4;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection could be made: the node is down, or its port is another's.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
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

    fn request(&self, host: &str) -> Result<Request<Full<Bytes>>, HttpError> {
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

type Sender = SendRequest<Full<Bytes>>;

/// A client. Clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    source: Ipv4Addr,
    idle: Arc<Mutex<BTreeMap<SocketAddr, Vec<Sender>>>>,
}

impl Client {
    /// A client that comes from `source`, a loopback address.
    #[must_use]
    pub fn new(source: Ipv4Addr) -> Self {
        Client {
            source,
            idle: Arc::default(),
        }
    }

    /// The `n`th client of a run, from a network (/24) of its own.
    #[must_use]
    pub fn numbered(n: u16) -> Self {
        let [high, low] = n.to_be_bytes();
        // 127.0.x.y is left to the nodes and to whatever else runs here.
        Client::new(Ipv4Addr::new(127, high.saturating_add(1), low, 1))
    }

    fn idle(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Vec<Sender>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self, to: SocketAddr) -> Result<Sender, HttpError> {
        let connect = async {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::new(IpAddr::V4(self.source), 0))?;
            let stream = socket.connect(to).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        let stream = timeout(CONNECT, connect)
            .await
            .map_err(|_| HttpError::Timeout)?;
        open(stream.map_err(HttpError::Connect)?).await
    }

    /// Asks a node. A kept connection that turns out to be closed is replaced once: every call of the
    /// API may be made twice.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn ask(&self, to: SocketAddr, ask: &Ask<'_>) -> Result<Reply, HttpError> {
        let exchange = async {
            let kept = self.idle().get_mut(&to).and_then(Vec::pop);
            if let Some(mut sender) = kept
                && let Ok(reply) = self.exchange(to, &mut sender, ask).await
            {
                self.keep(to, sender);
                return Ok(reply);
            }
            let mut sender = self.connect(to).await?;
            let reply = self.exchange(to, &mut sender, ask).await?;
            self.keep(to, sender);
            Ok(reply)
        };
        timeout(EXCHANGE, exchange)
            .await
            .unwrap_or(Err(HttpError::Timeout))
    }

    fn keep(&self, to: SocketAddr, sender: Sender) {
        let mut idle = self.idle();
        let kept = idle.entry(to).or_default();
        if kept.len() < MAX_IDLE && !sender.is_closed() {
            kept.push(sender);
        }
    }

    async fn exchange(
        &self,
        to: SocketAddr,
        sender: &mut Sender,
        ask: &Ask<'_>,
    ) -> Result<Reply, HttpError> {
        send(sender, &to.to_string(), ask).await
    }

    /// Opens a stream of server-sent events.
    ///
    /// # Errors
    /// [`HttpError`]; the status may still be a refusal.
    pub async fn events(
        &self,
        to: SocketAddr,
        path: &str,
    ) -> Result<(StatusCode, Events), HttpError> {
        let mut sender = self.connect(to).await?;
        let request = Ask::get(path, 0).request(&to.to_string())?;
        let response = timeout(EXCHANGE, sender.send_request(request))
            .await
            .map_err(|_| HttpError::Timeout)?;
        let response = response.map_err(HttpError::Broken)?;
        Ok((
            response.status(),
            Events {
                body: response.into_body(),
                text: String::new(),
                _sender: sender,
            },
        ))
    }
}

/// Asks over a Unix socket, on a connection for this alone.
///
/// # Errors
/// [`HttpError`].
pub async fn ask_socket(path: &Path, ask: &Ask<'_>) -> Result<Reply, HttpError> {
    let exchange = async {
        let stream = UnixStream::connect(path)
            .await
            .map_err(HttpError::Connect)?;
        let mut sender = open(stream).await?;
        send(&mut sender, "localhost", ask).await
    };
    timeout(EXCHANGE, exchange)
        .await
        .unwrap_or(Err(HttpError::Timeout))
}

async fn open(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Sender, HttpError> {
    let (sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(HttpError::Broken)?;
    // How it ends shows at the sender.
    tokio::spawn(connection);
    Ok(sender)
}

async fn send(sender: &mut Sender, host: &str, ask: &Ask<'_>) -> Result<Reply, HttpError> {
    sender.ready().await.map_err(HttpError::Broken)?;
    let response = sender
        .send_request(ask.request(host)?)
        .await
        .map_err(HttpError::Broken)?;
    let (head, body) = response.into_parts();
    let etag = head
        .headers
        .get(ETAG)
        .and_then(|v| v.to_str().ok())
        .map(str::to_owned);
    let body = Limited::new(body, ask.max).collect().await.map_err(|e| {
        match e.downcast::<hyper::Error>() {
            Ok(broken) => HttpError::Broken(*broken),
            Err(e) => {
                debug_assert!(e.is::<LengthLimitError>());
                HttpError::TooLarge { max: ask.max }
            }
        }
    })?;
    Ok(Reply {
        status: head.status,
        etag,
        body: body.to_bytes(),
    })
}

/// Most characters of one event.
const MAX_EVENT: usize = 4096;

/// A stream of server-sent events.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    text: String,
    // Dropping it would end the connection.
    _sender: Sender,
}

impl Events {
    /// The next event's name and data; nothing when the stream is over. Comments are passed over.
    pub async fn next(&mut self) -> Option<(String, String)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let parsed = parse_event(event);
                self.text = rest.to_owned();
                match parsed {
                    Some(parsed) => return Some(parsed),
                    None => continue,
                }
            }
            if self.text.len() > MAX_EVENT {
                return None;
            }
            let frame = self.body.frame().await?.ok()?;
            if let Some(data) = frame.data_ref() {
                self.text.push_str(std::str::from_utf8(data).ok()?);
            }
        }
    }
}

fn parse_event(text: &str) -> Option<(String, String)> {
    let field = |name: &str| {
        text.lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))
            .map(|v| v.trim_start().to_owned())
    };
    Some((field("event")?, field("data").unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Answers each connection's first request with `answer` and tells who asked.
    async fn server(
        answer: &'static str,
    ) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<IpAddr>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (mut stream, from) = listener.accept().await.unwrap();
                let mut buffer = [0; 4096];
                assert!(stream.read(&mut buffer).await.unwrap() > 0);
                sender.send(from.ip()).unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        (to, receiver)
    }

    #[tokio::test]
    async fn clients_come_from_networks_of_their_own_and_survive_closed_connections() {
        let (to, mut asked) =
            server("HTTP/1.1 200 OK\r\netag: \"x\"\r\ncontent-length: 2\r\n\r\nhi").await;
        let (a, b) = (Client::numbered(1), Client::numbered(300));
        for client in [&a, &b, &a] {
            let reply = client.ask(to, &Ask::get("/", 10)).await.unwrap();
            assert_eq!(
                (reply.status, &*reply.body, reply.etag.as_deref()),
                (StatusCode::OK, &b"hi"[..], Some("\"x\""))
            );
        }
        let from: Vec<IpAddr> = [asked.recv().await, asked.recv().await]
            .into_iter()
            .flatten()
            .collect();
        assert_eq!(
            from,
            [
                "127.1.1.1".parse::<IpAddr>().unwrap(),
                "127.2.44.1".parse().unwrap()
            ]
        );
        let long = a.ask(to, &Ask::get("/", 1)).await;
        assert!(
            matches!(long, Err(HttpError::TooLarge { max: 1 })),
            "{long:?}"
        );
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_an_error() {
        let to = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        assert!(matches!(
            Client::numbered(1).ask(to, &Ask::get("/", 1)).await,
            Err(HttpError::Connect(_))
        ));
    }

    #[tokio::test]
    async fn events_are_read_until_the_stream_ends() {
        let (to, _asked) = server(
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n: alive\n\nevent: changed\nid: 1\ndata: {\"index\":3}\n\n",
        )
        .await;
        let (status, mut events) = Client::numbered(1).events(to, "/").await.unwrap();
        assert_eq!(status, StatusCode::OK);
        assert_eq!(
            events.next().await,
            Some(("changed".to_owned(), "{\"index\":3}".to_owned()))
        );
        assert_eq!(events.next().await, None);
    }
}
