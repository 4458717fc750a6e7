//! Connections: accepting, bounding, serving and draining them.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::X_CONTENT_TYPE_OPTIONS;
use axum::http::{HeaderValue, Request};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::Service;
use tracing::{debug, warn};

use crate::config::{ApiConfig, ConfigError};
use crate::limits::Hold;
use crate::node::{Event, Node};
use crate::origins;
use crate::rate::{Connected, Connections, Network, client_address};
use crate::router::{Live, Shell, closed, router};
use crate::stall::Stall;
use crate::version;

/// Pause after the operating system refused to accept, as it does when it is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Sent, as far as it goes at once, to a connection that is one too many.
const TURNED_AWAY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Serves the public API until `shutdown` is done; then lets open requests end, within the configured
/// time, and returns. Event streams and long polls end at once.
///
/// # Errors
/// [`ConfigError`] before anything is served.
pub async fn serve<N: Node>(
    listener: TcpListener,
    node: Arc<N>,
    config: ApiConfig,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ConfigError> {
    let (_unchanged, configs) = watch::channel(config);
    serve_changing(listener, node, configs, shutdown).await
}

/// As [`serve`], with a configuration that may change: of a new one `trusted_proxies`, `cors_origins`,
/// `max_connections` and `rate` apply at once, to open connections as well; the rest was settled at the
/// start. One that does not pass [`ApiConfig::check`] changes nothing.
///
/// # Errors
/// [`ConfigError`] before anything is served.
pub async fn serve_changing<N: Node>(
    listener: TcpListener,
    node: Arc<N>,
    mut configs: watch::Receiver<ApiConfig>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ConfigError> {
    let config = configs.borrow_and_update().clone();
    config.check()?;
    let (close, closing) = watch::channel(false);
    let shell = Arc::new(Shell::new(node, config, closing));
    let server = Arc::new(Server {
        router: router(shell.clone()),
        shell,
    });
    let networks = Connections::new();
    let mut tasks = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_ended) = tasks.join_next(), if !tasks.is_empty() => {}
            Ok(()) = configs.changed() => {
                let config = configs.borrow_and_update().clone();
                match config.check() {
                    Ok(()) => server.shell.apply(&config),
                    Err(error) => warn!(%error, "the API keeps its configuration"),
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    if let Some(place) = server.admit(peer.ip(), &networks) {
                        tasks.spawn(server.clone().connection(stream, peer.ip(), place));
                    } else {
                        let _sent = stream.try_write(TURNED_AWAY);
                        server.shell.node.count(Event::ConnectionShed);
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    warn!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    drop(listener);
    close.send_replace(true);
    let drained = async { while tasks.join_next().await.is_some() {} };
    if timeout(server.shell.config.drain_timeout, drained)
        .await
        .is_err()
    {
        debug!(
            connections = tasks.len(),
            "closing connections that did not end"
        );
    }
    Ok(())
}

fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

struct Server<N> {
    shell: Arc<Shell<N>>,
    router: Router,
}

/// What a connection takes of the limits.
struct Place {
    _one: Hold,
    _network: Option<Connected>,
}

impl<N: Node> Server<N> {
    fn admit(&self, peer: IpAddr, networks: &Connections) -> Option<Place> {
        let config = &self.shell.config;
        let one = self.shell.connections.take(1)?;
        // Behind a proxy everybody seems to come from one network.
        let network = if self.is_proxy(peer) {
            None
        } else {
            Some(networks.enter(Network::of(peer), config.max_network_connections)?)
        };
        Some(Place {
            _one: one,
            _network: network,
        })
    }

    fn is_proxy(&self, peer: IpAddr) -> bool {
        self.shell
            .live()
            .trusted_proxies
            .contains(&peer.to_canonical())
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: IpAddr, _place: Place) {
        let config = &self.shell.config;
        let _best_effort = stream.set_nodelay(true);
        let io = TokioIo::new(Stall::new(stream, config.stall_timeout));
        let service = service_fn(|mut request: Request<Incoming>| {
            let live = self.shell.live();
            let client = client_address(peer, &live.trusted_proxies, request.headers());
            request.extensions_mut().insert(Network::of(client));
            handle(self.router.clone(), live, request)
        });
        self.shell.node.count(Event::ConnectionOpened);
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(config.head_timeout)
                .max_buf_size(config.head_bytes)
                .serve_connection(io, service)
        );
        let mut closing = self.shell.closing.clone();
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = closed(&mut closing) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        self.shell.node.count(Event::ConnectionClosed);
        if let Err(error) = ended {
            // Says what went wrong with the HTTP, never who sent it or what.
            debug!(%error, "connection ended early");
        }
    }
}

/// Answers one request; under `/v1/` it says which version of the API it speaks, and which pages may
/// read the answer.
async fn handle(
    mut router: Router,
    live: Arc<Live>,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let public = request.uri().path().starts_with("/v1/");
    let asking = origins::asking(&request);
    let mut response = if !public {
        router.call(request.map(Body::new)).await?
    } else if origins::is_preflight(&request) {
        origins::preflight()
    } else if let Err(refusal) = version::check(request.headers()) {
        refusal.respond()
    } else {
        // A router is always ready.
        router.call(request.map(Body::new)).await?
    };
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if public {
        version::mark(headers);
        live.cors_origins.mark(asking.as_ref(), headers);
    }
    Ok(response)
}
