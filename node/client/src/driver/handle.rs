//! The person's side of a running role.

use lapwing_protocol::role::Role;
use lapwing_protocol::time::Time;
use rand_chacha::ChaCha20Rng;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::stale::Stale;
use super::{Driver, DriverError, Options};

/// Does something with a role, and gives what to do once that is on disk.
pub(super) type Command<R> =
    Box<dyn FnOnce(&mut R, Time, &mut ChaCha20Rng) -> Box<dyn FnOnce() + Send> + Send>;

/// What is left when a role has stopped.
#[derive(Debug)]
pub struct Stopped<R> {
    /// The role.
    pub role: R,
    /// How often it moved on to another node.
    pub moves: u32,
}

/// The person's side of a running role. When it is dropped, the role stops.
#[derive(Debug)]
pub struct Handle<R: Role> {
    commands: mpsc::UnboundedSender<Command<R>>,
    events: mpsc::UnboundedReceiver<R::Event>,
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
        R::Event: Stale,
    {
        let (commands, orders) = mpsc::unbounded_channel();
        let (sender, events) = mpsc::unbounded_channel();
        let task = tokio::spawn(Driver::new(role, options, sender).run(orders));
        Handle {
            commands,
            events,
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

    /// The next event.
    ///
    /// # Errors
    /// [`DriverError::Gone`].
    pub async fn event(&mut self) -> Result<R::Event, DriverError> {
        self.events.recv().await.ok_or(DriverError::Gone)
    }

    /// Lets the role finish what it has begun and stops it.
    ///
    /// # Errors
    /// Why it had stopped before.
    pub async fn stop(self) -> Result<Stopped<R>, DriverError> {
        drop(self.commands);
        self.task.await.map_err(|_| DriverError::Gone)?
    }
}
