//! What an event means for the driver.

use lapwing_protocol::role::{MediatorEvent, ProviderEvent, UserEvent};

/// What the driver does about an event.
pub trait Event {
    /// Whether the role needs records that its view has not, so that the driver looks for them at once.
    fn stale(&self) -> bool;

    /// Whether it may be told before the state is on disk: it promises nothing, and after a crash the role
    /// says it again, or asks again for what it tells of.
    fn fleeting(&self) -> bool {
        false
    }
}

impl Event for UserEvent {
    fn stale(&self) -> bool {
        matches!(self, UserEvent::ViewStale(_))
    }

    fn fleeting(&self) -> bool {
        matches!(self, UserEvent::OfferReceived(_))
    }
}

impl Event for ProviderEvent {
    fn stale(&self) -> bool {
        matches!(self, ProviderEvent::ViewStale(_))
    }

    fn fleeting(&self) -> bool {
        matches!(
            self,
            ProviderEvent::Claimed { .. } | ProviderEvent::OfferSent { .. }
        )
    }
}

impl Event for MediatorEvent {
    fn stale(&self) -> bool {
        matches!(self, MediatorEvent::ViewStale(_))
    }
}
