//! The operator's commands beside `run`.

pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod federation;
pub(crate) mod init;
pub(crate) mod mediator;
pub(crate) mod passphrase;
pub(crate) mod provider;
pub(crate) mod publish;
pub(crate) mod reload;
pub(crate) mod role;
pub(crate) mod status;
pub(crate) mod store;
pub(crate) mod user;
