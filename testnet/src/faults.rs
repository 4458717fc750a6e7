//! Faults on request: by a scenario, or by whoever sits at the control socket.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, sleep_until};

use crate::net::{Net, NetError};
use crate::report::Say;
use crate::scenario::{Act, At, Fault};
use crate::tally::Tally;

/// A federation that several parts of a run act on.
pub type SharedNet = Arc<Mutex<Net>>;

/// Between two looks at a node that starts.
const LOOK: Duration = Duration::from_millis(50);
/// How long a node may take to come back.
pub(crate) const BACK: Duration = Duration::from_secs(120);

/// Does it, and says in a few words what was done.
///
/// # Errors
/// [`NetError`].
pub async fn act(net: &SharedNet, what: &Act) -> Result<(String, &'static str), NetError> {
    let mut held = net.lock().await;
    let name = |held: &Net, n: usize| held.node(n).map(|node| node.name().to_owned());
    Ok(match what {
        Act::Kill(n) => {
            held.kill(*n).await?;
            (name(&held, *n)?, "is killed (kill -9)")
        }
        Act::Stop(n) => {
            held.stop_one(*n).await?;
            (name(&held, *n)?, "is stopped")
        }
        Act::Restart(n) => {
            held.launch(*n)?;
            let name = name(&held, *n)?;
            drop(held);
            ready(net, *n).await?;
            (name, "is back")
        }
        Act::Pause(n) => {
            held.pause(*n)?;
            (name(&held, *n)?, "is paused (SIGSTOP)")
        }
        Act::Resume(n) => {
            held.resume(*n)?;
            (name(&held, *n)?, "goes on (SIGCONT)")
        }
        Act::Partition(nodes) => {
            held.cut(nodes.iter().copied().collect::<BTreeSet<_>>())?;
            let names: Vec<String> = nodes.iter().map(|n| (n + 1).to_string()).collect();
            (
                format!("nodes {}", names.join(", ")),
                "are cut from the others",
            )
        }
        Act::Heal => {
            held.heal()?;
            ("the nodes".to_owned(), "reach each other again")
        }
    })
}

/// Waits until a node that was launched is ready, without keeping the others from it.
async fn ready(net: &SharedNet, n: usize) -> Result<(), NetError> {
    let begun = Instant::now();
    loop {
        {
            let mut held = net.lock().await;
            if held.is_ready(n).await? {
                return Ok(());
            }
            if begun.elapsed() > BACK {
                return held.not_ready(n);
            }
        }
        sleep(LOOK).await;
    }
}

/// Plays the faults of a scenario, one after the other. Ends when all are over.
///
/// # Errors
/// [`NetError`] where one cannot be had.
pub async fn play(
    net: SharedNet,
    faults: Vec<Fault>,
    tally: Arc<Tally>,
    say: Arc<Say>,
) -> Result<(), NetError> {
    tally.reaches(|p| p.users_began).await;
    let begun = Instant::now();
    for fault in &faults {
        match fault.at {
            At::Seconds(s) => sleep_until(begun + Duration::from_secs_f64(s)).await,
            At::After(s) => sleep(Duration::from_secs_f64(s)).await,
            At::Admitted(n) => tally.reaches(|p| p.admitted >= n).await,
            At::Offers(n) => tally.reaches(|p| p.offers >= n).await,
            At::Confirmed(n) => tally.reaches(|p| p.confirmed >= n).await,
            At::Holding(n) => tally.reaches(|p| p.holding >= n).await,
            At::Redrawn(n) => tally.reaches(|p| p.redrawn >= n).await,
        }
        let (who, what) = act(&net, &fault.act).await?;
        if matches!(fault.act, Act::Kill(_)) {
            tally.count(|p| p.kills += 1);
        }
        match fault.act {
            Act::Restart(_) | Act::Resume(_) | Act::Heal => say.good(&who, "", what),
            _ => say.bad(&who, "", what),
        }
    }
    Ok(())
}
