//! How far a user is, in as much detail as a shell or a page can show: what is waited for, since when,
//! and what the person can do next.

use super::state::{BookingStatus, KeptBooking, PastBooking, Redraw};
use super::{OfferView, User, UserStatus};
use crate::booking::Rejection;
use crate::bounded::Text;
use crate::id::{NodeId, RecordId, RegionId};
use crate::mediation::Practice;
use crate::time::Time;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitsFor {
    /// Nothing.
    Nothing,
    /// Roster and regions: the view of the chain of trust is empty.
    Trust,
    /// Proof of work is being done; so many were tried.
    Work {
        /// Proofs tried.
        tried: u64,
    },
    /// A node is to answer with a token.
    Token {
        /// The node.
        node: NodeId,
    },
    /// The token's issuer is to admit the request.
    Admission {
        /// The issuer.
        issuer: NodeId,
        /// Since when it is known to be away.
        away: Option<Time>,
    },
    /// Providers are to make offers.
    Offers,
    /// The mailbox of a provider is to take the booking.
    Delivery,
    /// The provider is to confirm, to answer a change, or to make another offer.
    Provider,
    /// The holders are to list the request again.
    Listing,
    /// The person is to choose a slot.
    Choice,
    /// The appointment.
    Appointment,
}

/// What the person can do next. Whatever it is, waiting does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NextStep {
    /// Ask for an appointment: [`User::request`].
    Request,
    /// Wait.
    Wait,
    /// Wait, or draw another token at another node: [`User::draw_anew`].
    DrawAnew,
    /// Choose a slot: [`User::book`].
    Book,
    /// Keep the appointment; or [`User::change`], [`User::cancel`].
    Attend,
    /// The provider of the booking was revoked: cancel, unless there are reasons not to.
    Cancel,
    /// Ask to be listed again: [`User::relist`].
    Relist,
    /// This request brings nothing more: [`User::abandon`] it and ask anew.
    StartOver,
}

/// A change that was asked for and is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeView {
    /// The offer of the slot that is wanted.
    pub offer: RecordId,
    /// The slot.
    pub slot: u8,
    /// When it starts.
    pub start: Time,
}

/// The booking under way, or the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookingView {
    /// The offer's record id.
    pub offer: RecordId,
    /// The slot.
    pub slot: u8,
    /// With whom.
    pub practice: Practice,
    /// When the slot starts.
    pub start: Time,
    /// How long it takes, in minutes.
    pub minutes: u16,
    /// What it is for.
    pub what: Text<80>,
    /// How far it is.
    pub status: BookingStatus,
    /// Since when it is so.
    pub since: Time,
    /// Why it was not confirmed.
    pub reason: Option<Rejection>,
    /// What the provider wrote when it cancelled.
    pub text: Option<Text<300>>,
    /// A change that is not answered.
    pub change: Option<ChangeView>,
    /// The provider's certificate was revoked since.
    pub revoked: bool,
}

/// How far a user is, in detail.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overview {
    /// In short.
    pub status: UserStatus,
    /// Since when the status is what it is; [`Time::ZERO`] before the first poll.
    pub since: Time,
    /// What is waited for.
    pub waits_for: WaitsFor,
    /// What the person can do.
    pub next: NextStep,
    /// The region asked for.
    pub region: Option<RegionId>,
    /// Until when the request is in the queue.
    pub expires: Option<Time>,
    /// How many tokens were drawn for the request.
    pub drawn: u32,
    /// Why tokens were drawn anew, the oldest first.
    pub redrawn: Vec<Redraw>,
    /// How often it was asked to be listed again.
    pub relisted: u32,
    /// The offers that may be shown, by id.
    pub offers: Vec<OfferView>,
    /// How many offers cannot be judged until the chain of trust is known better.
    pub suspended: usize,
    /// The booking under way, or the last one.
    pub booking: Option<BookingView>,
    /// Bookings before that one, of earlier requests too, the oldest first.
    pub past: Vec<PastBooking>,
}

impl User {
    /// How far it is, as of the time last told.
    #[must_use]
    pub fn overview(&self) -> Overview {
        let asked = self.state.asked.as_ref();
        let waits_for = self.waits_for();
        let suspended = asked.map_or(0, |a| self.outlook(a, self.now).suspended);
        Overview {
            status: self.status(),
            since: self.state.since,
            waits_for,
            next: self.next_step(waits_for),
            region: asked.map(|a| a.region),
            expires: asked.and_then(|a| a.admitted.as_ref()).map(|a| a.expires),
            drawn: asked.map_or(0, |a| a.drawn),
            redrawn: asked.map(|a| a.redrawn.to_vec()).unwrap_or_default(),
            relisted: asked.map_or(0, |a| a.relist.times),
            offers: self.offers(),
            suspended,
            booking: self.booking(),
            past: self.state.past.to_vec(),
        }
    }

    /// The booking under way, or the last one of this request.
    #[must_use]
    pub fn booking(&self) -> Option<BookingView> {
        let asked = self.state.asked.as_ref()?;
        let booking = asked.booking.as_ref()?;
        let offer = &asked.offers.get(&booking.offer)?.offer;
        let slot = offer.slots.get(usize::from(booking.slot))?;
        Some(BookingView {
            offer: booking.offer,
            slot: booking.slot,
            practice: offer.practice.clone(),
            start: booking.start,
            minutes: slot.minutes,
            what: slot.what.clone(),
            status: booking.status,
            since: booking.since,
            reason: booking.reason,
            text: booking.text.clone(),
            change: booking.change.as_ref().map(|c| ChangeView {
                offer: c.choice.offer,
                slot: c.choice.slot,
                start: c.start,
            }),
            revoked: booking.revoked,
        })
    }

    /// Bookings that are over, of earlier requests too, the oldest first: at most
    /// [`super::MAX_PAST`].
    #[must_use]
    pub fn past_bookings(&self) -> &[PastBooking] {
        &self.state.past
    }

    fn waits_for(&self) -> WaitsFor {
        let Some(asked) = &self.state.asked else {
            return WaitsFor::Nothing;
        };
        if self.view.params().is_none() {
            return WaitsFor::Trust;
        }
        match (&asked.token, &asked.admitted) {
            (None, _) if self.working() => {
                return WaitsFor::Work {
                    tried: asked.draw.tried,
                };
            }
            (None, _) => {
                return WaitsFor::Token {
                    node: self.state.node,
                };
            }
            (Some(token), None) => {
                return WaitsFor::Admission {
                    issuer: token.issuer,
                    away: asked.away,
                };
            }
            _ => {}
        }
        if let Some(found) = asked.booking.as_ref().and_then(of_booking) {
            return found;
        }
        if self.outlook(asked, self.now).open > 0 {
            WaitsFor::Choice
        } else if !asked.relist.waiting.is_empty() {
            WaitsFor::Listing
        } else if asked.channels.values().any(|c| c.asks.is_some()) {
            WaitsFor::Provider
        } else if asked.relist.content {
            WaitsFor::Nothing
        } else {
            WaitsFor::Offers
        }
    }

    fn next_step(&self, waits_for: WaitsFor) -> NextStep {
        let Some(asked) = &self.state.asked else {
            return NextStep::Request;
        };
        let revoked = asked
            .booking
            .as_ref()
            .is_some_and(|b| b.revoked && b.status.stands());
        match waits_for {
            _ if revoked => NextStep::Cancel,
            WaitsFor::Admission { away: Some(_), .. } => NextStep::DrawAnew,
            WaitsFor::Choice => NextStep::Book,
            WaitsFor::Appointment => NextStep::Attend,
            WaitsFor::Nothing => NextStep::Relist,
            WaitsFor::Offers if asked.relist.used_up => NextStep::StartOver,
            WaitsFor::Offers if !self.state.automatic => {
                let listed = asked.channels.values().all(|c| c.given_up);
                if listed {
                    NextStep::Wait
                } else {
                    NextStep::Relist
                }
            }
            _ => NextStep::Wait,
        }
    }
}

/// What a booking that stands waits for.
fn of_booking(booking: &KeptBooking) -> Option<WaitsFor> {
    match booking.status {
        BookingStatus::Sending => Some(WaitsFor::Delivery),
        BookingStatus::Sent => Some(WaitsFor::Provider),
        BookingStatus::Confirmed if booking.change.is_some() => Some(WaitsFor::Provider),
        BookingStatus::Confirmed => Some(WaitsFor::Appointment),
        _ => None,
    }
}
