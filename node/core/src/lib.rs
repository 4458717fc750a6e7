//! What a Lapwing node decides: a state machine without IO.
//!
//! [`Core::handle`] takes one [`Input`] at a time, with the time and a source of randomness, and returns
//! the [`Effect`]s that the shell carries out. What it reads it reads through [`store::Reader`]; what it
//! writes leaves as [`Effect::Commit`], and whatever depends on that waits for [`Input::Durable`].

mod accept;
mod continuity;
mod core;
mod digest;
mod effect;
mod flow;
mod grants;
mod identity;
mod input;
mod lifecycle;
pub mod lottery;
mod mailboxes;
mod mark;
mod numbers;
pub mod queue;
mod quorum;
mod rows;
mod serve;
mod spread;
pub mod store;
mod sync;
mod trust;
mod witness;

pub use crate::core::Core;
pub use crate::effect::{Alarm, Effect, Severity, Topic};
pub use crate::flow::read_local;
pub use crate::identity::Identity;
pub use crate::input::{CallFailure, CallTag, ClientTag, Input, PeerTag};
pub use crate::numbers::{Numbers, PeerNumbers, RegionNumbers, Taken};
