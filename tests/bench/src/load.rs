//! The load: many connections that are kept open, requests that are made and signed beforehand. Its
//! own processor time is kept small, for it runs on the cores of what it measures.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, bail};
use lapwing_protocol::client::CallKind;
use lapwing_protocol::id::NodeId;
use lapwing_protocol::time::Time;
use lapwing_protocol::token::TokenWork;
use lapwing_testnet::seeds::Seeds;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::{JoinSet, LocalSet};

use crate::child::{listen, say};
use crate::orders;

/// The longest head of an answer.
const MAX_HEAD: usize = 8 * 1024;

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Reads of mailboxes that hold one blob each; each node wants proofs of its own.
    Read {
        /// Node ids in hex, in the order of the targets.
        nodes: Vec<String>,
        /// The mailboxes are the first so many.
        mailboxes: u64,
    },
    /// Fetches of one public document.
    Get {
        /// Its path.
        path: String,
    },
    /// Writes, each to a slot of its own.
    Write,
    /// Orders of tokens.
    Token {
        /// The federation's id, in hex.
        federation: String,
        /// The node's id, in hex: token orders go to one node.
        issuer: String,
        /// The lottery epoch.
        epoch: u32,
    },
}

/// A job for one process of load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    /// Where to; connections are dealt out in turn.
    pub(crate) targets: Vec<SocketAddr>,
    pub(crate) work: Work,
    /// The run's seed.
    pub(crate) seed: u64,
    /// The number of the first request: no two jobs of a run share one.
    pub(crate) first: u64,
    /// Requests before the measured ones.
    pub(crate) warm_up: u64,
    /// Requests that are measured.
    pub(crate) requests: u64,
    pub(crate) connections: usize,
    /// Tells jobs apart in their source addresses, so that each has allowances of its own.
    pub(crate) round: u8,
    /// When the run's mailboxes were opened.
    pub(crate) now: u64,
}

/// The warm-up is over; what is measured begins when any line is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ready;

/// What came of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Wall time of the measured part.
    pub(crate) micros: u64,
    /// Processor time of the load itself in that part.
    pub(crate) load_cpu_micros: u64,
}

/// Runs as a load process.
pub(crate) fn run() -> anyhow::Result<()> {
    let Some(job) = listen::<Job>()? else {
        return Ok(());
    };
    let requests = Rc::new(requests(&job)?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        let mut lines = connect(&job).await?;
        let warm_up = usize::try_from(job.warm_up)?;
        drive(&mut lines, &requests, 0..warm_up).await?;
        say(&Ready)?;
        if listen::<Ready>()?.is_none() {
            return Ok(());
        }
        let before = crate::proc::cpu_micros(std::process::id())?;
        let begun = Instant::now();
        drive(&mut lines, &requests, warm_up..usize::MAX).await?;
        let micros = u64::try_from(begun.elapsed().as_micros())?;
        let load_cpu_micros = crate::proc::cpu_micros(std::process::id())? - before;
        say(&Outcome {
            micros,
            load_cpu_micros,
        })
    })
}

/// Whole requests, heads included.
struct Requests {
    /// Requests in order; request `n` is for target `n` modulo the inner length.
    made: Vec<Vec<Vec<u8>>>,
    /// How many are to be sent; those made are repeated.
    count: usize,
}

impl Requests {
    fn get(&self, n: usize, target: usize) -> Option<&[u8]> {
        if n >= self.count {
            return None;
        }
        let made = self.made.get(n % self.made.len().max(1))?;
        made.get(target % made.len().max(1)).map(Vec::as_slice)
    }
}

fn requests(job: &Job) -> anyhow::Result<Requests> {
    let seeds = Seeds::new(job.seed);
    let now = Time::new(job.now);
    let count = job.warm_up + job.requests;
    let numbers = job.first..job.first + count;
    let made = match &job.work {
        Work::Read { nodes, mailboxes } => {
            let nodes = nodes
                .iter()
                .map(|n| Ok(n.parse::<NodeId>()?))
                .collect::<anyhow::Result<Vec<_>>>()?;
            let time = Time::new(
                std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)?
                    .as_secs(),
            );
            (0..*mailboxes)
                .map(|n| {
                    let channel = orders::Channel::of(seeds, read_channel(n), now.day());
                    nodes
                        .iter()
                        .map(|id| post(CallKind::Read, &channel.read(*id, time)))
                        .collect()
                })
                .collect()
        }
        Work::Get { path } => vec![vec![
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes(),
        ]],
        Work::Write => {
            let mut channel = None;
            numbers
                .map(|n| {
                    vec![post(
                        CallKind::Write,
                        &orders::write(seeds, n, now.day(), &mut channel),
                    )]
                })
                .collect()
        }
        Work::Token {
            federation,
            issuer,
            epoch,
        } => {
            let work = TokenWork {
                federation: federation.parse()?,
                issuer: issuer.parse()?,
                epoch: *epoch,
            };
            numbers
                .map(|n| vec![post(CallKind::Token, &orders::token(seeds, n, &work))])
                .collect()
        }
    };
    Ok(Requests {
        made,
        count: usize::try_from(count)?,
    })
}

/// The number of the `n`th channel that is read: beyond all that are written to.
pub(crate) fn read_channel(n: u64) -> u64 {
    (1 << 32) + n
}

fn post(kind: CallKind, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {}\r\ncontent-length: {}\r\n\r\n",
        kind.path(),
        kind.content_type(),
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// One connection.
struct Line {
    stream: TcpStream,
    target: usize,
    buffer: Vec<u8>,
}

async fn connect(job: &Job) -> anyhow::Result<Vec<Line>> {
    let mut lines = Vec::new();
    for n in 0..job.connections {
        let target = n % job.targets.len().max(1);
        let to = *job.targets.get(target).context("no target")?;
        let socket = TcpSocket::new_v4()?;
        // A network of its own, as a client of another household would have.
        let from = Ipv4Addr::new(127, job.round, u8::try_from(n % 250)?, 1);
        socket.bind(SocketAddr::new(IpAddr::V4(from), 0))?;
        let stream = socket
            .connect(to)
            .await
            .with_context(|| format!("cannot connect to {to}"))?;
        stream.set_nodelay(true)?;
        lines.push(Line {
            stream,
            target,
            buffer: Vec::with_capacity(16 * 1024),
        });
    }
    Ok(lines)
}

/// Sends the requests of a range, each on whichever connection is free.
async fn drive(
    lines: &mut Vec<Line>,
    requests: &Rc<Requests>,
    range: std::ops::Range<usize>,
) -> anyhow::Result<()> {
    let next = Rc::new(Cell::new(range.start));
    let mut tasks = JoinSet::new();
    for mut line in lines.drain(..) {
        let (next, requests, end) = (next.clone(), requests.clone(), range.end);
        tasks.spawn_local(async move {
            loop {
                let n = next.get();
                let Some(request) = requests.get(n, line.target).filter(|_| n < end) else {
                    return anyhow::Ok(line);
                };
                next.set(n + 1);
                line.exchange(request).await?;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        lines.push(ended??);
    }
    Ok(())
}

impl Line {
    /// Sends a request and reads its answer, which must be a 200.
    async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let whole = loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the connection was closed");
            }
            if let Some(whole) = length(&self.buffer)? {
                break whole;
            }
        };
        while self.buffer.len() < whole {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the connection was closed");
            }
        }
        if !self.buffer.starts_with(b"HTTP/1.1 200 ") {
            bail!("refused: {}", String::from_utf8_lossy(&self.buffer));
        }
        Ok(())
    }
}

/// How long an answer is in all, once its head is there.
fn length(answer: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(head) = answer
        .windows(4)
        .take(MAX_HEAD)
        .position(|w| w == b"\r\n\r\n")
    else {
        if answer.len() > MAX_HEAD {
            bail!("the answer's head is too long");
        }
        return Ok(None);
    };
    const NAME: &[u8] = b"content-length:";
    let field = answer
        .get(..head)
        .unwrap_or_default()
        .split(|b| *b == b'\n')
        .find_map(|line| {
            let (name, value) = line.split_at_checked(NAME.len())?;
            name.eq_ignore_ascii_case(NAME).then_some(value)
        });
    let value = field.and_then(|v| std::str::from_utf8(v).ok()?.trim().parse::<usize>().ok());
    let body = value.context("the answer does not say its length")?;
    Ok(Some(head + 4 + body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_answers() {
        let answer = b"HTTP/1.1 200 OK\r\nx: y\r\nContent-Length: 12\r\n\r\n";
        assert_eq!(length(answer).unwrap(), Some(answer.len() + 12));
        assert_eq!(length(&answer[..20]).unwrap(), None);
        assert!(length(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(length(&[b'x'; MAX_HEAD + 1]).is_err());
    }
}
