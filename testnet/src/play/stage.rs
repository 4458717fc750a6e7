//! What all people of a run share.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lapwing_client::driver::{Acknowledged, Options, Place, Remote, places_from};
use lapwing_client::file::StateFile;
use lapwing_client::http::Client;
use lapwing_protocol::id::NodeId;
use lapwing_protocol::role::{Provider, Role};
use lapwing_protocol::trust::TrustView;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::land::Land;
use crate::bookings::Bookings;
use crate::clients::{FEED, Names, numbered, quick_pace};
use crate::faults::SharedNet;
use crate::federation::Founders;
use crate::ledger::Ledger;
use crate::report::Say;
use crate::scenario::Scenario;
use crate::seeds::Seeds;
use crate::tally::Tally;

/// What all people of a run share.
#[derive(Debug)]
pub(super) struct Stage {
    /// What is played.
    pub(super) scenario: Arc<Scenario>,
    /// Who works where.
    pub(super) land: Land,
    /// Where randomness comes from.
    pub(super) seeds: Seeds,
    /// The nodes' processes.
    pub(super) net: SharedNet,
    /// The nodes, as clients reach them.
    pub(super) places: Vec<Place>,
    /// What they are called.
    pub(super) names: Names,
    /// The founders with their keys.
    pub(super) founders: Founders,
    /// Where state is kept.
    pub(super) dir: PathBuf,
    /// Where lines go.
    pub(super) say: Arc<Say>,
    /// What has happened so far.
    pub(super) tally: Arc<Tally>,
    /// Every booking as it comes and goes.
    pub(super) bookings: Bookings,
    /// What nodes acknowledged.
    pub(super) ledger: Arc<Ledger>,
    /// Since when which node knows of the revocation.
    pub(super) reached: Reached,
    /// The name of the practice that is revoked.
    pub(super) revoked_practice: String,
    /// Knows the pinned federation alone.
    pub(super) view: TrustView,
    /// The providers, for who acts on them meanwhile.
    pub(super) practices: Mutex<BTreeMap<usize, Remote<Provider>>>,
    /// States of roles from before they wiped keys, to read back with.
    pub(super) kept: Mutex<Kept>,
    /// Which client is next.
    pub(super) clients: AtomicU16,
}

impl Stage {
    /// A client from a network of its own.
    #[must_use]
    pub(super) fn client(&self) -> Client {
        numbered(self.clients.fetch_add(1, Ordering::Relaxed))
    }

    /// What a role runs with whose own node is the `n`th.
    #[must_use]
    pub(super) fn options(
        &self,
        role: &str,
        number: usize,
        n: usize,
        ledger: Arc<dyn Acknowledged>,
    ) -> Options {
        let file = self.dir.join(format!("{role}-{}.state", number + 1));
        Options {
            client: self.client(),
            places: places_from(&self.places, n),
            pace: quick_pace(),
            rng: self.seeds.stream(role, number as u64),
            feed: FEED,
            file: StateFile::unsynced(file),
            trust: None,
            ledger,
        }
    }

    /// Keeps the states of a group's providers, and of one of their users: what they do next may end a
    /// deal, whose keys are wiped then, and its letters are to be read back all the same.
    pub(super) async fn keep(&self, group: usize, user: Zeroizing<Vec<u8>>) {
        let remotes: Vec<Remote<Provider>> = {
            let all = self.practices.lock();
            let all = all.unwrap_or_else(PoisonError::into_inner);
            let groups = self.scenario.providers.groups.max(1);
            let mine = all.iter().filter(|(n, _)| **n % groups == group);
            mine.map(|(_, remote)| remote.clone()).collect()
        };
        let mut states = Vec::new();
        for remote in remotes {
            // One that has ended wipes nothing any more.
            states.extend(remote.with(|p, _, _| p.save()).await);
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.providers.append(&mut states);
        kept.users.push(user);
    }

    /// What a node is called.
    #[must_use]
    pub(super) fn name(&self, id: &NodeId) -> &str {
        self.names.get(id).map_or("", String::as_str)
    }

    /// What the `n`th node is called.
    #[must_use]
    pub(super) fn name_at(&self, n: usize) -> &str {
        self.places.get(n).map_or("", |p| self.name(&p.id))
    }

    /// The `n`th node, counted round.
    #[must_use]
    pub(super) fn place(&self, n: usize) -> Option<&Place> {
        self.places.get(n % self.places.len().max(1))
    }

    /// The node of this id.
    #[must_use]
    pub(super) fn place_of(&self, id: &NodeId) -> Option<&Place> {
        self.places.iter().find(|p| p.id == *id)
    }
}

/// States of roles from before they wiped keys.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) providers: Vec<Zeroizing<Vec<u8>>>,
    pub(super) users: Vec<Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept(redacted)")
    }
}

/// Since when which node knows of the revocation.
#[derive(Debug, Default)]
pub(super) struct Reached(Mutex<BTreeMap<NodeId, Instant>>);

impl Reached {
    /// A node knows of it, since now or before.
    pub(super) fn mark(&self, node: NodeId) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(node).or_insert_with(Instant::now);
    }

    /// Whether a node knew of it at that time.
    #[must_use]
    pub(super) fn before(&self, node: &NodeId, at: Instant) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(node).is_some_and(|since| *since <= at)
    }
}
