//! Steps in the wrong order, or by those who may not take them, over HTTP at real nodes: each is refused by
//! its stable code, leaves every node's store and chain of trust as they were, and the nodes keep serving.

use std::collections::{BTreeMap, BTreeSet};

use lapwing_client::driver::{Unheard, feed, make, now};
use lapwing_protocol::client::{Call, CallKind};
use lapwing_protocol::cose::{sign, sign_multi};
use lapwing_protocol::id::{NodeId, RecordId};
use lapwing_protocol::mediation::{Revocations, Status};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::role::Failure;
use lapwing_protocol::testing::{bytes32, list, text};
use lapwing_protocol::time::Seconds;
use lapwing_testnet::audit;
use lapwing_testnet::clients::numbered;
use tokio::time::sleep;

use crate::hand::{Hand, Ticket};
use crate::stage::{PATIENCE, REPORTED, Stage, until};

/// By the other node's id: shard, count and XOR.
type Digests = BTreeMap<String, Vec<(u32, u64, String)>>;

/// What every node has: its digests of what it shares with each other, and its trust records.
#[derive(PartialEq, Eq)]
pub(crate) struct Have {
    digests: BTreeMap<NodeId, Digests>,
    records: BTreeMap<NodeId, BTreeSet<Vec<u8>>>,
}

async fn have(stage: &Stage) -> Have {
    let mut have = Have {
        digests: BTreeMap::new(),
        records: BTreeMap::new(),
    };
    for (id, status) in audit::statuses(&stage.probes()).await {
        let mut digests = status.unwrap().digests;
        digests.values_mut().for_each(|d| d.sort());
        have.digests.insert(id, digests);
    }
    for place in &stage.places {
        let all = feed::all(&numbered(901), &place.api, None).await.unwrap();
        let (records, _) = all.unwrap();
        have.records.insert(place.id, records.into_iter().collect());
    }
    have
}

/// Waits until holders hold the same, and all nodes know the same records.
pub(crate) async fn calm(stage: &Stage) -> Have {
    until("the same records", async || {
        let records = have(stage).await.records;
        let distinct: BTreeSet<_> = records.values().collect();
        distinct.len() == 1
    })
    .await;
    let mut last = None;
    loop {
        assert_eq!(audit::settle(&stage.probes(), PATIENCE).await, 0);
        let now = have(stage).await;
        // What is on its way at one look has arrived at the next.
        if last.as_ref() == Some(&now) {
            return now;
        }
        last = Some(now);
        sleep(REPORTED).await;
    }
}

/// Makes each call at every node: always the same refusal, and nothing changes. What answered otherwise.
async fn refused(stage: &Stage, table: &[(&str, Call, Problem)]) -> Vec<String> {
    let before = calm(stage).await;
    let mut wrong = Vec::new();
    for (name, call, problem) in table {
        for (node, place) in stage.places.iter().enumerate() {
            let answer = make(&numbered(902), &place.api, call, &Unheard).await;
            if answer != Err(Failure::Refused(*problem)) {
                wrong.push(format!(
                    "{name}, at node {node}: {answer:?}, not {problem:?}"
                ));
            }
        }
    }
    let after = calm(stage).await;
    let names: Vec<_> = table.iter().map(|(name, ..)| name).collect();
    assert!(
        after.digests == before.digests,
        "stores changed by {names:?}"
    );
    assert!(
        after.records == before.records,
        "records changed by {names:?}"
    );
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_in_the_wrong_order_are_refused_and_change_nothing() {
    let mut stage = Stage::start(5, 24, |_| ()).await;
    let mut hand = Hand::open(&stage, 24).await;
    let user = hand.draw(&stage, 0).await;
    let (request, id) = hand.request(&user);
    let stranger = hand.key();
    // All rows are looked at before the test fails.
    let mut wrong = Vec::new();

    // Claims: before a certificate, and of what is not there.
    let nobody = RecordId::from_bytes(bytes32(&mut hand.fixture.rng));
    let challenges = hand.challenges(&stage, 0).await;
    let (unknown, _) = hand.claim_call(&challenges, nobody, 1);
    let other = hand.fixture.certify(&[1]);
    hand.publish_all(&stage).await;
    let (elsewhere, _) = hand.claim_call(&challenges, other.id, 1);
    let claims = refused(
        &stage,
        &[
            (
                "a challenge for nobody",
                hand.challenge_call(nobody),
                Problem::UnknownCertificate,
            ),
            (
                "a challenge for another region's",
                hand.challenge_call(other.id),
                Problem::WrongRegion,
            ),
            ("a claim by nobody", unknown, Problem::UnknownCertificate),
            (
                "a claim by another region's",
                elsewhere,
                Problem::WrongRegion,
            ),
        ],
    )
    .await;
    wrong.extend(claims);

    // The request is placed and claimed; the user has neither an offer nor booked.
    stage.insist(1, &request).await.unwrap();
    let ticket = hand.claim(&stage, 2, 1).await.remove(0);
    assert_eq!(ticket.grant.request, id);
    let early = before_the_booking(&ticket, &user.key, &stranger);
    wrong.extend(refused(&stage, &early).await);

    // In the right order it goes on as if nothing had been.
    let until = now().plus(Seconds::DAY);
    let offer = ticket.offer(until, &ticket.key);
    stage.insist(3, &offer).await.unwrap();
    let accept = ticket.accept(1);
    let lock = ticket.lock(sign(&accept, &user.key), &user.key);
    stage.insist(4, &lock).await.unwrap();
    let second = ticket.accept(2);
    let again = ticket.lock(sign(&second, &user.key), &user.key);
    let release = ticket.release(accept.lock(), &stranger);
    let late = refused(
        &stage,
        &[
            ("a second lock", again, Problem::Locked),
            ("a release by a stranger", release, Problem::WrongSigner),
        ],
    )
    .await;
    wrong.extend(late);

    wrong.extend(records(&stage, &mut hand).await);
    wrong.extend(revoked(&stage, &mut hand, &ticket).await);
    wrong.extend(expired(&stage).await);
    for node in 0..5 {
        let drawn = hand.draw(&stage, node).await;
        let (request, _) = hand.request(&drawn);
        stage.insist((node + 1) % 5, &request).await.unwrap();
    }
    stage.net.check_alive().unwrap();
    assert!(wrong.is_empty(), "{wrong:#?}");
    stage.net.stop().await.unwrap();
}

/// What a provider may not do before its user has booked, nor a stranger ever.
fn before_the_booking(
    ticket: &Ticket,
    user: &lapwing_protocol::key::SigningKey,
    stranger: &lapwing_protocol::key::SigningKey,
) -> Vec<(&'static str, Call, Problem)> {
    let accept = ticket.accept(1);
    let mut other = accept.clone();
    other.expires = other.expires.plus(Seconds::DAY);
    let until = now().plus(Seconds::DAY);
    let unknown = ticket.grant.request.as_bytes().map(|b| !b);
    let unknown = lapwing_protocol::id::RequestId::from_bytes(unknown);
    vec![
        (
            "a lock that the provider accepts itself",
            ticket.lock(sign(&accept, &ticket.key), &ticket.key),
            Problem::WrongSigner,
        ),
        (
            "a lock with another's acceptance in the user's name",
            ticket.lock(sign(&accept, stranger), user),
            Problem::BadSignature,
        ),
        (
            "a lock with an acceptance of something else",
            ticket.lock(sign(&other, user), user),
            Problem::BadTicket,
        ),
        (
            "a lock with no acceptance",
            ticket.lock(Vec::new(), user),
            Problem::Malformed,
        ),
        (
            "an offer with a ticket of somebody else's",
            ticket.offer(until, stranger),
            Problem::BadSignature,
        ),
        (
            "a relist by a stranger",
            ticket.relist(ticket.grant.request, stranger),
            Problem::WrongSigner,
        ),
        (
            "a relist of nothing",
            ticket.relist(unknown, user),
            Problem::UnknownRequest,
        ),
    ]
}

/// Records of the chain of trust by those who may not sign them, or about what is not theirs.
async fn records(stage: &Stage, hand: &mut Hand) -> Vec<String> {
    let publish = |record| Call::new(CallKind::Publish, record);
    let stranger = hand.key();
    let registration = hand.registration(stage, 2, "");
    let own = sign_multi(&registration, &[&hand.fixture.mediator.root]);
    let mediator = hand.fixture.mediator.clone();
    let region = |code: &str| {
        let mut mediator = mediator.clone();
        let first = &mut mediator.regions[0].region;
        first.postal_codes = list(vec![text(code)]);
        mediator.sign_regions(now())
    };
    let (outside, inside) = (region("20095"), region("10999"));
    let serials = Revocations {
        mediator: mediator.id,
        sequence: mediator.sequences[7] + 1,
        issued: now(),
        serials: list(vec![hand.provider.serial]),
    };
    let forged = sign(&serials, &stranger);
    let wrong = refused(
        stage,
        &[
            (
                "a registration by nobody",
                publish(own),
                Problem::BrokenChain,
            ),
            (
                "a region outside the areas",
                publish(outside),
                Problem::WrongRegion,
            ),
            (
                "revocations by a stranger",
                publish(forged),
                Problem::BrokenChain,
            ),
        ],
    )
    .await;
    // Inside the areas the same is taken: it was the areas.
    hand.publish(stage, inside).await.unwrap();
    // A serial that nobody has may be on the list, and concerns nobody.
    hand.fixture.mediator.revoked.insert(9_999_999);
    hand.fixture.mediator.sequences[4] += 1;
    hand.fixture.mediator.sign_regions(now());
    hand.fixture.mediator.sign_lists(now());
    hand.fixture.mediator.sign_status(now());
    hand.publish_all(stage).await;
    hand.challenges(stage, 4).await;
    wrong
}

/// A provider that is revoked begins nothing any more, and ends nothing either: neither while only the
/// delegated key has said so, nor when the directory has let go of it.
async fn revoked(stage: &Stage, hand: &mut Hand, ticket: &Ticket) -> Vec<String> {
    let challenges = hand.challenges(stage, 1).await;
    let (claim, _) = hand.claim_call(&challenges, hand.provider.id, 1);
    let (gone, serial) = (hand.provider.id, hand.provider.serial);
    let challenge = hand.challenge_call(gone);
    let accept = sign(&ticket.accept(3), &ticket.key);
    let lock = ticket.lock(accept, &ticket.key);
    let table = |problem| {
        [
            ("a challenge when revoked", challenge.clone(), problem),
            ("a claim when revoked", claim.clone(), problem),
            ("a lock when revoked", lock.clone(), problem),
        ]
    };
    hand.fixture.now = now();
    // Another provider stays.
    hand.provider = hand.fixture.certify(&[0]);
    hand.publish_all(stage).await;
    hand.fixture.mediator.revoked.insert(serial);
    hand.fixture.mediator.sign_revocations(now(), true);
    hand.fixture.mediator.redate(now());
    hand.publish_all(stage).await;
    let mut wrong = refused(stage, &table(Problem::Revoked)).await;
    hand.fixture.now = now();
    hand.fixture.revoke(serial);
    hand.publish_all(stage).await;
    wrong.extend(refused(stage, &table(Problem::UnknownCertificate)).await);
    wrong
}

/// While a mediator's status is too old nobody of its providers claims.
async fn expired(stage: &Stage) -> Vec<String> {
    let mut hand = Hand::open(stage, 25).await;
    let challenges = hand.challenges(stage, 0).await;
    let short: Status = {
        let mut status = hand.fixture.mediator.next_status(now());
        status.expires = now().plus(Seconds::new(4));
        status
    };
    let signed = sign(&short, &hand.fixture.mediator.signing);
    hand.fixture.mediator.status = signed.clone();
    hand.publish_all(stage).await;
    until("the status is over", async || now() > short.expires).await;
    let certificate = hand.provider.id;
    let (claim, _) = hand.claim_call(&challenges, certificate, 1);
    let wrong = refused(
        stage,
        &[
            (
                "a challenge by an expired status",
                hand.challenge_call(certificate),
                Problem::StatusExpired,
            ),
            (
                "a claim by an expired status",
                claim,
                Problem::StatusExpired,
            ),
            (
                "an earlier status again",
                Call::new(CallKind::Publish, {
                    let mut old = short.clone();
                    old.sequence -= 1;
                    sign(&old, &hand.fixture.mediator.signing)
                }),
                Problem::Rollback,
            ),
        ],
    )
    .await;
    // Dated anew, it goes on.
    hand.fixture.mediator.sequences[8] += 1;
    hand.fixture.mediator.sign_status(now());
    hand.publish_all(stage).await;
    hand.challenges(stage, 3).await;
    wrong
}
