//! What users and providers say to each other, sealed: wish, offer, booking, confirmation, change,
//! cancellation, decline, messages; and what providers and mediators say: application and approval. See `docs/spec/booking.md`.

use crate::bounded::{Bytes, List, Text};
use crate::cose::Record;
use crate::id::{MailboxId, MediatorId, NodeId, RecordId, RegionId, RequestId, TicketId};
use crate::key::{SealingKey, VerifyingKey};
use crate::mailbox::{Mailbox, Mark};
use crate::mediation::{MAX_PROVIDER_REGIONS, Practice};
use crate::queue::MAX_TOKEN;
use crate::time::Time;
use crate::token::UserData;
use crate::{wire_code, wire_enum, wire_struct};

/// Most slots in one offer.
pub const MAX_OFFER_SLOTS: usize = 8;
/// Most offers that one [`Decline`] names.
pub const MAX_DECLINED: usize = 16;

wire_struct! {
    /// What a request holds, sealed to the region's key.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Wish {
        /// The user's fresh key; offers and confirmations are sealed to it, and H covers it.
        pub user: SealingKey,
        /// Wishes: key (such as `vaccine`) and value.
        pub wishes: List<(Text<40>, Text<120>), 8>,
    }
}

wire_struct! {
    /// One slot of an offer.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct OfferSlot {
        /// When it starts.
        pub start: Time,
        /// How long it takes, in minutes.
        pub minutes: u16,
        /// What is offered (such as the vaccine).
        pub what: Text<80>,
        /// The mark that says whether it is still open.
        pub mark: Mark,
    }
}

wire_struct! {
    /// An offer, signed by the provider and sealed to the user's key.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Offer {
        /// The request it answers.
        pub request: RequestId,
        /// The ticket by which it was sent.
        pub ticket: TicketId,
        /// The user's key.
        pub user: SealingKey,
        /// The offer's own fresh sealing key.
        pub sealing: SealingKey,
        /// The provider's certificate, COSE.
        pub certificate: Bytes<4608>,
        /// The practice data to which the certificate commits.
        pub practice: Practice,
        /// Where the user writes: booking, cancellation, messages.
        pub to_provider: Mailbox,
        /// Where the provider writes: confirmation, new offers, messages.
        pub to_user: Mailbox,
        /// The slots.
        pub slots: List<OfferSlot, MAX_OFFER_SLOTS>,
        /// Until when it may be accepted.
        pub expires: Time,
    }
}

impl Record for Offer {
    const TYPE: u64 = 32;
    const DOMAIN: &'static str = "lapwing/v1/offer";
    const MAX: usize = 16 * 1024;
}

wire_struct! {
    /// The user's booking of one slot; signed by the token's key and sealed to the offer's.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Booking {
        /// The offer's record id.
        pub offer: RecordId,
        /// Which of its slots.
        pub slot: u8,
        /// The COSE priority token.
        pub token: Bytes<MAX_TOKEN>,
        /// The user's data; hashes to the token's H with nonce and key.
        pub data: UserData,
        /// The nonce of H.
        pub nonce: [u8; 32],
        /// The user's key of H.
        pub user: SealingKey,
        /// The COSE [`crate::queue::Accept`] with which the provider takes the booking lock.
        pub accept: Bytes<512>,
    }
}

impl Record for Booking {
    const TYPE: u64 = 33;
    const DOMAIN: &'static str = "lapwing/v1/booking";
    const MAX: usize = 3 * 1024;
}

wire_code! {
    /// Why a booking was not confirmed.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Rejection {
        /// The slot is taken.
        1 => SlotTaken,
        /// H, P or the signature do not match.
        2 => DataMismatch,
        /// The token is booked elsewhere or used up.
        3 => TokenLocked,
        /// The offer has expired or was withdrawn.
        4 => OfferClosed,
        /// There is no other slot to offer now.
        5 => NothingFree,
    }
}

wire_enum! {
    /// The provider's answer to a booking.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Decision {
        /// Confirmed.
        1 => Confirmed,
        /// Not confirmed.
        2 => Rejected(Rejection),
    }
}

wire_struct! {
    /// The answer to a letter; signed by the provider and sealed to the user's key.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Confirmation {
        /// The record id of the [`Booking`], [`Change`] or [`Cancellation`] that is answered.
        pub booking: RecordId,
        /// The offer's record id.
        pub offer: RecordId,
        /// Which slot.
        pub slot: u8,
        /// When it starts, again.
        pub start: Time,
        /// The answer.
        pub decision: Decision,
    }
}

impl Record for Confirmation {
    const TYPE: u64 = 34;
    const DOMAIN: &'static str = "lapwing/v1/confirmation";
    const MAX: usize = 1024;
}

wire_struct! {
    /// The user cancels; signed by the token's key and sealed to the offer's.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Cancellation {
        /// The booking's record id.
        pub booking: RecordId,
        /// Whether the user would like another offer.
        pub again: bool,
        /// The COSE [`crate::queue::Release`] that frees the booking lock.
        pub release: Bytes<512>,
    }
}

impl Record for Cancellation {
    const TYPE: u64 = 35;
    const DOMAIN: &'static str = "lapwing/v1/cancellation";
    const MAX: usize = 1024;
}

wire_struct! {
    /// A slot of an offer.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Choice {
        /// The offer's record id.
        pub offer: RecordId,
        /// Which of its slots.
        pub slot: u8,
    }
}

wire_struct! {
    /// The user would like another slot of the same provider in place of the booked one; signed by the
    /// token's key and sealed to the key of an open offer, or of the booked one. The booking lock stays
    /// as it is, and so does the booking until the change is confirmed.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Change {
        /// The record id of the booking, or of the latest confirmed change.
        pub booking: RecordId,
        /// The slot; without one, the provider is asked for another offer.
        pub choice: Option<Choice>,
        /// Makes two changes of one booking different.
        pub nonce: [u8; 16],
    }
}

impl Record for Change {
    const TYPE: u64 = 38;
    const DOMAIN: &'static str = "lapwing/v1/change";
    const MAX: usize = 512;
}

wire_struct! {
    /// The provider cancels; signed by the provider and sealed to the user's key.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ProviderCancellation {
        /// The record id of the booking, or of the latest confirmed change.
        pub booking: RecordId,
        /// The COSE [`crate::queue::Release`] that frees the booking lock, signed by the ticket's key.
        pub release: Bytes<512>,
        /// Whether another offer follows.
        pub again: bool,
        /// Why, to read.
        pub text: Text<300>,
    }
}

impl Record for ProviderCancellation {
    const TYPE: u64 = 39;
    const DOMAIN: &'static str = "lapwing/v1/provider-cancellation";
    const MAX: usize = 1536;
}

wire_struct! {
    /// The user takes none of these offers: their slots are free for somebody else. Signed by the token's
    /// key and sealed to the key of one of the channel's offers. It says neither why nor what else was
    /// taken.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Decline {
        /// The ticket by which the offers came.
        pub ticket: TicketId,
        /// Their record ids; none where the provider only owes one.
        pub offers: List<RecordId, MAX_DECLINED>,
    }
}

impl Record for Decline {
    const TYPE: u64 = 40;
    const DOMAIN: &'static str = "lapwing/v1/decline";
    const MAX: usize = 1024;
}

wire_code! {
    /// Why a provider is reported.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum ReportReason {
        /// It is not the practice that it claims to be.
        1 => Impostor,
        /// It asks for money or data that it has no right to.
        2 => Demands,
        /// It does not keep its appointments.
        3 => NoAppointment,
        /// It uses the user's data for something else.
        4 => DataMisuse,
        /// Something else: see the text.
        5 => Other,
    }
}

wire_struct! {
    /// A user reports a provider to the mediator that certified it, with an offer that the provider
    /// signed. Sealed to the mediator's sealing key with [`crate::seal::Purpose::Report`] and written to
    /// the mediator's inbox, paid for by work. It is not signed: who reports stays unnamed; only who was
    /// sent an offer has one.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Report {
        /// The mediator.
        pub mediator: MediatorId,
        /// Why.
        pub reason: ReportReason,
        /// What happened, to read.
        pub text: Text<1500>,
        /// The COSE [`Offer`].
        pub offer: Bytes<8192>,
    }
}

/// Longest encoding of a [`Report`].
pub const MAX_REPORT: usize = 10 * 1024;

wire_enum! {
    /// What is sealed into one slot of the channel from user to provider. COSE bytes.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum ToProvider {
        /// A [`Booking`].
        1 => Booking(Bytes<3500>),
        /// A [`Cancellation`].
        2 => Cancellation(Bytes<1536>),
        /// A message to read.
        3 => Message(Text<1500>),
        /// A [`Change`].
        4 => Change(Bytes<768>),
        /// A [`Decline`].
        5 => Decline(Bytes<1152>),
    }
}

wire_enum! {
    /// What is sealed into one slot of the channel from provider to user. COSE bytes.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum ToUser {
        /// A [`Confirmation`].
        1 => Confirmation(Bytes<1536>),
        /// A new [`Offer`] on this channel, after a cancellation or a rejection.
        2 => Offer(Bytes<3900>),
        /// A message to read.
        3 => Message(Text<1500>),
        /// A [`ProviderCancellation`].
        4 => Cancellation(Bytes<2048>),
    }
}

wire_struct! {
    /// A provider asks a mediator for verification; signed by the provider's signing key, sealed to the
    /// mediator's sealing key, written to the mediator's inbox.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Application {
        /// The mediator asked.
        pub mediator: MediatorId,
        /// The provider's signing key.
        pub signing: VerifyingKey,
        /// The provider's sealing key.
        pub sealing: SealingKey,
        /// The practice.
        pub practice: Practice,
        /// Evidence for the mediator alone (such as a licence number).
        pub evidence: Text<400>,
        /// The regions asked for.
        pub regions: List<RegionId, MAX_PROVIDER_REGIONS>,
        /// The read key, nonce and life of the answer's mailbox; the mediator opens and writes it with
        /// its signing key.
        pub answer: Mailbox,
    }
}

impl Record for Application {
    const TYPE: u64 = 36;
    const DOMAIN: &'static str = "lapwing/v1/application";
    const MAX: usize = 3900;
}

wire_struct! {
    /// A region's secret key, for a certified provider.
    #[derive(Clone, PartialEq, Eq)]
    pub struct RegionSecret {
        /// The region.
        pub region: RegionId,
        /// The region-key version.
        pub version: u32,
        /// The secret X25519 key.
        pub secret: [u8; 32],
    }
}

impl core::fmt::Debug for RegionSecret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "RegionSecret({}, {}, redacted)",
            self.region, self.version
        )
    }
}

impl Drop for RegionSecret {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.secret);
    }
}

wire_enum! {
    /// The mediator's answer; signed by the key that may write to the answer's mailbox, and sealed to
    /// the provider's sealing key. (The key is public, so that sealing alone would show nobody who wrote.)
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Verdict {
        /// The certificate (COSE) and the region secrets.
        1 => Approved(Approval),
        /// Rejected, with the reason.
        2 => Rejected(Text<400>),
    }
}

impl Record for Verdict {
    const TYPE: u64 = 37;
    const DOMAIN: &'static str = "lapwing/v1/verdict";
    const MAX: usize = 15 * 1024;
}

wire_struct! {
    /// A certificate with the secrets of its regions.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Approval {
        /// The COSE [`crate::mediation::ProviderCertificate`].
        pub certificate: Bytes<4608>,
        /// The current secrets of its regions.
        pub secrets: List<RegionSecret, MAX_PROVIDER_REGIONS>,
    }
}

/// The 32 bytes that bind an envelope in a mailbox to it: the mailbox's id.
pub fn binding(mailbox: &MailboxId) -> [u8; 32] {
    *mailbox.as_bytes()
}

/// The 32 bytes that bind a challenge to region and holder.
pub fn challenge_binding(region: &RegionId, holder: &NodeId) -> [u8; 32] {
    crate::hash::hash("lapwing/v1/challenge", &(*region, *holder))
}
