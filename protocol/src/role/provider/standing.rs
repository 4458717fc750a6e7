//! What the provider's own certificate is worth, by its own view.

use rand_core::CryptoRng;

use super::kept_deal::Step;
use super::{Provider, ProviderEvent};
use crate::booking::Rejection;
use crate::id::TicketId;
use crate::problem::Problem;
use crate::time::Time;

impl Provider {
    /// Whether the certificate is in force: only then are requests claimed and offers made.
    ///
    /// # Errors
    /// Why not: [`Problem::Revoked`] also where the directory has left it out, else as
    /// [`crate::trust::TrustView::provider`]; [`Problem::UnknownCertificate`] without one.
    pub fn in_force(&self, now: Time) -> Result<(), Problem> {
        let certificate = self.state.certificate.as_ref();
        let certificate = certificate.ok_or(Problem::UnknownCertificate)?;
        if let Some(ended) = self.ended(now) {
            return Err(ended);
        }
        self.view.provider(&certificate.id, now).map(drop)
    }

    /// Why there is a certificate that will never be in force again, if so. (That the view does not know
    /// it, or that its status is too old, may pass.)
    pub(super) fn ended(&self, now: Time) -> Option<Problem> {
        let certificate = self.state.certificate.as_ref()?;
        let revoked = self
            .view
            .mediator(&certificate.mediator)
            .and_then(|m| m.revocations())
            .is_some_and(|r| r.serials.binary_search(&certificate.serial).is_ok());
        if revoked {
            Some(Problem::Revoked)
        } else {
            (now > certificate.expires).then_some(Problem::Expired)
        }
    }

    /// Tells when the certificate is no longer good, or for the time being; gives up what is not
    /// confirmed yet when it has ended.
    pub(super) fn heed_standing(&mut self, now: Time, rng: &mut dyn CryptoRng) {
        let ended = self.ended(now);
        let trouble = self
            .state
            .certificate
            .as_ref()
            .and(self.in_force(now).err());
        if trouble != self.trouble {
            self.trouble = trouble;
            match (ended, trouble) {
                (Some(problem), _) => self.events.push(ProviderEvent::CertificateEnded(problem)),
                (None, Some(problem)) => self.events.push(ProviderEvent::ViewStale(problem)),
                (None, None) => {}
            }
        }
        if ended.is_none() {
            return;
        }
        // An offer that was not made yet is not made; one that is on its way may have arrived.
        self.state.deals.retain(|_, d| d.first.is_some());
        let unconfirmed: Vec<TicketId> = self
            .state
            .deals
            .iter()
            .filter(|(_, d)| d.target().is_some_and(|t| t.step != Step::Confirmed))
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in unconfirmed {
            self.give_up(&ticket, Rejection::OfferClosed, now, rng);
        }
        for deal in self.state.deals.values_mut() {
            deal.owed = None;
            deal.sent = true;
        }
    }
}
