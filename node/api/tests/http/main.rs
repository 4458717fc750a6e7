//! The HTTP API over real sockets, before a node that records what it is asked.
//!
//! What a node decides is tested elsewhere; here it is the shell's own behaviour: what it lets
//! through, what it refuses and how, and that it holds against clients that mean no good.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod abuse;
mod admin;
mod calls;
mod client;
mod live;
mod node;
mod openapi;
mod trust;
mod watch;
