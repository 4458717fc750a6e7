//! Gossip: the names of topics, and the judgement on a message that came.
//!
//! A message is decoded strictly and checked against the chain of trust by a worker before it is
//! passed on. Rejecting costs the sender its standing, so only what is wrong for everybody is
//! rejected; what may be right for a node with another view is ignored.

use std::collections::BTreeMap;

use lapwing_core::Topic;
use lapwing_protocol::codec::from_bytes;
use lapwing_protocol::hash::record_hash;
use lapwing_protocol::id::{FederationId, MailboxId, NodeId, RecordId};
use lapwing_protocol::item::{self, CheckedItem, Item, ItemBytes};
use lapwing_protocol::mailbox::Written;
use lapwing_protocol::peer::{Gossip, MAX_GOSSIP};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::time::{Hour, Time};
use lapwing_protocol::trust::{CheckedTrust, TrustView};
use libp2p::gossipsub::{IdentTopic, TopicHash};

/// Most shards a federation may have.
const MAX_SHARDS: u16 = 256;

/// The topics of one federation.
#[derive(Debug)]
pub(crate) struct Topics {
    prefix: String,
    by_hash: BTreeMap<TopicHash, Topic>,
}

impl Topics {
    /// The topics of a federation.
    pub(crate) fn new(federation: &FederationId) -> Self {
        let mut topics = Self {
            prefix: format!("lapwing/{federation}"),
            by_hash: BTreeMap::new(),
        };
        let shards = (0..MAX_SHARDS).map(Topic::Shard);
        for topic in shards.chain([Topic::Trust]) {
            topics.by_hash.insert(topics.name(topic).hash(), topic);
        }
        topics
    }

    /// A topic's name.
    pub(crate) fn name(&self, topic: Topic) -> IdentTopic {
        IdentTopic::new(match topic {
            Topic::Trust => format!("{}/trust", self.prefix),
            Topic::Shard(n) => format!("{}/shard/{n}", self.prefix),
        })
    }

    /// The topic of a name.
    pub(crate) fn topic(&self, hash: &TopicHash) -> Option<Topic> {
        self.by_hash.get(hash).copied()
    }

    /// Whether these are the names of all topics that a node subscribes to: trust, and the shards of
    /// its roster, which may have another number of them than this node's. Fewer mean that some were
    /// lost: a graft tells of a topic, too, so that a peer whose subscriptions were lost may be known
    /// to have some.
    pub(crate) fn complete<'a>(&self, names: impl Iterator<Item = &'a TopicHash>) -> bool {
        let mut trust = false;
        let mut shards: u16 = 0;
        let mut highest = None;
        for topic in names.filter_map(|n| self.topic(n)) {
            match topic {
                Topic::Trust => trust = true,
                Topic::Shard(n) => {
                    shards += 1;
                    highest = highest.max(Some(n));
                }
            }
        }
        let contiguous = highest.is_none_or(|h| h + 1 == shards);
        trust && contiguous && (shards == 0 || shards.is_power_of_two())
    }

    /// All names.
    pub(crate) fn all(&self) -> impl Iterator<Item = TopicHash> {
        self.by_hash.keys().cloned()
    }
}

/// What a good message says.
#[derive(Debug)]
pub(crate) enum Heard {
    /// An item.
    Item(Box<CheckedItem>),
    /// Something was written to a mailbox.
    Written(MailboxId),
    /// A trust record.
    Trust(Box<CheckedTrust>),
    /// The sender has a trust record that this node has not, or cannot check yet.
    Have(RecordId),
}

/// What to do with a message.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Take it, and pass it on.
    Accept(Heard),
    /// Do not pass it on; there may be something to learn from it all the same.
    Ignore(Option<Heard>),
    /// Nobody can take this: it counts against the sender.
    Reject(&'static str),
}

/// Judges a message that came on `topic`.
pub(crate) fn judge(topic: Topic, data: &[u8], view: &TrustView, now: Time) -> Verdict {
    let Ok(message) = from_bytes::<Gossip>(data, MAX_GOSSIP) else {
        return Verdict::Reject("gossip that does not decode");
    };
    match (topic, message) {
        (Topic::Shard(shard), Gossip::Item(bytes)) => judge_item(shard, &bytes, view, now),
        (Topic::Shard(shard), Gossip::Written(written)) => {
            judge_written(shard, &written, view, now)
        }
        (Topic::Trust, Gossip::Trust(bytes)) => judge_trust(&bytes, view, now),
        (Topic::Trust, Gossip::TrustHave(id)) => match view.record(&id) {
            Some(_) => Verdict::Ignore(None),
            None => Verdict::Accept(Heard::Have(id)),
        },
        _ => Verdict::Reject("gossip on the wrong topic"),
    }
}

fn judge_item(shard: u16, bytes: &ItemBytes, view: &TrustView, now: Time) -> Verdict {
    let Some(params) = view.params() else {
        return Verdict::Ignore(None);
    };
    // Before the signature: a replay of old items must cost nothing.
    if !fresh(bytes.stamp, now.hour()) {
        return Verdict::Ignore(None);
    }
    let item = match item::check(bytes, view) {
        Ok(item) => item,
        Err(problem) if wrong_for_all(problem) => {
            return Verdict::Reject("gossiped item that fails its check");
        }
        Err(_) => return Verdict::Ignore(None),
    };
    if shard_of(&item.placement(), params.shards) != shard {
        // A roster with another number of shards may be on its way.
        return Verdict::Ignore(None);
    }
    if expires(&item) <= now {
        return Verdict::Ignore(None);
    }
    Verdict::Accept(Heard::Item(Box::new(item)))
}

fn judge_written(shard: u16, written: &Written, view: &TrustView, now: Time) -> Verdict {
    let Some(params) = view.params() else {
        return Verdict::Ignore(None);
    };
    if written.mailbox.expires() <= now {
        return Verdict::Ignore(None);
    }
    match item::check_written(written) {
        Ok(id) if shard_of(id.as_bytes(), params.shards) == shard => {
            Verdict::Accept(Heard::Written(id))
        }
        Err(problem) if wrong_for_all(problem) => {
            Verdict::Reject("a gossiped write that fails its check")
        }
        _ => Verdict::Ignore(None),
    }
}

fn judge_trust(bytes: &[u8], view: &TrustView, now: Time) -> Verdict {
    let id = record_hash(bytes);
    if view.record(&id).is_some() {
        return Verdict::Ignore(None);
    }
    match view.check(bytes, now) {
        Ok(checked) => Verdict::Accept(Heard::Trust(Box::new(checked))),
        Err(Problem::Malformed | Problem::TooLarge | Problem::OutOfBounds) => {
            Verdict::Reject("gossiped trust record that fails its check")
        }
        // What it builds on is not here yet: to be fetched in order from who has it.
        Err(
            Problem::NotFound
            | Problem::BrokenChain
            | Problem::WrongSigner
            | Problem::Busy
            | Problem::NotReady
            | Problem::UnknownRegion
            | Problem::UnknownCertificate,
        ) => Verdict::Ignore(Some(Heard::Have(id))),
        Err(_) => Verdict::Ignore(None),
    }
}

/// Whether a problem holds for every node, whatever its view of the chain of trust.
pub(crate) fn wrong_for_all(problem: Problem) -> bool {
    matches!(
        problem,
        Problem::Malformed
            | Problem::TooLarge
            | Problem::BadSignature
            | Problem::WrongSlot
            | Problem::WrongSize
            | Problem::WorkMissing
            | Problem::OutOfBounds
    )
}

/// Gossip is for what is new: stamped in this hour, the one before or the one after.
fn fresh(stamp: Hour, now: Hour) -> bool {
    stamp.get().abs_diff(now.get()) <= 1
}

/// The shard of an id: shards are equal ranges of the ids' first byte.
fn shard_of(id: &[u8; 32], shards: u16) -> u16 {
    let [first, ..] = *id;
    // At most 255 · 256 / 256.
    (u32::from(first) * u32::from(shards) / u32::from(MAX_SHARDS)) as u16
}

/// When an item expires.
fn expires(item: &CheckedItem) -> Time {
    match item.item() {
        Item::Opening(o) => o.expires(),
        Item::Admission(a) => a.expires,
        Item::Blob(b) => b.write().mailbox.expires(),
        Item::Deletion(d) => d.mailbox.expires(),
        Item::Mark(m) => m.mark.expires(),
        Item::Entry(e) => e.admission().expires,
        Item::Ticket(t) => t.expires,
        Item::Spend(s) => s.spend().expires,
        Item::Lock(l) => l.expires,
        Item::Release(r) => r.expires,
        Item::Relist(r) => r.expires,
        Item::Witness(a) => a.expires,
    }
}

/// Messages that wait for their check, by sender.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    all: usize,
    by_node: BTreeMap<NodeId, usize>,
}

impl Pending {
    /// Takes a place in the line, if there is one.
    pub(crate) fn enter(&mut self, node: NodeId, max: usize, max_per_peer: usize) -> bool {
        let of_node = self.by_node.entry(node).or_default();
        if self.all >= max || *of_node >= max_per_peer {
            return false;
        }
        *of_node += 1;
        self.all += 1;
        true
    }

    /// Gives it back.
    pub(crate) fn leave(&mut self, node: &NodeId) {
        self.all = self.all.saturating_sub(1);
        if let Some(n) = self.by_node.get_mut(node) {
            *n = n.saturating_sub(1);
            if *n == 0 {
                self.by_node.remove(node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use lapwing_protocol::bounded::Bytes;
    use lapwing_protocol::codec::to_bytes;
    use lapwing_protocol::key::SigningKey;
    use lapwing_protocol::mailbox::{
        BlobWrite, Life, Mailbox, SlotClass, WriteAuth, Writers, write_message,
    };
    use lapwing_protocol::size::SizeClass;
    use lapwing_protocol::testing::{Fixture, START, list};
    use lapwing_protocol::time::Seconds;

    use super::*;

    #[test]
    fn topics_are_the_federations_own() {
        let topics = Topics::new(&FederationId::from_bytes([1; 32]));
        let others = Topics::new(&FederationId::from_bytes([2; 32]));
        assert_eq!(topics.all().count(), 257);
        for topic in [Topic::Trust, Topic::Shard(0), Topic::Shard(255)] {
            let hash = topics.name(topic).hash();
            assert_eq!(topics.topic(&hash), Some(topic));
            assert_eq!(others.topic(&hash), None);
        }
    }

    #[test]
    fn lost_subscriptions_are_noticed() {
        let topics = Topics::new(&FederationId::from_bytes([1; 32]));
        let complete = |wanted: &[Topic]| {
            let names: Vec<_> = wanted.iter().map(|t| topics.name(*t).hash()).collect();
            topics.complete(names.iter())
        };
        let with = |n: u16| {
            (0..n)
                .map(Topic::Shard)
                .chain([Topic::Trust])
                .collect::<Vec<_>>()
        };
        assert!(complete(&[Topic::Trust]));
        assert!(complete(&with(1)) && complete(&with(16)) && complete(&with(256)));
        assert!(!complete(&[]));
        assert!(!complete(&with(15)));
        assert!(!complete(&[Topic::Trust, Topic::Shard(3)]));
        assert!(!complete(&(0..16).map(Topic::Shard).collect::<Vec<_>>()));
    }

    #[test]
    fn what_is_told_of_a_write_is_checked_like_the_write() {
        let fixture = Fixture::new(1, 1);
        let view = fixture.view();
        let key = SigningKey::from_seed(&[1; 32]);
        let mailbox = Mailbox {
            read: key.verifying_key(),
            writers: Writers::Keys(list(vec![key.verifying_key()])),
            size: SizeClass::Medium,
            slots: SlotClass::Sixteen,
            life: Life::Days14,
            day: START.day(),
            nonce: [1; 16],
        };
        let id = mailbox.id();
        let blob = vec![7; SizeClass::Medium.bytes()];
        let write = BlobWrite {
            auth: WriteAuth::Key(key.sign(&write_message(&id, 3, &blob))),
            mailbox,
            slot: 3,
            blob: Bytes::try_from(blob).unwrap(),
        };
        let good = Written::from(&write);
        let shard = shard_of(id.as_bytes(), view.params().unwrap().shards);
        let judged = |topic, written: &Written, now| {
            let data = to_bytes(&Gossip::Written(written.clone()));
            judge(topic, &data, &view, now)
        };
        let here = Topic::Shard(shard);
        let verdict = judged(here, &good, START);
        assert!(matches!(verdict, Verdict::Accept(Heard::Written(of)) if of == id));
        for wrong in [
            Written {
                blob: [0; 32],
                ..good.clone()
            },
            Written {
                slot: 4,
                ..good.clone()
            },
            Written {
                slot: 16,
                ..good.clone()
            },
        ] {
            assert!(matches!(judged(here, &wrong, START), Verdict::Reject(_)));
        }
        let verdict = judged(Topic::Trust, &good, START);
        assert!(matches!(verdict, Verdict::Reject(_)));
        let verdict = judged(Topic::Shard(shard ^ 1), &good, START);
        assert!(matches!(verdict, Verdict::Ignore(None)));
        let verdict = judged(here, &good, START.plus(Seconds::days(30)));
        assert!(matches!(verdict, Verdict::Ignore(None)));
        let stranger = Written {
            auth: WriteAuth::Work(1),
            ..good
        };
        assert!(matches!(
            judged(here, &stranger, START),
            Verdict::Ignore(None)
        ));
    }

    #[test]
    fn shards_are_equal_ranges() {
        let id = |first| {
            let mut id = [0xff; 32];
            id[0] = first;
            id
        };
        assert_eq!(shard_of(&id(255), 1), 0);
        assert_eq!(shard_of(&id(15), 16), 0);
        assert_eq!(shard_of(&id(16), 16), 1);
        assert_eq!(shard_of(&id(255), 16), 15);
        assert_eq!(shard_of(&id(200), 256), 200);
    }

    #[test]
    fn old_and_early_stamps_are_not_gossiped() {
        let now = Hour::new(100);
        for (stamp, want) in [
            (98, false),
            (99, true),
            (100, true),
            (101, true),
            (102, false),
        ] {
            assert_eq!(fresh(Hour::new(stamp), now), want, "{stamp}");
        }
    }

    #[test]
    fn the_line_has_a_place_for_every_peer() {
        let mut pending = Pending::default();
        let (a, b) = (NodeId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
        assert!(pending.enter(a, 3, 2));
        assert!(pending.enter(a, 3, 2));
        assert!(!pending.enter(a, 3, 2));
        assert!(pending.enter(b, 3, 2));
        assert!(!pending.enter(b, 3, 2));
        pending.leave(&a);
        assert!(pending.enter(b, 3, 2));
    }
}
