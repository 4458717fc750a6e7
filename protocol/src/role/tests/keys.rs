//! The mediator's root, offline, and its working keys: ordered, certified, replaced.

use proptest::prelude::*;

use super::Paper;
use super::world::{World, certify, mediator, practice};
use crate::cose::sign;
use crate::id::MediatorId;
use crate::key::SigningKey;
use crate::mediation::CertificateOrder;
use crate::problem::Problem;
use crate::role::mediator::{
    CertifyError, Mediator, MediatorEvent, MediatorRoot, PublishError, Refresher, WorkingKeys,
};
use crate::role::provider::{Provider, ProviderEvent};
use crate::role::{RestoreError, Role};
use crate::testing::{list, text};
use crate::time::Seconds;

const LIFE: Seconds = Seconds::days(100);

fn fresh(seed: u64) -> (Paper, MediatorRoot, Mediator) {
    let mut paper = Paper::new(seed);
    let root = MediatorRoot::create(&mut paper.rng);
    let node = paper.node();
    let view = paper.view.clone();
    let mediator = Mediator::create(root.id(), text("M"), view, node, &mut paper.rng);
    (paper, root, mediator)
}

fn order(paper: &mut Paper, mediator: &mut Mediator) -> Vec<u8> {
    let now = paper.now;
    mediator
        .order(WorkingKeys::Same, now.day(), now, &mut paper.rng)
        .expect("ordered")
}

#[test]
fn the_root_signs_what_was_ordered_and_nothing_twice() {
    let (mut paper, mut root, mut m) = fresh(300);
    let first = order(&mut paper, &mut m);
    let expires = paper.now.plus(LIFE);
    let certificate = root.certify(&first, expires).expect("signed");
    assert_eq!(root.certify(&first, expires), Ok(certificate.clone()));
    // A crash, and a copy of its state, change nothing.
    let mut again = MediatorRoot::restore(&root.save()).expect("stored");
    assert_eq!(again.id(), root.id());
    assert_eq!(again.certify(&first, expires), Ok(certificate));
    // The order names one sequence; another order under it is refused.
    let said = MediatorRoot::read_order(&first).expect("whole");
    assert_eq!((said.mediator, said.sequence), (root.id(), 1));
    let key = SigningKey::generate(&mut paper.rng);
    let other = CertificateOrder {
        signing: key.verifying_key(),
        ..said.clone()
    };
    assert_eq!(
        root.certify(&sign(&other, &key), expires),
        Err(CertifyError::Sequence { last: 1 })
    );
    let second = order(&mut paper, &mut m);
    assert!(root.certify(&second, expires).is_ok());
    assert_eq!(
        root.certify(&first, expires),
        Err(CertifyError::Sequence { last: 2 })
    );
}

#[test]
fn the_root_refuses_what_it_should_not_sign() {
    let (mut paper, mut root, mut m) = fresh(301);
    let order = order(&mut paper, &mut m);
    let said = MediatorRoot::read_order(&order).expect("whole");
    let (now, over) = (paper.now, said.inbox.expires().plus(Seconds::new(1)));
    assert_eq!(root.certify(&order, now), Err(CertifyError::Life));
    assert_eq!(root.certify(&order, over), Err(CertifyError::Life));
    assert_eq!(
        root.certify(&order[1..], now.plus(LIFE)),
        Err(CertifyError::Malformed)
    );
    assert_eq!(
        root.certify(&[0; 10_000], now.plus(LIFE)),
        Err(CertifyError::Malformed)
    );
    let mut other = MediatorRoot::create(&mut paper.rng);
    assert_eq!(
        other.certify(&order, now.plus(LIFE)),
        Err(CertifyError::OtherMediator)
    );
    // Whoever orders holds the key.
    let key = SigningKey::generate(&mut paper.rng);
    assert_eq!(
        root.certify(&sign(&said, &key), now.plus(LIFE)),
        Err(CertifyError::Signature)
    );
    let twice = CertificateOrder {
        signing: key.verifying_key(),
        status: key.verifying_key(),
        ..said
    };
    assert_eq!(
        root.certify(&sign(&twice, &key), now.plus(LIFE)),
        Err(CertifyError::Keys)
    );
    assert!(root.certify(&order, now.plus(LIFE)).is_ok());
}

#[test]
fn root_and_working_state_are_two_files() {
    let (mut paper, root, mut m) = fresh(302);
    assert_eq!(
        Mediator::restore(&root.save()).err(),
        Some(RestoreError::Other)
    );
    assert_eq!(
        MediatorRoot::restore(&m.save()).err(),
        Some(RestoreError::Other)
    );
    assert_eq!(format!("{root:?}"), format!("MediatorRoot({})", root.id()));
    // The root's secret is nowhere in what the working machine keeps.
    order(&mut paper, &mut m);
    let stored = root.save();
    let at = stored
        .windows(2)
        .position(|w| w == [0x58, 32])
        .expect("the seed");
    let seed = &stored[at + 2..at + 34];
    let public = *SigningKey::from_seed(seed.try_into().expect("32"))
        .verifying_key()
        .as_bytes();
    assert_eq!(MediatorId::from_bytes(public), root.id());
    assert!(!m.save().windows(32).any(|w| w == seed));
}

#[test]
fn a_certificate_that_was_not_ordered_changes_nothing() {
    let mut paper = Paper::new(303);
    let (mut root, mut m) = mediator(&mut paper, &["10"]);
    let saved = m.save();
    let expires = paper.now.plus(LIFE);
    let certified = |m: &mut Mediator, paper: &mut Paper, bytes: &[u8]| {
        let now = paper.now;
        m.certified(bytes, now, &mut paper.rng)
    };
    assert_eq!(
        certified(&mut m, &mut paper, &[1]),
        Err(PublishError::OtherOrder),
        "nothing was ordered"
    );
    let first = order(&mut paper, &mut m);
    let first = root.certify(&first, expires).expect("signed");
    let second = order(&mut paper, &mut m);
    assert_eq!(
        certified(&mut m, &mut paper, &first),
        Err(PublishError::OtherOrder),
        "a later order took its place"
    );
    // Signed by somebody else.
    let said = crate::cose::parse::<crate::mediation::MediatorCertificate>(
        &root.certify(&second, expires).expect("signed"),
    )
    .expect("one")
    .unverified()
    .clone();
    let forged = sign(&said, &SigningKey::generate(&mut paper.rng));
    assert_eq!(
        certified(&mut m, &mut paper, &forged),
        Err(PublishError::Refused(Problem::WrongSigner)),
    );
    assert_eq!(
        m.certificate_expires(),
        restored(&paper, &saved).certificate_expires()
    );
    // Too late to open the inbox.
    let late = order(&mut paper, &mut m);
    let late = root.certify(&late, paper.now.plus(LIFE)).expect("signed");
    paper.pass(3 * 86_400);
    assert_eq!(
        certified(&mut m, &mut paper, &late),
        Err(PublishError::OrderOver)
    );
}

fn restored(paper: &Paper, saved: &[u8]) -> Mediator {
    let mut m = Mediator::restore(saved).expect("stored");
    m.set_view(paper.view.clone()).expect("one federation");
    m
}

#[test]
fn nothing_is_published_before_registration_and_certificate() {
    let (mut paper, _, mut m) = fresh(304);
    let plan = super::regions::plan("Mitte", &["10115"]);
    assert_eq!(
        m.add_regions(&[plan], paper.now, &mut paper.rng),
        Err(PublishError::NotRegistered)
    );
    assert_eq!(
        m.refresh_status(paper.now),
        Err(PublishError::NotRegistered)
    );
}

#[test]
fn a_new_inbox_is_opened_while_the_order_is_away_and_the_old_one_still_read() {
    let mut w = World::new(305, false, false);
    let day = w.paper.now.day();
    // The root is a day's journey away.
    let order = w
        .mediator
        .order(
            WorkingKeys::Fresh,
            day.plus(3),
            w.paper.now,
            &mut w.paper.rng,
        )
        .expect("ordered");
    let certificate = w
        .root
        .certify(&order, w.paper.now.plus(LIFE))
        .expect("signed");
    w.go(1);
    assert_eq!(w.mediator.watching().len(), 1);
    w.paper.pass(2 * 86_400);
    w.go(2);
    // Written while the former inbox was the published one.
    let mut early = applicant(&mut w);
    w.paper.turn(&mut early, false);
    w.paper.pass(2 * 86_400);
    w.mediator
        .certified(&certificate, w.paper.now, &mut w.paper.rng)
        .expect("certified");
    let mut late = applicant(&mut w);
    w.go(3);
    assert_eq!(w.mediator.watching().len(), 2, "both inboxes are read");
    late.set_view(w.paper.view.clone()).expect("one federation");
    w.paper.turn(&mut late, false);
    w.go(2);
    let waiting: Vec<_> = w.mediator.applications().map(|(id, _)| id).collect();
    // The early one's mailbox is two days old: that provider applies anew by itself.
    assert_eq!(waiting.len(), 1);
    w.mediator
        .approve(&waiting[0], None, 30, w.paper.now, &mut w.paper.rng)
        .expect("approved");
    w.go(2);
    late.set_view(w.paper.view.clone()).expect("one federation");
    let events = w.paper.turn(&mut late, false);
    assert!(certified(&events), "{events:?}");
}

fn applicant(w: &mut World) -> Provider {
    let node = w.paper.node();
    let view = w.paper.view.clone();
    let mut p = Provider::create(practice(), text("licence 8"), view, node, &mut w.paper.rng);
    p.apply(w.mediator.id(), list(vec![w.region]));
    p
}

fn certified(events: &[ProviderEvent]) -> bool {
    events
        .iter()
        .any(|e| matches!(e, ProviderEvent::Certified { .. }))
}

#[test]
fn with_fresh_keys_certificates_stand_and_letters_to_the_former_are_answered() {
    let mut w = World::new(306, false, false);
    w.slots(3);
    let a = w.user("Ada", None);
    w.go(6);
    let mut other = applicant(&mut w);
    w.paper.turn(&mut other, false);
    let stolen = w.mediator.status_key();
    let copy = w.mediator.application(1).expect("kept");
    let (paper, root, m) = (&mut w.paper, &mut w.root, &mut w.mediator);
    certify(paper, root, m, WorkingKeys::Fresh);
    w.go(4);
    // What was certified and offered before holds.
    let id = w.provider.certificate_id().expect("certified");
    assert!(w.paper.view.provider(&id, w.paper.now).is_ok());
    w.book(a, 0).expect("the offer holds");
    w.go(8);
    assert_eq!(w.booked(), 1);
    // The letter to the former inbox is answered by the key that its mailbox allows.
    let waiting = w.mediator.applications().next().expect("read").0;
    w.mediator
        .approve(&waiting, None, 30, w.paper.now, &mut w.paper.rng)
        .expect("approved");
    w.go(2);
    other
        .set_view(w.paper.view.clone())
        .expect("one federation");
    assert!(certified(&w.paper.turn(&mut other, false)));
    // Region keys still reach who applied under the former key.
    w.mediator
        .rotate(&[w.region], w.paper.now, &mut w.paper.rng)
        .expect("rotated");
    w.go(3);
    assert!(
        w.to_provider
            .iter()
            .any(|e| matches!(e, ProviderEvent::RegionKey { version: 2, .. }))
    );
    // The copy for later control was sealed anew.
    assert_eq!(w.mediator.application(1), Ok(copy));
    // A refresher with the former key can do nothing any more, and is told why.
    let (id, view, node) = (w.mediator.id(), w.paper.view.clone(), w.paper.node());
    let mut refresher = Refresher::create(id, stolen, Seconds::DAY, view, node);
    assert_eq!(
        refresher.refresh(w.paper.now),
        Err(PublishError::KeyReplaced)
    );
    assert_eq!(
        refresher.revoke(&[1], w.paper.now),
        Err(PublishError::KeyReplaced)
    );
    let told = MediatorEvent::NotRefreshed(PublishError::KeyReplaced);
    assert_eq!(w.paper.turn(&mut refresher, false), vec![told], "by itself");
    w.paper.pass(86_400);
    assert_eq!(w.paper.turn(&mut refresher, false), Vec::new(), "once");
    // When the former inbox and the mailboxes of its time are over, the keys are gone.
    assert_eq!(w.mediator.watching().len(), 2);
    w.paper.pass(122 * 86_400);
    let events = w.paper.turn(&mut w.mediator, false);
    assert_eq!(w.mediator.watching().len(), 1);
    assert!(events.contains(&MediatorEvent::NotRefreshed(PublishError::CertificateOver)));
}

#[test]
fn the_end_of_the_certificate_is_told_once_and_a_new_one_is_in_time() {
    let mut w = World::new(307, false, false);
    let end = w.mediator.certificate_expires().expect("certified");
    w.paper.pass(91 * 86_400);
    w.go(3);
    let told = |w: &World| {
        w.to_mediator
            .iter()
            .filter(|e| **e == MediatorEvent::CertificateEnds { expires: end })
            .count()
    };
    assert_eq!(told(&w), 1);
    let (paper, root, m) = (&mut w.paper, &mut w.root, &mut w.mediator);
    certify(paper, root, m, WorkingKeys::Same);
    w.go(4);
    assert!(w.mediator.certificate_expires() > Some(end));
    assert!(w.mediator.ready(), "the new inbox is open");
    assert_eq!(told(&w), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn bent_orders_and_damaged_roots_never_panic_and_sign_nothing_else(at in 0usize..4000, flip in 1u8..=255) {
        let (mut paper, mut root, mut m) = fresh(308);
        let whole = order(&mut paper, &mut m);
        let mut bent = whole.clone();
        let at = at % bent.len();
        bent[at] ^= flip;
        prop_assert!(root.certify(&bent, paper.now.plus(LIFE)).is_err());
        prop_assert!(root.certify(&whole, paper.now.plus(LIFE)).is_ok());
        let mut saved = root.save().to_vec();
        let at = at % saved.len();
        saved[at] ^= flip;
        let _outcome = MediatorRoot::restore(&saved);
        let mut saved = m.save().to_vec();
        let at = at % saved.len();
        saved[at] ^= flip;
        let _outcome = Mediator::restore(&saved);
    }
}
