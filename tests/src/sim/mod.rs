//! A federation of node cores in one thread, on a virtual clock and a simulated network and disk.
//!
//! Everything follows from one seed: keys, latencies, losses, the order of events. A test that fails prints
//! `SEED=…`; with that in the environment it runs that seed alone ([`each_seed`]).
//!
//! What is real: the core, the checks of calls, replies and records that workers make, the bytes on the
//! wire, the store's interface. What is not: libp2p, HTTP, sled, threads.
// Test support: a world that cannot go on must stop the test.
#![allow(clippy::expect_used, clippy::panic)]

mod actor;
mod audit;
mod carry;
mod net;
mod node;
mod queue;
mod world;

pub use actor::{Drawn, OwnMailbox, OwnMark, Placed, delete_call, read_call};
pub use audit::Spaces;
pub use net::Net;
pub use queue::{Held, Ticket, tickets};
pub use world::{Ask, World};

/// How many seeds a property is tried with unless `SIM_SEEDS` says otherwise.
const SEEDS: u64 = 4;

/// Runs a property with seeds from 1 on: as many as `weight` times `SIM_SEEDS` (4 unless set), or the one in
/// `SEED` alone.
///
/// # Panics
/// As `property` does, after printing the seed.
pub fn each_seed(weight: u64, property: impl Fn(u64)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    if let Some(seed) = number("SEED") {
        return property(seed);
    }
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS).saturating_mul(weight);
    for seed in 1..=seeds {
        let told = Told(seed);
        property(seed);
        std::mem::forget(told);
    }
}

/// Prints the seed if it is dropped by a panic.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        eprintln!("SEED={}", self.0);
    }
}
