//! Counts the bytes in the streams of connections.

use std::io::{self, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};

use crate::status::Traffic;

/// A count of bytes, shared by all connections of one kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Meter {
    /// What was counted so far.
    pub(crate) fn read(&self) -> Traffic {
        Traffic {
            received: self.0.received.load(Ordering::Relaxed),
            sent: self.0.sent.load(Ordering::Relaxed),
        }
    }

    fn received(&self, read: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(n)) = &read {
            self.0.received.fetch_add(*n as u64, Ordering::Relaxed);
        }
        read
    }

    fn sent(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(n)) = &written {
            self.0.sent.fetch_add(*n as u64, Ordering::Relaxed);
        }
        written
    }
}

/// A connection or a stream whose bytes are counted.
pub(crate) struct Metered<T> {
    inner: T,
    meter: Meter,
}

impl<T: Unpin> Metered<T> {
    /// Counts what goes through `inner`.
    pub(crate) fn new(inner: T, meter: Meter) -> Self {
        Self { inner, meter }
    }

    fn pin(&mut self) -> Pin<&mut T> {
        Pin::new(&mut self.inner)
    }
}

impl<M> StreamMuxer for Metered<M>
where
    M: StreamMuxer + Unpin,
    M::Substream: Unpin,
{
    type Substream = Metered<M::Substream>;
    type Error = M::Error;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        let meter = self.meter.clone();
        self.pin()
            .poll_inbound(cx)
            .map_ok(|stream| Metered::new(stream, meter))
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        let meter = self.meter.clone();
        self.pin()
            .poll_outbound(cx)
            .map_ok(|stream| Metered::new(stream, meter))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.pin().poll_close(cx)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        self.pin().poll(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = self.pin().poll_read(cx, buf);
        self.meter.received(read)
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let read = self.pin().poll_read_vectored(cx, bufs);
        self.meter.received(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.pin().poll_write(cx, buf);
        self.meter.sent(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.pin().poll_write_vectored(cx, bufs);
        self.meter.sent(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pin().poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pin().poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::io::Cursor;
    use futures::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn bytes_are_counted_both_ways() {
        let meter = Meter::default();
        let mut out = Metered::new(Cursor::new(Vec::new()), meter.clone());
        out.write_all(&[1; 300]).await.unwrap();
        out.flush().await.unwrap();
        let mut all = Vec::new();
        let mut back = Metered::new(Cursor::new(vec![2; 70]), meter.clone());
        back.read_to_end(&mut all).await.unwrap();
        assert_eq!(
            meter.read(),
            Traffic {
                received: 70,
                sent: 300
            }
        );
    }
}
