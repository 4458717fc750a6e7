//! The federation: its root keys, the roster of operators and nodes, and the registration of mediators.
//!
//! Who may sign what is in `docs/spec/trust.md`. These are the record types only; the rules that
//! accept them one after the other are in [`crate::trust`].

use crate::bounded::{List, Text};
use crate::cose::Record;
use crate::hash::hash;
use crate::id::{FederationId, MediatorId, NodeId, OperatorId};
use crate::key::VerifyingKey;
use crate::time::{Seconds, Time};
use crate::wire_struct;

/// Most operators in one roster.
pub const MAX_OPERATORS: usize = 512;
/// Most nodes of one operator.
pub const MAX_NODES_PER_OPERATOR: usize = 8;
/// Most federation root keys.
pub const MAX_ROOTS: usize = 16;

wire_struct! {
    /// What an app or a node pins: the name of a federation and the keys that may sign its roster.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Federation {
        /// A readable name, part of the id.
        pub name: Text<80>,
        /// The root keys, sorted by their bytes and distinct.
        pub roots: List<VerifyingKey, MAX_ROOTS>,
        /// How many of them must sign a roster; at least one, at most all.
        pub threshold: u8,
    }
}

impl Federation {
    /// The federation's id: a hash of name, roots and threshold, so that nobody can claim another's.
    pub fn id(&self) -> FederationId {
        FederationId::from_bytes(hash("lapwing/v1/federation", self))
    }
}

wire_struct! {
    /// The numbers that every node of a federation must use alike.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Params {
        /// R: how many holders an id is placed on while the federation has more nodes than that; 1 to 7.
        pub replicas: u8,
        /// Length of a lottery epoch.
        pub epoch: Seconds,
        /// How long after the end of its epoch a token may still be admitted and its request is kept.
        pub token_life: Seconds,
        /// Leading zero bits of the work over H that a priority token costs; at most 40.
        pub token_work: u8,
        /// Leading zero bits of the work on each write to a mailbox that anybody may write to; at most 40.
        pub box_work: u8,
        /// How many open offers a token may have before it leaves the list for a while.
        pub open_offers: u8,
        /// How many times a token may be booked anew after its first booking was released.
        pub reoffers: u8,
        /// How long an unspent ticket is good for.
        pub ticket_life: Seconds,
        /// How many requests one claim may ask for.
        pub claim_size: u8,
        /// How far a signed time may lie from the verifier's clock.
        pub clock_skew: Seconds,
        /// How many mailboxes and marks one node may open a permit day.
        pub openings_per_day: u32,
        /// How many operators must sign a mediator's registration.
        pub mediator_signatures: u8,
        /// Into how many shards ids are cut for gossip and comparison; a power of two, 1 to 256.
        pub shards: u16,
        /// How many priority tokens one node may issue, and so how many requests it may admit, a lottery
        /// epoch; at least one.
        pub tokens_per_epoch: u32,
    }
}

impl Params {
    /// The values a new federation starts with.
    pub fn standard() -> Self {
        Params {
            replicas: 3,
            epoch: Seconds::new(86_400),
            token_life: Seconds::new(14 * 86_400),
            token_work: 18,
            box_work: 16,
            open_offers: 3,
            reoffers: 3,
            ticket_life: Seconds::new(300),
            claim_size: 20,
            clock_skew: Seconds::new(300),
            openings_per_day: 200_000,
            mediator_signatures: 1,
            shards: 16,
            tokens_per_epoch: 200_000,
        }
    }

    /// Whether every number is within its bounds; a roster with others is refused.
    pub fn valid(&self) -> bool {
        (1..=7).contains(&self.replicas)
            && self.epoch.get() >= 60
            && self.token_life.get() >= 60
            && self.token_work <= 40
            && self.box_work <= 40
            && self.open_offers >= 1
            && self.ticket_life.get() >= 5
            && (1..=64).contains(&self.claim_size)
            && self.clock_skew.get() >= 5
            && self.mediator_signatures >= 1
            && self.shards.is_power_of_two()
            && self.shards <= 256
            && self.tokens_per_epoch >= 1
    }
}

wire_struct! {
    /// One node of an operator.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct NodeEntry {
        /// The node's id: its libp2p Ed25519 public key.
        pub id: NodeId,
        /// The key with which it signs tokens, admissions, openings, tickets, locks and receipts.
        pub signing: VerifyingKey,
    }
}

wire_struct! {
    /// One operator of the federation.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Operator {
        /// The operator's id, stable across keys.
        pub id: OperatorId,
        /// A readable name.
        pub name: Text<80>,
        /// The key with which it signs registrations of mediators.
        pub key: VerifyingKey,
        /// Its nodes.
        pub nodes: List<NodeEntry, MAX_NODES_PER_OPERATOR>,
    }
}

wire_struct! {
    /// Who is in the federation; signed by a threshold of its root keys (a multi-signed record).
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Roster {
        /// The federation it belongs to.
        pub federation: FederationId,
        /// Grows by at least one with every roster.
        pub sequence: u64,
        /// When it was signed.
        pub issued: Time,
        /// After this it is no longer to be followed.
        pub expires: Time,
        /// The numbers all nodes share.
        pub params: Params,
        /// The operators; ids, keys and node ids are distinct.
        pub operators: List<Operator, MAX_OPERATORS>,
    }
}

impl Record for Roster {
    const TYPE: u64 = 1;
    const DOMAIN: &'static str = "lapwing/v1/roster";
    const MAX: usize = 512 * 1024;
}

impl Roster {
    /// Every node with its operator, in the roster's order.
    pub fn nodes(&self) -> impl Iterator<Item = (&Operator, &NodeEntry)> {
        self.operators
            .iter()
            .flat_map(|o| o.nodes.iter().map(move |n| (o, n)))
    }

    /// The entry of a node, if it is in the roster.
    pub fn node(&self, id: &NodeId) -> Option<&NodeEntry> {
        self.nodes().map(|(_, n)| n).find(|n| n.id == *id)
    }
}

wire_struct! {
    /// Admits a mediator; signed by `mediator_signatures` operators of the roster (a multi-signed record).
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct MediatorRegistration {
        /// The federation it belongs to.
        pub federation: FederationId,
        /// The mediator: its offline root key.
        pub mediator: MediatorId,
        /// Grows with every registration of the same mediator.
        pub sequence: u64,
        /// A readable name.
        pub name: Text<80>,
        /// Prefixes of the postal codes it may serve; an empty text serves all, an empty list withdraws.
        pub areas: List<Text<16>, 1024>,
        /// When it was signed.
        pub issued: Time,
        /// After this the mediator is no longer registered.
        pub expires: Time,
    }
}

impl Record for MediatorRegistration {
    const TYPE: u64 = 2;
    const DOMAIN: &'static str = "lapwing/v1/mediator-registration";
    const MAX: usize = 64 * 1024;
}

impl MediatorRegistration {
    /// Whether the mediator may serve a postal code.
    pub fn serves(&self, postal_code: &str) -> bool {
        self.areas
            .iter()
            .any(|a| postal_code.starts_with(a.as_str()))
    }
}
