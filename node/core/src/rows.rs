//! The layout of the store: one ordered key space, a prefix a kind of row, a version in every value.
//!
//! | prefix | key | value |
//! |---|---|---|
//! | `d` | an item's key (below) | version, stamp, expiry hour, body |
//! | `e` | expiry hour, then the group that expires | version |
//! | `t` | record id | version, trust record |
//! | `x` | id of the later record, 0 or 1 | version, one of two records that prove equivocation |
//! | `y` | issuer | version, two admissions of one token |
//! | `l` | lottery epoch | version, locked secret |
//! | `s` | lottery epoch, H | version, COSE token |
//! | `a` | token id | version, COSE admission by this node |
//! | `n` | counter name | version, number |
//!
//! An item of a mailbox or mark has the key `d`, placement, `0`, slot, kind, id; one of a region's queue
//! `d`, region, `1`, request, kind, id. A group (all that expires together) is the part before slot or kind.

use lapwing_protocol::id::{ItemId, RecordId, RequestId, TokenHash, TokenId};
use lapwing_protocol::item::{CheckedItem, ItemKey, ItemKind};
use lapwing_protocol::time::Hour;

const VERSION: u8 = 1;

pub(crate) const ITEM: u8 = b'd';
pub(crate) const EXPIRY: u8 = b'e';
pub(crate) const TRUST: u8 = b't';
pub(crate) const PROOF: u8 = b'x';
pub(crate) const DOUBLE: u8 = b'y';
pub(crate) const LOTTERY: u8 = b'l';
pub(crate) const TOKEN: u8 = b's';
pub(crate) const ADMITTED: u8 = b'a';
pub(crate) const COUNTER: u8 = b'n';

/// A counter's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Counter {
    /// The next serial of an admission.
    Admissions,
    /// The day that [`Counter::Openings`] counts.
    OpeningDay,
    /// The next serial of an opening of that day.
    Openings,
    /// Nonzero once this store lacks nothing that its node granted.
    Whole,
    /// One more than the last lottery epoch of whose requests this node may have forgotten locks.
    Forgotten,
    /// The first lottery epoch in which this node may issue and admit: those before are closed.
    OpenEpoch,
}

fn key(prefix: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + parts.iter().map(|p| p.len()).sum::<usize>());
    out.push(prefix);
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// All items of a mailbox or mark.
pub(crate) fn mailbox_group(placement: &[u8; 32]) -> Vec<u8> {
    key(ITEM, &[placement, &[0]])
}

/// All items in a slot of a mailbox.
pub(crate) fn slot_prefix(placement: &[u8; 32], slot: u32) -> Vec<u8> {
    key(ITEM, &[placement, &[0], &slot.to_be_bytes()])
}

/// The prefix of the rows of one kind under an id, for kinds that have no slots.
pub(crate) fn kind_prefix(placement: &[u8; 32], kind: ItemKind) -> Vec<u8> {
    let mut prefix = slot_prefix(placement, 0);
    prefix.push(u8::try_from(kind.code()).unwrap_or(u8::MAX));
    prefix
}

/// All items of a request.
pub(crate) fn request_group(region: &[u8; 32], request: &RequestId) -> Vec<u8> {
    key(ITEM, &[region, &[1], request.as_bytes()])
}

/// All items of a request of one kind.
pub(crate) fn request_kind(region: &[u8; 32], request: &RequestId, kind: ItemKind) -> Vec<u8> {
    let mut out = request_group(region, request);
    out.push(code(kind));
    out
}

fn code(kind: ItemKind) -> u8 {
    u8::try_from(kind.code()).unwrap_or(u8::MAX)
}

/// The store key of an item.
pub(crate) fn item_key(k: &ItemKey) -> Vec<u8> {
    let mut out = match &k.request {
        None => slot_prefix(&k.placement, k.slot),
        Some(request) => request_group(&k.placement, request),
    };
    out.push(code(k.kind));
    out.extend_from_slice(k.id.as_bytes());
    out
}

/// The group of an item: what expires with it.
pub(crate) fn group_of(k: &ItemKey) -> Vec<u8> {
    match &k.request {
        None => mailbox_group(&k.placement),
        Some(request) => request_group(&k.placement, request),
    }
}

/// Reads a store key back; none where it is not one.
pub(crate) fn parse_item_key(bytes: &[u8]) -> Option<ItemKey> {
    let rest = bytes.strip_prefix(&[ITEM])?;
    let (placement, rest) = rest.split_first_chunk::<32>()?;
    let (shape, rest) = rest.split_first()?;
    let (request, slot, rest) = match shape {
        0 => {
            let (slot, rest) = rest.split_first_chunk::<4>()?;
            (None, u32::from_be_bytes(*slot), rest)
        }
        1 => {
            let (request, rest) = rest.split_first_chunk::<32>()?;
            (Some(RequestId::from_bytes(*request)), 0, rest)
        }
        _ => return None,
    };
    let (kind, rest) = rest.split_first()?;
    let id: &[u8; 32] = rest.try_into().ok()?;
    Some(ItemKey {
        placement: *placement,
        request,
        slot,
        kind: ItemKind::from_code(u64::from(*kind))?,
        id: ItemId::from_bytes(*id),
    })
}

/// A stored item's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) stamp: Hour,
    pub(crate) expires: Hour,
}

/// The value of an item's row.
pub(crate) fn item_value(item: &CheckedItem, expires: Hour) -> Vec<u8> {
    let mut out = Vec::with_capacity(9 + item.body().len());
    out.push(VERSION);
    out.extend_from_slice(&item.stamp().get().to_be_bytes());
    out.extend_from_slice(&expires.get().to_be_bytes());
    out.extend_from_slice(item.body());
    out
}

/// Reads an item's row back: head and body.
pub(crate) fn parse_item(value: &[u8]) -> Option<(Head, &[u8])> {
    let (version, rest) = value.split_first()?;
    if *version != VERSION {
        return None;
    }
    let (stamp, rest) = rest.split_first_chunk::<4>()?;
    let (expires, body) = rest.split_first_chunk::<4>()?;
    Some((
        Head {
            stamp: Hour::new(u32::from_be_bytes(*stamp)),
            expires: Hour::new(u32::from_be_bytes(*expires)),
        },
        body,
    ))
}

/// The row that says when a group expires.
pub(crate) fn expiry_key(expires: Hour, group: &[u8]) -> Vec<u8> {
    key(EXPIRY, &[&expires.get().to_be_bytes(), group])
}

/// The group of an expiry row.
pub(crate) fn parse_expiry(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(&[EXPIRY])?;
    Some(rest.split_first_chunk::<4>()?.1)
}

/// Under what prefixes the items are that say when a group ends: what opened a mailbox or mark, or
/// brought a request into its queue.
pub(crate) fn anchors(group: &[u8]) -> Vec<Vec<u8>> {
    let under = |rest: &[u8]| [group, rest].concat();
    match group.get(33) {
        Some(0) => [ItemKind::Opening, ItemKind::Admission]
            .iter()
            .map(|kind| under(&[0, 0, 0, 0, code(*kind)]))
            .collect(),
        _ => vec![under(&[code(ItemKind::Entry)])],
    }
}

pub(crate) fn trust_key(id: &RecordId) -> Vec<u8> {
    key(TRUST, &[id.as_bytes()])
}

/// One of the two records of a proof of equivocation: 0, the one that was in force; 1, the other.
pub(crate) fn proof_key(theirs: &RecordId, at: u8) -> Vec<u8> {
    key(PROOF, &[theirs.as_bytes(), &[at]])
}

pub(crate) fn double_key(issuer: &lapwing_protocol::id::NodeId) -> Vec<u8> {
    key(DOUBLE, &[issuer.as_bytes()])
}

pub(crate) fn lottery_key(epoch: u32) -> Vec<u8> {
    key(LOTTERY, &[&epoch.to_be_bytes()])
}

pub(crate) fn token_key(epoch: u32, hash: &TokenHash) -> Vec<u8> {
    key(TOKEN, &[&epoch.to_be_bytes(), hash.as_bytes()])
}

pub(crate) fn tokens_of(epoch: u32) -> Vec<u8> {
    key(TOKEN, &[&epoch.to_be_bytes()])
}

pub(crate) fn admitted_key(token: &TokenId) -> Vec<u8> {
    key(ADMITTED, &[token.as_bytes()])
}

pub(crate) fn counter_key(counter: Counter) -> Vec<u8> {
    let name: &[u8] = match counter {
        Counter::Admissions => b"admissions",
        Counter::OpeningDay => b"opening-day",
        Counter::Openings => b"openings",
        Counter::Whole => b"whole",
        Counter::Forgotten => b"forgotten",
        Counter::OpenEpoch => b"open-epoch",
    };
    key(COUNTER, &[name])
}

/// A value of plain bytes behind the version.
pub(crate) fn versioned(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + bytes.len());
    out.push(VERSION);
    out.extend_from_slice(bytes);
    out
}

/// The bytes of a versioned value.
pub(crate) fn unversioned(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(&[VERSION])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn item_keys_read_back_and_keep_their_order() {
        let mut keys = Vec::new();
        for request in [None, Some(RequestId::from_bytes([7; 32]))] {
            for kind in [ItemKind::Opening, ItemKind::Blob, ItemKind::Release] {
                for slot in [0, 3, u32::MAX] {
                    let slot = if request.is_some() { 0 } else { slot };
                    keys.push(ItemKey {
                        placement: [9; 32],
                        request,
                        slot,
                        kind,
                        id: ItemId::from_bytes([1; 32]),
                    });
                }
            }
        }
        for k in &keys {
            assert_eq!(parse_item_key(&item_key(k)), Some(*k));
        }
        keys.sort();
        keys.dedup();
        let stored: Vec<_> = keys.iter().map(item_key).collect();
        assert!(
            stored.is_sorted(),
            "replicas page through keys in one order"
        );
    }

    #[test]
    fn damaged_rows_are_none() {
        assert_eq!(parse_item(&[]), None);
        assert_eq!(parse_item(&[2, 0, 0, 0, 0, 0, 0, 0, 0, 1]), None);
        assert_eq!(parse_item_key(&[ITEM; 12]), None);
        assert_eq!(parse_expiry(&[EXPIRY, 0]), None);
    }
}
