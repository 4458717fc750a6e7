//! The person's side of a running role.

use std::fmt;

use lapwing_protocol::role::Role;
use lapwing_protocol::time::Time;
use rand_chacha::ChaCha20Rng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::event::Event;
use super::{Driver, DriverError, Options};

/// Does something with a role, and gives what to do once that is on disk.
pub(super) type Command<R> =
    Box<dyn FnOnce(&mut R, Time, &mut ChaCha20Rng) -> Box<dyn FnOnce() + Send> + Send>;

/// How a running role gets on with its nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// A node's chain of trust was looked at.
    pub fed: bool,
    /// There is nothing to do at the moment but to wait for others.
    pub settled: bool,
    /// How many calls were answered, refusals among them.
    pub answered: u64,
    /// How many calls and looks in a row no node answered.
    pub unanswered: u32,
}

/// What is left when a role has stopped.
#[derive(Debug)]
pub struct Stopped<R> {
    /// The role.
    pub role: R,
    /// How often it moved on to another node.
    pub moves: u32,
}

/// Acts on a running role. Clones act on the same one.
pub struct Remote<R> {
    commands: mpsc::UnboundedSender<Command<R>>,
}

impl<R> Clone for Remote<R> {
    fn clone(&self) -> Self {
        Remote {
            commands: self.commands.clone(),
        }
    }
}

impl<R> fmt::Debug for Remote<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remote")
    }
}

impl<R> Remote<R> {
    /// Does something with the role, and gives what came of it once that is on disk.
    ///
    /// # Errors
    /// [`DriverError::Gone`].
    pub async fn with<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut R, Time, &mut ChaCha20Rng) -> T + Send + 'static,
    ) -> Result<T, DriverError> {
        let (sender, receiver) = oneshot::channel();
        let command: Command<R> = Box::new(move |role, now, rng| {
            let came = act(role, now, rng);
            Box::new(move || {
                // Nobody waits for it any more: then nobody wants to know.
                let _unread = sender.send(came);
            })
        });
        self.commands.send(command).map_err(|_| DriverError::Gone)?;
        receiver.await.map_err(|_| DriverError::Gone)
    }
}

/// The person's side of a running role. When it is dropped, the role stops.
#[derive(Debug)]
pub struct Handle<R: Role> {
    remote: Remote<R>,
    events: mpsc::UnboundedReceiver<R::Event>,
    progress: watch::Receiver<Progress>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Stopped<R>, DriverError>>,
}

impl<R> Handle<R>
where
    R: Role + Send + 'static,
    R::Event: Send + 'static,
{
    /// Starts a role. Its node becomes the first of `options.places`.
    #[must_use]
    pub fn start(role: R, options: Options) -> Self
    where
        R::Event: Event,
    {
        let (commands, orders) = mpsc::unbounded_channel();
        let (sender, events) = mpsc::unbounded_channel();
        let (told, progress) = watch::channel(Progress::default());
        let (stop, stopped) = oneshot::channel();
        let driver = Driver::new(role, options, sender, told);
        let task = tokio::spawn(driver.run(orders, stopped));
        Handle {
            remote: Remote { commands },
            events,
            progress,
            stop,
            task,
        }
    }

    /// Does something with the role, and gives what came of it once that is on disk.
    ///
    /// # Errors
    /// [`DriverError::Gone`].
    pub async fn with<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut R, Time, &mut ChaCha20Rng) -> T + Send + 'static,
    ) -> Result<T, DriverError> {
        self.remote.with(act).await
    }

    /// For others who act on the same role, as long as it runs.
    #[must_use]
    pub fn remote(&self) -> Remote<R> {
        self.remote.clone()
    }

    /// How it gets on, and every change of that.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// The next event.
    ///
    /// # Errors
    /// [`DriverError::Gone`].
    pub async fn event(&mut self) -> Result<R::Event, DriverError> {
        self.events.recv().await.ok_or(DriverError::Gone)
    }

    /// The next event, if one came already.
    pub fn try_event(&mut self) -> Option<R::Event> {
        self.events.try_recv().ok()
    }

    /// Lets the role finish what it has begun and stops it.
    ///
    /// # Errors
    /// Why it had stopped before.
    pub async fn stop(self) -> Result<Stopped<R>, DriverError> {
        // It may have stopped by itself.
        let _stopped = self.stop.send(());
        self.task.await.map_err(|_| DriverError::Gone)?
    }
}
