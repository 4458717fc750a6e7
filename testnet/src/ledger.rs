//! What nodes have acknowledged, with what is needed to read it back.
//!
//! Nothing here believes a role: the driver writes down every call that a node answered with success.
//! Tokens, challenges, claims, locks and releases are counted but not read back, because no call reads
//! them: asking again would make what is missing. That they hold shows in the bookings.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lapwing_client::driver::Acknowledged;
use lapwing_protocol::client::{Answer, Call, CallKind};
use lapwing_protocol::codec::from_bytes;
use lapwing_protocol::cose::parse;
use lapwing_protocol::hash::record_hash;
use lapwing_protocol::id::{ItemId, MailboxId, Priority, RecordId, RequestId, TokenId};
use lapwing_protocol::mailbox::{
    BlobWrite, Deletion, MAX_BLOB_WRITE, MarkState, MarkValue, OpenOrder, Opening, Place, Spend,
    WriteAuth,
};
use lapwing_protocol::token::PriorityToken;

/// What nodes have acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    /// Blobs: mailbox, slot, item.
    pub blobs: BTreeSet<(MailboxId, u32, ItemId)>,
    /// By inbox: the request that offers in it answer.
    pub offers: BTreeMap<MailboxId, RequestId>,
    /// Deletions: mailbox, slot.
    pub deletions: BTreeSet<(MailboxId, u32)>,
    /// Mailboxes that were opened.
    pub mailboxes: BTreeSet<MailboxId>,
    /// Marks that were opened.
    pub marks: BTreeSet<MailboxId>,
    /// Every state that a mark was set to.
    pub states: BTreeSet<(MailboxId, u64, MarkValue)>,
    /// Requests with their admissions.
    pub admissions: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Published records, in the order in which they were.
    pub records: Vec<(RecordId, Vec<u8>)>,
    /// Tokens that were issued.
    pub tokens: BTreeSet<TokenId>,
    /// Tickets that were granted: requests claimed, each time one is.
    pub claims: u64,
    /// How often each call was acknowledged, those that are not read back among them.
    pub counts: BTreeMap<CallKind, u64>,
    /// Calls that were acknowledged and that this ledger could not read: none of ours should be.
    pub unread: u64,
}

impl Entries {
    /// How many different writes can be read back.
    #[must_use]
    pub fn writes(&self) -> u64 {
        let n = self.blobs.len()
            + self.deletions.len()
            + self.mailboxes.len()
            + self.marks.len()
            + self.states.len()
            + self.admissions.len()
            + self.records.len();
        n as u64 + self.unread
    }

    /// Offers to requests whose admission nobody was told of, in inboxes that are not `known` to who reads
    /// back. The issuer admitted such a request and died before it said so; its user drew anew, and the
    /// keys to the inbox were wiped with the former token. Nobody can read it any more.
    #[must_use]
    pub fn abandoned(&self, known: &BTreeSet<MailboxId>) -> BTreeSet<(MailboxId, u32, ItemId)> {
        let told: BTreeSet<RequestId> = self.admissions.keys().map(|r| request_id(r)).collect();
        let wiped = |mailbox: &MailboxId| {
            let request = self.offers.get(mailbox);
            !known.contains(mailbox) && request.is_some_and(|r| !told.contains(r))
        };
        let blobs = self.blobs.iter();
        blobs
            .filter(|(mailbox, ..)| wiped(mailbox))
            .copied()
            .collect()
    }

    /// How many acknowledged writes no call reads back: booking locks, their releases, and wishes to
    /// be listed again. That they hold shows in the bookings.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        let kinds = [CallKind::Lock, CallKind::Release, CallKind::Relist];
        kinds.iter().filter_map(|k| self.counts.get(k)).sum()
    }
}

/// Takes down what nodes acknowledge.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Entries>);

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was taken down.
    #[must_use]
    pub fn read(&self) -> Entries {
        self.entries().clone()
    }
}

impl Acknowledged for Ledger {
    fn acknowledged(&self, call: &Call, answer: &Answer) {
        let mut entries = self.entries();
        *entries.counts.entry(call.kind()).or_default() += 1;
        if enter(&mut entries, call, answer).is_none() {
            entries.unread += 1;
        }
    }
}

fn request_id(request: &[u8]) -> RequestId {
    RequestId::from_bytes(*record_hash(request).as_bytes())
}

fn enter(entries: &mut Entries, call: &Call, answer: &Answer) -> Option<()> {
    match (call.kind(), answer) {
        (CallKind::Write, Answer::Receipt(receipt)) => {
            let write: BlobWrite = from_bytes(call.body(), MAX_BLOB_WRITE).ok()?;
            let id = write.mailbox.id();
            entries.blobs.insert((id, write.slot, receipt.item));
            if let WriteAuth::Ticket(auth) = &write.auth {
                let spend = parse::<Spend>(&auth.spend).ok()?;
                entries.offers.insert(id, spend.unverified().request);
            }
        }
        (CallKind::Delete, Answer::Receipt(_)) => {
            let deletion = parse::<Deletion>(call.body()).ok()?;
            let said = deletion.unverified();
            entries.deletions.insert((said.mailbox.id(), said.slot));
        }
        (CallKind::SetMark, Answer::Receipt(_)) => {
            let state = parse::<MarkState>(call.body()).ok()?;
            let said = state.unverified();
            entries
                .states
                .insert((said.mark.id(), said.version, said.value));
        }
        (CallKind::Open, Answer::Openings(openings)) => {
            let order = parse::<OpenOrder>(call.body()).ok()?;
            if order.unverified().places.len() != openings.openings.len() {
                return None;
            }
            for opening in &openings.openings {
                match &parse::<Opening>(opening).ok()?.unverified().place {
                    Place::Mailbox(m) => entries.mailboxes.insert(m.id()),
                    Place::Mark(m) => entries.marks.insert(m.id()),
                };
            }
        }
        (CallKind::Token, Answer::Token(token)) => {
            let token = parse::<PriorityToken>(token).ok()?;
            entries.tokens.insert(token.unverified().token_id());
        }
        (CallKind::Claim, Answer::Claims(claims)) => entries.claims += claims.claimed.len() as u64,
        (CallKind::Request, Answer::Admission(admission)) => {
            entries
                .admissions
                .insert(call.body().to_vec(), admission.clone());
        }
        (CallKind::Publish, Answer::Published(id))
            if entries.records.iter().all(|(known, _)| known != id) =>
        {
            entries.records.push((*id, call.body().to_vec()));
        }
        _ => {}
    }
    Some(())
}

/// Takes down what nodes acknowledge to one person, and the last token that they gave it.
#[derive(Debug)]
pub struct Witness {
    ledger: Arc<Ledger>,
    token: Mutex<Option<(u32, Priority)>>,
}

impl Witness {
    /// For one person.
    #[must_use]
    pub fn new(ledger: Arc<Ledger>) -> Self {
        Witness {
            ledger,
            token: Mutex::new(None),
        }
    }

    /// Epoch and P of the last token: what decides its place in the queue.
    #[must_use]
    pub fn place(&self) -> Option<(u32, Priority)> {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Acknowledged for Witness {
    fn acknowledged(&self, call: &Call, answer: &Answer) {
        if let Answer::Token(token) = answer
            && let Ok(token) = parse::<PriorityToken>(token)
        {
            let said = token.unverified();
            let mut place = self.token.lock().unwrap_or_else(PoisonError::into_inner);
            *place = Some((said.epoch, said.priority));
        }
        self.ledger.acknowledged(call, answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_was_told_of_and_nobody_can_read_is_abandoned() {
        let mailbox = |n| MailboxId::from_bytes([n; 32]);
        let item = ItemId::from_bytes([9; 32]);
        let mut entries = Entries::default();
        entries.admissions.insert(b"told".to_vec(), Vec::new());
        for (n, request) in [(1, &b"told"[..]), (2, b"untold"), (3, b"untold")] {
            entries.offers.insert(mailbox(n), request_id(request));
            entries.blobs.insert((mailbox(n), 0, item));
        }
        // A channel: no offers in it.
        entries.blobs.insert((mailbox(4), 0, item));
        let known = BTreeSet::from([mailbox(3)]);
        let abandoned = entries.abandoned(&known);
        assert_eq!(abandoned, BTreeSet::from([(mailbox(2), 0, item)]));
    }
}
