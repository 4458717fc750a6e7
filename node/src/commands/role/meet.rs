//! The first word with nodes: who they are, and whether they answer.

use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use lapwing_client::driver::{Place, feed, now};
use lapwing_client::http::{Ask, Client, Server, Timeouts};
use lapwing_protocol::id::{FederationId, NodeId};
use lapwing_protocol::trust::TrustView;
use serde::Deserialize;

use super::{Failure, home};
use crate::config;

/// Most bytes of what a node says of itself.
const MAX_NODE: usize = 64 * 1024;

/// What a node says of itself, as far as it is needed here.
#[derive(Deserialize)]
struct Node {
    node: String,
    federation: String,
    time: u64,
    params: Option<Params>,
}

#[derive(Deserialize)]
struct Params {
    clock_skew: u64,
}

/// The client of a command.
pub(super) fn client() -> Client {
    Client::new().with_timeouts(Timeouts {
        connect: Duration::from_secs(5),
        exchange: Duration::from_secs(30),
    })
}

async fn ask(client: &Client, api: &Server) -> Result<(NodeId, FederationId), Failure> {
    let away = |why: String| Failure::Away(anyhow!("{api}: {why}"));
    let reply = client
        .ask(api, &Ask::get("/v1/node", MAX_NODE))
        .await
        .map_err(|e| away(e.to_string()))?;
    let strange = || Failure::Failed(anyhow!("{api}: no Lapwing node answers there"));
    if !reply.status.is_success() {
        return Err(if reply.status.is_server_error() {
            away(format!("answers {}: try again later", reply.status))
        } else {
            strange()
        });
    }
    let node: Node = serde_json::from_slice(&reply.body).map_err(|_| strange())?;
    let id = node.node.parse().map_err(|_| strange())?;
    let federation = node.federation.parse().map_err(|_| strange())?;
    let off = node.time.abs_diff(now().get());
    if node.params.is_some_and(|p| off > p.clock_skew) {
        return Err(Failure::Failed(anyhow!(
            "this machine's clock and that of {api} differ by {off} s: correct the one that is wrong"
        )));
    }
    Ok((id, federation))
}

/// Asks nodes who they are, for a new identity: each must be in the federation's roster.
///
/// # Errors
/// Where a node is away, of another federation, or not in the roster.
pub(crate) async fn meet(
    file: &Path,
    nodes: &[Server],
) -> Result<(TrustView, Vec<Place>), Failure> {
    let (federation, _) = config::load_pinned(file)?;
    let client = client();
    let mut places = Vec::new();
    let mut view = home::view(federation, &[], now())?;
    for api in nodes {
        let (id, theirs) = ask(&client, api).await?;
        if theirs != view.federation_id() {
            return Err(anyhow!(
                "{api}: is a node of another federation than {} pins: check both",
                file.display()
            )
            .into());
        }
        match feed::all(&client, api, None).await {
            Ok(Some((records, _))) => {
                feed::learn(&mut view, &records, now());
            }
            Ok(None) => {
                return Err(Failure::Away(anyhow!(
                    "{api}: is not ready: try again later"
                )));
            }
            Err(e) => return Err(Failure::Away(anyhow!("{api}: {e}"))),
        }
        places.push(Place {
            id,
            api: api.clone(),
        });
    }
    if let Some(place) = places.iter().find(|p| !view.in_roster(&p.id)) {
        return Err(anyhow!(
            "{}: calls itself {}, and the federation's roster has no such node: choose another",
            place.api,
            place.id
        )
        .into());
    }
    Ok((view, places))
}

/// The places of an identity, beginning with one that answers.
///
/// # Errors
/// [`Failure::Away`] where none does.
pub(super) async fn reachable(places: &[Place]) -> Result<Vec<Place>, Failure> {
    let client = client();
    let mut last = None;
    for (n, place) in places.iter().enumerate() {
        match ask(&client, &place.api).await {
            Ok((id, _)) if id == place.id => {
                return Ok(lapwing_client::driver::places_from(places, n));
            }
            Ok(_) => {
                last = Some(Failure::Failed(anyhow!(
                    "{}: another node answers there than before: is the address still right?",
                    place.api
                )));
            }
            Err(failure) => last = Some(failure),
        }
    }
    Err(last.unwrap_or_else(|| Failure::Away(anyhow!("there is no node to talk to"))))
}
