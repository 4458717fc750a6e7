//! What user, provider and mediator do, as state machines: the same code in a browser, on a command
//! line and in a test network. See `docs/spec/roles.md` and `docs/spec/booking.md`.
//!
//! A role is told the time, given randomness and the answers to its calls, and says what to call
//! next. It never acts by itself. The driver's loop is: [`Role::poll`], store what [`Role::save`]
//! returns, make the calls, hand each answer to [`Role::answer`], store again, show the events; then
//! sleep until [`Role::wake`], an answer, or a change of a mailbox in [`Role::watching`]. Since the
//! state is stored before a call goes out that changes anything ([`CallKind::reads`]), and every call
//! may be made twice, a crash at any point loses nothing. What came of several answers, and what
//! [`Role::poll`] makes of it, may be stored together.
//!
//! [`CallKind::reads`]: crate::client::CallKind::reads
//!
//! A role runs against one node at a time, to which its orders and read proofs are bound;
//! [`Role::set_node`] moves it to another. It believes no node: it checks the whole chain of trust by
//! a [`TrustView`] of its own, which the driver feeds ([`Role::view_mut`]) and whose records the
//! driver keeps, so that a restart forgets no sequence number.

mod desk;
mod kept;
mod letterbox;
pub mod mediator;
pub mod provider;
mod talk;
#[cfg(test)]
mod tests;
pub mod user;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::client::{Answer, Call};
use crate::id::{MailboxId, NodeId};
use crate::mailbox::Mailbox;
use crate::problem::Problem;
use crate::time::{Seconds, Time};
use crate::trust::TrustView;

pub use mediator::{Mediator, MediatorEvent, MediatorRoot, Refresher};
pub use provider::{Provider, ProviderEvent};
pub use user::{User, UserEvent};

/// Names one call of one role, until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub(crate) u64);

/// What became of a call.
pub type Outcome = Result<Answer, Failure>;

/// Why a call was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The node refused it.
    #[error("refused: {0}")]
    Refused(Problem),
    /// The node could not be reached, or its answer was not one: it is tried again, best elsewhere.
    #[error("the node could not be reached")]
    Unreachable,
}

/// Why stored state is none of this role's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// Another role's, or not stored state at all.
    #[error("not the stored state of this role")]
    Other,
    /// Stored by a later version of this software.
    #[error("stored by a later version ({found})")]
    Newer {
        /// The version found.
        found: u32,
    },
    /// Damaged.
    #[error("damaged: {0}")]
    Damaged(#[from] crate::codec::DecodeError),
    /// The federation in it is not valid.
    #[error("the federation in it is not valid")]
    Federation,
}

/// How often a role asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Between two reads of a mailbox that nobody said had changed.
    pub read: Seconds,
    /// Between two rounds of claims of a provider in one region.
    pub round: Seconds,
    /// How many hashes of proof of work are tried at most in one [`Role::poll`].
    pub work: u64,
}

impl Default for Pace {
    /// Reads every 30 seconds, rounds every minute, and some milliseconds of work at a time.
    fn default() -> Self {
        Pace {
            read: Seconds::new(30),
            round: Seconds::MINUTE,
            work: 16_384,
        }
    }
}

/// A role's state machine.
pub trait Role: Sized {
    /// What it tells the person (or the test) it works for.
    type Event;

    /// The calls to make now, each until it is answered or the node is changed.
    fn poll(&mut self, now: Time, rng: &mut dyn CryptoRng) -> Vec<(CallId, Call)>;

    /// Takes the answer to a call. Answers to calls that are not open are ignored.
    fn answer(
        &mut self,
        id: CallId,
        outcome: Outcome,
        now: Time,
        rng: &mut dyn CryptoRng,
    ) -> Vec<Self::Event>;

    /// Events that arose outside [`Role::answer`], which else come with the next answer.
    fn events(&mut self) -> Vec<Self::Event>;

    /// When [`Role::poll`] has something next; [`Time::ZERO`] for at once, nothing while only answers
    /// are waited for.
    fn wake(&self) -> Option<Time>;

    /// The mailboxes to watch for changes.
    fn watching(&self) -> Vec<Mailbox>;

    /// COSE read proofs for these of [`Role::watching`], in their order, for the current node at `now`.
    /// What is not among them is left out.
    fn watch_proofs(&self, of: &[MailboxId], now: Time) -> Vec<Vec<u8>>;

    /// Something changed in a mailbox: it is read at the next [`Role::poll`].
    fn touched(&mut self, mailbox: MailboxId);

    /// The node it talks to.
    fn node(&self) -> NodeId;

    /// Talks to another node from now on. Open calls are forgotten and made anew.
    fn set_node(&mut self, node: NodeId);

    /// What it knows of the chain of trust.
    fn view(&self) -> &TrustView;

    /// The same, to feed it with a node's trust records.
    fn view_mut(&mut self) -> &mut TrustView;

    /// Replaces the view by one of the same federation that knows more.
    ///
    /// # Errors
    /// [`Problem::WrongFederation`] for another federation's.
    fn set_view(&mut self, view: TrustView) -> Result<(), Problem> {
        if view.federation() != self.view().federation() {
            return Err(Problem::WrongFederation);
        }
        *self.view_mut() = view;
        Ok(())
    }

    /// Sets how often it asks.
    fn set_pace(&mut self, pace: Pace);

    /// Everything that must survive a restart, secrets included: keep it locked
    /// ([`crate::secretbox`]). The trust records are not in it.
    fn save(&self) -> Zeroizing<Vec<u8>>;

    /// The role as it was saved, with a view that knows the pinned federation alone.
    ///
    /// # Errors
    /// [`RestoreError`].
    fn restore(bytes: &[u8]) -> Result<Self, RestoreError>;
}
