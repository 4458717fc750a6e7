//! What the kernel says of a process: processor time and memory.

use std::fs;
use std::io;
use std::path::PathBuf;

/// Why nothing is known of a process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcError {
    /// The file is not there: the process has ended, or this is not Linux.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file does not say it.
    #[error("{} does not have {what}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
}

fn read(pid: u32, file: &str) -> Result<(PathBuf, String), ProcError> {
    let path = PathBuf::from(format!("/proc/{pid}/{file}"));
    match fs::read_to_string(&path) {
        Ok(text) => Ok((path, text)),
        Err(source) => Err(ProcError::Read { path, source }),
    }
}

/// Processor time of all threads of a process since it began, user and system, in microseconds;
/// as fine as the kernel's clock tick (commonly 10 ms).
pub(crate) fn cpu_micros(pid: u32) -> Result<u64, ProcError> {
    let (path, text) = read(pid, "stat")?;
    // The command's name, in parentheses, may hold anything; the times are fields 14 and 15.
    let ticks = text.rsplit_once(") ").and_then(|(_, rest)| {
        let mut fields = rest.split(' ').skip(11);
        let user: u64 = fields.next()?.parse().ok()?;
        let system: u64 = fields.next()?.parse().ok()?;
        Some(user + system)
    });
    let what = "utime and stime";
    let ticks = ticks.ok_or(ProcError::Missing { path, what })?;
    Ok(ticks * 1_000_000 / rustix::param::clock_ticks_per_second().max(1))
}

/// Processor time of the threads that a process has now, in nanoseconds: for what is too short for the
/// kernel's clock tick. What threads used that have ended since is missing.
pub(crate) fn cpu_nanos(pid: u32) -> Result<u64, ProcError> {
    let path = PathBuf::from(format!("/proc/{pid}/task"));
    let threads = fs::read_dir(&path).map_err(|source| ProcError::Read {
        path: path.clone(),
        source,
    })?;
    let mut total = 0;
    for thread in threads.flatten() {
        let file = format!("task/{}/schedstat", thread.file_name().to_string_lossy());
        // A thread may end while this goes on.
        let Ok((path, text)) = read(pid, &file) else {
            continue;
        };
        let what = "the time on the processor";
        let time: Option<u64> = text.split(' ').next().and_then(|t| t.parse().ok());
        total += time.ok_or(ProcError::Missing { path, what })?;
    }
    Ok(total)
}

/// Memory of a process, in KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Resident pages.
    pub(crate) rss: u64,
    /// Resident pages, shared ones divided by who shares them.
    pub(crate) pss: u64,
}

/// How much memory a process has.
pub(crate) fn memory(pid: u32) -> Result<Memory, ProcError> {
    let (path, text) = read(pid, "smaps_rollup")?;
    let field = |name: &'static str| {
        text.lines()
            .find_map(|l| {
                l.strip_prefix(name)?
                    .trim()
                    .strip_suffix(" kB")?
                    .parse()
                    .ok()
            })
            .ok_or(ProcError::Missing {
                path: path.clone(),
                what: name,
            })
    };
    Ok(Memory {
        rss: field("Rss:")?,
        pss: field("Pss:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let me = std::process::id();
        let memory = memory(me).unwrap();
        assert!(memory.rss >= memory.pss && memory.pss > 100, "{memory:?}");
        let begun = std::time::Instant::now();
        while begun.elapsed().as_millis() < 60 {
            std::hint::spin_loop();
        }
        assert!(cpu_micros(me).unwrap() >= 10_000);
        assert!(cpu_nanos(me).unwrap() >= 10_000_000);
    }
}
