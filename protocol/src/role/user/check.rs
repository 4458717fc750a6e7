//! Whether an offer may be shown to a person: everything that it claims, checked.

use std::collections::BTreeSet;

use crate::booking::Offer;
use crate::cose::{Verified, parse};
use crate::id::{RegionId, RequestId, TicketId};
use crate::key::{SealingKey, VerifyingKey};
use crate::mailbox::{Mailbox, SlotClass};
use crate::problem::Problem;
use crate::role::talk::only;
use crate::size::SizeClass;
use crate::time::Time;
use crate::trust::TrustView;

/// Why an offer is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidOffer {
    /// Not sealed to this user's key for this mailbox.
    #[error("it does not open")]
    Sealed,
    /// Not one well-formed offer.
    #[error("it is malformed")]
    Malformed,
    /// It came without a ticket for this request that holds.
    #[error("its ticket: {0}")]
    Ticket(Problem),
    /// It answers another request, or was made for another ticket or user.
    #[error("it was made for another request")]
    OtherRequest,
    /// The provider's certificate is not in force: never certified, revoked, expired, not listed.
    #[error("the provider's certificate: {0}")]
    Certificate(Problem),
    /// The certificate does not cover the region of the request.
    #[error("the provider is not certified for the region")]
    Region,
    /// Not signed by the certificate's key.
    #[error("it is not signed by the provider")]
    Signature,
    /// Other practice data than the mediator verified.
    #[error("the practice data is not what was verified")]
    Practice,
    /// Mailboxes that are not a channel between the two.
    #[error("its mailboxes are not a channel for this user")]
    Channel,
    /// No slots, slots that share a mark, or none in the future.
    #[error("its slots do not hold")]
    Slots,
    /// Expired.
    #[error("it has expired")]
    Expired,
}

impl InvalidOffer {
    /// Whether a view that knows more may see it otherwise, so that the offer is looked at again.
    #[must_use]
    pub fn may_change(self) -> bool {
        match self {
            Self::Certificate(p) => matches!(
                p,
                Problem::UnknownCertificate
                    | Problem::StatusExpired
                    | Problem::BrokenChain
                    | Problem::UnknownRegion
                    | Problem::NotReady
            ),
            Self::Ticket(p) => matches!(
                p,
                Problem::WrongSigner | Problem::NotHolder | Problem::BadTicket | Problem::NotReady
            ),
            _ => false,
        }
    }
}

/// What the user knows that an offer must agree with.
#[derive(Clone, Debug)]
pub struct OfferContext {
    /// The user's request.
    pub request: RequestId,
    /// Its region.
    pub region: RegionId,
    /// The ticket by which the offer, or the channel that it came through, reached the user.
    pub ticket: TicketId,
    /// The user's sealing key.
    pub user: SealingKey,
    /// The key of the token: it writes to the provider and reads what comes back.
    pub token_key: VerifyingKey,
    /// The channel that the ticket's first offer named, where this is a later one.
    pub channel: Option<(Mailbox, Mailbox)>,
}

/// Checks an offer: certificate and chain as of `now`, signature, practice, request, user, ticket,
/// channel, slots.
///
/// # Errors
/// The first check that fails.
pub fn check_offer(
    bytes: &[u8],
    context: &OfferContext,
    view: &TrustView,
    now: Time,
) -> Result<Verified<Offer>, InvalidOffer> {
    let signed = parse::<Offer>(bytes).map_err(|_| InvalidOffer::Malformed)?;
    let certificate = view
        .check_certificate(&signed.unverified().certificate, now)
        .map_err(InvalidOffer::Certificate)?;
    let offer = signed
        .verify(&certificate.signing)
        .map_err(|_| InvalidOffer::Signature)?;
    if offer.request != context.request
        || offer.ticket != context.ticket
        || offer.user != context.user
    {
        return Err(InvalidOffer::OtherRequest);
    }
    if !certificate.regions.contains(&context.region) {
        return Err(InvalidOffer::Region);
    }
    if offer.practice.hash() != certificate.practice {
        return Err(InvalidOffer::Practice);
    }
    if !channel_holds(&offer, context) {
        return Err(InvalidOffer::Channel);
    }
    if now > offer.expires {
        return Err(InvalidOffer::Expired);
    }
    let marks: BTreeSet<_> = offer.slots.iter().map(|s| s.mark.id()).collect();
    if marks.len() != offer.slots.len() || !offer.slots.iter().any(|s| s.start > now) {
        return Err(InvalidOffer::Slots);
    }
    Ok(offer)
}

/// One mailbox that only the user's token writes to, one that only it reads, both of the ordinary kind.
fn channel_holds(offer: &Offer, context: &OfferContext) -> bool {
    let (out, back) = (&offer.to_provider, &offer.to_user);
    let ordinary = [out, back]
        .iter()
        .all(|m| m.size == SizeClass::Small && m.slots == SlotClass::Sixteen);
    let same = context
        .channel
        .as_ref()
        .is_none_or(|(o, b)| (o, b) == (out, back));
    ordinary
        && same
        && out.writers == only(&context.token_key)
        && out.read != context.token_key
        && back.read == context.token_key
        && back.writers != only(&context.token_key)
}
