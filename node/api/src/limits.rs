//! Gauges that bound what is held at once, and reading bodies within them.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use lapwing_protocol::problem::Problem;

use crate::problem::Refusal;

/// Counts something that is held, up to a bound.
#[derive(Clone)]
pub(crate) struct Gauge(Arc<Count>);

struct Count {
    used: AtomicUsize,
    max: AtomicUsize,
}

/// A part of a gauge; given back when dropped.
pub(crate) struct Hold {
    count: Arc<Count>,
    n: usize,
}

impl Gauge {
    pub(crate) fn new(max: usize) -> Self {
        Self(Arc::new(Count {
            used: AtomicUsize::new(0),
            max: AtomicUsize::new(max),
        }))
    }

    /// Takes `n`, if the bound allows.
    pub(crate) fn take(&self, n: usize) -> Option<Hold> {
        let mut hold = Hold {
            count: self.0.clone(),
            n: 0,
        };
        hold.grow(n).then_some(hold)
    }

    /// Sets another bound. What is held stays held, even where it is more.
    pub(crate) fn set_max(&self, max: usize) {
        self.0.max.store(max, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }
}

impl Hold {
    /// Takes `n` more; `false` if the bound does not allow it.
    fn grow(&mut self, n: usize) -> bool {
        let before = self.count.used.fetch_add(n, Ordering::Relaxed);
        if before.saturating_add(n) > self.count.max.load(Ordering::Relaxed) {
            self.count.used.fetch_sub(n, Ordering::Relaxed);
            return false;
        }
        self.n += n;
        true
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.count.used.fetch_sub(self.n, Ordering::Relaxed);
    }
}

/// Bytes that are counted until the last of them is written.
pub(crate) fn held(bytes: impl AsRef<[u8]> + Send + 'static, hold: Hold) -> Bytes {
    struct Held<B>(B, #[expect(dead_code, reason = "given back on drop")] Hold);
    impl<B: AsRef<[u8]>> AsRef<[u8]> for Held<B> {
        fn as_ref(&self) -> &[u8] {
            self.0.as_ref()
        }
    }
    Bytes::from_owner(Held(bytes, hold))
}

/// Reads a whole body of at most `max` bytes. Memory is counted as it really arrives, so that a slow
/// sender holds little.
pub(crate) async fn read_body(
    body: Body,
    max: usize,
    memory: &Gauge,
    timeout: Duration,
) -> Result<(Bytes, Hold), Refusal> {
    // Declared too large: refused before a byte of it is read.
    if body.size_hint().lower() > max as u64 {
        return Err(Problem::TooLarge.into());
    }
    tokio::time::timeout(timeout, collect(body, max, memory))
        .await
        .unwrap_or(Err(Refusal::SlowBody))
}

async fn collect(mut body: Body, max: usize, memory: &Gauge) -> Result<(Bytes, Hold), Refusal> {
    let mut hold = memory.take(0).ok_or(Problem::Busy)?;
    let mut first = Bytes::new();
    let mut rest: Vec<u8> = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        // A broken connection or chunk: most likely there is nobody left to tell.
        let frame = frame.map_err(|_| Problem::Malformed)?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if first.len() + rest.len() + data.len() > max {
            return Err(Problem::TooLarge.into());
        }
        if !hold.grow(data.len()) {
            return Err(Problem::Busy.into());
        }
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    if rest.is_empty() {
        return Ok((first, hold));
    }
    let mut whole = Vec::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok((whole.into(), hold))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_never_exceeds_its_bound_and_gets_everything_back() {
        let gauge = Gauge::new(10);
        let mut a = gauge.take(6).unwrap();
        assert!(gauge.take(5).is_none());
        assert!(a.grow(4));
        assert!(!a.grow(1));
        let bytes = held(vec![1, 2, 3], a);
        let part = bytes.slice(1..);
        drop(bytes);
        gauge.set_max(12);
        assert!(gauge.take(2).is_some());
        gauge.set_max(10);
        assert_eq!(gauge.used(), 10);
        drop(part);
        assert_eq!(gauge.used(), 0);
    }
}
