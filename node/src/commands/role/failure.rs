//! Why a command ended without having done what was asked, and its exit code.

use std::process::ExitCode;

use serde_json::json;

/// Why a command was not done. Each is one line that says what to do.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It cannot be done, or was refused: 1.
    Failed(anyhow::Error),
    /// What was asked makes no sense as it is written: 2, as clap has it.
    Usage(anyhow::Error),
    /// No node answers: 3.
    Away(anyhow::Error),
    /// It has not come about in the time there was, and goes on with the next command: 4.
    NotYet(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Failed(error.into())
    }
}

impl Failure {
    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Failure::Failed(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Away(_) => 3,
            Failure::NotYet(_) => 4,
        }
    }

    /// The failure of that exit code, from a command that another process ran.
    pub(super) fn of(code: u8, message: String) -> Self {
        let error = anyhow::Error::msg(message);
        match code {
            2 => Failure::Usage(error),
            3 => Failure::Away(error),
            4 => Failure::NotYet(error),
            _ => Failure::Failed(error),
        }
    }

    /// What went wrong, on one line.
    pub(super) fn message(&self) -> String {
        let (Failure::Failed(error)
        | Failure::Usage(error)
        | Failure::Away(error)
        | Failure::NotYet(error)) = self;
        crate::why::line(error)
    }
}

/// Ends a command: its failure goes to standard error, and as an event to those who read JSON.
pub(crate) fn end(json: bool, done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let message = failure.message();
            eprintln!("lapwing: {message}");
            if json {
                println!(
                    "{}",
                    json!({ "event": "failed", "exit": failure.code(), "message": message })
                );
            }
            ExitCode::from(failure.code())
        }
    }
}
