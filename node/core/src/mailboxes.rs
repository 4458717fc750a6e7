//! What a holder takes into mailboxes: who opened them, and what a slot and an open box have room for.

use lapwing_protocol::cose::{Verified, parse};
use lapwing_protocol::id::RequestId;
use lapwing_protocol::item::{CheckedBlob, CheckedItem, ItemKey, ItemKind};
use lapwing_protocol::mailbox::Writers;
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::{Admission, TicketGrant};

use crate::accept::{Accepted, How};
use crate::core::Core;
use crate::rows;
use crate::store::{Entry, Reader, prefix_end};

/// Most blobs that anybody may have written to one box that is open to all; and most deletions of a
/// mailbox with which one more of a slot that has no blob here is taken.
const BOX_LIMIT: usize = 4096;
/// Most rows of a mailbox that are counted; beyond it the count is what was found by then.
const BOX_ROWS: usize = 65_536;
/// Openings remembered, so that a write does not look its mailbox up on disk each time.
const OPENERS: usize = 65_536;
/// Rows read at a time while counting them.
const BOX_CHUNK: usize = 256;
/// Most openings of one id that are looked at.
const OPENINGS: usize = 16;
/// Most items of one slot that are looked at: one, but for writes that raced.
const MAX_CONFLICTS: usize = 16;

/// What is counted of a mailbox.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    /// Blobs that are not deleted.
    blobs: usize,
    /// Deletions.
    deletions: usize,
}

impl<R: Reader> Core<R> {
    /// Whether something was opened under an id here.
    ///
    /// # Errors
    /// [`Problem::NotOpened`] where not.
    pub(crate) fn opened(&self, placement: &[u8; 32]) -> Result<(), Problem> {
        if self.opening_rows(placement, 1)?.is_empty() {
            return Err(Problem::NotOpened);
        }
        Ok(())
    }

    /// The openings and admissions under an id, as stored.
    fn opening_rows(&self, placement: &[u8; 32], limit: usize) -> Result<Vec<Entry>, Problem> {
        let mut from = rows::slot_prefix(placement, 0);
        let mut to = from.clone();
        from.push(0);
        to.push(u8::try_from(ItemKind::Blob.code()).unwrap_or(0));
        self.scan(&from, &to, limit)
    }

    /// Whether a blob may be written to its slot.
    pub(crate) fn blob_stands(
        &mut self,
        item: &CheckedItem,
        blob: &CheckedBlob,
        key: &ItemKey,
        how: How,
    ) -> Result<Accepted, Problem> {
        let requests = self.openers(&key.placement)?;
        if let Some(ticket) = blob.ticket()
            && !requests.contains(&ticket.grant().request)
        {
            return Err(Problem::BadTicket);
        }
        let slot = rows::slot_prefix(&key.placement, key.slot);
        let mut from = slot.clone();
        from.push(u8::try_from(ItemKind::Blob.code()).unwrap_or(0));
        let mut conflicts = 0;
        for (k, value) in self.scan(&from, &prefix_end(&slot), MAX_CONFLICTS + 2)? {
            let Some(found) = rows::parse_item_key(&k) else {
                continue;
            };
            match found.kind {
                ItemKind::Blob if found.id == key.id => {
                    self.restamp(item, key, &value)?;
                    return Ok(Accepted::Known);
                }
                ItemKind::Blob if how == How::Fresh => return Err(Problem::SlotConflict),
                ItemKind::Blob => conflicts += 1,
                ItemKind::Deletion if how == How::Fresh => return Err(Problem::Deleted),
                ItemKind::Deletion => return Ok(Accepted::Known),
                _ => {}
            }
        }
        if conflicts >= MAX_CONFLICTS {
            return Err(Problem::SlotConflict);
        }
        // What was written before may be asked for again also when its ticket has lapsed.
        if let Some(ticket) = blob.ticket() {
            if how == How::Fresh {
                // A ticket outlives the certificate that it was claimed with.
                self.view
                    .provider(&ticket.grant().certificate, self.time())?;
            }
            let alive = |g: &&Verified<TicketGrant>| g.lapses > self.time();
            let alive = ticket.grants().iter().filter(alive).count();
            if how == How::Fresh && alive < self.view.write_quorum() {
                return Err(Problem::TicketLapsed);
            }
        }
        if matches!(blob.write().mailbox.writers, Writers::Work(_)) {
            let mut held = self.box_held(&key.placement)?;
            if how == How::Fresh && held.blobs >= BOX_LIMIT {
                return Err(Problem::CapReached);
            }
            held.blobs += 1;
            self.boxes.insert(key.placement, held);
        }
        Ok(Accepted::New)
    }

    /// The requests whose admissions opened an inbox; none where an opening did. There is more than one
    /// only where an issuer admitted a token twice.
    ///
    /// # Errors
    /// [`Problem::NotOpened`] where nothing was opened here.
    fn openers(&mut self, placement: &[u8; 32]) -> Result<Vec<RequestId>, Problem> {
        if let Some(requests) = self.openers.get(placement) {
            return Ok(requests.clone());
        }
        let rows = self.opening_rows(placement, OPENINGS)?;
        if rows.is_empty() {
            return Err(Problem::NotOpened);
        }
        let mut requests = Vec::new();
        for (k, value) in rows {
            let (_, body) = self.parse_row(&value)?;
            if rows::parse_item_key(&k).map(|k| k.kind) == Some(ItemKind::Admission) {
                let admission = parse::<Admission>(body).map_err(|_| Problem::Internal)?;
                requests.push(admission.unverified().request);
            }
        }
        if self.openers.len() >= OPENERS {
            self.openers.clear();
        }
        self.openers.insert(*placement, requests.clone());
        Ok(requests)
    }

    /// A reader deletes what it read, and can always: each blob goes for its deletion, which is smaller.
    /// Slots that have no blob here it deletes only while there are few deletions: where slots are free
    /// numbers, it could else fill the disk. Once a slot: more signatures of one deletion are more rows.
    pub(crate) fn may_delete(&mut self, key: &ItemKey) -> Result<(), Problem> {
        let kind_here = |core: &Self, kind: ItemKind| -> Result<bool, Problem> {
            let mut prefix = rows::slot_prefix(&key.placement, key.slot);
            prefix.push(u8::try_from(kind.code()).unwrap_or(0));
            Ok(!core.scan(&prefix, &prefix_end(&prefix), 1)?.is_empty())
        };
        if kind_here(self, ItemKind::Deletion)? {
            // By other bytes: the same ones were known before it came here.
            return Err(Problem::Deleted);
        }
        if kind_here(self, ItemKind::Blob)? {
            return Ok(());
        }
        if self.box_held(&key.placement)?.deletions >= BOX_LIMIT {
            return Err(Problem::CapReached);
        }
        Ok(())
    }

    /// What a mailbox has; counted once, then kept.
    fn box_held(&mut self, placement: &[u8; 32]) -> Result<Held, Problem> {
        if let Some(held) = self.boxes.get(placement) {
            return Ok(*held);
        }
        let group = rows::mailbox_group(placement);
        let end = prefix_end(&group);
        let (mut from, mut held, mut seen) = (group, Held::default(), 0);
        loop {
            let found = self.scan(&from, &end, BOX_CHUNK)?;
            for key in found.iter().filter_map(|(k, _)| rows::parse_item_key(k)) {
                match key.kind {
                    ItemKind::Blob => held.blobs += 1,
                    ItemKind::Deletion => held.deletions += 1,
                    _ => {}
                }
            }
            seen += found.len();
            match found.last() {
                Some((k, _)) if found.len() == BOX_CHUNK && seen < BOX_ROWS => {
                    from.clone_from(k);
                    from.push(0);
                }
                _ => break,
            }
        }
        if self.boxes.len() >= OPENERS {
            self.boxes.clear();
        }
        self.boxes.insert(*placement, held);
        Ok(held)
    }

    pub(crate) fn delete_blobs(&mut self, placement: &[u8; 32], slot: u32) -> Result<(), Problem> {
        let mut prefix = rows::slot_prefix(placement, slot);
        prefix.push(u8::try_from(ItemKind::Blob.code()).unwrap_or(0));
        let removed = self.remove_rows(&prefix, usize::MAX)?;
        if let Some(held) = self.boxes.get_mut(placement) {
            held.blobs = held.blobs.saturating_sub(removed);
            held.deletions += 1;
        }
        Ok(())
    }
}
