//! What a command acts on: a role that runs, or one that is only looked at.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use lapwing_client::driver::{Handle, Place, Progress, Remote, now};
use lapwing_protocol::time::Time;
use rand_chacha::ChaCha20Rng;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Failure, Out, Player, Said};

/// Between two looks at a role that somebody waits for.
const LOOK: Duration = Duration::from_millis(50);

enum Link<R> {
    Live {
        remote: Remote<R>,
        progress: watch::Receiver<Progress>,
    },
    Still(Arc<Mutex<(R, ChaCha20Rng)>>),
}

/// A command's hold on its role.
pub(crate) struct Hand<R> {
    link: Link<R>,
    places: Vec<Place>,
    out: Out,
    patience: Duration,
    deadline: Instant,
}

impl<R: Player> Hand<R> {
    /// On a role that runs.
    pub(super) fn live(
        handle: &Handle<R>,
        places: Vec<Place>,
        out: Out,
        patience: Duration,
    ) -> Self {
        Self::remote(handle.remote(), handle.progress(), places, out, patience)
    }

    /// On a role that another task runs.
    pub(super) fn remote(
        remote: Remote<R>,
        progress: watch::Receiver<Progress>,
        places: Vec<Place>,
        out: Out,
        patience: Duration,
    ) -> Self {
        Hand {
            link: Link::Live { remote, progress },
            places,
            out,
            patience,
            deadline: Instant::now() + patience,
        }
    }

    /// On a role that does not run.
    pub(super) fn still(
        role: Arc<Mutex<(R, ChaCha20Rng)>>,
        places: Vec<Place>,
        out: Out,
        patience: Duration,
    ) -> Self {
        Hand {
            link: Link::Still(role),
            places,
            out,
            patience,
            deadline: Instant::now() + patience,
        }
    }

    /// Does something with the role; what came of it is on disk when the command is done.
    ///
    /// # Errors
    /// Where the role's state could not be stored.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut R, Time, &mut ChaCha20Rng) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        match &self.link {
            Link::Live { remote, .. } => Ok(remote.with(act).await?),
            Link::Still(role) => {
                let mut held = role.lock().unwrap_or_else(PoisonError::into_inner);
                let (role, rng) = &mut *held;
                Ok(act(role, now(), rng))
            }
        }
    }

    /// The nodes that the identity knows.
    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    /// Says something to who gave the command.
    pub(crate) fn say(&self, event: &str, text: impl Into<String>, data: Value) {
        self.out.say(&Said::new(event, text, data));
    }

    /// Waits until a look at the role finds something.
    ///
    /// # Errors
    /// [`Failure::NotYet`] with `otherwise`, [`Failure::Away`] where no node answered meanwhile.
    pub(crate) async fn until<T: Send + 'static>(
        &self,
        otherwise: &str,
        look: impl Fn(&mut R, Time) -> Option<T> + Clone + Send + 'static,
    ) -> Result<T, Failure> {
        loop {
            let look = look.clone();
            if let Some(found) = self.with(move |role, now, _| look(role, now)).await? {
                return Ok(found);
            }
            if Instant::now() >= self.deadline {
                return Err(self.late(otherwise));
            }
            sleep(LOOK).await;
        }
    }

    /// Waits until the role knows what its node knows of the chain of trust.
    ///
    /// # Errors
    /// As [`Hand::until`].
    pub(crate) async fn fed(&self) -> Result<(), Failure> {
        self.wait("no node has told its trust records", |p| p.fed)
            .await
    }

    /// Waits until the role has nothing to do but to wait for others.
    ///
    /// # Errors
    /// As [`Hand::until`].
    pub(crate) async fn settled(&self) -> Result<(), Failure> {
        self.wait("there is still something to be sent or read", |p| p.settled)
            .await
    }

    async fn wait(
        &self,
        otherwise: &str,
        enough: impl FnMut(&Progress) -> bool,
    ) -> Result<(), Failure> {
        let Link::Live { progress, .. } = &self.link else {
            return Ok(());
        };
        let mut progress = progress.clone();
        let waited = timeout_at(self.deadline, progress.wait_for(enough)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(lapwing_client::driver::DriverError::Gone.into()),
            Err(_) => Err(self.late(otherwise)),
        }
    }

    fn late(&self, otherwise: &str) -> Failure {
        let away = match &self.link {
            Link::Live { progress, .. } => progress.borrow().unanswered > 0,
            Link::Still(_) => false,
        };
        let seconds = self.patience.as_secs();
        if away {
            Failure::Away(anyhow!(
                "no node answers, after {seconds} s: {otherwise}; the next command goes on with it"
            ))
        } else {
            Failure::NotYet(anyhow!(
                "not within {seconds} s: {otherwise}; the next command goes on with it"
            ))
        }
    }
}
