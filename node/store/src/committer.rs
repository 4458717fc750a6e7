//! One thread that makes commits durable, in order, many at a time.
//!
//! While one group is on its way to the disk the next one gathers, so a group is
//! as large as the load makes it, and a lone commit waits for nobody.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use lapwing_core::store::{Batch, CommitId};

use crate::{WriteError, Writer};

/// What a queued commit takes beside its keys and values, in bytes; roughly.
const COMMIT_OVERHEAD: usize = 128;

/// The longest that a group may gather.
const MAX_GATHER: Duration = Duration::from_millis(20);

/// Bounds of a [`Committer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitterOptions {
    /// Bytes that may wait to become durable. Default 64 MiB.
    pub max_pending_bytes: usize,
    /// Bytes after which a group takes no further commit. Default 1 MiB: the more
    /// is written between two syncs, the more of sled's files is in motion when
    /// power is lost.
    pub max_group_bytes: usize,
    /// How long a group may gather after one that had several commits, until it
    /// has as many; at most 20 ms. A lone commit never waits. Default 2 ms: under
    /// load it saves syncs, and with them more time than it costs.
    pub gather: Duration,
}

impl Default for CommitterOptions {
    fn default() -> Self {
        Self {
            max_pending_bytes: 64 << 20,
            max_group_bytes: 1 << 20,
            gather: Duration::from_millis(2),
        }
    }
}

/// Why a commit was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// Too much is waiting already. The batch is handed back.
    #[error("too many bytes wait to become durable: slow down, then try again")]
    Full(Batch),
    /// The committer was closed, or stopped after a write error.
    #[error("the committer has stopped: the node must stop too")]
    Stopped,
}

/// What a [`Committer`] has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CommitterStats {
    /// Commits made durable.
    pub commits: u64,
    /// Groups that they were made durable in: one sync each.
    pub groups: u64,
    /// Bytes of keys and values made durable.
    pub bytes: u64,
    /// Microseconds from the submission of the last group's oldest commit until
    /// it was durable.
    pub last_latency_micros: u64,
    /// Microseconds that applying and syncing the last group took.
    pub last_apply_micros: u64,
    /// Bytes waiting to become durable, with overhead.
    pub pending_bytes: usize,
}

/// Makes batches durable in the order in which they are submitted.
pub struct Committer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    options: CommitterOptions,
    queue: Mutex<Queue>,
    wake: Condvar,
    pending_bytes: AtomicUsize,
    commits: AtomicU64,
    groups: AtomicU64,
    bytes: AtomicU64,
    last_latency_micros: AtomicU64,
    last_apply_micros: AtomicU64,
}

#[derive(Default)]
struct Queue {
    commits: VecDeque<Queued>,
    /// Nothing more is taken; what is queued still counts.
    closed: bool,
    /// The writer failed, or the thread ended: nothing more will be done.
    stopped: bool,
}

struct Queued {
    id: CommitId,
    batch: Batch,
    bytes: usize,
    since: Instant,
}

impl Committer {
    /// Starts the thread with the default bounds. `done` runs on it, after each
    /// group with the ids that became durable, in order, and once with the error
    /// if the writer fails: then nothing more is committed and the node must stop.
    ///
    /// # Errors
    /// What the operating system says when it gives no thread.
    pub fn start<F>(writer: Arc<dyn Writer>, done: F) -> io::Result<Self>
    where
        F: Fn(Result<&[CommitId], &WriteError>) + Send + 'static,
    {
        Self::start_with(writer, CommitterOptions::default(), done)
    }

    /// As [`Committer::start`], with other bounds.
    ///
    /// # Errors
    /// As [`Committer::start`].
    pub fn start_with<F>(
        writer: Arc<dyn Writer>,
        options: CommitterOptions,
        done: F,
    ) -> io::Result<Self>
    where
        F: Fn(Result<&[CommitId], &WriteError>) + Send + 'static,
    {
        let shared = Arc::new(Shared {
            options: CommitterOptions {
                gather: options.gather.min(MAX_GATHER),
                ..options
            },
            queue: Mutex::default(),
            wake: Condvar::new(),
            pending_bytes: AtomicUsize::new(0),
            commits: AtomicU64::new(0),
            groups: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            last_latency_micros: AtomicU64::new(0),
            last_apply_micros: AtomicU64::new(0),
        });
        let worker = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("committer".to_owned())
            .spawn(move || worker.run(&*writer, &done))?;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Queues a batch; never waits for the disk. Ids must ascend. A batch larger
    /// than the bound is taken when nothing else is pending.
    ///
    /// # Errors
    /// [`SubmitError::Full`] gives the batch back. [`SubmitError::Stopped`] is for
    /// good.
    pub fn submit(&self, id: CommitId, batch: Batch) -> Result<(), SubmitError> {
        let bytes = batch.bytes().saturating_add(COMMIT_OVERHEAD);
        let mut queue = self.shared.queue();
        if queue.closed || queue.stopped {
            return Err(SubmitError::Stopped);
        }
        // Only the worker lowers it, so it cannot grow past the bound here.
        let pending = self.shared.pending_bytes.load(Ordering::Relaxed);
        if pending > 0 && pending.saturating_add(bytes) > self.shared.options.max_pending_bytes {
            return Err(SubmitError::Full(batch));
        }
        self.shared
            .pending_bytes
            .fetch_add(bytes, Ordering::Relaxed);
        queue.commits.push_back(Queued {
            id,
            batch,
            bytes,
            since: Instant::now(),
        });
        drop(queue);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Bytes submitted and not yet durable, with overhead.
    pub fn pending_bytes(&self) -> usize {
        self.shared.pending_bytes.load(Ordering::Relaxed)
    }

    /// What was done so far.
    pub fn stats(&self) -> CommitterStats {
        let shared = &self.shared;
        CommitterStats {
            commits: shared.commits.load(Ordering::Relaxed),
            groups: shared.groups.load(Ordering::Relaxed),
            bytes: shared.bytes.load(Ordering::Relaxed),
            last_latency_micros: shared.last_latency_micros.load(Ordering::Relaxed),
            last_apply_micros: shared.last_apply_micros.load(Ordering::Relaxed),
            pending_bytes: self.pending_bytes(),
        }
    }

    /// Takes nothing more, makes durable what is queued, and ends the thread.
    /// Dropping the committer does the same.
    pub fn close(&self) {
        self.shared.queue().closed = true;
        self.shared.wake.notify_one();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            // The thread itself, in `done`, cannot wait for its own end.
            && thread.thread().id() != thread::current().id()
        {
            // It fails only if `done` panicked, and the hook has reported that.
            let _ = thread.join();
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Committer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committer")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing that holds the lock leaves the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run<F>(&self, writer: &dyn Writer, done: &F)
    where
        F: Fn(Result<&[CommitId], &WriteError>),
    {
        let _stop = StopOnEnd(self);
        let mut last_group = 0;
        while let Some(group) = self.next_group(last_group) {
            let begun = Instant::now();
            last_group = group.len();
            let oldest = group.first().map_or(begun, |first| first.since);
            let bytes = group.iter().map(|queued| queued.bytes).sum();
            let mut ids = Vec::with_capacity(group.len());
            let mut merged = Batch::new();
            for queued in group {
                ids.push(queued.id);
                merged.merge(queued.batch);
            }
            if let Err(error) = writer.apply(&merged) {
                tracing::error!(%error, commits = ids.len(), "commits are lost; the store has stopped");
                self.queue().stopped = true;
                done(Err(&error));
                return;
            }
            let ended = Instant::now();
            self.commits.fetch_add(ids.len() as u64, Ordering::Relaxed);
            self.groups.fetch_add(1, Ordering::Relaxed);
            self.bytes
                .fetch_add(merged.bytes() as u64, Ordering::Relaxed);
            self.last_latency_micros
                .store(micros(ended - oldest), Ordering::Relaxed);
            self.last_apply_micros
                .store(micros(ended - begun), Ordering::Relaxed);
            self.pending_bytes.fetch_sub(bytes, Ordering::Relaxed);
            done(Ok(&ids));
        }
    }

    /// Waits for commits and takes as many as fit a group; `None` at the end.
    fn next_group(&self, last_group: usize) -> Option<Vec<Queued>> {
        let mut queue = self.queue();
        while queue.commits.is_empty() {
            if queue.closed {
                return None;
            }
            queue = self
                .wake
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if last_group > 1 && !self.options.gather.is_zero() && !queue.closed {
            let few = |queue: &mut Queue| !queue.closed && queue.commits.len() < last_group;
            let waited = self
                .wake
                .wait_timeout_while(queue, self.options.gather, few);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut group = Vec::new();
        let mut bytes = 0usize;
        while let Some(next) = queue.commits.front() {
            bytes = bytes.saturating_add(next.bytes);
            if !group.is_empty() && bytes > self.options.max_group_bytes {
                break;
            }
            group.extend(queue.commits.pop_front());
        }
        Some(group)
    }
}

/// Marks the committer stopped however its thread ends.
struct StopOnEnd<'a>(&'a Shared);

impl Drop for StopOnEnd<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.stopped = true;
        queue.commits.clear();
        self.0.pending_bytes.store(0, Ordering::Relaxed);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
