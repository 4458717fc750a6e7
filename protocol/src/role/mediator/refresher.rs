//! A refresher: holds a mediator's status key alone. It dates the status anew while the mediator
//! sleeps, and can add revocations; it can certify nobody and take nothing back.

use std::collections::BTreeSet;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::press::{feed, next_sequence, publish_call};
use super::state::{REFRESHER, RefresherState, VERSION};
use super::{MediatorEvent, PublishError};
use crate::bounded::List;
use crate::client::{Answer, Call};
use crate::cose::sign;
use crate::hash::record_hash;
use crate::id::{MailboxId, MediatorId, NodeId};
use crate::key::SigningKey;
use crate::mailbox::Mailbox;
use crate::mediation::{ListRef, Revocations, Status};
use crate::problem::Problem;
use crate::role::desk::Desk;
use crate::role::kept::{self, Many};
use crate::role::talk::transient;
use crate::role::{CallId, Failure, Outcome, Pace, RestoreError, Role};
use crate::time::{Seconds, Time};
use crate::trust::{TrustView, waits};

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Publish;

/// A refresher's state machine.
pub struct Refresher {
    state: RefresherState,
    view: TrustView,
    desk: Desk<Publish>,
    /// It was told that another key follows up the status now.
    replaced: bool,
    events: Vec<MediatorEvent>,
}

impl core::fmt::Debug for Refresher {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Refresher(redacted)")
    }
}

impl Refresher {
    /// A refresher for a mediator. Each status lasts `life`, a week at most; it is dated anew after
    /// half of it.
    #[must_use]
    pub fn create(
        mediator: MediatorId,
        status: SigningKey,
        life: Seconds,
        view: TrustView,
        node: NodeId,
    ) -> Self {
        let state = RefresherState {
            federation: view.federation().clone(),
            node,
            mediator,
            status: status.into(),
            life,
            sequence: 0,
            outgoing: Many::default(),
        };
        Refresher {
            state,
            view,
            desk: Desk::new(),
            replaced: false,
            events: Vec::new(),
        }
    }

    fn latest(&self) -> Option<(Status, Revocations)> {
        let m = self.view.mediator(&self.state.mediator)?;
        Some(((**m.status()?).clone(), (**m.revocations()?).clone()))
    }

    /// The status and revocations in force or last, if this key may still follow them up.
    fn standing(&self, now: Time) -> Result<(Status, Revocations), PublishError> {
        let m = self
            .view
            .mediator(&self.state.mediator)
            .filter(|m| m.registered())
            .ok_or(PublishError::NotRegistered)?;
        let certificate = m.certificate().ok_or(PublishError::NotCertified)?;
        if certificate.status != self.state.status.verifying_key() {
            return Err(PublishError::KeyReplaced);
        }
        if now > certificate.expires {
            return Err(PublishError::CertificateOver);
        }
        self.latest().ok_or(PublishError::NotCertified)
    }

    /// When the status is to be dated anew: after half its life, or half of this refresher's.
    fn due(&self) -> Option<Time> {
        let (status, _) = self.latest()?;
        let life = status.expires.since(status.issued).min(self.state.life);
        Some(status.issued.plus(Seconds::new(life.get() / 2)))
    }

    /// Dates the status anew now.
    ///
    /// # Errors
    /// [`PublishError`]; nothing changed then. [`PublishError::KeyReplaced`] where a later certificate
    /// names another status key, [`PublishError::CertificateOver`] where it has expired.
    pub fn refresh(&mut self, now: Time) -> Result<(), PublishError> {
        let (status, _) = self.standing(now)?;
        self.publish(None, &status, now)
    }

    /// Revokes certificates. The mediator takes the serials over when it next publishes.
    ///
    /// # Errors
    /// [`PublishError`]; nothing changed then. [`PublishError::UnknownSerial`] for one of which no
    /// certificate is known.
    pub fn revoke(&mut self, serials: &[u64], now: Time) -> Result<(), PublishError> {
        let (status, list) = self.standing(now)?;
        let known: BTreeSet<u64> = self
            .view
            .mediator(&self.state.mediator)
            .into_iter()
            .flat_map(|m| m.providers().map(|c| c.serial))
            .chain(list.serials.iter().copied())
            .collect();
        if let Some(unknown) = serials.iter().find(|s| !known.contains(s)) {
            return Err(PublishError::UnknownSerial(*unknown));
        }
        let mut all = list.serials.to_vec();
        all.extend_from_slice(serials);
        all.sort_unstable();
        all.dedup();
        let serials = List::try_from(all).map_err(|_| PublishError::TooMany)?;
        let list = Revocations {
            serials,
            issued: now,
            ..list
        };
        self.publish(Some(list), &status, now)
    }

    fn publish(
        &mut self,
        list: Option<Revocations>,
        latest: &Status,
        now: Time,
    ) -> Result<(), PublishError> {
        let sequence = next_sequence(self.state.sequence, &self.view, &self.state.mediator, true);
        let mut view = self.view.clone();
        let mut records = Vec::new();
        let mut revocations = latest.revocations;
        if let Some(list) = list {
            let bytes = sign(&Revocations { sequence, ..list }, &self.state.status);
            revocations = ListRef {
                sequence,
                id: record_hash(&bytes),
            };
            feed(&mut view, &bytes, now)?;
            records.push(bytes.into());
        }
        let status = Status {
            sequence,
            issued: now,
            expires: now.plus(self.state.life),
            revocations,
            ..latest.clone()
        };
        let bytes = sign(&status, &self.state.status);
        feed(&mut view, &bytes, now)?;
        records.push(bytes.into());
        self.view = view;
        self.state.sequence = sequence;
        self.state.outgoing.extend(records);
        Ok(())
    }

    fn refused<R: CryptoRng + ?Sized>(&mut self, problem: Problem, now: Time, rng: &mut R) {
        self.desk.failed(&Publish, now, rng);
        if waits(problem) {
            self.events.push(MediatorEvent::ViewStale(problem));
        } else if !transient(problem) {
            if !self.state.outgoing.is_empty() {
                self.state.outgoing.remove(0);
            }
            self.events.push(MediatorEvent::PublishRefused(problem));
        }
    }

    fn wanted(&self) -> Vec<(Publish, Time)> {
        if self.state.outgoing.is_empty() {
            Vec::new()
        } else {
            vec![(Publish, Time::ZERO)]
        }
    }
}

impl Role for Refresher {
    type Event = MediatorEvent;

    fn poll(&mut self, now: Time, rng: &mut dyn CryptoRng) -> Vec<(CallId, Call)> {
        let replaced = matches!(self.standing(now), Err(PublishError::KeyReplaced));
        if replaced && !self.replaced {
            let told = MediatorEvent::NotRefreshed(PublishError::KeyReplaced);
            self.events.push(told);
        }
        self.replaced = replaced;
        if self.state.outgoing.is_empty()
            && !replaced
            && self.due().is_some_and(|due| due <= now)
            && self.desk.ready(&Publish, now)
            && let Err(error) = self.refresh(now)
        {
            self.desk.failed(&Publish, now, rng);
            self.events.push(MediatorEvent::NotRefreshed(error));
        }
        let due = self.desk.due(self.wanted(), now);
        due.into_iter()
            .filter_map(|task| {
                publish_call(&self.state.outgoing).map(|call| (self.desk.begin(task), call))
            })
            .collect()
    }

    fn answer(
        &mut self,
        id: CallId,
        outcome: Outcome,
        now: Time,
        rng: &mut dyn CryptoRng,
    ) -> Vec<MediatorEvent> {
        if let Some(task) = self.desk.end(id) {
            let head = self.state.outgoing.first().map(|b| record_hash(b));
            match outcome {
                Ok(Answer::Published(id)) if Some(id) == head => {
                    self.state.outgoing.remove(0);
                    self.desk.done(&task);
                    if self.state.outgoing.is_empty() {
                        self.events.push(MediatorEvent::Published);
                    }
                }
                Ok(_) => {
                    self.events
                        .push(MediatorEvent::BadAnswer(Problem::Malformed));
                    self.desk.failed(&task, now, rng);
                }
                Err(Failure::Refused(problem)) => self.refused(problem, now, rng),
                Err(Failure::Unreachable) => {
                    self.desk.failed(&task, now, rng);
                }
            }
        }
        self.events()
    }

    fn events(&mut self) -> Vec<MediatorEvent> {
        std::mem::take(&mut self.events)
    }

    fn wake(&self) -> Option<Time> {
        if self.state.outgoing.is_empty() {
            return self.desk.wake(vec![(Publish, self.due()?)]);
        }
        self.desk.wake(self.wanted())
    }

    fn watching(&self) -> Vec<Mailbox> {
        Vec::new()
    }

    fn watch_proofs(&self, _of: &[MailboxId], _now: Time) -> Vec<Vec<u8>> {
        Vec::new()
    }

    fn touched(&mut self, _mailbox: MailboxId) {}

    fn node(&self) -> NodeId {
        self.state.node
    }

    fn set_node(&mut self, node: NodeId) {
        self.state.node = node;
        self.desk.reset();
    }

    fn view(&self) -> &TrustView {
        &self.view
    }

    fn view_mut(&mut self) -> &mut TrustView {
        &mut self.view
    }

    fn set_pace(&mut self, _pace: Pace) {}

    fn save(&self) -> Zeroizing<Vec<u8>> {
        kept::save(REFRESHER, VERSION, &self.state)
    }

    fn restore(bytes: &[u8]) -> Result<Self, RestoreError> {
        let state: RefresherState = kept::restore(REFRESHER, VERSION, bytes)?;
        let view =
            TrustView::new(state.federation.clone()).map_err(|_| RestoreError::Federation)?;
        Ok(Refresher {
            state,
            view,
            desk: Desk::new(),
            replaced: false,
            events: Vec::new(),
        })
    }
}
