//! Which path leads where. Paths are matched exactly: another case, a trailing slash or an escaped
//! letter is another path, which does not exist.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::routing::{MethodRouter, get, post};
use lapwing_protocol::client::CallKind;
use lapwing_protocol::problem::Problem;
use tokio::sync::watch;

use crate::config::ApiConfig;
use crate::limits::Gauge;
use crate::node::Node;
use crate::problem::{Refusal, wrong_method};
use crate::rate::Rates;
use crate::trust::Snapshots;
use crate::watch::Watches;
use crate::{calls, health, trust};

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
            closing,
            config,
        }
    }
}

/// The public API.
pub(crate) fn router<N: Node>(shell: Arc<Shell<N>>) -> Router {
    let mut router = Router::new()
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready::<N>))
        .route("/v1/node", get(trust::node::<N>))
        .route("/v1/trust/all", get(trust::all::<N>))
        .route("/v1/trust/records/{id}", get(trust::record::<N>))
        .route("/v1/trust/{kind}", get(trust::latest_of_federation::<N>))
        .route(
            "/v1/trust/{kind}/{mediator}",
            get(trust::latest_of_mediator::<N>),
        )
        .route("/v1/watches", post(crate::watch::open::<N>))
        .route("/v1/watches/{token}/events", get(crate::watch::events::<N>));
    for kind in CallKind::ALL {
        let mut method = call(&shell, kind);
        if kind == CallKind::Publish {
            method = method.get(trust::index::<N>);
        }
        router = router.route(kind.path(), method);
    }
    router
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown)
        .with_state(shell)
}

fn call<N: Node>(shell: &Arc<Shell<N>>, kind: CallKind) -> MethodRouter<Arc<Shell<N>>> {
    let shell = shell.clone();
    post(move |request: Request| calls::call(shell.clone(), kind, request))
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
