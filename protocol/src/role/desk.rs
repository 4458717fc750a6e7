//! Open calls and retries: which task is under way, which failed and waits, which mailbox is due.
//!
//! A role derives what it wants from its state; this only remembers what must not be asked now. None
//! of it is stored: after a restart everything that is still wanted is simply asked again.

use std::collections::{BTreeMap, BTreeSet};

use rand_core::CryptoRng;

use super::CallId;
use crate::id::MailboxId;
use crate::time::{Seconds, Time};

/// Longest pause between two tries, in seconds, before jitter.
const MAX_PAUSE: u32 = 300;

#[derive(Clone, Copy, Default)]
struct Try {
    failures: u32,
    not_before: Time,
    flying: bool,
}

/// What a role has asked, by task.
pub(crate) struct Desk<T> {
    next: u64,
    open: BTreeMap<CallId, T>,
    tries: BTreeMap<T, Try>,
}

impl<T: Ord + Clone> Desk<T> {
    pub(crate) fn new() -> Self {
        Desk {
            next: 0,
            open: BTreeMap::new(),
            tries: BTreeMap::new(),
        }
    }

    /// Of the tasks wanted, with the time from which each is, those to do now.
    pub(crate) fn due(&mut self, wanted: Vec<(T, Time)>, now: Time) -> Vec<T> {
        let names: BTreeSet<&T> = wanted.iter().map(|(t, _)| t).collect();
        // A pause outlives the wish: what is wanted again in another shape waits too.
        self.tries
            .retain(|t, state| state.flying || state.not_before > now || names.contains(t));
        wanted
            .into_iter()
            .filter(|(t, from)| self.start(t, *from).is_some_and(|at| at <= now))
            .map(|(t, _)| t)
            .collect()
    }

    /// When the first of the tasks wanted can be done.
    pub(crate) fn wake(&self, wanted: Vec<(T, Time)>) -> Option<Time> {
        wanted
            .iter()
            .filter_map(|(t, from)| self.start(t, *from))
            .min()
    }

    /// Whether a task's call is under way.
    pub(crate) fn flying(&self, task: &T) -> bool {
        self.tries.get(task).is_some_and(|t| t.flying)
    }

    /// Whether a task is neither under way nor waiting.
    pub(crate) fn ready(&self, task: &T, now: Time) -> bool {
        self.start(task, Time::ZERO).is_some_and(|at| at <= now)
    }

    fn start(&self, task: &T, from: Time) -> Option<Time> {
        match self.tries.get(task) {
            Some(t) if t.flying => None,
            Some(t) => Some(t.not_before.max(from)),
            None => Some(from),
        }
    }

    /// A task's call goes out.
    pub(crate) fn begin(&mut self, task: T) -> CallId {
        let id = CallId(self.next);
        self.next += 1;
        self.tries.entry(task.clone()).or_default().flying = true;
        self.open.insert(id, task);
        id
    }

    /// A call was answered: its task, if the call is still of interest.
    pub(crate) fn end(&mut self, id: CallId) -> Option<T> {
        let task = self.open.remove(&id)?;
        if let Some(t) = self.tries.get_mut(&task) {
            t.flying = false;
        }
        Some(task)
    }

    /// A task succeeded: its failures are forgotten.
    pub(crate) fn done(&mut self, task: &T) {
        if self.tries.get(task).is_some_and(|t| !t.flying) {
            self.tries.remove(task);
        }
    }

    /// A task failed; it waits, longer each time. Returns how often it has failed in a row.
    pub(crate) fn failed<R: CryptoRng + ?Sized>(
        &mut self,
        task: &T,
        now: Time,
        rng: &mut R,
    ) -> u32 {
        let t = self.tries.entry(task.clone()).or_default();
        t.failures = t.failures.saturating_add(1);
        let pause = 1u32
            .checked_shl(t.failures.min(16) - 1)
            .unwrap_or(MAX_PAUSE)
            .min(MAX_PAUSE);
        // Up to half as long again, so that clients refused together do not return together.
        let jitter = rng.next_u32() % (pause / 2 + 1);
        t.not_before = now.plus(Seconds::new(pause + jitter));
        t.failures
    }

    /// Forgets every call and every pause: the role talks to another node.
    pub(crate) fn reset(&mut self) {
        self.open.clear();
        self.tries.clear();
    }
}

/// When each mailbox is to be read next.
#[derive(Default)]
pub(crate) struct Reads {
    due: BTreeMap<MailboxId, Time>,
    after: BTreeMap<MailboxId, u32>,
    /// Those with a letter that must wait for something else.
    left: BTreeSet<MailboxId>,
}

impl Reads {
    /// When a mailbox is to be read; at once if it never was.
    pub(crate) fn due(&self, id: &MailboxId) -> Time {
        self.due.get(id).copied().unwrap_or(Time::ZERO)
    }

    /// The slot behind which the next page begins.
    pub(crate) fn after(&self, id: &MailboxId) -> Option<u32> {
        self.after.get(id).copied()
    }

    /// A mailbox is new, and nothing is expected in it yet. Its watch says when it is to be read; where
    /// there is none, the role's pace does.
    pub(crate) fn made(&mut self, id: MailboxId, now: Time, every: Seconds) {
        self.due.entry(id).or_insert(now.plus(every));
    }

    /// A read goes out: a change reported from now on asks for another.
    pub(crate) fn begin(&mut self, id: MailboxId) {
        self.left.remove(&id);
        self.due.insert(id, Time::MAX);
    }

    /// A page came; `next` is the slot behind which there is more.
    pub(crate) fn end(&mut self, id: MailboxId, next: Option<u32>, now: Time, every: Seconds) {
        let touched = self.due(&id) != Time::MAX;
        match next {
            Some(slot) => self.after.insert(id, slot),
            None => self.after.remove(&id),
        };
        let at = if touched || next.is_some() {
            Time::ZERO
        } else {
            now.plus(every)
        };
        self.due.insert(id, at);
    }

    /// A read failed, or the mailbox changed: it is wanted now (a pause is the desk's).
    pub(crate) fn touch(&mut self, id: MailboxId) {
        self.due.insert(id, Time::ZERO);
    }

    /// A letter that was read could not be dealt with yet.
    pub(crate) fn leave(&mut self, id: MailboxId) {
        self.left.insert(id);
    }

    /// What a letter may have waited for has come: if there is one, it is wanted now.
    pub(crate) fn resume(&mut self, id: MailboxId) {
        if self.left.remove(&id) {
            self.touch(id);
        }
    }

    /// Forgets mailboxes that are of no more interest.
    pub(crate) fn retain(&mut self, keep: impl Fn(&MailboxId) -> bool) {
        self.left.retain(&keep);
        self.due.retain(|id, _| keep(id));
        self.after.retain(|id, _| keep(id));
    }

    /// Everything is to be read anew.
    pub(crate) fn reset(&mut self) {
        self.left.clear();
        self.due.clear();
        self.after.clear();
    }
}
