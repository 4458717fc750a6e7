//! Reports: users write what is wrong with a provider, and prove by an offer that it wrote to them.
//!
//! A report is not signed, so that who reports stays unnamed. It counts by the offer in it: signed by
//! a provider that this mediator certified, whatever became of the certificate since. Of each
//! provider's offers to one request one report is kept, and so many a provider, so that nobody is
//! drowned out or drowned. Requests are public: who kept one a request alone would let one provider
//! keep reports about another away.

use super::state::State;
use super::{Mediator, MediatorEvent, PublishError};
use crate::booking::{Offer, Report, ReportReason};
use crate::bounded::Text;
use crate::cose::parse;
use crate::hash::record_hash;
use crate::id::{MediatorId, RecordId, RequestId};
use crate::key::VerifyingKey;
use crate::mediation::Practice;
use crate::problem::Problem;
use crate::role::kept::Many;
use crate::time::{Seconds, Time};
use crate::trust::TrustView;
use crate::wire_struct;

/// Most reports that wait at once; further ones stay in the inbox until some are dismissed.
pub const MAX_REPORTS: usize = 1024;
/// Most reports about one provider that wait at once; further ones are cleared away.
pub const MAX_REPORTS_PER_PROVIDER: usize = 32;
/// Pairs of request and provider that are remembered, so that one is reported once.
const MAX_REPORTED: usize = 16 * 1024;
/// An offer can be reported for so long after it has expired.
const REPORTABLE: Seconds = Seconds::days(90);

wire_struct! {
    /// One slot of a reported offer: start, minutes, what.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(super) struct SlotKept {
        start: Time,
        minutes: u16,
        what: Text<80>,
    }
}

wire_struct! {
    /// A good report.
    #[derive(Clone)]
    pub(super) struct ReportKept {
        serial: u64,
        provider: VerifyingKey,
        reason: ReportReason,
        text: Text<1500>,
        offer: RecordId,
        request: RequestId,
        expires: Time,
        practice: Practice,
        slots: Many<SlotKept>,
        received: Time,
    }
}

/// A slot that was offered, as reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedSlot {
    /// When it starts.
    pub start: Time,
    /// How long it takes, in minutes.
    pub minutes: u16,
    /// What was offered.
    pub what: Text<80>,
}

/// A user's report about a provider. That the provider signed the offer is certain; what the text
/// says is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportView {
    /// Names it to [`Mediator::dismiss`].
    pub id: RecordId,
    /// The serial of the provider's certificate.
    pub serial: u64,
    /// Whether that certificate is still in force.
    pub in_force: bool,
    /// Why.
    pub reason: ReportReason,
    /// What happened, in the user's words.
    pub text: Text<1500>,
    /// The practice, as the mediator verified it.
    pub practice: Practice,
    /// The record id of the offer.
    pub offer: RecordId,
    /// What was offered.
    pub slots: Vec<ReportedSlot>,
    /// When the report was read.
    pub received: Time,
}

impl ReportKept {
    fn view(&self, id: RecordId, state: &State) -> ReportView {
        let slot = |s: &SlotKept| ReportedSlot {
            start: s.start,
            minutes: s.minutes,
            what: s.what.clone(),
        };
        ReportView {
            id,
            serial: self.serial,
            in_force: state.providers.contains_key(&self.serial),
            reason: self.reason,
            text: self.text.clone(),
            practice: self.practice.clone(),
            offer: self.offer,
            slots: self.slots.iter().map(slot).collect(),
            received: self.received,
        }
    }
}

/// Reads a report and checks what it rests on.
///
/// # Errors
/// [`Problem`]: what [`crate::trust::waits`] names where the view may learn more, else it is none.
pub(super) fn read_report(
    plain: &[u8],
    mediator: &MediatorId,
    view: &TrustView,
    now: Time,
) -> Result<(RecordId, ReportKept), Problem> {
    let report: Report = crate::codec::from_bytes(plain, crate::booking::MAX_REPORT)?;
    if report.mediator != *mediator {
        return Err(Problem::WrongSigner);
    }
    let signed = parse::<Offer>(&report.offer)?;
    let certificate = view.recognise(&signed.unverified().certificate)?;
    if certificate.mediator != *mediator {
        return Err(Problem::WrongSigner);
    }
    let offer = signed.verify(&certificate.signing)?;
    if offer.practice.hash() != certificate.practice {
        return Err(Problem::OutOfBounds);
    }
    if now > offer.expires.plus(REPORTABLE) {
        return Err(Problem::Expired);
    }
    let slots: Vec<SlotKept> = offer
        .slots
        .iter()
        .map(|s| SlotKept {
            start: s.start,
            minutes: s.minutes,
            what: s.what.clone(),
        })
        .collect();
    let kept = ReportKept {
        serial: certificate.serial,
        provider: certificate.signing,
        reason: report.reason,
        text: report.text,
        offer: offer.id(),
        request: offer.request,
        expires: offer.expires,
        practice: offer.practice.clone(),
        slots: Many::from(slots),
        received: now,
    };
    Ok((record_hash(plain), kept))
}

impl Mediator {
    /// The reports that were not dismissed, the oldest first.
    #[must_use]
    pub fn reports(&self) -> Vec<ReportView> {
        let mut reports: Vec<ReportView> = self
            .state
            .reports
            .iter()
            .map(|(id, r)| r.view(*id, &self.state))
            .collect();
        reports.sort_by_key(|r| (r.received, r.id));
        reports
    }

    /// Dismisses a report: it was dealt with. Another one about the same
    /// provider and request is not shown.
    ///
    /// # Errors
    /// [`PublishError::UnknownReport`].
    pub fn dismiss(&mut self, id: &RecordId) -> Result<(), PublishError> {
        self.state
            .reports
            .remove(id)
            .map(drop)
            .ok_or(PublishError::UnknownReport)
    }

    /// Keeps a good report, unless there was one about its request and provider, or there are many
    /// about the provider. False where there is no room: it is looked at again later.
    pub(super) fn keep_report(&mut self, id: RecordId, report: ReportKept, now: Time) -> bool {
        self.state.reported.retain(|_, until| now <= *until);
        let key = (report.request, report.provider);
        if self.state.reported.contains_key(&key) {
            return true;
        }
        let about = |r: &&ReportKept| r.provider == report.provider;
        if self.state.reports.values().filter(about).count() >= MAX_REPORTS_PER_PROVIDER {
            return true;
        }
        if self.state.reports.len() >= MAX_REPORTS || self.state.reported.len() >= MAX_REPORTED {
            return false;
        }
        // A provider may date its offers as it likes.
        let until = report.expires.min(now.plus(REPORTABLE)).plus(REPORTABLE);
        self.state.reported.insert(key, until);
        let view = report.view(id, &self.state);
        self.events.push(MediatorEvent::Reported(Box::new(view)));
        self.state.reports.insert(id, report);
        true
    }
}
