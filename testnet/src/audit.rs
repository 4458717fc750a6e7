//! Reads everything that was acknowledged back, through every node, and compares what holders hold.
//!
//! Nothing is assumed: a write that nobody can read back counts as lost.

mod replicas;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use lapwing_protocol::bounded::{Bytes, List};
use lapwing_protocol::client::{Answer, Call, CallKind, MAX_MARKS, MarkOrder, ReadOrder};
use lapwing_protocol::codec::to_bytes;
use lapwing_protocol::cose::parse;
use lapwing_protocol::federation::MediatorRegistration;
use lapwing_protocol::hash::record_hash;
use lapwing_protocol::id::{ItemId, MailboxId, NodeId, RecordId};
use lapwing_protocol::mailbox::{Mailbox, MarkState, MarkValue};
use lapwing_protocol::mediation::{
    Directory, MediatorCertificate, RegionList, Revocations, Status,
};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::role::{Failure, RestoreError, Role};
use lapwing_protocol::time::Time;
use lapwing_protocol::trust::TrustView;
use tokio::time::sleep;

pub use replicas::{diverged, settle, statuses};

use crate::ledger::Entries;
use lapwing_client::driver::{Place, Unheard, feed, make, now};
use lapwing_client::http::{Client, HttpError};

/// How long one read may take, tries included.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);
/// Most pages of one mailbox.
const MAX_PAGES: usize = 1024;

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A node does not answer, so that nothing can be read through it.
    #[error("a read was not answered: {0}")]
    Unanswered(Failure),
    /// A node's chain of trust cannot be had.
    #[error("a node does not give its trust records: {0}")]
    Trust(#[from] HttpError),
    /// A node gives no trust records now.
    #[error("a node gives no trust records now")]
    NoTrust,
    /// A role's stored state does not read back.
    #[error("a role's stored state does not read back: {0}")]
    Restore(#[from] RestoreError),
    /// An order cannot be written.
    #[error("an order cannot be written: {0}")]
    Order(Problem),
}

/// Who can read mailboxes: a role as it was stored, brought back for this alone.
pub trait Reader {
    /// The mailboxes it can read, with read proofs for a node.
    fn proofs(&mut self, node: NodeId, now: Time) -> Vec<(Mailbox, Vec<u8>)>;
}

struct Restored<R>(R);

impl<R: Role> Reader for Restored<R> {
    fn proofs(&mut self, node: NodeId, now: Time) -> Vec<(Mailbox, Vec<u8>)> {
        self.0.set_node(node);
        self.0
            .watching()
            .into_iter()
            .zip(self.0.watch_proofs(now))
            .collect()
    }
}

/// A reader from a role: stored, then brought back, so that what it needs must be in its state.
///
/// # Errors
/// [`AuditError::Restore`].
pub fn reader<R: Role + 'static>(role: &R) -> Result<Box<dyn Reader>, AuditError> {
    let mut restored = R::restore(&role.save())?;
    // The same federation: it was stored with the state.
    let _same = restored.set_view(role.view().clone());
    Ok(Box::new(Restored(restored)))
}

/// One acknowledged write, as it is looked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Write {
    Blob(MailboxId, u32, ItemId),
    Deletion(MailboxId, u32),
    Mailbox(MailboxId),
    Mark(MailboxId),
    State(MailboxId, u64, MarkValue),
    Admission(RecordId),
    Record(RecordId),
}

impl Write {
    fn what(&self) -> &'static str {
        match self {
            Write::Blob(..) => "blobs",
            Write::Deletion(..) => "deletions",
            Write::Mailbox(_) => "mailboxes",
            Write::Mark(_) | Write::State(..) => "marks",
            Write::Admission(_) => "admissions",
            Write::Record(_) => "trust records",
        }
    }
}

/// What reading back brought.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// Different acknowledged writes.
    pub writes: u64,
    /// Those of them that at least one node could not show.
    pub lost: u64,
    /// By node: what it could not show, and how many.
    pub missing: BTreeMap<NodeId, BTreeMap<&'static str, u64>>,
    /// What each mailbox held, by node.
    pub mailboxes: BTreeMap<(NodeId, MailboxId), BTreeSet<(u32, ItemId)>>,
}

/// Reads all entries of a ledger back through every node.
///
/// # Errors
/// [`AuditError`] where a node does not answer: then nothing is known.
pub async fn read_back(
    client: &Client,
    places: &[Place],
    entries: &Entries,
    readers: &mut [Box<dyn Reader>],
) -> Result<Audit, AuditError> {
    let mut audit = Audit {
        writes: entries.writes(),
        ..Audit::default()
    };
    let mut lost: BTreeSet<Write> = BTreeSet::new();
    for place in places {
        let missing = through(client, place, entries, readers, &mut audit).await?;
        let counts = audit.missing.entry(place.id).or_default();
        for write in &missing {
            *counts.entry(write.what()).or_default() += 1;
        }
        lost.extend(missing);
    }
    audit.missing.retain(|_, counts| !counts.is_empty());
    // What was acknowledged and cannot even be named can be read back by nobody.
    audit.lost = lost.len() as u64 + entries.unread;
    Ok(audit)
}

async fn through(
    client: &Client,
    place: &Place,
    entries: &Entries,
    readers: &mut [Box<dyn Reader>],
    audit: &mut Audit,
) -> Result<BTreeSet<Write>, AuditError> {
    let mut missing = BTreeSet::new();
    let mut held: BTreeMap<MailboxId, BTreeSet<(u32, ItemId)>> = BTreeMap::new();
    for reader in readers {
        for (mailbox, proof) in reader.proofs(place.id, now()) {
            let id = mailbox.id();
            if !held.contains_key(&id)
                && let Some(found) = read_mailbox(client, place, &proof).await?
            {
                held.insert(id, found);
            }
        }
    }
    for (mailbox, slot, item) in &entries.blobs {
        let there = held
            .get(mailbox)
            .is_some_and(|found| found.contains(&(*slot, *item)));
        // A deletion ends the slot for good, so that it cannot hide another loss.
        if !there && !entries.deletions.contains(&(*mailbox, *slot)) {
            missing.insert(Write::Blob(*mailbox, *slot, *item));
        }
    }
    for (mailbox, slot) in &entries.deletions {
        let gone = held
            .get(mailbox)
            .is_some_and(|found| found.iter().all(|(s, _)| s != slot));
        if !gone {
            missing.insert(Write::Deletion(*mailbox, *slot));
        }
    }
    missing.extend(
        entries
            .mailboxes
            .iter()
            .filter(|id| !held.contains_key(id))
            .map(|id| Write::Mailbox(*id)),
    );
    missing.extend(marks(client, place, entries).await?);
    missing.extend(admissions(client, place, entries).await?);
    missing.extend(records(client, place, entries).await?);
    audit
        .mailboxes
        .extend(held.into_iter().map(|(id, found)| ((place.id, id), found)));
    Ok(missing)
}

/// Makes a call that only reads, again while the refusal may pass.
async fn patiently(
    client: &Client,
    place: &Place,
    call: &Call,
) -> Result<Result<Answer, Problem>, AuditError> {
    let begun = Instant::now();
    loop {
        let failure = match make(client, &place.api, call, &Unheard).await {
            Ok(answer) => return Ok(Ok(answer)),
            Err(Failure::Refused(problem)) if !problem.retry() => return Ok(Err(problem)),
            Err(failure) => failure,
        };
        if begun.elapsed() > PATIENCE {
            return Err(AuditError::Unanswered(failure));
        }
        sleep(PAUSE).await;
    }
}

/// All that a mailbox holds; nothing where the node does not know that it was opened.
async fn read_mailbox(
    client: &Client,
    place: &Place,
    proof: &[u8],
) -> Result<Option<BTreeSet<(u32, ItemId)>>, AuditError> {
    let mut found = BTreeSet::new();
    let mut after = None;
    for _ in 0..MAX_PAGES {
        let proof =
            Bytes::try_from(proof.to_vec()).map_err(|_| AuditError::Order(Problem::TooLarge))?;
        let call = Call::new(CallKind::Read, to_bytes(&ReadOrder { proof, after }));
        match patiently(client, place, &call).await? {
            Ok(Answer::Page(page)) => {
                found.extend(page.entries.iter().map(|e| (e.slot, e.item)));
                after = page.entries.last().map(|e| e.slot);
                if !page.more || after.is_none() {
                    break;
                }
            }
            Err(Problem::NotOpened) => return Ok(None),
            Err(problem) => return Err(AuditError::Unanswered(Failure::Refused(problem))),
            Ok(_) => return Err(AuditError::Unanswered(Failure::Unreachable)),
        }
    }
    Ok(Some(found))
}

async fn marks(
    client: &Client,
    place: &Place,
    entries: &Entries,
) -> Result<Vec<Write>, AuditError> {
    let mut known: BTreeMap<MailboxId, (u64, MarkValue)> = BTreeMap::new();
    let ids: Vec<MailboxId> = entries.marks.iter().copied().collect();
    for some in ids.chunks(MAX_MARKS) {
        let marks =
            List::try_from(some.to_vec()).map_err(|_| AuditError::Order(Problem::OutOfBounds))?;
        let call = Call::new(CallKind::ReadMarks, to_bytes(&MarkOrder { marks }));
        let Ok(Answer::Marks(marks)) = patiently(client, place, &call).await? else {
            continue;
        };
        for bytes in &marks.states {
            let Ok(signed) = parse::<MarkState>(bytes) else {
                continue;
            };
            let key = signed.unverified().mark.key;
            if let Ok(state) = signed.verify(&key) {
                known.insert(state.mark.id(), (state.version, state.value));
            }
        }
    }
    let states = entries.states.iter().filter(|(id, version, value)| {
        // A later state took its place; at the same version "taken" wins.
        known
            .get(id)
            .is_none_or(|found| *found < (*version, *value))
    });
    let mut missing: Vec<Write> = states
        .map(|(id, version, value)| Write::State(*id, *version, *value))
        .collect();
    missing.extend(
        entries
            .marks
            .iter()
            .filter(|id| !known.contains_key(id))
            .map(|id| Write::Mark(*id)),
    );
    Ok(missing)
}

/// The same request must bring the same admission, byte for byte.
async fn admissions(
    client: &Client,
    place: &Place,
    entries: &Entries,
) -> Result<Vec<Write>, AuditError> {
    let mut missing = Vec::new();
    for (request, admission) in &entries.admissions {
        let call = Call::new(CallKind::Request, request.clone());
        let same = matches!(patiently(client, place, &call).await?, Ok(Answer::Admission(found)) if found == *admission);
        if !same {
            missing.push(Write::Admission(record_hash(request)));
        }
    }
    Ok(missing)
}

/// A published record must be there, or a later one of its kind in its place.
async fn records(
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
    for (id, bytes) in records {
        match kind_of(bytes) {
            Some((kind, mediator, sequence)) => {
                let held = last.entry((kind, mediator)).or_insert((sequence, *id));
                if sequence >= held.0 {
                    *held = (sequence, *id);
                }
            }
            // A provider certificate: nothing replaces it.
            None => {
                standing.insert(*id);
            }
        }
    }
    standing.extend(last.into_values().map(|(_, id)| id));
    standing
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

/// A view of what one node has, checked from the roots.
///
/// # Errors
/// [`AuditError::Trust`], [`AuditError::NoTrust`].
pub async fn view_of(
    client: &Client,
    place: &Place,
    empty: &TrustView,
) -> Result<TrustView, AuditError> {
    let Some((all, _)) = feed::all(client, &place.api, None).await? else {
        return Err(AuditError::NoTrust);
    };
    let mut view = empty.clone();
    feed::learn(&mut view, &all, now());
    Ok(view)
}
