//! What Linux says of this process, from `/proc/self`; elsewhere nothing is known.

use std::fs;

/// `/proc` counts processor time in hundredths of a second on every architecture (`USER_HZ`, proc(5)).
const TICKS: f64 = 100.0;

/// What is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Process {
    /// Memory held, in bytes.
    pub(crate) resident_bytes: Option<u64>,
    /// Processor time used, in seconds, by user and system together.
    pub(crate) cpu_seconds: Option<f64>,
    /// Open file descriptors.
    pub(crate) open_fds: Option<usize>,
    /// Most file descriptors that may be open.
    pub(crate) max_fds: Option<u64>,
}

impl Process {
    /// As it is now.
    pub(crate) fn read() -> Self {
        let text =
            |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        Self {
            resident_bytes: resident(&text("status")),
            cpu_seconds: cpu(&text("stat")),
            open_fds: fs::read_dir("/proc/self/fd").ok().map(Iterator::count),
            max_fds: max_fds(&text("limits")),
        }
    }
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// Fields 14 and 15, counted after the name, which may hold spaces and brackets.
fn cpu(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some((f64::from(user) + f64::from(system)) / TICKS)
}

fn max_fds(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|l| l.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t   12 kB\n"), Some(12 * 1024));
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0";
        assert_eq!(cpu(stat), Some(3.0));
        assert_eq!(max_fds("Max open files   1024   4096  files\n"), Some(1024));
        for junk in ["", "x", "VmRSS: kB", ")", "Max open files unlimited"] {
            assert_eq!(
                (resident(junk), cpu(junk), max_fds(junk)),
                (None, None, None)
            );
        }
        #[cfg(target_os = "linux")]
        {
            let here = Process::read();
            assert!(here.resident_bytes.is_some_and(|b| b > 100_000));
            assert!(here.cpu_seconds.is_some());
            assert!(here.open_fds.is_some_and(|n| n > 2));
        }
    }
}
