//! The store on disk: what it keeps, how it opens, how it is copied and moved.

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use lapwing_core::store::{Batch, Reader};
    use lapwing_store::{OpenError, SledOptions, SledStore, WriteError, Writer, set_aside};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use tempfile::tempdir;

    fn open(path: &Path) -> Result<SledStore, OpenError> {
        SledStore::open(path, &SledOptions::default())
    }

    fn put(store: &SledStore, entries: &[(&[u8], &[u8])]) {
        let mut batch = Batch::new();
        for (key, value) in entries {
            batch.put(key, value);
        }
        store.apply(&batch).unwrap();
    }

    fn everything(store: &SledStore) -> Vec<(Vec<u8>, Vec<u8>)> {
        store.scan(b"", &[0xff; 300], usize::MAX).unwrap()
    }

    /// sled makes these for pages that it does not sync; there must be none.
    fn blob_files(path: &Path) -> usize {
        let mut files = 0;
        for entry in fs::read_dir(path).unwrap() {
            let blobs = entry.unwrap().path().join("blobs");
            if blobs.is_dir() {
                files += fs::read_dir(blobs).unwrap().count();
            }
        }
        files
    }

    #[test]
    fn keeps_values_of_every_size() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("a/b/store");
        let store = open(&path).unwrap();
        assert_eq!(store.contents_at_open().unwrap().entries, 0);
        let sizes = [0, 1, 4096, 5119, 5120, 5121, 16384, 65536, 1 << 20];
        for size in sizes {
            for copy in 0..20u8 {
                let key = [&[copy], size.to_string().as_bytes()].concat();
                put(&store, &[(&key, &vec![copy; size])]);
            }
        }
        // Replaced by shorter and longer ones, and removed.
        put(
            &store,
            &[(b"\x0065536", b"short"), (b"\x011", &[9; 70_000])],
        );
        let mut batch = Batch::new();
        batch.delete(b"\x0265536");
        batch.delete(b"was never there");
        store.apply(&batch).unwrap();
        let before = everything(&store);
        assert_eq!(before.len(), sizes.len() * 20 - 1);
        assert_eq!(store.sequence(), 182);
        drop(store);
        let store = open(&path).unwrap();
        let contents = store.contents_at_open().unwrap();
        assert_eq!(everything(&store), before);
        assert_eq!(contents.entries, before.len() as u64);
        let bytes = before.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>();
        assert_eq!(contents.live_bytes, bytes as u64);
        assert_eq!(store.get(b"\x0065536").unwrap().unwrap(), b"short");
        assert_eq!(store.get(b"\x011").unwrap().unwrap(), [9; 70_000]);
        assert_eq!(store.get(b"\x0265536").unwrap(), None);
        assert_eq!(store.scan(b"\x03", b"\x05", 3).unwrap().len(), 3);
        assert!(store.scan(b"b", b"a", 3).unwrap().is_empty());
        assert!(store.scan(b"a", b"b", 0).unwrap().is_empty());
        assert!(store.size_on_disk().unwrap() > contents.live_bytes);
        assert_eq!(store.sequence(), 182);
        assert_eq!(blob_files(&path), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
        #[test]
        fn agrees_with_a_map(
            batches in vec(vec((0u8..40, prop::option::of((any::<u8>(), 0usize..14_000))), 1..12), 1..10)
        ) {
            let dir = tempdir().unwrap();
            let memory = lapwing_store::MemoryStore::new();
            let store = open(dir.path()).unwrap();
            for writes in batches {
                let mut batch = Batch::new();
                for (key, value) in writes {
                    match value {
                        Some((fill, len)) => batch.put([key], vec![fill; len]),
                        None => batch.delete([key]),
                    }
                }
                store.apply(&batch).unwrap();
                memory.apply(&batch).unwrap();
            }
            let expected = memory.scan(b"", &[0xff], usize::MAX).unwrap();
            prop_assert_eq!(&everything(&store), &expected);
            drop(store);
            let store = open(dir.path()).unwrap();
            prop_assert_eq!(&everything(&store), &expected);
            prop_assert_eq!(blob_files(dir.path()), 0);
        }
    }

    #[test]
    fn refuses_what_is_too_long_and_stops() {
        let dir = tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        put(&store, &[(&[1; 256], b"longest key")]);
        let mut batch = Batch::new();
        batch.put([1; 257], b"");
        let refused = store.apply(&batch).unwrap_err();
        assert!(matches!(
            refused,
            WriteError::TooLong {
                what: "key",
                bytes: 257,
                max: 256
            }
        ));
        assert_eq!(store.apply(&batch).unwrap_err(), WriteError::Stopped);
        assert_eq!(everything(&store).len(), 1);
    }

    #[test]
    fn one_process_at_a_time() {
        let dir = tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        assert!(matches!(open(dir.path()), Err(OpenError::InUse { .. })));
        assert!(matches!(
            set_aside(dir.path()),
            Err(OpenError::InUse { .. })
        ));
        let rewritten = SledStore::rewrite(dir.path(), &SledOptions::default());
        assert!(matches!(rewritten, Err(OpenError::InUse { .. })));
        drop(store);
        open(dir.path()).unwrap();
    }

    #[test]
    fn says_what_is_wrong_with_the_place() {
        let dir = tempdir().unwrap();
        let missing = dir.path().join("missing");
        let look = SledOptions {
            create: false,
            ..SledOptions::default()
        };
        let error = SledStore::open(&missing, &look).unwrap_err();
        assert!(matches!(error, OpenError::Missing { .. }), "{error}");
        assert!(!missing.exists());
        assert!(matches!(
            set_aside(&missing),
            Err(OpenError::Missing { .. })
        ));
        let empty = dir.path().join("empty");
        fs::create_dir(&empty).unwrap();
        let error = SledStore::open(&empty, &look).unwrap_err();
        assert!(matches!(error, OpenError::Missing { .. }), "{error}");
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        for path in [file.clone(), file.join("below")] {
            let error = open(&path).unwrap_err();
            assert!(matches!(error, OpenError::NotADirectory { .. }), "{error}");
            assert!(error.to_string().contains("file"), "{error}");
        }
        let foreign = dir.path().join("foreign");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("thesis.txt"), "x").unwrap();
        let error = open(&foreign).unwrap_err();
        assert!(matches!(&error, OpenError::Foreign { found, .. } if found == "thesis.txt"));
        assert_eq!(error.to_string().lines().count(), 1);
    }

    #[test]
    fn a_newer_format_is_refused() {
        let dir = tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        let raw = sled::open(dir.path().join("data-1")).unwrap();
        raw.insert(b"\x00format", &7u32.to_be_bytes()).unwrap();
        drop(raw);
        let error = open(dir.path()).unwrap_err();
        assert!(
            matches!(
                error,
                OpenError::Newer {
                    found: 7,
                    known: 1,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn rewriting_gives_space_back_and_keeps_everything() {
        let dir = tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        for round in 0..60u8 {
            let mut batch = Batch::new();
            for key in 0..40u8 {
                batch.put([key], vec![round; 4096 + usize::from(key) * 100]);
            }
            store.apply(&batch).unwrap();
        }
        let before = everything(&store);
        drop(store);
        // What an interrupted rewrite leaves.
        fs::create_dir(dir.path().join("new-2")).unwrap();
        fs::write(dir.path().join("new-2/db"), "half").unwrap();
        let rewritten = SledStore::rewrite(dir.path(), &SledOptions::default()).unwrap();
        assert!(rewritten.after < rewritten.before, "{rewritten:?}");
        assert!(!dir.path().join("data-1").exists());
        // Interrupted after the step that counts.
        fs::create_dir(dir.path().join("data-1")).unwrap();
        let store = open(dir.path()).unwrap();
        assert!(!dir.path().join("data-1").exists());
        assert_eq!(everything(&store), before);
        assert_eq!(store.sequence(), 60);
        put(&store, &[(b"more", b"to come")]);
        assert_eq!(store.sequence(), 61);
    }

    #[test]
    fn an_export_is_a_store() {
        let dir = tempdir().unwrap();
        let store = open(&dir.path().join("live")).unwrap();
        put(&store, &[(b"a", b"1"), (b"b", &[2; 9000])]);
        let to = dir.path().join("copy");
        store.export(&to).unwrap();
        assert!(matches!(store.export(&to), Err(OpenError::Exists { .. })));
        put(&store, &[(b"c", b"3")]);
        let copy = open(&to).unwrap();
        assert_eq!(everything(&copy), everything(&store)[..2]);
        assert_eq!(copy.sequence(), 1);
    }

    #[test]
    fn set_aside_makes_room_for_a_new_store() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("store");
        for n in 1..4 {
            put(&open(&path).unwrap(), &[(b"a", b"1")]);
            let aside = set_aside(&path).unwrap();
            assert_eq!(
                aside.file_name().unwrap(),
                format!("store.damaged-{n}").as_str()
            );
            assert!(!path.exists());
            assert_eq!(everything(&open(&aside).unwrap()).len(), 1);
        }
        assert!(everything(&open(&path).unwrap()).is_empty());
    }

    #[test]
    fn debug_shows_no_contents() {
        let dir = tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        put(&store, &[(b"a key", b"a value")]);
        assert!(!format!("{store:?}").contains("a key"));
        let mut batch = Batch::new();
        batch.put(b"a key", b"a value");
        assert_eq!(format!("{batch:?}"), "Batch { writes: 1, bytes: 12 }");
    }
}
