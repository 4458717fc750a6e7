//! Feeds a role's view of the chain of trust from a node, which it does not believe.

use lapwing_protocol::codec::Decoder;
use lapwing_protocol::hash::record_hash;
use lapwing_protocol::time::Time;
use lapwing_protocol::trust::{MAX_RECORD, TrustView};

use super::Place;
use crate::http::{Ask, Client, HttpError};
use tokio::task::JoinSet;

/// Most bytes of all records of a federation that is taken here.
const MAX_ALL: usize = 64 << 20;
/// Most records.
const MAX_RECORDS: usize = 1 << 17;

/// What came of asking.
#[derive(Debug)]
pub(super) enum Fetched {
    /// Records, parents first.
    Records(Vec<Vec<u8>>),
    /// Nothing new, or nothing that can be used now.
    Unchanged,
    /// The node is gone.
    Unreachable(Place),
}

/// Asks a node for its records, one request at a time.
#[derive(Debug, Default)]
pub(super) struct Feed {
    tag: Option<String>,
    asked: JoinSet<(Fetched, Option<String>)>,
}

impl Feed {
    pub(super) fn idle(&self) -> bool {
        self.asked.is_empty()
    }

    pub(super) fn fetch(&mut self, client: &Client, place: Place) {
        let (client, tag) = (client.clone(), self.tag.clone());
        self.asked
            .spawn(async move { fetch(&client, place, tag).await });
    }

    pub(super) async fn done(&mut self) -> Option<Fetched> {
        let (fetched, tag) = self.asked.join_next().await?.ok()?;
        self.tag = tag;
        Some(fetched)
    }
}

async fn fetch(client: &Client, place: Place, tag: Option<String>) -> (Fetched, Option<String>) {
    match all(client, place, tag.as_deref()).await {
        Ok(Some((records, tag))) => (Fetched::Records(records), tag),
        Ok(None) => (Fetched::Unchanged, tag),
        Err(_) => (Fetched::Unreachable(place), tag),
    }
}

/// All records that a node holds, with their tag; nothing if they are those of `tag`, or if the node
/// does not give them now.
///
/// # Errors
/// [`HttpError`].
pub(crate) async fn all(
    client: &Client,
    place: Place,
    tag: Option<&str>,
) -> Result<Option<(Vec<Vec<u8>>, Option<String>)>, HttpError> {
    let ask = Ask {
        unless: tag,
        ..Ask::get("/v1/trust/all", MAX_ALL)
    };
    let reply = client.ask(place.api, &ask).await?;
    if !reply.status.is_success() {
        return Ok(None);
    }
    Ok(decode(&reply.body).map(|records| (records, reply.etag)))
}

fn decode(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut d = Decoder::new(bytes);
    let n = d.array_len(MAX_RECORDS).ok()?;
    let records = (0..n)
        .map(|_| d.bytes(MAX_RECORD).ok().map(<[u8]>::to_vec))
        .collect::<Option<_>>()?;
    d.end().ok()?;
    Some(records)
}

/// Teaches a view what it does not know yet. What is wrong it refuses; what waits for another record is
/// offered once more.
pub(crate) fn learn(view: &mut TrustView, records: &[Vec<u8>], now: Time) {
    let mut waiting: Vec<&Vec<u8>> = records
        .iter()
        .filter(|r| view.record(&record_hash(r)).is_none())
        .collect();
    for _ in 0..2 {
        waiting.retain(|record| {
            view.learn(record, now)
                .is_err_and(|refused| refused.waits())
        });
    }
}
