//! Commands to a process that runs an identity unattended, over a socket in the identity's directory that
//! only its owner can reach: one line of JSON with the command, then lines with what is said, the last of
//! which says how it ended.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, anyhow};
use lapwing_client::driver::{Place, Progress, Remote};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::{Failure, Hand, Home, Out, Player, Said, home};

/// Most bytes of one line: a region file with all postal codes of a large country fits.
const MAX_LINE: u64 = 4 << 20;
/// How long a command may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(10);
/// Longest patience that is granted to a command.
const MAX_PATIENCE: u64 = 86_400;

#[derive(Serialize)]
struct SentOrder<'a, O> {
    order: &'a O,
    patience: u64,
}

#[derive(Deserialize)]
struct TakenOrder<O> {
    order: O,
    patience: u64,
}

#[derive(Serialize, Deserialize)]
enum Line {
    Said(Said),
    Done,
    Failed { code: u8, message: String },
}

/// Listens for commands.
///
/// # Errors
/// Where the socket cannot be made.
pub(super) fn listen(home: &Home) -> Result<UnixListener, Failure> {
    let path = home.control();
    // Left by a process that was killed: the lock says that there is none now.
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(anyhow!("{}: cannot be replaced: {e}", path.display()).into());
        }
        _ => {}
    }
    let listener = UnixListener::bind(&path).with_context(|| {
        format!(
            "{}: no socket can be made there (is the path longer than 100 bytes?)",
            path.display()
        )
    })?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
        .with_context(|| format!("{}: cannot be made private", path.display()))?;
    Ok(listener)
}

/// Does one command of another process.
pub(super) async fn serve<R: Player>(
    stream: UnixStream,
    remote: Remote<R>,
    progress: watch::Receiver<Progress>,
    places: Vec<Place>,
) {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut read = BufReader::new(read).take(MAX_LINE);
    let taken = timeout(ARRIVAL, read.read_line(&mut line)).await;
    if !matches!(taken, Ok(Ok(n)) if n > 0) {
        return;
    }
    let (lines, mut said) = mpsc::unbounded_channel::<Line>();
    let work = async {
        let out = {
            let lines = lines.clone();
            Out::to(move |said| {
                // Who asked has gone: what was begun is done all the same.
                let _unheard = lines.send(Line::Said(said.clone()));
            })
        };
        let done = match serde_json::from_str::<TakenOrder<R::Order>>(&line) {
            Ok(taken) => {
                let patience = Duration::from_secs(taken.patience.min(MAX_PATIENCE));
                let hand = Hand::remote(remote, progress, places, out, patience);
                R::perform(&hand, taken.order).await
            }
            Err(_) => Err(Failure::Failed(anyhow!(
                "the running process is of another version: stop it, then try again"
            ))),
        };
        let _unheard = lines.send(match done {
            Ok(()) => Line::Done,
            Err(failure) => Line::Failed {
                code: failure.code(),
                message: failure.message(),
            },
        });
        drop(lines);
    };
    let pass = async {
        while let Some(line) = said.recv().await {
            let Ok(mut text) = serde_json::to_string(&line) else {
                continue;
            };
            text.push('\n');
            if write.write_all(text.as_bytes()).await.is_err() {
                break;
            }
        }
    };
    tokio::join!(work, pass);
}

/// Gives a command to the process that runs the identity, and says what that says.
///
/// # Errors
/// What came of it, or that no process takes commands.
pub(super) async fn send<O: Serialize>(
    home: &Home,
    order: &O,
    patience: Duration,
    out: &Out,
) -> Result<(), Failure> {
    let stream = UnixStream::connect(home.control())
        .await
        .map_err(|_| home::busy(home.dir()))?;
    let (read, mut write) = stream.into_split();
    let sent = SentOrder {
        order,
        patience: patience.as_secs(),
    };
    let mut text = serde_json::to_string(&sent).context("the command cannot be passed on")?;
    text.push('\n');
    let broken = || anyhow!("the running process has stopped: try again");
    write
        .write_all(text.as_bytes())
        .await
        .map_err(|_| broken())?;
    let mut lines = BufReader::new(read).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line).map_err(|_| broken())? {
            Line::Said(said) => out.say(&said),
            Line::Done => return Ok(()),
            Line::Failed { code, message } => return Err(Failure::of(code, message)),
        }
    }
    Err(broken().into())
}
