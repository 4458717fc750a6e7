//! What a region's holder grants: challenges to its providers, tickets for claims, booking locks.

use std::collections::BTreeMap;

use lapwing_protocol::bounded::Bytes;
use lapwing_protocol::client::CheckedLock;
use lapwing_protocol::cose::{Verified, parse, sign_verified};
use lapwing_protocol::hash::hash;
use lapwing_protocol::id::{ClaimId, RecordId, RegionId, RequestId};
use lapwing_protocol::item::{CheckedItem, ItemBytes, ItemKind};
use lapwing_protocol::peer::MAX_ITEMS;
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::{
    Challenge, ChallengeOrder, Claim, LockGrant, TicketGrant, claim_id, ticket_id,
};
use lapwing_protocol::seal::{Purpose, short_seal};
use rand_core::CryptoRng;

use crate::accept::How;
use crate::core::Core;
use crate::queue::Decision;
use crate::rows;
use crate::store::Reader;

/// How long a challenge may be answered: this window and the one before, in seconds.
const CHALLENGE_WINDOW: u64 = 120;
/// Most tickets of one certificate in one region that are neither spent nor lapsed, as one holder counts
/// them: some six claims of the usual size.
const MAX_UNSPENT: usize = 128;
/// Most claims of one certificate in one region within [`CLAIM_WINDOW_MS`].
const MAX_CLAIMS: usize = 30;
/// The time over which claims are counted, in milliseconds.
const CLAIM_WINDOW_MS: u64 = 60_000;
/// How long a claim's picks are remembered for a repeated call, in milliseconds.
const CLAIM_MEMORY_MS: u64 = 600_000;
/// Of how many claims the picked tickets are at hand; those of others are read from the store.
const PICKED: usize = 16;

impl<R: Reader> Core<R> {
    fn challenge_nonce(&self, region: &RegionId, certificate: &RecordId, window: u64) -> [u8; 32] {
        hash(
            "lapwing/v1/node/challenge-nonce",
            &(**self.me.challenge(), *region, *certificate, window),
        )
    }

    pub(crate) fn challenge(
        &mut self,
        order: &ChallengeOrder,
        rng: &mut dyn CryptoRng,
    ) -> Result<Challenge, Problem> {
        if !self.serves(order.region.as_bytes()) {
            return Err(Problem::NotHolder);
        }
        let now = self.time();
        let certificate = self.view.provider(&order.certificate, now)?;
        if !certificate.regions.contains(&order.region) {
            return Err(Problem::WrongRegion);
        }
        let (_, region) = self
            .view
            .region(&order.region)
            .ok_or(Problem::UnknownRegion)?;
        let nonce = self.challenge_nonce(
            &order.region,
            &order.certificate,
            now.get() / CHALLENGE_WINDOW,
        );
        let binding = lapwing_protocol::booking::challenge_binding(&order.region, &self.me.id());
        let sealed = short_seal(
            &region.sealing,
            Purpose::Challenge,
            &binding,
            region.key_version,
            &[],
            &nonce,
            rng,
        )
        .map_err(|_| Problem::Internal)?;
        Ok(Challenge {
            holder: self.me.id(),
            key_version: region.key_version,
            sealed: Bytes::try_from(sealed).map_err(|_| Problem::Internal)?,
        })
    }

    /// Grants tickets for a claim. For these requests: the grants, to leave once they are on disk. For
    /// none, those of the first of the list: their entries, which say whom to ask every holder for.
    pub(crate) fn grant(
        &mut self,
        claim: &Verified<Claim>,
        requests: Vec<RequestId>,
    ) -> Result<Vec<ItemBytes>, Problem> {
        let me = self.me.id();
        let now = self.time();
        if !self.serves(claim.region.as_bytes()) {
            return Err(Problem::NotHolder);
        }
        self.knows_grants(claim.region.as_bytes())?;
        let window = now.get() / CHALLENGE_WINDOW;
        let right = |nonce: &[u8; 32]| {
            [window, window.saturating_sub(1)]
                .iter()
                .any(|w| self.challenge_nonce(&claim.region, &claim.certificate, *w) == *nonce)
        };
        if !claim
            .answers
            .iter()
            .any(|a| a.holder == me && right(&a.nonce))
        {
            return Err(Problem::ChallengeFailed);
        }
        let id = claim_id(claim.bytes());
        self.may_claim(claim, id)?;
        let count = usize::from(claim.count).min(MAX_ITEMS);
        let unspent = self.queue.unspent(&claim.region, &claim.certificate, now);
        let mut left = MAX_UNSPENT.saturating_sub(unspent);
        let mut refused = 0;
        let (asked, picking) = match (requests.is_empty(), self.claims.get(&id)) {
            (false, _) => (requests.into_iter().take(count).collect(), false),
            (true, Some((before, _))) => (before.clone(), true),
            (true, None) => {
                let without = Some(&claim.certificate);
                (self.queue.pick(&claim.region, count, now, without), true)
            }
        };
        let params = self.view.params().ok_or(Problem::NotReady)?.clone();
        let mut out = Vec::new();
        let mut granted = Vec::new();
        let mut tickets = match self.picked.iter().position(|(c, _)| *c == id) {
            Some(at) if !picking => self.picked.remove(at).map(|(_, t)| t).unwrap_or_default(),
            _ => BTreeMap::new(),
        };
        for request in asked {
            let ticket = ticket_id(&id, &request);
            let entry = match self.queue.entry(&claim.region, &request) {
                Some(entry) => entry,
                None => continue,
            };
            let item = match self.queue.may_grant(&claim.region, &request, &ticket, now) {
                Err(_) => continue,
                Ok(Decision::Already) if picking => None,
                Ok(Decision::Already) => match tickets.remove(&request) {
                    Some(ticket) => Some(ticket),
                    None => self.own_ticket(&claim.region, &request, &ticket)?,
                },
                Ok(Decision::Granted) if left == 0 => {
                    refused += 1;
                    continue;
                }
                Ok(Decision::Granted) => {
                    left -= 1;
                    let grant = TicketGrant {
                        holder: me,
                        region: claim.region,
                        request,
                        claim: id,
                        key: claim.key,
                        inbox: entry.inbox,
                        lapses: now.plus(params.ticket_life),
                        expires: entry.expires,
                        certificate: claim.certificate,
                    };
                    let item =
                        CheckedItem::ticket(sign_verified(&grant, self.me.signing()), self.hour());
                    self.accept(&item, How::Fresh)?;
                    self.granted(&item);
                    Some(item.to_wire())
                }
            };
            let found = if picking {
                tickets.extend(item.map(|ticket| (request, ticket)));
                let entries =
                    rows::request_kind(claim.region.as_bytes(), &request, ItemKind::Entry);
                self.stored(&entries)?.into_iter().next()
            } else {
                item
            };
            if let Some(found) = found {
                out.push(found);
                granted.push(request);
            }
        }
        if out.is_empty() && refused > 0 {
            return Err(Problem::TooManyClaims);
        }
        if picking {
            self.picked.truncate(PICKED - 1);
            self.picked.push_front((id, tickets));
            self.claims
                .insert(id, (granted, self.now.plus_millis(CLAIM_MEMORY_MS)));
        } else {
            self.numbers.claims += u64::from(!granted.is_empty());
        }
        Ok(out)
    }

    /// Whether a provider may claim once more just now; one claim counts once, however often it comes.
    fn may_claim(&mut self, claim: &Verified<Claim>, id: ClaimId) -> Result<(), Problem> {
        let now = self.now;
        let of = (claim.region, claim.certificate);
        let recent = self.recent_claims.entry(of).or_default();
        recent.retain(|(at, _)| now < at.plus_millis(CLAIM_WINDOW_MS));
        if recent.iter().any(|(_, known)| *known == id) {
            return Ok(());
        }
        if recent.len() >= MAX_CLAIMS {
            return Err(Problem::TooManyClaims);
        }
        recent.push((now, id));
        Ok(())
    }

    /// Forgets claims that no longer count.
    pub(crate) fn expire_claims(&mut self) {
        let now = self.now;
        self.claims.retain(|_, (_, until)| *until > now);
        self.recent_claims.retain(|_, recent| {
            recent.retain(|(at, _)| now < at.plus_millis(CLAIM_WINDOW_MS));
            !recent.is_empty()
        });
    }

    /// This node's own grant of a ticket, as stored.
    fn own_ticket(
        &self,
        region: &RegionId,
        request: &RequestId,
        ticket: &lapwing_protocol::id::TicketId,
    ) -> Result<Option<ItemBytes>, Problem> {
        let stored = self.stored(&rows::request_kind(
            region.as_bytes(),
            request,
            ItemKind::Ticket,
        ))?;
        Ok(stored.into_iter().find(|i| {
            parse::<TicketGrant>(&i.body).is_ok_and(|g| {
                g.unverified().holder == self.me.id() && g.unverified().ticket() == *ticket
            })
        }))
    }

    /// Grants a booking lock, once for each token until it is released.
    pub(crate) fn grant_lock(&mut self, lock: &CheckedLock) -> Result<ItemBytes, Problem> {
        let me = self.me.id();
        let ticket = lock.ticket();
        let said = ticket.grant();
        let (region, request) = (said.region, said.request);
        if !self.serves(region.as_bytes()) {
            return Err(Problem::NotHolder);
        }
        self.knows_grants(region.as_bytes())?;
        // What the order brings as proof is kept like what other holders bring.
        for grant in ticket.grants() {
            let item = CheckedItem::ticket(grant.clone(), self.hour());
            self.accept(&item, How::Sync)?;
        }
        let id = lock.accept().lock();
        let now = self.time();
        let decision = self.queue.may_lock(
            &region,
            &request,
            &id,
            &ticket.id(),
            lock.accept().signer(),
            now,
        )?;
        if decision == Decision::Already {
            let stored = self.stored(&rows::request_kind(
                region.as_bytes(),
                &request,
                ItemKind::Lock,
            ))?;
            return stored
                .into_iter()
                .find(|i| {
                    parse::<LockGrant>(&i.body)
                        .is_ok_and(|g| g.unverified().holder == me && g.unverified().lock == id)
                })
                .ok_or(Problem::Internal);
        }
        let grant = LockGrant {
            holder: me,
            region,
            request,
            ticket: ticket.id(),
            lock: id,
            expires: said.expires,
        };
        let item = CheckedItem::lock(sign_verified(&grant, self.me.signing()), self.hour());
        self.accept(&item, How::Fresh)?;
        self.granted(&item);
        Ok(item.to_wire())
    }
}
