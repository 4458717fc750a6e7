//! The three roles against each other, and against what hostile nodes, providers and users send.

mod applications;
mod bookings;
mod declined;
mod hand;
mod held;
mod inbox;
mod keys;
mod lapse;
mod moves;
mod offers;
mod paper;
mod path;
mod refused;
mod regions;
mod reports;
mod sharing;
mod standing;
mod stored;
mod world;

pub(super) use paper::Paper;
