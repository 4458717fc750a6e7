//! The three roles against each other, and against what hostile nodes, providers and users send.

mod bookings;
mod hand;
mod inbox;
mod offers;
mod paper;
mod path;
mod stored;
mod world;

pub(super) use paper::Paper;
