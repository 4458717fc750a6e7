//! What nodes say to each other by request and response. See `docs/spec/peers.md`.
//!
//! [`PeerCall`] and [`PeerReply`] are the bytes; [`check_peer_call`] and [`check_reply`] turn them into what
//! the node core takes. Workers do that; the core never verifies a signature.

use crate::bounded::{Bytes, List};
use crate::client::{CheckedLock, check_claim, check_lock, check_proof};
use crate::cose::Verified;
use crate::id::{FederationId, MailboxId, NodeId, RecordId, RequestId};
use crate::item::{self, CheckedItem, CheckedRequest, ItemBytes, ItemKey, ItemKind};
use crate::mailbox::{Ack, ReadProof, Written, ack_message};
use crate::problem::Problem;
use crate::queue::{Admission, Challenge, ChallengeOrder, Claim, LockOrder, MAX_CLAIM};
use crate::time::{Hour, Time};
use crate::trust::{CheckedTrust, TrustView};
use crate::{wire_enum, wire_struct};

/// The request-response protocol's name.
pub const PROTOCOL: &str = "/lapwing/1";
/// Most items in one push or fetch.
pub const MAX_ITEMS: usize = 64;
/// Most bytes of items in one push or fetch; a sender stops before it.
pub const MAX_ITEM_BYTES: usize = 1024 * 1024;
/// Most bytes of a message.
pub const MAX_MESSAGE: usize = 2 * 1024 * 1024;
/// Most ids in one id list.
pub const MAX_IDS: usize = 2048;
/// Most digests in one answer.
pub const MAX_DIGESTS: usize = 256;
/// Most trust records in one id list.
pub const MAX_TRUST: usize = 16_384;

wire_struct! {
    /// The first thing two nodes say.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Hello {
        /// The federation.
        pub federation: FederationId,
        /// The sequence of the roster it follows; zero without one.
        pub roster: u64,
        /// Its clock.
        pub time: Time,
        /// The hash of the ids of the double admissions that it holds as proof, ascending.
        pub proofs: [u8; 32],
        /// The COSE [`Admission`] by the node addressed, of those it holds, with the highest serial: what
        /// that node has signed, whatever its own store still says.
        pub latest: Option<Bytes<640>>,
    }
}

/// A greeting whose admission, if there is one, carries a good signature.
#[derive(Clone, Debug)]
pub struct CheckedHello {
    /// What was said.
    pub hello: Hello,
    /// The admission in it; none where it does not hold, for rosters may differ.
    pub latest: Option<Verified<Admission>>,
}

impl CheckedHello {
    /// Checks a greeting.
    pub fn check(hello: Hello, trust: &TrustView) -> Self {
        let latest = hello.latest.as_ref();
        let latest = latest.and_then(|a| item::check_admission(a, trust).ok());
        CheckedHello { hello, latest }
    }
}

wire_struct! {
    /// Two admissions of one token that say different things: proof that its issuer cheats.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct DoubleAdmission {
        /// The COSE [`Admission`] with the lower record id.
        pub first: Bytes<640>,
        /// The other.
        pub second: Bytes<640>,
    }
}

/// Most double admissions that a node keeps and tells, in all; of one issuer it keeps one.
pub const MAX_PROOFS: usize = 512;

wire_struct! {
    /// Passes a client's read on to another holder.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ForwardedRead {
        /// The COSE read proof, bound to the node that passes it on.
        pub proof: Bytes<1280>,
        /// Only slots above this one.
        pub after: Option<u32>,
    }
}

wire_struct! {
    /// Asks for what opened a mailbox or mark, or brought a request into a region's queue.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct OpenedOrder {
        /// The mailbox, mark or region.
        pub placement: [u8; 32],
        /// In a region: the request.
        pub request: Option<RequestId>,
    }
}

wire_struct! {
    /// Asks a holder to grant tickets for a claim.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct GrantOrder {
        /// The COSE claim.
        pub claim: Bytes<2048>,
        /// Which requests; empty: the first of the list.
        pub requests: List<RequestId, MAX_CLAIM>,
    }
}

wire_struct! {
    /// One shard to compare: what both nodes hold and what expires at `from` or later.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Shard {
        /// The shard's number.
        pub shard: u16,
        /// Items that expire earlier are left out.
        pub from: Hour,
    }
}

wire_struct! {
    /// Asks for the ids of a shard.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct IdOrder {
        /// The shard.
        pub shard: Shard,
        /// Only keys above this one.
        pub after: Option<ItemKey>,
    }
}

wire_struct! {
    /// The digest of one shard.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Digest {
        /// The shard's number.
        pub shard: u16,
        /// How many items.
        pub count: u64,
        /// The XOR of the hashes of (id, stamp).
        pub xor: [u8; 32],
    }
}

wire_struct! {
    /// An item's key with its stamp.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub struct StampedKey {
        /// Where the item is kept.
        pub key: ItemKey,
        /// Its stamp.
        pub stamp: Hour,
    }
}

wire_enum! {
    /// A call from node to node.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum PeerCall {
        /// Who are you?
        1 => Hello(Hello),
        /// Take these items; the answer acknowledges each when it is on disk. Checked as fresh writes.
        2 => Push(List<ItemBytes, MAX_ITEMS>),
        /// What is in this mailbox?
        3 => Read(ForwardedRead),
        /// What do these marks say?
        4 => ReadMarks(List<MailboxId, 64>),
        /// The opening, admission or queue entry of this id.
        5 => Opened(OpenedOrder),
        /// Admit this request (COSE), whose token you issued.
        6 => Admit(Bytes<6400>),
        /// A challenge for a provider.
        7 => Challenge(ChallengeOrder),
        /// Grant tickets.
        8 => Grant(GrantOrder),
        /// Grant a booking lock.
        9 => Lock(LockOrder),
        /// The digests of all shards of what we both hold, from this expiry hour on.
        10 => Digests(Hour),
        /// The ids of a shard.
        11 => Ids(IdOrder),
        /// The items with these keys.
        12 => Items(List<ItemKey, MAX_ITEMS>),
        /// The ids of all trust records in force.
        13 => TrustIds,
        /// The trust records with these ids.
        14 => TrustRecords(List<RecordId, MAX_ITEMS>),
        /// The double admissions that you hold.
        15 => Proofs,
    }
}

wire_enum! {
    /// The answer for one pushed item.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum PushResult {
        /// It is on disk.
        1 => Stored(Ack),
        /// It was refused.
        2 => Refused(Problem),
    }
}

wire_struct! {
    /// Items in answer to a question, and whether there are more.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ItemList {
        /// The items.
        pub items: List<ItemBytes, MAX_ITEMS>,
        /// Whether there are more.
        pub more: bool,
    }
}

wire_enum! {
    /// An answer from node to node; the variants answer the calls of the same name.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum PeerReply {
        /// Who we are.
        1 => Hello(Hello),
        /// One a pushed item, in order.
        2 => Push(List<PushResult, MAX_ITEMS>),
        /// Items: the blobs of a mailbox, the states of marks, an opening, items by id.
        3 => Items(ItemList),
        /// The COSE admission.
        6 => Admission(Bytes<640>),
        /// The challenge.
        7 => Challenge(Challenge),
        /// The queue entries (as items) that were granted, each followed by the grant (as an item).
        8 => Grants(ItemList),
        /// The lock grant, as an item.
        9 => Lock(ItemBytes),
        /// Digests; shards that are empty are left out.
        10 => Digests(List<Digest, MAX_DIGESTS>),
        /// Ids, sorted; more follow where the list is full.
        11 => Ids(List<StampedKey, MAX_IDS>),
        /// Ids of trust records, parents first.
        13 => TrustIds(List<RecordId, MAX_TRUST>),
        /// Trust records.
        14 => TrustRecords(List<Bytes<1_052_672>, MAX_ITEMS>),
        /// Refused.
        15 => Refused(Problem),
        /// Double admissions.
        16 => Proofs(List<DoubleAdmission, MAX_PROOFS>),
    }
}

/// A peer's call whose contents were checked.
#[derive(Clone, Debug)]
pub enum CheckedPeerCall {
    /// Who are you?
    Hello(Box<CheckedHello>),
    /// Items, each checked or refused by itself.
    Push(Vec<Result<CheckedItem, Problem>>),
    /// Read a mailbox.
    Read(Verified<ReadProof>, Option<u32>),
    /// Read marks.
    ReadMarks(Vec<MailboxId>),
    /// The opening, admission or queue entry of an id.
    Opened(OpenedOrder),
    /// Admit a request.
    Admit(CheckedRequest),
    /// A challenge.
    Challenge(ChallengeOrder),
    /// Grant tickets.
    Grant(Box<Verified<Claim>>, Vec<RequestId>),
    /// Grant a lock.
    Lock(Box<CheckedLock>),
    /// Digests.
    Digests(Hour),
    /// Ids.
    Ids(IdOrder),
    /// Items by id.
    Items(Vec<ItemKey>),
    /// Trust record ids.
    TrustIds,
    /// Trust records.
    TrustRecords(Vec<RecordId>),
    /// Double admissions.
    Proofs,
}

/// Checks a call that came from the node `from`.
///
/// # Errors
/// The [`Problem`] of the first check that fails; items of a push fail one by one.
pub fn check_peer_call(
    call: PeerCall,
    from: &NodeId,
    trust: &TrustView,
    now: Time,
) -> Result<CheckedPeerCall, Problem> {
    Ok(match call {
        PeerCall::Hello(hello) => {
            CheckedPeerCall::Hello(Box::new(CheckedHello::check(hello, trust)))
        }
        PeerCall::Push(items) => {
            CheckedPeerCall::Push(items.iter().map(|i| item::check(i, trust)).collect())
        }
        PeerCall::Read(read) => {
            CheckedPeerCall::Read(check_proof(&read.proof, trust, from, now)?, read.after)
        }
        PeerCall::ReadMarks(ids) => CheckedPeerCall::ReadMarks(ids.to_vec()),
        PeerCall::Opened(id) => CheckedPeerCall::Opened(id),
        PeerCall::Admit(request) => CheckedPeerCall::Admit(item::check_request(&request, trust)?),
        PeerCall::Challenge(order) => CheckedPeerCall::Challenge(order),
        PeerCall::Grant(order) => CheckedPeerCall::Grant(
            Box::new(check_claim(&order.claim, trust, now)?),
            order.requests.to_vec(),
        ),
        PeerCall::Lock(order) => CheckedPeerCall::Lock(Box::new(check_lock(&order, trust, now)?)),
        PeerCall::Digests(from) => CheckedPeerCall::Digests(from),
        PeerCall::Ids(order) => CheckedPeerCall::Ids(order),
        PeerCall::Items(ids) => CheckedPeerCall::Items(ids.to_vec()),
        PeerCall::TrustIds => CheckedPeerCall::TrustIds,
        PeerCall::TrustRecords(ids) => CheckedPeerCall::TrustRecords(ids.to_vec()),
        PeerCall::Proofs => CheckedPeerCall::Proofs,
    })
}

/// A peer's reply whose contents were checked.
#[derive(Clone, Debug)]
pub enum CheckedReply {
    /// Who they are.
    Hello(Box<CheckedHello>),
    /// One a pushed item; acknowledgements carry a good signature of the peer.
    Push(Vec<Result<Ack, Problem>>),
    /// Items, those that failed their check left out and counted.
    Items {
        /// The good ones.
        items: Vec<CheckedItem>,
        /// Whether there are more.
        more: bool,
        /// How many were bad.
        bad: usize,
    },
    /// The admission of the request that was asked for.
    Admission(CheckedItem),
    /// A challenge.
    Challenge(Challenge),
    /// Granted entries and grants, as items.
    Grants(Vec<CheckedItem>),
    /// A lock grant.
    Lock(CheckedItem),
    /// Digests.
    Digests(Vec<Digest>),
    /// Ids.
    Ids(Vec<StampedKey>),
    /// Trust record ids.
    TrustIds(Vec<RecordId>),
    /// Trust records, as bytes: they are checked one after the other, since each may need the one before.
    TrustRecords(Vec<Vec<u8>>),
    /// Double admissions; those that prove nothing left out and counted.
    Proofs {
        /// What they prove.
        proofs: Vec<CheckedDouble>,
        /// How many prove nothing.
        bad: usize,
    },
}

/// Two admissions of one token by one issuer, with good signatures, that differ.
#[derive(Clone, Debug)]
pub struct CheckedDouble {
    first: Verified<Admission>,
    second: Verified<Admission>,
}

impl CheckedDouble {
    /// Puts two admissions together.
    ///
    /// # Errors
    /// [`Problem::NotFound`] where they prove nothing: of two tokens, or saying the same.
    pub fn new(a: Verified<Admission>, b: Verified<Admission>) -> Result<Self, Problem> {
        if a.issuer != b.issuer || a.token != b.token || a.payload_hash() == b.payload_hash() {
            return Err(Problem::NotFound);
        }
        let (first, second) = if a.id() < b.id() { (a, b) } else { (b, a) };
        Ok(CheckedDouble { first, second })
    }

    /// Checks what another node says is a proof.
    ///
    /// # Errors
    /// As [`item::check_admission`] and [`CheckedDouble::new`].
    pub fn check(proof: &DoubleAdmission, trust: &TrustView) -> Result<Self, Problem> {
        Self::new(
            item::check_admission(&proof.first, trust)?,
            item::check_admission(&proof.second, trust)?,
        )
    }

    /// Who cheated.
    pub fn issuer(&self) -> NodeId {
        self.first.issuer
    }

    /// The ids of the two admissions, ascending.
    pub fn ids(&self) -> (RecordId, RecordId) {
        (self.first.id(), self.second.id())
    }

    /// As it travels.
    pub fn to_wire(&self) -> DoubleAdmission {
        // A checked admission came in through the same bound, or was signed within it.
        let bytes = |a: &Verified<Admission>| Bytes::try_from(a.bytes().to_vec());
        DoubleAdmission {
            first: bytes(&self.first).unwrap_or_default(),
            second: bytes(&self.second).unwrap_or_default(),
        }
    }
}

/// Checks the reply of `from` to `call`.
///
/// # Errors
/// The peer's refusal, or the [`Problem`] of the first check that fails; [`Problem::Malformed`] where the
/// reply does not answer the call.
pub fn check_reply(
    call: &PeerCall,
    reply: PeerReply,
    from: &NodeId,
    trust: &TrustView,
    now: Time,
) -> Result<CheckedReply, Problem> {
    Ok(match (call, reply) {
        (_, PeerReply::Refused(problem)) => return Err(problem),
        (PeerCall::Hello(_), PeerReply::Hello(hello)) => {
            CheckedReply::Hello(Box::new(CheckedHello::check(hello, trust)))
        }
        (PeerCall::Push(items), PeerReply::Push(results)) => {
            if items.len() != results.len() {
                return Err(Problem::Malformed);
            }
            CheckedReply::Push(
                items
                    .iter()
                    .zip(results.iter())
                    .map(|(i, r)| check_push_result(i, r, from, trust))
                    .collect(),
            )
        }
        (
            PeerCall::Read(_) | PeerCall::ReadMarks(_) | PeerCall::Opened(_) | PeerCall::Items(_),
            PeerReply::Items(list),
        ) => {
            let (items, bad) = check_items(&list, trust);
            CheckedReply::Items {
                items,
                more: list.more,
                bad,
            }
        }
        (PeerCall::Admit(_), PeerReply::Admission(bytes)) => {
            CheckedReply::Admission(item::make(ItemKind::Admission, &bytes, now.hour(), trust)?)
        }
        (PeerCall::Challenge(_), PeerReply::Challenge(challenge)) => {
            if challenge.holder != *from {
                return Err(Problem::WrongSigner);
            }
            CheckedReply::Challenge(challenge)
        }
        (PeerCall::Grant(_), PeerReply::Grants(list)) => {
            let (items, bad) = check_items(&list, trust);
            if bad > 0 {
                return Err(Problem::BadSignature);
            }
            CheckedReply::Grants(items)
        }
        (PeerCall::Lock(_), PeerReply::Lock(bytes)) => {
            CheckedReply::Lock(item::check(&bytes, trust)?)
        }
        (PeerCall::Digests(_), PeerReply::Digests(digests)) => {
            CheckedReply::Digests(digests.to_vec())
        }
        (PeerCall::Ids(_), PeerReply::Ids(ids)) => CheckedReply::Ids(ids.to_vec()),
        (PeerCall::TrustIds, PeerReply::TrustIds(ids)) => CheckedReply::TrustIds(ids.to_vec()),
        (PeerCall::TrustRecords(_), PeerReply::TrustRecords(records)) => {
            CheckedReply::TrustRecords(records.iter().map(|r| r.to_vec()).collect())
        }
        (PeerCall::Proofs, PeerReply::Proofs(proofs)) => {
            let good: Vec<_> = proofs
                .iter()
                .filter_map(|p| CheckedDouble::check(p, trust).ok())
                .collect();
            CheckedReply::Proofs {
                bad: proofs.len() - good.len(),
                proofs: good,
            }
        }
        _ => return Err(Problem::Malformed),
    })
}

fn check_push_result(
    item: &ItemBytes,
    result: &PushResult,
    from: &NodeId,
    trust: &TrustView,
) -> Result<Ack, Problem> {
    match result {
        PushResult::Refused(problem) => Err(*problem),
        PushResult::Stored(ack) => {
            let key = trust.node_key(from).ok_or(Problem::WrongSigner)?;
            let id = item::item_id(item.kind, &item.body);
            if ack.holder != *from {
                return Err(Problem::WrongSigner);
            }
            key.verify(&ack_message(from, ack.roster, &id), &ack.signature)
                .map_err(|_| Problem::BadSignature)?;
            Ok(ack.clone())
        }
    }
}

fn check_items(list: &ItemList, trust: &TrustView) -> (Vec<CheckedItem>, usize) {
    let items: Vec<_> = list
        .items
        .iter()
        .filter_map(|i| item::check(i, trust).ok())
        .collect();
    let bad = list.items.len() - items.len();
    (items, bad)
}

/// A trust record that a worker checked for the core, or why not.
pub type TrustResult = Result<CheckedTrust, Problem>;

wire_enum! {
    /// What is gossiped. Durability never rests on it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Gossip {
        /// An item, on the topic of its shard: blobs of the smallest size, and marks.
        1 => Item(ItemBytes),
        /// A trust record of at most [`MAX_GOSSIP_TRUST`] bytes, on the trust topic.
        2 => Trust(Bytes<MAX_GOSSIP_TRUST>),
        /// A larger trust record: its id, to be fetched from who said so.
        3 => TrustHave(RecordId),
        /// That a blob of another size was written, on the topic of its shard.
        4 => Written(Written),
    }
}

/// Largest trust record that is gossiped whole.
pub const MAX_GOSSIP_TRUST: usize = 8 * 1024;
/// Largest gossip message.
pub const MAX_GOSSIP: usize = 16 * 1024;
