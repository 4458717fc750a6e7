//! Which path leads where. Paths are matched exactly: another case, a trailing slash or an escaped
//! letter is another path, which does not exist.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::routing::{MethodRouter, on};
use lapwing_protocol::problem::Problem;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::ApiConfig;
use crate::document::Documents;
use crate::endpoint::Endpoint;
use crate::limits::Gauge;
use crate::node::{Event, Node};
use crate::origins::Origins;
use crate::problem::{Code, Refusal, wrong_method};
use crate::rate::Rates;
use crate::trust::Snapshots;
use crate::watch::Watches;
use crate::{calls, document, health, trust};

/// Most records that are checked at once for publishing: they take whole milliseconds.
const MAX_PUBLISHING: usize = 2;

/// Most downloads of the whole chain at once; each may keep one version of it in memory.
const MAX_DOWNLOADS: usize = 64;

/// What of the configuration may change while the node runs, beside the bounds of gauges and rates.
pub(crate) struct Live {
    /// See [`ApiConfig::trusted_proxies`].
    pub(crate) trusted_proxies: Vec<IpAddr>,
    /// See [`ApiConfig::cors_origins`].
    pub(crate) cors_origins: Origins,
}

impl Live {
    fn of(config: &ApiConfig) -> Arc<Self> {
        Arc::new(Self {
            trusted_proxies: config.trusted_proxies.clone(),
            cors_origins: config.cors_origins.clone(),
        })
    }
}

/// The node, and all that is bounded around it.
pub(crate) struct Shell<N> {
    pub(crate) node: Arc<N>,
    pub(crate) config: ApiConfig,
    pub(crate) connections: Gauge,
    pub(crate) calls: Gauge,
    pub(crate) waiting: Gauge,
    pub(crate) publishing: Gauge,
    pub(crate) downloads: Gauge,
    pub(crate) bodies: Gauge,
    pub(crate) answers: Gauge,
    pub(crate) rates: Rates,
    pub(crate) watches: Watches,
    pub(crate) snapshots: Snapshots,
    pub(crate) documents: Documents,
    /// What the operator may change while the node runs.
    live: RwLock<Arc<Live>>,
    /// Turns true when the node shuts down.
    pub(crate) closing: watch::Receiver<bool>,
}

impl<N: Node> Shell<N> {
    pub(crate) fn new(node: Arc<N>, config: ApiConfig, closing: watch::Receiver<bool>) -> Self {
        Self {
            node,
            calls: Gauge::new(config.max_calls),
            waiting: Gauge::new(config.max_waiting),
            publishing: Gauge::new(MAX_PUBLISHING),
            downloads: Gauge::new(MAX_DOWNLOADS),
            bodies: Gauge::new(config.body_memory),
            answers: Gauge::new(config.answer_memory),
            rates: Rates::new(config.rate, config.max_networks),
            watches: Watches::new(config.max_watches),
            snapshots: Snapshots::default(),
            documents: Documents::default(),
            live: RwLock::new(Live::of(&config)),
            connections: Gauge::new(config.max_connections),
            closing,
            config,
        }
    }

    /// The part of the configuration that may change, as it is now.
    pub(crate) fn live(&self) -> Arc<Live> {
        self.live
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes what may change from a new configuration. Connections that are open stay.
    pub(crate) fn apply(&self, config: &ApiConfig) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Live::of(config);
        self.connections.set_max(config.max_connections);
        self.rates.set(config.rate);
    }
}

/// The public API: every endpoint, and nothing else.
pub(crate) fn router<N: Node>(shell: Arc<Shell<N>>) -> Router {
    let mut router = Router::new();
    for endpoint in Endpoint::all() {
        let handler = handler(&shell, endpoint);
        router = router.route(endpoint.path(), counted(&shell, endpoint, handler));
    }
    let counting = shell.clone();
    router
        .method_not_allowed_fallback(wrong_method)
        .fallback(async move || {
            let refusal = unknown().await;
            counting.node.count(Event::Answered {
                endpoint: "other",
                status: 404,
                refused: Some(Problem::UnknownCall.text()),
                took: None,
            });
            refusal
        })
        .with_state(shell)
}

/// What answers at an endpoint.
fn handler<N: Node>(shell: &Arc<Shell<N>>, endpoint: Endpoint) -> MethodRouter<Arc<Shell<N>>> {
    let method = endpoint.method().filter();
    match endpoint {
        Endpoint::Live => on(method, health::live),
        Endpoint::Ready => on(method, health::ready::<N>),
        Endpoint::Node => on(method, trust::node::<N>),
        Endpoint::TrustIndex => on(method, trust::index::<N>),
        Endpoint::TrustAll => on(method, trust::all::<N>),
        Endpoint::TrustRecord => on(method, trust::record::<N>),
        Endpoint::TrustRoster => on(method, trust::roster::<N>),
        Endpoint::TrustOfMediator => on(method, trust::latest_of_mediator::<N>),
        Endpoint::OpenWatch => on(method, crate::watch::open::<N>),
        Endpoint::WatchEvents => on(method, crate::watch::events::<N>),
        Endpoint::Document => on(method, document::json::<N>),
        Endpoint::Page => on(method, document::read::<N>),
        Endpoint::Call(kind) => {
            let shell = shell.clone();
            on(method, move |request: Request| {
                calls::call(shell.clone(), kind, request)
            })
        }
    }
}

/// Counts what is answered at an endpoint.
fn counted<N: Node>(
    shell: &Arc<Shell<N>>,
    endpoint: Endpoint,
    handler: MethodRouter<Arc<Shell<N>>>,
) -> MethodRouter<Arc<Shell<N>>> {
    let shell = shell.clone();
    handler.layer(from_fn(move |request: Request, next: Next| {
        let shell = shell.clone();
        async move {
            // Such a request takes as long as nothing happens; that says nothing of the node.
            let waits = endpoint == Endpoint::WatchEvents
                || request.uri().query().is_some_and(|q| q.contains("wait="));
            let begun = Instant::now();
            let response = next.run(request).await;
            shell.node.count(Event::Answered {
                endpoint: endpoint.path(),
                status: response.status().as_u16(),
                refused: response.extensions().get::<Code>().map(|c| c.0),
                took: (!waits).then(|| begun.elapsed()),
            });
            response
        }
    }))
}

/// Waits until the node shuts down.
pub(crate) async fn closed(closing: &mut watch::Receiver<bool>) {
    // An error says that the server is gone: closed as well.
    let _closed = closing.wait_for(|closing| *closing).await;
}

/// For every path that leads nowhere.
pub(crate) async fn unknown() -> Refusal {
    Problem::UnknownCall.into()
}
