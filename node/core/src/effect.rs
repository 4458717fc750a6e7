//! What the core wants done. The shell does it, in order, and tells the outcome as an [`crate::Input`].

use std::sync::Arc;

use lapwing_protocol::client::Answer;
use lapwing_protocol::id::{MailboxId, NodeId, RecordId};
use lapwing_protocol::peer::{Gossip, PeerCall, PeerReply};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::trust::TrustView;

use crate::input::{CallTag, ClientTag, PeerTag};
use crate::store::{Batch, CommitId};

/// A gossip topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Trust records; every node.
    Trust,
    /// Items of one shard of ids.
    Shard(u16),
}

/// How bad a peer's fault is; policy reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Can happen to an honest peer; counted.
    Minor,
    /// An honest peer does not do this; throttle.
    Major,
    /// Proof of bad intent; disconnect and keep away.
    Fatal,
}

/// Something an operator must know at once.
#[derive(Clone, Debug)]
pub enum Alarm {
    /// Two records of one signer with the same sequence and other bytes; both are kept as proof.
    Equivocation {
        /// The record that is in force.
        ours: RecordId,
        /// The other.
        theirs: RecordId,
    },
    /// A node admitted one token twice; both admissions are kept as proof, and nothing more that it
    /// admits is taken.
    DoubleAdmission {
        /// The node.
        issuer: NodeId,
        /// One admission.
        first: RecordId,
        /// The other.
        second: RecordId,
    },
    /// Stored bytes do not decode; the key's first byte says what they were.
    DamagedRow {
        /// The key space.
        space: u8,
    },
    /// Others hold admissions of this node that it does not know: its store is older than it was.
    LostContinuity,
}

impl Alarm {
    /// What it is about, in a fixed word: for counters.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Alarm::Equivocation { .. } => "equivocation",
            Alarm::DoubleAdmission { .. } => "double_admission",
            Alarm::DamagedRow { .. } => "damaged_row",
            Alarm::LostContinuity => "lost_continuity",
        }
    }
}

/// One thing to do.
#[derive(Debug)]
pub enum Effect {
    /// Write to disk, then report [`crate::Input::Durable`].
    Commit {
        /// Reported back; grows by one with every commit.
        id: CommitId,
        /// What to write.
        batch: Batch,
    },
    /// Answer a client.
    Answer {
        /// The question.
        tag: ClientTag,
        /// The answer.
        result: Result<Answer, Problem>,
    },
    /// Reply to a peer.
    Reply {
        /// The call.
        tag: PeerTag,
        /// The reply.
        reply: PeerReply,
    },
    /// Call a peer, connecting first where needed; report [`crate::Input::Reply`] exactly once.
    Call {
        /// Reported back.
        tag: CallTag,
        /// Whom.
        to: NodeId,
        /// What.
        call: PeerCall,
        /// Give up after so many milliseconds.
        timeout_ms: u32,
    },
    /// Gossip.
    Publish {
        /// Where.
        topic: Topic,
        /// What.
        message: Gossip,
    },
    /// Let a worker check the first of these records against the current view; report
    /// [`crate::Input::Trust`].
    CheckTrust {
        /// Where they came from.
        from: Option<NodeId>,
        /// The records.
        records: Vec<Vec<u8>>,
    },
    /// From now on workers check against this view.
    View(Arc<TrustView>),
    /// Something new is in this mailbox: wake who waits for it.
    Changed(MailboxId),
    /// A peer misbehaved.
    Fault {
        /// Which.
        peer: NodeId,
        /// How bad.
        severity: Severity,
        /// A fixed text for the log.
        what: &'static str,
    },
    /// Tell the operator.
    Alarm(Alarm),
}
