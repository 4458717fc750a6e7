//! Start, time and expiry: reading back what the store holds, and what happens as time passes.

use lapwing_protocol::bounded::Bytes;
use lapwing_protocol::client::Answer;
use lapwing_protocol::codec::from_bytes;
use lapwing_protocol::cose::parse;
use lapwing_protocol::hash::record_hash;
use lapwing_protocol::item::{self, CheckedItem, Item, ItemBytes, ItemKind, MAX_ITEM};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::{Admission, QueueEntry};
use lapwing_protocol::time::{Hour, Time};
use lapwing_protocol::token::{PriorityToken, TokenOrder, epoch_at};
use rand_core::CryptoRng;

use crate::accept::{How, index_entry};
use crate::core::{Core, limits};
use crate::effect::{Alarm, Effect};
use crate::input::ClientTag;
use crate::lottery::Lottery;
use crate::rows::{self, Counter};
use crate::store::{ReadError, Reader, prefix_end};
use crate::witness::Issuers;

/// Rows read at a time at start.
const CHUNK: usize = 1_000;
/// Groups removed at one tick.
const EXPIRE_AT_ONCE: usize = 64;
/// Rows removed at one tick, at most.
const EXPIRE_ROWS: usize = 1_024;
/// Rows read at a time while removing: blobs of the largest size fit the memory at hand.
const EXPIRE_CHUNK: usize = 64;
/// How often expiry is looked at, in milliseconds.
const EXPIRE_EVERY_MS: u64 = 30_000;

impl<R: Reader> Core<R> {
    /// Reads the trust records back. Their order is not stored, so each round takes what fits.
    pub(crate) fn load_trust(&mut self) -> Result<(), ReadError> {
        let mut waiting = Vec::new();
        let mut stored = Vec::new();
        self.each(rows::TRUST, |core, key, value| {
            match rows::unversioned(value) {
                Some(bytes) => {
                    stored.push(record_hash(bytes));
                    waiting.push((key.to_vec(), bytes.to_vec()));
                }
                None => core.alarm(Alarm::DamagedRow { space: rows::TRUST }),
            }
        })?;
        loop {
            let before = waiting.len();
            waiting.retain(|(_, bytes)| {
                let taken = self
                    .view
                    .check_stored(bytes)
                    .map(|c| self.view.accept_stored(c));
                !matches!(taken, Ok(Ok(_)))
            });
            if waiting.len() == before {
                break;
            }
        }
        // What no longer fits anywhere is out of force.
        for (key, _) in waiting {
            self.delete(key);
        }
        // What was superseded since it was stored goes, what the node was configured with comes.
        self.stored_trust = stored.into_iter().map(|id| (id, ())).collect();
        self.keep_records();
        self.queue.set_limits(limits(&self.view));
        self.note_rosters();
        Ok(())
    }

    /// Reads the items back: digests of all, the queue index of queue items.
    pub(crate) fn load_items(&mut self) -> Result<(), ReadError> {
        self.each(rows::ITEM, |core, k, value| {
            let (Some(key), Some((head, body))) =
                (rows::parse_item_key(k), rows::parse_item(value))
            else {
                return core.alarm(Alarm::DamagedRow { space: rows::ITEM });
            };
            core.count(&key, head);
            core.note_issuer(key.kind, body);
            if key.request.is_some() {
                core.index_row(head.stamp, key.kind, body);
            }
        })
    }

    /// What others admitted is told to them when they ask.
    fn note_issuer(&mut self, kind: ItemKind, body: &[u8]) {
        let note = |issuers: &mut Issuers, body: &[u8]| {
            if let Ok(a) = parse::<Admission>(body) {
                issuers.note(a.unverified(), body);
            }
        };
        match kind {
            ItemKind::Admission | ItemKind::Witness => note(&mut self.issuers, body),
            ItemKind::Entry => {
                if let Ok(entry) = from_bytes::<QueueEntry>(body, MAX_ITEM) {
                    note(&mut self.issuers, &entry.admission);
                }
            }
            _ => {}
        }
    }

    fn index_row(&mut self, stamp: Hour, kind: ItemKind, body: &[u8]) {
        let Ok(body) = Bytes::try_from(body.to_vec()) else {
            return;
        };
        let Ok(item) = item::check(&ItemBytes { stamp, kind, body }, &self.view) else {
            return self.alarm(Alarm::DamagedRow { space: rows::ITEM });
        };
        match item.item() {
            Item::Entry(e) => {
                self.queue
                    .insert_entry(e.admission().region, e.admission().request, index_entry(e))
            }
            Item::Ticket(t) => self.queue.add_ticket(t),
            Item::Spend(s) => self.queue.add_spend(s.grant(), s.spend()),
            Item::Lock(l) => self.queue.add_lock(l),
            Item::Release(r) => self.queue.add_release(r, r.signer()),
            Item::Relist(r) => self.queue.add_relist(r),
            _ => {}
        }
    }

    /// Counts the digests anew: the holders of everything may have changed.
    pub(crate) fn recount(&mut self) -> Result<(), Problem> {
        self.digests.clear();
        self.each(rows::ITEM, |core, k, value| {
            if let (Some(key), Some((head, _))) = (rows::parse_item_key(k), rows::parse_item(value))
            {
                core.count(&key, head);
            }
        })
        .map_err(|_| Problem::Internal)
    }

    /// Every row of a key space, what is pending included.
    fn each(
        &mut self,
        space: u8,
        mut f: impl FnMut(&mut Self, &[u8], &[u8]),
    ) -> Result<(), ReadError> {
        let mut from = vec![space];
        let to = prefix_end(&[space]);
        loop {
            let found = self.overlay.scan(&self.store, &from, &to, CHUNK)?;
            for (k, v) in &found {
                f(self, k, v);
            }
            match found.last() {
                Some((k, _)) if found.len() == CHUNK => {
                    from.clone_from(k);
                    from.push(0);
                }
                _ => return Ok(()),
            }
        }
    }

    /// Time passed.
    pub(crate) fn tick(&mut self, rng: &mut dyn CryptoRng) {
        self.keep_records();
        self.expire_claims();
        self.end_refilling();
        self.send_spread(rng);
        self.sync_peers(rng);
        if self.now >= self.next_expiry {
            match self.expire() {
                Ok(true) => {}
                Ok(false) => self.next_expiry = self.now.plus_millis(EXPIRE_EVERY_MS),
                Err(_) => self.next_expiry = self.now.plus_millis(EXPIRE_EVERY_MS),
            }
        }
    }

    /// Removes what has expired; says whether there is more.
    fn expire(&mut self) -> Result<bool, Problem> {
        let now: Time = self.time();
        self.queue.expire(now);
        let until = rows::expiry_key(now.hour().plus(1), &[]);
        let due = self.scan(&[rows::EXPIRY], &until, EXPIRE_AT_ONCE)?;
        let mut left = EXPIRE_ROWS;
        for (key, _) in &due {
            let done = match rows::parse_expiry(key) {
                Some(group) => self.expire_group(group, now.hour(), &mut left)?,
                None => true,
            };
            if done {
                self.delete(key);
            }
            if left == 0 {
                return Ok(true);
            }
        }
        self.expire_lotteries(now)?;
        Ok(due.len() == EXPIRE_AT_ONCE)
    }

    /// Removes what has expired of a group, at most `left` rows; says whether that is all.
    ///
    /// A group ends with the latest of what opened it, so that nobody can end another's early by one
    /// more opening or grant; till then only what itself has expired goes.
    fn expire_group(&mut self, group: &[u8], now: Hour, left: &mut usize) -> Result<bool, Problem> {
        if let Some(placement) = group.get(1..33) {
            self.openers.remove(placement);
            self.boxes.remove(placement);
        }
        let latest = self.group_ends(group)?;
        let all = latest.is_none_or(|hour| hour <= now);
        let (mut from, to) = (group.to_vec(), prefix_end(group));
        while *left > 0 {
            let want = EXPIRE_CHUNK.min(*left);
            let found = self.scan(&from, &to, want)?;
            *left -= found.len();
            for (k, value) in &found {
                let item = rows::parse_item_key(k).zip(rows::parse_item(value));
                if let Some((key, (head, _))) = item {
                    if !all && head.expires > now {
                        continue;
                    }
                    self.uncount(&key, head);
                    self.count_kind(key.kind, |n| n.expired += 1);
                }
                self.delete(k);
            }
            match found.last() {
                Some((k, _)) if found.len() == want => {
                    from.clone_from(k);
                    from.push(0);
                }
                _ => return Ok(true),
            }
        }
        Ok(false)
    }

    /// When a group ends: the latest expiry of its openings, admissions and entries. Nothing for a
    /// group without any, whose items stand for themselves, and for rows that are no items.
    fn group_ends(&self, group: &[u8]) -> Result<Option<Hour>, Problem> {
        if group.first() != Some(&rows::ITEM) {
            return Ok(None);
        }
        let mut latest = None;
        for prefix in rows::anchors(group) {
            for (_, value) in self.scan(&prefix, &prefix_end(&prefix), EXPIRE_CHUNK)? {
                latest = latest.max(rows::parse_item(&value).map(|(head, _)| head.expires));
            }
        }
        // Without anchors each item ends by itself.
        Ok(Some(latest.unwrap_or(Hour::MAX)))
    }

    /// Forgets lottery epochs whose tokens can no longer be admitted, with what was issued in them.
    fn expire_lotteries(&mut self, now: Time) -> Result<(), Problem> {
        let Some(params) = self.view.params().cloned() else {
            return Ok(());
        };
        let kept =
            u64::from(params.token_life.get()) + u64::from(params.epoch.get()) * 2 + 2 * 86_400;
        let oldest = epoch_at(Time::new(now.get().saturating_sub(kept)), params.epoch);
        for (key, _) in self.scan(&[rows::LOTTERY], &rows::lottery_key(oldest), 4)? {
            self.delete(&key);
        }
        let old = self.scan(&[rows::TOKEN], &rows::tokens_of(oldest), CHUNK)?;
        for (key, row) in old {
            let token = rows::unversioned(&row).and_then(|b| parse::<PriorityToken>(b).ok());
            if let Some(token) = token {
                self.delete(rows::admitted_key(&token.unverified().token_id()));
            }
            self.delete(&key);
        }
        Ok(())
    }

    /// An item came by gossip: a holder that missed the push takes it; who waits for it is woken.
    pub(crate) fn gossiped(&mut self, item: &CheckedItem) {
        // A holder says so when it has stored it. What it cannot take now comes by comparison, or was not
        // to come; others may have it, and whoever reads asks them too.
        if self.serves(&item.placement()) && self.accept(item, How::Fresh).is_ok() {
            return;
        }
        match item.item() {
            Item::Blob(blob) => self.emit(Effect::Changed(blob.mailbox())),
            Item::Mark(state) => self.emit(Effect::Changed(state.mark.id())),
            _ => {}
        }
    }

    /// Issues a token; the same order gets the same bytes again.
    pub(crate) fn issue_token(
        &mut self,
        tag: ClientTag,
        order: &TokenOrder,
        rng: &mut dyn CryptoRng,
    ) {
        let result = self.token_for(order, rng).map(Answer::Token);
        match result {
            Ok(_) => self.emit_after(Effect::Answer { tag, result }),
            Err(_) => self.answer(tag, result),
        }
    }

    fn token_for(
        &mut self,
        order: &TokenOrder,
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>, Problem> {
        let params = self.view.params().ok_or(Problem::NotReady)?;
        let cap = u64::from(params.tokens_per_epoch);
        let epoch = epoch_at(self.time(), params.epoch);
        if u64::from(epoch) < self.counter(Counter::OpenEpoch)? {
            return Err(Problem::EpochClosed);
        }
        let key = rows::token_key(epoch, &order.hash);
        if let Some(row) = self.get(&key)? {
            let bytes = rows::unversioned(&row).ok_or(Problem::Internal)?.to_vec();
            let token = parse::<PriorityToken>(&bytes).map_err(|_| Problem::Internal)?;
            // One H draws once an epoch; another key for it would be another person's token.
            return if token.unverified().key == order.key {
                Ok(bytes)
            } else {
                Err(Problem::TokenUsed)
            };
        }
        self.proven()?;
        let mut lottery = match self.lottery.take() {
            Some(lottery) if lottery.epoch() == epoch => lottery,
            _ => match self.get(&rows::lottery_key(epoch))? {
                Some(row) => {
                    Lottery::from_row(&row, self.me.at_rest()).map_err(|_| Problem::Internal)?
                }
                None => {
                    Lottery::open(epoch, self.me.at_rest(), rng).map_err(|_| Problem::Internal)?
                }
            },
        };
        if lottery.next_serial() >= cap {
            self.lottery = Some(lottery);
            return Err(Problem::CapReached);
        }
        let issued = lottery.issue(order, self.me.id(), self.me.signing());
        let row = lottery.row();
        self.lottery = Some(lottery);
        let bytes = issued.map_err(|_| Problem::CapReached)?;
        self.put(rows::lottery_key(epoch), row);
        self.put(key, rows::versioned(&bytes));
        self.numbers.tokens += 1;
        Ok(bytes)
    }
}
