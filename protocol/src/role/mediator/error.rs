//! Why nothing was done or published.

use crate::bounded::Text;
use crate::id::RegionId;
use crate::problem::Problem;

/// Why nothing was published; whatever it was, nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The view refused a record: what is wrong with it, or what the view does not know yet.
    #[error("refused: {0}")]
    Refused(Problem),
    /// Not a registration of this mediator.
    #[error("not a registration of this mediator")]
    OtherMediator,
    /// No operators have registered this mediator, or not that this view knows.
    #[error("not registered: let the operators sign the registration first")]
    NotRegistered,
    /// The root has not certified working keys yet.
    #[error("no certificate by the root yet: order one first")]
    NotCertified,
    /// The root's certificate has expired: order a new one.
    #[error("the root's certificate has expired: order a new one")]
    CertificateOver,
    /// Not the certificate that was ordered last.
    #[error("not the certificate that was ordered last")]
    OtherOrder,
    /// The inbox of the order can no longer be opened: order anew.
    #[error("the order is too old, its inbox can no longer be opened: order anew")]
    OrderOver,
    /// A later certificate names another status key.
    #[error("this status key was replaced by a later certificate")]
    KeyReplaced,
    /// More regions, postal codes, criteria, reports or providers than a list holds.
    #[error("more than a list holds")]
    TooMany,
    /// A region with no postal code serves nobody.
    #[error("a region needs at least one postal code")]
    NoPostalCodes,
    /// The same criterion twice in one region.
    #[error("the criterion {} is there twice", .key.as_str())]
    SameCriterion {
        /// The criterion's key.
        key: Text<40>,
    },
    /// A postal code outside the areas of the registration.
    #[error("the postal code {} is outside the areas of the registration", .code.as_str())]
    OutsideAreas {
        /// The first such code.
        code: Text<10>,
    },
    /// This mediator has no such region.
    #[error("there is no region {0}")]
    UnknownRegion(RegionId),
    /// The application did not ask for this region.
    #[error("the application does not ask for region {0}")]
    NotAsked(RegionId),
    /// No region is left for the certificate.
    #[error("a certificate needs at least one region")]
    NoRegion,
    /// No such application waits.
    #[error("there is no such application")]
    UnknownApplication,
    /// The application was approved or rejected before.
    #[error("the application was decided before")]
    Decided,
    /// No certificate in force has this serial.
    #[error("there is no certificate with serial {0}")]
    UnknownSerial(u64),
    /// No such report.
    #[error("there is no such report")]
    UnknownReport,
    /// A provider's certificate lasts one to ninety days.
    #[error("a certificate lasts one to ninety days")]
    Life,
    /// The mailbox through which the provider hears of renewals is over or full: it must apply anew.
    #[error("the provider's mailbox is over or full: it must apply anew")]
    AnswerOver,
}

impl From<Problem> for PublishError {
    fn from(problem: Problem) -> Self {
        PublishError::Refused(problem)
    }
}
