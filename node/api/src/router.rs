//! Which path leads where. Paths are matched exactly: another case, a trailing slash or an escaped
//! letter is another path, which does not exist.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::routing::{MethodRouter, on};
use lapwing_protocol::problem::Problem;
use tokio::sync::watch;

use crate::config::ApiConfig;
use crate::document::Documents;
use crate::endpoint::Endpoint;
use crate::limits::Gauge;
use crate::node::Node;
use crate::problem::{Refusal, wrong_method};
use crate::rate::Rates;
use crate::trust::Snapshots;
use crate::watch::Watches;
use crate::{calls, document, health, trust};

/// Most records that are checked at once for publishing: they take whole milliseconds.
const MAX_PUBLISHING: usize = 2;

/// Most downloads of the whole chain at once; each may keep one version of it in memory.
const MAX_DOWNLOADS: usize = 64;

/// The node, and all that is bounded around it.
pub(crate) struct Shell<N> {
    pub(crate) node: Arc<N>,
    pub(crate) config: ApiConfig,
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
            closing,
            config,
        }
    }
}

/// The public API: every endpoint, and nothing else.
pub(crate) fn router<N: Node>(shell: Arc<Shell<N>>) -> Router {
    let mut router = Router::new();
    for endpoint in Endpoint::all() {
        router = router.route(endpoint.path(), handler(&shell, endpoint));
    }
    router
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown)
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

/// Waits until the node shuts down.
pub(crate) async fn closed(closing: &mut watch::Receiver<bool>) {
    // An error says that the server is gone: closed as well.
    let _closed = closing.wait_for(|closing| *closing).await;
}

/// For every path that leads nowhere.
pub(crate) async fn unknown() -> Refusal {
    Problem::UnknownCall.into()
}
