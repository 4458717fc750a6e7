//! Writers without HTTP, signatures or rules: what the committer and the disk can do.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::puts::Puts;
use crate::child::{listen, say};

/// What is to be written.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) writers: usize,
    pub(crate) writes: u64,
    /// Bytes of each value.
    pub(crate) bytes: usize,
}

/// How long it took.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Took {
    pub(crate) micros: u64,
}

/// Runs as this baseline: one job after another until the main process ends.
pub(crate) fn run(dir: &Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let puts = Arc::new(Puts::open(dir)?);
    while let Some(job) = listen::<Job>()? {
        let begun = Instant::now();
        runtime.block_on(work(job, &puts))?;
        say(&Took {
            micros: u64::try_from(begun.elapsed().as_micros())?,
        })?;
    }
    Ok(())
}

async fn work(job: Job, puts: &Arc<Puts>) -> anyhow::Result<()> {
    let left = Arc::new(AtomicU64::new(job.writes));
    let mut tasks = JoinSet::new();
    for _ in 0..job.writers {
        let (left, puts) = (left.clone(), puts.clone());
        tasks.spawn(async move {
            let value = vec![7; job.bytes];
            let one = |n: u64| n.checked_sub(1);
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one)
                .is_ok()
            {
                puts.put(b'd', &value).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}
