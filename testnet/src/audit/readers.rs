//! Who can read what was written: roles, stored and brought back.

use lapwing_protocol::id::NodeId;
use lapwing_protocol::mailbox::Mailbox;
use lapwing_protocol::role::{Mediator, Provider, Role, User};
use lapwing_protocol::time::Time;

use super::AuditError;

/// Who can read mailboxes: a role as it was stored, brought back for this alone.
pub trait Reader: Send {
    /// The mailboxes it can read, with read proofs for a node.
    fn proofs(&mut self, node: NodeId, now: Time) -> Vec<(Mailbox, Vec<u8>)>;
}

struct Restored<R>(R);

impl Reader for Restored<User> {
    fn proofs(&mut self, node: NodeId, now: Time) -> Vec<(Mailbox, Vec<u8>)> {
        self.0.set_node(node);
        self.0.readable(now)
    }
}

impl Reader for Restored<Provider> {
    fn proofs(&mut self, node: NodeId, now: Time) -> Vec<(Mailbox, Vec<u8>)> {
        self.0.set_node(node);
        self.0.readable(now)
    }
}

impl Reader for Restored<Mediator> {
    fn proofs(&mut self, node: NodeId, now: Time) -> Vec<(Mailbox, Vec<u8>)> {
        self.0.set_node(node);
        let watching = self.0.watching();
        let ids: Vec<_> = watching.iter().map(Mailbox::id).collect();
        let proofs = self.0.watch_proofs(&ids, now);
        watching.into_iter().zip(proofs).collect()
    }
}

/// A reader from a user: stored, then brought back, so that what it needs must be in its state.
///
/// # Errors
/// [`AuditError::Restore`].
pub fn user(role: &User) -> Result<Box<dyn Reader>, AuditError> {
    Ok(Box::new(Restored(restored(role)?)))
}

/// The same for a provider.
///
/// # Errors
/// [`AuditError::Restore`].
pub fn provider(role: &Provider) -> Result<Box<dyn Reader>, AuditError> {
    Ok(Box::new(Restored(restored(role)?)))
}

/// The same for a mediator.
///
/// # Errors
/// [`AuditError::Restore`].
pub fn mediator(role: &Mediator) -> Result<Box<dyn Reader>, AuditError> {
    Ok(Box::new(Restored(restored(role)?)))
}

fn restored<R: Role>(role: &R) -> Result<R, AuditError> {
    let mut restored = R::restore(&role.save())?;
    // The same federation: it was stored with the state.
    let _same = restored.set_view(role.view().clone());
    Ok(restored)
}
