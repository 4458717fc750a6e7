//! What a mediator's app must not forget.

use crate::booking::Application;
use crate::bounded::{List, Text};
use crate::federation::Federation;
use crate::id::{ItemId, MailboxId, MediatorId, NodeId, RecordId, RegionId};
use crate::key::SealingKey;
use crate::mailbox::Mailbox;
use crate::mediation::{ListRef, MAX_POSTAL_CODES, MAX_PROVIDER_REGIONS};
use crate::role::kept::{Blob, Many, Secret, Seed, Table};
use crate::role::talk::{Outbox, Seen};
use crate::time::{Seconds, Time};
use crate::wire_struct;

pub(super) const NAME: &str = "lapwing/v1/role-mediator";
pub(super) const VERSION: u32 = 1;
pub(super) const REFRESHER: &str = "lapwing/v1/role-refresher";

wire_struct! {
    /// All of it.
    pub(super) struct State {
        pub(super) federation: Federation,
        pub(super) node: NodeId,
        pub(super) name: Text<80>,
        pub(super) root: Seed,
        pub(super) signing: Seed,
        pub(super) sealing: Secret,
        pub(super) status: Seed,
        pub(super) inbox_read: Seed,
        pub(super) registrations: u64,
        pub(super) certificate: Option<Working>,
        pub(super) regions: Table<RegionId, RegionKept>,
        /// The last sequence used for any list or status.
        pub(super) sequence: u64,
        pub(super) lists: Option<Lists>,
        pub(super) status_life: Seconds,
        pub(super) next_serial: u64,
        pub(super) providers: Table<u64, ProviderKept>,
        /// Serial and expiry.
        pub(super) revoked: Table<u64, Time>,
        pub(super) outgoing: Many<Blob>,
        pub(super) applications: Table<RecordId, ApplicationKept>,
        pub(super) answers: Table<MailboxId, AnswerKept>,
        /// Slots of the inbox that are to be emptied.
        pub(super) deletions: Many<u32>,
        pub(super) seen: Seen,
    }
}

wire_struct! {
    /// The certificate of the working keys.
    pub(super) struct Working {
        pub(super) id: RecordId,
        pub(super) sequence: u64,
        pub(super) inbox: Mailbox,
        pub(super) opened: bool,
        pub(super) expires: Time,
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
    }
}

wire_struct! {
    /// A certified provider.
    pub(super) struct ProviderKept {
        pub(super) certificate: Blob,
        pub(super) id: RecordId,
        pub(super) sealing: SealingKey,
        pub(super) regions: List<RegionId, MAX_PROVIDER_REGIONS>,
        pub(super) answer: MailboxId,
        pub(super) expires: Time,
        /// The application as it came, sealed to the mediator: the copy for later control.
        pub(super) sealed: Blob,
    }
}

wire_struct! {
    /// An application that is in the inbox.
    pub(super) struct ApplicationKept {
        pub(super) application: Application,
        pub(super) slot: u32,
        pub(super) item: ItemId,
        pub(super) sealed: Blob,
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
