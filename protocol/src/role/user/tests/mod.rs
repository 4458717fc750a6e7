//! A user against letters made by hand: in the right order and the wrong one, twice, forged, and with
//! the user stored and restored before every step.

mod cancel;
mod change;
mod copies;
mod decline;
mod draw;
mod maker;
mod relist;
mod report;
mod standing;

use crate::testing::text;
use crate::token::UserData;

fn data(name: &str) -> UserData {
    UserData {
        name: text(name),
        address: text("Street 1, 10115 Berlin"),
        email: text("u@example.org"),
        telephone: text(""),
    }
}
