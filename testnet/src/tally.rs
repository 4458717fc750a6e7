//! What has happened so far, counted as it happens: faults wait for it, and whoever watches sees it.

use tokio::sync::watch;

/// Counters of a run. They only show how far it is: what a run is judged by is counted at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// The users have begun.
    pub users_began: bool,
    /// Providers certified.
    pub certified: u64,
    /// Slots open.
    pub slots: u64,
    /// Tokens drawn.
    pub drawn: u64,
    /// Drawn anew since their issuer was away.
    pub redrawn: u64,
    /// Users who hold a token of the node that is killed first.
    pub holding: u64,
    /// Requests admitted.
    pub admitted: u64,
    /// Requests claimed, each time it is.
    pub claimed: u64,
    /// Offers sent.
    pub offers: u64,
    /// Offers of the provider that is to be revoked.
    pub doomed_offers: u64,
    /// The revocation is at every node.
    pub revoked: bool,
    /// Bookings confirmed so far, cancelled ones among them.
    pub confirmed: u64,
    /// Bookings that users cancelled.
    pub cancelled: u64,
    /// Bookings that were changed to another slot.
    pub changed: u64,
    /// Users who took another offer after they cancelled.
    pub reoffered: u64,
    /// Bookings turned down.
    pub turned_down: u64,
    /// Second uploads of one token.
    pub reuse_attempts: u64,
    /// Of those, admitted.
    pub reuse_accepted: u64,
    /// Offers of the revoked provider that a person was shown.
    pub revoked_shown: u64,
    /// Slots booked by two.
    pub double_bookings: u64,
    /// People with two bookings.
    pub multi_bookings: u64,
    /// Nodes killed.
    pub kills: u64,
    /// Users who are done.
    pub done: u64,
}

/// Counts, and tells who waits.
#[derive(Debug)]
pub struct Tally(watch::Sender<Progress>);

impl Default for Tally {
    fn default() -> Self {
        Tally(watch::Sender::new(Progress::default()))
    }
}

impl Tally {
    /// Counts something.
    pub fn count(&self, change: impl FnOnce(&mut Progress)) {
        self.0.send_modify(change);
    }

    /// How far it is.
    #[must_use]
    pub fn now(&self) -> Progress {
        *self.0.borrow()
    }

    /// Waits until it is so far.
    pub async fn reaches(&self, far: impl FnMut(&Progress) -> bool) {
        let mut progress = self.0.subscribe();
        // It lives as long as whoever asks.
        let _reached = progress.wait_for(far).await;
    }
}
