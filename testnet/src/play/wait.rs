//! Waiting: for what a role's view learns, and for its events.

use std::time::Duration;

use anyhow::Context;
use lapwing_client::driver::{Event, Handle};
use lapwing_protocol::role::Role;
use lapwing_protocol::trust::TrustView;
use tokio::time::{sleep, timeout};

/// How long anybody waits while the stage is set: a bound on hanging, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(300);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Waits until a role's view knows enough.
///
/// # Errors
/// When it does not in time, or the role has ended.
pub async fn learns<R, T>(
    handle: &Handle<R>,
    what: &str,
    find: impl Fn(&TrustView) -> Option<T> + Clone + Send + 'static,
) -> anyhow::Result<T>
where
    R: Role + Send + 'static,
    R::Event: Event + Send + 'static,
    T: Send + 'static,
{
    let look = async {
        loop {
            let find = find.clone();
            if let Some(found) = handle.with(move |role, _, _| find(role.view())).await? {
                return anyhow::Ok(found);
            }
            sleep(LOOK).await;
        }
    };
    timeout(PATIENCE, look)
        .await
        .with_context(|| format!("no node tells of {what} within {} s", PATIENCE.as_secs()))?
}

/// Waits for an event.
///
/// # Errors
/// When it does not come in time, or the role has ended.
pub async fn wait<R, T>(
    handle: &mut Handle<R>,
    within: Duration,
    what: &str,
    mut see: impl FnMut(R::Event) -> Option<T>,
) -> anyhow::Result<T>
where
    R: Role + Send + 'static,
    R::Event: Event + Send + 'static,
{
    let events = async {
        loop {
            if let Some(seen) = see(handle.event().await?) {
                return anyhow::Ok(seen);
            }
        }
    };
    timeout(within, events)
        .await
        .with_context(|| format!("{what}: not within {} s", within.as_secs()))?
}
