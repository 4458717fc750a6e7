//! Puts through the node's own committer, several at once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::bail;
use lapwing_core::store::{Batch, CommitId};
use lapwing_store::{Committer, SledOptions, SledStore, SubmitError};
use tokio::sync::oneshot;

/// A store and its committer, opened as a node opens them.
pub(crate) struct Puts {
    pub(crate) store: Arc<SledStore>,
    committer: Committer,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    done: BTreeMap<CommitId, oneshot::Sender<()>>,
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The key of the `n`th put.
pub(crate) fn key(kind: u8, n: u64) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(blake3::hash(&n.to_be_bytes()).as_bytes());
    key
}

impl Puts {
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Self> {
        let store = Arc::new(SledStore::open(dir, &SledOptions::default())?);
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let told = waiting.clone();
        let committer = Committer::start(store.clone(), move |result| {
            // On failure nobody is told: the senders go with the program.
            let Ok(ids) = result else { return };
            let mut waiting = lock(&told);
            for id in ids {
                if let Some(done) = waiting.done.remove(id) {
                    let _gone = done.send(());
                }
            }
        })?;
        Ok(Puts {
            store,
            committer,
            waiting,
        })
    }

    /// Puts one value under a key that is new and lies anywhere among those of its kind, as a node's
    /// do; returns once it is durable.
    pub(crate) async fn put(&self, kind: u8, value: &[u8]) -> anyhow::Result<()> {
        let done = {
            let mut waiting = lock(&self.waiting);
            waiting.next += 1;
            let id = CommitId(waiting.next);
            let mut batch = Batch::new();
            batch.put(key(kind, id.0), value);
            // Within the lock, for ids must ascend.
            match self.committer.submit(id, batch) {
                Ok(()) => {}
                Err(SubmitError::Full(_)) => bail!("the committer is behind"),
                Err(SubmitError::Stopped) => bail!("the committer has stopped"),
            }
            let (tell, done) = oneshot::channel();
            waiting.done.insert(id, tell);
            done
        };
        Ok(done.await?)
    }
}
