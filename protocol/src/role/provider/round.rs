//! Rounds: challenge, claim, and which slots go to which request.

use std::collections::{BTreeMap, BTreeSet};

use rand_core::CryptoRng;

use super::held::Held;
use super::kept_deal::Deal;
use super::plan::Candidate;
use super::state::{Skipped, SlotId};
use super::{Provider, ProviderEvent};
use crate::booking::{Wish, challenge_binding};
use crate::bounded::List;
use crate::client::{Call, CallKind, Challenges, Claims};
use crate::codec::{from_bytes, to_bytes};
use crate::cose::sign;
use crate::id::{RegionId, RequestId};
use crate::item::{self, Item, ItemKind, check_ticket, request_id};
use crate::problem::Problem;
use crate::queue::{ChallengeAnswer, ChallengeOrder, Claim, Claimed, claim_id};
use crate::role::kept::Seed;
use crate::role::talk::{stale, transient};
use crate::seal::{Purpose, capacity, open, short_open};
use crate::size::SizeClass;
use crate::time::{Seconds, Time};

/// How long a claim is tried before a new round begins, in seconds: its challenge is stale then.
const CLAIM_LIFE: Seconds = Seconds::new(60);
/// How long a request that no slot fits is passed over, in seconds.
const SKIP: Seconds = Seconds::hours(6);

/// A region's round. Not stored: tickets that are lost with it lapse by themselves.
#[derive(Default)]
pub(super) struct Round {
    /// When the next one may begin.
    pub(super) due: Time,
    /// It was asked for, though rounds do not begin by themselves.
    pub(super) forced: bool,
    /// A challenge was asked for and not yet answered.
    pub(super) asked: bool,
    pub(super) claim: Option<MadeClaim>,
}

pub(super) struct MadeClaim {
    bytes: Vec<u8>,
    key: Seed,
    at: Time,
}

impl Provider {
    /// Begins a round of claims in a region at the next poll, whenever the last one was.
    pub fn offer_round(&mut self, region: RegionId) {
        let round = self.rounds.entry(region).or_default();
        round.due = Time::ZERO;
        round.forced = true;
    }

    /// The one region whose round is under way or next, with the time for it: one at a time, so that
    /// two rounds never count on the same slots.
    pub(super) fn round_task(&self, now: Time) -> Option<(RegionId, bool, Time)> {
        if let Some((region, round)) = self
            .rounds
            .iter()
            .find(|(_, r)| r.asked || r.claim.is_some())
        {
            return Some((*region, round.claim.is_some(), Time::ZERO));
        }
        self.in_force(now).ok()?;
        let certificate = self.state.certificate.as_ref()?;
        if self.room(now) == 0 {
            return None;
        }
        let due = |region: &RegionId| self.rounds.get(region).map_or(Time::ZERO, |r| r.due);
        let usable = certificate
            .regions
            .iter()
            .filter(|r| self.state.secrets.contains_key(r));
        let next = usable
            .filter(|r| self.automatic || self.rounds.get(r).is_some_and(|r| r.forced))
            .min_by_key(|r| due(r))?;
        Some((*next, false, due(next)))
    }

    pub(super) fn challenge_call(&mut self, region: RegionId) -> Option<Call> {
        let certificate = self.state.certificate.as_ref()?.id;
        self.rounds.entry(region).or_default().asked = true;
        Some(Call::new(
            CallKind::Challenge,
            to_bytes(&ChallengeOrder {
                region,
                certificate,
            }),
        ))
    }

    /// Answers the challenges that can be opened, and makes the claim.
    pub(super) fn take_challenges<R: CryptoRng + ?Sized>(
        &mut self,
        region: RegionId,
        challenges: &Challenges,
        now: Time,
        rng: &mut R,
    ) {
        let secrets = self.state.secrets.get(&region);
        let answers: Vec<_> = challenges
            .challenges
            .iter()
            .filter_map(|c| {
                let secret = secrets?.get(&c.key_version)?;
                let binding = challenge_binding(&region, &c.holder);
                let nonce = short_open(
                    secret,
                    Purpose::Challenge,
                    &binding,
                    c.key_version,
                    &[],
                    &c.sealed,
                )
                .ok()?;
                Some(ChallengeAnswer {
                    holder: c.holder,
                    nonce: nonce.as_slice().try_into().ok()?,
                })
            })
            .collect();
        let claim = self.make_claim(region, answers, now, rng);
        if claim.is_none() {
            // No key for it (a newer one is on its way), or nothing left to offer.
            self.events.push(ProviderEvent::NotClaimed(region));
        }
        self.end_round(region, now);
        self.rounds.entry(region).or_default().claim = claim;
    }

    fn make_claim<R: CryptoRng + ?Sized>(
        &self,
        region: RegionId,
        answers: Vec<ChallengeAnswer>,
        now: Time,
        rng: &mut R,
    ) -> Option<MadeClaim> {
        if answers.is_empty() {
            return None;
        }
        let most = usize::from(self.view.params()?.claim_size);
        // Those passed over are listed again when their tickets lapse. Who has an offer from here is not
        // listed for this certificate.
        let passed = self
            .state
            .skipped
            .values()
            .filter(|s| s.region == region)
            .count();
        let count = self.room(now);
        if count == 0 {
            return None;
        }
        let key = Seed::generate(rng);
        let claim = Claim {
            certificate: self.state.certificate.as_ref()?.id,
            region,
            count: u8::try_from((count + passed).min(most)).ok()?,
            key: key.verifying_key(),
            answers: List::try_from(answers).ok()?,
            time: now,
        };
        Some(MadeClaim {
            bytes: sign(&claim, &self.state.signing),
            key,
            at: now,
        })
    }

    pub(super) fn claim_call(&mut self, region: RegionId, now: Time) -> Option<Call> {
        let round = self.rounds.get_mut(&region)?;
        if round
            .claim
            .as_ref()
            .is_some_and(|c| now > c.at.plus(CLAIM_LIFE))
        {
            round.claim = None;
        }
        round
            .claim
            .as_ref()
            // A round is not stored: what is lost with it lapses.
            .map(|c| Call::new(CallKind::Claim, c.bytes.clone()).ahead())
    }

    /// A round is over; the next one comes after a pause.
    pub(super) fn end_round(&mut self, region: RegionId, now: Time) {
        let pause = self.pace.round;
        let round = self.rounds.entry(region).or_default();
        *round = Round {
            due: now.plus(pause),
            ..Round::default()
        };
    }

    pub(super) fn round_refused(&mut self, region: RegionId, problem: Problem, now: Time) {
        self.end_round(region, now);
        if stale(problem) {
            self.events.push(ProviderEvent::ViewStale(problem));
        }
        if !transient(problem) && problem != Problem::ChallengeFailed {
            self.events.push(ProviderEvent::Refused(problem));
        }
    }

    /// Takes the claimed requests: those that check become deals, as far as slots fit.
    pub(super) fn take_claims<R: CryptoRng + ?Sized>(
        &mut self,
        region: RegionId,
        claims: &Claims,
        now: Time,
        rng: &mut R,
    ) {
        let Some(claim) = self.rounds.get_mut(&region).and_then(|r| r.claim.take()) else {
            return;
        };
        self.end_round(region, now);
        if self.in_force(now).is_err() {
            return;
        }
        // Who waits for a slot already comes first.
        self.serve_owed(now, rng);
        self.serve_held(now, rng);
        let live = self.state.deals.values().filter(|d| self.live(d, now));
        let mut known: BTreeSet<RequestId> = live.map(|d| d.request).collect();
        known.extend(self.state.skipped.keys().copied());
        let held = self.held.iter().map(|h| &h.candidate);
        known.extend(held.map(|c| request_id(c.entry.request())));
        let mut candidates = Vec::new();
        for claimed in &claims.claimed {
            match self.check_claimed(region, &claim, claimed, &known, now) {
                // A node may list a request twice: it gets one offer.
                Ok(Some(found)) => {
                    known.insert(request_id(found.entry.request()));
                    candidates.push(found);
                }
                Ok(None) => {}
                Err(problem) => self.events.push(ProviderEvent::BadEntry(problem)),
            }
        }
        let plan = self.plan(&candidates, now);
        let mut made = 0u32;
        for (candidate, slots) in candidates.into_iter().zip(plan) {
            if slots.is_empty() {
                if !self.fits_any(&candidate.wish, now) {
                    let until = now.plus(SKIP).min(candidate.ticket.grant().expires);
                    self.state.skipped.insert(
                        request_id(candidate.entry.request()),
                        Skipped { region, until },
                    );
                } else {
                    self.held.push(Held {
                        region,
                        key: claim.key.clone(),
                        candidate,
                    });
                }
                continue;
            }
            made += 1;
            let (id, deal) = candidate.into_deal(region, &claim.key, slots, now, rng);
            self.state.deals.insert(id, deal);
        }
        let listed = u32::try_from(claims.claimed.len()).unwrap_or(u32::MAX);
        self.events.push(ProviderEvent::Claimed {
            region,
            listed,
            offering: made,
        });
    }

    /// Whether something may still come of a deal by itself, so that its request needs no other ticket. An
    /// open offer whose slots all went to others brings nothing.
    fn live(&self, deal: &Deal, now: Time) -> bool {
        let offerable = |id: &SlotId| {
            let slot = self.state.slots.get(id);
            slot.is_some_and(|s| s.offerable(now))
        };
        let expects = || {
            deal.booking.is_some() || deal.owed.is_some() || deal.held(now).iter().any(offerable)
        };
        !deal.sent || (deal.channel.opened && expects())
    }

    /// Checks what a node says was claimed. Nothing for a request of `known`.
    fn check_claimed(
        &self,
        region: RegionId,
        claim: &MadeClaim,
        claimed: &Claimed,
        known: &BTreeSet<RequestId>,
        now: Time,
    ) -> Result<Option<Candidate>, Problem> {
        let made = item::make(
            ItemKind::Entry,
            &to_bytes(&claimed.entry),
            now.hour(),
            &self.view,
        )?;
        let Item::Entry(entry) = made.item() else {
            return Err(Problem::Malformed);
        };
        let ticket = check_ticket(claimed.grants.iter().map(|g| &**g), &self.view)?;
        let (request, grant) = (entry.request(), ticket.grant());
        let fits = request.region == region
            && grant.region == region
            && grant.request == request_id(request)
            && grant.key == claim.key.verifying_key()
            && grant.claim == claim_id(&claim.bytes)
            && grant.inbox == request.inbox.id()
            && grant.expires == entry.admission().expires
            && grant.expires > now;
        if !fits {
            return Err(Problem::BadTicket);
        }
        if known.contains(&request_id(request)) {
            return Ok(None);
        }
        let secret = self
            .state
            .secrets
            .get(&region)
            .and_then(|s| s.get(&request.key_version))
            .ok_or(Problem::WrongKeyVersion)?;
        let version = request.key_version;
        let plain = open(
            secret,
            Purpose::Request,
            region.as_bytes(),
            version,
            &[],
            &request.envelope,
        )
        .map_err(|_| Problem::Malformed)?;
        let wish: Wish = from_bytes(&plain, capacity(SizeClass::Small))?;
        Ok(Some(Candidate {
            entry: entry.clone(),
            ticket,
            wish,
        }))
    }

    pub(super) fn prune_skipped(&mut self, now: Time) {
        self.state.skipped.retain(|_, s| now <= s.until);
    }
}

/// The rounds of all regions.
pub(super) type Rounds = BTreeMap<RegionId, Round>;
