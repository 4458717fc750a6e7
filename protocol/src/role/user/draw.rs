//! From a person's data to an admitted request: proof of work, token, sealed wish.

use rand_core::CryptoRng;

use super::state::{Admitted, Asked, Draw, MAX_REDRAWS, Placed, Redraw, Relisting, Token, Wishes};
use super::{Task, User, UserEvent};
use crate::booking::Wish;
use crate::bounded::Bytes;
use crate::client::{Call, CallKind};
use crate::codec::to_bytes;
use crate::cose::{parse, sign};
use crate::hash::record_hash;
use crate::id::{NodeId, RegionId, RequestId};
use crate::mailbox::{Life, SlotClass, Writers};
use crate::problem::Problem;
use crate::queue::{Admission, Request};
use crate::role::kept::{Many, Secret, Seed, Table};
use crate::role::talk::{Seen, mailbox, nonce, stale, transient};
use crate::seal::{Purpose, seal};
use crate::size::SizeClass;
use crate::time::Time;
use crate::token::{PriorityToken, TokenOrder, TokenWork, epoch_at, token_hash};

/// How often a request is tried while the token's issuer is away, before the person is told.
const ISSUER_TRIES: u32 = 4;

impl Draw {
    pub(super) fn new<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Draw {
            nonce: nonce(rng),
            user: Secret::generate(rng),
            key: Seed::generate(rng),
            issuer: NodeId::from_bytes([0; 32]),
            epoch: 0,
            tried: 0,
            proof: None,
        }
    }

    fn is_for(&self, work: &TokenWork) -> bool {
        self.issuer == work.issuer && self.epoch == work.epoch
    }
}

impl Asked {
    pub(super) fn new<R: CryptoRng + ?Sized>(
        region: RegionId,
        wishes: Wishes,
        rng: &mut R,
    ) -> Self {
        Asked {
            region,
            wishes,
            draw: Draw::new(rng),
            drawn: 0,
            redrawn: Many::default(),
            away: None,
            token: None,
            request: None,
            admitted: None,
            seen: Seen::new(),
            offers: Table::default(),
            channels: Table::default(),
            spoiled: Many::default(),
            attempts: 0,
            booking: None,
            locks: Table::default(),
            releases: Table::default(),
            relist: Relisting::default(),
        }
    }

    /// Starts over with a new draw; remembers how often and why.
    fn redraw<R: CryptoRng + ?Sized>(&mut self, why: Option<Problem>, at: Time, rng: &mut R) {
        let mut again = Asked::new(self.region, self.wishes.clone(), rng);
        again.drawn = self.drawn;
        again.redrawn = std::mem::take(&mut self.redrawn);
        if again.redrawn.len() >= MAX_REDRAWS {
            again.redrawn.remove(0);
        }
        again.redrawn.push(Redraw { at, why });
        *self = again;
    }
}

impl User {
    /// Draws a new token, with a new nonce and new keys: for a request whose issuer is away for long.
    /// Does nothing once the request is admitted.
    pub fn draw_anew<R: CryptoRng + ?Sized>(&mut self, rng: &mut R) {
        self.redraw(None, rng);
    }

    fn redraw<R: CryptoRng + ?Sized>(&mut self, why: Option<Problem>, rng: &mut R) {
        let at = self.now;
        if let Some(asked) = self.state.asked.as_mut().filter(|a| a.admitted.is_none()) {
            asked.redraw(why, at, rng);
            self.desk.done(&Task::Token);
            self.desk.done(&Task::Request);
            self.events.extend(why.map(UserEvent::Redrawn));
        }
    }

    /// When patience with an issuer that is away ends. While that is the node talked to, there is no
    /// better one to draw at; and a request that is on its way may be admitted yet.
    pub(super) fn patience_ends(&self) -> Option<Time> {
        if self.desk.flying(&Task::Request) {
            return None;
        }
        let asked = self.state.asked.as_ref().filter(|a| a.admitted.is_none())?;
        let elsewhere = asked.token.as_ref()?.issuer != self.state.node;
        let end = asked.away?.plus(self.state.patience?);
        elsewhere.then_some(end)
    }

    /// Draws anew where the issuer was away for too long.
    pub(super) fn lose_patience<R: CryptoRng + ?Sized>(&mut self, now: Time, rng: &mut R) {
        if self.patience_ends().is_some_and(|end| end <= now) {
            self.redraw(Some(Problem::IssuerAway), rng);
        }
    }

    /// What the work must be done for at the present node and time.
    fn token_work(&self) -> Option<TokenWork> {
        Some(TokenWork {
            federation: self.view.federation_id(),
            issuer: self.state.node,
            epoch: epoch_at(self.now, self.view.params()?.epoch),
        })
    }

    /// Tries some proofs of work, if one is wanted. What was done for another node or another lottery
    /// epoch buys nothing here.
    pub(super) fn work(&mut self) {
        if !self.working() {
            return;
        }
        let (Some(work), Some(bits), Some(asked)) = (
            self.token_work(),
            self.view.params().map(|p| p.token_work),
            self.state.asked.as_mut(),
        ) else {
            return;
        };
        let draw = &mut asked.draw;
        if !draw.is_for(&work) {
            (draw.issuer, draw.epoch) = (work.issuer, work.epoch);
            (draw.tried, draw.proof) = (0, None);
        }
        let h = token_hash(&self.state.data, &draw.nonce, &draw.user.public());
        draw.proof = work.search(&h, bits, draw.tried, self.pace.work);
        draw.tried = draw.tried.saturating_add(self.pace.work);
        self.events.push(UserEvent::Working { tried: draw.tried });
    }

    /// Whether [`User::work`] has something to do.
    pub(super) fn working(&self) -> bool {
        match (self.token_work(), &self.state.asked) {
            (Some(work), Some(a)) => {
                a.token.is_none() && (a.draw.proof.is_none() || !a.draw.is_for(&work))
            }
            _ => false,
        }
    }

    pub(super) fn token_call(&self) -> Option<Call> {
        let draw = &self.state.asked.as_ref()?.draw;
        let hash = token_hash(&self.state.data, &draw.nonce, &draw.user.public());
        let order = TokenOrder {
            hash,
            proof: draw.proof?,
            key: draw.key.verifying_key(),
        };
        Some(Call::new(CallKind::Token, to_bytes(&order)))
    }

    /// Checks the token that a node sent: by a node of the roster, for this H and key, of this epoch.
    pub(super) fn take_token(&mut self, bytes: &[u8], now: Time) -> Result<(), Problem> {
        let params = self.view.params().ok_or(Problem::NotReady)?;
        let length = params.epoch;
        let Some(asked) = self.state.asked.as_mut() else {
            return Ok(());
        };
        let signed = parse::<PriorityToken>(bytes)?;
        let issuer = signed.unverified().issuer;
        let key = self.view.node_key(&issuer).ok_or(Problem::WrongSigner)?;
        let token = signed.verify(key)?;
        let draw = &asked.draw;
        if token.hash != token_hash(&self.state.data, &draw.nonce, &draw.user.public())
            || token.key != draw.key.verifying_key()
        {
            return Err(Problem::BrokenChain);
        }
        // Clocks differ a little: the neighbouring epochs will do.
        if token.epoch.abs_diff(epoch_at(now, length)) > 1 {
            return Err(Problem::StaleTime);
        }
        asked.token = Some(Token {
            bytes: bytes.into(),
            issuer,
            epoch: token.epoch,
        });
        asked.drawn = asked.drawn.saturating_add(1);
        asked.away = None;
        self.events.push(UserEvent::Drawn {
            issuer,
            epoch: token.epoch,
        });
        Ok(())
    }

    /// The request: made once, then always the same bytes.
    pub(super) fn request_call<R: CryptoRng + ?Sized>(
        &mut self,
        now: Time,
        rng: &mut R,
    ) -> Option<Call> {
        let asked = self.state.asked.as_mut()?;
        let token = asked.token.as_ref()?;
        if asked.request.is_none() {
            let Some((_, region)) = self.view.region(&asked.region) else {
                self.events
                    .push(UserEvent::ViewStale(Problem::UnknownRegion));
                return None;
            };
            let read = Seed::generate(rng);
            let class = (SizeClass::Small, SlotClass::Free, Life::Days42);
            let inbox = mailbox(&read.verifying_key(), Writers::Tickets, class, now, rng);
            let wish = to_bytes(&Wish {
                user: asked.draw.user.public(),
                wishes: asked.wishes.clone(),
            });
            let (id, version) = (asked.region, region.key_version);
            let envelope = seal(
                &region.sealing,
                Purpose::Request,
                id.as_bytes(),
                version,
                &[],
                &wish,
                SizeClass::Small,
                rng,
            )
            .ok()?;
            let request = Request {
                token: Bytes::try_from(&*token.bytes).ok()?,
                region: id,
                key_version: version,
                inbox: inbox.clone(),
                envelope: Bytes::try_from(envelope).ok()?,
            };
            let bytes = sign(&request, &asked.draw.key);
            let id = RequestId::from_bytes(*record_hash(&bytes).as_bytes());
            asked.request = Some(Placed {
                bytes: bytes.into(),
                id,
                key_version: version,
                inbox,
                read,
                day: now.day(),
            });
        }
        asked
            .request
            .as_ref()
            .map(|r| Call::new(CallKind::Request, r.bytes.to_vec()))
    }

    /// Checks the admission that a node sent: by the token's issuer, for this request.
    pub(super) fn take_admission(&mut self, bytes: &[u8], now: Time) -> Result<(), Problem> {
        let Some(asked) = self.state.asked.as_mut() else {
            return Ok(());
        };
        let (Some(token), Some(placed)) = (&asked.token, &asked.request) else {
            return Ok(());
        };
        let key = self
            .view
            .node_key(&token.issuer)
            .ok_or(Problem::WrongSigner)?;
        let admission = parse::<Admission>(bytes)?.verify(key)?;
        let fits = admission.issuer == token.issuer
            && admission.request == placed.id
            && admission.region == asked.region
            && admission.inbox == placed.inbox.id();
        if !fits {
            return Err(Problem::BrokenChain);
        }
        self.reads.made(admission.inbox, now, self.pace.read);
        asked.away = None;
        asked.admitted = Some(Admitted {
            bytes: bytes.into(),
            expires: admission.expires,
        });
        self.events.push(UserEvent::Admitted {
            expires: admission.expires,
        });
        Ok(())
    }

    pub(super) fn token_refused<R: CryptoRng + ?Sized>(
        &mut self,
        problem: Problem,
        now: Time,
        rng: &mut R,
    ) {
        self.desk.failed(&Task::Token, now, rng);
        match problem {
            // The price went up, or the node's clock is in another epoch: search on behind the proof
            // that was not good enough.
            Problem::WorkMissing => {
                if let Some(asked) = &mut self.state.asked {
                    asked.draw.tried = asked
                        .draw
                        .proof
                        .take()
                        .map_or(asked.draw.tried, |p| p.saturating_add(1));
                }
                self.events.push(UserEvent::ViewStale(problem));
            }
            p if transient(p) => {}
            p => self.events.push(UserEvent::Refused(p)),
        }
    }

    pub(super) fn request_refused<R: CryptoRng + ?Sized>(
        &mut self,
        problem: Problem,
        now: Time,
        rng: &mut R,
    ) {
        let failures = self.desk.failed(&Task::Request, now, rng);
        let Some(asked) = self.state.asked.as_mut() else {
            return;
        };
        // An inbox can be opened only within a day of its date: sealed anew, with the same token.
        let late = |day: crate::time::Day| now.day() > day.plus(1);
        if asked.request.as_ref().is_some_and(|r| late(r.day)) {
            asked.request = None;
        }
        match problem {
            Problem::IssuerAway => {
                asked.away.get_or_insert(now);
                if failures.is_multiple_of(ISSUER_TRIES) {
                    self.events.push(UserEvent::IssuerAway);
                }
            }
            // The token is worth nothing any more; so is one whose admission went to bytes now lost.
            Problem::EpochClosed | Problem::TokenUsed => {
                asked.redraw(Some(problem), now, rng);
                self.desk.failed(&Task::Token, now, rng);
                self.events.push(UserEvent::Redrawn(problem));
            }
            // Sealed to a key that is no longer current: sealed anew as soon as the view knows better.
            Problem::WrongKeyVersion => {
                let current = self.view.region(&asked.region).map(|(_, r)| r.key_version);
                if asked.request.as_ref().map(|r| r.key_version) != current {
                    asked.request = None;
                } else {
                    self.events.push(UserEvent::ViewStale(problem));
                }
            }
            p if transient(p) => {}
            p => {
                self.events.push(if stale(p) {
                    UserEvent::ViewStale(p)
                } else {
                    UserEvent::Refused(p)
                });
            }
        }
    }
}
