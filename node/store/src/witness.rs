//! A second record of how many commits were reported durable.
//!
//! sled reads its log up to the first message that fails its check and takes
//! what follows for an unfinished write. So a byte that went bad in the log could
//! silently undo acknowledged commits. The witness is a small file beside the
//! log that holds the number of the last commit that was synced. It is itself not
//! synced: written after the commit, it can only lag behind it, never lead. A
//! store that is behind its witness has lost commits.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// The open witness file: a number and its complement, eight bytes each, big
/// endian.
pub(crate) struct Witness(File);

impl Witness {
    /// Opens the witness at `path`, or makes it, and reads its number. `None`
    /// when it was never written or was torn by a loss of power.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, Option<u64>)> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)?;
        let mut bytes = Vec::new();
        (&mut file).take(17).read_to_end(&mut bytes)?;
        Ok((Self(file), parse(&bytes)))
    }

    /// Records that commit `number` is durable.
    pub(crate) fn record(&mut self, number: u64) -> io::Result<()> {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        bytes[8..].copy_from_slice(&(!number).to_be_bytes());
        self.0.seek(SeekFrom::Start(0))?;
        self.0.write_all(&bytes)
    }

    /// Waits until the file is on disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

fn parse(bytes: &[u8]) -> Option<u64> {
    let (number, complement) = bytes.split_at_checked(8)?;
    let number = u64::from_be_bytes(number.try_into().ok()?);
    let complement = u64::from_be_bytes(complement.try_into().ok()?);
    (number == !complement).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_number() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("witness");
        let (mut witness, none) = Witness::open(&path).unwrap();
        assert_eq!(none, None);
        witness.record(1).unwrap();
        witness.record(u64::MAX - 1).unwrap();
        assert_eq!(Witness::open(&path).unwrap().1, Some(u64::MAX - 1));
        for torn in [&[0; 16][..], &[1; 16], &[0; 7], &[0; 17]] {
            std::fs::write(&path, torn).unwrap();
            assert_eq!(Witness::open(&path).unwrap().1, None);
        }
    }
}
