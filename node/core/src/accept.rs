//! What a holder takes: the rules that depend on what it has stored.
//!
//! An item comes as a fresh write (through a coordinator or by gossip) or by comparison with another
//! holder. Limits and freshness bind a fresh write only; replicas merge as sets.

use lapwing_protocol::id::NodeId;
use lapwing_protocol::item::{CheckedEntry, CheckedItem, Item, ItemKey, ItemKind};
use lapwing_protocol::mailbox::{Place, Writers};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::time::{Hour, Seconds, Time};

use crate::core::Core;
use crate::digest::shard_of;
use crate::effect::{Alarm, Effect};
use crate::rows::{self, Head};
use crate::store::{Reader, prefix_end};

/// The longest an item may live: the longest mailbox, and slack for its day.
const LONGEST_LIFE: Seconds = Seconds::days(124);

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
            if let (Item::Mark(_), How::Fresh) = (item.item(), how) {
                self.uncontested(&key)?;
            }
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
                if how == How::Fresh {
                    self.may_admit(admission)?;
                }
                self.bear_witness(admission, &key.placement);
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
                if how == How::Fresh {
                    self.may_admit(entry.admission())?;
                }
                self.bear_witness(entry.admission(), &key.placement);
                self.queue.insert_entry(
                    entry.admission().region,
                    entry.admission().request,
                    index_entry(entry),
                );
                self.write_group(item, &key, expires);
            }
            Item::Witness(admission) => {
                self.prove_continuity(admission)?;
                if self.take_witness(admission, &key)? == Accepted::Known {
                    return Ok(Accepted::Known);
                }
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
        self.count_taken(key.kind, how);
        Ok(Accepted::New)
    }

    pub(crate) fn parse_row<'a>(&mut self, stored: &'a [u8]) -> Result<(Head, &'a [u8]), Problem> {
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

    /// Replicas agree on the earlier stamp of an item that is stored already.
    pub(crate) fn restamp(
        &mut self,
        item: &CheckedItem,
        key: &ItemKey,
        stored: &[u8],
    ) -> Result<(), Problem> {
        let (head, _) = self.parse_row(stored)?;
        if item.stamp() < head.stamp {
            self.uncount(key, head);
            self.write(item, key, item.expires());
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
