//! Follows a role's mailboxes by server-sent events, so that it reads when there is something to read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// The watch that is open or being opened.
#[derive(Debug)]
struct Watch {
    ids: Vec<MailboxId>,
    /// Whether events have begun to come.
    open: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    fn ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Whether every change of a mailbox is announced by this one.
    fn covers(&self, id: &MailboxId) -> bool {
        self.open.load(Ordering::Acquire) && !self.ended() && self.ids.contains(id)
    }
}

/// Follows the mailboxes that a role watches.
#[derive(Debug)]
pub(super) struct Watching {
    at: Option<Place>,
    now: Option<Watch>,
    not_before: Instant,
    sender: mpsc::Sender<MailboxId>,
    changes: mpsc::Receiver<MailboxId>,
}

impl Default for Watching {
    fn default() -> Self {
        let (sender, changes) = mpsc::channel(MAX_WATCHED * 2);
        Watching {
            at: None,
            now: None,
            not_before: Instant::now(),
            sender,
            changes,
        }
    }
}

impl Watching {
    /// Watches what the role watches now, at its node.
    pub(super) fn follow<R: Role>(&mut self, role: &R, client: &Client, place: &Place, now: Time) {
        let ids: Vec<MailboxId> = role
            .watching()
            .iter()
            .take(MAX_WATCHED)
            .map(|m| m.id())
            .collect();
        let here = self.at.as_ref() == Some(place);
        let same = here
            && self
                .now
                .as_ref()
                .is_some_and(|w| w.ids == ids && !w.ended());
        if ids.is_empty() || same || Instant::now() < self.not_before {
            return;
        }
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
        if !here {
            self.now = None;
        }
        self.at = Some(place.clone());
        let open = Arc::new(AtomicBool::new(false));
        let job = Job {
            client: client.clone(),
            api: place.api.clone(),
            order: to_bytes(&WatchOrder { proofs }),
            ids: ids.clone(),
            changes: self.sender.clone(),
            open: open.clone(),
            before: self.now.take(),
        };
        let task = tokio::spawn(watch(job));
        self.now = Some(Watch { ids, open, task });
    }

    /// The next mailbox in which something changed.
    pub(super) async fn changed(&mut self) -> Option<MailboxId> {
        self.changes.recv().await
    }

    /// The same, if it is known already.
    pub(super) fn try_changed(&mut self) -> Option<MailboxId> {
        self.changes.try_recv().ok()
    }
}

/// What one watch needs.
struct Job {
    client: Client,
    api: Server,
    order: Vec<u8>,
    ids: Vec<MailboxId>,
    changes: mpsc::Sender<MailboxId>,
    open: Arc<AtomicBool>,
    /// The watch that this one takes over from: it goes on until this one is open.
    before: Option<Watch>,
}

/// One watch, until it ends. However it ends, another follows; meanwhile the role reads by its pace.
async fn watch(job: Job) {
    #[derive(Deserialize)]
    struct Opened {
        watch: String,
    }
    #[derive(Deserialize)]
    struct Changed {
        index: usize,
    }
    let ask = Ask::post("/v1/watches", "application/cbor", job.order, 64 * 1024);
    let Ok(reply) = job.client.ask(&job.api, &ask).await else {
        return;
    };
    let Ok(opened) = serde_json::from_slice::<Opened>(&reply.body) else {
        return;
    };
    let Ok((status, mut events)) = job
        .client
        .events(&job.api, &format!("/v1/watches/{}/events", opened.watch))
        .await
    else {
        return;
    };
    if !status.is_success() {
        return;
    }
    // What came into the others between the last read and now was not announced.
    let before = job.before;
    let covered = |id: &MailboxId| before.as_ref().is_some_and(|w| w.covers(id));
    let unseen: Vec<MailboxId> = job.ids.iter().filter(|id| !covered(id)).copied().collect();
    job.open.store(true, Ordering::Release);
    drop(before);
    for id in unseen {
        if job.changes.send(id).await.is_err() {
            return;
        }
    }
    while let Some((event, data)) = events.next().await {
        let changed = serde_json::from_str::<Changed>(&data)
            .ok()
            .filter(|_| event == "changed");
        if let Some(id) = changed.and_then(|c| job.ids.get(c.index))
            && job.changes.send(*id).await.is_err()
        {
            return;
        }
    }
}
