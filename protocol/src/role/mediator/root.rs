//! A mediator's root: the key that is the mediator, kept on a machine that is never on the network.
//!
//! All it does is to certify the working keys of a [`super::Mediator`], by the order that was brought
//! to it as a file. Its stored form is its own, so that the two never lie in one place by accident.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::bounded::Bytes;
use crate::cose::{parse, sign};
use crate::hash::record_hash;
use crate::id::{MediatorId, RecordId};
use crate::mailbox::Writers;
use crate::mediation::{CertificateOrder, MediatorCertificate};
use crate::role::RestoreError;
use crate::role::kept::{self, Seed};
use crate::time::Time;
use crate::wire_struct;

const NAME: &str = "lapwing/v1/mediator-root";
const VERSION: u32 = 1;
/// Most bytes of an order with its envelope.
const MAX_ORDER: usize = 2048 + crate::cose::OVERHEAD;

wire_struct! {
    /// What the root must not forget.
    struct State {
        root: Seed,
        last: Option<Last>,
    }
}

wire_struct! {
    /// The last certificate that was signed.
    #[derive(Clone)]
    struct Last {
        sequence: u64,
        order: RecordId,
        certificate: Bytes<MAX_ORDER>,
    }
}

/// Why nothing was certified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertifyError {
    /// Not a certificate order, or damaged on its way.
    #[error("not a whole certificate order")]
    Malformed,
    /// An order for another mediator's root.
    #[error("the order is for another mediator")]
    OtherMediator,
    /// Not signed by the signing key in it.
    #[error("the order is not signed by the signing key that it names")]
    Signature,
    /// Two of its keys are the same, or one is no good key.
    #[error("the keys in the order are no three good keys")]
    Keys,
    /// Its inbox cannot take letters from everybody.
    #[error("the order's inbox is not one that anybody may write to by work")]
    Inbox,
    /// This root has signed that sequence, or a later one, for another order. Two certificates under
    /// one sequence would be proof against the mediator.
    #[error("a certificate with sequence {last} was signed already: order anew")]
    Sequence {
        /// The last sequence signed.
        last: u64,
    },
    /// It must end after it begins, and not after its inbox.
    #[error("the certificate must end after it begins, and not after its inbox")]
    Life,
}

/// The root key of a mediator, and what it signed last.
pub struct MediatorRoot {
    state: State,
}

impl core::fmt::Debug for MediatorRoot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "MediatorRoot({})", self.id())
    }
}

impl MediatorRoot {
    /// A new root, and with it a new mediator.
    #[must_use]
    pub fn create<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        MediatorRoot {
            state: State {
                root: Seed::generate(rng),
                last: None,
            },
        }
    }

    /// The mediator's id: the public half of the root key.
    #[must_use]
    pub fn id(&self) -> MediatorId {
        MediatorId::from_bytes(*self.state.root.verifying_key().as_bytes())
    }

    /// Reads an order and checks it by itself: for the person who is to decide on it.
    ///
    /// # Errors
    /// [`CertifyError`], but for what only this root knows.
    pub fn read_order(order: &[u8]) -> Result<CertificateOrder, CertifyError> {
        if order.len() > MAX_ORDER {
            return Err(CertifyError::Malformed);
        }
        let signed = parse::<CertificateOrder>(order).map_err(|_| CertifyError::Malformed)?;
        let key = signed.unverified().signing;
        let order = signed
            .verify(&key)
            .map_err(|_| CertifyError::Signature)?
            .into_value();
        let (root, signing, status) = (
            order.mediator.as_bytes(),
            order.signing.as_bytes(),
            order.status.as_bytes(),
        );
        let good = order.signing.check().is_ok() && order.status.check().is_ok();
        if !good || root == signing || root == status || signing == status {
            return Err(CertifyError::Keys);
        }
        if !matches!(order.inbox.writers, Writers::Work(_)) {
            return Err(CertifyError::Inbox);
        }
        Ok(order)
    }

    /// Signs the certificate that was ordered, until `expires`. The same order again gives the same
    /// bytes. Store [`MediatorRoot::save`] before the certificate leaves the machine.
    ///
    /// # Errors
    /// [`CertifyError`]; nothing was signed then.
    pub fn certify(&mut self, order: &[u8], expires: Time) -> Result<Vec<u8>, CertifyError> {
        let asked = Self::read_order(order)?;
        if asked.mediator != self.id() {
            return Err(CertifyError::OtherMediator);
        }
        let id = record_hash(order);
        if let Some(last) = &self.state.last {
            if last.order == id {
                return Ok(last.certificate.to_vec());
            }
            if asked.sequence <= last.sequence {
                return Err(CertifyError::Sequence {
                    last: last.sequence,
                });
            }
        }
        if expires <= asked.issued || expires > asked.inbox.expires() {
            return Err(CertifyError::Life);
        }
        let certificate = MediatorCertificate {
            mediator: asked.mediator,
            sequence: asked.sequence,
            signing: asked.signing,
            sealing: asked.sealing,
            status: asked.status,
            inbox: asked.inbox,
            issued: asked.issued,
            expires,
        };
        let bytes = sign(&certificate, &self.state.root);
        self.state.last = Some(Last {
            sequence: asked.sequence,
            order: id,
            certificate: Bytes::try_from(&*bytes).map_err(|_| CertifyError::Malformed)?,
        });
        Ok(bytes)
    }

    /// The root as it is to be stored: its secret in the clear, so keep it locked
    /// ([`crate::secretbox`]), and apart from the working machine.
    #[must_use]
    pub fn save(&self) -> Zeroizing<Vec<u8>> {
        kept::save(NAME, VERSION, &self.state)
    }

    /// The root as it was stored.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn restore(bytes: &[u8]) -> Result<Self, RestoreError> {
        Ok(MediatorRoot {
            state: kept::restore(NAME, VERSION, bytes)?,
        })
    }
}
