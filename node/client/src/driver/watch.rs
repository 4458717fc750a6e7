//! Follows a role's mailboxes by server-sent events, so that it reads when there is something to read.

use std::time::Duration;

use lapwing_protocol::bounded::{Bytes, List};
use lapwing_protocol::client::{MAX_WATCHED, WatchOrder};
use lapwing_protocol::codec::to_bytes;
use lapwing_protocol::id::MailboxId;
use lapwing_protocol::role::Role;
use lapwing_protocol::time::Time;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Place;
use crate::http::{Ask, Client, Server};

/// Shortest pause between two watches.
const PAUSE: Duration = Duration::from_millis(25);

/// The watch that is open, if one is.
#[derive(Debug)]
pub(super) struct Watching {
    what: Option<(Place, Vec<MailboxId>)>,
    task: Option<JoinHandle<()>>,
    not_before: Instant,
    sender: mpsc::Sender<MailboxId>,
    changes: mpsc::Receiver<MailboxId>,
}

impl Default for Watching {
    fn default() -> Self {
        let (sender, changes) = mpsc::channel(MAX_WATCHED * 2);
        Watching {
            what: None,
            task: None,
            not_before: Instant::now(),
            sender,
            changes,
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.end();
    }
}

impl Watching {
    fn end(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }

    /// Watches what the role watches now, at its node.
    pub(super) fn follow<R: Role>(&mut self, role: &R, client: &Client, place: &Place, now: Time) {
        let ids: Vec<MailboxId> = role
            .watching()
            .iter()
            .take(MAX_WATCHED)
            .map(|m| m.id())
            .collect();
        let same = self
            .what
            .as_ref()
            .is_some_and(|(at, what)| at == place && *what == ids);
        let open = self.task.as_ref().is_some_and(|t| !t.is_finished());
        if ids.is_empty() || (same && open) || Instant::now() < self.not_before {
            return;
        }
        self.end();
        self.not_before = Instant::now() + PAUSE;
        let proofs = role
            .watch_proofs(now)
            .into_iter()
            .take(MAX_WATCHED)
            .filter_map(|p| Bytes::try_from(p).ok());
        let Ok(proofs) = List::try_from(proofs.collect::<Vec<_>>()) else {
            return;
        };
        if proofs.len() != ids.len() {
            return;
        }
        self.what = Some((place.clone(), ids.clone()));
        let order = to_bytes(&WatchOrder { proofs });
        self.task = Some(tokio::spawn(watch(
            client.clone(),
            place.api.clone(),
            order,
            ids,
            self.sender.clone(),
        )));
    }

    /// The next mailbox in which something changed.
    pub(super) async fn changed(&mut self) -> Option<MailboxId> {
        self.changes.recv().await
    }
}

/// One watch, until it ends. However it ends, another follows; meanwhile the role reads by its pace.
async fn watch(
    client: Client,
    api: Server,
    order: Vec<u8>,
    ids: Vec<MailboxId>,
    changes: mpsc::Sender<MailboxId>,
) {
    #[derive(Deserialize)]
    struct Opened {
        watch: String,
    }
    #[derive(Deserialize)]
    struct Changed {
        index: usize,
    }
    let ask = Ask::post("/v1/watches", "application/cbor", order, 64 * 1024);
    let Ok(reply) = client.ask(&api, &ask).await else {
        return;
    };
    let Ok(opened) = serde_json::from_slice::<Opened>(&reply.body) else {
        return;
    };
    let Ok((status, mut events)) = client
        .events(&api, &format!("/v1/watches/{}/events", opened.watch))
        .await
    else {
        return;
    };
    if !status.is_success() {
        return;
    }
    // What came between the last read and now was not announced.
    for id in &ids {
        if changes.send(*id).await.is_err() {
            return;
        }
    }
    while let Some((event, data)) = events.next().await {
        let changed = serde_json::from_str::<Changed>(&data)
            .ok()
            .filter(|_| event == "changed");
        if let Some(id) = changed.and_then(|c| ids.get(c.index))
            && changes.send(*id).await.is_err()
        {
            return;
        }
    }
}
