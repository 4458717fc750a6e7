//! What each command to a provider's role does, but for the slots.

use anyhow::anyhow;
use lapwing_protocol::bounded::List;
use lapwing_protocol::id::{MediatorId, RegionId, TicketId};
use lapwing_protocol::mediation::Region;
use lapwing_protocol::role::provider::{BookEntry, BookState, SlotUsage};
use lapwing_protocol::role::{Provider, Role};
use lapwing_protocol::trust::TrustView;
use serde_json::{Value, json};

use super::slots::number;
use super::{Apply, Cancel, Message};
use crate::commands::role::words::{exact, short, shown};
use crate::commands::role::{Failure, Hand, words};

/// Applies, and waits until the application is in the mediator's inbox.
pub(super) async fn apply(hand: &Hand<Provider>, order: Apply) -> Result<(), Failure> {
    hand.fed().await?;
    let (name, titles) = hand
        .with(move |provider, _, _| {
            let (mediator, name) = mediator(provider.view(), &order.mediator)?;
            let regions = regions(provider.view(), &mediator, &order)?;
            let titles: Vec<String> = regions.iter().map(|(_, title)| title.clone()).collect();
            let ids: Vec<RegionId> = regions.into_iter().map(|(id, _)| id).collect();
            let ids = List::try_from(ids)
                .map_err(|e| Failure::Usage(anyhow!("too many regions: {e}")))?;
            provider.apply(mediator, ids);
            Ok::<_, Failure>((name, titles))
        })
        .await??;
    hand.say(
        "applying",
        format!("Applying to {name} for {}", titles.join("; ")),
        json!({ "mediator": name, "regions": titles }),
    );
    hand.settled().await?;
    hand.say(
        "applied",
        "The mediator decides. Next: `lapwing provider status` tells; slots can be added meanwhile.",
        json!({}),
    );
    Ok(())
}

fn mediator(view: &TrustView, given: &str) -> Result<(MediatorId, String), Failure> {
    let all = view
        .mediators()
        .filter(|(_, m)| m.registered())
        .map(|(id, m)| {
            let name = m.registration().name.as_str().to_owned();
            (id.to_string(), Some(name.clone()), (*id, name))
        });
    words::pick("mediator", given, "lapwing provider status", all)
}

/// The regions applied for, each once, with their titles.
fn regions(
    view: &TrustView,
    mediator: &MediatorId,
    order: &Apply,
) -> Result<Vec<(RegionId, String)>, Failure> {
    let all: Vec<&Region> = view
        .regions()
        .filter(|(m, _)| *m == mediator)
        .map(|(_, r)| r)
        .collect();
    let mut found: Vec<&Region> = Vec::new();
    for code in &order.postal_codes {
        let before = found.len();
        found.extend(
            all.iter()
                .filter(|r| r.postal_codes.iter().any(|c| c.as_str() == code)),
        );
        if found.len() == before {
            return Err(Failure::Failed(anyhow!(
                "the mediator has no region with the postal code {code:?}: check it, or name a --region"
            )));
        }
    }
    for name in &order.regions {
        let each = all
            .iter()
            .map(|r| (r.id.to_string(), Some(r.name.as_str().to_owned()), *r));
        found.push(words::pick(
            "region",
            name,
            "lapwing provider status",
            each,
        )?);
    }
    found.sort_by_key(|r| r.id);
    found.dedup_by_key(|r| r.id);
    Ok(found
        .iter()
        .map(|r| (r.id, words::region(&r.name, &r.criteria)))
        .collect())
}

/// Says how far it is.
pub(super) async fn status(hand: &Hand<Provider>) -> Result<(), Failure> {
    hand.settled().await?;
    let (certificate, in_force, free, slots, bookings, offers, mediators) = hand
        .with(|provider, now, _| {
            let slots = provider.slots();
            let free = slots
                .iter()
                .filter(|s| s.start > now && s.usage == SlotUsage::Free)
                .count();
            let coming = slots
                .iter()
                .filter(|s| s.start > now && s.usage != SlotUsage::Removed)
                .count();
            let bookings = provider
                .bookings()
                .iter()
                .filter(|(_, b)| b.state == BookState::Confirmed && b.start > now)
                .count();
            let in_force = provider.certificate_id().map(|_| provider.in_force(now));
            let mediators: Vec<(String, String)> = provider
                .view()
                .mediators()
                .filter(|(_, m)| m.registered())
                .map(|(id, m)| (m.registration().name.as_str().to_owned(), id.to_string()))
                .collect();
            (
                provider.certificate(),
                in_force,
                free,
                coming,
                bookings,
                provider.open_offers(),
                mediators,
            )
        })
        .await?;
    let text = match (certificate, &in_force) {
        (None, _) => {
            let known: Vec<String> = mediators
                .iter()
                .map(|(name, id)| format!("{name} ({})", short(id)))
                .collect();
            format!(
                "No certificate yet. Mediators: {}.\nNext: `lapwing provider apply --mediator NAME --postal-code CODE`, or wait for the answer.",
                if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join("; ")
                }
            )
        }
        (Some((serial, expires)), Some(Ok(()))) => format!(
            "Certified, serial {serial}, until {}. {slots} slots to come, {free} of them free; {offers} offers open; {bookings} bookings.\nNext: {}.",
            shown(expires),
            if slots == 0 {
                "`lapwing provider slots add TIME --what WHAT`"
            } else {
                "`lapwing provider run`"
            }
        ),
        (Some((serial, _)), Some(Err(problem))) => format!(
            "Certificate {serial} is not in force: {problem} Bookings stand; nothing new is offered."
        ),
        (Some((serial, expires)), None) => {
            format!("Certified, serial {serial}, until {}.", shown(expires))
        }
    };
    hand.say(
        "status",
        text,
        json!({
            "certified": certificate.is_some(),
            "serial": certificate.map(|(serial, _)| serial),
            "expires": certificate.map(|(_, at)| exact(at)),
            "in_force": matches!(in_force, Some(Ok(()))),
            "problem": in_force.and_then(Result::err).map(|p| p.text()),
            "slots": slots, "free": free, "open_offers": offers, "bookings": bookings,
        }),
    );
    Ok(())
}

fn booking_json(id: &str, entry: &BookEntry) -> Value {
    json!({
        "booking": id, "slot": number(entry.slot), "start": exact(entry.start),
        "minutes": entry.minutes, "what": entry.what.as_str(),
        "state": match entry.state {
            BookState::Confirmed => "confirmed",
            BookState::Cancelled => "cancelled",
            BookState::CancelledByProvider => "cancelled_by_provider",
        },
        "user": {
            "name": entry.data.name.as_str(), "address": entry.data.address.as_str(),
            "email": entry.data.email.as_str(), "telephone": entry.data.telephone.as_str(),
        },
    })
}

/// Lists the book.
pub(super) async fn bookings(hand: &Hand<Provider>, all: bool) -> Result<(), Failure> {
    let mut book = hand.with(|provider, _, _| provider.bookings()).await?;
    book.retain(|(_, b)| all || b.state == BookState::Confirmed);
    book.sort_by_key(|(id, b)| (b.start, *id));
    let lines: Vec<String> = book
        .iter()
        .map(|(id, b)| {
            format!(
                "{}  {}  {:>3} min  {}  {}, {}{}",
                short(&id.to_hex()),
                shown(b.start),
                b.minutes,
                b.what.as_str(),
                b.data.name.as_str(),
                b.data.address.as_str(),
                if b.state == BookState::Confirmed {
                    ""
                } else {
                    "  (cancelled)"
                }
            )
        })
        .collect();
    let data: Vec<Value> = book
        .iter()
        .map(|(id, b)| booking_json(&id.to_hex(), b))
        .collect();
    let text = if lines.is_empty() {
        "No bookings.".to_owned()
    } else {
        lines.join("\n")
    };
    hand.say("bookings", text, json!({ "bookings": data }));
    Ok(())
}

/// Cancels a booking.
pub(super) async fn cancel(hand: &Hand<Provider>, order: Cancel) -> Result<(), Failure> {
    let text = words::text("--text", &order.text)?;
    hand.fed().await?;
    hand.with(move |provider, now, rng| {
        let standing: Vec<_> = provider
            .bookings()
            .into_iter()
            .filter(|(_, b)| b.state == BookState::Confirmed)
            .map(|(id, _)| (id.to_hex(), None, id))
            .collect();
        let id = words::pick(
            "booking",
            &order.booking,
            "lapwing provider bookings",
            standing,
        )?;
        provider
            .cancel(&id, order.keep, order.again, text, now, rng)
            .map_err(|e| Failure::Failed(anyhow!("{e}: see `lapwing provider bookings`")))
    })
    .await??;
    hand.settled().await?;
    hand.say("cancelled", "Cancelled; the user is told.", json!({}));
    Ok(())
}

/// Writes to a user.
pub(super) async fn message(hand: &Hand<Provider>, order: &Message) -> Result<(), Failure> {
    let text = words::text("the message", &order.text)?;
    let ticket: TicketId = order.ticket.parse().map_err(|_| {
        Failure::Usage(anyhow!(
            "{:?} is no ticket: write it as `lapwing provider run` shows it",
            order.ticket
        ))
    })?;
    let begun = hand
        .with(move |provider, _, rng| provider.message(&ticket, text, rng))
        .await?;
    if !begun {
        return Err(Failure::Failed(anyhow!(
            "nothing can be written to that user any more: there is no channel, or no room in it"
        )));
    }
    hand.settled().await?;
    hand.say("sent", "Sent.", json!({}));
    Ok(())
}
