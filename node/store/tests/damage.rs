//! Damaged files give an error that says so, never a panic and never less data
//! than was acknowledged.

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use lapwing_core::store::{Batch, Reader};
    use lapwing_store::{Damage, OpenError, SledOptions, SledStore, Writer};
    use tempfile::tempdir;

    fn open(path: &Path) -> Result<SledStore, OpenError> {
        SledStore::open(path, &SledOptions::default())
    }

    fn everything(store: &SledStore) -> Vec<(Vec<u8>, Vec<u8>)> {
        store.scan(b"", &[0xff; 300], usize::MAX).unwrap()
    }

    /// A store that was opened twice, so that there is a snapshot and a log after
    /// it, and its contents.
    fn filled(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
        for half in 0..2u8 {
            let store = open(path).unwrap();
            for n in 0..30u8 {
                let mut batch = Batch::new();
                for key in 0..8u8 {
                    batch.put([half, n % 20, key], vec![n; 50 + usize::from(key) * 1500]);
                }
                batch.delete([half, n % 7, 3]);
                store.apply(&batch).unwrap();
            }
            if half == 1 {
                return everything(&store);
            }
        }
        Vec::new()
    }

    fn copy_tree(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy_tree(&entry.path(), &target);
            } else {
                fs::copy(entry.path(), target).unwrap();
            }
        }
    }

    fn snapshot_file(data: &Path) -> PathBuf {
        fs::read_dir(data)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.to_string_lossy().contains("snap."))
            .unwrap()
    }

    /// A fixed sequence that looks random (xorshift64).
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, end: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % end as u64) as usize
        }
    }

    /// Harms a copy of `whole`, opens it, and says whether it was refused.
    fn outcome(whole: &Path, expected: &[(Vec<u8>, Vec<u8>)], harm: impl FnOnce(&Path)) -> bool {
        let dir = tempdir().unwrap();
        let path = dir.path().join("store");
        copy_tree(whole, &path);
        harm(&path.join("data-1"));
        match open(&path) {
            Ok(store) => {
                assert_eq!(everything(&store), expected, "opened with other contents");
                false
            }
            Err(OpenError::Damaged { .. }) => true,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn truncated_files_are_damage() {
        let dir = tempdir().unwrap();
        let whole = dir.path().join("whole");
        let expected = filled(&whole);
        let len = fs::metadata(whole.join("data-1/db")).unwrap().len();
        for keep in [0, 1, 700, len / 3, len / 2, len - (600 << 10)] {
            let refused = outcome(&whole, &expected, |data| {
                let file = fs::OpenOptions::new()
                    .write(true)
                    .open(data.join("db"))
                    .unwrap();
                file.set_len(keep).unwrap();
            });
            assert!(refused, "{keep} of {len} bytes were taken for whole");
        }
        for name in ["db", "snap"] {
            let refused = outcome(&whole, &expected, |data| {
                let file = match name {
                    "db" => data.join("db"),
                    _ => snapshot_file(data),
                };
                fs::remove_file(file).unwrap();
            });
            // Without its snapshot sled reads the whole log.
            assert!(refused || name == "snap", "{name} is gone");
        }
        let refused = outcome(&whole, &expected, |data| {
            fs::remove_dir_all(data).unwrap();
        });
        assert!(refused, "all data are gone");
    }

    #[test]
    fn flipped_bytes_are_damage_or_harmless() {
        let dir = tempdir().unwrap();
        let whole = dir.path().join("whole");
        let expected = filled(&whole);
        let len = fs::metadata(whole.join("data-1/db")).unwrap().len() as usize;
        let mut dice = Dice(0x1a97_1e05);
        let mut refused = 0;
        for round in 0..40 {
            let at = dice.below(len);
            let flip = 1 << dice.below(8);
            let run = [1, 16, 4096][round % 3];
            refused += u32::from(outcome(&whole, &expected, |data| {
                let path = data.join("db");
                let mut bytes = fs::read(&path).unwrap();
                for byte in bytes.iter_mut().skip(at).take(run) {
                    *byte ^= flip;
                }
                fs::write(path, bytes).unwrap();
            }));
        }
        // Most of the log is dead weight; what is alive is found out.
        assert!(refused >= 3, "only {refused} of 40 were refused");
        for _ in 0..8 {
            let refused = outcome(&whole, &expected, |data| {
                let path = snapshot_file(data);
                let mut bytes = fs::read(&path).unwrap();
                let at = dice.below(bytes.len());
                bytes[at] ^= 0x10;
                fs::write(path, bytes).unwrap();
            });
            assert!(refused, "a damaged snapshot was taken");
        }
    }

    #[test]
    fn a_torn_snapshot_is_passed_over() {
        let dir = tempdir().unwrap();
        let whole = dir.path().join("whole");
        let expected = filled(&whole);
        let refused = outcome(&whole, &expected, |data| {
            fs::write(data.join("snap.FFFFFFFFFFFFFFFF.generating"), "torn").unwrap();
        });
        assert!(!refused);
    }

    #[test]
    fn an_older_copy_of_the_data_is_noticed() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("store");
        filled(&path);
        let old = dir.path().join("old");
        copy_tree(&path.join("data-1"), &old);
        let store = open(&path).unwrap();
        let mut batch = Batch::new();
        batch.put(b"acknowledged", b"");
        store.apply(&batch).unwrap();
        drop(store);
        fs::remove_dir_all(path.join("data-1")).unwrap();
        copy_tree(&old, &path.join("data-1"));
        let error = open(&path).unwrap_err();
        let lost = Damage::CommitsMissing;
        assert!(
            matches!(&error, OpenError::Damaged { damage, .. } if *damage == lost),
            "{error}"
        );
        let line = error.to_string();
        assert!(
            line.contains("set-aside") && line.lines().count() == 1,
            "{line}"
        );
    }
}
