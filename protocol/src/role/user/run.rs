//! A user as a [`Role`]: what is wanted now, and where each answer goes.

use std::collections::BTreeMap;

use super::state::{NAME, State, VERSION};
use super::{Task, User, UserEvent};
use crate::client::{Answer, Call};
use crate::id::{MailboxId, NodeId};
use crate::key::SigningKey;
use crate::mailbox::Mailbox;
use crate::problem::Problem;
use crate::role::talk::{next_page, read_call, read_proof, transient};
use crate::role::{CallId, Failure, Outcome, Pace, RestoreError, Role, kept};
use crate::time::Time;
use crate::trust::TrustView;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

impl User {
    fn wanted(&self, now: Time) -> Vec<(Task, Time)> {
        let mut wanted: Vec<_> = self
            .due_reports()
            .map(|offer| (Task::Report(*offer), Time::ZERO))
            .collect();
        let Some(asked) = &self.state.asked else {
            return wanted;
        };
        match (&asked.draw.proof, &asked.token, &asked.admitted) {
            (Some(_), None, _) => wanted.push((Task::Token, Time::ZERO)),
            (_, Some(_), None) => wanted.push((Task::Request, Time::ZERO)),
            _ => {}
        }
        if let (Some(placed), Some(_)) = (&asked.request, &asked.admitted) {
            wanted.push((Task::Inbox, self.reads.due(&placed.inbox.id())));
        }
        for (ticket, channel) in asked.channels.iter() {
            if !channel.out.waiting.is_empty() {
                wanted.push((Task::Write(*ticket), Time::ZERO));
            }
            if asked.listens(ticket, channel, now) {
                wanted.push((
                    Task::Channel(*ticket),
                    self.reads.due(&channel.to_user.id()),
                ));
            }
        }
        if let Some(at) = self.marks_wanted() {
            wanted.push((Task::Marks, at));
        }
        for lock in asked.due_releases() {
            wanted.push((Task::Release(*lock), Time::ZERO));
        }
        if !asked.relist.waiting.is_empty() {
            wanted.push((Task::Relist, Time::ZERO));
        }
        wanted
    }

    fn call(&mut self, task: &Task, now: Time, rng: &mut dyn CryptoRng) -> Option<Call> {
        match task {
            Task::Token => self.token_call(),
            Task::Request => self.request_call(now, rng),
            Task::Marks => self.marks_call(now),
            Task::Write(ticket) => self.write_call(*ticket, now),
            Task::Release(lock) => self.release_call(lock),
            Task::Relist => self.relist_call(),
            Task::Report(offer) => self.report_call(offer),
            Task::Inbox | Task::Channel(_) => {
                let (mailbox, key) = self.mailbox_of(task)?;
                let id = mailbox.id();
                let call = read_call(&mailbox, &key, self.state.node, self.reads.after(&id), now);
                self.reads.begin(id);
                call
            }
        }
    }

    fn mailbox_of(&self, task: &Task) -> Option<(Mailbox, SigningKey)> {
        let asked = self.state.asked.as_ref()?;
        match task {
            Task::Inbox => asked
                .request
                .as_ref()
                .map(|r| (r.inbox.clone(), (*r.read).clone())),
            Task::Channel(ticket) => asked
                .channels
                .get(ticket)
                .map(|c| (c.to_user.clone(), (*asked.draw.key).clone())),
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
            (Task::Token, Answer::Token(bytes)) => self.take_token(&bytes, now),
            (Task::Request, Answer::Admission(bytes)) => self.take_admission(&bytes, now),
            (Task::Marks, Answer::Marks(marks)) => {
                self.take_marks(&marks, now);
                Ok(())
            }
            (Task::Write(ticket), Answer::Receipt(receipt)) => self.written(*ticket, &receipt),
            (Task::Release(lock), Answer::Receipt(receipt)) => self.released(lock, &receipt),
            (Task::Relist, Answer::Receipt(receipt)) => self.relisted(&receipt),
            (Task::Report(offer), Answer::Receipt(receipt)) => self.reported(offer, &receipt),
            (Task::Inbox | Task::Channel(_), Answer::Page(page)) => {
                let Some((mailbox, _)) = self.mailbox_of(task) else {
                    return Ok(());
                };
                match task {
                    Task::Channel(ticket) => self.take_channel(*ticket, &page, now, rng),
                    _ => self.take_inbox(&page, now),
                }
                self.reads
                    .end(mailbox.id(), next_page(&page), now, self.pace.read);
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
        if *task == Task::Marks {
            self.refresh = true;
        }
        match (task, failure) {
            (Task::Token, Failure::Refused(p)) => self.token_refused(p, now, rng),
            (Task::Request, Failure::Refused(p)) => self.request_refused(p, now, rng),
            (Task::Write(ticket), Failure::Refused(p)) => self.write_refused(*ticket, p, now, rng),
            (Task::Release(lock), Failure::Refused(p)) => self.release_refused(*lock, p, now, rng),
            (Task::Relist, Failure::Refused(p)) => self.relist_refused(p, now, rng),
            (Task::Report(offer), Failure::Refused(p)) => {
                self.report_refused(*offer, p, now, rng);
            }
            (_, Failure::Refused(p)) => {
                self.desk.failed(task, now, rng);
                if !transient(p) && p != Problem::NotOpened {
                    self.events.push(UserEvent::Refused(p));
                }
            }
            (_, Failure::Unreachable) => {
                self.desk.failed(task, now, rng);
            }
        }
    }
}

impl Role for User {
    type Event = UserEvent;

    fn poll(&mut self, now: Time, rng: &mut dyn CryptoRng) -> Vec<(CallId, Call)> {
        self.now = now;
        self.expire(now);
        self.lose_patience(now, rng);
        self.review(now);
        self.look_round(now);
        self.decline_others(now, rng);
        self.work();
        self.prepare_reports(rng);
        let mut calls = Vec::new();
        for task in self.desk.due(self.wanted(now), now) {
            match self.call(&task, now, rng) {
                Some(call) => calls.push((self.desk.begin(task), call)),
                None => {
                    self.desk.failed(&task, now, rng);
                }
            }
        }
        self.note(now);
        calls
    }

    fn answer(
        &mut self,
        id: CallId,
        outcome: Outcome,
        now: Time,
        rng: &mut dyn CryptoRng,
    ) -> Vec<UserEvent> {
        self.now = now;
        if let Some(task) = self.desk.end(id) {
            match outcome {
                Ok(answer) => match self.take(&task, answer, now, rng) {
                    Ok(()) => self.desk.done(&task),
                    Err(problem) => {
                        self.events.push(UserEvent::BadAnswer(problem));
                        self.fail(&task, Failure::Unreachable, now, rng);
                    }
                },
                Err(failure) => self.fail(&task, failure, now, rng),
            }
            self.note(now);
        }
        self.events()
    }

    fn events(&mut self) -> Vec<UserEvent> {
        std::mem::take(&mut self.events)
    }

    fn wake(&self) -> Option<Time> {
        if self.working() || self.reporting() || self.declines() {
            return Some(Time::ZERO);
        }
        [
            self.desk.wake(self.wanted(self.now)),
            self.patience_ends(),
            self.relist_due(),
            self.review_due(),
        ]
        .into_iter()
        .flatten()
        .min()
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
        let mut user = Self::with(state, view);
        user.refresh = true;
        Ok(user)
    }
}

impl User {
    fn watched(&self) -> Vec<(Mailbox, SigningKey)> {
        let tasks = self.wanted(self.now);
        tasks
            .iter()
            .filter_map(|(t, _)| self.mailbox_of(t))
            .collect()
    }
}
