//! Whether the process runs, and whether it can serve: for load balancers and supervisors.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use crate::calls::ok;
use crate::node::Node;
use crate::problem::Refusal;
use crate::router::Shell;

/// `GET /health/live`: the process answers.
pub(crate) async fn live() -> Response {
    ok("application/json", r#"{"status":"live"}"#.into())
}

/// `GET /health/ready`: the node can serve calls; else a problem says why not.
pub(crate) async fn ready<N: Node>(
    State(shell): State<Arc<Shell<N>>>,
) -> Result<Response, Refusal> {
    if *shell.closing.borrow() {
        return Err(Refusal::NotReady(crate::node::NotReady::ShuttingDown));
    }
    shell.node.ready().map_err(Refusal::NotReady)?;
    Ok(ok("application/json", r#"{"status":"ready"}"#.into()))
}
