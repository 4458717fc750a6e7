//! Asks the admin socket of a running node, for the commands that look after one.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Most bytes of an answer.
const MAX_ANSWER: u64 = 16 * 1024 * 1024;
/// How long the node may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("{socket}: this user may not use the node's admin socket: run this as the node's user (`sudo -u lapwing …`)", socket = socket.display())]
    Forbidden { socket: PathBuf },
    // The causes are in the text, and in no chain, or they would be printed twice.
    #[error("no node answers at {socket} ({cause}): start it with `lapwing run`", socket = socket.display())]
    Away { socket: PathBuf, cause: io::Error },
    #[error("the node has not answered for {} seconds: is it stopped, or its disk stuck? Look at its log", PATIENCE.as_secs())]
    Late,
    #[error("the node does not answer ({0}): look at its log")]
    Silent(io::Error),
    #[error("the node's answer is cut short: is it of this version?")]
    Cut,
}

/// An answer.
pub(crate) struct Reply {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: String,
}

/// Asks, and waits for the whole answer.
pub(crate) fn ask(socket: &Path, method: &str, path: &str) -> Result<Reply, AskError> {
    ask_within(PATIENCE, socket, method, path)
}

fn ask_within(
    patience: Duration,
    socket: &Path,
    method: &str,
    path: &str,
) -> Result<Reply, AskError> {
    let mut stream = UnixStream::connect(socket).map_err(|cause| {
        let socket = socket.to_owned();
        match cause.kind() {
            io::ErrorKind::PermissionDenied => AskError::Forbidden { socket },
            _ => AskError::Away { socket, cause },
        }
    })?;
    let exchange = || -> io::Result<String> {
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = { exchange }().map_err(|cause| match cause.kind() {
        // How a socket says that its time is over.
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => AskError::Late,
        _ => AskError::Silent(cause),
    })?;
    parse(&answer).ok_or(AskError::Cut)
}

fn parse(answer: &str) -> Option<Reply> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head
        .strip_prefix("HTTP/1.")?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()?;
    Some(Reply {
        status,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_the_question_and_stays_silent_is_late() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("admin.sock");
        let _stopped = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let said = ask_within(Duration::from_millis(50), &socket, "GET", "/status");
        assert!(matches!(said, Err(AskError::Late)));
    }

    #[test]
    fn an_answer_is_taken_apart() {
        let reply = parse("HTTP/1.0 409 Conflict\r\na: b\r\n\r\n{}").unwrap();
        assert_eq!((reply.status, reply.body.as_str()), (409, "{}"));
        for bad in ["", "HTTP/1.1 200 OK", "junk\r\n\r\n", "HTTP/1.1 x\r\n\r\n"] {
            assert!(parse(bad).is_none(), "{bad:?}");
        }
    }
}
