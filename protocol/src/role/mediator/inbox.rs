//! The mediator's inboxes: applications and reports are read there, and cleared away.
//!
//! There is one inbox a certificate; those of earlier certificates are read until they are over.

use super::report::{ReportKept, read_report};
use super::state::{AnswerKept, ApplicationKept};
use super::{Mediator, MediatorEvent, Task};
use crate::booking::Application;
use crate::client::{Call, CallKind};
use crate::cose::{parse, sign};
use crate::id::{MailboxId, RecordId};
use crate::item::ItemKind;
use crate::mailbox::{Deletion, Entry, Life, Page, Receipt, SlotClass};
use crate::problem::Problem;
use crate::role::talk::{Outbox, check_receipt, next_page, open_from, transient};
use crate::seal::Purpose;
use crate::size::SizeClass;
use crate::time::Time;
use crate::trust::waits;
use rand_core::CryptoRng;

/// Most applications that are kept at once; further ones stay in the inbox until there is room.
const MAX_APPLICATIONS: usize = 256;
/// Most slots of inboxes that wait for being emptied.
const MAX_DELETIONS: usize = 1024;

/// What may lie in an inbox.
enum Letter {
    Application(Box<(RecordId, Application, Vec<u8>)>),
    Report(Box<(RecordId, ReportKept)>),
}

impl Mediator {
    /// Takes a page of an inbox. Returns the slot behind which there is more.
    pub(super) fn take_inbox(&mut self, inbox: &MailboxId, page: &Page, now: Time) -> Option<u32> {
        let fresh: Vec<Entry> = self
            .state
            .seen
            .fresh(&page.entries)
            .into_iter()
            .cloned()
            .collect();
        for entry in fresh {
            let done = match self.read_letter(inbox, &entry, now) {
                Ok(Letter::Application(letter)) => {
                    let (id, application, signed) = *letter;
                    self.keep_application((*inbox, &entry), id, application, signed)
                }
                Ok(Letter::Report(report)) => {
                    let (id, report) = *report;
                    // Once it is kept, or one like it was, the letter has served.
                    self.keep_report(id, report, now) && self.clear(*inbox, entry.slot)
                }
                Err(problem) if waits(problem) || problem == Problem::NotReady => {
                    self.events.push(MediatorEvent::ViewStale(problem));
                    false
                }
                // Anybody may write there who does the work: what is no letter is cleared away.
                Err(_) => self.clear(*inbox, entry.slot),
            };
            // What was not dealt with is looked at again.
            if done {
                self.state.seen.add(entry.item);
            }
        }
        next_page(page)
    }

    /// A slot is to be emptied. False while too many wait.
    fn clear(&mut self, inbox: MailboxId, slot: u32) -> bool {
        if self.state.deletions.contains(&(inbox, slot)) {
            return true;
        }
        let room = self.state.deletions.len() < MAX_DELETIONS;
        if room {
            self.state.deletions.push((inbox, slot));
        }
        room
    }

    fn read_letter(&self, inbox: &MailboxId, entry: &Entry, now: Time) -> Result<Letter, Problem> {
        let (mailbox, keys) = self.inbox(inbox).ok_or(Problem::NotReady)?;
        let open = |purpose| open_from(mailbox, &keys.sealing, purpose, &entry.blob);
        if let Ok(plain) = open(Purpose::Application) {
            let (id, application) = self.read_application(&plain, now)?;
            let letter = (id, application, plain.to_vec());
            return Ok(Letter::Application(Box::new(letter)));
        }
        let plain = open(Purpose::Report).map_err(|_| Problem::Malformed)?;
        let report = read_report(&plain, &self.id(), &self.view, now)?;
        Ok(Letter::Report(Box::new(report)))
    }

    fn read_application(
        &self,
        plain: &[u8],
        now: Time,
    ) -> Result<(RecordId, Application), Problem> {
        let signed = parse::<Application>(plain)?;
        let key = signed.unverified().signing;
        let application = signed.verify(&key)?;
        let answer = &application.answer;
        let ordinary = self.writer(answer).is_some()
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

    fn keep_application(
        &mut self,
        (inbox, entry): (MailboxId, &Entry),
        id: RecordId,
        application: Application,
        signed: Vec<u8>,
    ) -> bool {
        if self.state.decided.contains(&id) {
            return self.clear(inbox, entry.slot);
        }
        if let Some(known) = self.state.applications.get(&id) {
            // The same letter, met again; or a copy of it.
            return (known.inbox, known.slot) == (inbox, entry.slot)
                || self.clear(inbox, entry.slot);
        }
        if self.state.applications.len() >= MAX_APPLICATIONS {
            return false;
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
        let kept = ApplicationKept {
            application,
            signed: signed.into(),
            inbox,
            slot: entry.slot,
            item: entry.item,
            decided: false,
        };
        self.state.applications.insert(id, kept);
        true
    }

    /// Applications that were answered leave the inbox, now that the answer is durable. What belongs
    /// to mailboxes that are over is forgotten.
    pub(super) fn tidy(&mut self, now: Time) {
        let state = &mut self.state;
        let answers = &state.answers;
        let over: Vec<(RecordId, MailboxId, u32)> = state
            .applications
            .iter()
            .filter(|(_, a)| {
                a.decided
                    && answers
                        .get(&a.application.answer.id())
                        .is_none_or(|k| k.out.waiting.is_empty())
            })
            .map(|(id, a)| (*id, a.inbox, a.slot))
            .collect();
        for (id, inbox, slot) in over {
            if self.clear(inbox, slot) {
                self.state.applications.remove(&id);
            }
        }
        self.state
            .answers
            .retain(|_, a| now < a.out.mailbox.expires());
        self.forget_keys(now);
        let inboxes: Vec<MailboxId> = self.inboxes().map(|(m, _)| m.id()).collect();
        self.state
            .deletions
            .retain(|(inbox, _)| inboxes.contains(inbox));
        self.notice_expiry(now);
    }

    pub(super) fn delete_call(&self) -> Option<Call> {
        Some(Call::new(CallKind::Delete, self.deletion()?.1))
    }

    /// The inbox of the next deletion, and the deletion.
    fn deletion(&self) -> Option<(MailboxId, Vec<u8>)> {
        let (id, slot) = *self.state.deletions.first()?;
        let (mailbox, keys) = self.inbox(&id)?;
        let mailbox = mailbox.clone();
        Some((id, sign(&Deletion { mailbox, slot }, &keys.inbox_read)))
    }

    pub(super) fn deleted(&mut self, receipt: &Receipt) -> Result<(), Problem> {
        if let Some((inbox, bytes)) = self.deletion() {
            check_receipt(
                receipt,
                ItemKind::Deletion,
                &bytes,
                inbox.as_bytes(),
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
}
