//! Reads everything that was acknowledged back, through every node, and compares what holders hold.
//!
//! Nothing is assumed: a write that nobody can read back counts as lost.

mod readers;
mod records;
mod replicas;

use self::records::records;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lapwing_protocol::bounded::{Bytes, List};
use lapwing_protocol::client::{Answer, Call, CallKind, MAX_MARKS, MarkOrder, ReadOrder};
use lapwing_protocol::codec::to_bytes;
use lapwing_protocol::cose::parse;
use lapwing_protocol::hash::record_hash;
use lapwing_protocol::id::{ItemId, MailboxId, NodeId, RecordId};
use lapwing_protocol::mailbox::{MarkState, MarkValue};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::Request;
use lapwing_protocol::role::{Failure, RestoreError};
use lapwing_protocol::trust::TrustView;
use tokio::task::JoinSet;
use tokio::time::sleep;

pub use readers::{Reader, mediator, provider, user};
pub use replicas::{diverged, settle, statuses};

use crate::ledger::Entries;
use lapwing_client::driver::{Place, Unheard, feed, make, now};
use lapwing_client::http::{Client, HttpError};

/// How long one read may take, tries included.
const PATIENCE: Duration = Duration::from_secs(60);
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
    /// Nobody was given to read with.
    #[error("an audit needs a client to read with")]
    NoLane,
    /// An order cannot be written.
    #[error("an order cannot be written: {0}")]
    Order(Problem),
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
    /// Different acknowledged writes, without those that are abandoned.
    pub writes: u64,
    /// Offers that nobody has the keys of any more ([`Entries::abandoned`]).
    pub abandoned: u64,
    /// Those of them that at least one node could not show.
    pub lost: u64,
    /// By node: what it could not show, and how many.
    pub missing: BTreeMap<NodeId, BTreeMap<&'static str, u64>>,
    /// What each mailbox held, by node.
    pub mailboxes: BTreeMap<(NodeId, MailboxId), BTreeSet<(u32, ItemId)>>,
}

/// Reads all entries of a ledger back through every node: all nodes at once, with `lanes` calls at a
/// time at each, every lane from a network of its own.
///
/// # Errors
/// [`AuditError`] where a node does not answer: then nothing is known.
pub async fn read_back(
    lanes: &[Client],
    places: &[Place],
    entries: &Arc<Entries>,
    readers: &mut [Box<dyn Reader>],
) -> Result<Audit, AuditError> {
    let mut lost: BTreeSet<Write> = BTreeSet::new();
    let mut reading = JoinSet::new();
    let mut all = Vec::new();
    let mut known: BTreeSet<MailboxId> = BTreeSet::new();
    for place in places {
        let mut proofs: BTreeMap<MailboxId, Vec<u8>> = BTreeMap::new();
        for reader in readers.iter_mut() {
            for (mailbox, proof) in reader.proofs(place.id, now()) {
                proofs.entry(mailbox.id()).or_insert(proof);
            }
        }
        known.extend(proofs.keys());
        all.push((place.clone(), proofs));
    }
    let abandoned = entries.abandoned(&known);
    let mut entries = Entries::clone(entries);
    entries.blobs.retain(|blob| !abandoned.contains(blob));
    let entries = Arc::new(entries);
    let mut audit = Audit {
        writes: entries.writes(),
        abandoned: abandoned.len() as u64,
        ..Audit::default()
    };
    for (place, proofs) in all {
        let (lanes, entries) = (lanes.to_vec(), entries.clone());
        reading.spawn(async move {
            let found = through(&lanes, &place, &entries, proofs).await;
            (place.id, found)
        });
    }
    while let Some(done) = reading.join_next().await {
        let (node, found) = done.map_err(|_| AuditError::Unanswered(Failure::Unreachable))?;
        let (missing, held) = found?;
        let counts = audit.missing.entry(node).or_default();
        for write in &missing {
            *counts.entry(write.what()).or_default() += 1;
        }
        lost.extend(missing);
        let held = held.into_iter().map(|(id, found)| ((node, id), found));
        audit.mailboxes.extend(held);
    }
    audit.missing.retain(|_, counts| !counts.is_empty());
    // What was acknowledged and cannot even be named can be read back by nobody.
    audit.lost = lost.len() as u64 + entries.unread;
    Ok(audit)
}

/// What mailboxes held: slots and items.
type Held = BTreeMap<MailboxId, BTreeSet<(u32, ItemId)>>;

/// Reads the mailboxes through one node, each lane its share.
async fn mailboxes(
    lanes: &[Client],
    place: &Place,
    proofs: BTreeMap<MailboxId, Vec<u8>>,
) -> Result<Held, AuditError> {
    let mut shares: Vec<Vec<(MailboxId, Vec<u8>)>> = vec![Vec::new(); lanes.len().max(1)];
    let count = shares.len();
    for (n, one) in proofs.into_iter().enumerate() {
        if let Some(share) = shares.get_mut(n % count) {
            share.push(one);
        }
    }
    let mut reading = JoinSet::new();
    for (client, share) in lanes.iter().zip(shares) {
        let (client, place) = (client.clone(), place.clone());
        reading.spawn(async move {
            let mut held = Held::new();
            for (id, proof) in share {
                if let Some(found) = read_mailbox(&client, &place, &proof).await? {
                    held.insert(id, found);
                }
            }
            Ok::<_, AuditError>(held)
        });
    }
    let mut held = Held::new();
    while let Some(done) = reading.join_next().await {
        held.extend(done.map_err(|_| AuditError::Unanswered(Failure::Unreachable))??);
    }
    Ok(held)
}

async fn through(
    lanes: &[Client],
    place: &Place,
    entries: &Entries,
    proofs: BTreeMap<MailboxId, Vec<u8>>,
) -> Result<(BTreeSet<Write>, Held), AuditError> {
    let Some(client) = lanes.first() else {
        return Err(AuditError::NoLane);
    };
    let mut missing = BTreeSet::new();
    let known: BTreeSet<MailboxId> = proofs.keys().copied().collect();
    let written: BTreeSet<MailboxId> = entries.blobs.iter().map(|(id, _, _)| *id).collect();
    let held = mailboxes(lanes, place, proofs).await?;
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
            // One that was given up empty can be read by nobody: its keys were wiped with the offer that
            // it was for. Whatever was written to anywhere must be there.
            .filter(|id| known.contains(id) || written.contains(id))
            .filter(|id| !held.contains_key(id))
            .map(|id| Write::Mailbox(*id)),
    );
    missing.extend(marks(client, place, entries).await?);
    missing.extend(admissions(client, place, entries, &held).await?);
    missing.extend(records(client, place, entries).await?);
    Ok((missing, held))
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

/// The same request must bring the same admission, byte for byte. One that is sealed to a key of its
/// region that is no longer current is not taken again: there the inbox must be there that its admission
/// opened.
async fn admissions(
    client: &Client,
    place: &Place,
    entries: &Entries,
    held: &Held,
) -> Result<Vec<Write>, AuditError> {
    let mut missing = Vec::new();
    for (request, admission) in &entries.admissions {
        let call = Call::new(CallKind::Request, request.clone());
        let there = match patiently(client, place, &call).await? {
            Ok(Answer::Admission(found)) => found == *admission,
            Err(Problem::WrongKeyVersion) => parse::<Request>(request)
                .is_ok_and(|r| held.contains_key(&r.unverified().inbox.id())),
            _ => false,
        };
        if !there {
            missing.push(Write::Admission(record_hash(request)));
        }
    }
    Ok(missing)
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
