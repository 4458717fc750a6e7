//! Reads the configuration anew while the node runs: what can change at once does, what cannot is named.
//! A file that cannot be used changes nothing.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use lapwing_api::{ApiConfig, Rate};
use serde::Serialize;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::config::{self, Config, ConfigError};
use crate::logging::{LevelError, Logging};
use crate::shell::Shell;

/// What came of it, by the names of the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Reloaded {
    /// Hold from now on.
    pub(crate) applied: Vec<&'static str>,
    /// Differ from what the node runs with, and wait for a restart.
    pub(crate) needs_restart: Vec<&'static str>,
}

/// Knows what the node runs with, and whom to tell of changes.
pub(crate) struct Reloader {
    path: PathBuf,
    /// What is in force: settings that wait for a restart are the old ones.
    current: Mutex<Config>,
    logging: Logging,
    api: watch::Sender<ApiConfig>,
    shell: Shell,
}

impl Reloader {
    /// A reloader for a node that runs with `current`.
    pub(crate) fn new(
        path: PathBuf,
        current: Config,
        logging: Logging,
        shell: Shell,
    ) -> (Self, watch::Receiver<ApiConfig>) {
        let (api, changes) = watch::channel(api_config(&current));
        let reloader = Self {
            path,
            current: Mutex::new(current),
            logging,
            api,
            shell,
        };
        (reloader, changes)
    }

    /// Reads the file and applies it, and tells the log in one line.
    pub(crate) fn reload(&self) -> Result<Reloaded, ConfigError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let new = config::load(&self.path).inspect_err(
            |error| error!(%error, "the configuration cannot be used; nothing was changed"),
        )?;
        let done = self.apply(&mut current, new);
        let applied = done.applied.join(", ");
        if done.needs_restart.is_empty() {
            info!(applied, "read the configuration anew");
        } else {
            let left = done.needs_restart.join(", ");
            warn!(
                applied,
                "read the configuration anew; needs a restart: {left}"
            );
        }
        Ok(done)
    }

    fn apply(&self, current: &mut Config, new: Config) -> Reloaded {
        let mut done = Reloaded {
            applied: Vec::new(),
            needs_restart: waits(current, &new),
        };
        if current.log_level != new.log_level {
            match self.logging.set_level(new.log_level) {
                Ok(()) => {
                    current.log_level = new.log_level;
                    done.applied.push("log.level");
                }
                Err(LevelError::Overridden) => done.needs_restart.push("log.level (LAPWING_LOG)"),
                Err(LevelError::Ended(_)) => done.needs_restart.push("log.level"),
            }
        }
        let mut taken = |name, differs: bool| {
            if differs {
                done.applied.push(name);
            }
        };
        taken(
            "api.max_connections",
            current.max_connections != new.max_connections,
        );
        taken(
            "api.rate_per_second",
            current.rate_per_second != new.rate_per_second,
        );
        taken(
            "api.trusted_proxies",
            current.trusted_proxies != new.trusted_proxies,
        );
        taken("api.cors_origins", current.cors_origins != new.cors_origins);
        current.max_connections = new.max_connections;
        current.rate_per_second = new.rate_per_second;
        current.trusted_proxies = new.trusted_proxies;
        current.cors_origins = new.cors_origins;
        self.api.send_replace(api_config(current));
        // Of a federation that is not this one's a roster means nothing.
        let same = current.federation.federation == new.federation.federation;
        if same && current.federation.roster != new.federation.roster {
            if let Some(roster) = &new.federation.roster {
                self.shell.check_record(roster.clone());
            }
            current.federation.roster = new.federation.roster;
            done.applied.push("roster");
        }
        done
    }
}

/// The settings that differ and cannot change while the node runs. Every field is named, so that a new one
/// is decided about here.
fn waits(current: &Config, new: &Config) -> Vec<&'static str> {
    let Config {
        federation,
        data_dir,
        key_file,
        listen,
        announce,
        bootstrap,
        mdns,
        net_limits,
        api_listen,
        admin_socket,
        log_format,
        cache_bytes,
        // Applied at once, by [`Reloader::apply`].
        log_level: _,
        max_connections: _,
        rate_per_second: _,
        trusted_proxies: _,
        cors_origins: _,
    } = new;
    let net = format!("{:?}", current.net_limits) != format!("{net_limits:?}");
    [
        (
            "federation",
            current.federation.federation != federation.federation,
        ),
        ("data_dir", current.data_dir != *data_dir),
        ("key_file", current.key_file != *key_file),
        ("net.listen", current.listen != *listen),
        ("net.announce", current.announce != *announce),
        ("net.bootstrap", current.bootstrap != *bootstrap),
        ("net.mdns", current.mdns != *mdns),
        ("the limits in [net]", net),
        ("api.listen", current.api_listen != *api_listen),
        ("admin.socket", current.admin_socket != *admin_socket),
        ("log.format", current.log_format != *log_format),
        ("store.cache_mib", current.cache_bytes != *cache_bytes),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}

/// What the API is to run with.
fn api_config(config: &Config) -> ApiConfig {
    let mut api = ApiConfig {
        listen: config.api_listen,
        trusted_proxies: config.trusted_proxies.clone(),
        cors_origins: config.cors_origins.clone(),
        ..ApiConfig::default()
    };
    if let Some(max) = config.max_connections {
        api.max_connections = max;
    }
    if let Some(per_second) = config.rate_per_second {
        api.rate = Some(Rate {
            per_second,
            burst: per_second.saturating_mul(10).max(4096),
        });
    }
    api
}
