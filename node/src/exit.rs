//! Exit codes, the same for every command; `docs/operator.md` lists them.

use std::process::ExitCode;

/// Done; for `status`, the node is ready.
pub(crate) const DONE: ExitCode = ExitCode::SUCCESS;
/// It failed, and standard error says why in one line. Wrong usage is 2, which clap sets.
pub(crate) const FAILED: ExitCode = ExitCode::FAILURE;

/// The node does not answer or is not ready.
pub(crate) fn not_ready() -> ExitCode {
    ExitCode::from(3)
}

/// What `status --check` ends with, as Nagios and those after it read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Nothing to do.
    Ok,
    /// Somebody should look within days.
    Warning,
    /// Somebody should look now.
    Critical,
    /// It could not be found out.
    Unknown,
}

impl Check {
    /// As a process ends with it.
    pub(crate) fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
            Self::Unknown => 3,
        })
    }

    /// The first word of the line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }
}
