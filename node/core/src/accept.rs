//! What a holder takes: the rules that depend on what it has stored.
//!
//! An item comes as a fresh write (through a coordinator or by gossip) or by comparison with another
//! holder. Limits and freshness bind a fresh write only; replicas merge as sets.

use lapwing_protocol::cose::{Verified, parse};
use lapwing_protocol::id::{NodeId, RequestId};
use lapwing_protocol::item::{CheckedBlob, CheckedEntry, CheckedItem, Item, ItemKey, ItemKind};
use lapwing_protocol::mailbox::{MarkState, Place, Writers};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::{Admission, TicketGrant};
use lapwing_protocol::time::{Hour, Seconds, Time};

use crate::core::Core;
use crate::digest::shard_of;
use crate::effect::{Alarm, Effect};
use crate::rows::{self, Head};
use crate::store::{Entry, Reader, prefix_end};

/// The longest an item may live: the longest mailbox, and slack for its day.
const LONGEST_LIFE: Seconds = Seconds::days(124);
/// Most items that anybody may have written to one box that is open to all.
const BOX_LIMIT: usize = 4096;
/// Openings remembered, so that a write does not look its mailbox up on disk each time.
const OPENERS: usize = 65_536;
/// Rows read at a time while counting them.
const BOX_CHUNK: usize = 256;
/// Most openings of one id that are looked at.
const OPENINGS: usize = 16;
/// Most items of one slot that are looked at: one, but for writes that raced.
const MAX_CONFLICTS: usize = 16;

/// How an item came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// As a write that wants to be acknowledged.
    Fresh,
    /// From another holder that has it.
    Sync,
}

/// What became of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// It was written (in the batch at hand).
    New,
    /// It was there, or something that replaces it.
    Known,
}

impl<R: Reader> Core<R> {
    /// Takes an item, if the rules allow; its write goes into the batch at hand.
    pub(crate) fn accept(&mut self, item: &CheckedItem, how: How) -> Result<Accepted, Problem> {
        let key = item.key();
        if !self.view.was_holder(&key.placement, &self.me.id()) {
            return Err(Problem::NotHolder);
        }
        let now = self.time();
        let expires = item.expires();
        if expires <= now {
            return Err(Problem::Expired);
        }
        if expires > now.plus(LONGEST_LIFE) {
            return Err(Problem::OutOfBounds);
        }
        if how == How::Fresh
            && (item.stamp() > self.hour().plus(1) || item.stamp().plus(1) < self.hour())
        {
            return Err(Problem::StaleTime);
        }
        // A blob's row is found with its slot's, below.
        if item.kind() != ItemKind::Blob
            && let Some(stored) = self.get(&rows::item_key(&key))?
        {
            self.restamp(item, &key, &stored)?;
            return Ok(Accepted::Known);
        }
        match item.item() {
            Item::Opening(opening) => {
                // A node has a cap for each day, and no day may pay for another one's places.
                if !near(opening.day.start(), opening.place.day().start()) {
                    return Err(Problem::OutOfBounds);
                }
                if let Place::Mailbox(mailbox) = &opening.place
                    && mailbox.writers == Writers::Tickets
                {
                    // Only an admission opens an inbox.
                    return Err(Problem::OutOfBounds);
                }
                if how == How::Fresh && !near(now, opening.place.day().start()) {
                    return Err(Problem::StaleTime);
                }
                self.write_group(item, &key, expires);
            }
            Item::Admission(admission) => {
                self.prove_continuity(admission)?;
                self.openers.remove(&key.placement);
                self.write_group(item, &key, expires);
            }
            Item::Blob(blob) => {
                if self.blob_stands(item, blob, &key, how)? == Accepted::Known {
                    return Ok(Accepted::Known);
                }
                self.write(item, &key, expires);
                self.emit_after(Effect::Changed(blob.mailbox()));
            }
            Item::Deletion(deletion) => {
                if !deletion.mailbox.slots.contains(deletion.slot) {
                    return Err(Problem::WrongSlot);
                }
                self.opened(&key.placement)?;
                if how == How::Fresh {
                    self.may_delete(&key)?;
                }
                self.delete_blobs(&key.placement, deletion.slot)?;
                self.write(item, &key, expires);
            }
            Item::Mark(state) => {
                self.opened(&key.placement)?;
                if self.replace_mark(&key, state, how)? == Accepted::Known {
                    return Ok(Accepted::Known);
                }
                self.write(item, &key, expires);
                self.emit_after(Effect::Changed(state.mark.id()));
            }
            Item::Entry(entry) => {
                self.prove_continuity(entry.admission())?;
                self.queue.insert_entry(
                    entry.admission().region,
                    entry.admission().request,
                    index_entry(entry),
                );
                self.write_group(item, &key, expires);
            }
            Item::Ticket(grant) => {
                self.queue.add_ticket(grant);
                self.write_group(item, &key, expires);
            }
            Item::Spend(spend) => {
                self.queue.add_spend(spend.grant(), spend.spend());
                self.write_group(item, &key, expires);
            }
            Item::Lock(grant) => {
                self.queue.add_lock(grant);
                self.write_group(item, &key, expires);
            }
            Item::Release(release) => {
                // Anybody can sign a release; only one by the token's or the ticket's key is kept.
                // A token's own releases are bounded at each holder, so that the union is bounded too.
                match self.queue.may_release(release, release.signer(), now) {
                    Err(Problem::CapReached) if how == How::Sync => {}
                    other => other?,
                }
                self.queue.add_release(release, release.signer());
                self.write_group(item, &key, expires);
            }
            Item::Relist(relist) => {
                // The union of what holders took is bounded, since each of them is.
                match self.queue.may_relist(relist, relist.signer(), now) {
                    Err(Problem::ReoffersUsed | Problem::OldVersion) if how == How::Sync => {}
                    other => other?,
                }
                self.queue.add_relist(relist);
                self.write_group(item, &key, expires);
            }
        }
        match how {
            How::Fresh => {
                self.numbers.written += 1;
                self.count_kind(key.kind, |n| n.written += 1);
            }
            How::Sync => {
                self.numbers.healed += 1;
                self.count_kind(key.kind, |n| n.healed += 1);
            }
        }
        Ok(Accepted::New)
    }

    fn parse_row<'a>(&mut self, stored: &'a [u8]) -> Result<(Head, &'a [u8]), Problem> {
        let parsed = rows::parse_item(stored);
        if parsed.is_none() {
            self.alarm(Alarm::DamagedRow { space: rows::ITEM });
        }
        parsed.ok_or(Problem::Internal)
    }

    fn write(&mut self, item: &CheckedItem, key: &ItemKey, expires: Time) {
        let hour = expiry_hour(expires);
        self.put(rows::item_key(key), rows::item_value(item, hour));
        self.count(
            key,
            Head {
                stamp: item.stamp(),
                expires: hour,
            },
        );
    }

    /// Writes an item of a group that may be new: with the row that says when the group expires.
    fn write_group(&mut self, item: &CheckedItem, key: &ItemKey, expires: Time) {
        self.openers.remove(&key.placement);
        self.put(
            rows::expiry_key(expiry_hour(expires), &rows::group_of(key)),
            rows::versioned(&[]),
        );
        self.write(item, key, expires);
    }

    pub(crate) fn count(&mut self, key: &ItemKey, head: Head) {
        let (holders, shard) = self.holders_and_shard(&key.placement);
        self.digests
            .add(holders, shard, head.expires, key, head.stamp);
    }

    pub(crate) fn uncount(&mut self, key: &ItemKey, head: Head) {
        let (holders, shard) = self.holders_and_shard(&key.placement);
        self.digests
            .remove(holders, shard, head.expires, key, head.stamp);
    }

    fn holders_and_shard(&self, placement: &[u8; 32]) -> (Vec<NodeId>, u16) {
        let shards = self.view.params().map_or(1, |p| p.shards);
        (self.keepers(placement), shard_of(placement, shards))
    }

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

    /// Replicas agree on the earlier stamp of an item that is stored already.
    fn restamp(&mut self, item: &CheckedItem, key: &ItemKey, stored: &[u8]) -> Result<(), Problem> {
        let (head, _) = self.parse_row(stored)?;
        if item.stamp() < head.stamp {
            self.uncount(key, head);
            self.write(item, key, item.expires());
        }
        Ok(())
    }

    /// Whether a blob may be written to its slot.
    fn blob_stands(
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
            let alive = |g: &&Verified<TicketGrant>| g.lapses > self.time();
            let alive = ticket.grants().iter().filter(alive).count();
            if how == How::Fresh && alive < self.view.write_quorum() {
                return Err(Problem::TicketLapsed);
            }
        }
        if matches!(blob.write().mailbox.writers, Writers::Work(_)) {
            let count = self.box_count(&key.placement)?;
            if how == How::Fresh && count >= BOX_LIMIT {
                return Err(Problem::CapReached);
            }
            self.boxes.insert(key.placement, count + 1);
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

    /// A reader deletes what it read; where slots are free numbers, it could else fill the disk.
    /// Once a slot: more signatures of one deletion are more rows.
    fn may_delete(&mut self, key: &ItemKey) -> Result<(), Problem> {
        let mut deletions = rows::slot_prefix(&key.placement, key.slot);
        deletions.push(u8::try_from(ItemKind::Deletion.code()).unwrap_or(0));
        if !self
            .scan(&deletions, &prefix_end(&deletions), 1)?
            .is_empty()
        {
            // By other bytes: the same ones were known before it came here.
            return Err(Problem::Deleted);
        }
        if self.box_count(&key.placement)? < BOX_LIMIT {
            Ok(())
        } else {
            Err(Problem::CapReached)
        }
    }

    /// How many rows a mailbox has; counted once where it is open to all, then kept.
    fn box_count(&mut self, placement: &[u8; 32]) -> Result<usize, Problem> {
        if let Some(count) = self.boxes.get(placement) {
            return Ok(*count);
        }
        let group = rows::mailbox_group(placement);
        let end = prefix_end(&group);
        let (mut from, mut count) = (group, 0);
        loop {
            let found = self.scan(&from, &end, BOX_CHUNK)?;
            count += found.len();
            match found.last() {
                Some((k, _)) if found.len() == BOX_CHUNK && count < BOX_LIMIT => {
                    from.clone_from(k);
                    from.push(0);
                }
                _ => return Ok(count),
            }
        }
    }

    fn delete_blobs(&mut self, placement: &[u8; 32], slot: u32) -> Result<(), Problem> {
        let mut prefix = rows::slot_prefix(placement, slot);
        prefix.push(u8::try_from(ItemKind::Blob.code()).unwrap_or(0));
        let removed = self.remove_rows(&prefix, usize::MAX)?;
        if let Some(count) = self.boxes.get_mut(placement) {
            *count = count.saturating_sub(removed);
        }
        Ok(())
    }

    /// Removes item rows under a prefix, at most `limit`; returns how many there were.
    pub(crate) fn remove_rows(&mut self, prefix: &[u8], limit: usize) -> Result<usize, Problem> {
        let found = self.scan(prefix, &prefix_end(prefix), limit)?;
        for (k, value) in &found {
            if let (Some(key), Some((head, _))) = (rows::parse_item_key(k), rows::parse_item(value))
            {
                self.uncount(&key, head);
            }
            self.delete(k);
        }
        Ok(found.len())
    }

    /// A mark is a register: the highest version wins, on a tie "taken".
    fn replace_mark(
        &mut self,
        key: &ItemKey,
        state: &MarkState,
        how: How,
    ) -> Result<Accepted, Problem> {
        let mut prefix = rows::slot_prefix(&key.placement, 0);
        prefix.push(u8::try_from(ItemKind::Mark.code()).unwrap_or(0));
        for (k, value) in self.scan(&prefix, &prefix_end(&prefix), 4)? {
            let (head, body) = self.parse_row(&value)?;
            let old = parse::<MarkState>(body).map_err(|_| Problem::Internal)?;
            let old = old.unverified();
            // Of two signatures of one state the greater id stays, so that replicas end equal.
            let old_id = rows::parse_item_key(&k).map(|k| k.id);
            if (old.version, old.value, old_id) >= (state.version, state.value, Some(key.id)) {
                return if how == How::Fresh {
                    Err(Problem::OldVersion)
                } else {
                    Ok(Accepted::Known)
                };
            }
            if let Some(old_key) = rows::parse_item_key(&k) {
                self.uncount(&old_key, head);
            }
            self.delete(&k);
        }
        Ok(Accepted::New)
    }
}

/// The first full hour at which something has expired.
pub(crate) fn expiry_hour(expires: Time) -> Hour {
    let hour = expires.hour();
    if hour.start() < expires {
        hour.plus(1)
    } else {
        hour
    }
}

/// Whether a day that starts at `start` is today, yesterday or tomorrow.
fn near(now: Time, start: Time) -> bool {
    let (today, day) = (now.day(), start.day());
    day <= today.plus(1) && today <= day.plus(1)
}

/// What the queue index keeps of an entry.
pub(crate) fn index_entry(entry: &CheckedEntry) -> crate::queue::Entry {
    let token = entry.token();
    crate::queue::Entry {
        epoch: token.epoch,
        priority: token.priority,
        token: token.token_id(),
        token_key: *token.key.as_bytes(),
        inbox: entry.admission().inbox,
        expires: entry.admission().expires,
    }
}
