//! How long a revocation takes from its publication at one node until it is in force at all of them,
//! over bare gossip of the same bytes among as many processes.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::future::{join_all, try_join_all};
use lapwing_client::http::{Ask, Client};
use lapwing_protocol::client::CallKind;
use lapwing_testnet::clients;
use tokio::time::{sleep, timeout};

use crate::baseline::gossip::{At, Dial};
use crate::child::Part;
use crate::report::{Bound, Rounds, Row};
use crate::stage::{Stage, now};

/// Between two looks of one observer at one process.
const LOOK: Duration = Duration::from_millis(1);
/// The longest that one revocation may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Revocations before the measured ones.
const WARM_UP: u64 = 5;
/// Between two revocations, for what the last one set off to end.
const REST: Duration = Duration::from_millis(30);
/// Certificates that stay in force, so that the directory is never empty.
const STAYING: u64 = 20;

/// Looks at one process until it has what was published.
struct Observer {
    client: Client,
    address: SocketAddr,
    /// Of the last answer.
    tag: Option<String>,
}

/// Reads an index: how far the process is.
type Read = fn(&[u8], &Watched) -> Option<u64>;

/// What is looked for.
struct Watched {
    mediator: String,
}

impl Observer {
    fn new(address: SocketAddr, n: u8) -> Self {
        Observer {
            client: clients::from(Ipv4Addr::new(127, 254, n, 1)),
            address,
            tag: None,
        }
    }

    /// Waits until the process is so far.
    async fn wait(&mut self, read: Read, what: &Watched, goal: u64) -> anyhow::Result<()> {
        loop {
            let ask = Ask {
                unless: self.tag.as_deref(),
                ..Ask::get(CallKind::Publish.path(), 256 * 1024)
            };
            let reply = self.client.ask(&self.address.into(), &ask).await?;
            if reply.status.is_success() {
                if read(&reply.body, what).is_some_and(|at| at >= goal) {
                    return Ok(());
                }
                self.tag = reply.etag;
            }
            sleep(LOOK).await;
        }
    }
}

/// A node's index: the sequence of the revocations in force.
fn of_node(body: &[u8], what: &Watched) -> Option<u64> {
    let index: serde_json::Value = serde_json::from_slice(body).ok()?;
    let mediators = index.get("mediators")?.as_array()?;
    let ours = mediators
        .iter()
        .find(|m| m.get("mediator").and_then(|m| m.as_str()) == Some(&what.mediator))?;
    ours.pointer("/revocations/sequence")?.as_u64()
}

/// The baseline's: how many messages it has seen.
fn of_baseline(body: &[u8], _: &Watched) -> Option<u64> {
    std::str::from_utf8(body).ok()?.parse().ok()
}

async fn publish(client: &Client, to: SocketAddr, record: &[u8]) -> anyhow::Result<()> {
    let kind = CallKind::Publish;
    let body = record.to_vec();
    let ask = Ask::post(kind.path(), kind.content_type(), body, kind.max_answer());
    let reply = client.ask(&to.into(), &ask).await?;
    if !reply.status.is_success() {
        bail!("a record was refused ({})", reply.status);
    }
    Ok(())
}

/// How long something took, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Took {
    /// Until all three posts were answered.
    posts: f64,
    /// Until all processes were so far.
    all: f64,
}

/// Publishes lists and status at the first of these and waits until all are so far.
async fn spread(
    client: &Client,
    observers: &mut [Observer],
    records: &[Vec<u8>; 3],
    (read, what, goal): (Read, &Watched, u64),
) -> anyhow::Result<Took> {
    let first = observers.first().context("no process")?.address;
    let [directory, revocations, status] = records;
    let begun = Instant::now();
    let passed = || begun.elapsed().as_secs_f64() * 1000.0;
    let published = async {
        // The status names both lists, and is refused before they are there.
        try_join_all([
            publish(client, first, directory),
            publish(client, first, revocations),
        ])
        .await?;
        publish(client, first, status).await?;
        anyhow::Ok(passed())
    };
    let seen = join_all(observers.iter_mut().map(|o| async move {
        let done = timeout(PATIENCE, o.wait(read, what, goal)).await;
        done.with_context(|| format!("{} is not so far in time", o.address))?
    }));
    let (published, seen) = tokio::join!(published, async { (seen.await, passed()) });
    let (seen, all) = seen;
    seen.into_iter().collect::<anyhow::Result<()>>()?;
    Ok(Took {
        posts: published?,
        all,
    })
}

/// Processes that gossip and nothing else, all connected.
async fn bare(count: usize) -> anyhow::Result<(Vec<Part>, Vec<At>)> {
    let (mut parts, mut places): (Vec<Part>, Vec<At>) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let mut part = Part::start("baseline-gossip", &[])?;
        places.push(part.hear().await?);
        parts.push(part);
    }
    for (n, part) in parts.iter_mut().enumerate() {
        let others = places.iter().skip(n + 1).map(|at| at.peer.clone());
        part.tell(&Dial(others.collect())).await?;
    }
    // Until every mesh has formed: some heartbeats of a second.
    sleep(Duration::from_secs(4)).await;
    Ok((parts, places))
}

/// Measures it among the nodes of a stage.
pub(crate) async fn measure(stage: &mut Stage, count: u64) -> anyhow::Result<Row> {
    let seeds = stage.seeds;
    let mut serials = Vec::new();
    for _ in 0..count + WARM_UP + STAYING {
        let vouched = stage.mediator.certify(seeds, [0], now()?)?;
        serials.push(vouched.serial);
        stage
            .post(0, CallKind::Publish, vouched.certificate)
            .await?;
    }
    for record in stage.mediator.lists(now()?)? {
        stage.post(0, CallKind::Publish, record).await?;
    }
    let (_parts, places) = bare(stage.net.nodes().len()).await?;
    let observers = |addresses: Vec<SocketAddr>| {
        let numbered = (1..=u8::MAX).zip(addresses);
        numbered
            .map(|(n, a)| Observer::new(a, n))
            .collect::<Vec<_>>()
    };
    let mut nodes = observers(stage.apis());
    let mut baseline = observers(places.iter().map(|at| at.http).collect());
    let what = Watched {
        mediator: stage.mediator.id().to_hex(),
    };
    let (mut ours, mut theirs, mut posts) =
        (Rounds::default(), Rounds::default(), Rounds::default());
    let mut slowest = Took::default();
    for (round, serial) in (0..).zip(serials.into_iter().take(usize::try_from(count + WARM_UP)?)) {
        stage.mediator.revoke(serial);
        let records = stage.mediator.lists(now()?)?;
        // Each from a network of its own, as mediators have.
        let source = Ipv4Addr::new(127, 253, u8::try_from(round % 250)?, 1);
        let client = clients::from(source);
        let goal = stage.mediator.sequence();
        let node = spread(&client, &mut nodes, &records, (of_node, &what, goal)).await?;
        sleep(REST).await;
        let goal = (round + 1) * 3;
        let bare = spread(&client, &mut baseline, &records, (of_baseline, &what, goal)).await?;
        sleep(REST).await;
        if round >= WARM_UP {
            if node.all > slowest.all {
                slowest = node;
            }
            ours.0.push(node.all);
            posts.0.push(node.posts);
            theirs.0.push(bare.all);
        }
    }
    eprintln!(
        "  revocation: median {:.1} ms (posts {:.1}), slowest {:.1} ms (posts {:.1}), baseline {:.1} ms",
        ours.median(),
        posts.median(),
        slowest.all,
        slowest.posts,
        theirs.median()
    );
    let baseline = "the same bytes by bare gossipsub among five processes";
    Ok(Row::at_share(
        "revocation_5_nodes_p99",
        "ms",
        0.99,
        &ours,
        baseline,
        &theirs,
        Bound::AtMost(3.0),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_read() {
        let what = Watched {
            mediator: "ab".to_owned(),
        };
        let index = br#"{"mediators":[{"mediator":"cd","revocations":{"sequence":9}},
            {"mediator":"ab","revocations":{"sequence":4}}]}"#;
        assert_eq!(of_node(index, &what), Some(4));
        assert_eq!(of_node(b"{}", &what), None);
        assert_eq!(of_baseline(b"12", &what), Some(12));
    }
}
