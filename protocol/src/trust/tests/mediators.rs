use super::*;
use crate::cose::sign_multi;
use crate::federation::MediatorRegistration;
use crate::hash::record_hash;
use crate::id::RegionId;
use crate::key::SigningKey;
use crate::mediation::{MediatorCertificate, RegionList};
use crate::testing::{list, text};
use crate::time::Seconds;

#[test]
fn a_parent_must_be_there_first() {
    let mut f = Fixture::new(1, 3);
    f.certify(&[0]);
    let mut view = empty(&f);
    let records = f.records();
    for (i, record) in records.iter().enumerate() {
        for later in records.iter().skip(i + 1) {
            if view.record(&record_hash(later)).is_none() && view.check(later, f.now).is_err() {
                assert!(waits(refusal(&mut view, later, f.now)));
            }
        }
        learn(&mut view, record, f.now);
    }
    assert_eq!(view, f.view());
}

#[test]
fn a_registration_needs_enough_operators() {
    let mut f = Fixture::with(1, 4, 1, |p| p.mediator_signatures = 2);
    let mut view = empty(&f);
    learn(&mut view, &f.roster, f.now);
    let next = f.next_registration(&["1"]);
    let keys: Vec<&SigningKey> = f.operators.iter().map(|o| &o.key).collect();
    let stranger = SigningKey::from_seed(&[9; 32]);
    assert_eq!(
        refusal(&mut view, &sign_multi(&next, &keys[..1]), f.now),
        Problem::WrongSigner
    );
    // It might be an operator of a roster to come, so this one may be tried again.
    let with_stranger = sign_multi(&next, &[keys[0], keys[1], &stranger]);
    assert_eq!(
        refusal(&mut view, &with_stranger, f.now),
        Problem::BrokenChain
    );
    let other = MediatorRegistration {
        federation: crate::id::FederationId::from_bytes([1; 32]),
        ..next.clone()
    };
    assert_eq!(
        refusal(&mut view, &sign_multi(&other, &keys), f.now),
        Problem::WrongFederation
    );
    let late = next.expires.plus(Seconds::new(1));
    assert_eq!(
        refusal(&mut view, &sign_multi(&next, &keys[..2]), late),
        Problem::Expired
    );
    learn(&mut view, &sign_multi(&next, &keys[..2]), f.now);
    // More signatures under the same are better, fewer are nothing new.
    learn(&mut view, &sign_multi(&next, &keys[..3]), f.now);
    assert_eq!(
        view.learn(&sign_multi(&next, &keys[1..3]), f.now).unwrap(),
        Accepted::Known
    );
    f.registration_sequence = next.sequence;
    let other = MediatorRegistration {
        name: text("Other"),
        ..next
    };
    assert_eq!(
        refusal(&mut view, &sign_multi(&other, &keys[..2]), f.now),
        Problem::Equivocation
    );
    let lower = MediatorRegistration {
        sequence: 1,
        ..other
    };
    assert_eq!(
        refusal(&mut view, &sign_multi(&lower, &keys[..2]), f.now),
        Problem::Rollback
    );
}

#[test]
fn a_registration_lapses_with_its_operators_and_returns() {
    let mut f = Fixture::new(1, 4);
    let p = f.certify(&[0]);
    let mut view = f.view();
    let gone = f.operators.remove(0);
    let roster = f.sign_roster();
    learn(&mut view, &roster, f.now);
    assert_eq!(
        view.provider(&p.id, f.now).unwrap_err(),
        Problem::BrokenChain
    );
    assert_eq!(view.region(&f.region(0)), None);
    assert_eq!(view.regions().count(), 0);
    // What was published is kept: one signature of a present operator brings it back.
    let registration = f.register(&[""]);
    learn(&mut view, &registration, f.now);
    assert!(view.provider(&p.id, f.now).is_ok());
    assert_eq!(view.regions().count(), 3);
    // The key of the former operator cannot outbid it.
    let next = f.next_registration(&[""]);
    assert_eq!(
        refusal(&mut view, &sign_multi(&next, &[&gone.key]), f.now),
        Problem::WrongSigner
    );
}

#[test]
fn withdrawing_and_narrowing_take_effect_at_once() {
    let mut f = Fixture::new(1, 3);
    let p = f.certify(&[0]);
    let mut view = f.view();
    let narrower = f.register(&["2"]);
    learn(&mut view, &narrower, f.now);
    assert_eq!(view.region(&f.region(0)), None);
    assert_eq!(
        view.provider(&p.id, f.now).unwrap_err(),
        Problem::UnknownCertificate
    );
    assert_eq!(
        refusal(&mut view, &f.mediator.region_list, f.now),
        Problem::WrongRegion
    );
    let wider = f.register(&["10", "2"]);
    learn(&mut view, &wider, f.now);
    for r in f.mediator.records() {
        let _ = view.learn(&r, f.now).unwrap();
    }
    assert!(view.provider(&p.id, f.now).is_ok());

    let none = f.register(&[]);
    learn(&mut view, &none, f.now);
    assert_eq!(
        view.provider(&p.id, f.now).unwrap_err(),
        Problem::UnknownCertificate
    );
    assert_eq!(
        refusal(&mut view, &f.mediator.certificate, f.now),
        Problem::BrokenChain
    );
    assert_eq!(view.mediators().count(), 1);
}

#[test]
fn a_mediator_certificate_is_by_its_root_alone() {
    let f = Fixture::new(1, 3);
    let mut view = f.view();
    let m = &f.mediator;
    let next = |key: &SigningKey, change: &dyn Fn(&mut MediatorCertificate)| {
        changed::<MediatorCertificate>(&m.certificate, key, |c| {
            c.sequence += 1;
            change(c);
        })
    };
    assert_eq!(
        refusal(&mut view, &next(&m.signing, &|_| ()), f.now),
        Problem::WrongSigner
    );
    assert_eq!(
        refusal(&mut view, &next(&m.root, &|c| c.status = c.signing), f.now),
        Problem::OutOfBounds
    );
    let root = m.root.verifying_key();
    assert_eq!(
        refusal(&mut view, &next(&m.root, &|c| c.signing = root), f.now),
        Problem::OutOfBounds
    );
    assert_eq!(
        refusal(&mut view, &next(&m.root, &|_| ()), days(181)),
        Problem::Expired
    );
    let same = next(&m.root, &|c| c.sequence -= 1);
    assert_eq!(view.learn(&same, f.now).unwrap(), Accepted::Known);
    let other = next(&m.root, &|c| {
        (c.sequence, c.expires) = (c.sequence - 1, days(1))
    });
    assert_eq!(refusal(&mut view, &other, f.now), Problem::Equivocation);
    learn(&mut view, &next(&m.root, &|_| ()), f.now);
}

#[test]
fn new_keys_end_the_lists_of_the_old_ones_but_not_the_certificates() {
    let mut f = Fixture::new(1, 3);
    let p = f.certify(&[0]);
    let mut view = f.view();
    let (old_list, old_status) = (f.mediator.directory.clone(), f.mediator.status.clone());
    let old_key = f.mediator.signing.clone();
    f.mediator.signing = SigningKey::from_seed(&[5; 32]);
    let regions = f.mediator.sign_regions(f.now);
    // Before the certificate that names the key, it may be one to come.
    assert_eq!(refusal(&mut view, &regions, f.now), Problem::BrokenChain);
    let certificate = f.mediator.sign_certificate(f.now);
    learn(&mut view, &certificate, f.now);
    assert_eq!(
        view.provider(&p.id, f.now).unwrap_err(),
        Problem::UnknownCertificate
    );
    assert_eq!(refusal(&mut view, &old_list, f.now), Problem::WrongSigner);
    assert_eq!(refusal(&mut view, &old_status, f.now), Problem::WrongSigner);
    f.mediator.sign_lists(f.now);
    f.mediator.sign_status(f.now);
    for r in f.mediator.records() {
        let _ = view.learn(&r, f.now).unwrap();
    }
    assert_eq!(
        view.provider(&p.id, f.now).unwrap().signer(),
        &old_key.verifying_key()
    );
    assert_eq!(view, f.view_with(&[certificate_before(&f)]));
}

/// The first certificate of the fixture's mediator.
fn certificate_before(f: &Fixture) -> Vec<u8> {
    Fixture::new(1, f.nodes().count()).mediator.certificate
}

#[test]
fn a_region_list_must_be_well_formed_and_served() {
    let mut f = Fixture::new(1, 3);
    f.register(&["1"]);
    let mut view = f.view();
    let m = &f.mediator;
    let next = |key: &SigningKey, change: &dyn Fn(&mut Vec<crate::mediation::Region>)| {
        changed::<RegionList>(&m.region_list, key, |l| {
            l.sequence += 1;
            let mut regions = l.regions.clone().into_vec();
            change(&mut regions);
            l.regions = list(regions);
        })
    };
    type Change = fn(&mut Vec<crate::mediation::Region>);
    let wrong: [(Change, Problem); 7] = [
        (|r| r.swap(0, 1), Problem::OutOfBounds),
        (|r| r[1] = r[0].clone(), Problem::OutOfBounds),
        (
            |r| r[0].id = RegionId::from_bytes([0; 32]),
            Problem::OutOfBounds,
        ),
        (|r| r[0].name = text("Other"), Problem::OutOfBounds),
        (|r| r[0].key_version = 0, Problem::OutOfBounds),
        (
            |r| r[0].postal_codes = list(vec![text("10005"), text("10001")]),
            Problem::OutOfBounds,
        ),
        (
            |r| r[0].postal_codes = list(vec![text("10001"), text("20001")]),
            Problem::WrongRegion,
        ),
    ];
    for (change, problem) in wrong {
        assert_eq!(
            refusal(&mut view, &next(&m.signing, &change), f.now),
            problem
        );
    }
    assert_eq!(
        refusal(&mut view, &next(&m.status_key, &|_| ()), f.now),
        Problem::WrongSigner
    );
    let same = changed::<RegionList>(&m.region_list, &m.signing, |l| {
        l.issued = days(0).minus(Seconds::new(1))
    });
    assert_eq!(refusal(&mut view, &same, f.now), Problem::Equivocation);
    let lower = changed::<RegionList>(&m.region_list, &m.signing, |l| l.sequence = 0);
    assert_eq!(refusal(&mut view, &lower, f.now), Problem::Rollback);
}

#[test]
fn a_region_key_never_goes_back() {
    let mut f = Fixture::new(1, 3);
    let before = f.mediator.regions.clone();
    f.renew_region(1);
    let mut view = f.view();
    assert_eq!(view.region(&f.region(1)).unwrap().1.key_version, 2);
    f.mediator.regions = before;
    let list = f.mediator.sign_regions(f.now);
    let status = f.mediator.sign_status(f.now);
    learn(&mut view, &list, f.now);
    assert_eq!(refusal(&mut view, &status, f.now), Problem::Rollback);
    assert_eq!(view.region(&f.region(1)).unwrap().1.key_version, 2);
}

#[test]
fn a_list_is_in_force_when_a_status_names_it() {
    let mut f = Fixture::new(1, 3);
    let mut view = f.view();
    let regions = f.renew_region(0);
    let (list, status) = (f.mediator.region_list.clone(), f.mediator.status.clone());
    assert_eq!(refusal(&mut view, &status, f.now), Problem::NotFound);
    learn(&mut view, &list, f.now);
    assert_eq!(view.region(&f.region(0)).unwrap().1.key_version, 1);
    learn(&mut view, &status, f.now);
    assert_eq!(view.region(&f.region(0)).unwrap().1.key_version, 2);
    assert_eq!(
        view.mediator(&f.mediator.id)
            .unwrap()
            .regions()
            .unwrap()
            .id(),
        regions
    );
    // Without a status, only so many are kept.
    let lists: Vec<_> = (0..6).map(|_| f.mediator.sign_directory(f.now)).collect();
    for l in &lists {
        learn(&mut view, l, f.now);
    }
    let held = lists
        .iter()
        .filter(|l| view.record(&record_hash(l)).is_some())
        .count();
    assert_eq!(held, MAX_PENDING);
    assert_eq!(refusal(&mut view, &lists[0], f.now), Problem::Rollback);
}
