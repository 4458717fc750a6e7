//! A provider as a [`Role`]: what is wanted now, and where each answer goes.

use std::collections::{BTreeMap, BTreeSet};

use super::kept_deal::Step;
use super::state::{NAME, State, VERSION};
use super::{Provider, ProviderEvent, Task};
use crate::client::{Answer, Call};
use crate::id::{MailboxId, NodeId};
use crate::key::SigningKey;
use crate::mailbox::Mailbox;
use crate::problem::Problem;
use crate::role::kept;
use crate::role::talk::{next_page, read_call, read_proof, stale, transient};
use crate::role::{CallId, Failure, Outcome, Pace, RestoreError, Role};
use crate::time::{Seconds, Time};
use crate::trust::TrustView;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

impl Provider {
    fn tidy(&mut self, now: Time) {
        self.now = now;
        let slots = &self.state.slots;
        let mut left = Vec::new();
        self.state.deals.retain(|_, d| {
            // A booked deal is kept while the appointment may still be cancelled.
            let past = d.booking.as_ref().is_some_and(|b| {
                slots
                    .get(&b.slot)
                    .is_none_or(|s| now > s.start.plus(Seconds::DAY))
            });
            if d.owed.is_some() && now > d.expires {
                d.owed = None;
            }
            let keep = !past && !d.over(now);
            if !keep {
                left.extend(d.leaving);
            }
            keep
        });
        for slot in left {
            self.free_slot(slot);
        }
        self.prune_slots(now);
        self.prune_skipped(now);
        self.state.answers.retain(|_, a| now < a.mailbox.expires());
        let channels: BTreeSet<MailboxId> =
            self.state.deals.values().map(|d| d.channel.id).collect();
        let answers = &self.state.answers;
        self.reads
            .retain(|id| answers.contains_key(id) || channels.contains(id));
    }

    fn wanted(&self, now: Time) -> Vec<(Task, Time)> {
        let mut wanted: Vec<(Task, Time)> = self.slot_tasks_if_certified(now);
        let now_wanted = |task| (task, Time::ZERO);
        if self
            .state
            .applied
            .as_ref()
            .is_some_and(|a| !a.written && self.apply_call().is_some())
        {
            wanted.push(now_wanted(Task::Apply));
        }
        wanted.extend(
            self.state
                .answers
                .keys()
                .map(|id| (Task::Answers(*id), self.reads.due(id))),
        );
        match self.round_task(now) {
            Some((region, true, due)) => wanted.push((Task::Claim(region), due)),
            Some((region, false, due)) => wanted.push((Task::Challenge(region), due)),
            None => {}
        }
        let offering = self.in_force(now).is_ok();
        // Calls go out in this order, so that who is first in the queue hears first.
        let mut deals: Vec<_> = self.state.deals.iter().collect();
        deals.sort_by_key(|(_, deal)| deal.rank);
        for (ticket, deal) in deals {
            if !deal.channel.opened {
                if offering {
                    wanted.push(now_wanted(Task::Channel(*ticket)));
                }
                continue;
            }
            if !deal.sent && offering && self.can_offer(ticket, deal, now) {
                wanted.push(now_wanted(Task::Offer(*ticket)));
            }
            if deal.listens(now) {
                wanted.push((Task::Read(*ticket), self.reads.due(&deal.channel.id)));
            }
            match deal.target().map(|t| t.step) {
                Some(Step::Mark) => wanted.push(now_wanted(Task::Mark(*ticket))),
                Some(Step::Lock) => wanted.push(now_wanted(Task::Lock(*ticket))),
                Some(Step::Take | Step::Confirmed) | None => {}
            }
            if !deal.channel.out.waiting.is_empty() {
                wanted.push(now_wanted(Task::Letter(*ticket)));
            }
            if !deal.releases.is_empty() {
                wanted.push(now_wanted(Task::Release(*ticket)));
            }
        }
        wanted
    }

    fn slot_tasks_if_certified(&self, now: Time) -> Vec<(Task, Time)> {
        // Marks are paid for by the certificate; those that are open can always be set.
        let certified = self
            .state
            .certificate
            .as_ref()
            .is_some_and(|c| now <= c.expires);
        let tasks = self
            .slot_tasks()
            .into_iter()
            .filter(|t| certified || *t != Task::OpenMarks);
        tasks.map(|t| (t, Time::ZERO)).collect()
    }

    fn call(&mut self, task: &Task, now: Time, rng: &mut dyn CryptoRng) -> Option<Call> {
        match task {
            Task::Apply => self.apply_call(),
            Task::OpenMarks => self.marks_open_call(now),
            Task::SetMark(slot) => self.mark_call(*slot),
            Task::Reread(slot) => self.read_mark_call(*slot),
            Task::Challenge(region) => self.challenge_call(*region),
            Task::Claim(region) => self.claim_call(*region, now),
            Task::Channel(ticket) => self.channel_call(ticket, now),
            Task::Offer(ticket) => self.offer_call(ticket, now, rng),
            Task::Mark(ticket) => self.target_call(ticket),
            Task::Lock(ticket) => self.lock_call(ticket),
            Task::Letter(ticket) => self.state.deals.get(ticket)?.channel.out.call(),
            Task::Release(ticket) => self.release_call(ticket),
            Task::Answers(_) | Task::Read(_) => {
                let (mailbox, key) = self.mailbox_of(task)?;
                let id = mailbox.id();
                let after = self.reads.after(&id);
                let call = read_call(&mailbox, &key, self.state.node, after, now);
                self.reads.begin(id);
                call
            }
        }
    }

    fn mailbox_of(&self, task: &Task) -> Option<(Mailbox, SigningKey)> {
        match task {
            Task::Answers(id) => self
                .state
                .answers
                .get(id)
                .map(|a| (a.mailbox.clone(), (*a.read).clone())),
            Task::Read(ticket) => {
                let channel = &self.state.deals.get(ticket)?.channel;
                Some((channel.to_provider.clone(), (*channel.read).clone()))
            }
            _ => None,
        }
    }

    fn take(
        &mut self,
        task: &Task,
        answer: Answer,
        now: Time,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), Problem> {
        match (task, answer) {
            (Task::Apply, Answer::Receipt(receipt)) => self.applied(&receipt),
            (Task::OpenMarks, Answer::Openings(openings)) => self.marks_opened(&openings, now),
            (Task::SetMark(slot), Answer::Receipt(receipt)) => {
                self.mark_set(*slot, &receipt, now, rng)
            }
            (Task::Challenge(region), Answer::Challenges(challenges)) => {
                self.take_challenges(*region, &challenges, now, rng);
                Ok(())
            }
            (Task::Claim(region), Answer::Claims(claims)) => {
                self.take_claims(*region, &claims, now, rng);
                Ok(())
            }
            (Task::Channel(ticket), Answer::Openings(openings)) => {
                self.channel_opened(ticket, &openings, now)
            }
            (Task::Offer(ticket), Answer::Receipt(receipt)) => self.offer_sent(ticket, &receipt),
            (Task::Mark(ticket), Answer::Marks(marks)) => {
                self.target_read(ticket, &marks, now, rng)
            }
            (Task::Reread(slot), Answer::Marks(marks)) => self.slot_read(*slot, &marks),
            (Task::Lock(ticket), Answer::Locks(locks)) => self.locked(ticket, &locks, rng),
            (Task::Letter(ticket), Answer::Receipt(receipt)) => {
                self.letter_written(ticket, &receipt)
            }
            (Task::Release(ticket), Answer::Receipt(receipt)) => self.released(ticket, &receipt),
            (Task::Answers(_) | Task::Read(_), Answer::Page(page)) => {
                let Some((mailbox, _)) = self.mailbox_of(task) else {
                    return Ok(());
                };
                let whole = match task {
                    Task::Read(ticket) => self.take_page(ticket, &page, now, rng),
                    _ => {
                        self.take_answers(mailbox.id(), &page, now);
                        true
                    }
                };
                let next = next_page(&page).filter(|_| whole);
                self.reads.end(mailbox.id(), next, now, self.pace.read);
                if !whole {
                    self.reads.leave(mailbox.id());
                }
                Ok(())
            }
            _ => Err(Problem::Malformed),
        }
    }

    fn fail(&mut self, task: &Task, failure: Failure, now: Time, rng: &mut dyn CryptoRng) {
        if let Some((mailbox, _)) = self.mailbox_of(task) {
            if failure == Failure::Refused(Problem::NotOpened) {
                // Nobody has written to it yet: its watch tells when somebody does.
                self.reads.end(mailbox.id(), None, now, self.pace.read);
                return;
            }
            self.reads.touch(mailbox.id());
        }
        match (task, failure) {
            (Task::Apply, Failure::Refused(p)) => self.apply_refused(p, now, rng),
            (Task::SetMark(slot), Failure::Refused(p)) => self.mark_refused(*slot, p, now, rng),
            (Task::Challenge(region) | Task::Claim(region), Failure::Refused(p)) => {
                self.round_refused(*region, p, now)
            }
            (Task::Challenge(region), Failure::Unreachable) => self.end_round(*region, now),
            (Task::Offer(ticket), Failure::Refused(p)) => self.offer_refused(ticket, p, now, rng),
            (Task::Lock(ticket), Failure::Refused(p)) => self.lock_refused(ticket, p, now, rng),
            (Task::Letter(ticket), Failure::Refused(p)) => self.letter_refused(ticket, p, now, rng),
            (Task::Release(ticket), Failure::Refused(p)) => {
                self.release_refused(ticket, p, now, rng)
            }
            (_, Failure::Refused(p)) => {
                self.desk.failed(task, now, rng);
                if stale(p) {
                    self.events.push(ProviderEvent::ViewStale(p));
                } else if !transient(p) && p != Problem::NotOpened {
                    self.events.push(ProviderEvent::Refused(p));
                }
            }
            (_, Failure::Unreachable) => {
                self.desk.failed(task, now, rng);
            }
        }
    }

    fn watched(&self) -> Vec<(Mailbox, SigningKey)> {
        let tasks = self.wanted(self.now);
        tasks
            .iter()
            .filter_map(|(t, _)| self.mailbox_of(t))
            .collect()
    }
}

impl Role for Provider {
    type Event = ProviderEvent;

    fn poll(&mut self, now: Time, rng: &mut dyn CryptoRng) -> Vec<(CallId, Call)> {
        self.tidy(now);
        self.read_decided();
        self.heed_standing(now, rng);
        self.serve_owed(now, rng);
        self.serve_held(now, rng);
        self.prepare_application(now, rng);
        let mut calls = Vec::new();
        for task in self.desk.due(self.wanted(now), now) {
            match self.call(&task, now, rng) {
                Some(call) => calls.push((self.desk.begin(task), call)),
                None => {
                    self.desk.failed(&task, now, rng);
                }
            }
        }
        calls
    }

    fn answer(
        &mut self,
        id: CallId,
        outcome: Outcome,
        now: Time,
        rng: &mut dyn CryptoRng,
    ) -> Vec<ProviderEvent> {
        self.now = now;
        if let Some(task) = self.desk.end(id) {
            match outcome {
                Ok(answer) => match self.take(&task, answer, now, rng) {
                    Ok(()) => self.desk.done(&task),
                    Err(problem) => {
                        self.events.push(ProviderEvent::BadAnswer(problem));
                        self.fail(&task, Failure::Unreachable, now, rng);
                    }
                },
                Err(failure) => self.fail(&task, failure, now, rng),
            }
        }
        self.events()
    }

    fn events(&mut self) -> Vec<ProviderEvent> {
        std::mem::take(&mut self.events)
    }

    fn wake(&self) -> Option<Time> {
        if self.working() {
            return Some(Time::ZERO);
        }
        self.desk.wake(self.wanted(self.now))
    }

    fn watching(&self) -> Vec<Mailbox> {
        self.watched()
            .into_iter()
            .map(|(mailbox, _)| mailbox)
            .collect()
    }

    fn watch_proofs(&self, of: &[MailboxId], now: Time) -> Vec<Vec<u8>> {
        let watched = self.watched().into_iter();
        let watched: BTreeMap<_, _> = watched.map(|w| (w.0.id(), w)).collect();
        of.iter()
            .filter_map(|id| watched.get(id))
            .map(|(mailbox, key)| read_proof(mailbox, key, self.state.node, now))
            .collect()
    }

    fn touched(&mut self, mailbox: MailboxId) {
        self.reads.touch(mailbox);
    }

    fn node(&self) -> NodeId {
        self.state.node
    }

    fn set_node(&mut self, node: NodeId) {
        self.state.node = node;
        self.desk.reset();
        self.reads.reset();
        self.rounds.values_mut().for_each(|r| r.asked = false);
    }

    fn view(&self) -> &TrustView {
        &self.view
    }

    fn view_mut(&mut self) -> &mut TrustView {
        &mut self.view
    }

    fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    fn save(&self) -> Zeroizing<Vec<u8>> {
        kept::save(NAME, VERSION, &self.state)
    }

    fn restore(bytes: &[u8]) -> Result<Self, RestoreError> {
        let state: State = kept::restore(NAME, VERSION, bytes)?;
        let view =
            TrustView::new(state.federation.clone()).map_err(|_| RestoreError::Federation)?;
        Ok(Self::with(state, view))
    }
}
