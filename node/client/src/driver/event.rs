//! Which events say that a role misses a record of the chain of trust.

use lapwing_protocol::role::{MediatorEvent, ProviderEvent, UserEvent};

/// An event that may say that the view is stale, so that the driver looks for records at once.
pub trait Stale {
    /// Whether the role needs records that its view has not.
    fn stale(&self) -> bool;
}

impl Stale for UserEvent {
    fn stale(&self) -> bool {
        matches!(self, UserEvent::ViewStale(_))
    }
}

impl Stale for ProviderEvent {
    fn stale(&self) -> bool {
        matches!(self, ProviderEvent::ViewStale(_))
    }
}

impl Stale for MediatorEvent {
    fn stale(&self) -> bool {
        matches!(self, MediatorEvent::ViewStale(_))
    }
}
