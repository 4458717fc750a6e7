use super::*;
use crate::cose::{Record, parse, sign};
use crate::federation::MediatorRegistration;
use crate::key::SigningKey;
use crate::mediation::{MediatorCertificate, Status};
use crate::testing::text;
use crate::time::Seconds;
use crate::trust::{Equivocation, EquivocationProof, TrustKind};

fn proof(ours: &[u8], theirs: &[u8]) -> EquivocationProof {
    EquivocationProof {
        ours: ours.into(),
        theirs: theirs.into(),
    }
}

fn bent<T: Record + Clone>(bytes: &[u8], key: &SigningKey, bend: impl FnOnce(&mut T)) -> Vec<u8> {
    let mut value = parse::<T>(bytes).unwrap().unverified().clone();
    bend(&mut value);
    sign(&value, key)
}

#[test]
fn a_proof_from_one_view_convinces_every_other() {
    let f = Fixture::new(1, 3);
    let m = &f.mediator;
    let other = bent::<Status>(&m.status, &m.signing, |s| {
        s.issued = s.issued.plus(Seconds::new(1));
    });
    let mut view = f.view();
    let refused = view.learn(&other, f.now.plus(Seconds::new(1))).unwrap_err();
    assert_eq!(refused.problem, Problem::Equivocation);
    let proof = refused.proof.unwrap();
    let shown = Equivocation {
        kind: TrustKind::Status,
        mediator: Some(m.id),
        number: 1,
    };
    assert_eq!(view.check_proof(&proof).unwrap(), shown);
    assert_eq!(f.view().check_proof(&proof).unwrap(), shown);
    // In the other order too, and long after both have expired.
    let turned = EquivocationProof {
        ours: proof.theirs,
        theirs: proof.ours,
    };
    assert_eq!(f.view().check_proof(&turned).unwrap(), shown);
    // A view that lacks the chain cannot judge yet.
    let refused = empty(&f).check_proof(&turned).unwrap_err();
    assert!(crate::trust::waits(refused), "{refused:?}");
}

#[test]
fn certificates_and_registrations_are_proofs_too() {
    let mut f = Fixture::new(2, 3);
    let p = f.certify(&[0]);
    let view = f.view();
    let m = &f.mediator;
    let second = bent::<MediatorCertificate>(&m.certificate, &m.root, |c| {
        c.expires = c.expires.plus(Seconds::DAY);
    });
    let shown = view.check_proof(&proof(&m.certificate, &second)).unwrap();
    assert_eq!((shown.kind, shown.number), (TrustKind::Certificate, 1));
    let twice = bent::<crate::mediation::ProviderCertificate>(&p.certificate, &m.signing, |c| {
        c.practice = [1; 32];
    });
    let shown = view.check_proof(&proof(&p.certificate, &twice)).unwrap();
    assert_eq!((shown.kind, shown.number), (TrustKind::Provider, p.serial));
    f.registration_sequence -= 1;
    let renamed = MediatorRegistration {
        name: text("Other"),
        ..f.next_registration(&[""])
    };
    let renamed = crate::cose::sign_multi(&renamed, &[&f.operators[0].key]);
    let shown = view.check_proof(&proof(&f.registration, &renamed)).unwrap();
    assert_eq!(shown.kind, TrustKind::Registration);
}

#[test]
fn what_proves_nothing_is_refused() {
    let mut f = Fixture::new(3, 3);
    let first = f.mediator.status.clone();
    let next = f.mediator.sign_status(f.now);
    let view = f.view();
    let m = &f.mediator;
    let stranger = SigningKey::from_seed(&[9; 32]);
    let forged = bent::<Status>(&first, &stranger, |s| {
        s.issued = f.now.plus(Seconds::new(1))
    });
    let delegated = bent::<Status>(&first, &m.status_key, |s| {
        s.expires = f.now.plus(Seconds::DAY)
    });
    let table: [(&str, &[u8], &[u8], Problem); 6] = [
        ("the same twice", &first, &first, Problem::OutOfBounds),
        ("two numbers", &first, &next, Problem::OutOfBounds),
        ("two kinds", &first, &m.directory, Problem::OutOfBounds),
        ("by a stranger", &first, &forged, Problem::BrokenChain),
        ("by the two keys", &first, &delegated, Problem::OutOfBounds),
        ("rubbish", &first, &[1, 2, 3], Problem::Malformed),
    ];
    for (name, ours, theirs, expected) in table {
        assert_eq!(
            view.check_proof(&proof(ours, theirs)),
            Err(expected),
            "{name}"
        );
    }
}
