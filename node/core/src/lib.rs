//! What a Lapwing node decides: a state machine without IO.

pub mod lottery;
pub mod queue;
pub mod store;
