//! What the index decides, case by case, and what it costs.

use std::sync::LazyLock;

use lapwing_protocol::bounded::List;
use lapwing_protocol::id::{
    ClaimId, LockId, MailboxId, NodeId, Priority, RegionId, RequestId, TokenId,
};
use lapwing_protocol::key::{SigningKey, VerifyingKey};
use lapwing_protocol::mailbox::Spend;
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::{LockGrant, Release, Relist, TicketGrant, ticket_id};
use lapwing_protocol::time::Time;

use super::slot::Slot;
use super::*;

/// All times lie below.
pub(super) const END: u64 = 40;

pub(super) const LIMITS: Limits = Limits {
    open_offers: 2,
    reoffers: 1,
    quorum: 2,
};
pub(super) fn key(n: u8) -> VerifyingKey {
    static KEYS: LazyLock<Vec<VerifyingKey>> = LazyLock::new(|| {
        let keys = (0..=120).map(|n| SigningKey::from_seed(&[n; 32]).verifying_key());
        keys.collect()
    });
    KEYS[usize::from(n)]
}

pub(super) fn region(n: u8) -> RegionId {
    RegionId::from_bytes([n; 32])
}

pub(super) fn request(n: u8) -> RequestId {
    RequestId::from_bytes([n; 32])
}

fn claim(n: u8) -> ClaimId {
    ClaimId::from_bytes([n; 32])
}

pub(super) fn lock(n: u8) -> LockId {
    LockId::from_bytes([n; 32])
}

pub(super) fn node(n: u8) -> NodeId {
    NodeId::from_bytes([n; 32])
}

pub(super) fn time(n: u64) -> Time {
    Time::new(n)
}

pub(super) fn ticket(c: u8, q: u8) -> TicketId {
    ticket_id(&claim(c), &request(q))
}

/// Two claims are of one certificate.
pub(super) fn certificate(c: u8) -> RecordId {
    RecordId::from_bytes([c / 2; 32])
}

/// A request's token key has its number, a claim's key that and 100.
pub(super) fn claim_key(c: u8) -> VerifyingKey {
    key(100 + c)
}

pub(super) fn entry(q: u8, expires: u64) -> Entry {
    Entry {
        // The later requests come first in time, then two share a priority.
        epoch: 7 - u32::from(q / 2),
        priority: Priority::from_bytes([q % 2; 32]),
        token: TokenId::from_bytes([q; 32]),
        token_key: *key(q).as_bytes(),
        inbox: MailboxId::from_bytes([q; 32]),
        expires: time(expires),
    }
}

pub(super) fn grant(holder: u8, r: u8, q: u8, c: u8, lapses: u64) -> TicketGrant {
    TicketGrant {
        certificate: certificate(c),
        holder: node(holder),
        region: region(r),
        request: request(q),
        claim: claim(c),
        key: claim_key(c),
        inbox: MailboxId::from_bytes([q; 32]),
        lapses: time(lapses),
        expires: time(END),
    }
}

pub(super) fn spend(grant: &TicketGrant, offer_expires: u64) -> Spend {
    Spend {
        request: grant.request,
        ticket: grant.ticket(),
        mailbox: grant.inbox,
        blob: [0; 32],
        offer_expires: time(offer_expires),
        expires: grant.expires,
    }
}

/// Gives up the tickets of claims, and lists again after locks.
pub(super) fn relist(r: u8, q: u8, claims: &[u8], locks: &[u8]) -> Relist {
    let tickets: Vec<_> = claims.iter().map(|c| ticket(*c, q)).collect();
    let locks: Vec<_> = locks.iter().map(|l| lock(*l)).collect();
    Relist {
        region: region(r),
        request: request(q),
        tickets: List::try_from(tickets).unwrap(),
        locks: List::try_from(locks).unwrap(),
        expires: time(END),
    }
}

pub(super) fn lock_grant(holder: u8, r: u8, q: u8, c: u8, l: u8) -> LockGrant {
    LockGrant {
        holder: node(holder),
        region: region(r),
        request: request(q),
        ticket: ticket(c, q),
        lock: lock(l),
        expires: time(END),
    }
}

pub(super) fn release(r: u8, q: u8, l: u8) -> Release {
    Release {
        region: region(r),
        request: request(q),
        lock: lock(l),
        expires: time(END),
    }
}

/// The node under test is node 0.
pub(super) fn index() -> QueueIndex {
    QueueIndex::new(node(0), LIMITS)
}

/// A queue of `n` requests in one region.
fn queue(n: u32) -> QueueIndex {
    let mut index = index();
    for i in 0..n {
        let mut id = [0; 32];
        // An odd multiplier: distinct, and out of order.
        id[..4].copy_from_slice(&i.wrapping_mul(0x9E37_79B1).to_be_bytes());
        let entry = Entry {
            priority: Priority::from_bytes(id),
            ..entry(0, END)
        };
        index.insert_entry(region(0), RequestId::from_bytes(id), entry);
    }
    index
}

#[test]
fn a_pick_costs_the_same_in_a_long_queue() {
    for n in [100, 100_000] {
        let mut index = queue(n);
        let (first, seen) = index.pick_counted(&region(0), 20, time(1), None);
        assert_eq!((first.len(), seen), (20, 20), "{n} entries");
        assert!(first.is_sorted());
        // The first 20 are taken; who comes next looks at none of them.
        for q in &first {
            for c in 0..LIMITS.open_offers {
                let ticket = TicketGrant {
                    request: *q,
                    ..grant(1, 0, 0, c, 10)
                };
                index.add_ticket(&ticket);
            }
        }
        let (second, seen) = index.pick_counted(&region(0), 20, time(9), None);
        assert_eq!((second.len(), seen), (20, 20), "{n} entries");
        assert!(first.iter().all(|q| !second.contains(q)));
        // They lapse, and are the first again.
        let (third, seen) = index.pick_counted(&region(0), 20, time(10), None);
        assert_eq!((third, seen), (first, 20), "{n} entries");
        // The end of a queue is found without a walk through what has expired.
        let (none, seen) = index.pick_counted(&region(0), 20, time(END), None);
        assert_eq!((none.len(), seen), (0, 0), "{n} entries");
    }
}

#[test]
fn who_has_a_ticket_is_not_picked_for_the_same_provider_again() {
    let bound = u32::try_from(MAX_PASSED_OVER).unwrap();
    let mut index = queue(bound + 100);
    let all = index.pick(&region(0), MAX_PASSED_OVER + 100, time(0), None);
    let give = |index: &mut QueueIndex, holder: u8, some: &[RequestId]| {
        for q in some {
            let ticket = TicketGrant {
                request: *q,
                ..grant(holder, 0, 0, 0, 10)
            };
            index.add_ticket(&ticket);
        }
    };
    // What another holder says it granted keeps nothing from a provider.
    give(&mut index, 1, &all[..40]);
    let (mine, other) = (certificate(0), certificate(2));
    assert_ne!(mine, other);
    let first = index.pick(&region(0), 20, time(1), Some(&mine));
    assert_eq!(first, all[..20]);
    give(&mut index, 0, &all[..20]);
    let (next, seen) = index.pick_counted(&region(0), 20, time(1), Some(&mine));
    assert_eq!((&next[..], seen), (&all[20..40], 40));
    let first = index.pick(&region(0), 20, time(1), Some(&other));
    assert_eq!(first, all[..20], "for another provider");
    // What was given up is picked again, as is what has lapsed.
    index.add_relist(&Relist {
        request: all[3],
        tickets: List::try_from(vec![ticket_id(&claim(0), &all[3])]).unwrap(),
        ..relist(0, 0, &[], &[])
    });
    assert_eq!(index.pick(&region(0), 1, time(1), Some(&mine)), [all[3]]);
    // However many there are: a look has its bound.
    give(&mut index, 0, &all);
    let (found, seen) = index.pick_counted(&region(0), 20, time(2), Some(&mine));
    assert_eq!((found, seen), (vec![all[3]], 20 + MAX_PASSED_OVER));
    let first = index.pick(&region(0), 20, time(10), Some(&mine));
    assert_eq!(first, all[..20]);
}

#[test]
fn a_waiting_request_is_small() {
    // With the key in the tree of slots, its place in the list and in the table of expiries.
    let bytes = size_of::<Slot>() + 40 + 68 + 32;
    assert!(bytes <= 320, "{bytes}");
}

/// An index in which request 0 has a ticket of claims 0 and 1 from holders 0 and 1.
fn ticketed() -> QueueIndex {
    let mut index = index();
    index.insert_entry(region(0), request(0), entry(0, END));
    for (h, c) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        index.add_ticket(&grant(h, 0, 0, c, 20));
    }
    index
}

fn may_lock(index: &QueueIndex, l: u8, c: u8) -> Result<Decision, Problem> {
    index.may_lock(
        &region(0),
        &request(0),
        &lock(l),
        &ticket(c, 0),
        &key(0),
        time(1),
    )
}

#[test]
fn one_lock_at_a_time_until_released_and_relisted() {
    let mut index = ticketed();
    assert_eq!(may_lock(&index, 1, 0), Ok(Decision::Granted));
    index.add_lock(&lock_grant(0, 0, 0, 0, 1));
    assert_eq!(may_lock(&index, 1, 0), Ok(Decision::Already));
    assert_eq!(may_lock(&index, 2, 1), Err(Problem::Locked));
    assert_eq!(
        index.locked(&region(0), &request(0)),
        None,
        "one grant of two"
    );
    index.add_lock(&lock_grant(1, 0, 0, 0, 1));
    assert_eq!(index.locked(&region(0), &request(0)), Some(lock(1)));

    index.add_release(&release(0, 0, 1), &claim_key(1));
    assert_eq!(
        may_lock(&index, 2, 1),
        Err(Problem::Locked),
        "another ticket's key"
    );
    index.add_release(&release(0, 0, 1), &claim_key(0));
    assert_eq!(index.locked(&region(0), &request(0)), None);
    assert_eq!(
        may_lock(&index, 1, 0),
        Err(Problem::BadTicket),
        "released for good"
    );
    assert_eq!(may_lock(&index, 2, 1), Ok(Decision::Granted));

    let late = time(30);
    assert!(index.pick(&region(0), 1, late, None).is_empty());
    let new = index.may_grant(&region(0), &request(0), &ticket(2, 0), late);
    assert_eq!(new, Err(Problem::Locked));
    index.add_relist(&relist(0, 0, &[], &[1]));
    assert_eq!(index.pick(&region(0), 1, late, None), [request(0)]);
}

#[test]
fn a_user_whose_offers_are_taken_is_listed_again_so_many_times() {
    let mut index = ticketed();
    let now = time(5);
    let listed = |index: &mut QueueIndex| index.pick(&region(0), 1, now, None);
    for c in 0..2 {
        let ticket = grant(0, 0, 0, c, 30);
        index.add_spend(&ticket, &spend(&ticket, 35));
    }
    assert!(
        listed(&mut index).is_empty(),
        "as many offers as it may have"
    );
    let may =
        |index: &QueueIndex, wish: &Relist, by: VerifyingKey| index.may_relist(wish, &by, now);
    let wish = relist(0, 0, &[0], &[]);
    assert_eq!(
        may(&index, &wish, claim_key(0)),
        Err(Problem::WrongSigner),
        "only the user gives offers up"
    );
    assert_eq!(may(&index, &wish, key(0)), Ok(()));
    index.add_relist(&wish);
    assert_eq!(listed(&mut index), [request(0)]);
    assert_eq!(may(&index, &wish, key(0)), Err(Problem::OldVersion));
    // Two offers, and one booking more than the first: four tickets in all.
    let rest = relist(0, 0, &[1, 2, 3], &[]);
    assert_eq!(may(&index, &rest, key(0)), Ok(()));
    index.add_relist(&rest);
    let fifth = relist(0, 0, &[4], &[]);
    assert_eq!(may(&index, &fifth, key(0)), Err(Problem::ReoffersUsed));
}

#[test]
fn a_token_is_booked_so_many_times() {
    let mut index = ticketed();
    for l in 1..=2 {
        assert_eq!(may_lock(&index, l, 0), Ok(Decision::Granted));
        index.add_lock(&lock_grant(0, 0, 0, 0, l));
        index.add_release(&release(0, 0, l), &key(0));
    }
    assert_eq!(may_lock(&index, 3, 0), Err(Problem::ReoffersUsed));
}

#[test]
fn one_false_holder_neither_frees_nor_blocks_nor_uses_up() {
    let mut index = ticketed();
    let forged = TicketGrant {
        key: claim_key(3),
        ..grant(2, 0, 0, 0, 20)
    };
    index.add_ticket(&forged);
    index.add_lock(&lock_grant(0, 0, 0, 0, 1));
    let refused = index.may_release(&release(0, 0, 1), &claim_key(3), time(1));
    assert_eq!(refused, Err(Problem::WrongSigner));
    index.add_release(&release(0, 0, 1), &claim_key(3));
    assert_eq!(may_lock(&index, 2, 1), Err(Problem::Locked));

    let mut index = ticketed();
    for l in 10..20 {
        index.add_lock(&lock_grant(2, 0, 0, 0, l));
    }
    assert_eq!(may_lock(&index, 1, 0), Ok(Decision::Granted));
}

#[test]
fn strangers_releases_are_refused_and_a_users_bounded() {
    let mut index = ticketed();
    index.add_lock(&lock_grant(0, 0, 0, 0, 1));
    let may = |index: &QueueIndex, l, by: &VerifyingKey| {
        index.may_release(&release(0, 0, l), by, time(1))
    };
    assert_eq!(may(&index, 1, &key(50)), Err(Problem::WrongSigner));
    assert_eq!(may(&index, 2, &claim_key(0)), Err(Problem::WrongSigner));
    assert_eq!(may(&index, 1, &claim_key(0)), Ok(()));
    for l in [2, 3] {
        assert_eq!(may(&index, l, &key(0)), Ok(()));
        index.add_release(&release(0, 0, l), &key(0));
    }
    assert_eq!(may(&index, 4, &key(0)), Err(Problem::CapReached));
    assert_eq!(may(&index, 3, &key(0)), Ok(()), "the same again");
    assert_eq!(may(&index, 1, &key(0)), Ok(()), "a lock that is known");
}

#[test]
fn debug_output_names_nobody() {
    let index = ticketed();
    assert!(!format!("{index:?}").contains("0000"));
    assert_eq!(format!("{:?}", entry(0, 1)), "Entry(redacted)");
}
