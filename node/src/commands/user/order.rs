//! What each command to a user's role does.

use anyhow::anyhow;
use lapwing_protocol::bounded::List;
use lapwing_protocol::id::RecordId;
use lapwing_protocol::role::Role;
use lapwing_protocol::role::User;
use lapwing_protocol::role::user::{
    AskError, BookError, BookingStatus, BookingView, OfferView, SlotState, UserStatus,
};
use lapwing_protocol::time::Time;
use serde_json::{Value, json};

use super::event::{offer_json, offer_text};
use super::region::find;
use super::status;
use super::{Ask, Book, Message, Offers};
use crate::commands::role::words::exact;
use crate::commands::role::{Failure, Hand, words};

/// Asks for an appointment, and waits until the request is in its queue.
pub(super) async fn ask(hand: &Hand<User>, ask: Ask) -> Result<(), Failure> {
    let mut pairs = Vec::new();
    for wish in &ask.wishes {
        let (key, value) = words::pair("--wish", wish)?;
        pairs.push((key.to_owned(), value.to_owned()));
    }
    pairs.sort();
    let mut wishes = Vec::new();
    for (key, value) in &pairs {
        wishes.push((words::text("--wish", key)?, words::text("--wish", value)?));
    }
    let wishes = List::try_from(wishes).map_err(|e| Failure::Usage(anyhow!("--wish: {e}")))?;
    hand.fed().await?;
    let (id, name) = hand
        .with(move |user, _, rng| {
            if user.status() != UserStatus::Idle {
                return Err(under_way());
            }
            let (id, name) = find(user.view(), &ask, &pairs)?;
            match user.request(id, wishes, rng) {
                Ok(()) => Ok((id, name)),
                Err(AskError::Busy) => Err(under_way()),
                Err(other) => Err(Failure::Failed(other.into())),
            }
        })
        .await??;
    hand.say(
        "asking",
        format!("Asking in {name}: drawing a token"),
        json!({ "region": id.to_hex(), "name": name }),
    );
    let waits = hand.until(
        "the request is not in its queue yet",
        |user, _| match user.status() {
            UserStatus::Drawing | UserStatus::Placing => None,
            other => Some(other),
        },
    );
    waits.await?;
    hand.say(
        "asked",
        "The request is in its queue. Next: `lapwing user offers --wait`.",
        json!({}),
    );
    Ok(())
}

fn under_way() -> Failure {
    Failure::Failed(anyhow!(
        "there is a request already: see `lapwing user status`, or end it with `lapwing user forget`"
    ))
}

pub(super) fn open(offers: &[OfferView], now: Time) -> Vec<OfferView> {
    offers.iter().filter(|o| o.expires > now).cloned().collect()
}

/// Lists the open offers.
pub(super) async fn offers(hand: &Hand<User>, order: &Offers) -> Result<(), Failure> {
    let status = hand.with(|user, _, _| user.status()).await?;
    if status == UserStatus::Idle {
        return Err(Failure::Failed(anyhow!(
            "nothing is asked for yet: `lapwing user ask --postal-code CODE` first"
        )));
    }
    let found = if order.wait {
        hand.until("no offer has come", |user, now| {
            let found = open(&user.offers(), now);
            (!found.is_empty()).then_some(found)
        })
        .await?
    } else {
        hand.settled().await?;
        hand.with(|user, now, _| open(&user.offers(), now)).await?
    };
    if !order.offline {
        // Whether slots are still open is read anew.
        hand.with(|user, _, _| user.refresh_marks()).await?;
        hand.settled().await?;
    }
    let ids: Vec<RecordId> = found.iter().map(|o| o.id).collect();
    let found = hand
        .with(move |user, _, _| {
            ids.iter()
                .filter_map(|id| user.offer(id))
                .collect::<Vec<_>>()
        })
        .await?;
    let texts: Vec<String> = found.iter().map(offer_text).collect();
    let text = match found.first() {
        None => "No offer is open. `lapwing user offers --wait` waits for one.".to_owned(),
        Some(first) => format!(
            "{}\nNext: `lapwing user book {} SLOT`.",
            texts.join("\n"),
            words::short(&first.id)
        ),
    };
    hand.say(
        "offers",
        text,
        json!({ "offers": found.iter().map(offer_json).collect::<Vec<Value>>() }),
    );
    Ok(())
}

/// Which offer is meant.
pub(super) fn pick(user: &User, given: &str) -> Result<RecordId, Failure> {
    let all = user
        .offers()
        .into_iter()
        .map(|o| (o.id.to_hex(), None, o.id));
    words::pick("offer", given, "lapwing user offers", all)
}

/// Books, and waits for the answer.
pub(super) async fn book(hand: &Hand<User>, order: &Book) -> Result<(), Failure> {
    let status = hand.with(|user, _, _| user.status()).await?;
    if status == UserStatus::Idle {
        return Err(Failure::Failed(anyhow!(
            "nothing is asked for yet: `lapwing user ask --postal-code CODE` first"
        )));
    }
    match (&order.offer, order.slot) {
        (Some(offer), Some(slot)) => {
            let given = offer.clone();
            hand.fed().await?;
            hand.with(move |user, now, rng| {
                let id = pick(user, &given)?;
                user.book(&id, slot, now, rng).map_err(|e| refused(&e))
            })
            .await??;
            answered(hand).await
        }
        _ => any(hand).await,
    }
}

fn refused(error: &BookError) -> Failure {
    let next = match error {
        BookError::Unknown => "see `lapwing user offers`",
        BookError::Busy => "see `lapwing user status`; `lapwing user cancel` takes it back",
        BookError::Taken => "choose another, see `lapwing user offers`",
        BookError::Invalid(_) => "choose another offer, see `lapwing user offers`",
        _ => "try again",
    };
    Failure::Failed(anyhow!("{error}: {next}"))
}

pub(super) async fn answered(hand: &Hand<User>) -> Result<(), Failure> {
    let waits = hand.until("the provider has not answered", |user, _| {
        match user.status() {
            UserStatus::Booking(BookingStatus::Sending | BookingStatus::Sent) => None,
            other => Some(other),
        }
    });
    let status = waits.await?;
    match status {
        UserStatus::Booking(BookingStatus::Confirmed) => {
            let booking = hand.with(|user, _, _| user.booking()).await?;
            booking.iter().for_each(|b| booked(hand, b));
            Ok(())
        }
        UserStatus::Booking(other) => Err(Failure::Failed(anyhow!(
            "{}",
            status::booking_text(other).1
        ))),
        _ => Err(Failure::Failed(anyhow!(
            "the request is over: `lapwing user ask` anew"
        ))),
    }
}

/// Says with whom and where.
fn booked(hand: &Hand<User>, b: &BookingView) {
    hand.say(
        "booked",
        format!("Booked: {}.", status::booking_line(b)),
        json!({ "offer": b.offer.to_hex(), "slot": b.slot, "start": exact(b.start), "minutes": b.minutes, "what": b.what.as_str(), "practice": b.practice.name.as_str() }),
    );
}

/// Books one slot after the other until one is confirmed.
async fn any(hand: &Hand<User>) -> Result<(), Failure> {
    hand.fed().await?;
    hand.until("no slot was confirmed", |_, _| Some(())).await?;
    loop {
        let begun = hand.until("no open slot was offered", first).await?;
        let (offer, slot) = begun;
        let sent = hand
            .with(move |user, now, rng| user.book(&offer, slot, now, rng))
            .await?;
        match sent {
            Ok(()) | Err(BookError::Busy) => {}
            // Taken or over meanwhile: the next look will see it.
            Err(_) => {
                hand.with(|user, _, _| user.refresh_marks()).await?;
                hand.settled().await?;
                continue;
            }
        }
        match answered(hand).await {
            Err(Failure::Failed(_)) => {
                hand.with(|user, _, _| user.refresh_marks()).await?;
                hand.settled().await?;
            }
            done => return done,
        }
    }
}

/// The earliest slot that is not known to be taken.
fn first(user: &mut User, now: Time) -> Option<(RecordId, u8)> {
    let offers = open(&user.offers(), now);
    let slots = offers.iter().flat_map(|o| {
        o.slots
            .iter()
            .filter(|s| s.state != SlotState::Taken && s.start > now)
            .map(|s| (s.start, o.id, s.index))
    });
    slots.min().map(|(_, id, index)| (id, index))
}

/// Cancels the booking.
pub(super) async fn cancel(hand: &Hand<User>, again: bool) -> Result<(), Failure> {
    hand.with(move |user, _, rng| user.cancel(again, rng))
        .await?
        .map_err(|e| Failure::Failed(anyhow!("{e}: see `lapwing user status`")))?;
    hand.settled().await?;
    hand.say(
        "cancelled",
        if again {
            "Cancelled, and another offer asked for. Next: `lapwing user offers --wait`."
        } else {
            "Cancelled."
        },
        json!({ "again": again }),
    );
    Ok(())
}

/// Writes to a provider.
pub(super) async fn message(hand: &Hand<User>, order: &Message) -> Result<(), Failure> {
    let text = words::text("the message", &order.text)?;
    let given = order.offer.clone();
    hand.with(move |user, _, rng| {
        let id = pick(user, &given)?;
        user.message(&id, text, rng)
            .map_err(|e| Failure::Failed(e.into()))
    })
    .await??;
    hand.settled().await?;
    hand.say("sent", "Sent.", json!({}));
    Ok(())
}

/// Forgets the request.
pub(super) async fn forget(hand: &Hand<User>) -> Result<(), Failure> {
    hand.with(|user, _, _| match user.status() {
        UserStatus::Booking(
            BookingStatus::Sending | BookingStatus::Sent | BookingStatus::Confirmed,
        ) => Err(Failure::Failed(anyhow!(
            "there is a booking: `lapwing user cancel` first"
        ))),
        _ => {
            user.abandon();
            Ok(())
        }
    })
    .await??;
    hand.say(
        "forgotten",
        "Forgotten. Next: `lapwing user ask --postal-code CODE`.",
        json!({}),
    );
    Ok(())
}
