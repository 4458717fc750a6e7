//! Mailboxes and marks: ids that are capabilities, openings, writes, reads, deletions, receipts.
//!
//! See `docs/spec/mailboxes.md`. A mailbox's id is the hash of its description, so the id says who may
//! write and who may read; nobody can squat it, and it says nothing else.

use crate::bounded::{Bytes, List};
use crate::cose::Record;
use crate::hash::hash;
use crate::id::{ItemId, MailboxId, NodeId, RecordId, RequestId, TicketId};
use crate::key::{Signature, VerifyingKey};
use crate::problem::Problem;
use crate::size::SizeClass;
use crate::time::{Day, Time};
use crate::{wire_code, wire_enum, wire_struct};

/// Most bytes of a blob: an envelope of the largest size.
pub const MAX_BLOB: usize = 65_536;
/// Most keys that may write to one mailbox.
pub const MAX_WRITERS: usize = 4;
/// Most mailboxes and marks in one order to open.
pub const MAX_OPEN: usize = 32;
/// Most signatures on a ticket, a lock or a receipt.
pub const MAX_GRANTS: usize = 8;

wire_code! {
    /// How long a mailbox lives, counted from the end of the day it was opened.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Life {
        /// Two days.
        1 => Days2,
        /// Fourteen days.
        2 => Days14,
        /// Forty-two days.
        3 => Days42,
        /// A hundred and twenty days.
        4 => Days120,
    }
}

impl Life {
    /// The life in whole days.
    pub fn days(self) -> u32 {
        match self {
            Life::Days2 => 2,
            Life::Days14 => 14,
            Life::Days42 => 42,
            Life::Days120 => 120,
        }
    }
}

wire_code! {
    /// How many slots a mailbox has.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum SlotClass {
        /// Four: a short exchange.
        1 => Four,
        /// Sixteen: a channel.
        2 => Sixteen,
        /// Free: slots are numbers of 32 bits; what is admitted there bounds them.
        3 => Free,
    }
}

impl SlotClass {
    /// Whether a slot number is within the class.
    pub fn contains(self, slot: u32) -> bool {
        match self {
            SlotClass::Four => slot < 4,
            SlotClass::Sixteen => slot < 16,
            SlotClass::Free => true,
        }
    }
}

wire_enum! {
    /// Who may write.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Writers {
        /// The holders of these keys; slot `s` belongs to key `s` modulo their number. At least one.
        1 => Keys(List<VerifyingKey, MAX_WRITERS>),
        /// Who holds a ticket for the request that opened the inbox; the slot is [`ticket_slot`].
        2 => Tickets,
        /// Anybody who does so many leading zero bits of work on the write.
        3 => Work(u8),
    }
}

wire_struct! {
    /// The description of a mailbox; its hash is its id.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Mailbox {
        /// The key that may read and delete.
        pub read: VerifyingKey,
        /// Who may write.
        pub writers: Writers,
        /// The one size of its blobs.
        pub size: SizeClass,
        /// How many slots.
        pub slots: SlotClass,
        /// How long it lives.
        pub life: Life,
        /// The day from whose end its life counts; it is opened within a day of it.
        pub day: Day,
        /// Random.
        pub nonce: [u8; 16],
    }
}

impl Mailbox {
    /// The mailbox's id.
    pub fn id(&self) -> MailboxId {
        MailboxId::from_bytes(hash("lapwing/v1/mailbox", self))
    }

    /// When the mailbox and all that it holds expire: the end of its day plus its life.
    pub fn expires(&self) -> Time {
        self.day.plus(self.life.days() + 1).start()
    }
}

wire_struct! {
    /// The description of a mark: a small public register. Its hash is its id.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Mark {
        /// The key that may set it.
        pub key: VerifyingKey,
        /// How long it lives.
        pub life: Life,
        /// The day from whose end its life counts; it is opened within a day of it.
        pub day: Day,
        /// Random.
        pub nonce: [u8; 16],
    }
}

impl Mark {
    /// The mark's id.
    pub fn id(&self) -> MailboxId {
        MailboxId::from_bytes(hash("lapwing/v1/mark", self))
    }

    /// When the mark expires: the end of its day plus its life.
    pub fn expires(&self) -> Time {
        self.day.plus(self.life.days() + 1).start()
    }
}

wire_enum! {
    /// What can be opened.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Place {
        /// A mailbox.
        1 => Mailbox(Mailbox),
        /// A mark.
        2 => Mark(Mark),
    }
}

impl Place {
    /// The id of what is opened.
    pub fn id(&self) -> MailboxId {
        match self {
            Place::Mailbox(m) => m.id(),
            Place::Mark(m) => m.id(),
        }
    }

    /// The day from which its life counts.
    pub fn day(&self) -> Day {
        match self {
            Place::Mailbox(m) => m.day,
            Place::Mark(m) => m.day,
        }
    }

    /// When it expires.
    pub fn expires(&self) -> Time {
        match self {
            Place::Mailbox(m) => m.expires(),
            Place::Mark(m) => m.expires(),
        }
    }
}

wire_enum! {
    /// What pays for an opening. (An inbox is paid for by the admission of its request.)
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Payment {
        /// The signature of a provider on the order; names its certificate.
        1 => Provider(RecordId),
        /// The signature of a mediator's signing key on the order; names its certificate.
        2 => Mediator(RecordId),
    }
}

wire_struct! {
    /// An order to open mailboxes and marks, signed by who pays.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct OpenOrder {
        /// The node asked; no other accepts it.
        pub node: NodeId,
        /// What pays.
        pub payment: Payment,
        /// What to open.
        pub places: List<Place, MAX_OPEN>,
        /// When it was signed; fresh within the federation's clock skew.
        pub time: Time,
    }
}

impl Record for OpenOrder {
    const TYPE: u64 = 20;
    const DOMAIN: &'static str = "lapwing/v1/open-order";
    const MAX: usize = 16 * 1024;
}

wire_struct! {
    /// A node's signed statement that a mailbox or mark was opened and paid for.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Opening {
        /// The node that opened it, and signs.
        pub node: NodeId,
        /// What was opened.
        pub place: Place,
        /// The day.
        pub day: Day,
        /// Counts the node's openings of that day from zero; below the federation's cap.
        pub serial: u32,
    }
}

impl Record for Opening {
    const TYPE: u64 = 19;
    const DOMAIN: &'static str = "lapwing/v1/opening";
    const MAX: usize = 1024;
}

impl Opening {
    /// The time at which it and all it holds expire.
    pub fn expires(&self) -> Time {
        self.place.expires()
    }
}

wire_struct! {
    /// Spends a ticket: the write of one offer to one user's inbox; signed by the ticket's key.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Spend {
        /// The request the ticket is for.
        pub request: RequestId,
        /// The ticket.
        pub ticket: TicketId,
        /// The inbox written to.
        pub mailbox: MailboxId,
        /// BLAKE3 of the blob.
        pub blob: [u8; 32],
        /// Until when the offer is open.
        pub offer_expires: Time,
        /// When the request expires, as the ticket says.
        pub expires: Time,
    }
}

impl Record for Spend {
    const TYPE: u64 = 23;
    const DOMAIN: &'static str = "lapwing/v1/spend";
    const MAX: usize = 512;
}

/// The slot of an inbox that a ticket writes to: its first four bytes, big-endian.
pub fn ticket_slot(ticket: &TicketId) -> u32 {
    let b = ticket.as_bytes();
    u32::from_be_bytes([b[0], b[1], b[2], b[3]])
}

wire_struct! {
    /// A write paid for by a ticket.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct TicketAuth {
        /// The holders' grants of one ticket (COSE [`crate::queue::TicketGrant`]), by distinct holders.
        pub grants: List<Bytes<768>, MAX_GRANTS>,
        /// The COSE [`Spend`].
        pub spend: Bytes<640>,
    }
}

wire_enum! {
    /// What authorises a write.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum WriteAuth {
        /// The slot's key, over [`write_message`].
        1 => Key(Signature),
        /// A ticket.
        2 => Ticket(TicketAuth),
        /// Work: [`write_work`] of this nonce has enough leading zero bits.
        3 => Work(u64),
    }
}

wire_struct! {
    /// A blob for a slot of a mailbox, with all that is needed to check it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct BlobWrite {
        /// The mailbox.
        pub mailbox: Mailbox,
        /// The slot.
        pub slot: u32,
        /// An envelope of exactly the mailbox's size.
        pub blob: Bytes<MAX_BLOB>,
        /// What authorises it.
        pub auth: WriteAuth,
    }
}

wire_struct! {
    /// That a blob was written, without the blob: what is told of those that are not gossiped whole.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Written {
        /// The mailbox.
        pub mailbox: Mailbox,
        /// The slot.
        pub slot: u32,
        /// BLAKE3 of the blob.
        pub blob: [u8; 32],
        /// What authorised it.
        pub auth: WriteAuth,
    }
}

impl From<&BlobWrite> for Written {
    fn from(write: &BlobWrite) -> Self {
        Written {
            mailbox: write.mailbox.clone(),
            slot: write.slot,
            blob: *blake3::hash(&write.blob).as_bytes(),
            auth: write.auth.clone(),
        }
    }
}

/// Longest encoding of a [`BlobWrite`].
pub const MAX_BLOB_WRITE: usize = MAX_BLOB + 8 * 1024;

/// The bytes that a slot's key signs for a write: mailbox id, slot and BLAKE3 of the blob.
pub fn write_message(mailbox: &MailboxId, slot: u32, blob: &[u8]) -> [u8; 32] {
    written_message(mailbox, slot, blake3::hash(blob).as_bytes())
}

/// [`write_message`] by the blob's BLAKE3.
pub fn written_message(mailbox: &MailboxId, slot: u32, blob: &[u8; 32]) -> [u8; 32] {
    hash("lapwing/v1/blob-write", &(*mailbox, slot, *blob))
}

/// The hash on which the work of a write to an open box is done.
pub fn write_work(message: &[u8; 32], nonce: u64) -> [u8; 32] {
    hash("lapwing/v1/write-work", &(*message, nonce))
}

wire_struct! {
    /// Deletes what is in a slot; signed by the read key, kept until the mailbox expires.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Deletion {
        /// The mailbox.
        pub mailbox: Mailbox,
        /// The slot.
        pub slot: u32,
    }
}

impl Record for Deletion {
    const TYPE: u64 = 29;
    const DOMAIN: &'static str = "lapwing/v1/deletion";
    const MAX: usize = 1024;
}

wire_code! {
    /// What a mark says.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum MarkValue {
        /// The slot is open.
        1 => Open,
        /// The slot is taken; wins a tie of versions.
        2 => Taken,
    }
}

wire_struct! {
    /// A mark's state; signed by the mark's key.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct MarkState {
        /// The mark.
        pub mark: Mark,
        /// The highest wins.
        pub version: u64,
        /// What it says.
        pub value: MarkValue,
        /// By which booking it is taken ([`mark_by`]), so that the states of two bookings differ; zeros
        /// ([`NO_BOOKING`]) while it is open, or taken back by its provider.
        pub by: [u8; 16],
    }
}

impl Record for MarkState {
    const TYPE: u64 = 30;
    const DOMAIN: &'static str = "lapwing/v1/mark-state";
    const MAX: usize = 512;
}

impl MarkState {
    /// Whether it names a booking only where there is one.
    ///
    /// # Errors
    /// [`Problem::OutOfBounds`] for an open mark that names one.
    pub fn validate(&self) -> Result<(), Problem> {
        if self.value == MarkValue::Open && self.by != NO_BOOKING {
            return Err(Problem::OutOfBounds);
        }
        Ok(())
    }

    /// Which of two states counts: the greater. On a tie of versions "taken" wins, then the greater `by`.
    pub fn order(&self) -> (u64, MarkValue, [u8; 16]) {
        (self.version, self.value, self.by)
    }
}

/// The `by` of a [`MarkState`] that no booking set.
pub const NO_BOOKING: [u8; 16] = [0; 16];

/// What a mark names the booking by that took its slot: the first 16 bytes of
/// `hash("lapwing/v1/mark-by", id)` of the booking's record id. It says nothing to who does not know
/// the booking.
pub fn mark_by(booking: &RecordId) -> [u8; 16] {
    let hash = hash("lapwing/v1/mark-by", booking);
    let mut by = NO_BOOKING;
    by.copy_from_slice(&hash[..16]);
    by
}

wire_struct! {
    /// Proves the right to read a mailbox: signed by its read key, bound to node and time.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ReadProof {
        /// The mailbox.
        pub mailbox: Mailbox,
        /// The node asked; it may pass the proof on to other holders.
        pub node: NodeId,
        /// When it was signed; fresh within the federation's clock skew.
        pub time: Time,
    }
}

impl Record for ReadProof {
    const TYPE: u64 = 28;
    const DOMAIN: &'static str = "lapwing/v1/read-proof";
    const MAX: usize = 1024;
}

wire_struct! {
    /// One holder's statement that it has an item on disk.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Ack {
        /// The holder.
        pub holder: NodeId,
        /// The roster's sequence by which it holds.
        pub roster: u64,
        /// Its signature over [`ack_message`].
        pub signature: Signature,
    }
}

/// The bytes a holder signs for an item it has on disk.
pub fn ack_message(holder: &NodeId, roster: u64, item: &ItemId) -> [u8; 32] {
    hash("lapwing/v1/ack", &(*holder, roster, *item))
}

wire_struct! {
    /// What a writer gets: W holders' acknowledgements of one item.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Receipt {
        /// The item.
        pub item: ItemId,
        /// The acknowledgements, by distinct holders.
        pub acks: List<Ack, MAX_GRANTS>,
    }
}

wire_struct! {
    /// One blob as a read returns it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Entry {
        /// The slot.
        pub slot: u32,
        /// The item's id; where two writes to one slot exist both are returned, ordered by it.
        pub item: ItemId,
        /// The ticket's grants where it was written by ticket, else empty.
        pub grants: List<Bytes<768>, MAX_GRANTS>,
        /// The envelope.
        pub blob: Bytes<MAX_BLOB>,
    }
}

wire_struct! {
    /// A page of a mailbox, ordered by slot, then item id.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Page {
        /// The entries.
        pub entries: List<Entry, 64>,
        /// Whether there are more behind the last slot returned.
        pub more: bool,
    }
}
