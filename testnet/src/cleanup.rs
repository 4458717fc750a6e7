//! A directory for each run, and what is left of runs that did not end by themselves.
//!
//! A run's directory names the process that owns it and every node process that it started, each with
//! the time at which it began, because process numbers are used again. The next run that begins kills
//! what nobody owns any more and removes its directory. Processes that are not node binaries are never
//! touched.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Who owns a run: one line of process number and start.
const OWNER: &str = "owner";
/// The node processes of a run: one line each.
const PROCESSES: &str = "processes";
/// Is there when the directory shall stay.
const KEPT: &str = "kept";
/// What a node's executable is called.
const BINARY: &str = "lapwing";
/// How long a killed process may take to go.
const GONE: Duration = Duration::from_secs(5);

/// One process: its number and when it began, in the kernel's clock ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    start: u64,
}

impl Process {
    /// The process that has this number now.
    fn now(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in brackets may hold anything: fields are counted after it. proc(5): 22 is the start.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace();
        if fields.next() == Some("Z") {
            return None;
        }
        Some(Process {
            pid,
            start: fields.nth(18)?.parse().ok()?,
        })
    }

    fn parse(line: &str) -> Option<Self> {
        let (pid, start) = line.split_once(' ')?;
        Some(Process {
            pid: pid.parse().ok()?,
            start: start.parse().ok()?,
        })
    }

    fn line(self) -> String {
        format!("{} {}\n", self.pid, self.start)
    }

    fn lives(self) -> bool {
        Self::now(self.pid) == Some(self)
    }

    fn is_node(self) -> bool {
        let exe = fs::read_link(format!("/proc/{}/exe", self.pid)).unwrap_or_default();
        let name = exe.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        // A binary that was built anew meanwhile shows as deleted.
        name == BINARY || name.strip_suffix(" (deleted)") == Some(BINARY)
    }
}

/// Sends a signal to a process that this program started and has not yet waited for.
///
/// # Errors
/// What the operating system says; [`io::ErrorKind::InvalidInput`] for a number that is no process's.
pub fn signal(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(io::ErrorKind::InvalidInput)?;
    Ok(kill_process(pid, signal)?)
}

/// What was left of earlier runs, and is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Node processes killed.
    pub killed: usize,
    /// Directories removed.
    pub removed: usize,
}

/// A run's directory. It is removed when this is dropped, unless it is kept.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    keep: bool,
}

impl RunDir {
    /// Where runs live unless told otherwise. Short, since paths of Unix sockets are.
    #[must_use]
    pub fn base() -> PathBuf {
        std::env::temp_dir().join("lapwing-testnet")
    }

    /// Cleans up under `base`, then makes a directory for this run there.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn create(base: &Path) -> io::Result<(Self, Cleaned)> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(base)?;
        let cleaned = clean_up(base)?;
        let owner = Process::now(std::process::id()).ok_or(io::ErrorKind::Unsupported)?;
        let path = (0u32..)
            .map(|n| base.join(format!("run-{}-{n}", owner.pid)))
            .find(|path| !path.exists())
            .ok_or(io::ErrorKind::AlreadyExists)?;
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        fs::write(path.join(OWNER), owner.line())?;
        Ok((RunDir { path, keep: false }, cleaned))
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the directory for people to look at.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn keep(&mut self) -> io::Result<()> {
        self.keep = true;
        fs::write(self.path.join(KEPT), "")
    }

    /// Remembers a node process, so that it is found if this one ends before it.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn record(&self, pid: u32) -> io::Result<()> {
        let Some(process) = Process::now(pid) else {
            return Ok(());
        };
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path.join(PROCESSES))?;
        file.write_all(process.line().as_bytes())
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if !self.keep {
            // The next run would try again.
            let _left = fs::remove_dir_all(&self.path);
        }
    }
}

/// Kills the nodes of runs whose owner is gone, and removes their directories.
///
/// # Errors
/// What the operating system says.
pub fn clean_up(base: &Path) -> io::Result<Cleaned> {
    let mut cleaned = Cleaned::default();
    for entry in fs::read_dir(base)? {
        let path = entry?.path();
        let owner = fs::read_to_string(path.join(OWNER)).ok();
        let Some(owner) = owner.and_then(|text| Process::parse(text.trim())) else {
            continue;
        };
        if owner.lives() {
            continue;
        }
        let recorded = fs::read_to_string(path.join(PROCESSES)).unwrap_or_default();
        for process in recorded.lines().filter_map(Process::parse) {
            if process.lives() && process.is_node() {
                signal(process.pid, Signal::KILL)?;
                let begun = Instant::now();
                while process.lives() && begun.elapsed() < GONE {
                    std::thread::sleep(Duration::from_millis(10));
                }
                cleaned.killed += 1;
            }
        }
        if !path.join(KEPT).exists() {
            fs::remove_dir_all(&path)?;
            cleaned.removed += 1;
        }
    }
    Ok(cleaned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    /// A process that sleeps, under a name of its own.
    fn sleeper(dir: &Path, name: &str) -> Child {
        let exe = dir.join(name);
        fs::copy("/bin/sleep", &exe).unwrap();
        loop {
            let spawned = Command::new(&exe).arg("60").stdin(Stdio::null()).spawn();
            match spawned {
                // A process that another test is just starting still has the copy open for writing.
                Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy => {}
                spawned => return spawned.unwrap(),
            }
        }
    }

    /// A run as a crash leaves it: its owner is gone.
    fn abandoned(base: &Path, children: &[&Child]) -> PathBuf {
        let (mut run, _) = RunDir::create(base).unwrap();
        for child in children {
            run.record(child.id()).unwrap();
        }
        run.keep = true;
        fs::write(run.path().join(OWNER), "999999999 1\n").unwrap();
        run.path().to_owned()
    }

    #[test]
    fn leftovers_of_a_crashed_run_go_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("runs");
        let (mine, cleaned) = RunDir::create(&base).unwrap();
        assert_eq!(cleaned, Cleaned::default());
        let (mut node, mut other) = (sleeper(dir.path(), BINARY), sleeper(dir.path(), "other"));
        let left = abandoned(&base, &[&node, &other]);
        // A number that another process has now.
        let reused = Process {
            pid: std::process::id(),
            start: 1,
        };
        fs::write(left.join("more"), reused.line()).unwrap();
        assert_eq!(
            clean_up(&base).unwrap(),
            Cleaned {
                killed: 1,
                removed: 1
            }
        );
        assert!(!node.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none(), "it is no node");
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(!left.exists());
        assert!(mine.path().exists(), "its owner lives");
        let path = mine.path().to_owned();
        drop(mine);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_kept_stays_but_its_nodes_go() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("runs");
        let mut node = sleeper(dir.path(), BINARY);
        let left = abandoned(&base, &[&node]);
        fs::write(left.join(KEPT), "").unwrap();
        assert_eq!(
            clean_up(&base).unwrap(),
            Cleaned {
                killed: 1,
                removed: 0
            }
        );
        node.wait().unwrap();
        assert!(left.exists());
    }
}
