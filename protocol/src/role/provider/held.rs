//! Requests that were claimed when every slot was in offers to others: they are offered to first, by the
//! tickets that are there. To claim them again would use up the tickets that a request may have, and keep
//! it from other providers until those lapse.

use rand_core::CryptoRng;

use super::Provider;
use super::plan::Candidate;
use crate::id::RegionId;
use crate::role::kept::Seed;
use crate::time::Time;

/// A claimed request without a slot. Not stored: after a restart its ticket lapses.
pub(super) struct Held {
    pub(super) region: RegionId,
    /// Of the claim.
    pub(super) key: Seed,
    pub(super) candidate: Candidate,
}

impl Provider {
    /// Offers what has become free to those who were claimed before, in the order of the queue.
    pub(super) fn serve_held<R: CryptoRng + ?Sized>(&mut self, now: Time, rng: &mut R) {
        self.held.retain(|h| now < h.candidate.lapses());
        if self.held.is_empty() || self.in_force(now).is_err() || self.room(now) == 0 {
            return;
        }
        let mut held = std::mem::take(&mut self.held);
        held.sort_by_key(|h| h.candidate.rank());
        let claims = held.into_iter().map(|h| ((h.region, h.key), h.candidate));
        let (claims, candidates): (Vec<_>, Vec<_>) = claims.unzip();
        let plan = self.plan(&candidates, now);
        for (((region, key), candidate), slots) in claims.into_iter().zip(candidates).zip(plan) {
            if slots.is_empty() {
                self.held.push(Held {
                    region,
                    key,
                    candidate,
                });
                continue;
            }
            let (id, deal) = candidate.into_deal(region, &key, slots, now, rng);
            self.state.deals.insert(id, deal);
        }
    }
}
