//! Whether holders hold the same, by the digests that each node computes of what it shares with another.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lapwing_protocol::id::NodeId;
use tokio::time::sleep;

use crate::node::{Probe, Status as NodeStatus};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// How many pairs of nodes hold different things of what both should hold. A pair of which one does not
/// say counts as different.
#[must_use]
pub fn diverged(statuses: &BTreeMap<NodeId, Option<NodeStatus>>) -> u64 {
    let said = |of: &NodeId, about: &NodeId| {
        let mut digest = statuses
            .get(of)?
            .as_ref()?
            .digests
            .get(&about.to_hex())?
            .clone();
        digest.sort();
        Some(digest)
    };
    let ids: Vec<&NodeId> = statuses.keys().collect();
    let pairs = ids
        .iter()
        .enumerate()
        .flat_map(|(i, a)| ids.iter().skip(i + 1).map(move |b| (a, b)));
    pairs
        .filter(|(a, b)| {
            said(a, b).is_none_or(|digest| said(b, a).is_none_or(|other| other != digest))
        })
        .count() as u64
}

/// How each node says it is.
pub async fn statuses(nodes: &[Probe]) -> BTreeMap<NodeId, Option<NodeStatus>> {
    let mut statuses = BTreeMap::new();
    for node in nodes {
        statuses.insert(node.id, node.status().await.ok());
    }
    statuses
}

/// Waits until all holders hold the same, `limit` at most, and gives how many pairs still differ.
pub async fn settle(nodes: &[Probe], limit: Duration) -> u64 {
    let begun = Instant::now();
    loop {
        let pairs = diverged(&statuses(nodes).await);
        if pairs == 0 || begun.elapsed() >= limit {
            return pairs;
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    fn status(digests: &[(u8, u64)]) -> Option<NodeStatus> {
        let digests = digests
            .iter()
            .map(|(n, count)| (id(*n).to_hex(), vec![(0, *count, "00".to_owned())]));
        Some(NodeStatus {
            digests: digests.collect(),
            ..NodeStatus::default()
        })
    }

    #[test]
    fn what_is_not_said_is_not_equal() {
        let all = |a, b, c| BTreeMap::from([(id(1), a), (id(2), b), (id(3), c)]);
        let equal = all(
            status(&[(2, 1), (3, 2)]),
            status(&[(1, 1), (3, 3)]),
            status(&[(1, 2), (2, 3)]),
        );
        assert_eq!(diverged(&equal), 0);
        let other = all(
            status(&[(2, 1), (3, 2)]),
            status(&[(1, 9), (3, 3)]),
            status(&[(1, 2), (2, 3)]),
        );
        assert_eq!(diverged(&other), 1);
        let silent = all(None, status(&[(1, 1), (3, 3)]), status(&[(1, 2), (2, 3)]));
        assert_eq!(diverged(&silent), 2);
        let partly = all(
            status(&[(2, 1)]),
            status(&[(1, 1), (3, 3)]),
            status(&[(1, 2), (2, 3)]),
        );
        assert_eq!(diverged(&partly), 1);
    }
}
