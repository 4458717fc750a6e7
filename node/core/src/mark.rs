//! Marks as a holder keeps them: registers of which the highest version counts.
//!
//! A fresh write is taken only where it is the one state of its version, and acknowledged again only as
//! long as it is. So two states of one version are never both acknowledged by the same holder, and since
//! any two write quorums share one, at most one of them gets a receipt: two devices of a practice that
//! book one slot at once do not both succeed. Holders that took different ones keep both once they
//! compare, so that they end equal; a higher version replaces them.

use core::cmp::Ordering;

use lapwing_protocol::cose::parse;
use lapwing_protocol::id::{ItemId, MailboxId};
use lapwing_protocol::item::{ItemBytes, ItemKey, ItemKind};
use lapwing_protocol::mailbox::{MarkState, MarkValue};

use lapwing_protocol::problem::Problem;

use crate::accept::{Accepted, How};
use crate::core::Core;
use crate::rows::{self, Head};
use crate::store::{Reader, prefix_end};

/// Most states of one version and mark that are kept, those that win a tie first: more are never made
/// but by a cheat.
const MAX_TIES: usize = 4;

/// A state as it is stored.
struct Stored {
    version: u64,
    /// Orders the states of one version alike at every holder.
    rank: (MarkValue, ItemId),
    key: ItemKey,
    head: Head,
}

impl<R: Reader> Core<R> {
    /// Makes room for a mark's state, if the rules allow.
    pub(crate) fn replace_mark(
        &mut self,
        key: &ItemKey,
        state: &MarkState,
        how: How,
    ) -> Result<Accepted, Problem> {
        let mut older = Vec::new();
        let mut ties = Vec::new();
        for stored in self.mark_rows(&key.placement)? {
            match (stored.version.cmp(&state.version), how) {
                (Ordering::Less, _) => older.push(stored),
                (Ordering::Equal, How::Sync) => ties.push(stored),
                (_, How::Fresh) => return Err(Problem::OldVersion),
                (Ordering::Greater, How::Sync) => return Ok(Accepted::Known),
            }
        }
        if ties.len() >= MAX_TIES {
            let least = ties.into_iter().min_by_key(|s| s.rank);
            match least {
                Some(least) if least.rank < (state.value, key.id) => older.push(least),
                _ => return Ok(Accepted::Known),
            }
        }
        for stored in older {
            self.uncount(&stored.key, stored.head);
            self.delete(rows::item_key(&stored.key));
        }
        Ok(Accepted::New)
    }

    /// Whether a state that is stored is the only one of its version here.
    ///
    /// # Errors
    /// [`Problem::OldVersion`] where not: another may have been acknowledged.
    pub(crate) fn uncontested(&mut self, key: &ItemKey) -> Result<(), Problem> {
        if self.mark_rows(&key.placement)?.len() > 1 {
            return Err(Problem::OldVersion);
        }
        Ok(())
    }

    fn mark_rows(&mut self, placement: &[u8; 32]) -> Result<Vec<Stored>, Problem> {
        let mut out = Vec::new();
        let prefix = rows::kind_prefix(placement, ItemKind::Mark);
        for (k, value) in self.scan(&prefix, &prefix_end(&prefix), MAX_TIES + 1)? {
            let (head, body) = self.parse_row(&value)?;
            let state = parse::<MarkState>(body).map_err(|_| Problem::Internal)?;
            let key = rows::parse_item_key(&k).ok_or(Problem::Internal)?;
            out.push(Stored {
                version: state.unverified().version,
                rank: (state.unverified().value, key.id),
                key,
                head,
            });
        }
        Ok(out)
    }

    /// The state that a mark has here, as it travels: of those of one version the one that wins the tie.
    pub(crate) fn stored_mark(&self, mark: &MailboxId) -> Result<Option<ItemBytes>, Problem> {
        let found = self.stored(&rows::kind_prefix(mark.as_bytes(), ItemKind::Mark))?;
        let rank = |item: &ItemBytes| {
            parse::<MarkState>(&item.body)
                .map(|s| s.unverified().order())
                .ok()
        };
        Ok(found.into_iter().max_by_key(rank))
    }
}
