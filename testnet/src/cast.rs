//! What the people of the demo do, each with a role of its own that runs at a node of its own.

mod desk;
mod person;
mod provider;

use std::time::Duration;

use anyhow::Context;
use lapwing_protocol::role::Role;
use lapwing_protocol::time::Time;
use lapwing_protocol::trust::TrustView;
use tokio::time::{sleep, timeout};

pub use desk::Desk;
pub use person::Person;
pub use provider::{SLOTS, certify, open_slots, tell_provider};

use crate::report::Say;
use lapwing_client::driver::Handle;

/// How long anybody waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// What every provider offers and every user wishes for.
const VACCINE: &str = "mRNA";

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
    R::Event: Send + 'static,
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
        .with_context(|| format!("no node tells of {what} in time"))?
}

async fn wait<R, T>(
    handle: &mut Handle<R>,
    what: &str,
    mut see: impl FnMut(R::Event) -> Option<T>,
) -> anyhow::Result<T>
where
    R: Role + Send + 'static,
    R::Event: Send + 'static,
{
    let events = async {
        loop {
            if let Some(seen) = see(handle.event().await?) {
                return anyhow::Ok(seen);
            }
        }
    };
    timeout(PATIENCE, events)
        .await
        .with_context(|| format!("{what}: not in time"))?
}

fn trouble(say: &Say, who: &str, place: &str, what: Option<String>) {
    if let Some(what) = what {
        say.bad(who, place, what);
    }
}

/// A time of day, UTC.
fn clock(time: Time) -> String {
    let minutes = time.get() / 60 % (24 * 60);
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}
