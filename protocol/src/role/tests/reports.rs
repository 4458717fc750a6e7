//! Reports: only by who holds an offer that a certified provider signed, once a request.

use super::hand::Hand;
use super::world::{World, mediator, practice};
use crate::booking::binding;
use crate::booking::{Offer, Report, ReportReason};
use crate::bounded::Bytes;
use crate::codec::to_bytes;
use crate::cose::sign;
use crate::id::MediatorId;
use crate::id::RecordId;
use crate::key::SigningKey;
use crate::role::Role;
use crate::role::letterbox::Letter;
use crate::role::mediator::{MAX_REPORTS_PER_PROVIDER, MediatorEvent, PublishError, ReportView};
use crate::role::provider::Provider;
use crate::role::user::UserEvent;
use crate::seal::{Purpose, open};
use crate::testing::text;

/// A user made by hand, and the offer that came, as signed.
fn offered(w: &mut World) -> (Hand, Vec<u8>) {
    let hand = Hand::new(&mut w.paper, w.region);
    w.go(4);
    let entry = w.paper.contents(&hand.inbox).into_iter().next();
    let bound = binding(&hand.inbox.id());
    let blob = entry.expect("an offer").blob;
    let offer = open(&hand.user, Purpose::Offer, &bound, 0, &[], &blob).expect("ours");
    (hand, offer.to_vec())
}

fn report(mediator: MediatorId, offer: &[u8], words: &str) -> Vec<u8> {
    to_bytes(&Report {
        mediator,
        reason: ReportReason::Demands,
        text: text(words),
        offer: Bytes::try_from(offer.to_vec()).expect("short"),
    })
}

/// Writes to the mediator's inbox, paid for by work.
fn write(w: &mut World, content: &[u8]) {
    let m = w.paper.view.mediator(&w.mediator.id()).expect("published");
    let c = m.certificate().expect("certified").clone();
    let rng = &mut w.paper.rng;
    let mut letter =
        Letter::new(&c.inbox, &c.sealing, Purpose::Report, content, rng).expect("fits");
    letter.work(100_000);
    let call = letter.call().expect("cheap");
    w.paper.serve(&call).expect("written");
    w.go(2);
}

fn told(w: &mut World) -> Vec<ReportView> {
    core::mem::take(&mut w.to_mediator)
        .into_iter()
        .filter_map(|e| match e {
            MediatorEvent::Reported(report) => Some(*report),
            _ => None,
        })
        .collect()
}

fn inbox_is_empty(w: &World) -> bool {
    w.mediator
        .watching()
        .iter()
        .all(|m| w.paper.contents(m).is_empty())
}

fn world(seed: u64) -> (World, Vec<u8>) {
    let mut w = World::new(seed, false, false);
    w.slots(2);
    let (_, offer) = offered(&mut w);
    w.to_mediator.clear();
    (w, offer)
}

#[test]
fn a_report_is_shown_once_and_dismissed() {
    let (mut w, offer) = world(360);
    let id = w.mediator.id();
    write(&mut w, &report(id, &offer, "wants cash"));
    let shown = told(&mut w);
    assert_eq!(shown.len(), 1);
    let said = &shown[0];
    assert_eq!(
        (said.serial, said.in_force, said.reason, said.text.as_str()),
        (1, true, ReportReason::Demands, "wants cash")
    );
    assert_eq!(said.practice.name.as_str(), "Dr. Test");
    assert!(!said.slots.is_empty());
    assert_eq!(w.mediator.reports(), shown);
    assert!(inbox_is_empty(&w), "what is kept leaves the inbox");
    // The same request again, in other words: once is enough, also after a restart.
    w.mediator = w.paper.restarted(&w.mediator);
    write(&mut w, &report(id, &offer, "again and again"));
    assert_eq!(told(&mut w), []);
    assert!(inbox_is_empty(&w));
    w.mediator.dismiss(&said.id).expect("there");
    assert_eq!(
        w.mediator.dismiss(&said.id),
        Err(PublishError::UnknownReport)
    );
    write(&mut w, &report(id, &offer, "and again"));
    assert_eq!((told(&mut w).len(), w.mediator.reports().len()), (0, 0));
}

#[test]
fn a_provider_that_was_revoked_or_has_expired_can_be_reported() {
    let (mut w, offer) = world(361);
    let id = w.mediator.id();
    let (now, rng) = (w.paper.now, &mut w.paper.rng);
    w.mediator
        .revoke(1, text("left"), now, rng)
        .expect("revoked");
    w.go(2);
    write(&mut w, &report(id, &offer, "had my data"));
    let shown = told(&mut w);
    assert_eq!(shown.len(), 1);
    assert!(!shown[0].in_force);

    let (mut w, offer) = world(362);
    let id = w.mediator.id();
    w.paper.pass(89 * 86_400);
    w.go(2);
    write(&mut w, &report(id, &offer, "never there"));
    assert_eq!(told(&mut w).len(), 1);

    let (mut w, offer) = world(363);
    let id = w.mediator.id();
    w.paper.pass(92 * 86_400);
    w.go(2);
    // The provider applied anew meanwhile.
    let applied: Vec<RecordId> = w.mediator.applications().map(|a| a.0).collect();
    for application in applied {
        w.mediator
            .reject(&application, text("no"), &mut w.paper.rng)
            .expect("read");
    }
    w.go(2);
    write(&mut w, &report(id, &offer, "long ago"));
    assert_eq!(told(&mut w), [], "longer than it can be reported");
    assert!(inbox_is_empty(&w));
}

#[test]
fn what_is_no_report_is_cleared_away() {
    let (mut w, offer) = world(364);
    let id = w.mediator.id();
    let (_, other) = mediator(&mut w.paper, &["20"]);
    let parsed = crate::cose::parse::<Offer>(&offer).expect("an offer");
    let said = parsed.unverified().clone();
    let stranger = SigningKey::generate(&mut w.paper.rng);
    let forged = sign(&said, &stranger);
    let mut bent = said.clone();
    bent.practice.name = text("Dr. Rival");
    let bent = sign(&bent, &w.provider_key());
    let mut cut = report(id, &offer, "x");
    cut.pop();
    let table = [
        ("rubbish", vec![7; 100]),
        ("cut short", cut),
        ("to another mediator", report(other.id(), &offer, "x")),
        (
            "about an offer that nobody certified signed",
            report(id, &forged, "x"),
        ),
        (
            "about another practice than was verified",
            report(id, &bent, "x"),
        ),
        ("about nothing", report(id, &[], "x")),
    ];
    for (name, content) in table {
        write(&mut w, &content);
        assert_eq!(told(&mut w), [], "{name}");
        assert!(inbox_is_empty(&w), "{name}");
    }
    // None of it stands in the way of the real one.
    write(&mut w, &report(id, &offer, "real"));
    assert_eq!(told(&mut w).len(), 1);
}

#[test]
fn reports_about_one_provider_are_bounded() {
    let (mut w, offer) = world(365);
    let id = w.mediator.id();
    let key = w.provider_key();
    let mut said = crate::cose::parse::<Offer>(&offer)
        .expect("an offer")
        .unverified()
        .clone();
    for i in 0..MAX_REPORTS_PER_PROVIDER + 3 {
        said.request = crate::id::RequestId::from_bytes([i as u8; 32]);
        write(&mut w, &report(id, &sign(&said, &key), "me too"));
    }
    assert_eq!(w.mediator.reports().len(), MAX_REPORTS_PER_PROVIDER);
    assert!(inbox_is_empty(&w));
}

#[test]
fn a_users_app_reports_also_who_was_revoked_since() {
    let mut w = World::new(366, false, false);
    w.slots(2);
    let a = w.user("Ada", None);
    w.go(6);
    let offer = w.users[a].offers().last().expect("an offer").id;
    let (now, rng) = (w.paper.now, &mut w.paper.rng);
    w.mediator
        .revoke(1, text("left"), now, rng)
        .expect("revoked");
    w.go(2);
    w.users[a]
        .report(&offer, ReportReason::DataMisuse, text("called me at home"))
        .expect("an offer of mine");
    w.go(3);
    let written = UserEvent::Reported { offer };
    assert!(w.to_users.contains(&(a, written)), "{:?}", w.to_users);
    let shown = told(&mut w);
    assert_eq!(shown.len(), 1);
    let said = &shown[0];
    assert_eq!(
        (said.offer, said.reason, said.in_force),
        (offer, ReportReason::DataMisuse, false)
    );
    assert_eq!(said.text.as_str(), "called me at home");
}

#[test]
fn one_provider_cannot_use_up_the_reports_about_another() {
    let (mut w, offer) = world(367);
    let id = w.mediator.id();
    // Another certified provider signs an offer to the same request, which is public.
    let (node, view) = (w.paper.node(), w.paper.view.clone());
    let mut rival = Provider::create(practice(), text(""), view, node, &mut w.paper.rng);
    rival.apply(id, crate::testing::list(vec![w.region]));
    w.paper.turn(&mut rival, false);
    w.go(1);
    let application = w.mediator.applications().next().expect("read").0;
    let (now, rng) = (w.paper.now, &mut w.paper.rng);
    w.mediator
        .approve(&application, None, 9, now, rng)
        .expect("approved");
    w.go(2);
    let listed = w.paper.view.mediator(&id).expect("there").providers();
    let certificate = listed.into_iter().find(|c| c.serial == 2).expect("held");
    let mut said = crate::cose::parse::<Offer>(&offer)
        .expect("one")
        .unverified()
        .clone();
    said.certificate = Bytes::try_from(certificate.bytes().to_vec()).expect("short");
    write(
        &mut w,
        &report(id, &sign(&said, &rival.signing_key()), "all fine"),
    );
    write(&mut w, &report(id, &offer, "wants cash"));
    let serials: Vec<u64> = told(&mut w).iter().map(|r| r.serial).collect();
    assert_eq!(serials, [2, 1]);
}
