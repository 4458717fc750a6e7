//! What the commands of users, providers and mediators share: a directory for each identity, a role's
//! state machine that runs for a command or unattended, and what is said of it.
//!
//! A command takes the identity's lock, restores the role, does its work and stores what came of it. While
//! a process runs the identity unattended, commands go to that process over a socket in the directory.

mod control;
mod failure;
mod hand;
mod home;
mod meet;
mod say;
mod stage;
pub(crate) mod words;

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use lapwing_client::driver::Event;
use lapwing_client::http::Server;
use lapwing_protocol::role::{Pace, Role};
use lapwing_protocol::time::Seconds;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::passphrase::Passphrase;

pub(crate) use failure::{Failure, end};
pub(crate) use hand::Hand;
pub(crate) use home::Home;
pub(crate) use meet::meet;
pub(crate) use say::{Out, Said};
pub(crate) use stage::{block_on, play, unattended};

/// What all commands of an identity take.
#[derive(Args)]
pub(crate) struct Common {
    /// The identity's directory [default: $XDG_DATA_HOME/lapwing/ROLE, else ~/.local/share/lapwing/ROLE].
    #[arg(long, global = true, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print events as JSON, one a line.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How long to wait for others, in seconds; what is not done then goes on with the next command.
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    timeout: u32,
}

impl Common {
    /// The directory of a role's identity.
    ///
    /// # Errors
    /// [`Failure::Usage`] where none is named and there is no default.
    pub(crate) fn dir(&self, role: &str) -> Result<PathBuf, Failure> {
        match &self.dir {
            Some(dir) => Ok(dir.clone()),
            None => home::default_dir(role),
        }
    }

    /// How long to wait for others.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.timeout.into())
    }
}

/// What every new identity takes.
#[derive(Args)]
pub(crate) struct NewHome {
    /// The federation file: whom to trust.
    #[arg(long, value_name = "FILE")]
    pub(crate) federation: PathBuf,
    /// A node to talk to, http://HOST:PORT; others are used when it is away.
    #[arg(long = "node", value_name = "URL", required = true)]
    pub(crate) nodes: Vec<Server>,
    /// Put the state under a passphrase: asked for, or from the file in LAPWING_PASSPHRASE_FILE.
    #[arg(long)]
    pub(crate) passphrase: bool,
}

impl NewHome {
    /// The passphrase, where there is to be one.
    ///
    /// # Errors
    /// Where there is none, or it is too short.
    pub(crate) fn passphrase(&self) -> Result<Option<Passphrase>, Failure> {
        if !self.passphrase {
            return Ok(None);
        }
        Ok(Passphrase::for_new_key(true)?)
    }
}

/// What an unattended run takes.
#[derive(Args)]
pub(crate) struct Unattended {
    /// Seconds between two looks for what nobody announced: trust records, letters, and a provider's
    /// rounds of claims.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3600))]
    every: u32,
}

impl Unattended {
    /// How often to look at the chain of trust.
    pub(super) fn feed(&self) -> Duration {
        Duration::from_secs(self.every.into())
    }

    /// How often to ask for the rest.
    pub(super) fn pace(&self) -> Pace {
        let every = Seconds::new(self.every);
        Pace {
            read: every,
            round: every,
            ..Pace::default()
        }
    }
}

/// A role that is played from a shell.
pub(crate) trait Player: Role<Event: Event + Send + 'static> + Send + 'static {
    /// The role's word on the command line.
    const NAME: &'static str;

    /// A command, as it is also sent to a process that runs unattended.
    type Order: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Whether a command needs nodes.
    fn online(order: &Self::Order) -> bool;

    /// Does what a command says.
    fn perform(
        hand: &Hand<Self>,
        order: Self::Order,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// What is said of an event.
    fn tell(event: &Self::Event) -> Option<Said>;
}
