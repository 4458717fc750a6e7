//! How far a user is, and what comes next.

use lapwing_protocol::role::user::{
    BookingStatus, BookingView, NextStep, Overview, UserStatus, WaitsFor,
};
use lapwing_protocol::role::{Role, User};
use serde_json::{Value, json};

use super::event::rejection;
use super::order::open;
use super::region;
use crate::commands::role::words::{exact, short, shown};
use crate::commands::role::{Failure, Hand};

/// Says how far it is.
pub(super) async fn status(hand: &Hand<User>) -> Result<(), Failure> {
    hand.settled().await?;
    let (overview, region, offers) = hand
        .with(|user, now, _| {
            let overview = user.overview();
            let region = overview.region.map(|id| {
                let found = user.view().region(&id);
                found.map_or_else(|| short(&id.to_hex()), |(_, r)| region::title(r))
            });
            let offers = open(&overview.offers, now).len();
            (overview, region, offers)
        })
        .await?;
    let name = name(overview.status, offers);
    let mut lines = Vec::new();
    if let Some(region) = &region {
        let until = overview.expires.map(|at| format!(", until {}", shown(at)));
        lines.push(format!("In {region}{}.", until.unwrap_or_default()));
    }
    lines.push(state_text(&overview, offers));
    if let Some(booking) = &overview.booking {
        lines.push(booking_line(booking));
    }
    lines.push(format!("Next: {}.", next_text(overview.next, offers)));
    let booking = overview.booking.as_ref().map(booking_json);
    hand.say(
        "status",
        lines.join("\n"),
        json!({
            "status": name, "since": exact(overview.since), "next": format!("{:?}", overview.next),
            "region": overview.region.map(|id| id.to_hex()), "region_name": region,
            "expires": overview.expires.map(exact), "open_offers": offers,
            "suspended": overview.suspended, "tokens_drawn": overview.drawn,
            "relisted": overview.relisted, "booking": booking,
        }),
    );
    Ok(())
}

fn name(status: UserStatus, offers: usize) -> &'static str {
    match status {
        UserStatus::Idle => "idle",
        UserStatus::Drawing => "drawing",
        UserStatus::Placing => "placing",
        UserStatus::Waiting if offers == 0 => "waiting",
        UserStatus::Waiting => "offered",
        UserStatus::Booking(status) => booking_text(status).0,
        _ => "unknown",
    }
}

fn state_text(overview: &Overview, offers: usize) -> String {
    if let UserStatus::Booking(status) = overview.status {
        return booking_text(status).1.to_owned();
    }
    match overview.waits_for {
        WaitsFor::Nothing => "Nothing is asked for.".to_owned(),
        WaitsFor::Trust => "Waiting for the roster and the regions.".to_owned(),
        WaitsFor::Work { tried } => format!("Drawing a token; {tried} proofs of work tried."),
        WaitsFor::Token { .. } => "Waiting for a node's token.".to_owned(),
        WaitsFor::Admission { away: Some(at), .. } => {
            format!("The token's issuer is away since {}.", shown(at))
        }
        WaitsFor::Admission { .. } => "Placing the request.".to_owned(),
        WaitsFor::Listing => "Waiting to be listed again.".to_owned(),
        _ if offers == 0 => "In the queue; no offer yet.".to_owned(),
        _ => format!("{offers} offers are open."),
    }
}

fn next_text(next: NextStep, offers: usize) -> &'static str {
    match next {
        NextStep::Request => "`lapwing user ask --postal-code CODE`",
        NextStep::Wait if offers > 0 => "`lapwing user offers`",
        NextStep::Wait => "`lapwing user offers --wait`, or `lapwing user watch`",
        NextStep::DrawAnew => "wait, or `lapwing user redraw`",
        NextStep::Book => "`lapwing user offers`, then `lapwing user book OFFER SLOT`",
        NextStep::Attend => "go there; `lapwing user change --ask` or `lapwing user cancel` if not",
        NextStep::Cancel => "the provider was revoked: `lapwing user cancel`",
        NextStep::Relist => "`lapwing user relist`",
        NextStep::StartOver => "`lapwing user forget`, then ask anew",
        _ => "`lapwing user watch`",
    }
}

/// A booking's state, for programs and for people.
pub(super) fn booking_text(status: BookingStatus) -> (&'static str, &'static str) {
    match status {
        BookingStatus::Sending => ("sending", "The booking is being sent."),
        BookingStatus::Sent => ("sent", "The booking waits for the provider."),
        BookingStatus::Confirmed => ("confirmed", "The booking is confirmed."),
        BookingStatus::Rejected => (
            "rejected",
            "The booking was not confirmed: book another slot, see `lapwing user offers`.",
        ),
        BookingStatus::Cancelled => ("cancelled", "The booking is cancelled."),
        BookingStatus::Withdrawn => (
            "withdrawn",
            "The booking was not sent: the offer does not hold any more, see `lapwing user offers`.",
        ),
        BookingStatus::CancelledByProvider => (
            "cancelled_by_provider",
            "The provider cancelled the booking: book another slot, see `lapwing user offers`.",
        ),
    }
}

/// When and with whom, and what was said about it.
pub(super) fn booking_line(b: &BookingView) -> String {
    let p = &b.practice;
    let mut line = format!(
        "{}, {} min, {}: {}, {}, {} {}",
        shown(b.start),
        b.minutes,
        b.what.as_str(),
        p.name.as_str(),
        p.street.as_str(),
        p.postal_code.as_str(),
        p.city.as_str()
    );
    if let Some(reason) = b.reason {
        line.push_str(&format!(" ({})", rejection(reason)));
    }
    if let Some(text) = &b.text {
        line.push_str(&format!("; the provider writes: {}", text.as_str()));
    }
    if let Some(change) = &b.change {
        line.push_str(&format!(
            "; a change to {} is not answered",
            shown(change.start)
        ));
    }
    line
}

fn booking_json(b: &BookingView) -> Value {
    json!({
        "offer": b.offer.to_hex(), "slot": b.slot, "start": exact(b.start), "minutes": b.minutes,
        "what": b.what.as_str(), "practice": b.practice.name.as_str(),
        "status": booking_text(b.status).0, "since": exact(b.since),
        "reason": b.reason.map(|r| format!("{r:?}")), "text": b.text.as_ref().map(|t| t.as_str()),
        "change": b.change.map(|c| json!({
            "offer": c.offer.to_hex(), "slot": c.slot, "start": exact(c.start),
        })),
        "revoked": b.revoked,
    })
}
