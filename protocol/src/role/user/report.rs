//! Reports of a provider to the mediator that certified it, with an offer that the provider signed.
//!
//! A report is sealed to the mediator, written to its inbox and paid for by work. It is not signed, so
//! that it does not say who reports; but the offer in it names the request it was made for.

use rand_core::CryptoRng;

use super::state::KeptReport;
use super::{Task, User, UserEvent};
use crate::booking::{Report, ReportReason};
use crate::bounded::{Bytes, Text};
use crate::client::Call;
use crate::codec::to_bytes;
use crate::id::RecordId;
use crate::mailbox::Receipt;
use crate::problem::Problem;
use crate::role::letterbox::Letter;
use crate::role::talk::{stale, transient};
use crate::seal::Purpose;
use crate::time::Time;

/// Most reports that are kept.
const MAX_REPORTS: usize = 32;

/// Why nothing was reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// No such offer.
    #[error("there is no such offer")]
    Unknown,
    /// The provider was reported already: once for each request.
    #[error("this provider was reported already")]
    Already,
    /// Too many reports wait.
    #[error("too many reports wait to be written")]
    Full,
    /// It is too long for a letter.
    #[error("it is too long for a letter")]
    TooLong,
}

impl User {
    /// Reports the provider of an offer, open or not, to the mediator that certified it; also one whose
    /// certificate was revoked since. The work for it is done over the next polls;
    /// [`UserEvent::Reported`] tells when the mediator's inbox has it.
    ///
    /// # Errors
    /// [`ReportError`]; nothing changed then.
    pub fn report(
        &mut self,
        offer: &RecordId,
        reason: ReportReason,
        text: Text<1500>,
    ) -> Result<(), ReportError> {
        let asked = self.state.asked.as_ref().ok_or(ReportError::Unknown)?;
        let kept = asked.offers.get(offer).ok_or(ReportError::Unknown)?;
        let request = asked.request.as_ref().ok_or(ReportError::Unknown)?.id;
        let reports = &mut self.state.reports;
        if reports
            .iter()
            .any(|r| r.request == request && r.signer == kept.signer)
        {
            return Err(ReportError::Already);
        }
        reports.retain(|r| !r.written || r.request == request);
        if reports.len() >= MAX_REPORTS {
            return Err(ReportError::Full);
        }
        let report = Report {
            mediator: kept.mediator,
            reason,
            text,
            offer: Bytes::try_from(&*kept.bytes).map_err(|_| ReportError::TooLong)?,
        };
        reports.push(KeptReport {
            request,
            signer: kept.signer,
            offer: *offer,
            mediator: kept.mediator,
            reason,
            plain: to_bytes(&report).into(),
            letter: None,
            written: false,
        });
        Ok(())
    }

    /// Seals reports to mediators whose keys are known, and does their work by and by.
    pub(super) fn prepare_reports<R: CryptoRng + ?Sized>(&mut self, rng: &mut R) {
        let mut refused = Vec::new();
        for report in self.state.reports.iter_mut().filter(|r| !r.written) {
            let Some(certificate) = self
                .view
                .mediator(&report.mediator)
                .and_then(|m| m.certificate())
            else {
                continue;
            };
            // A mediator that changed its keys reads the old inbox no more.
            let inbox = certificate.inbox.id();
            if report.letter.as_ref().is_none_or(|l| l.mailbox() != inbox) {
                match Letter::new(
                    &certificate.inbox,
                    &certificate.sealing,
                    Purpose::Report,
                    &report.plain,
                    rng,
                ) {
                    Ok(letter) => report.letter = Some(letter),
                    Err(_) => {
                        refused.push(report.offer);
                        continue;
                    }
                }
            }
            if let Some(letter) = report.letter.as_mut().filter(|l| l.working()) {
                letter.work(self.pace.work);
                // One at a time: a poll is short.
                break;
            }
        }
        for offer in refused {
            self.drop_report(&offer, Problem::TooLarge);
        }
    }

    fn drop_report(&mut self, offer: &RecordId, problem: Problem) {
        self.state.reports.retain(|r| r.offer != *offer);
        self.events.push(UserEvent::ReportRefused {
            offer: *offer,
            problem,
        });
    }

    /// Whether there is work to do on a report.
    pub(super) fn reporting(&self) -> bool {
        self.state
            .reports
            .iter()
            .any(|r| !r.written && r.letter.as_ref().is_some_and(Letter::working))
    }

    /// The reports to write now.
    pub(super) fn due_reports(&self) -> impl Iterator<Item = &RecordId> {
        let ready = |r: &&KeptReport| {
            !r.written && r.letter.as_ref().is_some_and(|letter| !letter.working())
        };
        self.state.reports.iter().filter(ready).map(|r| &r.offer)
    }

    pub(super) fn report_call(&self, offer: &RecordId) -> Option<Call> {
        let mut reports = self.state.reports.iter();
        reports.find(|r| r.offer == *offer)?.letter.as_ref()?.call()
    }

    pub(super) fn reported(&mut self, offer: &RecordId, receipt: &Receipt) -> Result<(), Problem> {
        let mut reports = self.state.reports.iter_mut();
        let Some(report) = reports.find(|r| r.offer == *offer && !r.written) else {
            return Ok(());
        };
        if let Some(letter) = &report.letter {
            letter.written(receipt, &self.view)?;
            report.written = true;
            report.letter = None;
            report.plain = Vec::new().into();
            self.events.push(UserEvent::Reported { offer: *offer });
        }
        Ok(())
    }

    pub(super) fn report_refused<R: CryptoRng + ?Sized>(
        &mut self,
        offer: RecordId,
        problem: Problem,
        now: Time,
        rng: &mut R,
    ) {
        self.desk.failed(&Task::Report(offer), now, rng);
        let mut reports = self.state.reports.iter_mut();
        let Some(letter) = reports
            .find(|r| r.offer == offer)
            .and_then(|r| r.letter.as_mut())
        else {
            return;
        };
        match problem {
            Problem::SlotConflict | Problem::Deleted => letter.moved(rng),
            p if transient(p) || p == Problem::NotOpened => {}
            p if stale(p) => self.events.push(UserEvent::ViewStale(p)),
            p => self.drop_report(&offer, p),
        }
    }
}
