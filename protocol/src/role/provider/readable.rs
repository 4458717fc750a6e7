//! Every mailbox that a provider can still read, watched or not: for an export, and for who checks that
//! what was acknowledged is there.

use super::Provider;
use crate::mailbox::Mailbox;
use crate::role::Role;
use crate::role::talk::read_proof;
use crate::time::Time;

impl Provider {
    /// The boxes of the mediators' answers and all channels, each with a COSE read proof for the
    /// current node at `now`.
    #[must_use]
    pub fn readable(&self, now: Time) -> Vec<(Mailbox, Vec<u8>)> {
        let answers = self.state.answers.values().map(|a| (&a.mailbox, &*a.read));
        let channels = self
            .state
            .deals
            .values()
            .map(|d| (&d.channel.to_provider, &*d.channel.read));
        answers
            .chain(channels)
            .map(|(mailbox, key)| (mailbox.clone(), read_proof(mailbox, key, self.node(), now)))
            .collect()
    }
}
