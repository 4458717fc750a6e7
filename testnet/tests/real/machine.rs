//! Who has the machine. Every test here starts processes of its own; the heavy ones, which play many
//! people at once, take turns with all others, so that none of them waits for a machine that is busy
//! elsewhere.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static MACHINE: RwLock<()> = RwLock::new(());

/// A test's turn, for as long as this lives. A test takes one, and only one: two would wait for each other.
pub(crate) struct Turn {
    _shared: Option<RwLockReadGuard<'static, ()>>,
    _alone: Option<RwLockWriteGuard<'static, ()>>,
}

/// Waits until no test runs that wants the machine for itself; others may run beside this one.
pub(crate) fn shared() -> Turn {
    // A test that failed has freed the machine too.
    let turn = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
    Turn {
        _shared: Some(turn),
        _alone: None,
    }
}

/// Waits until no other test runs.
pub(crate) fn alone() -> Turn {
    let turn = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
    Turn {
        _shared: None,
        _alone: Some(turn),
    }
}
