//! What a mediator is told.

use super::{PublishError, ReportView};
use crate::booking::Application;
use crate::id::RecordId;
use crate::problem::Problem;
use crate::time::Time;

/// What a mediator, or its refresher, is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MediatorEvent {
    /// Everything that waited is published.
    Published,
    /// A record was refused for good.
    PublishRefused(Problem),
    /// The inbox is open: providers can apply.
    InboxOpen,
    /// A provider applied.
    Applied {
        /// The application's record id.
        id: RecordId,
        /// What it says.
        application: Box<Application>,
    },
    /// A user reported a provider.
    Reported(Box<ReportView>),
    /// A provider's answer mailbox takes nothing more: it must apply anew to get what was to be sent.
    Unanswerable {
        /// Its serial.
        serial: u64,
    },
    /// A provider's certificate ends within two weeks, and it has no later one.
    ExpiresSoon {
        /// Its serial.
        serial: u64,
        /// When.
        expires: Time,
    },
    /// The root's certificate of the working keys ends within a month: order the next.
    CertificateEnds {
        /// When.
        expires: Time,
    },
    /// An inbox could not be opened in time: order a new certificate.
    InboxLost,
    /// The status was not dated anew.
    NotRefreshed(PublishError),
    /// The region keys that are due were not renewed.
    NotRenewed(PublishError),
    /// The trust records should be fetched again.
    ViewStale(Problem),
    /// A node refused a call for a reason that does not pass by itself.
    Refused(Problem),
    /// A node's answer was not what it should be: best to use another.
    BadAnswer(Problem),
}
