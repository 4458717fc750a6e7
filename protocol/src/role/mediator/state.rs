//! What a mediator's app must not forget.

use crate::booking::Application;
use crate::bounded::{List, Text};
use crate::federation::Federation;
use crate::id::{ItemId, MailboxId, MediatorId, NodeId, RecordId, RegionId, RequestId};
use crate::key::{SealingKey, VerifyingKey};
use crate::mailbox::Mailbox;
use crate::mediation::{ListRef, MAX_POSTAL_CODES, MAX_PROVIDER_REGIONS};
use crate::role::kept::{Blob, Many, Secret, Seed, Table};
use crate::role::talk::{Outbox, Seen};
use crate::time::{Seconds, Time};
use crate::wire_struct;
use rand_core::CryptoRng;

use super::report::ReportKept;

pub(super) const NAME: &str = "lapwing/v1/role-mediator";
pub(super) const VERSION: u32 = 1;
pub(super) const REFRESHER: &str = "lapwing/v1/role-refresher";

wire_struct! {
    /// All of it. The root key is not in it: see [`super::MediatorRoot`].
    pub(super) struct State {
        pub(super) federation: Federation,
        pub(super) node: NodeId,
        pub(super) name: Text<80>,
        pub(super) mediator: MediatorId,
        pub(super) keys: Keys,
        pub(super) registrations: u64,
        /// The sequence of the last certificate order.
        pub(super) orders: u64,
        /// What the root was asked to certify and has not yet, as far as is known here.
        pub(super) ordered: Option<Ordered>,
        pub(super) certificate: Option<Working>,
        /// Keys and inboxes of earlier certificates, while letters may lie there. Oldest first.
        pub(super) former: Many<Former>,
        pub(super) regions: Table<RegionId, RegionKept>,
        /// The last sequence used for any list or status.
        pub(super) sequence: u64,
        pub(super) lists: Option<Lists>,
        pub(super) status_life: Seconds,
        /// After how long a region gets a new key.
        pub(super) region_life: Seconds,
        pub(super) next_serial: u64,
        pub(super) providers: Table<u64, ProviderKept>,
        pub(super) revoked: Table<u64, RevokedKept>,
        /// Providers whose certificate is over, for later control.
        pub(super) past: Table<u64, PastKept>,
        pub(super) outgoing: Many<Blob>,
        pub(super) applications: Table<RecordId, ApplicationKept>,
        /// Applications that were decided, oldest first.
        pub(super) decided: Many<RecordId>,
        pub(super) reports: Table<RecordId, ReportKept>,
        /// Requests and providers about which a report came, with the time at which that is forgotten.
        pub(super) reported: Table<(RequestId, VerifyingKey), Time>,
        pub(super) answers: Table<MailboxId, AnswerKept>,
        /// Slots of inboxes that are to be emptied.
        pub(super) deletions: Many<(MailboxId, u32)>,
        pub(super) seen: Seen,
    }
}

wire_struct! {
    /// The working keys.
    #[derive(Clone)]
    pub(super) struct Keys {
        pub(super) signing: Seed,
        pub(super) sealing: Secret,
        pub(super) status: Seed,
        pub(super) inbox_read: Seed,
    }
}

impl Keys {
    pub(super) fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Keys {
            signing: Seed::generate(rng),
            sealing: Secret::generate(rng),
            status: Seed::generate(rng),
            inbox_read: Seed::generate(rng),
        }
    }
}

wire_struct! {
    /// A certificate order.
    #[derive(Clone)]
    pub(super) struct Ordered {
        pub(super) bytes: Blob,
        pub(super) sequence: u64,
        pub(super) keys: Keys,
        pub(super) inbox: Mailbox,
        pub(super) opened: bool,
    }
}

wire_struct! {
    /// The certificate of the working keys.
    #[derive(Clone)]
    pub(super) struct Working {
        pub(super) id: RecordId,
        pub(super) sequence: u64,
        pub(super) inbox: Mailbox,
        pub(super) opened: bool,
        pub(super) expires: Time,
        /// The mediator was told that it ends soon.
        pub(super) noticed: bool,
    }
}

wire_struct! {
    /// Keys and inbox of an earlier certificate.
    #[derive(Clone)]
    pub(super) struct Former {
        pub(super) keys: Keys,
        pub(super) inbox: Mailbox,
        pub(super) opened: bool,
    }
}

wire_struct! {
    /// The lists that the last status names.
    #[derive(Clone, Copy)]
    pub(super) struct Lists {
        pub(super) regions: ListRef,
        pub(super) directory: ListRef,
        pub(super) revocations: ListRef,
        /// When the status was issued.
        pub(super) issued: Time,
    }
}

wire_struct! {
    /// A region with the secrets of its key versions.
    #[derive(Clone)]
    pub(super) struct RegionKept {
        pub(super) name: Text<120>,
        pub(super) criteria: List<(Text<40>, Text<80>), 8>,
        pub(super) postal_codes: List<Text<10>, MAX_POSTAL_CODES>,
        pub(super) salt: [u8; 32],
        pub(super) version: u32,
        pub(super) secrets: Table<u32, Secret>,
        /// When it got its current key.
        pub(super) renewed: Time,
    }
}

wire_struct! {
    /// A certified provider.
    #[derive(Clone)]
    pub(super) struct ProviderKept {
        pub(super) certificate: Blob,
        pub(super) id: RecordId,
        pub(super) name: Text<120>,
        pub(super) signing: VerifyingKey,
        pub(super) sealing: SealingKey,
        pub(super) regions: List<RegionId, MAX_PROVIDER_REGIONS>,
        pub(super) answer: MailboxId,
        pub(super) expires: Time,
        /// The mediator was told that it ends soon.
        pub(super) noticed: bool,
        pub(super) copy: CopyKept,
    }
}

wire_struct! {
    /// An application as the provider signed it, sealed to the mediator: the copy for later control.
    #[derive(Clone)]
    pub(super) struct CopyKept {
        pub(super) application: RecordId,
        pub(super) sealed: Blob,
    }
}

wire_struct! {
    /// A certificate that was revoked.
    #[derive(Clone)]
    pub(super) struct RevokedKept {
        /// After this its serial need not be listed any more.
        pub(super) expires: Time,
        pub(super) reason: Text<400>,
    }
}

wire_struct! {
    /// A provider whose certificate is over.
    #[derive(Clone)]
    pub(super) struct PastKept {
        pub(super) name: Text<120>,
        pub(super) ended: Time,
        /// Why, where it was revoked.
        pub(super) reason: Option<Text<400>>,
        pub(super) copy: CopyKept,
    }
}

wire_struct! {
    /// An application that is in an inbox.
    pub(super) struct ApplicationKept {
        pub(super) application: Application,
        pub(super) signed: Blob,
        pub(super) inbox: MailboxId,
        pub(super) slot: u32,
        pub(super) item: ItemId,
        pub(super) decided: bool,
    }
}

wire_struct! {
    /// The mailbox in which a provider waits for answers.
    pub(super) struct AnswerKept {
        pub(super) out: Outbox,
        pub(super) opened: bool,
    }
}

wire_struct! {
    /// The state of a refresher.
    pub(super) struct RefresherState {
        pub(super) federation: Federation,
        pub(super) node: NodeId,
        pub(super) mediator: MediatorId,
        pub(super) status: Seed,
        pub(super) life: Seconds,
        pub(super) sequence: u64,
        pub(super) outgoing: Many<Blob>,
    }
}
