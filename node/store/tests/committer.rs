//! The committer: order, groups, bounds, and the end after an error.

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use lapwing_core::store::{Batch, CommitId, Reader};
    use lapwing_store::{
        Committer, CommitterOptions, MemoryStore, SubmitError, WriteError, Writer,
    };

    const SOON: Duration = Duration::from_secs(10);

    /// A disk that takes one step each time it is told to.
    struct Steps {
        store: MemoryStore,
        steps: Mutex<Receiver<Result<(), WriteError>>>,
        begun: Sender<usize>,
    }

    impl Writer for Steps {
        fn apply(&self, batch: &Batch) -> Result<(), WriteError> {
            self.begun.send(batch.len()).unwrap();
            self.steps.lock().unwrap().recv_timeout(SOON).unwrap()?;
            self.store.apply(batch)
        }
    }

    type Done = Result<Vec<u64>, WriteError>;

    struct Bench {
        committer: Committer,
        writer: Arc<Steps>,
        step: Sender<Result<(), WriteError>>,
        begun: Receiver<usize>,
        done: Receiver<Done>,
    }

    fn bench(options: CommitterOptions) -> Bench {
        let (step, steps) = mpsc::channel();
        let (begin, begun) = mpsc::channel();
        let (report, done) = mpsc::channel();
        let writer = Arc::new(Steps {
            store: MemoryStore::new(),
            steps: Mutex::new(steps),
            begun: begin,
        });
        let shared: Arc<dyn Writer> = Arc::<Steps>::clone(&writer);
        let committer = Committer::start_with(shared, options, move |outcome| {
            let outcome = outcome.map(|ids| ids.iter().map(|id| id.0).collect());
            report.send(outcome.map_err(|e| *e)).unwrap();
        });
        Bench {
            committer: committer.unwrap(),
            writer,
            step,
            begun,
            done,
        }
    }

    fn batch(key: u64, bytes: usize) -> Batch {
        let mut batch = Batch::new();
        batch.put(key.to_be_bytes(), vec![key as u8; bytes]);
        batch
    }

    #[test]
    fn groups_what_arrives_during_a_commit() {
        let b = bench(CommitterOptions::default());
        b.committer.submit(CommitId(1), batch(1, 10)).unwrap();
        assert_eq!(b.begun.recv_timeout(SOON).unwrap(), 1);
        for id in 2..=9u64 {
            // All write the same key: the last one counts.
            let mut batch = batch(1, id as usize);
            batch.put(id.to_be_bytes(), b"");
            b.committer.submit(CommitId(id), batch).unwrap();
        }
        assert!(b.committer.pending_bytes() > 0);
        assert!(b.done.try_recv().is_err(), "reported before it was durable");
        b.step.send(Ok(())).unwrap();
        assert_eq!(b.done.recv_timeout(SOON).unwrap(), Ok(vec![1]));
        assert_eq!(b.begun.recv_timeout(SOON).unwrap(), 9);
        b.step.send(Ok(())).unwrap();
        assert_eq!(b.done.recv_timeout(SOON).unwrap(), Ok((2..=9).collect()));
        let stats = b.committer.stats();
        assert_eq!(
            (stats.commits, stats.groups, stats.pending_bytes),
            (9, 2, 0)
        );
        assert_eq!(
            b.writer
                .store
                .get(&1u64.to_be_bytes())
                .unwrap()
                .unwrap()
                .len(),
            9
        );
    }

    #[test]
    fn bounds_groups_and_queue() {
        let b = bench(CommitterOptions {
            max_pending_bytes: 10_000,
            max_group_bytes: 3_000,
            ..CommitterOptions::default()
        });
        // One batch beyond every bound goes alone.
        b.committer.submit(CommitId(0), batch(0, 20_000)).unwrap();
        assert_eq!(b.begun.recv_timeout(SOON).unwrap(), 1);
        let refused = b.committer.submit(CommitId(1), batch(1, 1)).unwrap_err();
        let SubmitError::Full(back) = refused else {
            panic!("not full");
        };
        assert_eq!(back, batch(1, 1));
        b.step.send(Ok(())).unwrap();
        b.done.recv_timeout(SOON).unwrap().unwrap();
        for id in 1..=7 {
            b.committer.submit(CommitId(id), batch(id, 1_000)).unwrap();
        }
        b.committer
            .submit(CommitId(8), batch(8, 4_000))
            .unwrap_err();
        for _ in 0..8 {
            b.step.send(Ok(())).unwrap();
        }
        let mut ids = Vec::new();
        while ids.len() < 7 {
            let group = b.done.recv_timeout(SOON).unwrap().unwrap();
            assert!(group.len() <= 2, "{group:?}");
            ids.extend(group);
        }
        assert_eq!(ids, (1..=7).collect::<Vec<_>>());
    }

    #[test]
    fn stops_at_the_first_error() {
        let b = bench(CommitterOptions::default());
        b.committer.submit(CommitId(1), batch(1, 1)).unwrap();
        b.begun.recv_timeout(SOON).unwrap();
        b.committer.submit(CommitId(2), batch(2, 1)).unwrap();
        b.step.send(Err(WriteError::NoSpace)).unwrap();
        assert_eq!(b.done.recv_timeout(SOON).unwrap(), Err(WriteError::NoSpace));
        b.committer.close();
        assert!(b.done.try_recv().is_err(), "reported twice");
        let refused = b.committer.submit(CommitId(3), batch(3, 1));
        assert!(matches!(refused, Err(SubmitError::Stopped)));
        assert!(b.writer.store.is_empty());
        assert_eq!(b.committer.pending_bytes(), 0);
    }

    #[test]
    fn closing_drains() {
        let b = bench(CommitterOptions {
            gather: Duration::from_millis(2),
            ..CommitterOptions::default()
        });
        for id in 1..=50 {
            b.committer.submit(CommitId(id), batch(id, 5)).unwrap();
            b.step.send(Ok(())).unwrap();
        }
        b.committer.close();
        let ids: Vec<u64> = b.done.try_iter().flat_map(Result::unwrap).collect();
        assert_eq!(ids, (1..=50).collect::<Vec<_>>());
        assert_eq!(b.writer.store.len(), 50);
        let refused = b.committer.submit(CommitId(51), batch(51, 1));
        assert!(matches!(refused, Err(SubmitError::Stopped)));
        b.committer.close();
    }
}
