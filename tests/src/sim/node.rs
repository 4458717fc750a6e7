//! One simulated node: a store that survives crashes, and a core that does not.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use lapwing_core::store::{Batch, CommitId};
use lapwing_core::{CallTag, Core, Identity, PeerTag};
use lapwing_protocol::id::NodeId;
use lapwing_protocol::key::SigningKey;
use lapwing_protocol::peer::PeerCall;
use lapwing_protocol::time::Millis;
use lapwing_protocol::trust::TrustView;
use lapwing_store::MemoryStore;

/// A call of this node's that has not come back.
pub(super) struct Out {
    pub(super) to: usize,
    pub(super) call: PeerCall,
}

/// A call of another node's that this node has not answered.
pub(super) struct Inbound {
    pub(super) from: usize,
    pub(super) life: u64,
    pub(super) tag: CallTag,
}

/// What is gone when the node crashes.
pub(super) struct Live {
    pub(super) core: Core<Arc<MemoryStore>>,
    pub(super) view: Arc<TrustView>,
    pub(super) pending: VecDeque<(CommitId, Batch)>,
    /// When the last pending commit will be on disk.
    pub(super) disk_at: Millis,
    pub(super) out: BTreeMap<CallTag, Out>,
    pub(super) inbound: BTreeMap<PeerTag, Inbound>,
    pub(super) next_peer_tag: u64,
}

pub(super) struct SimNode {
    pub(super) id: NodeId,
    pub(super) signing: SigningKey,
    pub(super) store: Arc<MemoryStore>,
    pub(super) live: Option<Live>,
    /// Counts starts, so that nothing reaches a core that was meant for the one before.
    pub(super) life: u64,
    /// Its clock less the world's, in milliseconds.
    pub(super) skew: i64,
}

impl SimNode {
    pub(super) fn identity(&self) -> Identity {
        Identity::new(self.id, self.signing.clone(), self.id.as_bytes())
    }
}
