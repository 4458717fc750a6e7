//! The mediator's inbox and the providers' answer mailboxes: opened, read, written, cleared away.

use super::state::{AnswerKept, ApplicationKept};
use super::{Mediator, MediatorEvent, Task};
use crate::booking::Application;
use crate::bounded::List;
use crate::client::{Call, CallKind, Openings, check_opening};
use crate::cose::{parse, sign};
use crate::id::{MailboxId, RecordId};
use crate::item::ItemKind;
use crate::mailbox::{
    Deletion, Entry, Life, MAX_OPEN, Mailbox, OpenOrder, Page, Payment, Place, Receipt, SlotClass,
};
use crate::problem::Problem;
use crate::role::kept::Many;
use crate::role::talk::{Outbox, check_receipt, next_page, only, open_from, transient};
use crate::seal::Purpose;
use crate::size::SizeClass;
use crate::time::Time;
use rand_core::CryptoRng;

/// Most applications that are kept at once; further ones stay in the inbox until there is room.
const MAX_APPLICATIONS: usize = 256;
/// Most slots of the inbox that wait for being emptied.
const MAX_DELETIONS: usize = 256;

impl Mediator {
    /// Takes a page of the inbox. Returns the slot behind which there is more.
    pub(super) fn take_inbox(&mut self, page: &Page, now: Time) -> Option<u32> {
        for entry in self
            .state
            .seen
            .fresh(&page.entries)
            .into_iter()
            .cloned()
            .collect::<Vec<_>>()
        {
            if self.state.applications.len() >= MAX_APPLICATIONS {
                return None;
            }
            match self.read_application(&entry, now) {
                Ok(application) => self.keep_application(&entry, application),
                // Anybody may write there who does the work: what is no application is cleared away.
                Err(_) => self.clear(entry.slot),
            }
            self.state.seen.add(entry.item);
        }
        next_page(page)
    }

    fn clear(&mut self, slot: u32) {
        if self.state.deletions.len() < MAX_DELETIONS && !self.state.deletions.contains(&slot) {
            self.state.deletions.push(slot);
        }
    }

    fn read_application(
        &self,
        entry: &Entry,
        now: Time,
    ) -> Result<(RecordId, Application), Problem> {
        let inbox = &self
            .state
            .certificate
            .as_ref()
            .ok_or(Problem::NotReady)?
            .inbox;
        let plain = open_from(
            inbox,
            &self.state.sealing,
            Purpose::Application,
            &entry.blob,
        )
        .map_err(|_| Problem::Malformed)?;
        let signed = parse::<Application>(&plain)?;
        let key = signed.unverified().signing;
        let application = signed.verify(&key)?;
        let answer = &application.answer;
        let ordinary = answer.writers == only(&self.state.signing.verifying_key())
            && answer.size == SizeClass::Medium
            && answer.slots == SlotClass::Sixteen
            && answer.life == Life::Days120;
        // A mailbox can be opened only within a day of its date; later the provider applies anew.
        let timely = now.day() <= answer.day.plus(1) && answer.day <= now.day().plus(1);
        if application.mediator != self.id() || !ordinary || !timely {
            return Err(Problem::OutOfBounds);
        }
        Ok((application.id(), application.into_value()))
    }

    fn keep_application(&mut self, entry: &Entry, (id, application): (RecordId, Application)) {
        if self.state.applications.contains_key(&id) {
            self.clear(entry.slot);
            return;
        }
        let answer = AnswerKept {
            out: Outbox::new(application.answer.clone()),
            opened: false,
        };
        self.state
            .answers
            .entry(application.answer.id())
            .or_insert(answer);
        self.events.push(MediatorEvent::Applied {
            id,
            application: Box::new(application.clone()),
        });
        let sealed = entry.blob.as_slice().into();
        let kept = ApplicationKept {
            application,
            slot: entry.slot,
            item: entry.item,
            sealed,
            decided: false,
        };
        self.state.applications.insert(id, kept);
    }

    /// Applications that were answered leave the inbox, now that the answer is durable.
    pub(super) fn tidy_applications(&mut self) {
        let done = |state: &super::state::State, a: &ApplicationKept| {
            a.decided
                && state
                    .answers
                    .get(&a.application.answer.id())
                    .is_none_or(|k| k.out.waiting.is_empty())
        };
        let over: Vec<(RecordId, u32)> = self
            .state
            .applications
            .iter()
            .filter(|(_, a)| done(&self.state, a))
            .map(|(id, a)| (*id, a.slot))
            .collect();
        for (id, slot) in over {
            self.state.applications.remove(&id);
            self.clear(slot);
        }
    }

    pub(super) fn delete_call(&self) -> Option<Call> {
        Some(Call::new(CallKind::Delete, self.deletion()?))
    }

    fn deletion(&self) -> Option<Vec<u8>> {
        let mailbox = self.state.certificate.as_ref()?.inbox.clone();
        let slot = *self.state.deletions.first()?;
        Some(sign(&Deletion { mailbox, slot }, &self.state.inbox_read))
    }

    pub(super) fn deleted(&mut self, receipt: &Receipt) -> Result<(), Problem> {
        if let (Some(bytes), Some(certificate)) = (self.deletion(), &self.state.certificate) {
            check_receipt(
                receipt,
                ItemKind::Deletion,
                &bytes,
                certificate.inbox.id().as_bytes(),
                &self.view,
            )?;
            self.state.deletions.remove(0);
        }
        Ok(())
    }

    pub(super) fn delete_refused<R: CryptoRng + ?Sized>(
        &mut self,
        problem: Problem,
        now: Time,
        rng: &mut R,
    ) {
        self.desk.failed(&Task::Delete, now, rng);
        if !transient(problem) && !self.state.deletions.is_empty() {
            self.state.deletions.remove(0);
        }
    }

    fn open_order(&self, places: Vec<Place>, now: Time) -> Option<Call> {
        let payment = Payment::Mediator(self.state.certificate.as_ref()?.id);
        let order = OpenOrder {
            node: self.state.node,
            payment,
            places: List::try_from(places).ok()?,
            time: now,
        };
        Some(Call::new(CallKind::Open, sign(&order, &self.state.signing)))
    }

    /// The mailboxes that are to be opened, the inbox first.
    pub(super) fn unopened(&self) -> Vec<Mailbox> {
        let inbox = self
            .state
            .certificate
            .iter()
            .filter(|c| !c.opened)
            .map(|c| c.inbox.clone());
        let answers = self
            .state
            .answers
            .values()
            .filter(|a| !a.opened)
            .map(|a| a.out.mailbox.clone());
        inbox.chain(answers).take(MAX_OPEN).collect()
    }

    pub(super) fn open_call(&self, now: Time) -> Option<Call> {
        self.open_order(
            self.unopened().into_iter().map(Place::Mailbox).collect(),
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
        let late = |day: crate::time::Day| now.day() > day.plus(1);
        self.state
            .answers
            .retain(|_, a| a.opened || !late(a.out.mailbox.day));
        // An inbox that was not opened in time takes a new certificate: [`Mediator::registered`] again.
        let lost = self
            .state
            .certificate
            .as_ref()
            .is_some_and(|c| !c.opened && late(c.inbox.day));
        if lost || !transient(problem) {
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
        let Some(answer) = self.state.answers.get_mut(id) else {
            return;
        };
        let moved = matches!(problem, Problem::SlotConflict | Problem::Deleted)
            && answer.out.conflict(&self.state.signing).is_ok();
        if moved || transient(problem) || problem == Problem::NotOpened {
            return;
        }
        answer.out.waiting = Many::default();
        self.events.push(MediatorEvent::Refused(problem));
    }
}
