//! Opening mailboxes and marks: this node signs an opening for each and brings it to its holders.

use lapwing_protocol::bounded::Bytes;
use lapwing_protocol::client::{Answer, Openings};
use lapwing_protocol::cose::{Verified, sign_verified};
use lapwing_protocol::item::CheckedItem;
use lapwing_protocol::mailbox::{OpenOrder, Opening, Payment, Place, Receipt, Writers};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::time::Day;

use super::{Flow, Then, list};
use crate::core::Core;
use crate::input::ClientTag;
use crate::rows::{self, Counter};
use crate::store::Reader;

/// An order to open, under way.
pub(crate) struct Open {
    tag: ClientTag,
    openings: Vec<Bytes<1280>>,
    outstanding: usize,
    failed: Option<Problem>,
}

impl<R: Reader> Core<R> {
    pub(super) fn start_open(&mut self, tag: ClientTag, order: &Verified<OpenOrder>) {
        let today = self.time().day();
        if order
            .places
            .iter()
            .any(|p| p.day() > today.plus(1) || today > p.day().plus(1))
        {
            return self.answer(tag, Err(Problem::StaleTime));
        }
        if let Err(problem) = self.may_open(order) {
            return self.answer(tag, Err(problem));
        }
        let serial = match self.take_serials(today, order.places.len()) {
            Ok(serial) => serial,
            Err(problem) => return self.answer(tag, Err(problem)),
        };
        let mut items = Vec::new();
        for (place, serial) in order.places.iter().zip(serial..) {
            let opening = Opening {
                node: self.me.id(),
                place: place.clone(),
                day: today,
                serial,
            };
            items.push(CheckedItem::opening(
                sign_verified(&opening, self.me.signing()),
                self.hour(),
            ));
        }
        let openings = items
            .iter()
            .filter_map(|i| Bytes::try_from(i.body().to_vec()).ok())
            .collect();
        let flow = self.start(Flow::Open(Open {
            tag,
            openings,
            outstanding: items.len(),
            failed: None,
        }));
        // The serials are on disk first: none is ever signed twice.
        for item in items {
            self.put_after(item, Then::Flow(flow, 0));
        }
    }

    /// Whether an order pays for these places.
    fn may_open(&self, order: &OpenOrder) -> Result<(), Problem> {
        let work = self.view.params().ok_or(Problem::NotReady)?.box_work;
        for place in &order.places {
            match place {
                Place::Mark(_) => {}
                Place::Mailbox(mailbox) => match (&mailbox.writers, &order.payment) {
                    (Writers::Keys(keys), _) if !keys.is_empty() => {}
                    // An inbox is opened by an admission, and nobody can write without keys.
                    (Writers::Keys(_) | Writers::Tickets, _) => return Err(Problem::OutOfBounds),
                    (Writers::Work(_), Payment::Provider(_)) => return Err(Problem::WrongSigner),
                    (Writers::Work(bits), _) if *bits < work => return Err(Problem::WorkMissing),
                    (Writers::Work(_), _) => {}
                },
            }
        }
        Ok(())
    }

    pub(super) fn open_put(
        &mut self,
        mut open: Open,
        _what: u16,
        done: Result<Receipt, Problem>,
    ) -> Option<Open> {
        open.outstanding = open.outstanding.saturating_sub(1);
        if let Err(problem) = done {
            open.failed.get_or_insert(problem);
        }
        if open.outstanding > 0 {
            return Some(open);
        }
        let result = match open.failed {
            None => Ok(Answer::Openings(Openings {
                openings: list(open.openings),
            })),
            Some(problem) => Err(problem),
        };
        self.answer(open.tag, result);
        None
    }

    /// Takes serials of a permit day, below the federation's cap.
    fn take_serials(&mut self, today: Day, count: usize) -> Result<u32, Problem> {
        let cap = self
            .view
            .params()
            .ok_or(Problem::NotReady)?
            .openings_per_day;
        let day = self.counter(Counter::OpeningDay)?;
        let next = if day == u64::from(today.get()) {
            self.counter(Counter::Openings)?
        } else {
            0
        };
        let first = u32::try_from(next).map_err(|_| Problem::CapReached)?;
        let after = first.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        if after > cap {
            return Err(Problem::CapReached);
        }
        self.set_counter(Counter::OpeningDay, u64::from(today.get()));
        self.set_counter(Counter::Openings, u64::from(after));
        Ok(first)
    }

    /// A counter's number; zero where it was never set.
    pub(crate) fn counter(&self, counter: Counter) -> Result<u64, Problem> {
        let Some(value) = self.get(&rows::counter_key(counter))? else {
            return Ok(0);
        };
        let bytes = rows::unversioned(&value)
            .and_then(|b| b.try_into().ok())
            .ok_or(Problem::Internal)?;
        Ok(u64::from_be_bytes(bytes))
    }

    /// Sets a counter.
    pub(crate) fn set_counter(&mut self, counter: Counter, n: u64) {
        self.put(
            rows::counter_key(counter),
            rows::versioned(&n.to_be_bytes()),
        );
    }
}
