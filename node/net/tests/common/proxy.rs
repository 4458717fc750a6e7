//! A relay for TCP or UDP that can be cut without either end being told.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

pub(crate) struct Proxy {
    pub(crate) port: u16,
    cut: Arc<AtomicBool>,
}

impl Proxy {
    /// Relays connections to `to`.
    pub(crate) async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cut = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&cut);
        tokio::spawn(async move {
            while let Ok((here, _)) = listener.accept().await {
                let Ok(there) = TcpStream::connect(to).await else {
                    continue;
                };
                let (a, b) = here.into_split();
                let (c, d) = there.into_split();
                tokio::spawn(relay(a, d, Arc::clone(&flag)));
                tokio::spawn(relay(c, b, Arc::clone(&flag)));
            }
        });
        Self { port, cut }
    }

    /// Relays datagrams to `to`, from each sender through a socket of its own.
    pub(crate) async fn start_udp(to: SocketAddr) -> Self {
        let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let port = front.local_addr().unwrap().port();
        let cut = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&cut);
        tokio::spawn(async move {
            let mut behind: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
            let mut buffer = vec![0; 64 * 1024];
            while let Ok((read, from)) = front.recv_from(&mut buffer).await {
                if flag.load(Ordering::SeqCst) {
                    continue;
                }
                if let Entry::Vacant(vacant) = behind.entry(from) {
                    let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                    socket.connect(to).await.unwrap();
                    vacant.insert(Arc::clone(&socket));
                    let (front, flag) = (Arc::clone(&front), Arc::clone(&flag));
                    tokio::spawn(async move {
                        let mut buffer = vec![0; 64 * 1024];
                        while let Ok(read) = socket.recv(&mut buffer).await {
                            if !flag.load(Ordering::SeqCst) {
                                let _ = front.send_to(&buffer[..read], from).await;
                            }
                        }
                    });
                }
                let _ = behind[&from].send(&buffer[..read]).await;
            }
        });
        Self { port, cut }
    }

    /// From now on nothing passes, not even the news that an end closed.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }
}

async fn relay(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, cut: Arc<AtomicBool>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        if cut.load(Ordering::SeqCst) {
            // Keeps both sockets open for longer than any test.
            tokio::time::sleep(Duration::from_secs(600)).await;
        }
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
