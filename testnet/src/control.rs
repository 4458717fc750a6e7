//! The control socket of a run: whoever can write to it plays fate (`lapwing-testnet ctl`).
//!
//! One line a connection: a command; the answer is text until the end. The socket lies in the run's
//! directory, which only its owner can enter.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::faults::{self, BACK, SharedNet};
use crate::node::Life;
use crate::report::Say;
use crate::scenario::Act;

/// What the socket is called in the run's directory.
pub const SOCKET: &str = "control.sock";
/// Longest command.
const MAX_COMMAND: u64 = 256;
/// How long a command may take: a node may have to come back meanwhile.
const DO: Duration = Duration::from_secs(BACK.as_secs() + 60);
/// How long a client may take to say what it wants.
const SAY: Duration = Duration::from_secs(5);
/// What commands there are.
pub const COMMANDS: &str =
    "status, kill N, stop N, restart N, pause N, resume N, partition N,N, heal";

/// Why a command is not done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No run of ours is there to take commands.
    #[error("no federation runs under {}: start one with `lapwing-testnet up`", base.display())]
    NoRun {
        /// Where runs live.
        base: PathBuf,
    },
    /// The run does not answer.
    #[error("the run at {} does not answer: {source}", path.display())]
    Silent {
        /// Its socket.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The run refused.
    #[error("{0}")]
    Refused(String),
}

/// What a command asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Command {
    Status,
    Act(Act),
}

fn parse(line: &str) -> Option<Command> {
    let mut words = line.split_ascii_whitespace();
    let (verb, rest) = (words.next()?, words.next());
    if words.next().is_some() {
        return None;
    }
    let number = |text: &str| text.parse::<usize>().ok()?.checked_sub(1);
    let one = || number(rest?);
    Some(match (verb, rest) {
        ("status", None) => Command::Status,
        ("heal", None) => Command::Act(Act::Heal),
        ("kill", _) => Command::Act(Act::Kill(one()?)),
        ("stop", _) => Command::Act(Act::Stop(one()?)),
        ("restart", _) => Command::Act(Act::Restart(one()?)),
        ("pause", _) => Command::Act(Act::Pause(one()?)),
        ("resume", _) => Command::Act(Act::Resume(one()?)),
        ("partition", Some(list)) => Command::Act(Act::Partition(
            list.split(',').map(number).collect::<Option<_>>()?,
        )),
        _ => return None,
    })
}

/// Takes commands until this is dropped.
///
/// # Errors
/// When the socket cannot be made.
pub fn serve(dir: &Path, net: SharedNet, say: Arc<Say>) -> io::Result<tokio::task::JoinSet<()>> {
    let listener = UnixListener::bind(dir.join(SOCKET))?;
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        // One after the other: fate has one hand.
        while let Ok((stream, _)) = listener.accept().await {
            // Whoever went away wants no answer.
            let _gone = timeout(DO, answer(stream, &net, &say)).await;
        }
    });
    Ok(tasks)
}

async fn answer(mut stream: UnixStream, net: &SharedNet, say: &Say) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    let mut read = BufReader::new(read.take(MAX_COMMAND));
    timeout(SAY, read.read_line(&mut line)).await??;
    let text = match parse(line.trim()) {
        None => format!("error: not a command; there are {COMMANDS}\n"),
        Some(Command::Status) => status(net).await,
        Some(Command::Act(act)) => match faults::act(net, &act).await {
            Ok((who, what)) => {
                say.line(&who, "", what);
                format!("{who} {what}\n")
            }
            Err(error) => format!("error: {error}\n"),
        },
    };
    write.write_all(text.as_bytes()).await
}

async fn status(net: &SharedNet) -> String {
    let (probes, cut) = {
        let net = net.lock().await;
        let probes: Vec<_> = net.nodes().iter().map(|n| (n.probe(), n.life())).collect();
        (probes, net.any_cut())
    };
    let mut text = String::new();
    for (probe, life) in probes {
        let state = match life {
            Life::Up => match probe.status().await {
                Ok(status) => format!(
                    "up      {} peers, {} items",
                    status.peers_connected,
                    status.number("items")
                ),
                Err(_) => "up      does not answer".to_owned(),
            },
            Life::Paused => "paused".to_owned(),
            Life::Down => "down".to_owned(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}  {state}  http://{}", probe.name, probe.api);
    }
    if cut {
        text.push_str("some nodes are cut from others\n");
    }
    text
}

/// The newest run under `base` that takes commands.
///
/// # Errors
/// [`ControlError::NoRun`].
pub fn newest(base: &Path) -> Result<PathBuf, ControlError> {
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    let sockets = entries.filter_map(|run| {
        let path = run.path().join(SOCKET);
        let at = fs::metadata(&path).and_then(|m| m.modified()).ok()?;
        Some((at, path))
    });
    // A run that ended badly may have left one behind that nobody listens at.
    let mut sockets: Vec<(SystemTime, PathBuf)> = sockets.collect();
    sockets.sort();
    let alive = |path: &PathBuf| std::os::unix::net::UnixStream::connect(path).is_ok();
    let found = sockets.into_iter().rev().map(|(_, path)| path).find(alive);
    found.ok_or_else(|| ControlError::NoRun {
        base: base.to_owned(),
    })
}

/// Says a command to a run, and gives its answer.
///
/// # Errors
/// [`ControlError`].
pub async fn ask(socket: &Path, command: &str) -> Result<String, ControlError> {
    let said = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(format!("{command}\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    let answer: String = said.await.map_err(|source| ControlError::Silent {
        path: socket.to_owned(),
        source,
    })?;
    if answer.is_empty() {
        return Err(ControlError::Silent {
            path: socket.to_owned(),
            source: io::ErrorKind::UnexpectedEof.into(),
        });
    }
    match answer.strip_prefix("error: ") {
        Some(why) => Err(ControlError::Refused(why.trim().to_owned())),
        None => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_count_nodes_from_one() {
        assert_eq!(parse("kill 2"), Some(Command::Act(Act::Kill(1))));
        assert_eq!(
            parse("partition 1,3"),
            Some(Command::Act(Act::Partition(vec![0, 2])))
        );
        assert_eq!(parse("heal"), Some(Command::Act(Act::Heal)));
        assert_eq!(parse("status"), Some(Command::Status));
        for wrong in [
            "",
            "kill",
            "kill 0",
            "kill x",
            "kill 1 2",
            "heal 1",
            "partition",
            "partition 1,",
            "dance",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
