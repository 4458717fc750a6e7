//! Why a node does not do what it should.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use super::{READY, STOP};
use lapwing_client::http::HttpError;

/// Why a node does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The node binary is not there or does not start.
    #[error("cannot run {}: {source}; build it with `cargo build -p lapwing`, or name it in LAPWING_BIN", binary.display())]
    Binary {
        /// Where it should be.
        binary: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// `lapwing init` failed.
    #[error("`lapwing init` for {name} failed: {why}")]
    Init {
        /// The node.
        name: String,
        /// What it wrote.
        why: String,
    },
    /// A file of the node cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The node ended although nobody stopped it.
    #[error("{name} ended by itself ({status}); the end of its log:\n{log}")]
    Ended {
        /// The node.
        name: String,
        /// How.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
    /// The node is not ready in time.
    #[error("{name} is not ready after {} s; the end of its log:\n{log}", READY.as_secs())]
    NotReady {
        /// The node.
        name: String,
        /// The end of its log.
        log: String,
    },
    /// The node does not run.
    #[error("{name} does not run")]
    NotRunning {
        /// The node.
        name: String,
    },
    /// The node runs already: two processes cannot share its data.
    #[error("{name} runs already: kill or stop it first")]
    Running {
        /// The node.
        name: String,
    },
    /// The node did not stop and was killed.
    #[error("{name} did not stop within {} s and was killed", STOP.as_secs())]
    NotStopped {
        /// The node.
        name: String,
    },
    /// The operating system refuses a signal or wait.
    #[error("{name}: {source}")]
    Process {
        /// The node.
        name: String,
        /// What it says.
        source: io::Error,
    },
    /// The admin socket does not answer, or not with a status.
    #[error("{name} does not say how it is: {source}")]
    Silent {
        /// The node.
        name: String,
        /// Why.
        source: HttpError,
    },
    /// The admin socket's answer is none.
    #[error("{name}'s status cannot be read: {source}")]
    BadStatus {
        /// The node.
        name: String,
        /// Why.
        source: serde_json::Error,
    },
}
