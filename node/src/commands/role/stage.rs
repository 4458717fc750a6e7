//! Runs a role for one command, or unattended.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow};
use lapwing_client::driver::{Handle, Options, Place, Unheard, now};
use lapwing_client::file::StateFile;
use lapwing_protocol::role::Pace;
use lapwing_protocol::time::Seconds;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use tokio::signal::unix::{SignalKind, signal};

use super::{Common, Failure, Hand, Home, Out, Player, Said, Unattended, control, home, meet};

/// How often a role asks while somebody waits at a terminal.
const ATTENDED: Pace = Pace {
    read: Seconds::new(5),
    round: Seconds::new(5),
    work: 65_536,
};
/// How often it then looks at the chain of trust.
const ATTENDED_FEED: Duration = Duration::from_secs(10);

/// Runs something that waits.
///
/// # Errors
/// What it returns, or that the runtime cannot be had.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime can be had")?;
    runtime.block_on(work)
}

fn random() -> Result<ChaCha20Rng, Failure> {
    let mut seed = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut_slice())
        .map_err(|e| anyhow!("the operating system gives no randomness ({e}): try again later"))?;
    Ok(ChaCha20Rng::from_seed(*seed))
}

/// What a role runs with.
///
/// # Errors
/// Where there is no randomness.
fn options(
    home: &Home,
    places: Vec<Place>,
    file: StateFile,
    pace: Pace,
    feed: Duration,
) -> Result<Options, Failure> {
    Ok(Options {
        client: meet::client(),
        places,
        pace,
        rng: random()?,
        feed,
        file,
        trust: Some(home.trust()),
        ledger: Arc::new(Unheard),
    })
}

/// Does what a command says: here, or in the process that runs the identity.
///
/// # Errors
/// [`Failure`].
pub(crate) async fn play<R: Player>(common: &Common, order: R::Order) -> Result<(), Failure> {
    let home = Home::open(&common.dir(R::NAME)?, R::NAME)?;
    let out = Out::print(common.json);
    let Some(_lock) = home.lock()? else {
        return control::send(&home, &order, common.patience(), &out).await;
    };
    let kept = home.kept()?;
    let role: R = home.restore(&kept, now())?;
    if !R::online(&order) {
        return at_rest(role, &home, &kept, order, out, common.patience()).await;
    }
    let places = meet::reachable(home.places()).await?;
    let options = options(&home, places, kept, ATTENDED, ATTENDED_FEED)?;
    let mut handle = Handle::start(role, options);
    let places = home.places().to_vec();
    let hand = Hand::live(&handle, places, out.clone(), common.patience());
    let done = {
        let act = R::perform(&hand, order);
        tokio::pin!(act);
        loop {
            tokio::select! {
                done = &mut act => break done,
                event = handle.event() => match event {
                    Ok(event) => tell::<R>(&out, &event),
                    Err(gone) => break Err(gone.into()),
                }
            }
        }
    };
    while let Some(event) = handle.try_event() {
        tell::<R>(&out, &event);
    }
    // Why it stopped by itself says more than that it did.
    handle.stop().await?;
    done
}

async fn at_rest<R: Player>(
    role: R,
    home: &Home,
    kept: &StateFile,
    order: R::Order,
    out: Out,
    patience: Duration,
) -> Result<(), Failure> {
    let before = role.save();
    let held = Arc::new(Mutex::new((role, random()?)));
    let hand = Hand::still(held.clone(), home.places().to_vec(), out.clone(), patience);
    R::perform(&hand, order).await?;
    let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
    let after = held.0.save();
    if after != before {
        kept.write(&after)?;
    }
    for event in held.0.events() {
        tell::<R>(&out, &event);
    }
    Ok(())
}

fn tell<R: Player>(out: &Out, event: &R::Event) {
    if let Some(said) = R::tell(event) {
        out.say(&said);
    }
}

/// Runs an identity until SIGINT or SIGTERM; takes commands meanwhile.
///
/// # Errors
/// [`Failure`].
pub(crate) async fn unattended<R: Player>(
    common: &Common,
    run: &Unattended,
) -> Result<(), Failure> {
    let home = Home::open(&common.dir(R::NAME)?, R::NAME)?;
    let out = Out::print(common.json);
    let _lock = home.lock()?.ok_or_else(|| home::busy(home.dir()))?;
    let kept = home.kept()?;
    let role: R = home.restore(&kept, now())?;
    let places = home.places().to_vec();
    let options = options(&home, places, kept, run.pace(), run.feed())?;
    let mut interrupted = signal(SignalKind::interrupt()).context("signals cannot be heard")?;
    let mut terminated = signal(SignalKind::terminate()).context("signals cannot be heard")?;
    let listener = control::listen(&home)?;
    let mut handle = Handle::start(role, options);
    out.say(&Said::new(
        "running",
        format!(
            "lapwing {}: runs in {}; Ctrl-C stops it, other commands go on working",
            R::NAME,
            home.dir().display()
        ),
        serde_json::json!({ "dir": home.dir() }),
    ));
    let done = loop {
        tokio::select! {
            event = handle.event() => match event {
                Ok(event) => tell::<R>(&out, &event),
                Err(_) => break Ok(()),
            },
            taken = listener.accept() => {
                if let Ok((stream, _)) = taken {
                    let (remote, progress) = (handle.remote(), handle.progress());
                    let places = home.places().to_vec();
                    tokio::spawn(control::serve::<R>(stream, remote, progress, places));
                }
            }
            _ = interrupted.recv() => break Ok(()),
            _ = terminated.recv() => break Ok(()),
        }
    };
    drop(listener);
    // The next run makes a new one: what is left there hinders nobody.
    let _gone = std::fs::remove_file(home.control());
    while let Some(event) = handle.try_event() {
        tell::<R>(&out, &event);
    }
    handle.stop().await?;
    out.say(&Said::new(
        "stopped",
        "stopped; nothing is lost",
        serde_json::json!({}),
    ));
    done
}
