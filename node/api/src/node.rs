//! What the API asks of the node that it stands in front of.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use lapwing_protocol::client::{Answer, CheckedCall};
use lapwing_protocol::id::{MailboxId, NodeId};
use lapwing_protocol::key::VerifyingKey;
use lapwing_protocol::mailbox::{Mailbox, Page};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::time::Time;
use lapwing_protocol::trust::TrustView;

use crate::hub::Watch;

/// The node behind the API.
pub trait Node: Send + Sync + 'static {
    /// The node's id.
    fn id(&self) -> NodeId;

    /// The key with which the node signs.
    fn signing_key(&self) -> VerifyingKey;

    /// The node's clock.
    fn now(&self) -> Time;

    /// A snapshot of the chain of trust. The same `Arc` for as long as nothing changed: what is made
    /// from it is kept until another one comes.
    fn view(&self) -> Arc<TrustView>;

    /// Answers a call that was checked. The same call asked again gets the same answer.
    ///
    /// # Errors
    /// The [`Problem`] to tell the client.
    fn ask(&self, call: CheckedCall) -> impl Future<Output = Result<Answer, Problem>> + Send;

    /// A page of a mailbox, where this node's own store is enough to answer: it is a holder and the
    /// read quorum is one. `None` sends the read through [`Node::ask`]. Must not block for long.
    fn read_local(&self, mailbox: &Mailbox, after: Option<u32>) -> Option<Result<Page, Problem>>;

    /// Watches mailboxes, usually in the node's [`crate::WatchHub`].
    ///
    /// # Errors
    /// [`Problem::Busy`] when too much is watched, [`Problem::OutOfBounds`] for no id or too many.
    fn watch(&self, ids: &[MailboxId]) -> Result<Watch, Problem>;

    /// Thirty-two bytes that nobody can guess, for a watch's token.
    fn random(&self) -> [u8; 32];

    /// Whether the node can serve calls now.
    ///
    /// # Errors
    /// Why it cannot.
    fn ready(&self) -> Result<(), NotReady>;

    /// What the admin API shows: for the operator's eyes, still without secrets and clients' data.
    fn status(&self) -> serde_json::Value;

    /// What the admin API serves to Prometheus: the OpenMetrics text format, `# EOF` included. Holds no
    /// secret, no client's address and no id of a mailbox. Empty unless implemented.
    fn metrics(&self) -> String {
        "# EOF\n".to_owned()
    }

    /// Reads the configuration anew and applies what can change while the node runs; says what was
    /// done. Nothing can be, unless implemented.
    ///
    /// # Errors
    /// One line for the operator: why nothing was changed.
    fn reload(&self) -> Result<serde_json::Value, String> {
        Err("this node cannot read its configuration anew".to_owned())
    }

    /// Counts what happened at the API. Does nothing unless implemented; must not block.
    fn count(&self, event: Event) {
        let _ = event;
    }
}

/// Something that a node may count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request was answered.
    Answered {
        /// The endpoint's path, with its parameters' names in braces: from a fixed list, and `other`
        /// for every path that leads nowhere.
        endpoint: &'static str,
        /// The HTTP status.
        status: u16,
        /// The stable code of the refusal, where it was one.
        refused: Option<&'static str>,
        /// How long the answer took from the request's head on. Nothing for requests that wait for
        /// something to happen: long polls and event streams.
        took: Option<Duration>,
    },
    /// A connection was taken.
    ConnectionOpened,
    /// A connection that was taken ended.
    ConnectionClosed,
    /// A connection was turned away: too many, of all or of one network.
    ConnectionShed,
}

/// Why a node is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// It has no roster yet.
    #[error("The node has no roster yet.")]
    NoRoster,
    /// Its roster has expired.
    #[error("The node's roster has expired.")]
    RosterExpired,
    /// It is not in the roster.
    #[error("The node is not in the roster.")]
    NotInRoster,
    /// It reaches too few other nodes to write to a quorum.
    #[error("The node reaches too few other nodes.")]
    TooFewNodes,
    /// Its store failed or is being refilled.
    #[error("The node's store is not usable now.")]
    Store,
    /// It is shutting down.
    #[error("The node is shutting down.")]
    ShuttingDown,
}
