//! A process that is killed at any moment has lost nothing that it acknowledged,
//! and kept no commit in part.

#[cfg(test)]
mod tests {
    use std::env;
    use std::io::{BufRead, BufReader, Write};
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::sync::Arc;
    use std::thread;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use lapwing_core::store::{Batch, CommitId, Reader};
    use lapwing_store::{Committer, SledOptions, SledStore, SubmitError, Writer};
    use tempfile::tempdir;

    const STORE: &str = "LAPWING_TEST_KILL_STORE";
    const SEED: &str = "LAPWING_TEST_KILL_SEED";
    const ROUNDS: u64 = 6;
    /// Keys are reused, so that commits also replace and free what is stored.
    const KEYS: u64 = 300;

    fn mix(mut x: u64) -> u64 {
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn value(commit: u64) -> Vec<u8> {
        let len = match mix(commit) % 20 {
            0 => 70_000,
            1..=4 => 16_000,
            5..=9 => 4_200,
            _ => 100,
        };
        let mut value = commit.to_be_bytes().to_vec();
        value.resize(len, commit as u8);
        value
    }

    /// Two keys with the same value, and the number of the commit.
    fn commit(number: u64) -> Batch {
        let mut batch = Batch::new();
        let slot = mix(number) % KEYS;
        for side in [b'l', b'r'] {
            let key = [&[side][..], &slot.to_be_bytes()].concat();
            if number.is_multiple_of(11) {
                batch.delete(key);
            } else {
                batch.put(key, value(number));
            }
        }
        batch.put(b"last", number.to_be_bytes());
        batch
    }

    fn last(store: &SledStore) -> u64 {
        let last = store.get(b"last").unwrap();
        last.map_or(0, |v| u64::from_be_bytes(v.try_into().unwrap()))
    }

    /// Runs in the child: commits without end and prints what is durable.
    #[test]
    fn child() {
        let Some(path) = env::var_os(STORE) else {
            return;
        };
        let store = SledStore::open(Path::new(&path), &SledOptions::default()).unwrap();
        let mut next = last(&store) + 1;
        let committer = Committer::start(Arc::new(store), |done| {
            let last = done.unwrap().last().unwrap().0;
            let mut out = std::io::stdout().lock();
            writeln!(out, "durable {last}").unwrap();
            out.flush().unwrap();
        });
        let committer = committer.unwrap();
        loop {
            match committer.submit(CommitId(next), commit(next)) {
                Ok(()) => next += 1,
                Err(SubmitError::Full(_)) => {}
                Err(stopped) => panic!("{stopped}"),
            }
            while committer.pending_bytes() > 2 << 20 {
                thread::sleep(Duration::from_micros(200));
            }
        }
    }

    fn check(store: &SledStore) {
        let last = last(store);
        let mut expected = std::collections::BTreeMap::new();
        for number in 1..=last {
            for (key, value) in commit(number).iter() {
                match value {
                    Some(value) => expected.insert(key.to_vec(), value.to_vec()),
                    None => expected.remove(key),
                };
            }
        }
        let found = store.scan(b"", &[0xff; 300], usize::MAX).unwrap();
        let same = expected.into_iter().eq(found);
        assert!(same, "the store is not what its {last} commits make");
    }

    #[test]
    fn nothing_acknowledged_is_lost() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let seed = env::var(SEED).map_or(now.as_nanos() as u64, |s| s.parse().unwrap());
        println!("seed {seed}: set {SEED} to repeat its moments");
        let dir = tempdir().unwrap();
        let mut total = 0;
        for round in 0..ROUNDS {
            let mut child = Command::new(env::current_exe().unwrap())
                .args(["--exact", "tests::child", "--nocapture", "--test-threads=1"])
                .env(STORE, dir.path())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let out = BufReader::new(child.stdout.take().unwrap());
            let reader = thread::spawn(move || {
                let lines = out.lines().map_while(Result::ok);
                // The harness may print before the first line of ours.
                let numbers = lines.filter_map(|line| {
                    let (_, number) = line.split_once("durable ")?;
                    number.parse::<u64>().ok()
                });
                numbers.last().unwrap_or(0)
            });
            thread::sleep(Duration::from_millis(80 + mix(seed ^ round) % 450));
            child.kill().unwrap();
            assert!(child.wait().unwrap().code().is_none(), "ended by itself");
            let acknowledged = reader.join().unwrap();
            let store = SledStore::open(dir.path(), &SledOptions::default()).unwrap();
            let kept = last(&store);
            assert!(
                kept >= acknowledged,
                "round {round}: {acknowledged} durable, {kept} kept"
            );
            check(&store);
            // It goes on as if nothing had happened.
            store.apply(&commit(kept + 1)).unwrap();
            total = kept + 1;
        }
        assert!(total > ROUNDS, "the child did nothing");
        println!("{total} commits");
    }
}
