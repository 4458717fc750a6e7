//! Whether a provider may end what it began while its certificate was in force.

use crate::cose::Verified;
use crate::id::RecordId;
use crate::mediation::ProviderCertificate;
use crate::problem::Problem;
use crate::time::Time;
use crate::trust::TrustView;

/// A provider certificate by which a booking may be ended that an offer began: as
/// [`TrustView::provider`], but the mediator's latest status may have expired. Its revocations and its
/// directory count nevertheless.
///
/// # Errors
/// As [`TrustView::provider`]; [`Problem::StatusExpired`] where there never was a status.
pub(super) fn provider_begun<'a>(
    trust: &'a TrustView,
    id: &RecordId,
    now: Time,
) -> Result<&'a Verified<ProviderCertificate>, Problem> {
    match trust.provider(id, now) {
        Err(Problem::StatusExpired) => {}
        other => return other,
    }
    let certificate = trust.certificate(id).ok_or(Problem::UnknownCertificate)?;
    let mediator = trust.chain(&certificate.mediator, now)?;
    if now > certificate.expires {
        return Err(Problem::Expired);
    }
    let revoked = mediator.revocations().ok_or(Problem::StatusExpired)?;
    if revoked.serials.binary_search(&certificate.serial).is_ok() {
        return Err(Problem::Revoked);
    }
    let directory = mediator.directory();
    if directory.is_some_and(|d| d.certificates.binary_search(id).is_ok()) {
        Ok(certificate)
    } else {
        Err(Problem::UnknownCertificate)
    }
}
