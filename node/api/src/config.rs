//! What an operator may set about the API, with defaults for a small public node.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::origins::Origins;

/// Limits and addresses of the public API.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Where the binary listens; [`crate::serve`] takes the listener that is bound there.
    pub listen: SocketAddr,
    /// Proxies whose `X-Forwarded-For` is believed. For all other peers the header is ignored.
    pub trusted_proxies: Vec<IpAddr>,
    /// Pages that may call the API from a browser.
    pub cors_origins: Origins,
    /// Most connections.
    pub max_connections: usize,
    /// Most connections of one network (/24 or /48); trusted proxies are exempt.
    pub max_network_connections: usize,
    /// Most calls being worked on at once; more are refused as `busy`.
    pub max_calls: usize,
    /// Most long polls and event streams at once.
    pub max_waiting: usize,
    /// Most watches open at once.
    pub max_watches: usize,
    /// Most bytes of request bodies held at once.
    pub body_memory: usize,
    /// Most bytes of answered pages held at once.
    pub answer_memory: usize,
    /// Most bytes of a request's head, from 8 KiB to 64 KiB.
    pub head_bytes: usize,
    /// How long a head may take, and how long a connection may idle.
    pub head_timeout: Duration,
    /// How long a body may take.
    pub body_timeout: Duration,
    /// How long a call may take once its body is there.
    pub call_timeout: Duration,
    /// How long a client may take no byte of an answer.
    pub stall_timeout: Duration,
    /// How long open requests are given at shutdown.
    pub drain_timeout: Duration,
    /// How much one network may ask for; `None` for no limit.
    pub rate: Option<Rate>,
    /// Most networks whose rate is remembered; those beyond share one allowance.
    pub max_networks: usize,
}

/// An allowance in units: a read or write costs 1, an expensive call 40, a published record 40 and
/// one more per 512 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Units a second, at least 1.
    pub per_second: u32,
    /// Units that may be spent at once after a pause, at least 4096: the most that one call costs.
    pub burst: u32,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8480)),
            trusted_proxies: Vec::new(),
            cors_origins: Origins::Any,
            max_connections: 4096,
            max_network_connections: 512,
            max_calls: 1024,
            max_waiting: 4096,
            max_watches: 16_384,
            body_memory: 64 << 20,
            answer_memory: 128 << 20,
            head_bytes: 16 << 10,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(20),
            drain_timeout: Duration::from_secs(10),
            rate: Some(Rate {
                per_second: 2000,
                burst: 20_000,
            }),
            max_networks: 65_536,
        }
    }
}

/// A configuration with which the API cannot run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The bound on heads is outside what the HTTP parser works with.
    #[error("head_bytes must be from 8192 to 65536")]
    HeadBytes,
    /// A limit is zero, so that nothing could be served.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
    /// A timeout is zero.
    #[error("{0} must be longer than zero")]
    ZeroTimeout(&'static str),
    /// Memory for less than the largest body or page.
    #[error("{0} must be at least 8388608 bytes")]
    Memory(&'static str),
    /// A rate that would refuse some calls for ever.
    #[error("rate: per_second must be at least 1 and burst at least 4096")]
    Rate,
}

impl ApiConfig {
    /// Refuses values with which the API cannot run.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !(8192..=65_536).contains(&self.head_bytes) {
            return Err(ConfigError::HeadBytes);
        }
        for (name, value) in [
            ("max_connections", self.max_connections),
            ("max_network_connections", self.max_network_connections),
            ("max_calls", self.max_calls),
            ("max_waiting", self.max_waiting),
            ("max_watches", self.max_watches),
            ("max_networks", self.max_networks),
        ] {
            if value == 0 {
                return Err(ConfigError::Zero(name));
            }
        }
        for (name, value) in [
            ("head_timeout", self.head_timeout),
            ("body_timeout", self.body_timeout),
            ("call_timeout", self.call_timeout),
            ("stall_timeout", self.stall_timeout),
        ] {
            if value.is_zero() {
                return Err(ConfigError::ZeroTimeout(name));
            }
        }
        for (name, value) in [
            ("body_memory", self.body_memory),
            ("answer_memory", self.answer_memory),
        ] {
            if value < 8 << 20 {
                return Err(ConfigError::Memory(name));
            }
        }
        match self.rate {
            Some(r) if r.per_second == 0 || r.burst < 4096 => Err(ConfigError::Rate),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_and_values_that_would_serve_nobody_do_not() {
        assert_eq!(ApiConfig::default().check(), Ok(()));
        let bad = |change: fn(&mut ApiConfig)| {
            let mut config = ApiConfig::default();
            change(&mut config);
            config.check()
        };
        assert_eq!(bad(|c| c.head_bytes = 100), Err(ConfigError::HeadBytes));
        assert_eq!(
            bad(|c| c.max_calls = 0),
            Err(ConfigError::Zero("max_calls"))
        );
        assert_eq!(
            bad(|c| c.body_timeout = Duration::ZERO),
            Err(ConfigError::ZeroTimeout("body_timeout"))
        );
        assert_eq!(
            bad(|c| c.answer_memory = 1),
            Err(ConfigError::Memory("answer_memory"))
        );
        let rate = Rate {
            per_second: 1,
            burst: 1,
        };
        let config = ApiConfig {
            rate: Some(rate),
            ..ApiConfig::default()
        };
        assert_eq!(config.check(), Err(ConfigError::Rate));
    }
}
