//! Requests that were claimed when there was no slot for them.

use super::world::World;
use crate::client::CallKind;
use crate::problem::Problem;
use crate::role::Role;
use crate::role::provider::{OfferPolicy, ProviderEvent};

/// Two users who are claimed for two slots, of which one is gone when the claim is answered; gives how
/// many offers each has.
fn claimed_with_one_slot(seed: u64) -> (World, [usize; 2]) {
    let mut w = World::new(seed, false, false);
    w.provider.set_policy(OfferPolicy {
        per_slot: 1,
        ..OfferPolicy::default()
    });
    w.provider.set_automatic(false);
    w.slots(2);
    let users = [w.user("Ada", None), w.user("Bo", None)];
    w.go(3);
    w.provider.offer_round(w.region);
    let mut claim = None;
    while claim.is_none() {
        for (id, call) in w.provider.poll(w.paper.now, &mut w.paper.rng) {
            if call.kind() == CallKind::Claim {
                claim = Some((id, call));
            } else {
                let outcome = w.paper.serve(&call);
                w.provider
                    .answer(id, outcome, w.paper.now, &mut w.paper.rng);
            }
        }
    }
    let gone = w.provider.slots()[0].id;
    w.provider.remove_slot(gone).expect("free");
    let (id, call) = claim.expect("a claim");
    let outcome = w.paper.serve(&call);
    w.provider
        .answer(id, outcome, w.paper.now, &mut w.paper.rng);
    w.go(4);
    let offers = users.map(|u| w.users[u].offers().len());
    (w, offers)
}

#[test]
fn who_was_claimed_without_a_slot_is_offered_to_by_the_same_ticket() {
    let (mut w, offers) = claimed_with_one_slot(700);
    assert_eq!(offers.iter().sum::<usize>(), 1, "{offers:?}");
    // No round begins by itself: what is free now goes out by the ticket that is there.
    w.slots(1);
    w.go(3);
    let now: Vec<usize> = w.users.iter().map(|u| u.offers().len()).collect();
    assert_eq!(now, [1, 1]);
}

#[test]
fn a_ticket_that_lapsed_offers_nothing() {
    let (mut w, offers) = claimed_with_one_slot(701);
    let life = w.paper.view.params().expect("a roster").ticket_life;
    w.paper.pass(life.get() + 1);
    w.slots(1);
    w.go(3);
    let now: Vec<usize> = w.users.iter().map(|u| u.offers().len()).collect();
    assert_eq!(now.iter().sum::<usize>(), offers.iter().sum::<usize>());
}

/// Goes on until the provider has claimed.
fn claimed(w: &mut World) {
    let told = |w: &World| {
        let claimed = |e: &ProviderEvent| matches!(e, ProviderEvent::Claimed { offering: 1, .. });
        w.to_provider.iter().any(claimed)
    };
    while !told(w) {
        w.go(1);
    }
}

#[test]
fn an_offer_that_a_node_behind_refuses_is_made_when_it_knows_better() {
    for problem in [Problem::UnknownCertificate, Problem::StatusExpired] {
        let mut w = World::new(622, false, false);
        w.slots(3);
        w.paper.refuse.insert(CallKind::Write, problem);
        let ada = w.user("Ada", None);
        claimed(&mut w);
        w.go(1);
        assert!(w.users[ada].offers().is_empty());
        assert!(w.to_provider.contains(&ProviderEvent::ViewStale(problem)));
        w.paper.refuse.clear();
        // Sooner than the ticket lapses.
        w.go(2);
        assert_eq!(w.users[ada].offers().len(), 1);
    }
}

#[test]
fn a_ticket_whose_slots_are_gone_is_good_for_those_that_come() {
    let mut w = World::new(623, false, false);
    w.slots(1);
    let slot = w.provider.slots()[0].id;
    w.paper.refuse.insert(CallKind::Open, Problem::Busy);
    let ada = w.user("Ada", None);
    claimed(&mut w);
    w.provider.remove_slot(slot).expect("free");
    w.paper.refuse.clear();
    w.go(1);
    assert!(w.users[ada].offers().is_empty());
    // Sooner than the ticket lapses.
    w.slots(3);
    w.go(1);
    assert_eq!(w.users[ada].offers().len(), 1);
}
