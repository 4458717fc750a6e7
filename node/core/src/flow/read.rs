//! Reading a mailbox: what R − W + 1 holders have, merged.

use std::collections::{BTreeMap, BTreeSet};

use lapwing_protocol::bounded::{Bytes, List};
use lapwing_protocol::client::Answer;
use lapwing_protocol::codec::from_bytes;
use lapwing_protocol::cose::{Verified, parse};
use lapwing_protocol::id::{ItemId, NodeId};
use lapwing_protocol::item::{ItemBytes, ItemKind, item_id};
use lapwing_protocol::mailbox::{
    BlobWrite, Deletion, Entry, MAX_BLOB_WRITE, Mailbox, Page, ReadProof, WriteAuth,
};
use lapwing_protocol::peer::{CheckedPeerCall, ForwardedRead, PeerCall};
use lapwing_protocol::problem::Problem;
use rand_core::CryptoRng;

use super::{Flow, Got, worst};
use crate::core::Core;
use crate::input::ClientTag;
use crate::quorum::Quorum;
use crate::rows;
use crate::store::{ReadError, Reader, prefix_end};

/// Most entries in one page.
const PAGE: usize = 64;
/// Most bytes of blobs in one page.
const PAGE_BYTES: usize = 1024 * 1024;

/// A read under way.
pub(crate) struct Read {
    tag: ClientTag,
    proof: Verified<ReadProof>,
    quorum: Quorum,
    outstanding: usize,
    replies: Vec<(Vec<ItemBytes>, bool)>,
    problems: Vec<Problem>,
}

impl<R: Reader> Core<R> {
    pub(super) fn start_read(
        &mut self,
        tag: ClientTag,
        proof: &Verified<ReadProof>,
        after: Option<u32>,
        rng: &mut dyn CryptoRng,
    ) {
        let quorum = self.read_quorum(proof.mailbox.id().as_bytes());
        let holders = quorum.nodes();
        let read = Read {
            tag,
            proof: proof.clone(),
            quorum,
            outstanding: holders.len(),
            replies: Vec::new(),
            problems: Vec::new(),
        };
        let Ok(bytes) = Bytes::try_from(proof.bytes().to_vec()) else {
            return self.answer(tag, Err(Problem::TooLarge));
        };
        let id = self.start(Flow::Read(read));
        for holder in holders {
            let wire = || {
                PeerCall::Read(ForwardedRead {
                    proof: bytes.clone(),
                    after,
                })
            };
            let own = || CheckedPeerCall::Read(proof.clone(), after);
            self.ask(id, 0, holder, wire, own, rng);
        }
    }

    pub(super) fn step_read(
        &mut self,
        mut read: Read,
        from: NodeId,
        got: Got,
        rng: &mut dyn CryptoRng,
    ) -> Option<Read> {
        read.outstanding = read.outstanding.saturating_sub(1);
        match got.items() {
            Ok(reply) => {
                read.quorum.count(from);
                read.replies.push(reply);
            }
            // "Not here" is an answer too, and wants the same quorum.
            Err(Problem::NotOpened) => read.quorum.count(from),
            Err(problem) => read.problems.push(problem),
        }
        if read.quorum.met() {
            let page = if read.replies.is_empty() {
                Err(Problem::NotOpened)
            } else {
                merge(read.replies)
            };
            match page {
                // Nothing but deletions so far: what the reader wants lies behind them.
                Ok((page, reach)) if page.entries.is_empty() && page.more => {
                    self.start_read(read.tag, &read.proof, Some(reach), rng);
                }
                page => self.answer(read.tag, page.map(|(page, _)| Answer::Page(page))),
            }
            return None;
        }
        if read.outstanding == 0 {
            let problem = worst(&read.problems);
            self.answer(read.tag, Err(problem));
            return None;
        }
        Some(read)
    }
}

/// Merges holders' pages: all blobs that anyone has and nobody knows to be deleted, up to where every
/// holder's page reaches. Says also up to which slot that is.
fn merge(replies: Vec<(Vec<ItemBytes>, bool)>) -> Result<(Page, u32), Problem> {
    let mut blobs: BTreeMap<(u32, ItemId), BlobWrite> = BTreeMap::new();
    let mut deleted: BTreeSet<u32> = BTreeSet::new();
    let mut reach = u32::MAX;
    let mut more = false;
    for (items, cut) in replies {
        let (mut first, mut last) = (u32::MAX, 0);
        for item in items {
            match item.kind {
                ItemKind::Blob => {
                    let write: BlobWrite = from_bytes(&item.body, MAX_BLOB_WRITE)?;
                    first = first.min(write.slot);
                    last = last.max(write.slot);
                    blobs.insert((write.slot, item_id(item.kind, &item.body)), write);
                }
                ItemKind::Deletion => {
                    let deletion = parse::<Deletion>(&item.body)?;
                    let slot = deletion.unverified().slot;
                    first = first.min(slot);
                    last = last.max(slot);
                    deleted.insert(slot);
                }
                _ => {}
            }
        }
        if cut {
            more = true;
            // The last slot may be cut in two; only one that fills the page alone counts as read.
            reach = reach.min(if last > first { last - 1 } else { last });
        }
    }
    let mut entries: List<Entry, PAGE> = List::new();
    let mut bytes = 0;
    for ((slot, item), write) in blobs {
        if slot > reach || deleted.contains(&slot) {
            continue;
        }
        bytes += write.blob.len();
        if (bytes > PAGE_BYTES && !entries.is_empty()) || entries.len() == PAGE {
            more = true;
            reach = slot.saturating_sub(1);
            break;
        }
        let grants = match write.auth {
            WriteAuth::Ticket(auth) => auth.grants,
            _ => List::new(),
        };
        let _ = entries.push(Entry {
            slot,
            item,
            grants,
            blob: write.blob,
        });
    }
    Ok((Page { entries, more }, reach))
}

/// What a holder has in a mailbox behind slot `after`: blobs and deletions, and whether there is more.
///
/// # Errors
/// [`Problem::NotOpened`]; [`Problem::Internal`] where the store cannot be read.
pub(crate) fn stored_page(
    mailbox: &[u8; 32],
    after: Option<u32>,
    scan: impl Fn(&[u8], &[u8], usize) -> Result<Vec<crate::store::Entry>, Problem>,
) -> Result<(Vec<ItemBytes>, bool), Problem> {
    let group = rows::mailbox_group(mailbox);
    let from = match after {
        None => group.clone(),
        Some(u32::MAX) => return Ok((Vec::new(), false)),
        Some(slot) => rows::slot_prefix(mailbox, slot + 1),
    };
    let found = scan(&from, &prefix_end(&group), PAGE + 2)?;
    let mut items = Vec::new();
    let mut bytes = 0;
    let mut opened = after.is_some();
    let mut more = found.len() == PAGE + 2;
    for (k, value) in found {
        let (Some(key), Some((head, body))) = (rows::parse_item_key(&k), rows::parse_item(&value))
        else {
            return Err(Problem::Internal);
        };
        match key.kind {
            ItemKind::Blob | ItemKind::Deletion => {
                bytes += body.len();
                if items.len() == PAGE || (bytes > PAGE_BYTES && !items.is_empty()) {
                    more = true;
                    break;
                }
                let body = Bytes::try_from(body.to_vec()).map_err(|_| Problem::Internal)?;
                items.push(ItemBytes {
                    stamp: head.stamp,
                    kind: key.kind,
                    body,
                });
            }
            _ => opened = true,
        }
    }
    if !opened && items.is_empty() {
        return Err(Problem::NotOpened);
    }
    Ok((items, more))
}

/// Reads a page from this holder's store alone: for a node that is its own read quorum.
///
/// # Errors
/// As the read of a mailbox through the core.
pub fn read_local(
    store: &impl Reader,
    mailbox: &Mailbox,
    after: Option<u32>,
) -> Result<Page, Problem> {
    let scan = |from: &[u8], to: &[u8], limit: usize| {
        store
            .scan(from, to, limit)
            .map_err(|_: ReadError| Problem::Internal)
    };
    let mut after = after;
    loop {
        let (page, reach) = merge(vec![stored_page(mailbox.id().as_bytes(), after, scan)?])?;
        if !page.entries.is_empty() || !page.more {
            return Ok(page);
        }
        after = Some(reach);
    }
}
