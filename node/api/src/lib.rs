//! A node's HTTP API v1, and the admin API beside it.
//!
//! The crate turns HTTP into checked calls and answers into HTTP; what a call does is decided behind
//! the [`Node`] trait, which the binary implements. It holds the line against hostile clients: every
//! head, body, wait and answer has a bound, and what does not fit is shed. See `docs/spec/http.md` for
//! the protocol and `docs/spec/problems.md` for the refusals.
//!
//! It never logs client addresses, mailbox ids, watch tokens or bodies.

mod admin;
mod calls;
mod config;
mod describe;
mod describe_call;
mod document;
mod endpoint;
mod health;
mod hub;
mod limits;
mod node;
mod openapi;
mod origins;
mod page;
mod problem;
mod rate;
mod router;
mod schemas;
mod server;
mod stall;
mod trust;
mod version;
mod watch;

pub use admin::{AdminAddress, AdminListener, serve_admin};
pub use config::{ApiConfig, ConfigError, Rate};
pub use hub::{Watch, WatchHub};
pub use node::{Event, Node, NotReady};
pub use origins::{Origin, OriginError, Origins};
pub use server::{serve, serve_changing};
