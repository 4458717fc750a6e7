//! Checking items: by themselves and against the chain of trust.

use std::sync::Arc;

use super::{
    CheckedBlob, CheckedEntry, CheckedItem, CheckedRequest, CheckedSpend, CheckedTicket, Item,
    ItemBytes, ItemKind, MAX_ITEM, PlacedSpend, RequestParts, item_id, request_id,
};
use crate::bounded::Bytes;
use crate::codec::from_bytes;
use crate::cose::{Record, Verified, parse};
use crate::federation::Params;
use crate::hash::work_bits;
use crate::id::{MailboxId, NodeId, RegionId};
use crate::mailbox::{
    BlobWrite, Deletion, MAX_BLOB_WRITE, Mailbox, MarkState, Opening, Spend, TicketAuth, WriteAuth,
    Writers, Written, ticket_slot, write_message, write_work, written_message,
};
use crate::problem::Problem;
use crate::queue::{Admission, LockGrant, QueueEntry, Release, Relist, Request, TicketGrant};
use crate::time::Hour;
use crate::token::{PriorityToken, token_id};
use crate::trust::TrustView;

/// Checks an item by itself and against the chain of trust.
///
/// # Errors
/// The [`Problem`] of the first check that fails.
pub fn check(bytes: &ItemBytes, trust: &TrustView) -> Result<CheckedItem, Problem> {
    let body: &[u8] = &bytes.body;
    let item = match bytes.kind {
        ItemKind::Opening => Item::Opening(check_opening(body, trust)?),
        ItemKind::Admission => Item::Admission(check_admission(body, trust)?),
        ItemKind::Blob => Item::Blob(Box::new(check_blob(body, trust)?)),
        ItemKind::Deletion => {
            let d = parse::<Deletion>(body)?;
            let key = d.unverified().mailbox.read;
            Item::Deletion(d.verify(&key)?)
        }
        ItemKind::Mark => {
            let m = parse::<MarkState>(body)?;
            let key = m.unverified().mark.key;
            let m = m.verify(&key)?;
            m.validate()?;
            Item::Mark(m)
        }
        ItemKind::Entry => Item::Entry(check_entry(body, trust)?),
        ItemKind::Ticket => Item::Ticket(check_grant(body, trust)?),
        ItemKind::Spend => Item::Spend(Box::new(check_spend(body, trust)?)),
        ItemKind::Lock => Item::Lock(by_node(body, trust, |g: &LockGrant| {
            (g.holder, Some(g.region))
        })?),
        ItemKind::Release => Item::Release(parse::<Release>(body)?.verify_self()?),
        ItemKind::Relist => Item::Relist(parse::<Relist>(body)?.verify_self()?),
        ItemKind::Witness => Item::Witness(check_admission(body, trust)?),
    };
    Ok(CheckedItem {
        id: item_id(bytes.kind, body),
        stamp: bytes.stamp,
        item: Arc::new(item),
        body: Arc::from(body),
    })
}

/// Checks a statement that a node signed; where it speaks for a region it must be a holder of it.
fn by_node<T: Record>(
    bytes: &[u8],
    trust: &TrustView,
    who: impl Fn(&T) -> (NodeId, Option<RegionId>),
) -> Result<Verified<T>, Problem> {
    let signed = parse::<T>(bytes)?;
    let (node, region) = who(signed.unverified());
    let key = *trust.node_key(&node).ok_or(Problem::WrongSigner)?;
    if let Some(region) = region
        && !trust.was_holder(region.as_bytes(), &node)
    {
        return Err(Problem::NotHolder);
    }
    Ok(signed.verify(&key)?)
}

fn check_opening(bytes: &[u8], trust: &TrustView) -> Result<Verified<Opening>, Problem> {
    let opening = by_node(bytes, trust, |o: &Opening| (o.node, None))?;
    if opening.serial >= highest(trust, |p| p.openings_per_day)? {
        return Err(Problem::CapReached);
    }
    Ok(opening)
}

/// The highest of a parameter's values in the rosters that are kept: what was within a cap when it was
/// signed stays so when the cap is lowered.
fn highest(trust: &TrustView, cap: impl Fn(&Params) -> u32) -> Result<u32, Problem> {
    let caps = trust.rosters().map(|r| cap(&r.params));
    caps.max().ok_or(Problem::NotReady)
}

/// Checks an admission: by its issuer, of a token within the issuer's cap.
///
/// # Errors
/// Malformed, wrongly signed, [`Problem::BrokenChain`] where the token's id is not of what it names, or
/// [`Problem::CapReached`].
pub fn check_admission(bytes: &[u8], trust: &TrustView) -> Result<Verified<Admission>, Problem> {
    let admission = by_node(bytes, trust, |a: &Admission| (a.issuer, None))?;
    if admission.token != token_id(&admission.issuer, admission.epoch, admission.token_serial) {
        return Err(Problem::BrokenChain);
    }
    within_cap(admission.token_serial, trust)?;
    Ok(admission)
}

fn within_cap(serial: u64, trust: &TrustView) -> Result<(), Problem> {
    if serial < u64::from(highest(trust, |p| p.tokens_per_epoch)?) {
        Ok(())
    } else {
        Err(Problem::CapReached)
    }
}

/// Checks one holder's grant of a ticket.
///
/// # Errors
/// Malformed, wrongly signed, or not by a holder of the region.
pub fn check_grant(bytes: &[u8], trust: &TrustView) -> Result<Verified<TicketGrant>, Problem> {
    by_node(bytes, trust, |g: &TicketGrant| (g.holder, Some(g.region)))
}

/// Checks a request: token by its issuer's key, request by the token's key, the inbox written by ticket.
///
/// # Errors
/// The [`Problem`] of the first check that fails.
pub fn check_request(bytes: &[u8], trust: &TrustView) -> Result<CheckedRequest, Problem> {
    let request = parse::<Request>(bytes)?;
    let token = by_node(&request.unverified().token, trust, |t: &PriorityToken| {
        (t.issuer, None)
    })?;
    within_cap(token.serial, trust)?;
    let request = request.verify(&token.key)?;
    if request.inbox.writers != Writers::Tickets {
        return Err(Problem::OutOfBounds);
    }
    if request.envelope.len() != crate::queue::MAX_REQUEST_ENVELOPE {
        return Err(Problem::WrongSize);
    }
    Ok(CheckedRequest(Arc::new(RequestParts { request, token })))
}

fn check_entry(bytes: &[u8], trust: &TrustView) -> Result<CheckedEntry, Problem> {
    let entry: QueueEntry = from_bytes(bytes, MAX_ITEM)?;
    let admission = check_admission(&entry.admission, trust)?;
    let request = check_request(&entry.request, trust)?;
    CheckedEntry::fit(admission, request)
}

impl CheckedEntry {
    /// Puts a request and its admission together.
    ///
    /// # Errors
    /// [`Problem::BrokenChain`] where they do not belong together.
    pub fn fit(admission: Verified<Admission>, request: CheckedRequest) -> Result<Self, Problem> {
        let fits = admission.issuer == request.0.token.issuer
            && admission.token == request.0.token.token_id()
            && admission.request == request_id(&request.0.request)
            && admission.region == request.0.request.region
            && admission.inbox == request.0.request.inbox.id();
        if !fits {
            return Err(Problem::BrokenChain);
        }
        Ok(CheckedEntry { admission, request })
    }
}

/// Checks the grants of one ticket: enough distinct holders that agree.
///
/// # Errors
/// [`Problem::BadTicket`], or why a grant is not one.
pub fn check_ticket<'a>(
    grants: impl IntoIterator<Item = &'a [u8]>,
    trust: &TrustView,
) -> Result<CheckedTicket, Problem> {
    let mut found: Vec<Verified<TicketGrant>> = Vec::new();
    for bytes in grants {
        let grant = check_grant(bytes, trust)?;
        if let Some(first) = found.first() {
            let same = first.region == grant.region
                && first.request == grant.request
                && first.claim == grant.claim
                && first.key == grant.key
                && first.inbox == grant.inbox
                && first.expires == grant.expires
                && first.certificate == grant.certificate;
            if !same || found.iter().any(|g| g.holder == grant.holder) {
                return Err(Problem::BadTicket);
            }
        }
        found.push(grant);
    }
    if found.is_empty() || found.len() < trust.write_quorum() {
        return Err(Problem::BadTicket);
    }
    Ok(CheckedTicket {
        grants: found,
        spend: None,
    })
}

fn check_blob(bytes: &[u8], trust: &TrustView) -> Result<CheckedBlob, Problem> {
    let write: BlobWrite = from_bytes(bytes, MAX_BLOB_WRITE)?;
    check_blob_write(write, trust)
}

/// Checks a write: size, slot, and the right to write there.
///
/// # Errors
/// The [`Problem`] of the first check that fails.
pub fn check_blob_write(write: BlobWrite, trust: &TrustView) -> Result<CheckedBlob, Problem> {
    if write.blob.len() != write.mailbox.size.bytes() {
        return Err(Problem::WrongSize);
    }
    if !write.mailbox.slots.contains(write.slot) {
        return Err(Problem::WrongSlot);
    }
    let id = write.mailbox.id();
    let ticket = match (&write.mailbox.writers, &write.auth) {
        (Writers::Tickets, WriteAuth::Ticket(auth)) => {
            Some(check_ticket_auth(&write, &id, auth, trust)?)
        }
        _ => {
            let message = write_message(&id, write.slot, &write.blob);
            check_right(&write.mailbox, write.slot, &write.auth, &message)?;
            None
        }
    };
    Ok(CheckedBlob { write, id, ticket })
}

/// Checks the right to write to a mailbox that has keys or wants work.
fn check_right(
    mailbox: &Mailbox,
    slot: u32,
    auth: &WriteAuth,
    message: &[u8; 32],
) -> Result<(), Problem> {
    match (&mailbox.writers, auth) {
        (Writers::Keys(keys), WriteAuth::Key(signature)) => {
            let index = (slot as usize)
                .checked_rem(keys.len())
                .ok_or(Problem::WrongSlot)?;
            let key = keys.get(index).ok_or(Problem::WrongSlot)?;
            key.verify(message, signature)
                .map_err(|_| Problem::BadSignature)
        }
        (Writers::Work(bits), WriteAuth::Work(nonce)) => {
            if work_bits(&write_work(message, *nonce)) < u32::from(*bits) {
                return Err(Problem::WorkMissing);
            }
            Ok(())
        }
        _ => Err(Problem::WrongSigner),
    }
}

/// Checks what is told of a write: slot, and the right to write there. Gives the mailbox.
///
/// # Errors
/// The [`Problem`] of the first check that fails; [`Problem::WrongSigner`] also for an inbox, whose
/// blobs are told whole.
pub fn check_written(written: &Written) -> Result<MailboxId, Problem> {
    if !written.mailbox.slots.contains(written.slot) {
        return Err(Problem::WrongSlot);
    }
    let id = written.mailbox.id();
    let message = written_message(&id, written.slot, &written.blob);
    check_right(&written.mailbox, written.slot, &written.auth, &message)?;
    Ok(id)
}

fn check_ticket_auth(
    write: &BlobWrite,
    id: &MailboxId,
    auth: &TicketAuth,
    trust: &TrustView,
) -> Result<CheckedTicket, Problem> {
    let mut ticket = check_ticket(auth.grants.iter().map(|g| &**g), trust)?;
    let grant = ticket.grant();
    let spend = parse::<Spend>(&auth.spend)?.verify(&grant.key)?;
    let fits = spend.request == grant.request
        && spend.ticket == grant.ticket()
        && spend.expires == grant.expires
        && spend.mailbox == *id
        && grant.inbox == *id
        && spend.blob == *blake3::hash(&write.blob).as_bytes();
    if !fits {
        return Err(Problem::BadTicket);
    }
    if write.slot != ticket_slot(&spend.ticket) {
        return Err(Problem::WrongSlot);
    }
    ticket.spend = Some(spend);
    Ok(ticket)
}

fn check_spend(bytes: &[u8], trust: &TrustView) -> Result<CheckedSpend, Problem> {
    let placed: PlacedSpend = from_bytes(bytes, MAX_ITEM)?;
    let grant = check_grant(&placed.grant, trust)?;
    let spend = parse::<Spend>(&placed.spend)?.verify(&grant.key)?;
    let fits = spend.request == grant.request
        && spend.ticket == grant.ticket()
        && spend.mailbox == grant.inbox
        && spend.expires == grant.expires;
    if !fits {
        return Err(Problem::BadTicket);
    }
    Ok(CheckedSpend { grant, spend })
}

/// Makes an item of bytes that this node has just made or checked, by checking them like anybody else's.
///
/// # Errors
/// As [`check`]; [`Problem::TooLarge`] above [`MAX_ITEM`].
pub fn make(
    kind: ItemKind,
    body: &[u8],
    stamp: Hour,
    trust: &TrustView,
) -> Result<CheckedItem, Problem> {
    let body = Bytes::try_from(body.to_vec()).map_err(|_| Problem::TooLarge)?;
    check(&ItemBytes { stamp, kind, body }, trust)
}
