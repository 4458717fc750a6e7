use super::*;
use crate::hash::record_hash;
use crate::id::RegionId;
use crate::key::SigningKey;
use crate::mediation::{
    Directory, MAX_CERTIFICATE_LIFE, MediatorCertificate, ProviderCertificate, Revocations, Status,
};
use crate::testing::list;
use crate::time::Seconds;

#[test]
fn a_provider_certificate_must_be_well_formed() {
    let mut f = Fixture::new(1, 3);
    let p = f.certify(&[0]);
    let mut view = f.view();
    let m = &f.mediator;
    let with = |change: &dyn Fn(&mut ProviderCertificate)| {
        changed::<ProviderCertificate>(&p.certificate, &m.signing, |c| {
            c.serial += 1;
            change(c);
        })
    };
    let too_long = days(0).plus(Seconds::new(MAX_CERTIFICATE_LIFE + 1));
    assert_eq!(
        refusal(&mut view, &with(&|c| c.expires = too_long), f.now),
        Problem::OutOfBounds
    );
    let twice = |c: &mut ProviderCertificate| c.regions = list(vec![c.regions[0], c.regions[0]]);
    assert_eq!(
        refusal(&mut view, &with(&twice), f.now),
        Problem::OutOfBounds
    );
    let unknown =
        |c: &mut ProviderCertificate| c.regions = list(vec![RegionId::from_bytes([1; 32])]);
    assert_eq!(
        refusal(&mut view, &with(&unknown), f.now),
        Problem::UnknownRegion
    );
    assert_eq!(
        refusal(&mut view, &with(&|_| ()), days(91)),
        Problem::Expired
    );
    assert_eq!(
        refusal(&mut view, &with(&|c| c.issued = days(1)), f.now),
        Problem::StaleTime
    );
    let delegate = changed::<ProviderCertificate>(&p.certificate, &m.status_key, |_| ());
    assert_eq!(refusal(&mut view, &delegate, f.now), Problem::BrokenChain);
    // Older than a directory that does not list it.
    let older = |c: &mut ProviderCertificate| {
        (c.issued, c.expires) = (days(0).minus(Seconds::new(1)), days(1))
    };
    assert_eq!(
        refusal(&mut view, &with(&older), f.now),
        Problem::UnknownCertificate
    );
    let serial =
        changed::<ProviderCertificate>(&p.certificate, &m.signing, |c| c.practice = [1; 32]);
    assert_eq!(refusal(&mut view, &serial, f.now), Problem::Equivocation);
    // Not listed yet: held, and not in force.
    let unlisted = with(&|_| ());
    learn(&mut view, &unlisted, f.now);
    let id = record_hash(&unlisted);
    assert_eq!(view.certificate(&id).unwrap().serial, p.serial + 1);
    assert_eq!(
        view.provider(&id, f.now).unwrap_err(),
        Problem::UnknownCertificate
    );
}

#[test]
fn the_directory_decides_between_two_of_one_serial() {
    let mut f = Fixture::new(1, 3);
    let first = f.view();
    let p = f.certify(&[0]);
    let other = changed::<ProviderCertificate>(&p.certificate, &f.mediator.signing, |c| {
        c.practice = [1; 32]
    });
    let mut view = first;
    learn(&mut view, &other, f.now);
    assert_eq!(
        refusal(&mut view, &p.certificate, f.now),
        Problem::Equivocation
    );
    for r in f.mediator.records() {
        let _ = view.learn(&r, f.now);
    }
    assert!(view.provider(&p.id, f.now).is_ok());
    assert!(view.certificate(&record_hash(&other)).is_none());
    assert_eq!(view, f.view());
}

#[test]
fn a_provider_is_in_force_while_the_whole_chain_is() {
    let mut f = Fixture::new(1, 3);
    let (p, q) = (f.certify(&[0]), f.certify(&[1]));
    let mut view = f.view();
    assert!(view.provider(&p.id, days(7)).is_ok());
    assert_eq!(
        view.provider(&p.id, days(7).plus(Seconds::new(1)))
            .unwrap_err(),
        Problem::StatusExpired
    );
    f.revoke(p.serial);
    f.teach_again(&mut view);
    // It has left the directory too, and with that the view.
    assert_eq!(
        view.check_certificate(&p.certificate, f.now).unwrap_err(),
        Problem::Revoked
    );
    assert!(view.provider(&q.id, f.now).is_ok());
    f.now = days(91);
    f.mediator.sign_status(f.now);
    f.teach_again(&mut view);
    assert_eq!(view.provider(&q.id, f.now).unwrap_err(), Problem::Expired);
    f.now = days(181);
    let none = view.chain(&f.mediator.id, f.now).map(|_| ());
    assert_eq!(none.unwrap_err(), Problem::BrokenChain);
    assert!(view.chain(&f.mediator.id, days(180)).is_ok());
}

impl Fixture {
    fn teach_again(&self, view: &mut TrustView) {
        for r in self.mediator.records() {
            let _ = view.learn(&r, self.now);
        }
    }
}

#[test]
fn an_app_checks_a_certificate_that_it_does_not_hold() {
    let mut f = Fixture::new(1, 3);
    let p = f.certify(&[0]);
    let mut view = empty(&f);
    for r in f.records().iter().filter(|r| **r != p.certificate) {
        learn(&mut view, r, f.now);
    }
    assert!(view.certificate(&p.id).is_none());
    let c = view.check_certificate(&p.certificate, f.now).unwrap();
    assert_eq!((c.id(), c.practice), (p.id, p.practice.hash()));
    let mut forged = p.certificate.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(
        view.check_certificate(&forged, f.now).unwrap_err(),
        Problem::BadSignature
    );
    let unlisted = changed::<ProviderCertificate>(&p.certificate, &f.mediator.signing, |c| {
        c.practice = [1; 32]
    });
    assert_eq!(
        view.check_certificate(&unlisted, f.now).unwrap_err(),
        Problem::UnknownCertificate
    );
}

#[test]
fn the_status_key_may_add_revocations_and_nothing_else() {
    let mut f = Fixture::new(1, 3);
    let p = f.certify(&[0]);
    f.revoke(77);
    let mut view = f.view();
    let m = &mut f.mediator;
    // Not the other lists.
    let by_delegate = changed::<Directory>(&m.directory, &m.status_key, |d| d.sequence += 1);
    assert_eq!(
        refusal(&mut view, &by_delegate, f.now),
        Problem::WrongSigner
    );
    // A re-dated status that names another directory waits for one by the signing key.
    let directory = m.sign_directory(f.now);
    learn(&mut view, &directory, f.now);
    assert_eq!(
        refusal(&mut view, &m.redate(f.now), f.now),
        Problem::NotFound
    );
    m.sign_status(f.now);
    learn(&mut view, &m.status, f.now);
    // Fewer revocations: refused. More: accepted. Then back to those before: refused.
    let (before, base) = (m.revoked.clone(), m.revocations.clone());
    m.revoked.clear();
    let fewer = m.sign_revocations(f.now, true);
    learn(&mut view, &fewer, f.now);
    assert_eq!(
        refusal(&mut view, &m.redate(f.now), f.now),
        Problem::WrongSigner
    );
    m.revoked = before;
    m.revoked.insert(p.serial);
    let more = m.sign_revocations(f.now, true);
    let redated = m.redate(f.now);
    assert_eq!(refusal(&mut view, &redated, f.now), Problem::NotFound);
    learn(&mut view, &more, f.now);
    learn(&mut view, &redated, f.now);
    assert_eq!(view.provider(&p.id, f.now).unwrap_err(), Problem::Revoked);
    let back = changed::<Status>(&redated, &m.status_key, |s| {
        s.sequence += 1;
        s.revocations.id = record_hash(&base);
        s.revocations.sequence = crate::cose::parse::<Revocations>(&base)
            .unwrap()
            .unverified()
            .sequence;
    });
    assert_eq!(refusal(&mut view, &back, f.now), Problem::WrongSigner);
    assert_eq!(view, f.view());
}

#[test]
fn a_status_is_short_lived_and_goes_one_way() {
    let mut f = Fixture::new(1, 3);
    let p = f.certify(&[0]);
    let mut view = f.view();
    let m = &mut f.mediator;
    let with = |m: &crate::testing::TestMediator, change: &dyn Fn(&mut Status)| {
        changed::<Status>(&m.status, &m.signing, |s| {
            s.sequence += 1;
            change(s);
        })
    };
    let long = with(m, &|s| s.expires = days(7).plus(Seconds::new(1)));
    assert_eq!(refusal(&mut view, &long, f.now), Problem::OutOfBounds);
    let stranger = changed::<Status>(&m.status, &SigningKey::from_seed(&[4; 32]), |_| ());
    assert_eq!(refusal(&mut view, &stranger, f.now), Problem::BrokenChain);
    let other = with(m, &|s| (s.sequence, s.expires) = (s.sequence - 1, days(1)));
    assert_eq!(refusal(&mut view, &other, f.now), Problem::Equivocation);
    let lower = with(m, &|s| s.sequence = 0);
    assert_eq!(refusal(&mut view, &lower, f.now), Problem::Rollback);
    // The name of a list with its sequence wrong names nothing.
    let wrong = with(m, &|s| s.directory.sequence += 1);
    assert_eq!(refusal(&mut view, &wrong, f.now), Problem::NotFound);
    // Re-dated for a week after the base has ended; a base is taken in for that when it is over.
    let later = days(8);
    let redated = m.redate(later);
    learn(&mut view, &redated, later);
    assert!(view.provider(&p.id, later).is_ok());
    let mut fresh = empty(&f);
    for r in f.records() {
        learn(&mut fresh, &r, later);
    }
    assert_eq!(fresh, view);
    let late = days(16);
    assert_eq!(
        refusal(&mut view, &f.mediator.redate(later), late),
        Problem::Expired
    );
}

#[test]
fn lists_must_be_sorted() {
    let f = Fixture::new(1, 3);
    let mut view = f.view();
    let m = &f.mediator;
    let directory = changed::<Directory>(&m.directory, &m.signing, |d| {
        d.sequence += 1;
        d.certificates = list(vec![crate::id::RecordId::from_bytes([1; 32]); 2]);
    });
    assert_eq!(refusal(&mut view, &directory, f.now), Problem::OutOfBounds);
    let revocations = changed::<Revocations>(&m.revocations, &m.signing, |r| {
        r.sequence += 1;
        r.serials = list(vec![2, 1]);
    });
    assert_eq!(
        refusal(&mut view, &revocations, f.now),
        Problem::OutOfBounds
    );
}

#[test]
fn a_check_of_yesterday_is_asked_again() {
    let mut f = Fixture::new(1, 3);
    let mut view = f.view();
    let list = f.mediator.sign_regions(f.now);
    let checked = view.check(&list, f.now).unwrap();
    let narrower = f.register(&["2"]);
    learn(&mut view, &narrower, f.now);
    let refused = view.accept(checked, f.now).unwrap_err();
    assert!(refused.problem == Problem::Busy && refused.waits());
    assert_eq!(refusal(&mut view, &list, f.now), Problem::WrongRegion);
}

#[test]
fn what_was_stored_is_taken_back_when_it_is_over() {
    let mut f = Fixture::new(1, 3);
    let first = f.mediator.certificate.clone();
    f.mediator.sign_certificate(f.now);
    let stored = f.view_with(&[first]).records();
    let late = days(400);
    let mut view = empty(&f);
    assert_eq!(refusal(&mut view, &stored[0].1, late), Problem::Expired);
    for (_, bytes) in &stored {
        let checked = view.check_stored(bytes).unwrap();
        view.accept_stored(checked).unwrap();
    }
    assert_eq!(view.records(), stored);
    // So a lower sequence with a longer life is a rollback still.
    let lower = changed::<MediatorCertificate>(&f.mediator.certificate, &f.mediator.root, |c| {
        (c.sequence, c.expires) = (0, days(500));
    });
    learn(&mut view, &lower, late);
    assert_eq!(
        view.mediator(&f.mediator.id)
            .unwrap()
            .certificate()
            .unwrap()
            .sequence,
        2
    );
    assert!(view.chain(&f.mediator.id, late).is_err());
}
