//! Tokens: redone for another node or lottery epoch, drawn anew when the issuer is away.

use super::maker::Scene;
use crate::client::{Call, CallKind};
use crate::codec::from_bytes;
use crate::id::NodeId;
use crate::problem::Problem;
use crate::role::tests::Paper;
use crate::role::user::{NextStep, User, UserEvent, UserStatus, WaitsFor, Wishes};
use crate::role::{CallId, Failure, Role};
use crate::time::{Seconds, Time};
use crate::token::{TokenOrder, TokenWork, epoch_at};

fn asking(seed: u64) -> (Paper, User) {
    let mut paper = Paper::new(seed);
    let mut user = User::create(super::data("Ada"), paper.view.clone(), paper.node());
    let region = paper.fixture.region(0);
    user.request(region, Wishes::default(), &mut paper.rng)
        .expect("idle");
    (paper, user)
}

/// Polls until the token is asked for.
fn order(paper: &mut Paper, user: &mut User, now: Time) -> (CallId, TokenOrder) {
    for _ in 0..100 {
        let calls: Vec<(CallId, Call)> = user.poll(now, &mut paper.rng);
        if let Some((id, call)) = calls.into_iter().find(|(_, c)| c.kind() == CallKind::Token) {
            return (id, from_bytes(call.body(), 4096).expect("an order"));
        }
    }
    panic!("no token is asked for")
}

fn good(paper: &Paper, order: &TokenOrder, issuer: NodeId, now: Time) -> bool {
    let work = TokenWork {
        federation: paper.view.federation_id(),
        issuer,
        epoch: epoch_at(now, paper.fixture.params.epoch),
    };
    let bits = paper.fixture.params.token_work;
    work.search(&order.hash, bits, order.proof, 1) == Some(order.proof)
}

#[test]
fn work_is_redone_for_another_node_and_epoch() {
    // Among some seeds there is one whose proof is no good elsewhere.
    let mut redone = [0, 0];
    for seed in 900..906 {
        let (mut paper, mut user) = asking(seed);
        let (here, now) = (paper.node(), paper.now);
        let (_, first) = order(&mut paper, &mut user, now);
        assert!(good(&paper, &first, here, now));
        let there = paper.fixture.nodes().nth(1).expect("another").id;
        user.set_node(there);
        let (id, second) = order(&mut paper, &mut user, now);
        assert!(good(&paper, &second, there, now));
        assert_eq!(first.hash, second.hash, "the same person");
        redone[0] += usize::from(first.proof != second.proof);
        // The node is away over the turn of the epoch.
        let later = now.plus(paper.fixture.params.epoch);
        user.answer(id, Err(Failure::Unreachable), later, &mut paper.rng);
        let later = later.plus(Seconds::new(10));
        let (_, third) = order(&mut paper, &mut user, later);
        assert!(good(&paper, &third, there, later));
        redone[1] += usize::from(second.proof != third.proof);
    }
    assert!(redone.iter().all(|n| *n > 0), "{redone:?}");
}

#[test]
fn an_issuer_that_is_away_is_left_after_a_while() {
    let (mut paper, mut user) = asking(910);
    user.set_patience(Some(Seconds::new(100)));
    paper.refuse.insert(CallKind::Request, Problem::IssuerAway);
    let mut events = Vec::new();
    let turns = |paper: &mut Paper, user: &mut User, n: usize| {
        let mut events = Vec::new();
        for _ in 0..n {
            *user = paper.restarted(user);
            events.extend(paper.turn(user, false));
            paper.pass(31);
        }
        events
    };
    // At the issuer itself there is nothing better to do than to wait.
    events.extend(turns(&mut paper, &mut user, 6));
    assert_eq!(user.overview().drawn, 1);
    let overview = user.overview();
    assert!(
        matches!(overview.waits_for, WaitsFor::Admission { away: Some(_), issuer } if issuer == paper.node())
    );
    assert_eq!(overview.next, NextStep::DrawAnew);
    // At another node a token of that node is drawn. (The paper signs all tokens by its first node.)
    let there = paper.fixture.nodes().nth(1).expect("another").id;
    user.set_node(there);
    events.extend(turns(&mut paper, &mut user, 1));
    assert!(events.contains(&UserEvent::Redrawn(Problem::IssuerAway)));
    let overview = user.overview();
    assert_eq!(overview.redrawn[0].why, Some(Problem::IssuerAway));
    user.set_node(paper.node());
    paper.refuse.clear();
    events.extend(turns(&mut paper, &mut user, 3));
    assert_eq!(user.status(), UserStatus::Waiting);
    let overview = user.overview();
    assert_eq!(overview.redrawn.len(), 1);
    assert!(overview.drawn >= 2);
}

#[test]
fn a_request_on_its_way_is_not_given_up() {
    let (mut paper, mut user) = asking(913);
    user.set_patience(Some(Seconds::new(100)));
    paper.refuse.insert(CallKind::Request, Problem::IssuerAway);
    paper.turn(&mut user, false);
    let there = paper.fixture.nodes().nth(1).expect("another").id;
    user.set_node(there);
    paper.pass(99);
    let calls = user.poll(paper.now, &mut paper.rng);
    let [(id, call)] = calls.as_slice() else {
        panic!("one call, not {}", calls.len());
    };
    assert_eq!(call.kind(), CallKind::Request);
    // Patience ends, and the answer comes after that.
    paper.pass(10);
    assert!(user.poll(paper.now, &mut paper.rng).is_empty());
    paper.refuse.clear();
    let outcome = paper.serve(call);
    user.answer(*id, outcome, paper.now, &mut paper.rng);
    assert_eq!(user.status(), UserStatus::Waiting);
    assert!(user.overview().redrawn.is_empty());
}

#[test]
fn patience_may_have_no_end_and_the_person_may_lose_it() {
    let (mut paper, mut user) = asking(911);
    user.set_patience(None);
    paper.refuse.insert(CallKind::Request, Problem::IssuerAway);
    paper.turn(&mut user, false);
    let there = paper.fixture.nodes().nth(1).expect("another").id;
    user.set_node(there);
    paper.pass(7 * 3600);
    paper.turn(&mut user, false);
    assert_eq!(user.overview().drawn, 1);
    user.draw_anew(&mut paper.rng);
    assert_eq!(user.overview().redrawn[0].why, None);
    assert_eq!(user.status(), UserStatus::Drawing);
}

#[test]
fn an_admitted_request_is_not_drawn_anew() {
    let mut s = Scene::new(912, false);
    s.user.draw_anew(&mut s.paper.rng);
    assert_eq!(s.user.status(), UserStatus::Waiting);
    assert_eq!(s.user.overview().drawn, 1);
}
