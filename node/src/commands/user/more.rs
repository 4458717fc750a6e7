//! What is done beside the straight way: changes, another place in the queue, reports.

use anyhow::anyhow;
use lapwing_protocol::booking::ReportReason;
use lapwing_protocol::role::User;
use lapwing_protocol::role::user::UserStatus;
use serde_json::json;

use super::order::{open, pick};
use super::{Change, Reason, Report};
use crate::commands::role::words::shown;
use crate::commands::role::{Failure, Hand, words};

/// Asks for another slot, or for an offer of other slots, and waits for the answer.
pub(super) async fn change(hand: &Hand<User>, order: &Change) -> Result<(), Failure> {
    hand.fed().await?;
    let (Some(offer), Some(slot)) = (order.offer.clone(), order.slot) else {
        return other_slots(hand).await;
    };
    let wanted = hand
        .with(move |user, now, rng| {
            let id = pick(user, &offer)?;
            user.change(&id, slot, now, rng)
                .map_err(|e| Failure::Failed(anyhow!("{e}: see `lapwing user status`")))?;
            Ok::<_, Failure>((id, slot))
        })
        .await??;
    let waits = hand.until("the provider has not answered", |user, _| {
        let booking = user.booking();
        match booking {
            Some(b) if b.change.is_some() => None,
            other => Some(other),
        }
    });
    match waits.await? {
        Some(b) if (b.offer, b.slot) == wanted => {
            hand.say(
                "change_done",
                format!("Changed: the appointment is {}.", shown(b.start)),
                json!({ "offer": b.offer.to_hex(), "slot": b.slot }),
            );
            Ok(())
        }
        _ => Err(Failure::Failed(anyhow!(
            "the change was not confirmed: see `lapwing user status`"
        ))),
    }
}

async fn other_slots(hand: &Hand<User>) -> Result<(), Failure> {
    let before = hand
        .with(|user, now, rng| {
            let before: Vec<_> = user.offers().iter().map(|o| o.id).collect();
            user.ask_other_slots(now, rng)
                .map_err(|e| Failure::Failed(anyhow!("{e}: see `lapwing user status`")))?;
            Ok::<_, Failure>(before)
        })
        .await??;
    let waits = hand.until("the provider has not offered others", move |user, now| {
        let fresh = open(&user.offers(), now);
        let fresh = fresh.iter().find(|o| !before.contains(&o.id));
        fresh.map(|o| o.id)
    });
    let offer = waits.await?;
    hand.say(
        "other_slots",
        format!(
            "Next: `lapwing user change {} SLOT`.",
            words::short(&offer.to_hex())
        ),
        json!({ "offer": offer.to_hex() }),
    );
    Ok(())
}

/// Asks to be listed again.
pub(super) async fn relist(hand: &Hand<User>) -> Result<(), Failure> {
    hand.fed().await?;
    hand.with(|user, now, _| user.relist(now))
        .await?
        .map_err(|e| Failure::Failed(anyhow!("{e}: see `lapwing user status`")))?;
    hand.settled().await?;
    hand.say(
        "relisting",
        "Asked to be listed again. Next: `lapwing user offers --wait`.",
        json!({}),
    );
    Ok(())
}

/// Draws another token.
pub(super) async fn redraw(hand: &Hand<User>) -> Result<(), Failure> {
    hand.fed().await?;
    hand.with(|user, _, rng| match user.status() {
        UserStatus::Drawing | UserStatus::Placing => {
            user.draw_anew(rng);
            Ok(())
        }
        UserStatus::Idle => Err(Failure::Failed(anyhow!(
            "nothing is asked for yet: `lapwing user ask --postal-code CODE` first"
        ))),
        _ => Err(Failure::Failed(anyhow!(
            "the request is in its queue already: see `lapwing user status`"
        ))),
    })
    .await??;
    hand.until(
        "the request is not in its queue yet",
        |user, _| match user.status() {
            UserStatus::Drawing | UserStatus::Placing => None,
            other => Some(other),
        },
    )
    .await?;
    hand.say(
        "asked",
        "The request is in its queue. Next: `lapwing user offers --wait`.",
        json!({}),
    );
    Ok(())
}

/// Reports a provider.
pub(super) async fn report(hand: &Hand<User>, order: Report) -> Result<(), Failure> {
    let text = words::text("the report", &order.text)?;
    let reason = match order.reason {
        Reason::Impostor => ReportReason::Impostor,
        Reason::Demands => ReportReason::Demands,
        Reason::NoAppointment => ReportReason::NoAppointment,
        Reason::DataMisuse => ReportReason::DataMisuse,
        Reason::Other => ReportReason::Other,
    };
    hand.fed().await?;
    hand.with(move |user, _, _| {
        let id = pick(user, &order.offer)?;
        user.report(&id, reason, text)
            .map_err(|e| Failure::Failed(anyhow!("{e}")))
    })
    .await??;
    hand.settled().await?;
    hand.say(
        "report_sent",
        "Reported. The mediator decides; it does not learn who reports.",
        json!({}),
    );
    Ok(())
}
