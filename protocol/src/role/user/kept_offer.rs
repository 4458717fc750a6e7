//! An offer as a user keeps it: the bytes that the provider signed, and what was learned since.

use crate::booking::Offer;
use crate::codec::{DecodeError, Decoder, Encoder, Wire};
use crate::cose::parse;
use crate::hash::record_hash;
use crate::id::{MediatorId, RecordId};
use crate::key::VerifyingKey;
use crate::mailbox::MarkValue;
use crate::mediation::ProviderCertificate;
use crate::role::kept::{Blob, Many};
use crate::time::Time;
use crate::{wire_enum, wire_struct};

wire_struct! {
    /// What is known of one mark.
    #[derive(Clone, Copy)]
    pub(super) struct MarkSeen {
        pub(super) version: u64,
        pub(super) value: MarkValue,
    }
}

wire_enum! {
    /// Why an offer is out of the question for good.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Gone {
        /// The user gave it up to be listed again.
        1 => GivenUp,
        /// The provider said so.
        2 => Closed,
        /// Its certificate is revoked or over.
        3 => Withdrawn,
        /// The user told the provider that it takes none.
        4 => Declined,
    }
}

/// An offer that passed every check when it came.
pub(super) struct KeptOffer {
    /// As the provider signed it.
    pub(super) bytes: Blob,
    /// What `bytes` says.
    pub(super) offer: Offer,
    /// The id of the certificate in it.
    pub(super) certificate: RecordId,
    /// The mediator that signed the certificate.
    pub(super) mediator: MediatorId,
    /// Until when the certificate is good.
    pub(super) certified: Time,
    /// The provider's signing key, by the certificate in the offer.
    pub(super) signer: VerifyingKey,
    /// One a slot.
    pub(super) marks: Many<Option<MarkSeen>>,
    /// One a slot: the provider said that it is taken.
    pub(super) turned: Many<bool>,
    pub(super) gone: Option<Gone>,
}

impl KeptOffer {
    pub(super) fn new(
        bytes: &[u8],
        offer: Offer,
        signer: VerifyingKey,
    ) -> Result<Self, DecodeError> {
        let slots = offer.slots.len();
        let certificate = parse::<ProviderCertificate>(&offer.certificate).map_err(|_| {
            DecodeError::OutOfBounds {
                what: "certificate",
            }
        })?;
        Ok(KeptOffer {
            bytes: bytes.into(),
            certificate: record_hash(&offer.certificate),
            mediator: certificate.unverified().mediator,
            certified: certificate.unverified().expires,
            marks: Many::from(vec![None; slots]),
            turned: Many::from(vec![false; slots]),
            offer,
            signer,
            gone: None,
        })
    }

    /// Whether a slot is known to be taken.
    pub(super) fn taken(&self, slot: usize) -> bool {
        let marked = self.marks.get(slot).copied().flatten();
        marked.is_some_and(|m| m.value == MarkValue::Taken)
            || self.turned.get(slot).copied().unwrap_or_default()
    }
}

/// Stored as it was signed, and read anew: it is never a word off.
impl Wire for KeptOffer {
    fn encode(&self, out: &mut Encoder) {
        out.array(5);
        self.bytes.encode(out);
        self.signer.encode(out);
        self.marks.encode(out);
        self.turned.encode(out);
        self.gone.encode(out);
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        d.array(5)?;
        let bytes = Blob::decode(d)?;
        let offer = parse::<Offer>(&bytes)
            .map_err(|_| DecodeError::OutOfBounds { what: "offer" })?
            .unverified()
            .clone();
        let signer = VerifyingKey::decode(d)?;
        let mut kept = KeptOffer::new(&bytes, offer, signer)?;
        kept.marks = Many::decode(d)?;
        kept.turned = Many::decode(d)?;
        kept.gone = Option::decode(d)?;
        Ok(kept)
    }
}
