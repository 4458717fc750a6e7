//! To be listed again: once nothing acceptable is left, the user gives up the offers it has, and the
//! region's providers may claim its request anew (`docs/spec/queue.md`).

use std::collections::BTreeSet;

use rand_core::CryptoRng;

use super::kept_offer::Gone;
use super::state::{Asked, Held};
use super::{Task, User, UserEvent};
use crate::bounded::List;
use crate::client::{Call, CallKind};
use crate::cose::sign;
use crate::federation::Params;
use crate::id::{LockId, TicketId};
use crate::item::ItemKind;
use crate::mailbox::Receipt;
use crate::problem::Problem;
use crate::queue::{MAX_RELIST, Relist};
use crate::role::talk::{check_receipt, stale, transient};
use crate::time::{Seconds, Time};

/// How many pauses a provider that was asked for another offer has to answer.
const ANSWER_PAUSES: u32 = 10;

/// Why a user is not listed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RelistError {
    /// There is no request in a queue.
    #[error("there is no request in a queue")]
    NotAdmitted,
    /// A booking is under way or confirmed.
    #[error("a booking is under way: cancel it first")]
    Busy,
    /// An earlier wish is still on its way.
    #[error("an earlier wish to be listed again is still on its way")]
    Pending,
    /// Nothing keeps the request from being listed: no open offers, no locks.
    #[error("the request is listed already, as far as known")]
    Listed,
    /// It was listed as often as the federation allows.
    #[error("it was listed as often as it may")]
    UsedUp,
}

/// What a wish to be listed again would name.
struct Named {
    tickets: Vec<TicketId>,
    locks: Vec<LockId>,
    /// Something had to be left out because the federation's limit is reached.
    cut: bool,
}

impl User {
    /// Gives up every open offer, and asks to be listed again.
    ///
    /// # Errors
    /// [`RelistError`]; nothing changed then.
    pub fn relist(&mut self, now: Time) -> Result<(), RelistError> {
        let params = self.view.params().ok_or(RelistError::NotAdmitted)?;
        let asked = self.state.asked.as_mut().ok_or(RelistError::NotAdmitted)?;
        asked.relist(params, now)
    }

    /// When the user is to be listed again by itself.
    pub(super) fn relist_due(&self) -> Option<Time> {
        let asked = self.state.asked.as_ref()?;
        let since = asked.relist.bare?;
        let owed = asked.channels.values().any(|c| c.asks.is_some());
        let pauses = if owed { ANSWER_PAUSES } else { 1 };
        let pause = self.relist_pause.get().saturating_mul(pauses);
        Some(since.plus(Seconds::new(pause)))
    }

    /// Looks whether anything is left to choose; if not for some time, asks to be listed again.
    pub(super) fn look_round(&mut self, now: Time) {
        let bare = self.state.automatic
            && self
                .state
                .asked
                .as_ref()
                .is_some_and(|a| a.may_relist(now) && self.nothing_left(a, now));
        let Some(asked) = self.state.asked.as_mut() else {
            return;
        };
        if !bare {
            asked.relist.bare = None;
            return;
        }
        asked.relist.bare.get_or_insert(now);
        if self.relist_due().is_none_or(|at| at > now) {
            return;
        }
        let outcome = self.relist(now);
        if let Some(asked) = &mut self.state.asked {
            // Whatever else stood in the way is looked at again after the same pause.
            asked.relist.bare = None;
        }
        if outcome == Err(RelistError::UsedUp) {
            self.events.push(UserEvent::NoMoreOffers);
        }
    }

    fn nothing_left(&self, asked: &Asked, now: Time) -> bool {
        let outlook = self.outlook(asked, now);
        outlook.open == 0 && outlook.suspended == 0
    }

    pub(super) fn relist_call(&self) -> Option<Call> {
        let wish = self.state.asked.as_ref()?.relist.waiting.first()?;
        Some(Call::new(CallKind::Relist, wish.to_vec()))
    }

    pub(super) fn relisted(&mut self, receipt: &Receipt) -> Result<(), Problem> {
        let Some(asked) = self.state.asked.as_ref() else {
            return Ok(());
        };
        if let Some(wish) = asked.relist.waiting.first() {
            check_receipt(
                receipt,
                ItemKind::Relist,
                wish,
                asked.region.as_bytes(),
                &self.view,
            )?;
            self.relist_done();
        }
        Ok(())
    }

    fn relist_done(&mut self) {
        let Some(asked) = self.state.asked.as_mut() else {
            return;
        };
        if asked.relist.waiting.is_empty() {
            return;
        }
        asked.relist.waiting.remove(0);
        if asked.relist.waiting.is_empty() {
            self.events.push(UserEvent::Relisted);
        }
    }

    pub(super) fn relist_refused<R: CryptoRng + ?Sized>(
        &mut self,
        problem: Problem,
        now: Time,
        rng: &mut R,
    ) {
        self.desk.failed(&Task::Relist, now, rng);
        match problem {
            // The holders know all of it already.
            Problem::OldVersion => {
                self.desk.done(&Task::Relist);
                self.relist_done();
            }
            Problem::ReoffersUsed => {
                if let Some(asked) = self.state.asked.as_mut() {
                    asked.relist.waiting.clear();
                    asked.relist.used_up = true;
                }
                self.events.push(UserEvent::NoMoreOffers);
            }
            p if transient(p) => {}
            p if stale(p) => self.events.push(UserEvent::ViewStale(p)),
            p => {
                if let Some(asked) = self.state.asked.as_mut() {
                    asked.relist.waiting.clear();
                }
                self.events.push(UserEvent::Refused(p));
            }
        }
    }
}

impl Asked {
    /// Whether it makes sense to be listed again by itself, if nothing is left to choose.
    fn may_relist(&self, now: Time) -> bool {
        self.admitted.is_some()
            && !self.busy()
            && !self.relist.content
            && !self.relist.used_up
            && self.relist.waiting.is_empty()
            && self.releases.is_empty()
            && (self.open_tickets(now).next().is_some() || self.free_locks().next().is_some())
    }

    /// Tickets that the region's holders count as open, and that are not a booking's.
    fn open_tickets(&self, now: Time) -> impl Iterator<Item = TicketId> {
        let booked = self
            .booking
            .as_ref()
            .filter(|b| b.status.stands())
            .map(|b| b.ticket);
        self.channels
            .iter()
            .filter(move |(t, c)| !c.given_up && now <= c.until && Some(**t) != booked)
            .map(|(t, _)| *t)
            .chain(self.spoiled.iter().copied())
    }

    /// Locks that may have been held and are over: those that surely were come first.
    fn free_locks(&self) -> impl Iterator<Item = (LockId, Held)> {
        let standing = self
            .booking
            .as_ref()
            .filter(|b| b.status.stands())
            .map(|b| b.lock);
        let over = move |held: Held| {
            self.locks
                .iter()
                .filter(move |(id, l)| !l.relisted && l.held == held && Some(**id) != standing)
                .map(|(id, l)| (*id, l.held))
        };
        over(Held::Yes).chain(over(Held::Maybe))
    }

    /// What may be named, within what the federation allows a token.
    fn named(&self, params: &Params, now: Time) -> Named {
        let locks_in_all = usize::from(params.reoffers) + 1;
        let tickets_in_all = usize::from(params.open_offers) * locks_in_all;
        let used = self.locks.values().filter(|l| l.relisted).count();
        let room = locks_in_all.saturating_sub(used);
        let all: Vec<_> = self.free_locks().collect();
        let sure = all.iter().filter(|(_, held)| *held == Held::Yes).count();
        // The last is left for a booking that is confirmed and cancelled yet.
        let unsure = room.saturating_sub(sure).saturating_sub(1);
        let locks: Vec<_> = all
            .iter()
            .take(sure.min(room) + unsure)
            .map(|(id, _)| *id)
            .collect();
        let distinct: BTreeSet<_> = self.open_tickets(now).collect();
        let left = tickets_in_all.saturating_sub(self.relist.tickets as usize);
        let cut = sure > room || distinct.len() > left;
        let tickets = distinct.into_iter().take(left).collect();
        Named {
            tickets,
            locks,
            cut,
        }
    }

    fn relist(&mut self, params: &Params, now: Time) -> Result<(), RelistError> {
        let (Some(request), Some(admitted)) = (&self.request, &self.admitted) else {
            return Err(RelistError::NotAdmitted);
        };
        let (request, expires) = (request.id, admitted.expires);
        if self.busy() {
            return Err(RelistError::Busy);
        }
        if !self.relist.waiting.is_empty() {
            return Err(RelistError::Pending);
        }
        if self.relist.used_up {
            return Err(RelistError::UsedUp);
        }
        // Nobody knows whether a withdrawn booking arrived: its lock is freed.
        self.take_back();
        let named = self.named(params, now);
        if named.tickets.is_empty() && named.locks.is_empty() {
            self.relist.used_up = named.cut;
            return Err(if named.cut {
                RelistError::UsedUp
            } else {
                RelistError::Listed
            });
        }
        let mut tickets = named.tickets.chunks(MAX_RELIST);
        let mut locks = named.locks.chunks(MAX_RELIST);
        loop {
            let (t, l) = (tickets.next(), locks.next());
            if t.is_none() && l.is_none() {
                break;
            }
            // Chunks are within the bound.
            let wish = Relist {
                region: self.region,
                request,
                tickets: List::try_from(t.unwrap_or_default().to_vec()).unwrap_or_default(),
                locks: List::try_from(l.unwrap_or_default().to_vec()).unwrap_or_default(),
                expires,
            };
            self.relist.waiting.push(sign(&wish, &self.draw.key).into());
        }
        self.relist.times = self.relist.times.saturating_add(1);
        let count = u32::try_from(named.tickets.len()).unwrap_or(u32::MAX);
        self.relist.tickets = self.relist.tickets.saturating_add(count);
        self.relist.content = false;
        self.give_up(&named);
        Ok(())
    }

    fn give_up(&mut self, named: &Named) {
        for lock in &named.locks {
            if let Some(l) = self.locks.get_mut(lock) {
                l.relisted = true;
            }
        }
        for ticket in &named.tickets {
            if let Some(channel) = self.channels.get_mut(ticket) {
                channel.given_up = true;
                channel.asks = None;
            }
        }
        for kept in self.offers.values_mut() {
            if kept.gone.is_none() && named.tickets.contains(&kept.offer.ticket) {
                kept.gone = Some(Gone::GivenUp);
            }
        }
        self.spoiled.clear();
    }
}
