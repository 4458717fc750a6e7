//! A scenario as it stands in its file. Fields that no scenario has are refused.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::At;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) name: String,
    pub(super) patience: Option<u64>,
    pub(super) federation: Federation,
    pub(super) mediators: Vec<Mediator>,
    pub(super) providers: Providers,
    pub(super) users: Users,
    pub(super) revocation: Option<Revocation>,
    #[serde(default)]
    pub(super) faults: Vec<Fault>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Federation {
    pub(super) nodes: usize,
    pub(super) token_work: Option<u8>,
    pub(super) box_work: Option<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mediator {
    pub(super) name: String,
    pub(super) prefixes: Vec<String>,
    pub(super) areas: Option<usize>,
    #[serde(default)]
    pub(super) extra: Vec<Extra>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Extra {
    pub(super) area: String,
    pub(super) name: String,
    pub(super) criteria: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Providers {
    pub(super) groups: usize,
    pub(super) per_group: usize,
    pub(super) areas: usize,
    pub(super) slots: u32,
    pub(super) per_slot: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Users {
    pub(super) count: usize,
    pub(super) in_revoked_group: Option<usize>,
    #[serde(default)]
    pub(super) cancel: usize,
    #[serde(default)]
    pub(super) cancel_again: usize,
    #[serde(default)]
    pub(super) change: usize,
    #[serde(default)]
    pub(super) double_upload: usize,
    #[serde(default)]
    pub(super) double_accept: usize,
    #[serde(default)]
    pub(super) at_killed: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revocation {
    pub(super) after_offers: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    pub(super) at: At,
    #[serde(rename = "do")]
    pub(super) act: Verb,
    pub(super) node: Option<usize>,
    pub(super) nodes: Option<Vec<usize>>,
}

/// What a fault does.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verb {
    Kill,
    Stop,
    Restart,
    Pause,
    Resume,
    Partition,
    Heal,
}
