//! Published records, read back.

use std::collections::{BTreeMap, BTreeSet};

use lapwing_client::driver::{Place, feed};
use lapwing_client::http::Client;
use lapwing_protocol::cose::parse;
use lapwing_protocol::federation::MediatorRegistration;
use lapwing_protocol::hash::record_hash;
use lapwing_protocol::id::RecordId;
use lapwing_protocol::mediation::{
    Directory, MediatorCertificate, ProviderCertificate, RegionList, Revocations, Status,
};

use super::{AuditError, Write};
use crate::ledger::Entries;

/// A published record must be there, or a later one of its kind in its place.
pub(super) async fn records(
    client: &Client,
    place: &Place,
    entries: &Entries,
) -> Result<Vec<Write>, AuditError> {
    let Some((all, _)) = feed::all(client, &place.api, None).await? else {
        return Err(AuditError::NoTrust);
    };
    let there: BTreeSet<RecordId> = all.iter().map(|r| record_hash(r)).collect();
    let last = last_of_each_kind(&entries.records);
    let missing = entries
        .records
        .iter()
        .filter(|(id, _)| !there.contains(id) && last.contains(id));
    Ok(missing.map(|(id, _)| Write::Record(*id)).collect())
}

/// The published records that no later one of the same kind and mediator replaces.
fn last_of_each_kind(records: &[(RecordId, Vec<u8>)]) -> BTreeSet<RecordId> {
    let mut last: BTreeMap<(u8, [u8; 32]), (u64, RecordId)> = BTreeMap::new();
    let mut standing = BTreeSet::new();
    let revoked = revoked(records);
    for (id, bytes) in records {
        match kind_of(bytes) {
            Some((kind, mediator, sequence)) => {
                let held = last.entry((kind, mediator)).or_insert((sequence, *id));
                if sequence >= held.0 {
                    *held = (sequence, *id);
                }
            }
            // A provider certificate: a revocation ends it, nothing replaces it.
            None => {
                let over = parse::<ProviderCertificate>(bytes).is_ok_and(|c| {
                    let said = c.unverified();
                    revoked.contains(&(*said.mediator.as_bytes(), said.serial))
                });
                if !over {
                    standing.insert(*id);
                }
            }
        }
    }
    standing.extend(last.into_values().map(|(_, id)| id));
    standing
}

/// Mediators and serials of all certificates that a published list revokes.
fn revoked(records: &[(RecordId, Vec<u8>)]) -> BTreeSet<([u8; 32], u64)> {
    let lists = records
        .iter()
        .filter_map(|(_, bytes)| parse::<Revocations>(bytes).ok());
    lists
        .flat_map(|list| {
            let said = list.unverified();
            let mediator = *said.mediator.as_bytes();
            let serials = said.serials.iter().map(|s| (mediator, *s));
            serials.collect::<Vec<_>>()
        })
        .collect()
}

fn kind_of(bytes: &[u8]) -> Option<(u8, [u8; 32], u64)> {
    macro_rules! kind {
        ($number:literal, $record:ty) => {
            if let Ok(r) = parse::<$record>(bytes) {
                let said = r.unverified();
                return Some(($number, *said.mediator.as_bytes(), said.sequence));
            }
        };
    }
    kind!(3, MediatorCertificate);
    kind!(4, RegionList);
    kind!(6, Directory);
    kind!(7, Revocations);
    kind!(8, Status);
    let r = lapwing_protocol::cose::parse_multi::<MediatorRegistration>(bytes).ok()?;
    Some((
        2,
        *r.unverified().mediator.as_bytes(),
        r.unverified().sequence,
    ))
}
