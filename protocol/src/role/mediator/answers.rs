//! The mailboxes that the mediator opens: its inboxes, and those in which providers wait for answers;
//! and the answers that are written there.

use super::{Mediator, MediatorEvent, Task};
use crate::bounded::List;
use crate::client::{Call, CallKind, Openings, check_opening};
use crate::cose::sign;
use crate::id::MailboxId;
use crate::mailbox::{MAX_OPEN, Mailbox, OpenOrder, Payment, Place, Receipt};
use crate::problem::Problem;
use crate::role::kept::Many;
use crate::role::talk::transient;
use crate::time::{Day, Time};
use rand_core::CryptoRng;

/// Whether a mailbox of a day can no longer be opened.
pub(super) fn late(day: Day, now: Time) -> bool {
    now.day() > day.plus(1)
}

impl Mediator {
    fn open_order(&self, places: Vec<Place>, now: Time) -> Option<Call> {
        let payment = Payment::Mediator(self.state.certificate.as_ref()?.id);
        let order = OpenOrder {
            node: self.state.node,
            payment,
            places: List::try_from(places).ok()?,
            time: now,
        };
        Some(Call::new(
            CallKind::Open,
            sign(&order, &self.state.keys.signing),
        ))
    }

    /// The mailboxes that are to be opened, the inboxes first: that of the next certificate too, paid
    /// for by the present one, so that it does not matter when the root's answer comes.
    pub(super) fn unopened(&self, now: Time) -> Vec<Mailbox> {
        let Some(certificate) = self.state.certificate.as_ref() else {
            return Vec::new();
        };
        let next = self.state.ordered.iter().filter(|o| {
            let day = o.inbox.day;
            !o.opened && day <= now.day().plus(1) && !late(day, now)
        });
        let inbox = core::iter::once(certificate)
            .filter(|c| !c.opened && !late(c.inbox.day, now))
            .map(|c| c.inbox.clone())
            .chain(next.map(|o| o.inbox.clone()));
        let answers = self
            .state
            .answers
            .values()
            .filter(|a| !a.opened && !late(a.out.mailbox.day, now))
            .map(|a| a.out.mailbox.clone());
        inbox.chain(answers).take(MAX_OPEN).collect()
    }

    pub(super) fn open_call(&self, now: Time) -> Option<Call> {
        self.open_order(
            self.unopened(now).into_iter().map(Place::Mailbox).collect(),
            now,
        )
    }

    pub(super) fn opened(&mut self, openings: &Openings, now: Time) -> Result<(), Problem> {
        if openings.openings.is_empty() {
            return Err(Problem::Malformed);
        }
        for bytes in &openings.openings {
            let opening = check_opening(bytes, &self.view, now)?;
            let Place::Mailbox(mailbox) = &opening.place else {
                return Err(Problem::Malformed);
            };
            if let Some(certificate) = self
                .state
                .certificate
                .as_mut()
                .filter(|c| c.inbox == *mailbox && !c.opened)
            {
                certificate.opened = true;
                self.events.push(MediatorEvent::InboxOpen);
            }
            if let Some(ordered) = self.state.ordered.as_mut().filter(|o| o.inbox == *mailbox) {
                ordered.opened = true;
            }
            if let Some(answer) = self.state.answers.get_mut(&mailbox.id()) {
                answer.opened = true;
            }
        }
        Ok(())
    }

    /// One bad place spoils an order: what can no longer be opened is dropped.
    pub(super) fn open_refused<R: CryptoRng + ?Sized>(
        &mut self,
        problem: Problem,
        now: Time,
        rng: &mut R,
    ) {
        self.desk.failed(&Task::Open, now, rng);
        self.state
            .answers
            .retain(|_, a| a.opened || !late(a.out.mailbox.day, now));
        if !transient(problem) {
            self.events.push(MediatorEvent::Refused(problem));
        }
    }

    /// The answers with something to write, in mailboxes that are open.
    pub(super) fn answering(&self) -> Vec<MailboxId> {
        let ready = self
            .state
            .answers
            .iter()
            .filter(|(_, a)| a.opened && !a.out.waiting.is_empty());
        ready.map(|(id, _)| *id).collect()
    }

    pub(super) fn answered(&mut self, id: &MailboxId, receipt: &Receipt) -> Result<(), Problem> {
        match self.state.answers.get_mut(id) {
            Some(answer) => answer.out.written(receipt, &self.view),
            None => Ok(()),
        }
    }

    pub(super) fn answer_refused<R: CryptoRng + ?Sized>(
        &mut self,
        id: &MailboxId,
        problem: Problem,
        now: Time,
        rng: &mut R,
    ) {
        self.desk.failed(&Task::Answer(*id), now, rng);
        let key = self
            .state
            .answers
            .get(id)
            .and_then(|a| self.writer(&a.out.mailbox))
            .cloned();
        let Some((answer, key)) = self.state.answers.get_mut(id).zip(key) else {
            return;
        };
        let moved = matches!(problem, Problem::SlotConflict | Problem::Deleted)
            && answer.out.conflict(&key).is_ok();
        if moved || transient(problem) || problem == Problem::NotOpened {
            return;
        }
        answer.out.waiting = Many::default();
        self.events.push(MediatorEvent::Refused(problem));
    }
}
