//! Users and what they do, with real nodes.

use lapwing_client::driver::Handle;
use lapwing_protocol::bounded::{List, Text};
use lapwing_protocol::id::RegionId;
use lapwing_protocol::role::User;
use lapwing_protocol::role::provider::{BookEntry, BookState, Provider};
use lapwing_protocol::role::user::{BookError, BookingStatus, OfferView, UserStatus};
use lapwing_protocol::token::UserData;
use lapwing_testnet::play::wait::learns;
use tokio::time::{Instant, sleep};

use crate::stage::{LOOK, PATIENCE};

/// A user, with the data that it books under.
pub(crate) struct Person {
    pub(crate) data: UserData,
    pub(crate) handle: Handle<User>,
    pub(crate) who: String,
}

impl Person {
    /// Asks in a region, and waits until the request is admitted.
    pub(crate) async fn request(&self, region: RegionId) {
        let known = learns(&self.handle, "the region", move |view| {
            view.region(&region).map(drop)
        });
        known.await.unwrap();
        let wish = (
            Text::try_from("vaccine").unwrap(),
            Text::try_from("mRNA").unwrap(),
        );
        let wishes = List::try_from(vec![wish]).unwrap();
        let asked = self
            .handle
            .with(move |u, _, rng| u.request(region, wishes, rng));
        asked.await.unwrap().unwrap();
        let begun = Instant::now();
        while status(self).await != UserStatus::Waiting {
            assert!(begun.elapsed() < PATIENCE, "{}: not admitted", self.who);
            sleep(LOOK).await;
        }
    }

    /// Books again and again, until a booking is confirmed.
    pub(crate) async fn book(&self) {
        let begun = Instant::now();
        while !is_confirmed(self).await {
            assert!(begun.elapsed() < PATIENCE, "{}: no confirmation", self.who);
            // While one is on its way, or nothing is free, there is nothing to book.
            let _asked = book(self).await;
            sleep(LOOK).await;
        }
    }
}

/// A provider's confirmed bookings.
pub(crate) fn confirmed(provider: &Provider) -> Vec<BookEntry> {
    let book = provider.bookings().into_iter().map(|(_, entry)| entry);
    book.filter(|e| e.state == BookState::Confirmed).collect()
}

/// What the user has on offer.
pub(crate) async fn offers(person: &Person) -> Vec<OfferView> {
    person.handle.with(|u, _, _| u.offers()).await.unwrap()
}

/// How far the user is.
async fn status(person: &Person) -> UserStatus {
    person.handle.with(|u, _, _| u.status()).await.unwrap()
}

/// Whether the user has a confirmed booking.
pub(crate) async fn is_confirmed(person: &Person) -> bool {
    status(person).await == UserStatus::Booking(BookingStatus::Confirmed)
}

/// Books the first slot of the first offer that takes a booking.
pub(crate) async fn book(person: &Person) -> Result<(), BookError> {
    person
        .handle
        .with(|u, now, rng| {
            let mut last = Err(BookError::Unknown);
            for offer in u.offers() {
                for slot in &offer.slots {
                    last = u.book(&offer.id, slot.index, now, rng);
                    if last.is_ok() {
                        return last;
                    }
                }
            }
            last
        })
        .await
        .unwrap()
}

/// Waits until a booking is decided, and says how.
pub(crate) async fn decided(person: &Person) -> BookingStatus {
    let begun = Instant::now();
    loop {
        match status(person).await {
            UserStatus::Booking(BookingStatus::Sending | BookingStatus::Sent) => {}
            UserStatus::Booking(status) => return status,
            other => panic!("{}: no booking: {other:?}", person.who),
        }
        assert!(begun.elapsed() < PATIENCE, "{}: undecided", person.who);
        sleep(LOOK).await;
    }
}
