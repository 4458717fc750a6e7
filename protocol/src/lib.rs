//! What Lapwing says: ids, keys, codec, records, sealing, tokens, mailboxes and the role state
//! machines.
//!
//! The crate does no IO, reads no clock and draws no randomness of its own: times are arguments
//! ([`time`]) and randomness is a `&mut R where R: rand_core::CryptoRng + ?Sized`. It builds to
//! WASM as it is.
//!
//! Layers, lowest first: [`codec`] (one encoding for every value), [`bounded`], [`id`], [`time`],
//! [`size`] (values with their bounds in the type), [`hash`], [`key`], then [`cose`] (signed
//! records), [`seal`] (envelopes to a recipient) and [`secretbox`] (secrets at rest).

pub mod booking;
pub mod bounded;
pub mod client;
pub mod codec;
pub mod cose;
pub mod federation;
pub mod hash;
pub mod id;
pub mod item;
pub mod key;
pub mod mailbox;
pub mod mediation;
pub mod peer;
pub mod placement;
pub mod problem;
pub mod queue;
pub mod role;
pub mod seal;
pub mod secretbox;
pub mod size;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod time;
pub mod token;
pub mod trust;
