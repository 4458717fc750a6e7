//! Tests across Lapwing's crates. The library is the simulator that they share.

pub mod sim;
