//! Where a Lapwing node keeps things: in memory, or in sled made durable.
//!
//! - [`SledStore`] keeps a node's state on disk. It is one process's alone, says
//!   on opening what is wrong and what to do, and has a batch on disk when
//!   [`Writer::apply`] returns.
//! - [`MemoryStore`] is the same without a disk, for tests and simulations.
//! - [`Committer`] gathers the core's commits and makes them durable in order, as
//!   few disk syncs as it can, on a thread of its own.
//!
//! Nothing here knows what a key or a value means, and nothing logs one.
//! `docs/decisions/0002-sled-made-durable.md` says why it is built as it is.

mod committer;
mod data;
mod error;
mod layout;
mod memory;
mod parts;
mod quiet;
mod sled_store;
mod state;
mod transfer;
mod witness;

pub use committer::{Committer, CommitterOptions, CommitterStats, SubmitError};
pub use error::{Damage, OpenError, WriteError};
pub use layout::set_aside;
pub use memory::MemoryStore;
pub use sled_store::{Contents, SledOptions, SledStore};
pub use transfer::Rewritten;

use lapwing_core::store::Batch;

/// Makes batches durable.
pub trait Writer: Send + Sync {
    /// Applies `batch` whole or not at all. It is durable when this returns
    /// `Ok`, and so is all that was applied before it.
    ///
    /// # Errors
    /// [`WriteError`]. Whether the batch survives is then unknown, and the writer
    /// takes no more: the caller must stop and open the store anew.
    fn apply(&self, batch: &Batch) -> Result<(), WriteError>;
}

impl<T: Writer + ?Sized> Writer for std::sync::Arc<T> {
    fn apply(&self, batch: &Batch) -> Result<(), WriteError> {
        (**self).apply(batch)
    }
}
