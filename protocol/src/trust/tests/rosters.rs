use super::*;
use crate::bounded::{List, Text};
use crate::cose::{combine, sign_multi};
use crate::federation::{Federation, Roster};
use crate::key::SigningKey;
use crate::testing::{START, list};
use crate::time::Seconds;

fn signed(f: &Fixture, roster: &Roster, keys: &[usize]) -> Vec<u8> {
    let keys: Vec<&SigningKey> = keys.iter().map(|k| &f.roots[*k]).collect();
    sign_multi(roster, &keys)
}

/// The next roster, changed.
fn changed(f: &Fixture, change: impl FnOnce(&mut Roster)) -> Vec<u8> {
    let mut roster = f.next_roster();
    change(&mut roster);
    signed(f, &roster, &[0, 1])
}

#[test]
fn a_federation_must_be_well_formed() {
    let f = Fixture::new(1, 1);
    let with = |roots: Vec<_>, threshold| {
        TrustView::new(Federation {
            name: Text::try_from("x").unwrap(),
            roots: list(roots),
            threshold,
        })
    };
    let keys: Vec<_> = f.roots.iter().map(SigningKey::verifying_key).collect();
    assert!(with(keys.clone(), 3).is_ok());
    let refused: Vec<(Vec<_>, u8)> = vec![
        (keys.clone(), 0),
        (keys.clone(), 4),
        (Vec::new(), 1),
        (keys.iter().rev().copied().collect(), 2),
        (vec![keys[0], keys[0]], 1),
    ];
    for (roots, threshold) in refused {
        assert_eq!(with(roots, threshold).unwrap_err(), Problem::OutOfBounds);
    }
}

#[test]
fn a_roster_needs_a_threshold_of_roots() {
    let f = Fixture::new(1, 3);
    let mut view = empty(&f);
    let roster = f.next_roster();
    assert_eq!(
        refusal(&mut view, &signed(&f, &roster, &[1]), f.now),
        Problem::WrongSigner
    );
    let stranger = SigningKey::from_seed(&[7; 32]);
    let bytes = sign_multi(&roster, &[&f.roots[0], &f.roots[1], &stranger]);
    assert_eq!(refusal(&mut view, &bytes, f.now), Problem::WrongSigner);
    let mut bytes = signed(&f, &roster, &[0, 2]);
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(refusal(&mut view, &bytes, f.now), Problem::BadSignature);
    learn(&mut view, &signed(&f, &roster, &[0, 2]), f.now);
}

#[test]
fn a_roster_must_be_well_formed() {
    let f = Fixture::new(1, 3);
    let mut view = f.view();
    let other = changed(&f, |r| {
        r.federation = crate::id::FederationId::from_bytes([1; 32])
    });
    assert_eq!(refusal(&mut view, &other, f.now), Problem::WrongFederation);
    fn operators(r: &mut Roster, change: impl Fn(&mut Vec<crate::federation::Operator>)) {
        let mut o = r.operators.clone().into_vec();
        change(&mut o);
        r.operators = List::try_from(o).unwrap();
    }
    type Change = Box<dyn Fn(&mut Roster)>;
    let wrong: Vec<Change> = vec![
        Box::new(|r| r.params.replicas = 0),
        Box::new(|r| r.params.shards = 3),
        Box::new(|r| r.expires = r.issued),
        Box::new(|r| operators(r, |o| o[0].id = o[1].id)),
        Box::new(|r| operators(r, |o| o[0].key = o[1].key)),
        Box::new(|r| operators(r, |o| o[0].nodes = o[1].nodes.clone())),
        // A key with two uses.
        Box::new(|r| operators(r, |o| o[0].key = o[1].nodes[0].signing)),
        // A node id that is no key.
        Box::new(|r| {
            operators(r, |o| {
                let mut n = o[0].nodes[0].clone();
                n.id = crate::id::NodeId::from_bytes([0; 32]);
                o[0].nodes = list(vec![n]);
            });
        }),
    ];
    for change in wrong {
        assert_eq!(
            refusal(&mut view, &changed(&f, change), f.now),
            Problem::OutOfBounds
        );
    }
    assert_eq!(refusal(&mut view, &[], f.now), Problem::Malformed);
    assert_eq!(
        refusal(&mut view, &vec![0; MAX_RECORD + 1], f.now),
        Problem::TooLarge
    );
    let mut trailing = f.roster.clone();
    trailing.push(0);
    assert_eq!(refusal(&mut view, &trailing, f.now), Problem::Malformed);
}

#[test]
fn a_roster_must_be_of_its_time() {
    let f = Fixture::new(1, 3);
    let mut view = f.view();
    let skew = f.params.clock_skew;
    let next = changed(&f, |r| r.issued = START.plus(skew).plus(Seconds::new(1)));
    assert_eq!(refusal(&mut view, &next, f.now), Problem::StaleTime);
    let next = changed(&f, |r| r.issued = START.plus(skew));
    let late = f.next_roster().expires.plus(Seconds::new(1));
    assert_eq!(refusal(&mut view, &next, late), Problem::Expired);
    // It may also run out between check and acceptance.
    let checked = view.check(&next, f.now).unwrap();
    assert_eq!(
        view.accept(checked, late).unwrap_err().problem,
        Problem::Expired
    );
    learn(&mut view, &next, f.now);
    assert_eq!(view.roster().unwrap().sequence, 2);
}

#[test]
fn a_lower_sequence_never_becomes_current_and_the_same_is_equivocation() {
    let mut f = Fixture::new(1, 3);
    let first = f.roster.clone();
    f.add_operator(1);
    let second = f.sign_roster();
    let mut view = empty(&f);
    learn(&mut view, &second, f.now);
    learn(&mut view, &first, f.now);
    assert_eq!(view.roster().unwrap().sequence, 2);
    assert_eq!(view.learn(&first, f.now).unwrap(), Accepted::Known);

    let other = changed(&f, |r| {
        r.sequence = 2;
        r.params.claim_size = 7;
    });
    let refused = view.learn(&other, f.now).unwrap_err();
    assert_eq!(refused.problem, Problem::Equivocation);
    assert!(!refused.waits());
    let proof = refused.proof.unwrap();
    assert_eq!((&*proof.ours, &*proof.theirs), (&*second, &*other));
    assert_eq!(&*view.latest(TrustKind::Roster, None).unwrap(), &*second);
}

#[test]
fn only_so_many_earlier_rosters_are_kept() {
    let mut f = Fixture::new(1, 2);
    let mut rosters = vec![f.roster.clone()];
    for _ in 0..MAX_ROSTERS {
        rosters.push(f.sign_roster());
    }
    let mut view = empty(&f);
    for r in &rosters {
        learn(&mut view, r, f.now);
    }
    assert_eq!(view.rosters().count(), MAX_ROSTERS);
    assert_eq!(refusal(&mut view, &rosters[0], f.now), Problem::Rollback);
    let mut other = empty(&f);
    for r in rosters.iter().rev() {
        let _ = other.learn(r, f.now);
    }
    assert_eq!(view, other);
}

#[test]
fn the_same_roster_by_other_roots_is_no_equivocation() {
    let f = Fixture::new(1, 3);
    let roster = f.next_roster();
    let (a, b, c) = (
        signed(&f, &roster, &[0, 1]),
        signed(&f, &roster, &[1, 2]),
        signed(&f, &roster, &[0, 2]),
    );
    let all = combine::<Roster>(&a, &b).unwrap();
    let mut views = Vec::new();
    for order in [[&a, &b, &c, &all], [&all, &c, &b, &a], [&b, &all, &a, &c]] {
        let mut view = empty(&f);
        for bytes in order {
            view.learn(bytes, f.now).unwrap();
        }
        assert_eq!(&*view.latest(TrustKind::Roster, None).unwrap(), &*all);
        views.push(view);
    }
    // Without the one with all signatures, the smaller id is kept.
    let (mut one, mut two) = (empty(&f), empty(&f));
    for bytes in [&a, &b, &c] {
        one.learn(bytes, f.now).unwrap();
    }
    for bytes in [&c, &b, &a] {
        two.learn(bytes, f.now).unwrap();
    }
    assert_eq!(one, two);
}

#[test]
fn what_a_former_node_signed_still_verifies() {
    let mut f = Fixture::new(1, 6);
    let mut view = f.view();
    let gone = f.operators.remove(0).nodes[0].clone();
    let id = (0..=255u8)
        .map(|i| [i; 32])
        .find(|id| view.is_holder(id, &gone.id))
        .unwrap();
    // Another node gets another signing key.
    let node = &mut f.operators[0].nodes[0];
    node.signing = SigningKey::from_seed(&[3; 32]);
    let (kept, key) = (node.id, node.signing.verifying_key());
    let bytes = f.sign_roster();
    learn(&mut view, &bytes, f.now);
    assert!(
        !view.in_roster(&gone.id)
            && !view.is_holder(&id, &gone.id)
            && view.was_holder(&id, &gone.id)
    );
    assert_eq!(view.node_key(&gone.id), Some(&gone.signing.verifying_key()));
    assert_eq!(view.node_key(&kept), Some(&key));
    assert_eq!(view.holders(&id).len(), 3);
    assert_eq!((view.write_quorum(), view.read_quorum()), (2, 2));
}

#[test]
fn a_snapshot_does_not_change() {
    let mut f = Fixture::new(1, 3);
    let mut view = f.view();
    let snapshot = view.clone();
    let bytes = f.sign_roster();
    learn(&mut view, &bytes, f.now);
    assert_eq!(snapshot.roster().unwrap().sequence, 1);
    assert_ne!(snapshot, view);
    assert_eq!(snapshot, Fixture::new(1, 3).view());
}

#[test]
fn ages_warn_after_half_of_a_life() {
    let f = Fixture::new(1, 3);
    let view = f.view();
    assert_eq!(view.ages(f.now).len(), 4);
    assert!(view.ages(f.now).iter().all(|a| !a.half && !a.expired));
    let half = f.now.plus(Seconds::days(4));
    let old: Vec<_> = view
        .ages(half)
        .into_iter()
        .filter(|a| a.half)
        .map(|a| (a.kind, a.mediator))
        .collect();
    assert_eq!(old, [(TrustKind::Status, Some(f.mediator.id))]);
    assert!(
        view.ages(f.now.plus(Seconds::days(366)))
            .iter()
            .all(|a| a.expired)
    );
}
