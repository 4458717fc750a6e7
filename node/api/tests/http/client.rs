//! A raw HTTP/1.1 client that can be as rude as it likes.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// No answer in a test takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Client<S = TcpStream> {
    stream: S,
    buffer: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The code of a problem document, after checking that it is one.
    pub(crate) fn code(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        assert_eq!(self.header("cache-control"), Some("no-store"));
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        let code = problem["code"].as_str().unwrap().to_owned();
        assert_eq!(problem["type"], format!("urn:lapwing:problem:{code}"));
        assert!(!problem["title"].as_str().unwrap().is_empty());
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        assert_eq!(
            problem.get("retry").is_some(),
            self.header("retry-after").is_some()
        );
        code
    }
}

impl Client {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        Self::over(TcpStream::connect(server).await.unwrap())
    }

    /// Connects from another address of this machine.
    pub(crate) async fn from(source: &str, server: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        let source: IpAddr = source.parse().unwrap();
        socket.bind(SocketAddr::new(source, 0)).unwrap();
        Self::over(socket.connect(server).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        // The server may have answered and closed already.
        let _sent = self.stream.write_all(bytes).await;
    }

    pub(crate) async fn post(&mut self, path: &str, content_type: &str, body: &[u8]) -> Reply {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: n\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.send(&[head.as_bytes(), body].concat()).await;
        self.reply().await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Reply {
        self.request("GET", path, &[]).await
    }

    pub(crate) async fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Reply {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        self.send(head.as_bytes()).await;
        if method == "HEAD" {
            self.head().await
        } else {
            self.reply().await
        }
    }

    /// Reads one more piece; `false` when the server closed.
    async fn more(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
        matches!(read.expect("an answer in time"), Ok(n) if n > 0)
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let line = self.buffer.drain(..end + 2).collect::<Vec<_>>();
                return Some(String::from_utf8(line[..end].to_vec()).unwrap());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    async fn take(&mut self, n: usize) -> Vec<u8> {
        while self.buffer.len() < n {
            assert!(self.more().await, "closed within a body");
        }
        self.buffer.drain(..n).collect()
    }

    /// A response's head alone.
    pub(crate) async fn head(&mut self) -> Reply {
        self.maybe_head().await.expect("an answer")
    }

    async fn maybe_head(&mut self) -> Option<Reply> {
        let status = self.line().await?;
        let mut headers = BTreeMap::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(": ").unwrap_or((&line, ""));
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        Some(Reply {
            status: status.split(' ').nth(1).unwrap().parse().unwrap(),
            headers,
            body: Vec::new(),
        })
    }

    /// A chunk of a chunked body.
    pub(crate) async fn chunk(&mut self) -> Option<String> {
        let size = usize::from_str_radix(&self.line().await?, 16).unwrap();
        let data = self.take(size).await;
        assert_eq!(self.line().await.unwrap(), "");
        (size > 0).then(|| String::from_utf8(data).unwrap())
    }

    /// A whole response.
    pub(crate) async fn reply(&mut self) -> Reply {
        self.maybe_reply().await.expect("an answer")
    }

    /// A whole response, or nothing when the server closed without one.
    pub(crate) async fn maybe_reply(&mut self) -> Option<Reply> {
        let mut reply = self.maybe_head().await?;
        if reply.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().await {
                reply.body.extend_from_slice(chunk.as_bytes());
            }
        } else if reply.status != 304 && reply.status != 204 {
            let length = reply
                .header("content-length")
                .map_or(0, |n| n.parse().unwrap());
            reply.body = self.take(length).await;
        }
        Some(reply)
    }

    /// Reads something and forgets it; `false` when the server closed.
    pub(crate) async fn read_some(&mut self) -> bool {
        self.buffer.clear();
        self.more().await
    }

    /// Whether the server closed the connection.
    pub(crate) async fn closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.more().await
    }
}
