//! Log lines on standard error: structured, and without secrets, mailbox ids, tokens or client addresses.
//! The level can change while the node runs; warnings and errors are counted.

use std::io::{self, IsTerminal};

use prometheus_client::metrics::counter::Counter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::config::{LogFormat, LogLevel};

/// Overrides the configured level, in the syntax of tracing's `EnvFilter`.
const VARIABLE: &str = "LAPWING_LOG";

/// Libraries speak up only when something is wrong. sled's own lines show keys, gossipsub's warnings the
/// ids of messages: neither is for a log.
const QUIET: &str = "warn,sled=off,libp2p_gossipsub=error,libp2p_kad=error";

/// The running log.
#[derive(Clone)]
pub(crate) struct Logging {
    filter: reload::Handle<EnvFilter, Registry>,
    /// Lines so far.
    pub(crate) counts: Counts,
}

/// Lines so far by level.
#[derive(Clone, Default)]
pub(crate) struct Counts {
    pub(crate) warnings: Counter,
    pub(crate) errors: Counter,
}

/// Why the level stays as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LevelError {
    #[error("`{VARIABLE}` in the environment sets what is logged")]
    Overridden,
    #[error("the log has ended")]
    Ended(#[from] reload::Error),
}

/// Starts logging.
pub(crate) fn start(format: LogFormat, level: LogLevel) -> Logging {
    let filter = match std::env::var(VARIABLE) {
        // What it names is added; sled stays off whatever it says.
        Ok(text) => EnvFilter::new(format!("{QUIET},{text},sled=off")),
        Err(_) => filter(level),
    };
    let (filter, handle) = reload::Layer::new(filter);
    let text = (format == LogFormat::Text).then(|| {
        fmt::layer()
            .with_writer(io::stderr)
            .with_target(false)
            .with_ansi(io::stderr().is_terminal())
    });
    let json = (format == LogFormat::Json).then(|| {
        fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(io::stderr)
            .with_target(false)
    });
    let counts = Counts::default();
    tracing_subscriber::registry()
        .with(filter)
        .with(text)
        .with(json)
        .with(Counting(counts.clone()))
        .init();
    Logging {
        filter: handle,
        counts,
    }
}

fn filter(level: LogLevel) -> EnvFilter {
    let level = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    };
    let ours = [
        "lapwing",
        "lapwing_core",
        "lapwing_store",
        "lapwing_net",
        "lapwing_api",
    ];
    let mut directives = vec![QUIET.to_owned()];
    directives.extend(ours.iter().map(|t| format!("{t}={level}")));
    EnvFilter::new(directives.join(","))
}

impl Logging {
    /// Sets another level.
    pub(crate) fn set_level(&self, level: LogLevel) -> Result<(), LevelError> {
        if std::env::var_os(VARIABLE).is_some() {
            return Err(LevelError::Overridden);
        }
        Ok(self.filter.reload(filter(level))?)
    }
}

/// Counts what passed the filter.
struct Counting(Counts);

impl<S: Subscriber> Layer<S> for Counting {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        match *event.metadata().level() {
            Level::WARN => self.0.warnings.inc(),
            Level::ERROR => self.0.errors.inc(),
            _ => return,
        };
    }
}
