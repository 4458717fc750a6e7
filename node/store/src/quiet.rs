//! Turns the storage engine's panics into errors, without printing them.
//!
//! sled 0.34 asserts what it should check: a damaged file can make it panic. Its
//! panic texts may hold keys, so the panic hook must not print them either.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use crate::error::Engine;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// Runs `work`; a panic in it becomes [`Engine::Panicked`].
///
/// The first call puts a panic hook before the process's own, which stays silent
/// for panics in here and passes on all others. The caller must not go on using
/// what `work` changed once it has panicked.
pub(crate) fn quietly<T, E: Into<Engine>>(
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, Engine> {
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.with(Cell::get) {
                others(info);
            }
        }));
    });
    let outer = QUIET.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    QUIET.set(outer);
    match outcome {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(Engine::Panicked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_is_an_error() {
        let caught = quietly::<(), std::io::Error>(|| panic!("not printed"));
        assert!(matches!(caught, Err(Engine::Panicked)));
        assert!(!QUIET.with(Cell::get));
        assert!(matches!(quietly::<_, std::io::Error>(|| Ok(1)), Ok(1)));
    }
}
