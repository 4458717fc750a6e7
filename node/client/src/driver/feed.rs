//! Feeds a role's view of the chain of trust from a node, which it does not believe.

use std::path::Path;

use lapwing_protocol::codec::{Decoder, Encoder};
use lapwing_protocol::hash::record_hash;
use lapwing_protocol::time::Time;
use lapwing_protocol::trust::{Accepted, MAX_RECORD, TrustView};

use tokio::task::JoinSet;

use super::Place;
use crate::file::{self, FileError};
use crate::http::{Ask, Client, HttpError, Server};

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

    pub(super) fn fetch(&mut self, client: &Client, place: &Place) {
        let (client, place, tag) = (client.clone(), place.clone(), self.tag.clone());
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
    match all(client, &place.api, tag.as_deref()).await {
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
pub async fn all(
    client: &Client,
    api: &Server,
    tag: Option<&str>,
) -> Result<Option<(Vec<Vec<u8>>, Option<String>)>, HttpError> {
    let ask = Ask {
        unless: tag,
        ..Ask::get("/v1/trust/all", MAX_ALL)
    };
    let reply = client.ask(api, &ask).await?;
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

/// The records of a view, as `GET /v1/trust/all` gives them.
#[must_use]
pub fn encode(view: &TrustView) -> Vec<u8> {
    let records = view.records();
    let mut e = Encoder::new();
    e.array(records.len());
    for (_, record) in &records {
        e.bytes(record);
    }
    e.into_vec()
}

/// Teaches a view the records that were kept in a file ([`encode`]); there may be none yet.
///
/// # Errors
/// [`FileError::Damaged`] where it holds no records: going on without them could follow a node back
/// to older lists.
pub fn recall(path: &Path, view: &mut TrustView, now: Time) -> Result<(), FileError> {
    let Some(bytes) = file::read(path)? else {
        return Ok(());
    };
    let records = decode(&bytes).ok_or_else(|| FileError::Damaged {
        path: path.to_owned(),
    })?;
    learn(view, &records, now);
    Ok(())
}

/// Teaches a view what it does not know yet, and says whether it learned anything. What is wrong it
/// refuses; what waits for another record is offered once more.
pub fn learn(view: &mut TrustView, records: &[Vec<u8>], now: Time) -> bool {
    let mut learned = false;
    let mut waiting: Vec<&Vec<u8>> = records
        .iter()
        .filter(|r| view.record(&record_hash(r)).is_none())
        .collect();
    for _ in 0..2 {
        waiting.retain(|record| match view.learn(record, now) {
            Ok(accepted) => {
                learned |= matches!(accepted, Accepted::New { .. });
                false
            }
            Err(refused) => refused.waits(),
        });
    }
    learned
}
