//! What is said of a provider's events.

use lapwing_protocol::role::ProviderEvent;
use serde_json::json;

use super::slots::number;
use crate::commands::role::Said;
use crate::commands::role::words::{count, exact, short, shown};

fn problem(event: &str, text: &str, p: lapwing_protocol::problem::Problem) -> Said {
    Said::new(
        event,
        format!("{text}: {p}"),
        json!({ "problem": p.text() }),
    )
}

/// What is said of an event.
pub(super) fn tell(event: &ProviderEvent) -> Option<Said> {
    let said = match event {
        ProviderEvent::Applied => Said::new(
            "application_sent",
            "The application is in the mediator's inbox",
            json!({}),
        ),
        ProviderEvent::ApplicationRejected(reason) => Said::new(
            "application_rejected",
            format!("The mediator refuses: {}", reason.as_str()),
            json!({ "reason": reason.as_str() }),
        ),
        ProviderEvent::Certified {
            serial,
            regions,
            expires,
        } => Said::new(
            "certified",
            format!(
                "Certified, serial {serial}, for {}, until {}",
                count(regions.len(), "region"),
                shown(*expires)
            ),
            json!({
                "serial": serial, "expires": exact(*expires),
                "regions": regions.iter().map(|r| r.to_hex()).collect::<Vec<_>>(),
            }),
        ),
        ProviderEvent::InvalidApproval(p) => problem(
            "invalid_approval",
            "Something came as an approval that is none",
            *p,
        ),
        ProviderEvent::RegionKey { region, version } => Said::quiet(
            "region_key",
            json!({ "region": region.to_hex(), "version": version }),
        ),
        ProviderEvent::SlotReady(id) => Said::quiet("slot_ready", json!({ "slot": number(*id) })),
        ProviderEvent::Claimed {
            region,
            listed,
            offering,
        } => {
            let data = json!({ "region": region.to_hex(), "listed": listed, "offering": offering });
            if *offering == 0 {
                Said::quiet("claimed", data)
            } else {
                Said::new(
                    "claimed",
                    format!("Claimed {listed} requests, making {offering} offers"),
                    data,
                )
            }
        }
        ProviderEvent::NotClaimed(region) => {
            Said::quiet("not_claimed", json!({ "region": region.to_hex() }))
        }
        ProviderEvent::BadEntry(p) => Said::quiet("bad_entry", json!({ "problem": p.text() })),
        ProviderEvent::OfferSent { ticket, slots } => Said::new(
            "offer_sent",
            format!("An offer of {} slots is sent", slots.len()),
            json!({
                "ticket": ticket.to_hex(),
                "slots": slots.iter().map(|s| number(*s)).collect::<Vec<_>>(),
            }),
        ),
        ProviderEvent::OfferRefused { ticket, problem } => Said::quiet(
            "offer_refused",
            json!({ "ticket": ticket.to_hex(), "problem": problem.text() }),
        ),
        ProviderEvent::LockRefused { ticket, problem } => Said::quiet(
            "lock_refused",
            json!({ "ticket": ticket.to_hex(), "problem": problem.text() }),
        ),
        ProviderEvent::Booked {
            booking,
            slot,
            start,
            data,
        } => Said::new(
            "booked",
            format!(
                "Booked: {} by {} ({})",
                shown(*start),
                data.name.as_str(),
                short(&booking.to_hex())
            ),
            json!({
                "booking": booking.to_hex(), "slot": number(*slot), "start": exact(*start),
                "user": {
                    "name": data.name.as_str(), "address": data.address.as_str(),
                    "email": data.email.as_str(), "telephone": data.telephone.as_str(),
                },
            }),
        ),
        ProviderEvent::NothingToOffer { ticket } => {
            Said::quiet("nothing_to_offer", json!({ "ticket": ticket.to_hex() }))
        }
        ProviderEvent::Changed {
            booking,
            from,
            to,
            start,
        } => Said::new(
            "changed",
            format!(
                "Changed: {} is now {}",
                short(&booking.to_hex()),
                shown(*start)
            ),
            json!({
                "booking": booking.to_hex(), "from": number(*from), "to": number(*to),
                "start": exact(*start),
            }),
        ),
        ProviderEvent::CertificateEnded(p) => Said::new(
            "certificate_ended",
            format!(
                "The certificate is no longer good ({p}): nothing is offered or confirmed; `lapwing provider apply` anew"
            ),
            json!({ "problem": p.text() }),
        ),
        ProviderEvent::Rejected { ticket, reason } => Said::quiet(
            "turned_down",
            json!({ "ticket": ticket.to_hex(), "reason": format!("{reason:?}") }),
        ),
        ProviderEvent::Declined { ticket } => {
            Said::quiet("declined", json!({ "ticket": ticket.to_hex() }))
        }
        ProviderEvent::Cancelled {
            booking,
            slot,
            again,
        } => Said::new(
            "cancelled",
            format!(
                "Cancelled by the user: {}{}",
                short(&booking.to_hex()),
                if *again {
                    "; another offer is made"
                } else {
                    ""
                }
            ),
            json!({ "booking": booking.to_hex(), "slot": number(*slot), "again": again }),
        ),
        ProviderEvent::Message { ticket, text } => Said::new(
            "message",
            format!("A user writes ({}): {}", ticket.to_hex(), text.as_str()),
            json!({ "ticket": ticket.to_hex(), "text": text.as_str() }),
        ),
        ProviderEvent::ViewStale(p) => Said::quiet("view_stale", json!({ "problem": p.text() })),
        ProviderEvent::Refused(p) => problem("refused", "A node refuses", *p),
        ProviderEvent::BadAnswer(p) => problem("bad_answer", "A node's answer is wrong", *p),
        _ => return None,
    };
    Some(said)
}
