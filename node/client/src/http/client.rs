//! The connections.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::ETAG;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;

use super::tls::Tls;
use super::{Ask, Events, HttpError, Reply, Server};

/// Idle connections kept to one server.
const MAX_IDLE: usize = 4;
/// How many addresses of one name are tried.
const MAX_ADDRESSES: usize = 8;

pub(super) type Sender = SendRequest<Full<Bytes>>;

/// How long a client waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the name to be looked up and a connection to be made.
    pub connect: Duration,
    /// For an exchange, the answer's body included.
    pub exchange: Duration,
}

impl Default for Timeouts {
    /// Ten seconds to connect, thirty for an exchange.
    fn default() -> Self {
        Timeouts {
            connect: Duration::from_secs(10),
            exchange: Duration::from_secs(30),
        }
    }
}

/// A client. Clones share connections.
#[derive(Clone, Default)]
pub struct Client {
    source: Option<IpAddr>,
    timeouts: Timeouts,
    tls: Arc<Tls>,
    idle: Arc<Mutex<BTreeMap<Server, Vec<Sender>>>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("source", &self.source)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client with the default timeouts.
    #[must_use]
    pub fn new() -> Self {
        Client::default()
    }

    /// A client that connects from this address of the machine, for one with several; only servers of
    /// the same IP version can be reached.
    #[must_use]
    pub fn from_source(source: IpAddr) -> Self {
        Client {
            source: Some(source),
            ..Client::default()
        }
    }

    /// The same with other timeouts.
    #[must_use]
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// The same that trusts these certificates (X.509, DER) as roots of TLS, and no other.
    #[must_use]
    pub fn trusting(mut self, roots: Vec<Vec<u8>>) -> Self {
        self.tls = Arc::new(Tls::trusting(roots));
        self
    }

    fn idle(&self) -> MutexGuard<'_, BTreeMap<Server, Vec<Sender>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self, to: &Server) -> Result<Sender, HttpError> {
        let connect = async {
            let stream = self.stream(to).await.map_err(HttpError::Connect)?;
            if !to.tls() {
                return open(stream).await;
            }
            let stream = self.tls.connect(to.host(), stream).await;
            open(stream.map_err(HttpError::Tls)?).await
        };
        timeout(self.timeouts.connect, connect)
            .await
            .unwrap_or(Err(HttpError::Timeout))
    }

    /// A connection to the first address of the server's that takes one.
    async fn stream(&self, to: &Server) -> io::Result<TcpStream> {
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let addresses = lookup_host((to.host(), to.port())).await?;
        for address in addresses.take(MAX_ADDRESSES) {
            match self.stream_to(address).await {
                Ok(stream) => return Ok(stream),
                Err(e) => failed = e,
            }
        }
        Err(failed)
    }

    async fn stream_to(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(source) = self.source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Asks a server. A kept connection that turns out to be closed is replaced once: every call of the
    /// API may be made twice.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn ask(&self, to: &Server, ask: &Ask<'_>) -> Result<Reply, HttpError> {
        let exchange = async {
            let host = to.authority();
            let kept = self.idle().get_mut(to).and_then(Vec::pop);
            if let Some(mut sender) = kept
                && let Ok(reply) = send(&mut sender, &host, ask).await
            {
                self.keep(to, sender);
                return Ok(reply);
            }
            let mut sender = self.connect(to).await?;
            let reply = send(&mut sender, &host, ask).await?;
            self.keep(to, sender);
            Ok(reply)
        };
        timeout(self.timeouts.exchange, exchange)
            .await
            .unwrap_or(Err(HttpError::Timeout))
    }

    fn keep(&self, to: &Server, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle();
        match idle.get_mut(to) {
            Some(kept) if kept.len() < MAX_IDLE => kept.push(sender),
            Some(_) => {}
            None => {
                idle.insert(to.clone(), vec![sender]);
            }
        }
    }

    /// Opens a stream of server-sent events, on a connection for this alone.
    ///
    /// # Errors
    /// [`HttpError`]; the status may still be a refusal.
    pub async fn events(&self, to: &Server, path: &str) -> Result<(StatusCode, Events), HttpError> {
        let mut sender = self.connect(to).await?;
        let request = Ask::get(path, 0).request(&to.authority())?;
        let response = timeout(self.timeouts.exchange, sender.send_request(request))
            .await
            .map_err(|_| HttpError::Timeout)?;
        let response = response.map_err(HttpError::Broken)?;
        Ok((response.status(), Events::new(response.into_body(), sender)))
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
    timeout(Timeouts::default().exchange, exchange)
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Answers each connection's first request with `answer` and tells who asked.
    async fn server(
        answer: &'static str,
    ) -> (Server, tokio::sync::mpsc::UnboundedReceiver<IpAddr>) {
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
        (to.into(), receiver)
    }

    fn from(source: &str) -> Client {
        Client::from_source(source.parse().unwrap())
    }

    #[tokio::test]
    async fn clients_come_from_their_addresses_and_survive_closed_connections() {
        let (to, mut asked) =
            server("HTTP/1.1 200 OK\r\netag: \"x\"\r\ncontent-length: 2\r\n\r\nhi").await;
        let (a, b) = (from("127.1.1.1"), from("127.2.44.1"));
        for client in [&a, &b, &a] {
            let reply = client.ask(&to, &Ask::get("/", 10)).await.unwrap();
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
        let long = a.ask(&to, &Ask::get("/", 1)).await;
        assert!(
            matches!(long, Err(HttpError::TooLarge { max: 1 })),
            "{long:?}"
        );
    }

    #[tokio::test]
    async fn names_are_looked_up() {
        let (to, _asked) = server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        let named = format!("http://localhost:{}", to.port()).parse().unwrap();
        let reply = Client::new().ask(&named, &Ask::get("/", 0)).await.unwrap();
        assert_eq!(reply.status, StatusCode::OK);
    }

    #[tokio::test]
    async fn https_is_spoken_with_whom_a_root_vouches_for() {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let root = made.cert.der().to_vec();
        let key =
            rustls::pki_types::PrivateKeyDer::try_from(made.key_pair.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut buffer = [0; 4096];
                assert!(stream.read(&mut buffer).await.unwrap() > 0);
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let named = format!("https://localhost:{port}").parse().unwrap();
        let client = Client::new().trusting(vec![root.clone()]);
        let reply = client.ask(&named, &Ask::get("/", 10)).await.unwrap();
        assert_eq!(&*reply.body, b"hi");
        // Another name, and another root.
        let other = format!("https://127.0.0.1:{port}").parse().unwrap();
        let stranger = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let wary = Client::new().trusting(vec![stranger.cert.der().to_vec()]);
        for refused in [
            client.ask(&other, &Ask::get("/", 10)).await,
            wary.ask(&named, &Ask::get("/", 10)).await,
        ] {
            assert!(matches!(refused, Err(HttpError::Tls(_))), "{refused:?}");
        }
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap().into();
        let client = Client::new().with_timeouts(Timeouts {
            connect: Duration::from_secs(5),
            exchange: Duration::from_millis(50),
        });
        let answer = client.ask(&to, &Ask::get("/", 1)).await;
        assert!(matches!(answer, Err(HttpError::Timeout)), "{answer:?}");
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_an_error() {
        let to = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        assert!(matches!(
            Client::new().ask(&to.into(), &Ask::get("/", 1)).await,
            Err(HttpError::Connect(_))
        ));
    }

    #[tokio::test]
    async fn events_are_read_until_the_stream_ends() {
        let (to, _asked) = server(
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n: alive\n\nevent: changed\nid: 1\ndata: {\"index\":3}\n\n",
        )
        .await;
        let (status, mut events) = Client::new().events(&to, "/").await.unwrap();
        assert_eq!(status, StatusCode::OK);
        assert_eq!(
            events.next().await,
            Some(("changed".to_owned(), "{\"index\":3}".to_owned()))
        );
        assert_eq!(events.next().await, None);
    }
}
