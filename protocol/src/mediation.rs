//! What a mediator publishes: its certificate, the regions, provider certificates, and the lists that
//! say which of them are in force.

use crate::bounded::{List, Text};
use crate::cose::Record;
use crate::hash::hash;
use crate::id::{MediatorId, RecordId, RegionId};
use crate::key::{SealingKey, VerifyingKey};
use crate::mailbox::Mailbox;
use crate::time::Time;
use crate::wire_struct;

/// Most regions in one list.
pub const MAX_REGIONS: usize = 4096;
/// Most postal codes in one region.
pub const MAX_POSTAL_CODES: usize = 2048;
/// Most regions of one provider.
pub const MAX_PROVIDER_REGIONS: usize = 64;
/// Longest validity of a provider certificate: 90 days, in seconds.
pub const MAX_CERTIFICATE_LIFE: u32 = 90 * 86_400;

wire_struct! {
    /// The mediator's working keys; signed by its offline root.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct MediatorCertificate {
        /// The mediator: its offline root key.
        pub mediator: MediatorId,
        /// Grows with every certificate.
        pub sequence: u64,
        /// Signs region lists, provider certificates, directories, revocations and status.
        pub signing: VerifyingKey,
        /// Opens applications and reports.
        pub sealing: SealingKey,
        /// The delegated key that may re-date the status and add revocations, and nothing else.
        pub status: VerifyingKey,
        /// The mailbox for applications and reports; each write is paid for by work.
        pub inbox: Mailbox,
        /// When it was signed.
        pub issued: Time,
        /// After this nothing signed by these keys is accepted.
        pub expires: Time,
    }
}

impl Record for MediatorCertificate {
    const TYPE: u64 = 3;
    const DOMAIN: &'static str = "lapwing/v1/mediator-certificate";
    const MAX: usize = 2048;
}

wire_struct! {
    /// What a mediator's working machine asks its offline root to certify; signed by the new signing
    /// key, which shows that whoever asks holds it. Carried as a file; nodes never see it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct CertificateOrder {
        /// The mediator: its offline root key.
        pub mediator: MediatorId,
        /// The sequence of the certificate.
        pub sequence: u64,
        /// The new signing key, or the present one.
        pub signing: VerifyingKey,
        /// The new sealing key, or the present one.
        pub sealing: SealingKey,
        /// The new status key, or the present one.
        pub status: VerifyingKey,
        /// The new inbox.
        pub inbox: Mailbox,
        /// When it was asked; the certificate's `issued`.
        pub issued: Time,
    }
}

impl Record for CertificateOrder {
    const TYPE: u64 = 9;
    const DOMAIN: &'static str = "lapwing/v1/certificate-order";
    const MAX: usize = 2048;
}

wire_struct! {
    /// One region: where, for what, and the key to which requests in it are sealed.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Region {
        /// [`region_id`] of mediator, name and salt.
        pub id: RegionId,
        /// A readable name.
        pub name: Text<120>,
        /// What else narrows it (such as `vaccine`, `age`): key and value, sorted by key.
        pub criteria: List<(Text<40>, Text<80>), 8>,
        /// Its postal codes, sorted and distinct.
        pub postal_codes: List<Text<10>, MAX_POSTAL_CODES>,
        /// Random, enters the id and every pseudonym made for the region.
        pub salt: [u8; 32],
        /// The region-key version, growing from one.
        pub key_version: u32,
        /// The region's public sealing key of that version.
        pub sealing: SealingKey,
    }
}

/// The id of a region: a hash of mediator, name and salt.
pub fn region_id(mediator: &MediatorId, name: &Text<120>, salt: &[u8; 32]) -> RegionId {
    RegionId::from_bytes(hash("lapwing/v1/region", &(*mediator, name.clone(), *salt)))
}

wire_struct! {
    /// All regions of a mediator.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct RegionList {
        /// Whose it is.
        pub mediator: MediatorId,
        /// Grows with every list.
        pub sequence: u64,
        /// When it was signed.
        pub issued: Time,
        /// The regions, sorted by id.
        pub regions: List<Region, MAX_REGIONS>,
    }
}

impl Record for RegionList {
    const TYPE: u64 = 4;
    const DOMAIN: &'static str = "lapwing/v1/region-list";
    const MAX: usize = 1024 * 1024;
}

wire_struct! {
    /// What a verified provider shows users about its practice.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Practice {
        /// Its name.
        pub name: Text<120>,
        /// Street and number.
        pub street: Text<120>,
        /// Postal code.
        pub postal_code: Text<10>,
        /// City.
        pub city: Text<80>,
        /// Notes shown with every offer.
        pub notes: Text<400>,
    }
}

impl Practice {
    /// The hash to which a provider certificate commits.
    pub fn hash(&self) -> [u8; 32] {
        hash("lapwing/v1/practice", self)
    }
}

wire_struct! {
    /// Says that a provider was verified.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ProviderCertificate {
        /// Who verified it.
        pub mediator: MediatorId,
        /// Distinct among the mediator's certificates; revocations name it.
        pub serial: u64,
        /// Signs claims, offers and confirmations.
        pub signing: VerifyingKey,
        /// Opens approvals and region keys.
        pub sealing: SealingKey,
        /// The regions it may claim in, sorted.
        pub regions: List<RegionId, MAX_PROVIDER_REGIONS>,
        /// [`Practice::hash`] of the data that was verified.
        pub practice: [u8; 32],
        /// When it was signed.
        pub issued: Time,
        /// At most [`MAX_CERTIFICATE_LIFE`] later.
        pub expires: Time,
    }
}

impl Record for ProviderCertificate {
    const TYPE: u64 = 5;
    const DOMAIN: &'static str = "lapwing/v1/provider-certificate";
    const MAX: usize = 4096;
}

wire_struct! {
    /// The ids of every provider certificate in force.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Directory {
        /// Whose it is.
        pub mediator: MediatorId,
        /// Grows with every directory.
        pub sequence: u64,
        /// When it was signed.
        pub issued: Time,
        /// Record ids, sorted and distinct.
        pub certificates: List<RecordId, 30_000>,
    }
}

impl Record for Directory {
    const TYPE: u64 = 6;
    const DOMAIN: &'static str = "lapwing/v1/directory";
    const MAX: usize = 1024 * 1024;
}

wire_struct! {
    /// The serials of revoked provider certificates. Signed by the mediator's signing key, or by its
    /// status key while it holds every serial of the list before it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Revocations {
        /// Whose it is.
        pub mediator: MediatorId,
        /// Grows with every list.
        pub sequence: u64,
        /// When it was signed.
        pub issued: Time,
        /// Serials, sorted and distinct.
        pub serials: List<u64, 100_000>,
    }
}

impl Record for Revocations {
    const TYPE: u64 = 7;
    const DOMAIN: &'static str = "lapwing/v1/revocations";
    const MAX: usize = 1024 * 1024;
}

wire_struct! {
    /// Names one version of a list.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ListRef {
        /// The list's sequence.
        pub sequence: u64,
        /// The list's record id.
        pub id: RecordId,
    }
}

wire_struct! {
    /// Short-lived: which lists of a mediator are in force. Signed by its signing or its status key.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Status {
        /// Whose it is.
        pub mediator: MediatorId,
        /// Grows with every status.
        pub sequence: u64,
        /// When it was signed.
        pub issued: Time,
        /// After this, new offers are refused until a fresh one is seen.
        pub expires: Time,
        /// The region list in force.
        pub regions: ListRef,
        /// The directory in force.
        pub directory: ListRef,
        /// The revocations in force.
        pub revocations: ListRef,
    }
}

impl Record for Status {
    const TYPE: u64 = 8;
    const DOMAIN: &'static str = "lapwing/v1/status";
    const MAX: usize = 1024;
}
