//! What is said of a user's events.

use lapwing_protocol::booking::Rejection;
use lapwing_protocol::role::UserEvent;
use lapwing_protocol::role::user::{OfferView, SlotState};
use serde_json::{Value, json};

use crate::commands::role::Said;
use crate::commands::role::words::{exact, short, shown};

/// An offer as people read it.
pub(super) fn offer_text(offer: &OfferView) -> String {
    let p = &offer.practice;
    let mut text = format!(
        "{}  {}, {}, {} {} (until {})",
        short(&offer.id),
        p.name.as_str(),
        p.street.as_str(),
        p.postal_code.as_str(),
        p.city.as_str(),
        shown(offer.expires)
    );
    for slot in &offer.slots {
        let state = match slot.state {
            SlotState::Unknown => "?",
            SlotState::Open => "open",
            SlotState::Taken => "taken",
        };
        text.push_str(&format!(
            "\n  {}  {}  {} min  {}  {state}",
            slot.index,
            shown(slot.start),
            slot.minutes,
            slot.what.as_str()
        ));
    }
    text
}

/// An offer as programs read it.
pub(super) fn offer_json(offer: &OfferView) -> Value {
    let p = &offer.practice;
    let slots: Vec<Value> = offer
        .slots
        .iter()
        .map(|s| {
            json!({
                "slot": s.index, "start": exact(s.start), "minutes": s.minutes,
                "what": s.what.as_str(),
                "state": match s.state {
                    SlotState::Unknown => "unknown",
                    SlotState::Open => "open",
                    SlotState::Taken => "taken",
                },
            })
        })
        .collect();
    json!({
        "offer": offer.id.to_hex(), "expires": exact(offer.expires), "slots": slots,
        "practice": {
            "name": p.name.as_str(), "street": p.street.as_str(),
            "postal_code": p.postal_code.as_str(), "city": p.city.as_str(),
            "notes": p.notes.as_str(),
        },
    })
}

pub(super) fn rejection(reason: Rejection) -> &'static str {
    match reason {
        Rejection::SlotTaken => "the slot is taken",
        Rejection::DataMismatch => "the data do not match the token",
        Rejection::TokenLocked => "the token is booked elsewhere or used up",
        Rejection::OfferClosed => "the offer has ended",
        Rejection::NothingFree => "nothing else is free now",
    }
}

/// What is said of an event.
pub(super) fn tell(event: &UserEvent) -> Option<Said> {
    let said = match event {
        UserEvent::Working { tried } => Said::quiet("working", json!({ "tried": tried })),
        UserEvent::Drawn { issuer, epoch } => Said::new(
            "drawn",
            "A token is drawn: placing the request",
            json!({ "issuer": issuer.to_hex(), "epoch": epoch }),
        ),
        UserEvent::Admitted { expires } => Said::new(
            "admitted",
            format!("Admitted, until {}", shown(*expires)),
            json!({ "expires": exact(*expires) }),
        ),
        UserEvent::IssuerAway => Said::new(
            "issuer_away",
            "The node that issued the token is away; it is tried again",
            json!({}),
        ),
        UserEvent::Redrawn(p) => Said::new(
            "redrawn",
            format!("The token was no longer good ({p}): drawing another"),
            json!({ "problem": p.text() }),
        ),
        UserEvent::OfferReceived(offer) => Said::new(
            "offer",
            format!("An offer came:\n{}", offer_text(offer)),
            offer_json(offer),
        ),
        UserEvent::InvalidOffer(why) if why.may_change() => Said::quiet(
            "invalid_offer",
            json!({ "why": why.to_string(), "may_change": true }),
        ),
        UserEvent::InvalidOffer(why) => Said::new(
            "invalid_offer",
            format!("An offer came that is not shown: {why}"),
            json!({ "why": why.to_string(), "may_change": false }),
        ),
        UserEvent::SlotsChanged { offer } => {
            Said::quiet("slots_changed", json!({ "offer": offer.to_hex() }))
        }
        UserEvent::AllTaken => Said::new(
            "all_taken",
            "All slots of all offers are taken; another offer may come",
            json!({}),
        ),
        UserEvent::BookingSent { offer, slot } => Said::new(
            "booking_sent",
            "The booking is with the provider",
            json!({ "offer": offer.to_hex(), "slot": slot }),
        ),
        UserEvent::BookingWithdrawn(why) => Said::new(
            "booking_withdrawn",
            format!("The booking was not sent: {why}"),
            json!({ "why": why.to_string() }),
        ),
        UserEvent::Confirmed { offer, slot, start } => Said::new(
            "confirmed",
            format!("Confirmed: {}", shown(*start)),
            json!({ "offer": offer.to_hex(), "slot": slot, "start": exact(*start) }),
        ),
        UserEvent::Rejected {
            offer,
            slot,
            reason,
        } => Said::new(
            "rejected",
            format!("Not confirmed: {}", rejection(*reason)),
            json!({ "offer": offer.to_hex(), "slot": slot, "reason": format!("{reason:?}") }),
        ),
        UserEvent::OfferWithdrawn { offer, why } => Said::new(
            "offer_withdrawn",
            format!(
                "Offer {} is not shown any more: {why}",
                short(&offer.to_hex())
            ),
            json!({ "offer": offer.to_hex(), "why": why.to_string() }),
        ),
        UserEvent::OfferReturned { offer } => Said::new(
            "offer_returned",
            format!("Offer {} is good again", short(&offer.to_hex())),
            json!({ "offer": offer.to_hex() }),
        ),
        UserEvent::NothingFree { .. } => Said::new(
            "nothing_free",
            "The provider has nothing else free now; it offers when it has",
            json!({}),
        ),
        UserEvent::Changed { offer, slot, start } => Said::new(
            "changed",
            format!("Changed: {}", shown(*start)),
            json!({ "offer": offer.to_hex(), "slot": slot, "start": exact(*start) }),
        ),
        UserEvent::ChangeRejected {
            offer,
            slot,
            reason,
        } => Said::new(
            "change_rejected",
            format!("The change is not confirmed: {}", rejection(*reason)),
            json!({ "offer": offer.to_hex(), "slot": slot, "reason": format!("{reason:?}") }),
        ),
        UserEvent::CancelledByProvider {
            offer,
            slot,
            text,
            again,
        } => Said::new(
            "cancelled_by_provider",
            format!(
                "The provider cancels: {}{}",
                text.as_str(),
                if *again {
                    "; another offer follows"
                } else {
                    ""
                }
            ),
            json!({
                "offer": offer.to_hex(), "slot": slot, "text": text.as_str(), "again": again,
            }),
        ),
        UserEvent::InvalidCancellation => Said::new(
            "invalid_cancellation",
            "Something came as a cancellation that is none",
            json!({}),
        ),
        UserEvent::ProviderRevoked { offer, slot } => Said::new(
            "provider_revoked",
            "The mediator revoked the provider of the booking: `lapwing user cancel`",
            json!({ "offer": offer.to_hex(), "slot": slot }),
        ),
        UserEvent::Relisted => Said::new("relisted", "Listed again in the queue", json!({})),
        UserEvent::NoMoreOffers => Said::new(
            "no_more_offers",
            "No more offers come to this request: `lapwing user forget`, then ask anew",
            json!({}),
        ),
        UserEvent::Reported { offer } => Said::new(
            "reported",
            "The mediator has the report",
            json!({ "offer": offer.to_hex() }),
        ),
        UserEvent::ReportRefused { offer, problem } => Said::new(
            "report_refused",
            format!("The report cannot be written: {problem}"),
            json!({ "offer": offer.to_hex(), "problem": problem.text() }),
        ),
        UserEvent::InvalidConfirmation => Said::new(
            "invalid_confirmation",
            "Something came as a confirmation that is none",
            json!({}),
        ),
        UserEvent::Cancelled { offer, slot } => Said::quiet(
            "booking_cancelled",
            json!({ "offer": offer.to_hex(), "slot": slot }),
        ),
        UserEvent::Message { ticket, text } => Said::new(
            "message",
            format!("A provider writes: {}", text.as_str()),
            json!({ "ticket": ticket.to_hex(), "text": text.as_str() }),
        ),
        UserEvent::ViewStale(p) => Said::quiet("view_stale", json!({ "problem": p.text() })),
        UserEvent::Refused(p) => Said::new(
            "refused",
            format!("A node refuses: {p}"),
            json!({ "problem": p.text() }),
        ),
        UserEvent::BadAnswer(p) => Said::new(
            "bad_answer",
            format!("A node's answer is wrong: {p}"),
            json!({ "problem": p.text() }),
        ),
        UserEvent::Expired => Said::new("expired", "The request is over", json!({})),
        _ => return None,
    };
    Some(said)
}
