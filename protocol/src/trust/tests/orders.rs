//! Two views that saw the same records end equal, whatever the order.

use super::*;
use crate::key::SigningKey;
use crate::time::Seconds;
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

#[derive(Clone, Copy, Debug)]
enum Step {
    Join,
    Leave,
    Register(u8),
    Keys,
    Delegate,
    Certify(u8),
    Revoke(u8),
    Redate { revoke: bool },
    Region(u8),
    Drop(u8),
    ListsOnly,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Join),
        Just(Step::Leave),
        (0u8..4).prop_map(Step::Register),
        Just(Step::Keys),
        Just(Step::Delegate),
        (0u8..8).prop_map(Step::Certify),
        (0u8..4).prop_map(Step::Revoke),
        any::<bool>().prop_map(|revoke| Step::Redate { revoke }),
        (0u8..3).prop_map(Step::Region),
        (0u8..3).prop_map(Step::Drop),
        Just(Step::ListsOnly),
    ]
}

/// Every record of an honest history, in order.
fn history(seed: u64, steps: &[Step]) -> (Fixture, Vec<Vec<u8>>) {
    let mut f = Fixture::new(seed, 3);
    let mut all = f.records();
    for step in steps {
        f.now = f.now.plus(Seconds::new(10));
        let now = f.now;
        match *step {
            Step::Join => {
                f.add_operator(1);
                f.sign_roster();
            }
            Step::Leave => {
                if f.operators.len() > 2 {
                    f.operators.remove(0);
                }
                f.sign_roster();
            }
            Step::Register(areas) => {
                let areas: &[&str] = match areas {
                    0 => &[],
                    1 => &["2"],
                    2 => &["1"],
                    _ => &[""],
                };
                f.register(areas);
            }
            Step::Keys => {
                f.mediator.signing = SigningKey::generate(&mut f.rng);
                all.push(f.mediator.sign_certificate(now));
                f.mediator.sign_regions(now);
                f.mediator.sign_lists(now);
                f.mediator.sign_status(now);
            }
            Step::Delegate => {
                f.mediator.status_key = SigningKey::generate(&mut f.rng);
                all.push(f.mediator.sign_certificate(now));
                all.push(f.mediator.sign_revocations(now, false));
                f.mediator.sign_status(now);
            }
            Step::Certify(regions) => {
                let regions: Vec<usize> = (0..f.mediator.regions.len())
                    .filter(|r| regions >> r & 1 == 1)
                    .collect();
                f.certify(&regions);
            }
            Step::Revoke(serial) => f.revoke(u64::from(serial)),
            Step::Redate { revoke } => {
                if revoke {
                    let serial = u64::from(f.rng.next_u32() % 100) + 10;
                    f.mediator.revoked.insert(serial);
                }
                f.mediator.sign_revocations(now, true);
                f.mediator.redate(now);
            }
            Step::Region(at) => {
                let at = usize::from(at) % f.mediator.regions.len();
                f.renew_region(at);
            }
            Step::Drop(at) => {
                if f.mediator.regions.len() > 1 {
                    let at = usize::from(at) % f.mediator.regions.len();
                    f.mediator.regions.remove(at);
                }
                f.mediator.sign_regions(now);
                f.mediator.sign_status(now);
            }
            Step::ListsOnly => {
                f.mediator.sign_regions(now);
                f.mediator.sign_lists(now);
                // What is named is what was signed last, so these must not outlive the step.
                f.mediator.sign_status(now);
            }
        }
        all.extend(f.records());
        all.extend(f.mediator.certificates.iter().cloned());
    }
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|r| seen.insert(r.clone()));
    (f, all)
}

/// Offers everything again and again until nothing changes.
fn settle(view: &mut TrustView, records: &[Vec<u8>], now: Time) {
    for _ in 0..50 {
        let mut changed = false;
        for r in records {
            match view.learn(r, now) {
                Ok(Accepted::New { .. }) => changed = true,
                Ok(Accepted::Known) => (),
                Err(e) => assert_ne!(e.problem, Problem::Equivocation, "an honest history"),
            }
        }
        if !changed {
            return;
        }
    }
    panic!("does not settle");
}

fn shuffle(records: &mut [Vec<u8>], rng: &mut ChaCha20Rng) {
    for i in (1..records.len()).rev() {
        records.swap(i, rng.next_u32() as usize % (i + 1));
    }
}

/// What `records` gives, given to an empty view, makes an equal one in one go.
fn replays(view: &TrustView, now: Time) {
    let mut copy = TrustView::new(view.federation().clone()).unwrap();
    for (id, bytes) in view.records() {
        let accepted = copy.learn(&bytes, now).unwrap();
        assert!(
            matches!(accepted, Accepted::New { id: of, .. } if of == id),
            "{accepted:?}"
        );
        assert_eq!(view.record(&id).as_deref(), Some(&*bytes));
    }
    assert_same(view, &copy);
}

fn assert_same(a: &TrustView, b: &TrustView) {
    assert_eq!(a, b);
    // What is derived must be as equal as what it is derived from.
    assert!(a.regions().eq(b.regions()));
    assert!(
        a.regions()
            .all(|(m, r)| a.region(&r.id) == Some((*m, r)) && b.region(&r.id) == Some((*m, r)))
    );
    assert_eq!(a.0.regions.len(), a.regions().count());
    assert_eq!(b.0.regions.len(), b.regions().count());
    assert_eq!(a.0.nodes, b.0.nodes);
    let registered = |v: &TrustView| {
        v.mediators()
            .map(|(_, m)| m.registered())
            .collect::<Vec<_>>()
    };
    assert_eq!(registered(a), registered(b));
    let providers = |v: &TrustView| {
        v.mediators()
            .map(|(_, m)| m.providers().count())
            .sum::<usize>()
    };
    assert_eq!(a.0.owners.len(), providers(a));
    assert_eq!(b.0.owners.len(), providers(b));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn views_of_the_same_records_end_equal(
        seed in any::<u64>(),
        steps in proptest::collection::vec(step(), 0..30),
    ) {
        let (f, mut records) = history(seed, &steps);
        let mut view = empty(&f);
        settle(&mut view, &records, f.now);
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        for _ in 0..2 {
            shuffle(&mut records, &mut rng);
            let mut other = empty(&f);
            settle(&mut other, &records, f.now);
            assert_same(&view, &other);
        }
        replays(&view, f.now);
    }

    #[test]
    fn views_replay_after_lies_too(
        seed in any::<u64>(),
        steps in proptest::collection::vec(step(), 0..20),
        others in proptest::collection::vec(step(), 1..6),
    ) {
        // Two histories of one federation by the same keys: every sequence is used twice.
        let (f, mut records) = history(seed, &steps);
        let (g, lies) = history(seed, &others);
        records.extend(lies);
        let now = f.now.max(g.now);
        shuffle(&mut records, &mut ChaCha20Rng::seed_from_u64(seed));
        let mut view = empty(&f);
        for _ in 0..3 {
            for r in &records {
                let _ = view.learn(r, now);
            }
        }
        replays(&view, now);
    }
}
