//! A federation on paper: answers calls as its nodes would, with records signed by their keys. It
//! keeps everything in one place and loses nothing; what distribution does is tested elsewhere.

mod queue;

use std::collections::{BTreeMap, BTreeSet};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use zeroize::Zeroizing;

use crate::bounded::Bytes;
use crate::client::{Answer, Call, CallKind, CheckedCall, Claims, Marks, Openings, check_call};
use crate::cose::{Verified, parse, sign};
use crate::id::{LockId, MailboxId, NodeId, RecordId, RegionId, RequestId, TicketId};
use crate::item::{CheckedItem, Item, ItemKind, item_id};
use crate::mailbox::{Ack, Entry, Mailbox, MarkState, Opening, Page, Place, Receipt, ack_message};
use crate::problem::Problem;
use crate::queue::{QueueEntry, Relist};
use crate::role::{CallId, Failure, Role};
use crate::testing::{Fixture, list};
use crate::time::{Seconds, Time};
use crate::token::{PriorityToken, draw, epoch_at};
use crate::trust::TrustView;

struct Waiting {
    region: RegionId,
    request: RequestId,
    order: (u32, [u8; 32]),
    entry: QueueEntry,
    inbox: MailboxId,
    expires: Time,
}

/// The federation on paper.
pub(in crate::role) struct Paper {
    pub(in crate::role) fixture: Fixture,
    pub(in crate::role) view: TrustView,
    pub(in crate::role) now: Time,
    pub(in crate::role) rng: ChaCha20Rng,
    /// Calls of these kinds are refused.
    pub(in crate::role) refuse: BTreeMap<CallKind, Problem>,
    /// Every call that was made.
    pub(in crate::role) calls: Vec<CallKind>,
    /// Claims list every request twice.
    pub(in crate::role) list_twice: bool,
    /// Every second answer is lost, at random.
    pub(in crate::role) lossy: bool,
    secret: Zeroizing<[u8; 32]>,
    serial: u64,
    admitted: BTreeMap<[u8; 32], Vec<u8>>,
    queue: Vec<Waiting>,
    boxes: BTreeMap<MailboxId, Place>,
    inboxes: BTreeSet<MailboxId>,
    blobs: BTreeMap<(MailboxId, u32), Entry>,
    deleted: BTreeSet<(MailboxId, u32)>,
    marks: BTreeMap<MailboxId, (u64, Vec<u8>)>,
    locks: BTreeMap<RequestId, LockId>,
    released: BTreeSet<LockId>,
    /// Every wish to be listed again.
    pub(in crate::role) relisted: Vec<Relist>,
    nonces: BTreeMap<NodeId, [u8; 32]>,
    /// Grants of claims already answered: a claim asked twice is answered alike.
    claims: BTreeMap<[u8; 32], Claims>,
    /// Tickets that were granted and not given up.
    tickets: BTreeMap<TicketId, Ticket>,
}

/// A ticket: of which request, to which certificate, until when it counts as open.
struct Ticket {
    request: RequestId,
    certificate: RecordId,
    until: Time,
}

impl Paper {
    pub(in crate::role) fn new(seed: u64) -> Self {
        let fixture = Fixture::new(seed, 3);
        Paper {
            view: fixture.view(),
            now: fixture.now,
            rng: ChaCha20Rng::seed_from_u64(seed ^ 0x5eed),
            refuse: BTreeMap::new(),
            calls: Vec::new(),
            lossy: false,
            list_twice: false,
            secret: Zeroizing::new([7; 32]),
            serial: 0,
            admitted: BTreeMap::new(),
            queue: Vec::new(),
            boxes: BTreeMap::new(),
            inboxes: BTreeSet::new(),
            blobs: BTreeMap::new(),
            deleted: BTreeSet::new(),
            marks: BTreeMap::new(),
            locks: BTreeMap::new(),
            released: BTreeSet::new(),
            relisted: Vec::new(),
            nonces: BTreeMap::new(),
            claims: BTreeMap::new(),
            tickets: BTreeMap::new(),
            fixture,
        }
    }

    pub(in crate::role) fn node(&self) -> NodeId {
        self.fixture.nodes().next().expect("a node").id
    }

    /// Lets time pass.
    pub(in crate::role) fn pass(&mut self, seconds: u32) {
        self.now = self.now.plus(Seconds::new(seconds));
        self.fixture.now = self.now;
    }

    fn receipt(&self, kind: ItemKind, body: &[u8]) -> Answer {
        let item = item_id(kind, body);
        let acks = self.fixture.nodes().take(2).map(|n| Ack {
            holder: n.id,
            roster: 1,
            signature: n.signing.sign(&ack_message(&n.id, 1, &item)),
        });
        Answer::Receipt(Receipt {
            item,
            acks: list(acks.collect()),
        })
    }

    /// One call, as often as it is made.
    pub(in crate::role) fn serve(&mut self, call: &Call) -> Result<Answer, Failure> {
        self.calls.push(call.kind());
        if let Some(problem) = self.refuse.get(&call.kind()) {
            return Err(Failure::Refused(*problem));
        }
        let answer = self.decide(call).map_err(Failure::Refused);
        // What a client decodes is what was encoded.
        let answer = answer.map(|a| Answer::parse(call.kind(), &a.to_bytes()).expect("an answer"));
        if self.lossy && self.rng.next_u32().is_multiple_of(2) {
            return Err(Failure::Unreachable);
        }
        answer
    }

    fn decide(&mut self, call: &Call) -> Result<Answer, Problem> {
        let me = self.node();
        match check_call(call.kind(), call.body(), &self.view, &me, self.now)? {
            CheckedCall::Token(order) => {
                let issuer = self.fixture.nodes().next().expect("a node");
                let epoch = epoch_at(self.now, self.fixture.params.epoch);
                self.serial += 1;
                let token = PriorityToken {
                    issuer: issuer.id,
                    epoch,
                    serial: self.serial,
                    hash: order.hash,
                    priority: draw(&self.secret, &order.hash, order.proof),
                    key: order.key,
                };
                Ok(Answer::Token(sign(&token, &issuer.signing)))
            }
            CheckedCall::Request(request) => self.admit(&request).map(Answer::Admission),
            CheckedCall::Open(order) => {
                let node = self.fixture.node(&me).clone();
                let day = self.now.day();
                let openings = order.places.iter().enumerate().map(|(i, place)| {
                    self.boxes.insert(place.id(), place.clone());
                    let opening = Opening {
                        node: me,
                        place: place.clone(),
                        day,
                        serial: i as u32,
                    };
                    Bytes::try_from(sign(&opening, &node.signing)).expect("short")
                });
                Ok(Answer::Openings(Openings {
                    openings: list(openings.collect()),
                }))
            }
            CheckedCall::Put(item) => self.put(&item),
            CheckedCall::Read(proof, after) => self.read(&proof.mailbox, after),
            CheckedCall::ReadMarks(ids) => {
                let states = ids
                    .iter()
                    .filter_map(|id| self.marks.get(id))
                    .map(|(_, b)| Bytes::try_from(b.clone()).expect("short"));
                Ok(Answer::Marks(Marks {
                    states: list(states.collect()),
                }))
            }
            CheckedCall::Challenge(order) => self.challenge(&order.region),
            CheckedCall::Claim(claim) => self.claim(&claim),
            CheckedCall::Lock(lock) => {
                let (lock, _) = *lock;
                self.lock(
                    lock.accept().lock(),
                    lock.ticket().grant().request,
                    lock.ticket().id(),
                )
            }
            CheckedCall::Publish(checked) => {
                let id = checked.id();
                self.view.accept(checked, self.now).map_err(|r| r.problem)?;
                Ok(Answer::Published(id))
            }
        }
    }

    fn put(&mut self, item: &CheckedItem) -> Result<Answer, Problem> {
        match item.item() {
            Item::Blob(blob) => {
                let id = blob.mailbox();
                if !self.boxes.contains_key(&id) && !self.inboxes.contains(&id) {
                    return Err(Problem::NotOpened);
                }
                let slot = blob.write().slot;
                if blob
                    .ticket()
                    .is_some_and(|t| t.grants().iter().all(|g| g.lapses < self.now))
                {
                    return Err(Problem::TicketLapsed);
                }
                if self.deleted.contains(&(id, slot)) {
                    return Err(Problem::Deleted);
                }
                let grants = blob.ticket().map(|t| t.grants()).unwrap_or_default();
                let entry = Entry {
                    slot,
                    item: item.id(),
                    grants: list(
                        grants
                            .iter()
                            .map(|g| Bytes::try_from(g.bytes().to_vec()).expect("short"))
                            .collect(),
                    ),
                    blob: blob.write().blob.clone(),
                };
                match self.blobs.get(&(id, slot)) {
                    Some(there) if there.item != item.id() => return Err(Problem::SlotConflict),
                    _ => self.blobs.insert((id, slot), entry),
                };
                if let Some(spend) = blob.ticket().and_then(|t| t.spend())
                    && let Some(ticket) = self.tickets.get_mut(&spend.ticket)
                {
                    ticket.until = spend.offer_expires;
                }
            }
            Item::Deletion(d) => {
                self.blobs.remove(&(d.mailbox.id(), d.slot));
                self.deleted.insert((d.mailbox.id(), d.slot));
            }
            Item::Mark(state) => self.set_mark(state)?,
            Item::Release(release) => {
                self.released.insert(release.lock);
                self.locks.retain(|_, lock| *lock != release.lock);
            }
            Item::Relist(relist) => {
                self.tickets.retain(|id, _| !relist.tickets.contains(id));
                self.relisted.push((**relist).clone());
            }
            _ => return Err(Problem::Internal),
        }
        Ok(self.receipt(item.kind(), item.body()))
    }

    fn set_mark(&mut self, state: &Verified<MarkState>) -> Result<(), Problem> {
        let id = state.mark.id();
        if !self.boxes.contains_key(&id) {
            return Err(Problem::NotOpened);
        }
        if self.marks.get(&id).is_some_and(|(version, bytes)| {
            *version > state.version || (*version == state.version && *bytes != **state.bytes())
        }) {
            return Err(Problem::OldVersion);
        }
        self.marks
            .insert(id, (state.version, state.bytes().to_vec()));
        Ok(())
    }

    /// What a mark says, as another device of the practice would see it.
    pub(in crate::role) fn mark(&self, id: &MailboxId) -> Option<MarkState> {
        let (_, bytes) = self.marks.get(id)?;
        Some(
            parse::<MarkState>(bytes)
                .expect("a mark")
                .unverified()
                .clone(),
        )
    }

    /// Sets a mark behind the provider's back.
    pub(in crate::role) fn overwrite_mark(&mut self, id: MailboxId, version: u64, bytes: Vec<u8>) {
        self.marks.insert(id, (version, bytes));
    }

    fn read(&mut self, mailbox: &Mailbox, after: Option<u32>) -> Result<Answer, Problem> {
        let id = mailbox.id();
        if !self.boxes.contains_key(&id) && !self.inboxes.contains(&id) {
            return Err(Problem::NotOpened);
        }
        let behind = |slot: u32| after.is_none_or(|a| slot > a);
        let all: Vec<_> = self
            .blobs
            .iter()
            .filter(|((m, s), _)| *m == id && behind(*s))
            .map(|(_, e)| e.clone())
            .collect();
        let more = all.len() > 2;
        Ok(Answer::Page(Page {
            entries: list(all.into_iter().take(2).collect()),
            more,
        }))
    }

    /// Puts a blob into a slot without asking, as a hostile holder could.
    pub(in crate::role) fn plant(&mut self, mailbox: &Mailbox, entry: Entry) {
        self.blobs.insert((mailbox.id(), entry.slot), entry);
    }

    /// What is in a mailbox.
    pub(in crate::role) fn contents(&self, mailbox: &Mailbox) -> Vec<Entry> {
        let id = mailbox.id();
        self.blobs
            .iter()
            .filter(|((m, _), _)| *m == id)
            .map(|(_, e)| e.clone())
            .collect()
    }

    /// Lets a role make all the calls that it wants now. With `restart`, it is restored before one in
    /// three of its steps, as after a crash: from what it was then, or from what had to be on disk.
    pub(in crate::role) fn turn<R: Role>(&mut self, role: &mut R, restart: bool) -> Vec<R::Event> {
        let mut events = Vec::new();
        let mut disk = role.save();
        for _ in 0..400 {
            if restart && self.rng.next_u32().is_multiple_of(3) {
                let found = match self.rng.next_u32().is_multiple_of(2) {
                    true => role.save(),
                    false => disk.clone(),
                };
                *role = self.restored(role, &found);
            }
            let told = events.len();
            let calls: Vec<(CallId, Call)> = role.poll(self.now, &mut self.rng);
            events.extend(role.events());
            if told < events.len() || calls.iter().any(|(_, call)| !call.is_ahead()) {
                disk = role.save();
            }
            let idle = calls.is_empty() && role.wake() != Some(Time::ZERO);
            for (id, call) in calls {
                let outcome = self.serve(&call);
                let told = role.answer(id, outcome, self.now, &mut self.rng);
                if !told.is_empty() {
                    disk = role.save();
                }
                events.extend(told);
            }
            if idle {
                return events;
            }
        }
        panic!("a role does not come to rest");
    }

    /// The role as a crash would leave it, with the view that the driver keeps.
    pub(in crate::role) fn restarted<R: Role>(&self, role: &R) -> R {
        self.restored(role, &role.save())
    }

    fn restored<R: Role>(&self, role: &R, disk: &[u8]) -> R {
        let view = role.view().clone();
        let mut again = R::restore(disk).expect("what was saved");
        again.set_view(view).expect("the same federation");
        again
    }
}
