//! Items: everything that holders keep and exchange, under one roof.
//!
//! An item is checked once, by itself and against the chain of trust ([`check`]); what depends on what a
//! holder has stored (was the mailbox opened? is the ticket spent?) the node core decides.
//! See `docs/spec/items.md`.

mod verify;

use std::sync::Arc;

use crate::bounded::Bytes;
use crate::codec::to_bytes;
use crate::cose::Verified;
use crate::hash::hash;
use crate::id::{ItemId, MailboxId, RequestId, TicketId};
use crate::mailbox::{BlobWrite, Deletion, MAX_BLOB_WRITE, MarkState, Opening, Spend};
use crate::problem::Problem;
use crate::queue::{Admission, LockGrant, QueueEntry, Release, Relist, Request, TicketGrant};
use crate::time::{Hour, Time};
use crate::token::PriorityToken;
use crate::{wire_code, wire_struct};

pub use verify::{
    check, check_admission, check_blob_write, check_grant, check_request, check_ticket,
    check_written, make,
};

/// Most bytes of an item's body.
pub const MAX_ITEM: usize = MAX_BLOB_WRITE;

wire_code! {
    /// The kinds of items.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum ItemKind {
        /// A COSE [`Opening`].
        1 => Opening,
        /// A COSE [`Admission`], placed by the inbox that it opens.
        2 => Admission,
        /// A [`BlobWrite`].
        3 => Blob,
        /// A COSE [`Deletion`].
        4 => Deletion,
        /// A COSE [`MarkState`].
        5 => Mark,
        /// A [`QueueEntry`], placed by its region.
        6 => Entry,
        /// A COSE [`TicketGrant`], placed by its region.
        7 => Ticket,
        /// A COSE [`Spend`] with its region, placed by the region: see [`PlacedSpend`].
        8 => Spend,
        /// A COSE [`LockGrant`], placed by its region.
        9 => Lock,
        /// A COSE [`Release`], placed by its region.
        10 => Release,
        /// A COSE [`Relist`], placed by its region.
        11 => Relist,
        /// A COSE [`Admission`], placed by its token: where two admissions of one token meet.
        12 => Witness,
    }
}

wire_struct! {
    /// An item as it travels.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ItemBytes {
        /// The hour in which its coordinator stamped it.
        pub stamp: Hour,
        /// Its kind.
        pub kind: ItemKind,
        /// Its bytes, as the kind says.
        pub body: Bytes<MAX_ITEM>,
    }
}

wire_struct! {
    /// A spend as the region's holders keep it: with one grant, which names region and key.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct PlacedSpend {
        /// One COSE [`TicketGrant`] of the ticket.
        pub grant: Bytes<768>,
        /// The COSE [`Spend`].
        pub spend: Bytes<640>,
    }
}

/// A blob that was checked: its writer had the right to write to that slot.
#[derive(Clone, Debug)]
pub struct CheckedBlob {
    write: BlobWrite,
    id: MailboxId,
    ticket: Option<CheckedTicket>,
}

impl CheckedBlob {
    /// The write.
    pub fn write(&self) -> &BlobWrite {
        &self.write
    }
    /// The mailbox's id.
    pub fn mailbox(&self) -> MailboxId {
        self.id
    }
    /// The ticket it was paid with, if so.
    pub fn ticket(&self) -> Option<&CheckedTicket> {
        self.ticket.as_ref()
    }
}

/// A ticket with grants of enough holders.
#[derive(Clone, Debug)]
pub struct CheckedTicket {
    grants: Vec<Verified<TicketGrant>>,
    spend: Option<Verified<Spend>>,
}

impl CheckedTicket {
    /// The grants, by distinct holders; at least the write quorum.
    pub fn grants(&self) -> &[Verified<TicketGrant>] {
        &self.grants
    }
    /// The grant that speaks for all: they agree in everything but holder and lapse.
    pub fn grant(&self) -> &Verified<TicketGrant> {
        &self.grants[0]
    }
    /// The ticket's id.
    pub fn id(&self) -> TicketId {
        self.grant().ticket()
    }
    /// The spend, where the ticket paid for a write.
    pub fn spend(&self) -> Option<&Verified<Spend>> {
        self.spend.as_ref()
    }
}

/// A queue entry whose token, request and admission were checked and fit together.
#[derive(Clone, Debug)]
pub struct CheckedEntry {
    admission: Verified<Admission>,
    request: CheckedRequest,
}

impl CheckedEntry {
    /// The admission.
    pub fn admission(&self) -> &Verified<Admission> {
        &self.admission
    }
    /// The request.
    pub fn request(&self) -> &Verified<Request> {
        &self.request.0.request
    }
    /// The token.
    pub fn token(&self) -> &Verified<PriorityToken> {
        &self.request.0.token
    }
}

/// A request that is signed by the key of a token that a node of the roster issued.
#[derive(Clone, Debug)]
pub struct CheckedRequest(Arc<RequestParts>);

#[derive(Debug)]
struct RequestParts {
    request: Verified<Request>,
    token: Verified<PriorityToken>,
}

impl CheckedRequest {
    /// The request.
    pub fn request(&self) -> &Verified<Request> {
        &self.0.request
    }
    /// The token.
    pub fn token(&self) -> &Verified<PriorityToken> {
        &self.0.token
    }
}

/// A spend with the grant that says where it belongs.
#[derive(Clone, Debug)]
pub struct CheckedSpend {
    grant: Verified<TicketGrant>,
    spend: Verified<Spend>,
}

impl CheckedSpend {
    /// One grant of the ticket.
    pub fn grant(&self) -> &Verified<TicketGrant> {
        &self.grant
    }
    /// The spend.
    pub fn spend(&self) -> &Verified<Spend> {
        &self.spend
    }
}

/// What an item says, checked.
#[derive(Clone, Debug)]
pub enum Item {
    /// A mailbox or mark was opened.
    Opening(Verified<Opening>),
    /// A request was admitted, and its inbox opened.
    Admission(Verified<Admission>),
    /// A blob.
    Blob(Box<CheckedBlob>),
    /// A deletion.
    Deletion(Verified<Deletion>),
    /// A mark's state.
    Mark(Verified<MarkState>),
    /// A request in its queue.
    Entry(CheckedEntry),
    /// One holder's grant of a ticket.
    Ticket(Verified<TicketGrant>),
    /// A ticket was spent.
    Spend(Box<CheckedSpend>),
    /// One holder's grant of a booking lock.
    Lock(Verified<LockGrant>),
    /// A booking lock was freed; the core checks that its signer may.
    Release(Verified<Release>),
    /// A request is listed again; the core checks that its signer may.
    Relist(Verified<Relist>),
    /// A token was admitted.
    Witness(Verified<Admission>),
}

/// An item that was checked.
#[derive(Clone, Debug)]
pub struct CheckedItem {
    id: ItemId,
    stamp: Hour,
    item: Arc<Item>,
    body: Arc<[u8]>,
}

impl CheckedItem {
    /// The item's id: a hash of kind and body.
    pub fn id(&self) -> ItemId {
        self.id
    }
    /// The hour in which it was stamped.
    pub fn stamp(&self) -> Hour {
        self.stamp
    }
    /// What it says.
    pub fn item(&self) -> &Item {
        &self.item
    }
    /// Its bytes.
    pub fn body(&self) -> &Arc<[u8]> {
        &self.body
    }
    /// Its kind.
    pub fn kind(&self) -> ItemKind {
        match &*self.item {
            Item::Opening(_) => ItemKind::Opening,
            Item::Admission(_) => ItemKind::Admission,
            Item::Blob(_) => ItemKind::Blob,
            Item::Deletion(_) => ItemKind::Deletion,
            Item::Mark(_) => ItemKind::Mark,
            Item::Entry(_) => ItemKind::Entry,
            Item::Ticket(_) => ItemKind::Ticket,
            Item::Spend(_) => ItemKind::Spend,
            Item::Lock(_) => ItemKind::Lock,
            Item::Release(_) => ItemKind::Release,
            Item::Relist(_) => ItemKind::Relist,
            Item::Witness(_) => ItemKind::Witness,
        }
    }
    /// The id by which its holders are found.
    pub fn placement(&self) -> [u8; 32] {
        match &*self.item {
            Item::Opening(o) => *o.place.id().as_bytes(),
            Item::Admission(a) => *a.inbox.as_bytes(),
            Item::Blob(b) => *b.id.as_bytes(),
            Item::Deletion(d) => *d.mailbox.id().as_bytes(),
            Item::Mark(m) => *m.mark.id().as_bytes(),
            Item::Entry(e) => *e.admission.region.as_bytes(),
            Item::Ticket(t) => *t.region.as_bytes(),
            Item::Spend(s) => *s.grant.region.as_bytes(),
            Item::Lock(l) => *l.region.as_bytes(),
            Item::Release(r) => *r.region.as_bytes(),
            Item::Relist(r) => *r.region.as_bytes(),
            Item::Witness(a) => *a.token.as_bytes(),
        }
    }
    /// The item as it travels.
    pub fn to_wire(&self) -> ItemBytes {
        // A checked body came in through the same bound.
        ItemBytes {
            stamp: self.stamp,
            kind: self.kind(),
            body: Bytes::try_from(self.body.to_vec()).unwrap_or_default(),
        }
    }
    /// The same item with another stamp: the earlier of two wins wherever replicas meet.
    pub fn restamped(&self, stamp: Hour) -> Self {
        CheckedItem {
            stamp,
            ..self.clone()
        }
    }
}

wire_struct! {
    /// Where an item is kept: its placement, the request it belongs to in a region's queue, its slot in a
    /// mailbox, kind and id. The same on every replica; ordered as replicas list it.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct ItemKey {
        /// The id by which its holders are found: a mailbox, a mark or a region.
        pub placement: [u8; 32],
        /// In a region's queue: the request.
        pub request: Option<RequestId>,
        /// In a mailbox: the slot; zero elsewhere.
        pub slot: u32,
        /// The kind.
        pub kind: ItemKind,
        /// The item.
        pub id: ItemId,
    }
}

impl core::fmt::Debug for ItemKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "ItemKey({:?}, redacted)", self.kind)
    }
}

/// Items made of parts that were checked, or that this node has just signed.
impl CheckedItem {
    fn new(item: Item, body: &[u8], stamp: Hour) -> Self {
        let mut made = CheckedItem {
            id: ItemId::from_bytes([0; 32]),
            stamp,
            item: Arc::new(item),
            body: Arc::from(body),
        };
        made.id = item_id(made.kind(), body);
        made
    }
    /// An opening.
    pub fn opening(opening: Verified<Opening>, stamp: Hour) -> Self {
        let body = opening.bytes().clone();
        Self::new(Item::Opening(opening), &body, stamp)
    }
    /// An admission, as the opening of an inbox.
    pub fn admission(admission: Verified<Admission>, stamp: Hour) -> Self {
        let body = admission.bytes().clone();
        Self::new(Item::Admission(admission), &body, stamp)
    }
    /// An admission, as what its token's holders keep.
    pub fn witness(admission: Verified<Admission>, stamp: Hour) -> Self {
        let body = admission.bytes().clone();
        Self::new(Item::Witness(admission), &body, stamp)
    }
    /// A queue entry.
    ///
    /// # Errors
    /// [`Problem::TooLarge`] beyond the bounds of [`QueueEntry`].
    pub fn entry(entry: CheckedEntry, stamp: Hour) -> Result<Self, Problem> {
        let wire = QueueEntry {
            admission: Bytes::try_from(entry.admission.bytes().to_vec())
                .map_err(|_| Problem::TooLarge)?,
            request: Bytes::try_from(entry.request.0.request.bytes().to_vec())
                .map_err(|_| Problem::TooLarge)?,
        };
        Ok(Self::new(Item::Entry(entry), &to_bytes(&wire), stamp))
    }
    /// A holder's grant of a ticket.
    pub fn ticket(grant: Verified<TicketGrant>, stamp: Hour) -> Self {
        let body = grant.bytes().clone();
        Self::new(Item::Ticket(grant), &body, stamp)
    }
    /// A holder's grant of a lock.
    pub fn lock(grant: Verified<LockGrant>, stamp: Hour) -> Self {
        let body = grant.bytes().clone();
        Self::new(Item::Lock(grant), &body, stamp)
    }
    /// The spend of a ticket that paid for a write; none where it paid for nothing.
    pub fn spend(ticket: &CheckedTicket, stamp: Hour) -> Option<Self> {
        let body = placed_spend(ticket)?;
        let spend = CheckedSpend {
            grant: ticket.grant().clone(),
            spend: ticket.spend()?.clone(),
        };
        Some(Self::new(Item::Spend(Box::new(spend)), &body, stamp))
    }

    /// Where it is kept.
    pub fn key(&self) -> ItemKey {
        let (request, slot) = match &*self.item {
            Item::Opening(_) | Item::Admission(_) | Item::Mark(_) | Item::Witness(_) => (None, 0),
            Item::Blob(b) => (None, b.write.slot),
            Item::Deletion(d) => (None, d.slot),
            Item::Entry(e) => (Some(e.admission.request), 0),
            Item::Ticket(t) => (Some(t.request), 0),
            Item::Spend(s) => (Some(s.grant.request), 0),
            Item::Lock(l) => (Some(l.request), 0),
            Item::Release(r) => (Some(r.request), 0),
            Item::Relist(r) => (Some(r.request), 0),
        };
        ItemKey {
            placement: self.placement(),
            request,
            slot,
            kind: self.kind(),
            id: self.id,
        }
    }

    /// When it expires; the same on every replica.
    pub fn expires(&self) -> Time {
        match &*self.item {
            Item::Opening(o) => o.expires(),
            Item::Admission(a) => a.expires,
            Item::Blob(b) => b.write.mailbox.expires(),
            Item::Deletion(d) => d.mailbox.expires(),
            Item::Mark(m) => m.mark.expires(),
            Item::Entry(e) => e.admission.expires,
            Item::Ticket(t) => t.expires,
            Item::Spend(s) => s.grant.expires,
            Item::Lock(l) => l.expires,
            Item::Release(r) => r.expires,
            Item::Relist(r) => r.expires,
            Item::Witness(a) => a.expires,
        }
    }
}

/// The id of an item: a hash of its kind and body.
pub fn item_id(kind: ItemKind, body: &[u8]) -> ItemId {
    ItemId::from_bytes(hash(
        "lapwing/v1/item",
        &(kind, *blake3::hash(body).as_bytes()),
    ))
}

/// The id of a request: its record id, as a private id.
pub fn request_id(request: &Verified<Request>) -> crate::id::RequestId {
    crate::id::RequestId::from_bytes(*request.id().as_bytes())
}

/// The body of a [`PlacedSpend`] for the spend that paid for a write.
pub fn placed_spend(ticket: &CheckedTicket) -> Option<Vec<u8>> {
    let spend = ticket.spend()?;
    let placed = PlacedSpend {
        grant: Bytes::try_from(ticket.grant().bytes().to_vec()).ok()?,
        spend: Bytes::try_from(spend.bytes().to_vec()).ok()?,
    };
    Some(to_bytes(&placed))
}
