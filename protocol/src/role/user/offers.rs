//! Which of the offers that came may be shown now, and to which of them a person could still say yes.

use super::check::InvalidOffer;
use super::kept_offer::{Gone, KeptOffer};
use super::state::{Asked, BookingStatus};
use super::{OfferView, SlotState, SlotView, User, UserEvent};
use crate::id::{RecordId, RegionId};
use crate::problem::Problem;
use crate::time::{Seconds, Time};
use crate::trust::TrustView;

/// Most offers that are kept: those that are over go first.
const MAX_OFFERS: usize = 64;

/// Whether a kept offer holds by what is known now. Signatures were checked when it came; this looks
/// only at what can change.
///
/// # Errors
/// What does not hold.
pub(super) fn standing(
    view: &TrustView,
    region: &RegionId,
    kept: &KeptOffer,
    now: Time,
) -> Result<(), InvalidOffer> {
    if now > kept.offer.expires {
        return Err(InvalidOffer::Expired);
    }
    let found = match view.provider(&kept.certificate, now) {
        // The view may not hold what the offer brought.
        Err(Problem::UnknownCertificate) => view
            .check_certificate(&kept.offer.certificate, now)
            .map(|c| c.regions.contains(region)),
        found => found.map(|c| c.regions.contains(region)),
    };
    match found {
        Ok(true) => Ok(()),
        Ok(false) => Err(InvalidOffer::Region),
        Err(p) => Err(InvalidOffer::Certificate(p)),
    }
}

/// What is left to choose from.
#[derive(Clone, Copy, Default)]
pub(super) struct Outlook {
    /// Slots that are not known to be taken, of offers that hold.
    pub(super) open: usize,
    /// Offers that may hold again when the view knows more.
    pub(super) suspended: usize,
}

impl User {
    /// The good offers that are open now, by id. What does not pass by the chain of trust as it is
    /// known at the time last told is not among them, nor what expired, was given up, or was closed by
    /// its provider.
    #[must_use]
    pub fn offers(&self) -> Vec<OfferView> {
        let ids = self.state.asked.iter().flat_map(|a| a.offers.keys());
        ids.filter_map(|id| self.offer(id)).collect()
    }

    /// One good offer that is open now.
    #[must_use]
    pub fn offer(&self, id: &RecordId) -> Option<OfferView> {
        let asked = self.state.asked.as_ref()?;
        let kept = asked.offers.get(id)?;
        self.shown(asked, kept).then(|| view_of(id, kept))
    }

    fn shown(&self, asked: &Asked, kept: &KeptOffer) -> bool {
        kept.gone.is_none() && standing(&self.view, &asked.region, kept, self.now).is_ok()
    }

    /// The offers that may be shown, with their ids.
    pub(super) fn shown_offers<'a>(
        &'a self,
        asked: &'a Asked,
    ) -> impl Iterator<Item = (&'a RecordId, &'a KeptOffer)> {
        asked
            .offers
            .iter()
            .filter(|(_, kept)| self.shown(asked, kept))
    }

    /// What is left to choose from.
    pub(super) fn outlook(&self, asked: &Asked, now: Time) -> Outlook {
        let mut outlook = Outlook::default();
        for kept in asked.offers.values().filter(|o| o.gone.is_none()) {
            match standing(&self.view, &asked.region, kept, now) {
                Ok(()) => {
                    let slots = kept.offer.slots.iter().enumerate();
                    outlook.open += slots
                        .filter(|(i, s)| s.start > now && !kept.taken(*i))
                        .count();
                }
                Err(e) if e.may_change() => outlook.suspended += 1,
                Err(_) => {}
            }
        }
        outlook
    }

    /// Looks at every offer again by the present view, and tells what changed.
    pub(super) fn review(&mut self, now: Time) {
        // A view that knows nothing yet says nothing about anybody.
        if self.view.params().is_none() {
            return;
        }
        let Some(asked) = self.state.asked.as_mut() else {
            return;
        };
        for (id, kept) in asked.offers.iter_mut() {
            if kept.gone.is_some() {
                continue;
            }
            match standing(&self.view, &asked.region, kept, now) {
                Ok(()) => {
                    if self.hidden.remove(id).is_some() {
                        self.events.push(UserEvent::OfferReturned { offer: *id });
                    }
                }
                Err(InvalidOffer::Expired) => {
                    self.hidden.remove(id);
                }
                Err(why) => {
                    if !why.may_change() {
                        kept.gone = Some(Gone::Withdrawn);
                    }
                    let known = self.hidden.insert(*id, why);
                    if known.is_none_or(|k| k.may_change() && !why.may_change()) {
                        self.events
                            .push(UserEvent::OfferWithdrawn { offer: *id, why });
                    }
                }
            }
        }
        self.review_booking(now);
    }

    /// Whether the provider of a booking that stands was revoked: told once.
    fn review_booking(&mut self, now: Time) {
        let Some(asked) = self.state.asked.as_mut() else {
            return;
        };
        let Some(booking) = asked.booking.as_mut().filter(|b| {
            matches!(b.status, BookingStatus::Sent | BookingStatus::Confirmed) && !b.revoked
        }) else {
            return;
        };
        let Some(kept) = asked.offers.get(&booking.offer) else {
            return;
        };
        let found = match self.view.provider(&kept.certificate, now) {
            Err(Problem::UnknownCertificate) => self
                .view
                .check_certificate(&kept.offer.certificate, now)
                .map(drop),
            found => found.map(drop),
        };
        if found == Err(Problem::Revoked) {
            booking.revoked = true;
            self.events.push(UserEvent::ProviderRevoked {
                offer: booking.offer,
                slot: booking.slot,
            });
        }
    }

    /// When an offer that holds now may cease to, if nothing else happens.
    pub(super) fn review_due(&self) -> Option<Time> {
        let asked = self.state.asked.as_ref()?;
        let ends = self.shown_offers(asked).filter_map(|(_, kept)| {
            let status = self.view.mediator(&kept.mediator)?.status()?;
            let end = kept.offer.expires.min(kept.certified).min(status.expires);
            Some(end.plus(Seconds::new(1)))
        });
        ends.min()
    }
}

pub(super) fn view_of(id: &RecordId, kept: &KeptOffer) -> OfferView {
    let slots = kept.offer.slots.iter().zip(0u8..).map(|(slot, index)| {
        let marked = kept.marks.get(usize::from(index)).copied().flatten();
        SlotView {
            index,
            start: slot.start,
            minutes: slot.minutes,
            what: slot.what.clone(),
            state: match marked {
                _ if kept.taken(index.into()) => SlotState::Taken,
                Some(_) => SlotState::Open,
                None => SlotState::Unknown,
            },
        }
    });
    OfferView {
        id: *id,
        practice: kept.offer.practice.clone(),
        slots: slots.collect(),
        expires: kept.offer.expires,
    }
}

impl Asked {
    /// Makes room for another offer: what is over goes first. False where there is none.
    pub(super) fn room(&mut self, now: Time) -> bool {
        if self.offers.len() < MAX_OFFERS {
            return true;
        }
        let booked = self.booking.as_ref().map(|b| b.offer);
        self.offers.retain(|id, kept| {
            Some(*id) == booked || (kept.gone.is_none() && now <= kept.offer.expires)
        });
        self.offers.len() < MAX_OFFERS
    }
}
