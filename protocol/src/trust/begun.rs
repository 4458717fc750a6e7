//! Whether a provider may end what it began while its certificate was in force.

use super::TrustView;
use crate::cose::Verified;
use crate::id::RecordId;
use crate::mediation::ProviderCertificate;
use crate::problem::Problem;
use crate::time::Time;

impl TrustView {
    /// A provider certificate by which a booking may be ended that an offer began: as
    /// [`TrustView::provider`], but the mediator's latest status may have expired. Its revocations and
    /// its directory count nevertheless.
    ///
    /// # Errors
    /// As [`TrustView::provider`]; [`Problem::StatusExpired`] where there never was a status.
    pub fn provider_begun(
        &self,
        id: &RecordId,
        now: Time,
    ) -> Result<&Verified<ProviderCertificate>, Problem> {
        match self.provider(id, now) {
            Err(Problem::StatusExpired) => {}
            other => return other,
        }
        let certificate = self.certificate(id).ok_or(Problem::UnknownCertificate)?;
        let mediator = self.chain(&certificate.mediator, now)?;
        if now > certificate.expires {
            return Err(Problem::Expired);
        }
        let revoked = mediator.revocations().ok_or(Problem::StatusExpired)?;
        if revoked.serials.binary_search(&certificate.serial).is_ok() {
            return Err(Problem::Revoked);
        }
        if mediator.listed(id) {
            Ok(certificate)
        } else {
            Err(Problem::UnknownCertificate)
        }
    }
}
