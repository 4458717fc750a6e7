//! What a role must not forget, and the trust records that it knows, on disk.

use tokio::time::Instant;

use lapwing_protocol::role::Role;

use super::event::Event;
use super::{Driver, DriverError, feed};
use crate::file::{self, FileError};

impl<R> Driver<R>
where
    R: Role,
    R::Event: Event,
{
    /// Stores the trust records, if there are others than those on disk.
    pub(super) async fn keep_records(&mut self) -> Result<(), DriverError> {
        let Some(path) = self.options.trust.clone() else {
            return Ok(());
        };
        let view = self.role.view();
        if self.known.as_ref() == Some(view) {
            return Ok(());
        }
        let (view, records) = (view.clone(), feed::encode(view));
        on_disk(move || file::write(&path, &records)).await?;
        self.known = Some(view);
        Ok(())
    }

    /// Stores the state, if it is another than that on disk.
    pub(super) async fn store(&mut self) -> Result<(), DriverError> {
        self.stored_at = Instant::now();
        let state = self.role.save();
        if state == self.stored {
            return Ok(());
        }
        let file = self.options.file.clone();
        self.stored = on_disk(move || file.write(&state).map(|()| state)).await?;
        // A mediator's own records are in its view before any node tells of them.
        self.keep_records().await
    }
}

/// Waits for the disk on a thread that is there for it, so that other roles go on meanwhile.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, DriverError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        // The runtime ends.
        Err(_) => Err(DriverError::Gone),
    }
}
