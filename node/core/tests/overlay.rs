//! What the core reads through an overlay is what it will read once everything
//! pending is durable.

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use lapwing_core::store::{Batch, CommitId, Entry, Overlay, ReadError, Reader, prefix_end};
    use proptest::collection::vec;
    use proptest::prelude::*;

    type Map = BTreeMap<Vec<u8>, Vec<u8>>;

    struct Stored(Map);

    impl Reader for Stored {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
            Ok(self.0.get(key).cloned())
        }

        fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>, ReadError> {
            if from >= to {
                return Ok(Vec::new());
            }
            let range = self.0.range(from.to_vec()..to.to_vec());
            Ok(range
                .take(limit)
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect())
        }
    }

    fn apply(map: &mut Map, batch: &Batch) {
        for (key, value) in batch.iter() {
            match value {
                Some(value) => map.insert(key.to_vec(), value.to_vec()),
                None => map.remove(key),
            };
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(Vec<(Vec<u8>, Option<u8>)>),
        /// Applied to the store, not yet reported.
        Apply,
        Durable,
        Scan(Vec<u8>, Vec<u8>, usize),
    }

    fn key() -> impl Strategy<Value = Vec<u8>> {
        vec(prop::sample::select(vec![0u8, 1, 2, 255]), 0..4)
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => vec((key(), prop::option::of(any::<u8>())), 0..8).prop_map(Step::Push),
            1 => Just(Step::Apply),
            1 => Just(Step::Durable),
            4 => (key(), key(), 0usize..12).prop_map(|(a, b, n)| Step::Scan(a, b, n)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
        #[test]
        fn reads_as_if_all_were_durable(steps in vec(step(), 1..60)) {
            let mut model = Map::new();
            let mut stored = Stored(Map::new());
            let mut overlay = Overlay::new();
            let mut pending: Vec<(CommitId, Batch, bool)> = Vec::new();
            let mut next = 1;
            for step in steps {
                match step {
                    Step::Push(writes) => {
                        let mut batch = Batch::new();
                        for (key, value) in writes {
                            match value {
                                Some(value) => batch.put(key, [value]),
                                None => batch.delete(key),
                            }
                        }
                        apply(&mut model, &batch);
                        pending.push((CommitId(next), batch.clone(), false));
                        overlay.push(CommitId(next), batch);
                        next += 1;
                    }
                    Step::Apply => {
                        if let Some((_, batch, applied)) = pending.iter_mut().find(|p| !p.2) {
                            apply(&mut stored.0, batch);
                            *applied = true;
                        }
                    }
                    Step::Durable => {
                        let applied = pending.iter().take_while(|p| p.2).count();
                        if let Some((id, ..)) = pending.drain(..applied).next_back() {
                            overlay.durable(id);
                        }
                    }
                    Step::Scan(from, to, limit) => {
                        let expected = Stored(model.clone()).scan(&from, &to, limit)?;
                        prop_assert_eq!(overlay.over(&stored).scan(&from, &to, limit)?, expected);
                        prop_assert_eq!(overlay.get(&stored, &from)?, model.get(&from).cloned());
                    }
                }
                prop_assert_eq!(overlay.len(), pending.len());
            }
            let view = overlay.over(&stored);
            let all = view.scan(&[], &prefix_end(&[]), usize::MAX)?;
            prop_assert_eq!(all, model.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn merged_batches_do_what_both_do(
            first in vec((key(), prop::option::of(any::<u8>())), 0..10),
            second in vec((key(), prop::option::of(any::<u8>())), 0..10),
        ) {
            let batch = |writes: &[(Vec<u8>, Option<u8>)]| {
                let mut batch = Batch::new();
                for (key, value) in writes {
                    match value {
                        Some(value) => batch.put(key, vec![*value; usize::from(*value)]),
                        None => batch.delete(key),
                    }
                }
                batch
            };
            let both = batch(&[first.clone(), second.clone()].concat());
            let mut merged = batch(&first);
            merged.merge(batch(&second));
            prop_assert_eq!(&merged, &both);
            let bytes = merged.iter().map(|(k, v)| k.len() + v.map_or(0, <[u8]>::len));
            prop_assert_eq!(merged.bytes(), bytes.sum::<usize>());
            prop_assert_eq!(merged.iter().count(), merged.len());
        }

        #[test]
        fn prefix_end_bounds_the_prefix(prefix in key(), tail in vec(any::<u8>(), 0..40)) {
            let end = prefix_end(&prefix);
            let long = [prefix.clone(), vec![255; 200]].concat();
            prop_assert!(end > long);
            prop_assert!(end > [prefix.clone(), tail.clone()].concat());
            if !tail.starts_with(&prefix) && tail > prefix {
                prop_assert!(tail >= end);
            }
        }
    }

    #[test]
    fn a_failing_store_is_not_an_absent_key() {
        struct Broken;
        impl Reader for Broken {
            fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
                Err(ReadError::Unavailable)
            }
            fn scan(&self, _: &[u8], _: &[u8], _: usize) -> Result<Vec<Entry>, ReadError> {
                Err(ReadError::Damaged)
            }
        }
        let mut overlay = Overlay::new();
        let mut batch = Batch::new();
        batch.put(b"a", b"1");
        overlay.push(CommitId(1), batch);
        let broken: Arc<dyn Reader> = Arc::new(Broken);
        let view = overlay.over(&*broken);
        assert_eq!(view.get(b"a"), Ok(Some(b"1".to_vec())));
        assert_eq!(view.get(b"b"), Err(ReadError::Unavailable));
        assert_eq!(view.scan_prefix(b"a", 5), Err(ReadError::Damaged));
        assert_eq!(broken.get(b"a"), Err(ReadError::Unavailable));
        assert!(
            !overlay.is_empty()
                && !format!("{overlay:?}").contains('a'.to_string().repeat(2).as_str())
        );
    }
}
