//! What is played: a scenario from a TOML file, checked before anything starts.
//!
//! A scenario says how large the federation is, who takes part, how they behave, and which faults
//! happen when. `docs/testnet.md` explains every field.

mod check;
mod raw;

use std::path::{Path, PathBuf};
use std::time::Duration;

use lapwing_protocol::bounded::Text;
use serde::Deserialize;

pub use self::check::Wrong;

/// The day that `make demo` plays.
pub const DAY: &str = include_str!("../scenarios/day.toml");

/// Why a scenario cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("cannot read the scenario {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// It is not TOML, or has a field that no scenario has.
    #[error(transparent)]
    Parse(#[from] toml::de::Error),
    /// Its numbers do not fit together.
    #[error(transparent)]
    Wrong(#[from] Wrong),
}

/// A scenario whose numbers fit together.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// What it is called.
    pub name: Text<80>,
    /// How many nodes, each of an operator of its own.
    pub nodes: usize,
    /// The proof of work of a priority token, in bits.
    pub token_work: u8,
    /// The proof of work of a letter to a mediator, in bits.
    pub box_work: u8,
    /// The mediators.
    pub mediators: Vec<MediatorPlan>,
    /// The providers.
    pub providers: ProvidersPlan,
    /// How many users there are, and what some of them do besides booking.
    pub users: UsersPlan,
    /// One provider is revoked on the way.
    pub revocation: Option<Revocation>,
    /// What goes wrong, in this order.
    pub faults: Vec<Fault>,
    /// How long anybody waits for anything.
    pub patience: Duration,
}

/// One mediator.
#[derive(Clone, Debug, PartialEq)]
pub struct MediatorPlan {
    /// Its name.
    pub name: Text<80>,
    /// The beginnings of the postal codes of the areas that it may serve.
    pub prefixes: Vec<Text<16>>,
    /// How many of these areas it publishes; all if nothing is said. Those that providers serve are
    /// always among them.
    pub areas: Option<usize>,
    /// Regions besides the area's own.
    pub extra: Vec<ExtraRegion>,
}

/// Another region for an area that has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraRegion {
    /// The area: the first three digits of its postal codes.
    pub area: Text<16>,
    /// What the region is called.
    pub name: Text<120>,
    /// What it is for, besides the area: `vaccine = "mRNA"`.
    pub criteria: Vec<(Text<40>, Text<80>)>,
}

/// The providers: closed groups, so that no group can take another's slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProvidersPlan {
    /// How many groups.
    pub groups: usize,
    /// How many providers each group has.
    pub per_group: usize,
    /// How many areas each group has; all its providers serve all of them.
    pub areas: usize,
    /// Slots of each provider.
    pub slots: u32,
    /// How many open offers may hold one slot at once.
    pub per_slot: u8,
}

/// The users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsersPlan {
    /// How many.
    pub count: usize,
    /// How many at most live in the group of the provider that is revoked.
    pub in_revoked_group: usize,
    /// How many live in the last group: with those who change or accept twice fewer than one of its
    /// providers has slots, so that each of the two always has one for them.
    pub in_last_group: usize,
    /// Cancel, and are content.
    pub cancel: usize,
    /// Cancel, and take another offer.
    pub cancel_again: usize,
    /// Change to another slot once they are confirmed.
    pub change: usize,
    /// Upload two different requests with one token, at different nodes.
    pub double_upload: usize,
    /// Accept two offers with one token, from two devices at once.
    pub double_accept: usize,
    /// Hold a token of the node that is killed first, not admitted yet when that happens.
    pub at_killed: usize,
}

impl UsersPlan {
    /// How many need slots left with a provider whatever the others do.
    #[must_use]
    pub fn need_room(&self) -> usize {
        self.change + self.double_accept
    }

    /// How many do something besides booking.
    #[must_use]
    pub fn special(&self) -> usize {
        self.cancel
            + self.cancel_again
            + self.change
            + self.double_upload
            + self.double_accept
            + self.at_killed
    }
}

/// When the last provider of the first group is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Once it has sent so many offers.
    pub after_offers: u64,
}

/// Something that goes wrong, or right again.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// When.
    pub at: At,
    /// What.
    pub act: Act,
}

/// When a fault happens: never before the one above it.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum At {
    /// So many seconds after the users began.
    Seconds(f64),
    /// So many seconds after the fault above it.
    After(f64),
    /// Once so many requests are admitted.
    Admitted(u64),
    /// Once so many offers are sent.
    Offers(u64),
    /// Once so many bookings are confirmed.
    Confirmed(u64),
    /// Once so many users hold a token of the node that is killed first, and wait.
    Holding(u64),
    /// Once so many tokens were drawn anew since their issuer was away.
    Redrawn(u64),
}

/// What happens. Nodes are numbered from zero here, from one in files and on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// kill -9.
    Kill(usize),
    /// SIGTERM: the node drains and ends.
    Stop(usize),
    /// Starts a node that does not run.
    Restart(usize),
    /// SIGSTOP: the node is there and does not answer.
    Pause(usize),
    /// SIGCONT.
    Resume(usize),
    /// Cuts the connections between these nodes and all others. Clients reach every node.
    Partition(Vec<usize>),
    /// Ends all partitions.
    Heal,
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// [`ScenarioError`], with line and column for what is no TOML.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        Ok(check::checked(toml::from_str(text)?)?)
    }

    /// Reads a scenario from a file.
    ///
    /// # Errors
    /// [`ScenarioError`].
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(path).map_err(|source| ScenarioError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text)
    }

    /// Whether any fault cuts nodes from each other: then their connections go through relays of the
    /// testnet.
    #[must_use]
    pub fn partitions(&self) -> bool {
        self.faults
            .iter()
            .any(|f| matches!(f.act, Act::Partition(_)))
    }

    /// The node that is killed first.
    #[must_use]
    pub fn doomed(&self) -> Option<usize> {
        self.faults.iter().find_map(|f| match f.act {
            Act::Kill(n) => Some(n),
            _ => None,
        })
    }

    /// How often a node is killed.
    #[must_use]
    pub fn kills(&self) -> usize {
        let kills = self.faults.iter();
        kills.filter(|f| matches!(f.act, Act::Kill(_))).count()
    }

    /// How many providers.
    #[must_use]
    pub fn provider_count(&self) -> usize {
        self.providers.groups * self.providers.per_group
    }

    /// How many bookings must stand at the end.
    #[must_use]
    pub fn standing(&self) -> usize {
        self.users.count - self.users.cancel
    }
}

#[cfg(test)]
mod tests;
