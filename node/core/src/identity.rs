//! Who this node is, and the secrets it signs and seals with.

use lapwing_protocol::hash::hash;
use lapwing_protocol::id::NodeId;
use lapwing_protocol::key::SigningKey;
use zeroize::Zeroizing;

/// A node's identity. Its peer key stays with the network shell; the core signs with the signing key.
pub struct Identity {
    id: NodeId,
    signing: SigningKey,
    at_rest: Zeroizing<[u8; 32]>,
    challenge: Zeroizing<[u8; 32]>,
}

impl Identity {
    /// An identity of the node's id, the signing key that the roster names, and a secret of 32 random
    /// bytes from which the keys for secrets at rest and for challenges are derived.
    pub fn new(id: NodeId, signing: SigningKey, secret: &[u8; 32]) -> Self {
        Identity {
            id,
            signing,
            at_rest: Zeroizing::new(hash("lapwing/v1/node/at-rest", secret)),
            challenge: Zeroizing::new(hash("lapwing/v1/node/challenge", secret)),
        }
    }

    /// The node's id.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The signing key.
    pub fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// The key for secrets at rest.
    pub(crate) fn at_rest(&self) -> &Zeroizing<[u8; 32]> {
        &self.at_rest
    }

    /// The key that challenges are derived with.
    pub(crate) fn challenge(&self) -> &Zeroizing<[u8; 32]> {
        &self.challenge
    }
}

impl core::fmt::Debug for Identity {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Identity({}, redacted)", self.id)
    }
}
