//! A user's role driven by hand, call by call: for those who do what no app does, and for who looks
//! through another node at what an app holds.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use lapwing_client::driver::{Acknowledged, Place, feed, make, now};
use lapwing_client::http::Client;
use lapwing_protocol::client::{Call, CallKind};
use lapwing_protocol::id::RegionId;
use lapwing_protocol::role::user::{UserStatus, Wishes};
use lapwing_protocol::role::{CallId, Role, User};
use rand_chacha::ChaCha20Rng;
use tokio::time::{Instant, sleep};

use super::wait::PATIENCE;

/// How long a look for what must be there may take.
const LOOK_UP: Duration = Duration::from_secs(60);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// A user's role, and what it calls with.
#[derive(Debug)]
pub(super) struct ByHand {
    /// The role.
    pub(super) user: User,
    /// Its client.
    pub(super) client: Client,
    /// Its randomness.
    pub(super) rng: ChaCha20Rng,
    /// Is told what nodes acknowledge.
    pub(super) ledger: Arc<dyn Acknowledged>,
}

impl ByHand {
    /// Learns what a node knows of the chain of trust, until it knows the region.
    ///
    /// # Errors
    /// When the node does not tell in time.
    pub(super) async fn learn(
        &mut self,
        place: &Place,
        region: Option<RegionId>,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            if let Ok(Some((records, _))) = feed::all(&self.client, &place.api, None).await {
                feed::learn(self.user.view_mut(), &records, now());
                if region.is_none_or(|r| self.user.view().region(&r).is_some()) {
                    return Ok(());
                }
            }
            if begun.elapsed() > PATIENCE {
                bail!("no node tells of the region in time");
            }
            sleep(PAUSE).await;
        }
    }

    /// Draws a token at a node, and stops before the request goes out.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub(super) async fn draw(
        &mut self,
        place: &Place,
        region: RegionId,
        wishes: Wishes,
    ) -> anyhow::Result<()> {
        self.user.set_node(place.id);
        self.learn(place, Some(region)).await?;
        self.user.request(region, wishes, &mut self.rng)?;
        let begun = Instant::now();
        while self.user.status() == UserStatus::Drawing {
            for (id, call) in self.user.poll(now(), &mut self.rng) {
                self.make(place, id, &call).await;
            }
            if begun.elapsed() > PATIENCE {
                bail!("no token in time");
            }
            // The work is done in pieces, and a refusal wants a pause.
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    async fn make(&mut self, place: &Place, id: CallId, call: &Call) {
        let outcome = make(&self.client, &place.api, call, &*self.ledger).await;
        let _events = self.user.answer(id, outcome, now(), &mut self.rng);
    }

    /// The call that places the request, at this node.
    ///
    /// # Errors
    /// When the role has none to make.
    pub(super) fn placing(&mut self, place: &Place) -> anyhow::Result<(CallId, Call)> {
        self.user.set_node(place.id);
        let calls = self.user.poll(now(), &mut self.rng);
        calls
            .into_iter()
            .find(|(_, call)| call.kind() == CallKind::Request)
            .context("there is no request to place")
    }

    /// Reads through a node, and writes nothing, until there is nothing new or the role says `enough`.
    pub(super) async fn read(&mut self, place: &Place, enough: impl Fn(&User) -> bool) -> bool {
        self.user.set_node(place.id);
        self.user.refresh_marks();
        let begun = Instant::now();
        while begun.elapsed() < LOOK_UP {
            let calls = self.user.poll(now(), &mut self.rng);
            for (id, call) in calls {
                if matches!(call.kind(), CallKind::Read | CallKind::ReadMarks) {
                    self.make(place, id, &call).await;
                }
            }
            if enough(&self.user) {
                return true;
            }
            sleep(PAUSE).await;
        }
        false
    }
}
