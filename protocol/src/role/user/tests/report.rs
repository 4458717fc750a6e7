//! Reports of a provider to its mediator.

use super::maker::{Maker, Scene};
use crate::booking::{MAX_REPORT, Offer, Report, ReportReason};
use crate::client::{Call, CallKind};
use crate::codec::from_bytes;
use crate::cose::{parse, sign};
use crate::hash::record_hash;
use crate::id::RecordId;
use crate::mailbox::{OpenOrder, Payment, Place};
use crate::problem::Problem;
use crate::role::Role;
use crate::role::talk::open_from;
use crate::role::user::{ReportError, UserEvent};
use crate::seal::Purpose;
use crate::testing::{list, text};

fn offered(seed: u64, restart: bool) -> (Scene, Maker, RecordId) {
    let mut s = Scene::new(seed, restart);
    let mediator = &s.paper.fixture.mediator;
    let order = OpenOrder {
        node: s.paper.node(),
        payment: Payment::Mediator(record_hash(&mediator.certificate)),
        places: list(vec![Place::Mailbox(mediator.inbox.clone())]),
        time: s.paper.now,
    };
    let call = Call::new(CallKind::Open, sign(&order, &mediator.signing));
    s.paper.serve(&call).expect("opened");
    let mut maker = Maker::new(&mut s.paper);
    let offer = maker.send_offer(&mut s.paper, 2);
    s.go(2);
    (s, maker, offer)
}

fn received(s: &Scene) -> Vec<Report> {
    let mediator = &s.paper.fixture.mediator;
    let entries = s.paper.contents(&mediator.inbox);
    let opened = entries.iter().map(|e| {
        let plain = open_from(&mediator.inbox, &mediator.sealing, Purpose::Report, &e.blob)
            .expect("to this mediator");
        from_bytes::<Report>(&plain, MAX_REPORT).expect("a report")
    });
    opened.collect()
}

#[test]
fn a_report_reaches_the_mediator_once() {
    for restart in [false, true] {
        let (mut s, maker, offer) = offered(1000, restart);
        let unknown = RecordId::from_bytes([1; 32]);
        let report = |s: &mut Scene, offer: &RecordId| {
            s.user
                .report(offer, ReportReason::Impostor, text("Nobody there."))
        };
        assert_eq!(report(&mut s, &unknown), Err(ReportError::Unknown));
        report(&mut s, &offer).expect("begun");
        assert_eq!(report(&mut s, &offer), Err(ReportError::Already));
        // Also by another offer of the same provider, and later.
        s.go(3);
        assert_eq!(s.count(|e| *e == UserEvent::Reported { offer }), 1);
        assert_eq!(report(&mut s, &offer), Err(ReportError::Already));
        let reports = received(&s);
        assert_eq!(reports.len(), 1);
        assert_eq!(reports[0].reason, ReportReason::Impostor);
        assert_eq!(reports[0].mediator, s.paper.fixture.mediator.id);
        let kept = parse::<Offer>(&reports[0].offer).expect("the offer");
        assert_eq!(kept.id(), offer);
        let signer = maker.certified.signing.verifying_key();
        assert!(kept.verify(&signer).is_ok(), "as the provider signed it");
    }
}

#[test]
fn a_revoked_provider_is_reported_and_the_report_outlives_the_request() {
    let (mut s, maker, offer) = offered(1001, true);
    s.paper.fixture.revoke(maker.certified.serial);
    s.learn();
    s.go(1);
    assert!(s.user.offers().is_empty());
    s.user
        .report(&offer, ReportReason::Demands, text(""))
        .expect("begun");
    s.paper.refuse.insert(CallKind::Write, Problem::HoldersAway);
    s.go(1);
    s.user.abandon();
    s.paper.refuse.clear();
    s.go(4);
    assert_eq!(received(&s).len(), 1);
    assert!(s.user.wake().is_none(), "nothing is left to do");
}

#[test]
fn a_mailbox_that_takes_no_reports_is_not_tried_for_ever() {
    let (mut s, _, offer) = offered(1002, false);
    s.paper.refuse.insert(CallKind::Write, Problem::WrongSlot);
    s.user
        .report(&offer, ReportReason::Other, text("x"))
        .expect("begun");
    s.go(3);
    let told = UserEvent::ReportRefused {
        offer,
        problem: Problem::WrongSlot,
    };
    assert_eq!(s.count(|e| *e == told), 1);
    s.paper.refuse.clear();
    // Another try is the person's to make.
    s.user
        .report(&offer, ReportReason::Other, text("x"))
        .expect("begun again");
    s.go(3);
    assert_eq!(received(&s).len(), 1);
}
