//! What all roles say alike: mailboxes, sealed writes, reads, and the checks of what a node returns.

use rand_core::CryptoRng;

use super::kept::{Blob, Many, Table};
use crate::booking::binding;
use crate::bounded::{Bytes, List};
use crate::client::{Call, CallKind, ReadOrder};
use crate::codec::{from_bytes, to_bytes};
use crate::cose::{Record, sign};
use crate::id::{ItemId, NodeId};
use crate::item::{ItemKind, item_id};
use crate::key::{SealingKey, SealingSecret, SigningKey, VerifyingKey};
use crate::mailbox::{
    BlobWrite, Entry, Life, MAX_BLOB_WRITE, Mailbox, Mark, Page, ReadProof, Receipt, SlotClass,
    WriteAuth, Writers, ack_message, write_message,
};
use crate::problem::Problem;
use crate::seal::{Purpose, SealError, open, seal};
use crate::size::SizeClass;
use crate::time::Time;
use crate::trust::TrustView;
use crate::wire_struct;
use zeroize::Zeroizing;

/// Whether the same call may succeed later or elsewhere, so that a role tries it again.
pub(crate) fn transient(problem: Problem) -> bool {
    problem.retry()
        || matches!(
            problem,
            Problem::StaleTime
                | Problem::CapReached
                | Problem::WrongNode
                | Problem::NotHolder
                | Problem::Internal
        )
}

/// Whether a refusal says that this view, or the node's, may be behind the other.
pub(crate) fn stale(problem: Problem) -> bool {
    matches!(
        problem,
        Problem::UnknownRegion
            | Problem::WrongKeyVersion
            | Problem::UnknownCertificate
            | Problem::StatusExpired
            | Problem::BrokenChain
            | Problem::WrongSigner
            | Problem::NotHolder
            | Problem::NotReady
            | Problem::BadTicket
    )
}

/// A new mailbox description, of today.
pub(crate) fn mailbox<R: CryptoRng + ?Sized>(
    read: &VerifyingKey,
    writers: Writers,
    (size, slots, life): (SizeClass, SlotClass, Life),
    now: Time,
    rng: &mut R,
) -> Mailbox {
    Mailbox {
        read: *read,
        writers,
        size,
        slots,
        life,
        day: now.day(),
        nonce: nonce(rng),
    }
}

/// A new mark description, of today.
pub(crate) fn mark<R: CryptoRng + ?Sized>(
    key: &VerifyingKey,
    life: Life,
    now: Time,
    rng: &mut R,
) -> Mark {
    Mark {
        key: *key,
        life,
        day: now.day(),
        nonce: nonce(rng),
    }
}

/// One writer.
pub(crate) fn only(key: &VerifyingKey) -> Writers {
    // One element is within any bound.
    Writers::Keys(List::try_from(vec![*key]).unwrap_or_default())
}

pub(crate) fn nonce<const N: usize, R: CryptoRng + ?Sized>(rng: &mut R) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// Seals content for a mailbox, in its size.
pub(crate) fn seal_for<R: CryptoRng + ?Sized>(
    mailbox: &Mailbox,
    to: &SealingKey,
    purpose: Purpose,
    content: &[u8],
    rng: &mut R,
) -> Result<Vec<u8>, SealError> {
    seal(
        to,
        purpose,
        &binding(&mailbox.id()),
        0,
        &[],
        content,
        mailbox.size,
        rng,
    )
}

/// Opens an envelope that was in a mailbox.
pub(crate) fn open_from(
    mailbox: &Mailbox,
    secret: &SealingSecret,
    purpose: Purpose,
    envelope: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    open(secret, purpose, &binding(&mailbox.id()), 0, &[], envelope)
}

/// A write to a slot by its key.
pub(crate) fn keyed_write(
    mailbox: &Mailbox,
    slot: u32,
    blob: Vec<u8>,
    key: &SigningKey,
) -> Result<Vec<u8>, Problem> {
    let signature = key.sign(&write_message(&mailbox.id(), slot, &blob));
    let blob = Bytes::try_from(blob).map_err(|_| Problem::TooLarge)?;
    Ok(to_bytes(&BlobWrite {
        mailbox: mailbox.clone(),
        slot,
        blob,
        auth: WriteAuth::Key(signature),
    }))
}

/// Signed bytes in the bounds of the field that will carry them.
pub(crate) fn signed<T: Record, const MAX: usize>(
    record: &T,
    key: &SigningKey,
) -> Result<Bytes<MAX>, Problem> {
    Bytes::try_from(sign(record, key)).map_err(|_| Problem::TooLarge)
}

/// A COSE read proof.
pub(crate) fn read_proof(mailbox: &Mailbox, key: &SigningKey, node: NodeId, now: Time) -> Vec<u8> {
    sign(
        &ReadProof {
            mailbox: mailbox.clone(),
            node,
            time: now,
        },
        key,
    )
}

/// The call that reads a page of a mailbox.
pub(crate) fn read_call(
    mailbox: &Mailbox,
    key: &SigningKey,
    node: NodeId,
    after: Option<u32>,
    now: Time,
) -> Option<Call> {
    let proof = Bytes::try_from(read_proof(mailbox, key, node, now)).ok()?;
    Some(Call::new(
        CallKind::Read,
        to_bytes(&ReadOrder { proof, after }),
    ))
}

/// The slot behind which there is more to read.
pub(crate) fn next_page(page: &Page) -> Option<u32> {
    page.entries.last().filter(|_| page.more).map(|e| e.slot)
}

/// Whether enough holders say that they have an item on disk.
///
/// # Errors
/// [`Problem::Malformed`] for another item's receipt, [`Problem::HoldersAway`] for too few good
/// acknowledgements by distinct holders of `placement`.
pub(crate) fn check_receipt(
    receipt: &Receipt,
    kind: ItemKind,
    body: &[u8],
    placement: &[u8; 32],
    view: &TrustView,
) -> Result<(), Problem> {
    let item = item_id(kind, body);
    if receipt.item != item {
        return Err(Problem::Malformed);
    }
    let mut holders: Vec<NodeId> = Vec::new();
    for ack in &receipt.acks {
        let good = !holders.contains(&ack.holder)
            && view.was_holder(placement, &ack.holder)
            && view.node_key(&ack.holder).is_some_and(|k| {
                k.verify(&ack_message(&ack.holder, ack.roster, &item), &ack.signature)
                    .is_ok()
            });
        if good {
            holders.push(ack.holder);
        }
    }
    if view.write_quorum() > 0 && holders.len() >= view.write_quorum() {
        Ok(())
    } else {
        Err(Problem::HoldersAway)
    }
}

wire_struct! {
    /// One direction of a channel, seen by its only writer.
    #[derive(Clone)]
    pub(crate) struct Outbox {
        /// The mailbox.
        pub(crate) mailbox: Mailbox,
        /// The next slot that was never written.
        pub(crate) next: u32,
        /// Writes that are not yet acknowledged, in order: the encoded writes.
        pub(crate) waiting: Many<Blob>,
    }
}

impl Outbox {
    pub(crate) fn new(mailbox: Mailbox) -> Self {
        Outbox {
            mailbox,
            next: 0,
            waiting: Many::default(),
        }
    }

    /// Seals content and lines it up for the next slot.
    pub(crate) fn push<R: CryptoRng + ?Sized>(
        &mut self,
        key: &SigningKey,
        to: &SealingKey,
        purpose: Purpose,
        content: &[u8],
        rng: &mut R,
    ) -> Result<(), Problem> {
        if !self.has_room(1) {
            return Err(Problem::WrongSlot);
        }
        let blob =
            seal_for(&self.mailbox, to, purpose, content, rng).map_err(|_| Problem::TooLarge)?;
        let write = keyed_write(&self.mailbox, self.next, blob, key)?;
        self.waiting.push(write.into());
        self.next += 1;
        Ok(())
    }

    /// Whether so many more letters fit.
    pub(crate) fn has_room(&self, letters: u32) -> bool {
        let last = self.next.saturating_add(letters).saturating_sub(1);
        self.mailbox.slots.contains(last)
    }

    /// The write to make now.
    pub(crate) fn head(&self) -> Option<&[u8]> {
        self.waiting.first().map(|b| &**b)
    }

    /// The call for it.
    pub(crate) fn call(&self) -> Option<Call> {
        self.head().map(|b| Call::new(CallKind::Write, b.to_vec()))
    }

    /// Takes the receipt of the head.
    pub(crate) fn written(&mut self, receipt: &Receipt, view: &TrustView) -> Result<(), Problem> {
        let head = self.head().ok_or(Problem::NotFound)?;
        check_receipt(
            receipt,
            ItemKind::Blob,
            head,
            self.mailbox.id().as_bytes(),
            view,
        )?;
        self.waiting.remove(0);
        Ok(())
    }

    /// The slot was taken by a write that this state knows nothing of (an older copy of the state was
    /// restored): everything that waits moves on by one slot.
    pub(crate) fn conflict(&mut self, key: &SigningKey) -> Result<(), Problem> {
        let mut moved = Vec::new();
        for body in self.waiting.iter() {
            let write: BlobWrite = from_bytes(body, MAX_BLOB_WRITE)?;
            let slot = write
                .slot
                .checked_add(1)
                .filter(|s| self.mailbox.slots.contains(*s))
                .ok_or(Problem::WrongSlot)?;
            moved.push(keyed_write(&self.mailbox, slot, write.blob.into_vec(), key)?.into());
        }
        self.waiting = Many::from(moved);
        self.next = self.next.saturating_add(1);
        Ok(())
    }
}

wire_struct! {
    /// Which entries of a mailbox were dealt with.
    #[derive(Clone)]
    pub(crate) struct Seen {
        items: Table<ItemId, u8>,
    }
}

/// More entries than any honest mailbox brings; those beyond are simply looked at each time.
const MAX_SEEN: usize = 4096;

impl Seen {
    pub(crate) fn new() -> Self {
        Seen {
            items: Table::default(),
        }
    }

    /// The entries of a page that were not dealt with yet.
    pub(crate) fn fresh<'a>(&self, entries: &'a [Entry]) -> Vec<&'a Entry> {
        entries
            .iter()
            .filter(|e| !self.items.contains_key(&e.item))
            .collect()
    }

    /// How many entries were dealt with.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.items.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn add(&mut self, item: ItemId) {
        if self.items.len() < MAX_SEEN {
            self.items.insert(item, 1);
        }
    }
}
