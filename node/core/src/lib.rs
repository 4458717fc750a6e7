//! What a Lapwing node decides: a state machine without IO.

pub mod store;
