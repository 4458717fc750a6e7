//! `lapwing publish`: hands signed records of the chain of trust to a running node.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::{ArgGroup, Args};
use lapwing_protocol::cose::parse_multi;
use lapwing_protocol::federation::Roster;
use lapwing_protocol::hash::record_hash;
use lapwing_protocol::trust::MAX_RECORD;
use serde_json::{Value, json};

use super::federation::files;
use crate::{config, why};

/// Most bytes of an answer.
const MAX_ANSWER: u64 = 16 * 1024 * 1024;
/// How long the node may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a record is sent while the node says that trying again can help.
const ATTEMPTS: u32 = 5;
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// Publish a roster, a registration or another record of the chain of trust.
#[derive(Args)]
#[command(group(ArgGroup::new("to").required(true).args(["api", "config"])))]
#[command(after_help = "\
Examples:
  lapwing publish --config /var/lib/lapwing/lapwing.toml roster.cbor registration.cbor
  lapwing publish --api http://127.0.0.1:8080 roster.cbor

Give what others rest on first: the roster before a registration. The node passes everything on to the
other nodes. --api speaks plain HTTP to this machine only; TLS is the business of the proxy before the
node.")]
pub(crate) struct Publish {
    /// A node on this machine by the address of its HTTP API.
    #[arg(long, value_name = "URL")]
    api: Option<String>,
    /// A node on this machine by its configuration: through its admin socket.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Records, as signed.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Print the records' ids as JSON.
    #[arg(long)]
    json: bool,
}

/// Why a record was not published: the node is away, or something else.
enum Failure {
    Away(anyhow::Error),
    Other(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Other(error.into())
    }
}

impl Publish {
    pub(crate) fn run(self) -> ExitCode {
        match self.publish() {
            Ok(()) => ExitCode::SUCCESS,
            Err(Failure::Other(error)) => {
                eprintln!("lapwing: {}", why::line(&error));
                ExitCode::FAILURE
            }
            Err(Failure::Away(error)) => {
                eprintln!("lapwing: {}", why::line(&error));
                ExitCode::from(3)
            }
        }
    }

    fn publish(&self) -> Result<(), Failure> {
        let to = match (&self.api, &self.config) {
            (Some(url), _) => Target::parse(url)?,
            (None, Some(file)) => Target::Admin(config::load(file)?.admin_socket),
            (None, None) => return Err(anyhow!("give --config or --api").into()),
        };
        // All of them are read before the first is sent.
        let mut records = Vec::new();
        for file in &self.files {
            records.push((file, files::read(file, MAX_RECORD as u64)?));
        }
        let mut done = Vec::new();
        for (file, bytes) in &records {
            let named = |error: anyhow::Error| error.context(file.display().to_string());
            send(&to, bytes).map_err(|failure| match failure {
                Failure::Away(error) => Failure::Away(error),
                Failure::Other(error) => Failure::Other(named(error)),
            })?;
            let id = record_hash(bytes);
            if self.json {
                done.push(json!({ "file": file, "id": id.to_hex() }));
            } else {
                println!("{}: published as {id}", file.display());
            }
        }
        if self.json {
            println!("{}", Value::from(done));
        }
        Ok(())
    }
}

/// Sends one record; again, where the node says that this can help.
fn send(to: &Target, record: &[u8]) -> Result<(), Failure> {
    refuse_older_roster(to, record)?;
    for attempt in 1.. {
        let answer = to.exchange("POST", to.publish_path(), record)?;
        if answer.status == 200 {
            break;
        }
        let problem: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if problem["retry"] == true && attempt < ATTEMPTS {
            std::thread::sleep(PAUSE);
            continue;
        }
        return Err(refusal(answer.status, &problem).into());
    }
    Ok(())
}

/// A node keeps an older roster for what its nodes signed, and goes on following the newer one: its
/// operator should not believe that the older one is in force again.
fn refuse_older_roster(to: &Target, record: &[u8]) -> Result<(), Failure> {
    let Ok(roster) = parse_multi::<Roster>(record) else {
        return Ok(());
    };
    let new = roster.unverified().sequence;
    let answer = to.exchange("GET", to.about_path(), &[])?;
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    match said["roster"].as_u64() {
        Some(held) if new < held => Err(anyhow!(
            "is roster {new}, and the node follows roster {held}, from which nothing goes back: draft the next one with `--from`"
        )
        .into()),
        _ => Ok(()),
    }
}

/// One line about what the node answered.
fn refusal(status: u16, problem: &Value) -> anyhow::Error {
    // The node is ours, and still only its stable code is believed to be fit for a terminal.
    let code = problem["code"].as_str().unwrap_or_default();
    match lapwing_protocol::problem::Problem::from_text(code) {
        Some(p) => anyhow!("the node refuses it ({}): {}", p.text(), p.message()),
        None => anyhow!("the node refuses it: HTTP status {status}; is this a node's address?"),
    }
}

/// A node's API on this machine.
enum Target {
    Admin(PathBuf),
    Http {
        address: SocketAddr,
        host: String,
        prefix: String,
    },
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Admin(path) => write!(f, "{}", path.display()),
            Target::Http { host, prefix, .. } => write!(f, "http://{host}{prefix}"),
        }
    }
}

struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Target {
    /// Plain HTTP, to this machine: `http://127.0.0.1:8080`, with or without a path before `/v1`.
    fn parse(url: &str) -> anyhow::Result<Self> {
        const HOW: &str =
            "give http://127.0.0.1:PORT of a node on this machine, or use --config there";
        if url.starts_with("https:") {
            bail!("`--api` is {url:?}: TLS is the proxy's, which this does not speak; {HOW}");
        }
        let rest = url
            .strip_prefix("http://")
            .ok_or_else(|| anyhow!("`--api` is {url:?}: {HOW}"))?;
        let (host, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
        if !path.chars().all(plain) {
            bail!(
                "`--api` is {url:?}: its path has characters that an address of a node has not; {HOW}"
            );
        }
        let address = loopback(host).ok_or_else(|| {
            anyhow!("`--api` is {url:?}, which is not this machine, and plain HTTP goes no further; {HOW}")
        })?;
        Ok(Target::Http {
            address,
            host: host.to_owned(),
            prefix: path.trim_end_matches('/').to_owned(),
        })
    }

    fn publish_path(&self) -> &'static str {
        match self {
            Target::Admin(_) => "/trust",
            Target::Http { .. } => "/v1/trust",
        }
    }

    /// Where the node says which roster it follows.
    fn about_path(&self) -> &'static str {
        match self {
            Target::Admin(_) => "/status",
            Target::Http { .. } => "/v1/node",
        }
    }

    /// One request on a connection of its own.
    fn exchange(&self, method: &str, path: &str, body: &[u8]) -> Result<Answer, Failure> {
        let away = |e: std::io::Error| {
            Failure::Away(match e.kind() {
                // How a socket says that its time is over.
                ErrorKind::WouldBlock | ErrorKind::TimedOut => anyhow!(
                    "the node at {self} has not answered for {} seconds: is it stopped, or its disk stuck? Look at its log",
                    PATIENCE.as_secs()
                ),
                _ => anyhow!("no node answers at {self} ({e}): start it with `lapwing run`"),
            })
        };
        let (host, prefix) = match self {
            Target::Admin(_) => ("localhost", ""),
            Target::Http { host, prefix, .. } => (host.as_str(), prefix.as_str()),
        };
        // HTTP/1.0: the answer is not chunked, and ends with the connection.
        let head = format!(
            "{method} {prefix}{path} HTTP/1.0\r\nhost: {host}\r\ncontent-type: application/cose\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let request = [head.as_bytes(), body].concat();
        let answer = match self {
            Target::Admin(socket) => {
                let stream = UnixStream::connect(socket).map_err(away)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                converse(stream, &request)
            }
            Target::Http { address, .. } => {
                let stream = TcpStream::connect_timeout(address, PATIENCE).map_err(away)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                converse(stream, &request)
            }
        };
        let answer = answer.map_err(away)?;
        read_answer(&answer)
            .with_context(|| format!("{self} speaks no HTTP"))
            .map_err(Failure::Other)
    }
}

/// The address of a loopback host, port 80 where none is named.
fn loopback(host: &str) -> Option<SocketAddr> {
    let local = |ip: &IpAddr| ip.is_loopback();
    if let Ok(address) = host.parse::<SocketAddr>() {
        return Some(address).filter(|a| local(&a.ip()));
    }
    let bare = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, 80)).filter(|a| local(&a.ip()));
    }
    let (name, port) = match host.split_once(':') {
        Some((name, port)) => (name, port.parse().ok()?),
        None => (host, 80),
    };
    (name == "localhost").then(|| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))
}

fn converse(mut stream: impl Read + Write, request: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(request)?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(answer)
}

fn read_answer(bytes: &[u8]) -> anyhow::Result<Answer> {
    let end = bytes
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .context("the answer is cut short")?;
    let (head, body) = bytes.split_at(end);
    let head = std::str::from_utf8(head).context("the answer's head is no text")?;
    let mut words = head.split_ascii_whitespace();
    let version = words.next().unwrap_or_default();
    let status = words.next().and_then(|s| s.parse().ok());
    match status {
        Some(status) if version.starts_with("HTTP/1.") => Ok(Answer {
            status,
            body: body[4..].to_vec(),
        }),
        _ => bail!("the answer has no status"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_to_this_machine() {
        for (url, means) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://127.0.0.1:8080/", "127.0.0.1:8080"),
            ("http://localhost:9/lapwing/", "127.0.0.1:9"),
            ("http://localhost", "127.0.0.1:80"),
            ("http://[::1]:80", "[::1]:80"),
            ("http://[::1]", "[::1]:80"),
        ] {
            match Target::parse(url) {
                Ok(Target::Http {
                    address, prefix, ..
                }) => {
                    assert_eq!(address.to_string(), means);
                    assert!(!prefix.ends_with('/'));
                }
                _ => panic!("{url} is refused"),
            }
        }
        for (url, says) in [
            ("https://127.0.0.1:8080", "TLS"),
            ("http://192.0.2.1:80", "not this machine"),
            ("http://localhost.example.org", "not this machine"),
            ("http://user@127.0.0.1:80", "not this machine"),
            ("http://127.0.0.1:80/\r\nx: y", "characters"),
            ("127.0.0.1:8080", "give http://"),
            ("", "give http://"),
        ] {
            let said = Target::parse(url)
                .err()
                .map(|e| e.to_string())
                .unwrap_or_default();
            assert!(
                said.contains(says) && !said.contains('\n'),
                "{url:?}: {said}"
            );
        }
    }

    #[test]
    fn answers_are_read_whole_or_refused() {
        let answer = read_answer(b"HTTP/1.0 200 OK\r\na: b\r\n\r\nbody").unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"body"[..]));
        for wrong in [
            &b""[..],
            b"HTTP/1.0 200 OK\r\n",
            b"SSH-2.0 200\r\n\r\n",
            b"HTTP/1.1 x\r\n\r\n",
        ] {
            assert!(read_answer(wrong).is_err());
        }
    }
}
