//! Every mailbox that a user can still read, watched or not: for an export, and for who checks that
//! what was acknowledged is there.

use super::User;
use crate::mailbox::Mailbox;
use crate::role::Role;
use crate::role::talk::read_proof;
use crate::time::Time;

impl User {
    /// The inbox and all channels, each with a COSE read proof for the current node at `now`.
    #[must_use]
    pub fn readable(&self, now: Time) -> Vec<(Mailbox, Vec<u8>)> {
        let Some(asked) = &self.state.asked else {
            return Vec::new();
        };
        let inbox = asked.request.iter().map(|r| (&r.inbox, &*r.read));
        let channels = asked
            .channels
            .values()
            .map(|c| (&c.to_user, &*asked.draw.key));
        inbox
            .chain(channels)
            .map(|(mailbox, key)| (mailbox.clone(), read_proof(mailbox, key, self.node(), now)))
            .collect()
    }
}
