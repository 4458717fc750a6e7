//! The queue of the federation on paper: admissions, claims, locks.

use std::collections::BTreeSet;

use super::{Paper, Ticket, Waiting};
use crate::booking::challenge_binding;
use crate::bounded::Bytes;
use crate::client::{Answer, Challenges, Claims, Locks};
use crate::cose::{Verified, parse, sign};
use crate::id::{LockId, NodeId, RegionId, RequestId, TicketId};
use crate::item::{CheckedRequest, request_id};
use crate::problem::Problem;
use crate::queue::{
    Admission, Challenge, Claim, Claimed, LockGrant, QueueEntry, TicketGrant, claim_id, ticket_id,
};
use crate::seal::{Purpose, short_seal};
use crate::testing::list;
use rand_core::Rng;

impl Paper {
    pub(super) fn admit(&mut self, request: &CheckedRequest) -> Result<Vec<u8>, Problem> {
        let (token, id) = (request.token(), request_id(request.request()));
        let key = *token.token_id().as_bytes();
        if let Some(known) = self.admitted.get(&key) {
            let same = parse::<Admission>(known)?.unverified().request == id;
            return if same {
                Ok(known.clone())
            } else {
                Err(Problem::TokenUsed)
            };
        }
        let issuer = self.fixture.node(&token.issuer);
        let params = &self.fixture.params;
        let admission = Admission {
            issuer: token.issuer,
            token: token.token_id(),
            request: id,
            region: request.request().region,
            inbox: request.request().inbox.id(),
            serial: self.admitted.len() as u64,
            expires: token.expires(params.epoch, params.token_life),
            epoch: token.epoch,
            token_serial: token.serial,
        };
        let bytes = sign(&admission, &issuer.signing);
        self.admitted.insert(key, bytes.clone());
        self.inboxes.insert(admission.inbox);
        self.queue.push(Waiting {
            region: admission.region,
            request: id,
            order: (token.epoch, *token.priority.as_bytes()),
            entry: QueueEntry {
                admission: Bytes::try_from(bytes.clone()).expect("short"),
                request: Bytes::try_from(request.request().bytes().to_vec()).expect("short"),
            },
            inbox: admission.inbox,
            expires: admission.expires,
        });
        self.queue.sort_by_key(|w| w.order);
        Ok(bytes)
    }

    pub(super) fn challenge(&mut self, region: &RegionId) -> Result<Answer, Problem> {
        let (_, published) = self.view.region(region).ok_or(Problem::UnknownRegion)?;
        let (key, key_version) = (published.sealing, published.key_version);
        let holders: Vec<NodeId> = self.fixture.nodes().take(2).map(|n| n.id).collect();
        let challenges = holders.into_iter().map(|holder| {
            let mut nonce = [0; 32];
            self.rng.fill_bytes(&mut nonce);
            self.nonces.insert(holder, nonce);
            let binding = challenge_binding(region, &holder);
            let sealed = short_seal(
                &key,
                Purpose::Challenge,
                &binding,
                key_version,
                &[],
                &nonce,
                &mut self.rng,
            )
            .expect("short");
            Challenge {
                holder,
                key_version,
                sealed: Bytes::try_from(sealed).expect("short"),
            }
        });
        Ok(Answer::Challenges(Challenges {
            challenges: list(challenges.collect()),
        }))
    }

    pub(super) fn claim(&mut self, claim: &Verified<Claim>) -> Result<Answer, Problem> {
        if let Some(known) = self.claims.get(claim.id().as_bytes()) {
            return Ok(Answer::Claims(known.clone()));
        }
        if claim
            .answers
            .iter()
            .any(|a| self.nonces.get(&a.holder) != Some(&a.nonce))
            || claim.answers.len() < 2
        {
            return Err(Problem::ChallengeFailed);
        }
        // Who has a ticket of this provider is not listed for it.
        let tickets = self.tickets.values();
        let mine: BTreeSet<RequestId> = tickets
            .filter(|t| t.certificate == claim.certificate && self.now < t.until)
            .map(|t| t.request)
            .collect();
        let listed = self.queue.iter().filter(|w| {
            w.region == claim.region
                && !self.locks.contains_key(&w.request)
                && !mine.contains(&w.request)
        });
        let lapses = self.now.plus(self.fixture.params.ticket_life);
        let claimed = listed.take(claim.count.into()).map(|w| {
            let ticket = Ticket {
                request: w.request,
                certificate: claim.certificate,
                until: lapses,
            };
            self.tickets
                .insert(ticket_id(&claim_id(claim.bytes()), &w.request), ticket);
            let grants = self.fixture.nodes().take(2).map(|n| {
                let grant = TicketGrant {
                    holder: n.id,
                    region: w.region,
                    request: w.request,
                    claim: claim_id(claim.bytes()),
                    key: claim.key,
                    inbox: w.inbox,
                    lapses,
                    expires: w.expires,
                    certificate: claim.certificate,
                };
                Bytes::try_from(sign(&grant, &n.signing)).expect("short")
            });
            Claimed {
                entry: w.entry.clone(),
                grants: list(grants.collect()),
            }
        });
        let mut claimed: Vec<Claimed> = claimed.collect();
        if self.list_twice {
            claimed.extend(claimed.clone());
        }
        let claims = Claims {
            claimed: list(claimed),
        };
        self.claims.insert(*claim.id().as_bytes(), claims.clone());
        Ok(Answer::Claims(claims))
    }

    pub(super) fn lock(
        &mut self,
        lock: LockId,
        request: RequestId,
        ticket: TicketId,
    ) -> Result<Answer, Problem> {
        if self.released.contains(&lock)
            || self.locks.get(&request).is_some_and(|held| *held != lock)
        {
            return Err(Problem::Locked);
        }
        self.locks.insert(request, lock);
        let waiting = self
            .queue
            .iter()
            .find(|w| w.request == request)
            .ok_or(Problem::UnknownRequest)?;
        let grants = self.fixture.nodes().take(2).map(|n| {
            let grant = LockGrant {
                holder: n.id,
                region: waiting.region,
                request,
                ticket,
                lock,
                expires: waiting.expires,
            };
            Bytes::try_from(sign(&grant, &n.signing)).expect("short")
        });
        Ok(Answer::Locks(Locks {
            grants: list(grants.collect()),
        }))
    }

    /// Whether the booking lock of any request is held.
    pub(in crate::role) fn locked(&self) -> usize {
        self.locks.len()
    }

    /// Holds the lock of every request for somebody else.
    pub(in crate::role) fn lock_all(&mut self) {
        let other = LockId::from_bytes([9; 32]);
        self.locks = self.queue.iter().map(|w| (w.request, other)).collect();
    }
}
