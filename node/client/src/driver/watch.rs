//! Follows a role's mailboxes by server-sent events, so that it reads when there is something to read.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lapwing_protocol::bounded::{Bytes, List};
use lapwing_protocol::client::{MAX_WATCHED, WatchOrder};
use lapwing_protocol::codec::to_bytes;
use lapwing_protocol::id::MailboxId;
use lapwing_protocol::mailbox::Mailbox;
use lapwing_protocol::role::Role;
use lapwing_protocol::time::Time;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Place;
use crate::http::{Ask, Client, Server};

/// Shortest pause between two watches.
const PAUSE: Duration = Duration::from_millis(10);
/// How long is waited after a watch that did not come about.
const REST: Duration = Duration::from_secs(1);
/// Most watches of one role. What lies in none of them is read by the role's pace.
const MAX_WATCHES: usize = 16;
/// A watch of more than these is left as it is while there may be another: each one of a watch that is
/// made anew costs a signature here and its check at the node.
const FEW: usize = 8;

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

    /// Whether it ended before it was open: the node is away, or does not want it now.
    fn failed(&self) -> bool {
        self.ended() && !self.open.load(Ordering::Acquire)
    }

    /// Whether every change of a mailbox is announced by this one.
    fn covers(&self, id: &MailboxId) -> bool {
        self.open.load(Ordering::Acquire) && !self.ended() && self.ids.contains(id)
    }
}

/// Follows the mailboxes that a role watches, so many in each watch as a node allows.
#[derive(Debug)]
pub(super) struct Watching {
    at: Option<Place>,
    watches: Vec<Watch>,
    not_before: Instant,
    sender: mpsc::Sender<MailboxId>,
    changes: mpsc::Receiver<MailboxId>,
}

impl Default for Watching {
    fn default() -> Self {
        let (sender, changes) = mpsc::channel(MAX_WATCHED * 2);
        Watching {
            at: None,
            watches: Vec::new(),
            not_before: Instant::now(),
            sender,
            changes,
        }
    }
}

impl Watching {
    /// Watches what the role watches now, at its node; says when to come back, if there is more to watch.
    pub(super) fn follow<R: Role>(
        &mut self,
        role: &R,
        client: &Client,
        place: &Place,
        now: Time,
    ) -> Option<Instant> {
        let ids: Vec<MailboxId> = role.watching().iter().map(Mailbox::id).collect();
        let wanted: BTreeSet<&MailboxId> = ids.iter().collect();
        if self.at.as_ref() != Some(place) {
            self.watches.clear();
            self.at = Some(place.clone());
        }
        if self.watches.iter().any(Watch::failed) {
            self.not_before = Instant::now() + REST;
        }
        self.watches
            .retain(|w| !w.ended() && w.ids.iter().any(|id| wanted.contains(id)));
        let watched: BTreeSet<&MailboxId> = self.watches.iter().flat_map(|w| &w.ids).collect();
        let mut missing: Vec<MailboxId> = ids
            .iter()
            .filter(|id| !watched.contains(id))
            .copied()
            .collect();
        if missing.is_empty() {
            return None;
        }
        if Instant::now() < self.not_before {
            return Some(self.not_before);
        }
        self.not_before = Instant::now() + PAUSE;
        // What is new joins the watch with the fewest.
        let stay = |w: &Watch| -> Vec<MailboxId> {
            let stay = w.ids.iter().filter(|id| wanted.contains(id));
            stay.copied().collect()
        };
        let few = match self.watches.len() {
            MAX_WATCHES.. => MAX_WATCHED,
            _ => FEW,
        };
        let roomy = self
            .watches
            .iter()
            .enumerate()
            .map(|(n, w)| (stay(w), n))
            .min_by_key(|(stay, _)| stay.len())
            .filter(|(stay, _)| stay.len() < few);
        let (mut these, before) = match roomy {
            Some((stay, n)) => (stay, Some(self.watches.swap_remove(n))),
            None if self.watches.len() < MAX_WATCHES => (Vec::new(), None),
            None => return None,
        };
        let more = missing.len() > MAX_WATCHED - these.len();
        missing.truncate(MAX_WATCHED - these.len());
        these.extend(missing);
        let proofs = role.watch_proofs(&these, now).into_iter();
        let proofs = proofs.filter_map(|p| Bytes::try_from(p).ok());
        let proofs = List::try_from(proofs.collect::<Vec<_>>()).ok();
        let proofs = proofs.filter(|p| p.len() == these.len())?;
        let open = Arc::new(AtomicBool::new(false));
        let job = Job {
            client: client.clone(),
            api: place.api.clone(),
            order: to_bytes(&WatchOrder { proofs }),
            ids: these.clone(),
            changes: self.sender.clone(),
            open: open.clone(),
            before,
        };
        let task = tokio::spawn(watch(job));
        self.watches.push(Watch {
            ids: these,
            open,
            task,
        });
        more.then_some(self.not_before)
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
