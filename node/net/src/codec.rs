//! Frames of the request-response protocol: one canonical CBOR message per direction of a stream,
//! bounded by [`MAX_MESSAGE`], ended by the end of the stream.
//!
//! What arrives is handed on as bytes: workers decode it. A frame that is too long is handed on as
//! such instead of as an error, because the protocol's machinery swallows errors of reading, and
//! the sender's fault would go uncounted.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use lapwing_protocol::codec::to_bytes;
use lapwing_protocol::peer::{MAX_MESSAGE, PeerCall, PeerReply};
use libp2p::StreamProtocol;
use libp2p::request_response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Frames up to this size need no share of the budget: many streams with small frames are bounded by
/// the number of streams.
const FREE_BYTES: usize = 64 * 1024;
/// The unit of the budget.
const UNIT: usize = 1024;

/// A frame on its way in or out.
pub(crate) enum Frame {
    /// What a peer sent, with its share of the memory budget.
    Received(Received),
    /// What a peer sent is longer than [`MAX_MESSAGE`]; the rest was not read.
    TooLong,
    /// A call to send.
    Call(Arc<PeerCall>),
    /// A reply to send.
    Reply(Box<PeerReply>),
}

/// The bytes of a frame that arrived.
pub(crate) struct Received {
    /// The bytes, not decoded.
    pub(crate) bytes: Vec<u8>,
    _share: Option<Share>,
}

/// A part of the memory budget, given back on drop.
struct Share {
    _own: Option<OwnedSemaphorePermit>,
    _all: OwnedSemaphorePermit,
}

/// Shows the length alone: contents are no matter for a log.
impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Received(r) => write!(f, "Received({} bytes)", r.bytes.len()),
            Self::TooLong => f.write_str("TooLong"),
            Self::Call(_) => f.write_str("Call"),
            Self::Reply(_) => f.write_str("Reply"),
        }
    }
}

/// Reads and writes frames.
pub(crate) struct FrameCodec {
    budget: Arc<Semaphore>,
    /// One connection's part of the budget, so that no peer can take it all; none in the codec that
    /// those of the connections are cloned from.
    own: Option<Arc<Semaphore>>,
    own_units: usize,
    patience: Duration,
}

/// The protocol's machinery clones the codec once for every connection and that clone once for every
/// stream; the first of the two gets a part of the budget of its own.
impl Clone for FrameCodec {
    fn clone(&self) -> Self {
        let own = match &self.own {
            Some(own) => Arc::clone(own),
            None => Arc::new(Semaphore::new(self.own_units)),
        };
        Self {
            budget: Arc::clone(&self.budget),
            own: Some(own),
            own_units: self.own_units,
            patience: self.patience,
        }
    }
}

impl FrameCodec {
    /// A codec whose large frames share `bytes` of memory, an eighth at most for one connection, and
    /// that waits `patience` for a frame to arrive in full once it has begun to.
    pub(crate) fn new(bytes: usize, patience: Duration) -> Self {
        // One frame must always fit, or none would ever arrive.
        let units = (bytes.max(2 * MAX_MESSAGE) / UNIT).min(Semaphore::MAX_PERMITS);
        Self {
            budget: Arc::new(Semaphore::new(units)),
            own: None,
            own_units: (units / 8).max(MAX_MESSAGE / UNIT),
            patience,
        }
    }

    async fn share(&self) -> io::Result<Share> {
        let units = u32::try_from(MAX_MESSAGE / UNIT).unwrap_or(u32::MAX);
        let own = match &self.own {
            Some(own) => Some(
                Arc::clone(own)
                    .acquire_many_owned(units)
                    .await
                    .map_err(io::Error::other)?,
            ),
            None => None,
        };
        let all = Arc::clone(&self.budget)
            .acquire_many_owned(units)
            .await
            .map_err(io::Error::other)?;
        Ok(Share {
            _own: own,
            _all: all,
        })
    }

    async fn read<T: AsyncRead + Unpin + Send>(&self, io: &mut T) -> io::Result<Frame> {
        let mut bytes = Vec::new();
        (&mut *io)
            .take(FREE_BYTES as u64)
            .read_to_end(&mut bytes)
            .await?;
        if bytes.len() < FREE_BYTES {
            return Ok(Frame::Received(Received {
                bytes,
                _share: None,
            }));
        }
        let share = self.share().await?;
        let rest = (MAX_MESSAGE + 1).saturating_sub(bytes.len());
        // What holds a share must move.
        let mut io = io.take(rest as u64);
        let read = io.read_to_end(&mut bytes);
        tokio::time::timeout(self.patience, read)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if bytes.len() > MAX_MESSAGE {
            return Ok(Frame::TooLong);
        }
        Ok(Frame::Received(Received {
            bytes,
            _share: Some(share),
        }))
    }
}

async fn write<T: AsyncWrite + Unpin + Send>(io: &mut T, bytes: &[u8]) -> io::Result<()> {
    if bytes.len() > MAX_MESSAGE {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    io.write_all(bytes).await?;
    io.close().await
}

impl request_response::Codec for FrameCodec {
    type Protocol = StreamProtocol;
    type Request = Frame;
    type Response = Frame;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Frame>
    where
        T: AsyncRead + Unpin + Send,
    {
        tokio::time::timeout(self.patience, self.read(io))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Frame>
    where
        T: AsyncRead + Unpin + Send,
    {
        // The caller's own deadline bounds this one.
        self.read(io).await
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        frame: Frame,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        send(io, frame).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        frame: Frame,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        send(io, frame).await
    }
}

async fn send<T: AsyncWrite + Unpin + Send>(io: &mut T, frame: Frame) -> io::Result<()> {
    let bytes = match frame {
        Frame::Call(call) => to_bytes(&*call),
        Frame::Reply(reply) => to_bytes(&*reply),
        // Only what this node made is sent.
        Frame::Received(_) | Frame::TooLong => return Err(io::ErrorKind::InvalidInput.into()),
    };
    write(io, &bytes).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::io::Cursor;
    use lapwing_protocol::codec::from_bytes;
    use libp2p::request_response::Codec;

    const PROTOCOL: StreamProtocol = StreamProtocol::new("/test");

    fn codec() -> FrameCodec {
        FrameCodec::new(0, Duration::from_secs(5))
    }

    async fn read(len: usize) -> Frame {
        let mut io = Cursor::new(vec![7; len]);
        codec().read_request(&PROTOCOL, &mut io).await.unwrap()
    }

    #[tokio::test]
    async fn frames_are_bounded() {
        for len in [
            0,
            1,
            FREE_BYTES - 1,
            FREE_BYTES,
            FREE_BYTES + 1,
            MAX_MESSAGE,
        ] {
            let Frame::Received(got) = read(len).await else {
                panic!("{len} bytes were refused");
            };
            assert_eq!(got.bytes.len(), len);
        }
        assert!(matches!(read(MAX_MESSAGE + 1).await, Frame::TooLong));
        assert!(matches!(read(2 * MAX_MESSAGE).await, Frame::TooLong));
    }

    #[tokio::test]
    async fn large_frames_share_the_budget_and_give_it_back() {
        let codec = codec();
        let free = codec.budget.available_permits();
        let mut io = Cursor::new(vec![7; MAX_MESSAGE]);
        let frame = codec.read(&mut io).await.unwrap();
        assert_eq!(codec.budget.available_permits(), free - MAX_MESSAGE / UNIT);
        drop(frame);
        assert_eq!(codec.budget.available_permits(), free);
    }

    #[tokio::test]
    async fn a_call_comes_out_as_it_went_in() {
        let call = PeerCall::TrustIds;
        let mut io = Cursor::new(Vec::new());
        let frame = Frame::Call(Arc::new(call.clone()));
        codec()
            .write_request(&PROTOCOL, &mut io, frame)
            .await
            .unwrap();
        let back: PeerCall = from_bytes(io.get_ref(), MAX_MESSAGE).unwrap();
        assert_eq!(back, call);
    }

    #[tokio::test]
    async fn a_sender_that_dawdles_is_dropped() {
        let mut codec = FrameCodec::new(0, Duration::from_millis(20));
        let mut io = Dawdler;
        let error = codec.read_request(&PROTOCOL, &mut io).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    struct Dawdler;

    impl AsyncRead for Dawdler {
        fn poll_read(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            _: &mut [u8],
        ) -> std::task::Poll<io::Result<usize>> {
            std::task::Poll::Pending
        }
    }
}
