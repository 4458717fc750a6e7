//! Applications: approved with fewer regions, rejected, decided once, renewed; and their copies.

use super::world::{World, practice};
use crate::id::{RecordId, RegionId};
use crate::role::Role;
use crate::role::mediator::{MediatorEvent, PublishError, RegionPlan};
use crate::role::provider::{Provider, ProviderEvent};
use crate::testing::{list, text};
use crate::time::Seconds;

/// A provider whose application for some regions is read.
fn applicant(w: &mut World, regions: Vec<RegionId>) -> (Provider, RecordId) {
    let node = w.paper.node();
    let view = w.paper.view.clone();
    let mut p = Provider::create(practice(), text("licence 9"), view, node, &mut w.paper.rng);
    p.apply(w.mediator.id(), list(regions));
    w.paper.turn(&mut p, false);
    w.go(1);
    let id = w.mediator.applications().next().expect("read").0;
    (p, id)
}

fn hear(w: &World, p: &mut Provider) {
    p.set_view(w.paper.view.clone()).expect("one federation");
}

fn second_region(w: &mut World) -> RegionId {
    let plan = RegionPlan {
        name: text("Wedding"),
        criteria: vec![],
        postal_codes: vec![text("10999")],
    };
    let (now, rng) = (w.paper.now, &mut w.paper.rng);
    let ids = w.mediator.add_regions(&[plan], now, rng).expect("added");
    w.go(2);
    ids[0]
}

#[test]
fn fewer_regions_than_asked_and_none_besides() {
    let mut w = World::new(340, false, false);
    let second = second_region(&mut w);
    let (mut p, id) = applicant(&mut w, vec![second]);
    let (now, rng) = (w.paper.now, &mut w.paper.rng);
    let ours = list(vec![w.region]);
    assert_eq!(
        w.mediator.approve(&id, Some(ours), 30, now, rng),
        Err(PublishError::NotAsked(w.region))
    );
    let none = list(vec![]);
    assert_eq!(
        w.mediator.approve(&id, Some(none), 30, now, rng),
        Err(PublishError::NoRegion)
    );
    for days in [0, 91] {
        let outcome = w.mediator.approve(&id, None, days, now, rng);
        assert_eq!(outcome, Err(PublishError::Life));
    }
    let serial = w
        .mediator
        .approve(&id, None, 30, now, rng)
        .expect("approved");
    w.go(2);
    hear(&w, &mut p);
    w.paper.turn(&mut p, false);
    let (got, expires) = p.certificate().expect("certified");
    assert_eq!((got, expires), (serial, now.plus(Seconds::days(30))));
}

#[test]
fn an_application_is_decided_once() {
    let mut w = World::new(341, false, false);
    let unknown = RecordId::from_bytes([1; 32]);
    let reject =
        |w: &mut World, id: &RecordId| w.mediator.reject(id, text("no licence"), &mut w.paper.rng);
    assert_eq!(
        reject(&mut w, &unknown),
        Err(PublishError::UnknownApplication)
    );
    let (now, rng) = (w.paper.now, &mut w.paper.rng);
    assert_eq!(
        w.mediator.approve(&unknown, None, 30, now, rng),
        Err(PublishError::UnknownApplication)
    );
    let region = w.region;
    let (mut p, id) = applicant(&mut w, vec![region]);
    reject(&mut w, &id).expect("rejected");
    assert_eq!(reject(&mut w, &id), Err(PublishError::Decided));
    w.go(3);
    // Also when the letter is long gone, and after a restart.
    w.mediator = w.paper.restarted(&w.mediator);
    let (now, rng) = (w.paper.now, &mut w.paper.rng);
    assert_eq!(
        w.mediator.approve(&id, None, 30, now, rng),
        Err(PublishError::Decided)
    );
    assert_eq!(w.mediator.applications().count(), 0);
    hear(&w, &mut p);
    let events = w.paper.turn(&mut p, false);
    assert!(events.contains(&ProviderEvent::ApplicationRejected(text("no licence"))));
}

#[test]
fn a_copy_of_a_decided_application_is_cleared_away() {
    let mut w = World::new(342, false, false);
    let region = w.region;
    let (_, id) = applicant(&mut w, vec![region]);
    let inbox = w.mediator.watching()[0].clone();
    let letter = w.paper.contents(&inbox)[0].clone();
    w.mediator
        .reject(&id, text("no"), &mut w.paper.rng)
        .expect("rejected");
    w.go(2);
    w.to_mediator.clear();
    let again = crate::mailbox::Entry {
        slot: letter.slot ^ 1,
        item: crate::id::ItemId::from_bytes([5; 32]),
        ..letter
    };
    w.paper.plant(&inbox, again);
    w.go(2);
    assert!(w.paper.contents(&inbox).is_empty());
    let applied = |e: &MediatorEvent| matches!(e, MediatorEvent::Applied { .. });
    assert!(!w.to_mediator.iter().any(applied));
}

#[test]
fn certificates_that_end_soon_are_listed_told_once_and_renewed() {
    let mut w = World::new(343, false, false);
    let (serial, end) = w.provider.certificate().expect("certified");
    let (now, rng) = (w.paper.now, &mut w.paper.rng);
    assert_eq!(
        w.mediator.renew(99, 30, now, rng),
        Err(PublishError::UnknownSerial(99))
    );
    w.paper.pass(70 * 86_400);
    w.go(1);
    let now = w.paper.now;
    assert!(w.mediator.expiring(Seconds::days(14), now).is_empty());
    w.paper.pass(8 * 86_400);
    w.go(3);
    let now = w.paper.now;
    let soon = w.mediator.expiring(Seconds::days(14), now);
    assert_eq!(soon.len(), 1);
    assert_eq!(
        (soon[0].serial, soon[0].name.as_str()),
        (serial, "Dr. Test")
    );
    let event = MediatorEvent::ExpiresSoon {
        serial,
        expires: end,
    };
    assert_eq!(w.to_mediator.iter().filter(|e| **e == event).count(), 1);
    let again = w
        .mediator
        .renew(serial, 90, now, &mut w.paper.rng)
        .expect("renewed");
    w.go(3);
    let (held, until) = w.provider.certificate().expect("certified");
    assert_eq!(held, again);
    // Not longer than the mailbox through which its keys come.
    assert!(until > end && until < now.plus(Seconds::days(90)));
    assert!(w.mediator.expiring(Seconds::days(14), now).is_empty());
    // Both stand until the first ends: what was offered under it holds.
    let in_force: Vec<(u64, bool)> = w
        .mediator
        .providers()
        .map(|p| (p.serial, p.superseded))
        .collect();
    assert_eq!(in_force, [(serial, true), (again, false)]);
    w.paper.pass(13 * 86_400);
    w.go(2);
    let in_force: Vec<u64> = w.mediator.providers().map(|p| p.serial).collect();
    assert_eq!(in_force, [again]);
    // The copies of both are there, as the provider signed them.
    for serial in [serial, again] {
        let copy = w.mediator.application(serial).expect("kept");
        assert_eq!(
            (copy.practice, copy.evidence),
            (practice(), text("licence 7"))
        );
    }
    assert_eq!(w.mediator.past().count(), 1);
}

#[test]
fn copies_are_sealed_and_go_after_a_year() {
    let mut w = World::new(344, false, false);
    let sealed = w.mediator.sealed_application(1).expect("kept").to_vec();
    assert_eq!(sealed.len(), 4096);
    let evidence = b"licence 7";
    assert!(!sealed.windows(evidence.len()).any(|w| w == evidence));
    assert_eq!(
        w.mediator.application(2),
        Err(PublishError::UnknownSerial(2))
    );
    let (now, rng) = (w.paper.now, &mut w.paper.rng);
    w.mediator
        .revoke(1, text("closed"), now, rng)
        .expect("revoked");
    w.go(1);
    assert!(w.mediator.application(1).is_ok(), "for later control");
    let restarted = w.paper.restarted(&w.mediator);
    assert!(restarted.application(1).is_ok());
}

#[test]
fn a_provider_applies_anew_once_before_its_certificate_ends() {
    for approved in [true, false] {
        let mut w = World::new(345, true, false);
        let (serial, end) = w.provider.certificate().expect("certified");
        w.paper.pass(58 * 86_400);
        w.go(4);
        assert_eq!(
            w.mediator.applications().count(),
            0,
            "two thirds are not over"
        );
        w.paper.pass(3 * 86_400);
        w.go(6);
        let ids: Vec<RecordId> = w.mediator.applications().map(|a| a.0).collect();
        let [id] = ids[..] else {
            panic!("one application: {ids:?}")
        };
        let (now, rng) = (w.paper.now, &mut w.paper.rng);
        if approved {
            w.mediator
                .approve(&id, None, 90, now, rng)
                .expect("approved");
        } else {
            w.mediator
                .reject(&id, text("closed"), rng)
                .expect("rejected");
        }
        w.go(4);
        let (held, until) = w.provider.certificate().expect("certified");
        assert_eq!((held != serial, until > end), (approved, approved));
        let regions = |e: &&ProviderEvent| matches!(e, ProviderEvent::Certified { regions, .. } if *regions == [w.region]);
        let certified = w.to_provider.iter().filter(regions).count();
        assert_eq!(certified, 1 + usize::from(approved));
        w.paper.pass(5 * 86_400);
        w.go(4);
        assert_eq!(w.mediator.applications().count(), 0, "it asks once");
    }
}

#[test]
fn who_was_revoked_does_not_apply_anew_by_itself() {
    let mut w = World::new(346, false, false);
    let (serial, _) = w.provider.certificate().expect("certified");
    let (now, rng) = (w.paper.now, &mut w.paper.rng);
    w.mediator
        .revoke(serial, text("closed"), now, rng)
        .expect("revoked");
    w.go(2);
    w.paper.pass(70 * 86_400);
    w.go(6);
    assert_eq!(w.mediator.applications().count(), 0);
}
