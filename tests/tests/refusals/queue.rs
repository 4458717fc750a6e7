//! Requests, claims, locks and releases.

use lapwing_protocol::client::{Call, CallKind};
use lapwing_protocol::codec::to_bytes;
use lapwing_protocol::cose::sign;
use lapwing_protocol::id::{RecordId, RegionId, TokenHash};
use lapwing_protocol::mailbox::Writers;
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::{Claim, Release, Request};
use lapwing_protocol::testing::list;
use lapwing_protocol::time::Seconds;
use lapwing_tests::sim::World;

use crate::refused;

#[test]
fn requests_claims_and_releases_are_refused_by_what_is_wrong_with_them() {
    let mut w = World::new(5, 3);
    let (order, _) = w.token_order(0);
    let drawn = w.draw(0).unwrap();
    let (_, known) = w.place(0, 0).unwrap();
    let ticket = w.claim(0, 0, 1).unwrap().remove(0);
    w.converge(10_000);
    w.run(1_000);
    let mut idle = order.clone();
    idle.hash = TokenHash::from_bytes([1; 32]);
    let work = lapwing_protocol::token::TokenWork {
        federation: w.fixture.federation.id(),
        issuer: w.id(0),
        epoch: lapwing_protocol::token::epoch_at(w.now(), w.fixture.params.epoch),
    };
    let bits = w.fixture.params.token_work;
    let work = (0..).find(|p| !work.holds(&idle.hash, *p, bits));
    idle.proof = work.unwrap();
    let call = Call::new(CallKind::Token, to_bytes(&idle));
    refused(
        &mut w,
        "a token without work",
        0,
        &call,
        Problem::WorkMissing,
    );

    let placed = w.request(&drawn, 0);
    let said = lapwing_protocol::cose::parse::<Request>(placed.call.body()).unwrap();
    let said = said.unverified().clone();
    let stranger = w.key();
    let region1 = w.fixture.region(1);
    let with = |edit: &dyn Fn(&mut Request)| {
        let mut r = said.clone();
        edit(&mut r);
        Call::new(CallKind::Request, sign(&r, &drawn.key))
    };
    let short = lapwing_protocol::mailbox::Life::Days2;
    let day = w.now().day();
    let table = [
        (
            "another's key",
            Call::new(CallKind::Request, sign(&said, &stranger)),
            Problem::BadSignature,
        ),
        (
            "no region",
            with(&|r| r.region = RegionId::from_bytes([3; 32])),
            Problem::UnknownRegion,
        ),
        (
            "an old key",
            with(&|r| r.key_version = 0),
            Problem::WrongKeyVersion,
        ),
        (
            "a small envelope",
            with(&|r| r.envelope = vec![1; 100].try_into().unwrap()),
            Problem::WrongSize,
        ),
        (
            "an inbox for anybody",
            with(&|r| r.inbox.writers = Writers::Work(1)),
            Problem::OutOfBounds,
        ),
        (
            "a short-lived inbox",
            with(&|r| r.inbox.life = short),
            Problem::OutOfBounds,
        ),
        (
            "an inbox of the future",
            with(&|r| r.inbox.day = day.plus(9)),
            Problem::OutOfBounds,
        ),
    ];
    for (name, call, problem) in table {
        for node in 0..3 {
            refused(&mut w, name, node, &call, problem);
        }
    }
    let _ = region1;

    let challenges = w.challenges(0, 0).unwrap();
    w.run(1_000);
    let (good, _) = w.claim_call(0, 1, &challenges);
    let said = lapwing_protocol::cose::parse::<Claim>(good.body())
        .unwrap()
        .unverified()
        .clone();
    let signing = w.provider.signing.clone();
    let with = |edit: &dyn Fn(&mut Claim)| {
        let mut c = said.clone();
        edit(&mut c);
        Call::new(CallKind::Claim, sign(&c, &signing))
    };
    let wrong = |c: &mut Claim| {
        let answers = c.answers.iter().cloned().map(|mut a| {
            a.nonce[0] ^= 1;
            a
        });
        c.answers = list(answers.collect());
    };
    let table = [
        (
            "another's claim",
            Call::new(CallKind::Claim, sign(&said, &stranger)),
            Problem::BadSignature,
        ),
        (
            "an old claim",
            with(&|c| c.time = c.time.minus(Seconds::HOUR)),
            Problem::StaleTime,
        ),
        (
            "a claim of none",
            with(&|c| c.count = 0),
            Problem::OutOfBounds,
        ),
        (
            "a claim of too many",
            with(&|c| c.count = 255),
            Problem::OutOfBounds,
        ),
        (
            "a claim without answers",
            with(&|c| c.answers = list(vec![])),
            Problem::ChallengeFailed,
        ),
        ("wrong answers", with(&wrong), Problem::ChallengeFailed),
        (
            "another region's answers",
            with(&|c| c.region = region1),
            Problem::ChallengeFailed,
        ),
        (
            "an unknown certificate",
            with(&|c| c.certificate = RecordId::from_bytes([8; 32])),
            Problem::UnknownCertificate,
        ),
    ];
    for (name, call, problem) in table {
        refused(&mut w, name, 0, &call, problem);
    }

    let (_, held) = ticket.lock(&stranger, 1);
    let release = Release {
        region: w.fixture.region(0),
        request: known.id,
        lock: held.lock,
        expires: ticket.grant.expires,
    };
    let signed = Call::new(CallKind::Release, sign(&release, &stranger));
    refused(
        &mut w,
        "a stranger's release",
        0,
        &signed,
        Problem::WrongSigner,
    );
    let past = Release {
        expires: w.now().minus(Seconds::HOUR),
        ..release.clone()
    };
    let past = Call::new(CallKind::Release, sign(&past, &stranger));
    refused(&mut w, "a release of the past", 0, &past, Problem::Expired);
    let (forged, _) = ticket.lock(&stranger, 1);
    refused(
        &mut w,
        "a lock that the user did not sign",
        0,
        &forged,
        Problem::WrongSigner,
    );
    let mut alone = ticket.clone();
    alone.grants.truncate(1);
    let (few, _) = alone.lock(&stranger, 1);
    refused(&mut w, "a ticket of one grant", 0, &few, Problem::BadTicket);
    let mut twice = ticket.clone();
    twice.grants = vec![ticket.grants[0].clone(), ticket.grants[0].clone()];
    let (same, _) = twice.lock(&stranger, 1);
    refused(&mut w, "one grant twice", 0, &same, Problem::BadTicket);
    let until = w.now().plus(Seconds::HOUR);
    refused(
        &mut w,
        "an offer by one grant",
        0,
        &alone.offer(1, until),
        Problem::BadTicket,
    );
    let mut stolen = ticket.clone();
    stolen.key = stranger;
    refused(
        &mut w,
        "a stolen ticket",
        0,
        &stolen.offer(1, until),
        Problem::BadSignature,
    );
}
