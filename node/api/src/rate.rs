//! How much each network may ask for, and how many connections it may have.
//!
//! A network is an IPv4 /24 or an IPv6 /48: what one customer of a provider commonly has, at most.
//! Addresses are kept only as keys of these tables, and never shown.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use axum::http::HeaderMap;
use tokio::time::Instant;

use crate::config::Rate;

/// A network of clients.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Network(u64);

impl Network {
    /// Of one client: its /24, or its /48. Loopback addresses are told apart like all others.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self((4 << 56) | u64::from(v4.to_bits() >> 8)),
            IpAddr::V6(v6) => Self((6 << 56) | ((v6.to_bits() >> 80) as u64 & 0xffff_ffff_ffff)),
        }
    }

    /// Stands for all networks that are not remembered one by one. No network has this key.
    const OTHERS: Self = Self(0);
}

/// The client's address, where `peer` may be a proxy that names it in `X-Forwarded-For`: the last
/// address there that is not a trusted proxy itself. Earlier ones are the client's own words.
pub(crate) fn client_address(peer: IpAddr, trusted: &[IpAddr], headers: &HeaderMap) -> IpAddr {
    let mut client = peer;
    let mut named = headers
        .get_all("x-forwarded-for")
        .iter()
        .flat_map(|v| v.as_bytes().split(|b| *b == b','))
        .collect::<Vec<_>>()
        .into_iter()
        .rev();
    while trusted.contains(&client.to_canonical()) {
        let parsed = named
            .next()
            .and_then(|text| std::str::from_utf8(text).ok()?.trim().parse().ok());
        match parsed {
            Some(address) => client = address,
            None => break,
        }
    }
    client
}

/// The allowances of all networks.
pub(crate) struct Rates {
    rate: RwLock<Option<Rate>>,
    max: usize,
    start: Instant,
    table: Mutex<Table>,
}

struct Table {
    /// When what a network has spent will be paid off, in microseconds since the start.
    paid: HashMap<Network, u64>,
    swept: u64,
}

const SECOND: u64 = 1_000_000;

impl Rates {
    pub(crate) fn new(rate: Option<Rate>, max: usize) -> Self {
        Self {
            rate: RwLock::new(rate),
            max,
            start: Instant::now(),
            table: Mutex::new(Table {
                paid: HashMap::new(),
                swept: 0,
            }),
        }
    }

    /// Sets another allowance. What networks have spent stays spent, in time.
    pub(crate) fn set(&self, rate: Option<Rate>) {
        *self.rate.write().unwrap_or_else(PoisonError::into_inner) = rate;
    }

    /// Spends `units`, or says after how many seconds to try again.
    pub(crate) fn spend(&self, network: Network, units: u32) -> Result<(), u32> {
        let rate = *self.rate.read().unwrap_or_else(PoisonError::into_inner);
        let Some(rate) = rate else {
            return Ok(());
        };
        let now = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let price = |units: u32| u64::from(units) * SECOND / u64::from(rate.per_second.max(1));
        let mut table = lock(&self.table);
        let network = table.slot(network, now, self.max);
        let paid = table.paid.entry(network).or_insert(now);
        let then = (*paid).max(now) + price(units);
        let limit = now + price(rate.burst);
        if then > limit {
            let seconds = (then - limit).div_ceil(SECOND);
            return Err(u32::try_from(seconds).unwrap_or(u32::MAX).max(1));
        }
        *paid = then;
        Ok(())
    }
}

impl Table {
    fn slot(&mut self, network: Network, now: u64, max: usize) -> Network {
        if self.paid.len() < max || self.paid.contains_key(&network) {
            return network;
        }
        // Forgetting who owes nothing changes nothing. At most once a second, as it looks at all.
        if now >= self.swept + SECOND || self.swept == 0 {
            self.paid.retain(|_, paid| *paid > now);
            self.swept = now.max(1);
        }
        if self.paid.len() < max {
            network
        } else {
            Network::OTHERS
        }
    }
}

/// How many connections each network has.
#[derive(Clone)]
pub(crate) struct Connections(Arc<Mutex<HashMap<Network, usize>>>);

/// One connection of a network; counted until dropped.
pub(crate) struct Connected {
    counts: Connections,
    network: Network,
}

impl Connections {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    pub(crate) fn enter(&self, network: Network, max: usize) -> Option<Connected> {
        let mut counts = lock(&self.0);
        let n = counts.entry(network).or_default();
        if *n >= max {
            return None;
        }
        *n += 1;
        Some(Connected {
            counts: self.clone(),
            network,
        })
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts.0);
        if let Some(n) = counts.get_mut(&self.network) {
            *n = n.saturating_sub(1);
            if *n == 0 {
                counts.remove(&self.network);
            }
        }
    }
}

/// Locks; a panic elsewhere leaves these tables usable, as every change to them is one step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn net(text: &str) -> Network {
        Network::of(text.parse().unwrap())
    }

    #[test]
    fn networks_are_24_and_48_bits_wide() {
        assert!(net("192.0.2.1") == net("192.0.2.254"));
        assert!(net("192.0.2.1") != net("192.0.3.1"));
        assert!(net("127.0.0.1") != net("127.0.1.1"));
        assert!(net("::ffff:192.0.2.9") == net("192.0.2.1"));
        assert!(net("2001:db8:1:2::1") == net("2001:db8:1:ffff::9"));
        assert!(net("2001:db8:1::1") != net("2001:db8:2::1"));
    }

    #[test]
    fn only_a_trusted_proxy_names_the_client() {
        let proxy: IpAddr = "10.0.0.1".parse().unwrap();
        let stranger: IpAddr = "198.51.100.1".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.append(
            "x-forwarded-for",
            "1.2.3.4, 203.0.113.7, 10.0.0.1".parse().unwrap(),
        );
        let client = |peer, headers: &HeaderMap| client_address(peer, &[proxy], headers);
        assert_eq!(client(stranger, &headers), stranger);
        assert_eq!(
            client(proxy, &headers),
            "203.0.113.7".parse::<IpAddr>().unwrap()
        );
        assert_eq!(client(proxy, &HeaderMap::new()), proxy);
        headers.insert("x-forwarded-for", "nonsense".parse().unwrap());
        assert_eq!(client(proxy, &headers), proxy);
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_spends_its_burst_then_its_rate() {
        let rates = Rates::new(
            Some(Rate {
                per_second: 10,
                burst: 30,
            }),
            8,
        );
        for _ in 0..30 {
            assert_eq!(rates.spend(net("192.0.2.1"), 1), Ok(()));
        }
        assert_eq!(rates.spend(net("192.0.2.1"), 1), Err(1));
        assert_eq!(rates.spend(net("192.0.2.1"), 25), Err(3));
        assert_eq!(rates.spend(net("192.0.3.1"), 1), Ok(()));
        tokio::time::advance(Duration::from_secs(1)).await;
        for _ in 0..10 {
            assert_eq!(rates.spend(net("192.0.2.1"), 1), Ok(()));
        }
        assert_eq!(rates.spend(net("192.0.2.1"), 1), Err(1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_stays_bounded_and_strangers_share_what_is_left() {
        let rates = Rates::new(
            Some(Rate {
                per_second: 1,
                burst: 2,
            }),
            2,
        );
        for n in 0..100_u8 {
            let _spent = rates.spend(Network::of(IpAddr::from([10, 0, n, 1])), 1);
        }
        assert!(lock(&rates.table).paid.len() <= 3);
        assert!(rates.spend(net("10.0.99.1"), 1).is_err());
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(rates.spend(net("10.0.99.1"), 2), Ok(()));
    }

    #[test]
    fn connections_of_a_network_are_counted_down_again() {
        let all = Connections::new();
        let a = all.enter(net("192.0.2.1"), 2).unwrap();
        let _b = all.enter(net("192.0.2.2"), 2).unwrap();
        assert!(all.enter(net("192.0.2.3"), 2).is_none());
        assert!(all.enter(net("192.0.3.3"), 2).is_some());
        drop(a);
        assert!(all.enter(net("192.0.2.3"), 2).is_some());
    }
}
