//! Log lines on standard error: structured, and without secrets, mailbox ids, tokens or client addresses.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::{LogFormat, LogLevel};

/// Starts logging. `LAPWING_LOG` overrides the level, in the syntax of tracing's `EnvFilter`.
pub(crate) fn start(format: LogFormat, level: LogLevel) {
    let level = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    };
    // Libraries speak up only when something is wrong; sled's own lines show keys and stay off.
    let ours = [
        "lapwing",
        "lapwing_core",
        "lapwing_store",
        "lapwing_net",
        "lapwing_api",
    ];
    let mut directives = vec![
        "warn".to_owned(),
        "sled=off".to_owned(),
        "libp2p_gossipsub=error".to_owned(),
        "libp2p_kad=error".to_owned(),
    ];
    directives.extend(ours.iter().map(|t| format!("{t}={level}")));
    let filter = match std::env::var("LAPWING_LOG") {
        Ok(text) => EnvFilter::new(format!("{text},sled=off")),
        Err(_) => EnvFilter::new(directives.join(",")),
    };
    let builder = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    match format {
        LogFormat::Text => builder
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
