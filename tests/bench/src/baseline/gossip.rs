//! One of several processes that gossip as nodes do, and do nothing with what comes: libp2p with a node's
//! protocols and settings, and an HTTP server that takes a message and says how many it has seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::prelude::*;
use lapwing_protocol::client::CallKind;
use libp2p::gossipsub::{Event, MessageAcceptance};
use libp2p::identity::Keypair;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, Swarm};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::http::serve;
use super::idle::{Behaviour, BehaviourEvent, TCP, behaviour, swarm, topic};
use crate::child::{listen, say};

/// The number of the topic that stands for that of trust records.
const TOPIC: u16 = 0;
/// How long a socket takes to listen, at most.
const LISTENS: Duration = Duration::from_secs(10);

/// Where it is reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct At {
    /// By HTTP.
    pub(crate) http: std::net::SocketAddr,
    /// By other such processes.
    pub(crate) peer: Multiaddr,
}

/// The others that it is to connect to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Dial(pub(crate) Vec<Multiaddr>);

/// What it is asked from outside.
enum Order {
    Dial(Vec<Multiaddr>),
    /// A message to gossip; answered once it is on its way.
    Publish(Vec<u8>, oneshot::Sender<bool>),
}

struct Shared {
    orders: mpsc::UnboundedSender<Order>,
    seen: Arc<AtomicU64>,
}

/// Runs as this baseline until the main process ends.
pub(crate) fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let (orders, inbox) = mpsc::unbounded_channel();
    let at = runtime.block_on(start(orders.clone(), inbox))?;
    say(&at)?;
    while let Some(Dial(others)) = listen::<Dial>()? {
        // The swarm ends with the process alone.
        let _gone = orders.send(Order::Dial(others));
    }
    Ok(())
}

async fn start(
    orders: mpsc::UnboundedSender<Order>,
    inbox: mpsc::UnboundedReceiver<Order>,
) -> anyhow::Result<At> {
    let key = Keypair::generate_ed25519();
    let behaviour = behaviour(&key)?;
    let mut swarm = swarm(key, behaviour, &[TCP])?;
    let listening = async {
        loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                return address;
            }
        }
    };
    let peer = timeout(LISTENS, listening)
        .await
        .context("does not listen")?;
    let seen = Arc::new(AtomicU64::new(0));
    tokio::spawn(gossip(swarm, inbox, seen.clone()));
    let router = Router::new()
        .route(CallKind::Publish.path(), get(index).post(publish))
        .with_state(Arc::new(Shared { orders, seen }));
    let http = serve(router).await?;
    Ok(At { http, peer })
}

async fn gossip(
    mut swarm: Swarm<Behaviour>,
    mut inbox: mpsc::UnboundedReceiver<Order>,
    seen: Arc<AtomicU64>,
) {
    loop {
        tokio::select! {
            event = swarm.select_next_some() => {
                let SwarmEvent::Behaviour(BehaviourEvent::Gossip(Event::Message {
                    propagation_source,
                    message_id,
                    ..
                })) = event
                else {
                    continue;
                };
                swarm.behaviour_mut().gossip.report_message_validation_result(
                    &message_id,
                    &propagation_source,
                    MessageAcceptance::Accept,
                );
                seen.fetch_add(1, Ordering::Relaxed);
            }
            order = inbox.recv() => match order {
                Some(Order::Dial(others)) => {
                    for other in others {
                        // What cannot be reached shows when its count does not rise.
                        let _unreachable = swarm.dial(other);
                    }
                }
                Some(Order::Publish(bytes, done)) => {
                    let sent = swarm.behaviour_mut().gossip.publish(topic(TOPIC), bytes);
                    if sent.is_ok() {
                        seen.fetch_add(1, Ordering::Relaxed);
                    }
                    let _gone = done.send(sent.is_ok());
                }
                None => return,
            },
        }
    }
}

async fn publish(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let (done, sent) = oneshot::channel();
    let told = shared.orders.send(Order::Publish(body.to_vec(), done));
    match (told, sent.await) {
        (Ok(()), Ok(true)) => StatusCode::OK.into_response(),
        _ => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// How many messages came, as a node's index is asked for: with a tag, and nothing for who has it.
async fn index(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let seen = shared.seen.load(Ordering::Relaxed);
    let tag = format!("\"{seen}\"");
    if headers
        .get(IF_NONE_MATCH)
        .is_some_and(|v| v.as_bytes() == tag.as_bytes())
    {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    ([(ETAG, tag)], seen.to_string()).into_response()
}
