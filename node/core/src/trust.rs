//! The chain of trust in the core: publishing, accepting, telling others, keeping.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lapwing_protocol::bounded::Bytes;
use lapwing_protocol::client::Answer;
use lapwing_protocol::hash::record_hash;
use lapwing_protocol::id::{NodeId, RecordId};
use lapwing_protocol::peer::{Gossip, PeerCall};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::trust::{
    Accepted, CheckedTrust, Equivocation, EquivocationProof, TrustKind, waits,
};

use crate::core::{Core, limits};
use crate::effect::{Alarm, Effect, Severity, Topic};
use crate::flow::{STEP_MS, list};
use crate::input::{CallTag, ClientTag};
use crate::rows;
use crate::store::{Reader, prefix_end};

/// Most proofs of equivocation that are kept of one mediator, or of the federation's roots.
const MAX_EQUIVOCATIONS: usize = 4;
/// Most that are kept in all.
const MAX_ALL_EQUIVOCATIONS: usize = 64;
/// Most refused records that are remembered.
const MAX_REFUSED: usize = 4_096;

/// Most records that are kept because they came before what they need, and most bytes of one.
const MAX_EARLY: usize = 32;
const MAX_EARLY_BYTES: usize = 16 * 1024;

/// How soon peers are compared with after a record came before what it needs, in milliseconds.
const EARLY_MS: u64 = 400;
/// Not more often than this, for a record may wait for something that never comes.
const EARLY_PAUSE_MS: u64 = 2_000;

impl<R: Reader> Core<R> {
    /// A client publishes a record.
    pub(crate) fn publish(&mut self, tag: ClientTag, record: CheckedTrust) {
        let result = self
            .take_record(record)
            .map(|(id, _)| Answer::Published(id));
        match result {
            Ok(_) => self.emit_after(Effect::Answer { tag, result }),
            Err(_) => self.answer(tag, result),
        }
    }

    /// Takes a checked record into the chain. A new one is in force here at once and goes on to other
    /// nodes, for a revocation must not wait for disks; who published it hears of it when it is on disk.
    fn take_record(&mut self, record: CheckedTrust) -> Result<(RecordId, bool), Problem> {
        let bytes = record.bytes().clone();
        let id = record.id();
        let now = self.time();
        match self.view.accept(record, now) {
            Ok(Accepted::Known) => Ok((id, false)),
            Ok(Accepted::New { id, kind }) => {
                // What it supersedes is swept out at the next tick: to look for it takes a pass over all.
                self.put(rows::trust_key(&id), rows::versioned(&bytes));
                self.stored_trust.insert(id, ());
                self.sweep_trust = true;
                if kind == TrustKind::Roster {
                    self.roster_changed();
                }
                self.emit(Effect::View(Arc::new(self.view.clone())));
                let message = match Bytes::try_from(bytes.to_vec()) {
                    Ok(small) => Gossip::Trust(small),
                    Err(_) => Gossip::TrustHave(id),
                };
                self.emit(Effect::Publish {
                    topic: Topic::Trust,
                    message,
                });
                self.retry_early();
                Ok((id, true))
            }
            Err(refused) => {
                if let Some(proof) = refused.proof {
                    self.keep_proof(&proof);
                }
                Err(refused.problem)
            }
        }
    }

    /// Keeps two records of one number as proof, tells the operator, and passes on the one that is not
    /// in force: whoever holds the other then sees the same. Of one signer so many at most: who
    /// equivocates could else fill the disk.
    fn keep_proof(&mut self, proof: &EquivocationProof) {
        let Ok(what) = self.view.check_proof(proof) else {
            return;
        };
        let of_signer = self
            .equivocations
            .keys()
            .filter(|e| e.mediator == what.mediator)
            .count();
        if self.equivocations.contains_key(&what)
            || of_signer >= MAX_EQUIVOCATIONS
            || self.equivocations.len() >= MAX_ALL_EQUIVOCATIONS
        {
            return;
        }
        let (ours, theirs) = (record_hash(&proof.ours), record_hash(&proof.theirs));
        for (at, bytes) in [(0, &proof.ours), (1, &proof.theirs)] {
            self.put(rows::proof_key(&theirs, at), rows::versioned(bytes));
        }
        self.disputed.insert(theirs, proof.theirs.clone());
        self.equivocations.insert(what, proof.clone());
        self.alarm(Alarm::Equivocation { ours, theirs });
        let message = match Bytes::try_from(proof.theirs.to_vec()) {
            Ok(small) => Gossip::Trust(small),
            Err(_) => Gossip::TrustHave(theirs),
        };
        self.emit_after(Effect::Publish {
            topic: Topic::Trust,
            message,
        });
    }

    /// Reads the proofs of equivocation back; what no longer holds by this view is left where it is.
    pub(crate) fn load_proofs(&mut self) -> Result<(), Problem> {
        let space = [rows::PROOF];
        let found = self.scan(&space, &prefix_end(&space), 2 * MAX_ALL_EQUIVOCATIONS)?;
        for pair in found.chunks_exact(2) {
            let bytes = |at: usize| {
                let row: Option<&crate::store::Entry> = pair.get(at);
                row.and_then(|(_, v)| rows::unversioned(v)).map(Arc::from)
            };
            if let (Some(ours), Some(theirs)) = (bytes(0), bytes(1)) {
                let proof = EquivocationProof { ours, theirs };
                if let Ok(what) = self.view.check_proof(&proof) {
                    let theirs = record_hash(&proof.theirs);
                    self.disputed.insert(theirs, proof.theirs.clone());
                    self.equivocations.insert(what, proof);
                }
            }
        }
        Ok(())
    }

    /// The proofs of equivocation that are kept, with what each shows.
    pub fn equivocations(&self) -> &BTreeMap<Equivocation, EquivocationProof> {
        &self.equivocations
    }

    /// Brings the stored records in step with the view: new ones in, superseded ones out.
    pub(crate) fn keep_records(&mut self) {
        if !std::mem::take(&mut self.sweep_trust) {
            return;
        }
        let records = self.view.records();
        let mut gone: BTreeSet<RecordId> =
            std::mem::take(&mut self.stored_trust).into_keys().collect();
        for (id, bytes) in records {
            if !gone.remove(&id) {
                self.put(rows::trust_key(&id), rows::versioned(&bytes));
            }
            self.stored_trust.insert(id, ());
        }
        for id in gone {
            self.delete(rows::trust_key(&id));
        }
    }

    fn roster_changed(&mut self) {
        self.queue.set_limits(limits(&self.view));
        self.note_rosters();
        self.count_greetings();
        if self.load_doubles().is_err() {
            self.alarm(Alarm::DamagedRow {
                space: rows::DOUBLE,
            });
        }
        if let Err(problem) = self.recount() {
            debug_assert!(problem == Problem::Internal);
            self.alarm(Alarm::DamagedRow { space: rows::ITEM });
        }
    }

    /// A worker checked the first of some records.
    pub(crate) fn trust_checked(
        &mut self,
        from: Option<NodeId>,
        first: Result<CheckedTrust, Problem>,
        rest: Vec<Vec<u8>>,
    ) {
        let taken = first.and_then(|record| {
            let (id, bytes) = (record.id(), record.bytes().clone());
            self.take_record(record).inspect_err(|problem| {
                if waits(*problem) {
                    self.hold_early(id, &bytes);
                } else {
                    self.refuse(id);
                }
            })
        });
        match taken {
            Ok(_) => {}
            // Early: a comparison soon brings it again, after what it needs.
            Err(problem) if waits(problem) => {
                if self.now >= self.next_early {
                    self.next_early = self.now.plus_millis(EARLY_PAUSE_MS);
                    self.next_sync = self.next_sync.min(self.now.plus_millis(EARLY_MS));
                }
            }
            Err(Problem::BadSignature | Problem::Malformed | Problem::WrongSigner) => {
                if let Some(peer) = from {
                    self.fault(peer, Severity::Minor, "a trust record that does not hold");
                }
            }
            Err(_) => {}
        }
        if !rest.is_empty() {
            // Behind the view that the record before it may have changed.
            self.emit(Effect::CheckTrust {
                from,
                records: rest,
            });
        }
    }

    /// Somebody has a record too large to gossip.
    pub(crate) fn trust_announced(&mut self, from: NodeId, id: RecordId) {
        if self.knows_record(&id) {
            return;
        }
        let tag = CallTag(self.next_id());
        self.fetches.insert(tag, from);
        self.emit(Effect::Call {
            tag,
            to: from,
            call: PeerCall::TrustRecords(list(vec![id])),
            timeout_ms: STEP_MS,
        });
    }

    /// Keeps a record that came before what it needs: gossip does not keep the order in which a
    /// mediator published.
    fn hold_early(&mut self, id: RecordId, bytes: &[u8]) {
        if bytes.len() > MAX_EARLY_BYTES {
            return;
        }
        self.early.insert(id, bytes.to_vec());
        while self.early.len() > MAX_EARLY {
            self.early.pop_first();
        }
    }

    /// Checks what came early again, now that there is something new.
    fn retry_early(&mut self) {
        let records: Vec<_> = std::mem::take(&mut self.early).into_values().collect();
        if !records.is_empty() {
            self.emit(Effect::CheckTrust {
                from: None,
                records,
            });
        }
    }

    /// Does not fetch a record again that was refused for good.
    fn refuse(&mut self, id: RecordId) {
        if self.refused_trust.len() >= MAX_REFUSED {
            self.refused_trust.clear();
        }
        self.refused_trust.insert(id);
    }

    pub(crate) fn knows_record(&self, id: &RecordId) -> bool {
        self.view.record(id).is_some() || self.disputed.contains_key(id)
    }
}
