//! The index against the plain model, in any order of feeding.

use lapwing_protocol::queue::Release;
use lapwing_protocol::time::Time;
use proptest::prelude::*;

use super::model::{Fact, Model};
use super::tests::{
    END, LIMITS, certificate, claim_key, entry, grant, index, key, lock, lock_grant, node, region,
    release, relist, request, spend, ticket, time,
};
use super::*;

const REGIONS: u8 = 2;
const REQUESTS: u8 = 2;
const CLAIMS: u8 = 3;
const LOCKS: u8 = 3;

fn fact() -> impl Strategy<Value = Fact> {
    // Few ids, and most of them of one region: they must meet.
    let ids = (0..4u8, 0..6u8, 0..REQUESTS, 0..CLAIMS, 0..LOCKS);
    let rest = (0..10u8, 0..END, 0..END, 0..6u8);
    (ids, rest).prop_map(|((h, r, q, c, l), (kind, a, b, odd))| {
        let r = r / 5;
        let mut ticket = grant(h, r, q, c, a);
        if odd == 0 {
            // A false holder names a key of its own.
            ticket.key = claim_key((c + 1) % CLAIMS);
        }
        match kind {
            0 | 1 => Fact::Entry(region(r), request(q), entry(q, END - u64::from(odd))),
            2 | 3 => Fact::Ticket(ticket),
            4 => Fact::Spend(ticket.clone(), spend(&ticket, b)),
            5 | 6 => Fact::Lock(lock_grant(h, r, q, if odd == 0 { 0 } else { l % 2 }, l)),
            7 => Fact::Release(release(r, q, l), key(q)),
            8 if odd == 1 => Fact::Relist(relist(r, q, &[c], &[])),
            8 => Fact::Release(release(r, q, l), claim_key(c)),
            _ => Fact::Relist(relist(r, q, &[], &[l])),
        }
    })
}

/// Everything that can be asked, at one time.
fn check(
    index: &mut QueueIndex,
    model: &Model<'_>,
    now: Time,
    latest: Time,
) -> Result<(), TestCaseError> {
    for r in (0..REGIONS).map(region) {
        let known = model.requests(&r);
        prop_assert_eq!(index.len(&r), known.len());
        prop_assert_eq!(index.is_empty(&r), known.is_empty());
        prop_assert!(index.entries(&r).map(|(request, _)| request).eq(known));
        for count in [0, 1, 100] {
            let without = [None, Some(certificate(0)), Some(certificate(2))];
            for without in without.iter().map(Option::as_ref) {
                let picked = index.pick(&r, count, now, without);
                prop_assert_eq!(picked, model.pick(&r, count, latest, without));
            }
        }
        for n in 0..REQUESTS {
            let q = request(n);
            prop_assert_eq!(index.entry(&r, &q), model.entry(&r, &q));
            prop_assert_eq!(
                model.entry(&r, &q).and(index.locked(&r, &q)),
                model.locked(&r, &q)
            );
            for t in (0..CLAIMS).map(|c| ticket(c, n)) {
                prop_assert_eq!(
                    index.may_grant(&r, &q, &t, now),
                    model.may_grant(&r, &q, &t, now)
                );
                for l in (0..LOCKS).map(lock) {
                    for by in [key(n), key(n + 1)] {
                        prop_assert_eq!(
                            index.may_lock(&r, &q, &l, &t, &by, now),
                            model.may_lock(&r, &q, &l, &t, &by, now)
                        );
                    }
                }
            }
            for l in 0..LOCKS {
                for by in [key(n), claim_key(0), claim_key(1)] {
                    let release = Release {
                        region: r,
                        request: q,
                        lock: lock(l),
                        expires: time(END),
                    };
                    prop_assert_eq!(
                        index.may_release(&release, &by, now),
                        model.may_release(&r, &q, &lock(l), &by, now)
                    );
                }
            }
            for by in (0..2).map(key) {
                for (claims, locks) in [(&[0u8, 1][..], &[][..]), (&[], &[0u8, 1]), (&[2], &[1])] {
                    let mut wish = relist(0, 0, claims, locks);
                    (wish.region, wish.request) = (r, q);
                    prop_assert_eq!(
                        index.may_relist(&wish, &by, now),
                        model.may_relist(&wish, &by, now)
                    );
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// One set in two orders, asked at times that also step back: always what the model says.
    #[test]
    fn decisions_follow_from_the_set(
        (facts, shuffled) in prop::collection::vec(fact(), 0..60)
            .prop_flat_map(|facts| (Just(facts.clone()), Just(facts).prop_shuffle())),
        times in prop::collection::vec(0..END + 2, 1..4),
        (early, limits) in (0..60usize, (1..4u8, 0..3u8, 1..4u8)),
    ) {
        let (open_offers, reoffers, quorum) = limits;
        let other = Limits { open_offers, reoffers, quorum };
        for order in [&facts, &shuffled] {
            let mut index = index();
            let mut latest = Time::ZERO;
            for (n, fact) in order.iter().enumerate() {
                fact.feed(&mut index);
                if n == early {
                    let model = Model { facts: &order[..=n], limits: LIMITS, me: node(0) };
                    check(&mut index, &model, time(times[0]), time(times[0]))?;
                    latest = latest.max(time(times[0]));
                }
            }
            for limits in [LIMITS, other, LIMITS] {
                index.set_limits(limits);
                let model = Model { facts: order, limits, me: node(0) };
                for now in &times {
                    latest = latest.max(time(*now));
                    check(&mut index, &model, time(*now), latest)?;
                }
            }
        }
    }

    /// What expires goes, and changes nothing for the rest; its late items are not taken again.
    #[test]
    fn expiry_removes_the_expired_alone(
        facts in prop::collection::vec(fact(), 0..60),
        now in END - 6..END,
    ) {
        let now = time(now);
        let mut index = index();
        facts.iter().for_each(|fact| fact.feed(&mut index));
        let before = Model { facts: &facts, limits: LIMITS, me: node(0) };
        let gone: Vec<_> = (0..REGIONS)
            .map(region)
            .flat_map(|r| before.requests(&r).into_iter().map(move |q| (r, q)))
            .filter(|(r, q)| before.entry(r, q).is_some_and(|e| e.expires <= now))
            .collect();
        let mut removed = index.expire(now);
        removed.sort();
        prop_assert_eq!(&removed, &gone);
        let left: Vec<_> = facts
            .iter()
            .filter(|fact| !matches!(fact, Fact::Entry(r, q, _) if gone.contains(&(*r, *q))))
            .cloned()
            .collect();
        let model = Model { facts: &left, limits: LIMITS, me: node(0) };
        check(&mut index, &model, now, now)?;
        for (r, q) in gone {
            index.insert_entry(r, q, Entry { expires: now, ..entry(0, 0) });
            prop_assert_eq!(index.entry(&r, &q), None);
        }
        index.expire(time(END));
        prop_assert!(index.regions.is_empty());
        prop_assert_eq!(index.total(), 0);
    }
}
