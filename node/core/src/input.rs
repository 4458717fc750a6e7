//! What the core is told. Everything in it was checked by a worker; the core verifies no signature.

use lapwing_protocol::client::CheckedCall;
use lapwing_protocol::id::{MailboxId, NodeId, RecordId};
use lapwing_protocol::item::CheckedItem;
use lapwing_protocol::peer::{CheckedPeerCall, CheckedReply};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::trust::CheckedTrust;

use crate::store::CommitId;

/// Names a client's question; its answer carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientTag(pub u64);

/// Names a peer's call to this node; the reply carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerTag(pub u64);

/// Names this node's call to a peer; the peer's reply comes back with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallTag(pub u64);

/// Why a call to a peer has no usable reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFailure {
    /// Not connected, or the connection broke.
    Unreachable,
    /// No reply in time.
    Timeout,
    /// The peer refused, or its reply failed a check.
    Refused(Problem),
}

/// One thing that happened.
#[derive(Debug)]
pub enum Input {
    /// A client asks.
    Client {
        /// Its tag.
        tag: ClientTag,
        /// The call.
        call: CheckedCall,
    },
    /// A peer asks.
    Peer {
        /// Its tag.
        tag: PeerTag,
        /// The peer, as the connection proved it.
        from: NodeId,
        /// The call.
        call: CheckedPeerCall,
    },
    /// A peer replied, or did not.
    Reply {
        /// The tag of the call.
        tag: CallTag,
        /// The peer that was called.
        from: NodeId,
        /// Its reply.
        reply: Result<CheckedReply, CallFailure>,
    },
    /// An item came by gossip.
    Gossip {
        /// Who passed it on.
        from: NodeId,
        /// The item.
        item: CheckedItem,
    },
    /// It came by gossip that something was written to a mailbox.
    Written(MailboxId),
    /// Somebody has a trust record that is too large to gossip.
    TrustHave {
        /// Who.
        from: NodeId,
        /// The record.
        id: RecordId,
    },
    /// A worker checked the first of some trust records.
    Trust {
        /// Where they came from; none: from this node's operator or store.
        from: Option<NodeId>,
        /// The first record's check.
        first: Result<CheckedTrust, Problem>,
        /// The records that are still to be checked, in order.
        rest: Vec<Vec<u8>>,
    },
    /// A commit is on disk.
    Durable(CommitId),
    /// A connection to a node of the roster stands.
    PeerUp(NodeId),
    /// The last connection to it is gone.
    PeerDown(NodeId),
    /// Time passed; comes at least every second.
    Tick,
}
