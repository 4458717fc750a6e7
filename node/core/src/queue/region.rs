//! One region's queue: its slots, the list in order, and the timers that bring requests back.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use lapwing_protocol::id::{Priority, RequestId};
use lapwing_protocol::time::Time;

use super::slot::{Seat, Slot};
use super::{Entry, Limits, Listed, MAX_PASSED_OVER};

/// The requests that can be picked at `clock`, the latest time that was asked about, and those that
/// can be again at a known time.
#[derive(Default)]
struct Board {
    clock: Time,
    listed: BTreeSet<(u32, Priority, RequestId)>,
    waiting: BTreeSet<(Time, RequestId)>,
}

impl Board {
    fn seat(&mut self, request: RequestId, slot: &mut Slot) {
        slot.seat = match slot.rank() {
            Some((epoch, priority)) if !slot.booked() && self.clock < slot.expires() => {
                if slot.free_from() <= self.clock {
                    self.listed.insert((epoch, priority, request));
                    Seat::Listed
                } else {
                    self.waiting.insert((slot.free_from(), request));
                    Seat::Waiting
                }
            }
            _ => Seat::Off,
        };
    }

    /// Before anything in the slot changes: its old values are the keys.
    fn unseat(&mut self, request: RequestId, slot: &mut Slot) {
        match (slot.seat, slot.rank()) {
            (Seat::Listed, Some((epoch, priority))) => {
                self.listed.remove(&(epoch, priority, request));
            }
            (Seat::Waiting, _) => {
                self.waiting.remove(&(slot.free_from(), request));
            }
            _ => {}
        }
        slot.seat = Seat::Off;
    }
}

#[derive(Default)]
pub(super) struct RegionQueue {
    // Boxed, so that the free places of the tree's nodes stay small.
    slots: BTreeMap<RequestId, Box<Slot>>,
    known: usize,
    board: Board,
    /// Each slot is under its expiry; a slot whose expiry changed is also still under the old one.
    expiry: BTreeMap<Time, Vec<RequestId>>,
}

impl RegionQueue {
    /// How many requests there are, and how many of them the list has; what became due since it was
    /// last picked from counts as waiting still.
    pub(super) fn listed(&self) -> Listed {
        Listed {
            requests: self.known as u64,
            open: self.board.listed.len() as u64,
            waiting: self.board.waiting.len() as u64,
        }
    }

    pub(super) fn change(
        &mut self,
        request: RequestId,
        expires: Time,
        limits: Limits,
        edit: impl FnOnce(&mut Slot),
    ) {
        let slot = self.slots.entry(request).or_default();
        self.board.unseat(request, slot);
        let (known, expired) = (slot.entry().is_some(), slot.expires());
        slot.expires_at_least(expires);
        edit(slot);
        slot.refresh(limits);
        self.board.seat(request, slot);
        self.known += usize::from(slot.entry().is_some() && !known);
        if slot.expires() != expired {
            self.expiry.entry(slot.expires()).or_default().push(request);
        }
    }

    pub(super) fn relimit(&mut self, limits: Limits) {
        for (request, slot) in &mut self.slots {
            self.board.unseat(*request, slot);
            slot.refresh(limits);
            self.board.seat(*request, slot);
        }
    }

    /// Brings the list up to `now`. Each request that moves pays for itself.
    fn advance(&mut self, now: Time) {
        if now <= self.board.clock {
            return;
        }
        let before = std::mem::replace(&mut self.board.clock, now);
        while let Some(&(due, request)) = self.board.waiting.first()
            && due <= now
        {
            self.board.waiting.pop_first();
            if let Some(slot) = self.slots.get_mut(&request) {
                self.board.seat(request, slot);
            }
        }
        let passed = (Bound::Excluded(before), Bound::Included(now));
        for request in self.expiry.range(passed).flat_map(|(_, requests)| requests) {
            if let Some(slot) = self.slots.get_mut(request) {
                self.board.unseat(*request, slot);
                self.board.seat(*request, slot);
            }
        }
    }

    /// The first of the list, and how many entries were looked at.
    pub(super) fn pick(
        &mut self,
        count: usize,
        now: Time,
        without: Option<u32>,
    ) -> (Vec<RequestId>, usize) {
        self.advance(now);
        let now = self.board.clock;
        let mut picked = Vec::with_capacity(count.min(self.board.listed.len()));
        let mut seen = 0;
        for (_, _, request) in self
            .board
            .listed
            .iter()
            .take(count.saturating_add(MAX_PASSED_OVER))
        {
            if picked.len() >= count {
                break;
            }
            seen += 1;
            let slot = self.slots.get(request);
            let passed_over =
                without.is_some_and(|by| slot.is_some_and(|slot| slot.open_for(by, now)));
            if !passed_over {
                picked.push(*request);
            }
        }
        (picked, seen)
    }

    /// Forgets what has expired; returns the requests, without what waited for an entry in vain.
    pub(super) fn expire(&mut self, now: Time) -> Vec<RequestId> {
        let mut removed = Vec::new();
        while let Some(first) = self.expiry.first_entry()
            && *first.key() <= now
        {
            for request in first.remove() {
                let Some(mut slot) = self.slots.remove(&request) else {
                    continue;
                };
                if slot.expires() > now {
                    self.slots.insert(request, slot);
                    continue;
                }
                self.board.unseat(request, &mut slot);
                if slot.entry().is_some() {
                    self.known -= 1;
                    removed.push(request);
                }
            }
        }
        removed
    }

    pub(super) fn slot(&self, request: &RequestId) -> Option<&Slot> {
        self.slots.get(request).map(|slot| &**slot)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (RequestId, Entry)> {
        self.slots
            .iter()
            .filter_map(|(request, slot)| Some((*request, slot.entry()?)))
    }

    pub(super) fn len(&self) -> usize {
        self.known
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}
