//! Plays a scenario: a federation from nothing to booked appointments, all roles at once, with what the
//! scenario lets go wrong; and counts at the end.

mod acts;
mod cast;
mod cheats;
mod count;
pub mod desk;
mod hand;
pub mod land;
mod person;
mod practice;
mod stage;
mod tau;
pub mod wait;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU16;

use anyhow::{Context, anyhow};
use lapwing_client::driver::{Handle, Place, now};
use lapwing_protocol::federation::Params;
use lapwing_protocol::id::RegionId;
use lapwing_protocol::role::provider::SlotUsage;
use lapwing_protocol::trust::TrustView;
use tokio::sync::Mutex;

use self::acts::acts;
use self::count::Ended;
use self::land::Land;
use self::stage::Stage;
use crate::bookings::Bookings;
use crate::control;
use crate::counts::{Counts, Lists};
use crate::faults::SharedNet;
use crate::federation::quick_params;
use crate::ledger::Ledger;
use crate::net::{Net, NetOptions};
use crate::report::Say;
use crate::scenario::Scenario;
use crate::seeds::Seeds;
use crate::tally::Tally;
use crate::view::{Shown, View};

/// What every provider offers and every user wishes for.
const VACCINE: &str = "mRNA";

/// What a scenario is played with.
#[derive(Clone, Debug)]
pub struct PlayOptions {
    /// What is played.
    pub scenario: Scenario,
    /// Where randomness comes from.
    pub seeds: Seeds,
    /// Ends when all is counted instead of staying.
    pub once: bool,
    /// Keeps the run's directory.
    pub keep: bool,
    /// Draws the live view.
    pub view: bool,
    /// Prints a line for everything that anybody does.
    pub verbose: bool,
    /// Where run directories live.
    pub base: PathBuf,
    /// The node binary.
    pub binary: PathBuf,
}

/// The region of an area that is not narrowed by anything else, if a view knows it.
fn region_of(view: &TrustView, area: &str) -> Option<RegionId> {
    view.regions()
        .find(|(_, r)| {
            r.criteria.len() == 1
                && r.criteria
                    .iter()
                    .any(|(key, value)| key.as_str() == "area" && value.as_str() == area)
        })
        .map(|(_, r)| r.id)
}

/// The numbers that a scenario's nodes share.
#[must_use]
pub fn params(scenario: &Scenario) -> Params {
    Params {
        token_work: scenario.token_work,
        box_work: scenario.box_work,
        ..quick_params()
    }
}

/// Plays a scenario. True when every count is right.
///
/// # Errors
/// When it cannot go on.
pub async fn play(options: &PlayOptions) -> anyhow::Result<bool> {
    let scenario = Arc::new(options.scenario.clone());
    let land = Land::of(&scenario)?;
    let lists = lists(&land);
    let say = Arc::new(Say::new(options.verbose));
    say.plain(format!(
        "{}, seed {} (SEED={} draws the same again)",
        scenario.name.as_str(),
        options.seeds.get(),
        options.seeds.get()
    ));
    let net = Net::start(
        &NetOptions {
            nodes: scenario.nodes,
            seeds: options.seeds,
            params: params(&scenario),
            base: options.base.clone(),
            binary: options.binary.clone(),
            keep: options.keep,
            relays: scenario.partitions(),
        },
        now(),
    )
    .await?;
    let cleaned = net.cleaned();
    if cleaned.killed + cleaned.removed > 0 {
        say.line(
            "testnet",
            "",
            format!(
                "cleans up after a crash: {} nodes, {} runs",
                cleaned.killed, cleaned.removed
            ),
        );
    }
    let stage = Arc::new(set(options, scenario.clone(), land, net, say.clone())?);
    say.good(
        "nodes",
        "",
        format!("{} are one federation", scenario.nodes),
    );
    let _control = control::serve(&stage.dir, stage.net.clone(), say.clone())
        .context("cannot open the control socket")?;
    let shown = Shown {
        net: stage.net.clone(),
        tally: stage.tally.clone(),
        say: say.clone(),
        scenario: Some(scenario.clone()),
        seed: options.seeds.get(),
    };
    let view = View::start(shown, options.view);
    let played = tokio::select! {
        played = acts(&stage) => played,
        () = interrupted() => {
            // That was wanted: nobody is to blame.
            view.end().await;
            stage.net.lock().await.stop_all().await?;
            return Err(anyhow!("interrupted before all was counted"));
        }
    };
    view.end().await;
    let right = match played {
        Ok((counts, ended)) => {
            table(&stage, &ended).await;
            let right = conclude(&stage, lists, &counts)?;
            if !options.once {
                say.plain(&right.1);
                go_on(&stage, ended).await?;
            }
            right
        }
        Err(error) => {
            blame(&stage).await;
            return Err(error);
        }
    };
    if options.keep {
        say.plain(format!("kept: {}", stage.dir.display()));
    }
    stage.net.lock().await.stop_all().await?;
    if options.once {
        // Machines read the last line.
        say.plain(&right.1);
    }
    Ok(right.0)
}

/// What the nodes' lists must hold.
fn lists(land: &Land) -> Lists {
    let plans = land.plans.iter().flatten();
    let mut codes: Vec<&str> = plans
        .clone()
        .flat_map(|p| p.postal_codes.iter().map(|c| c.as_str()))
        .collect();
    codes.sort_unstable();
    codes.dedup();
    Lists {
        regions: plans.count() as u64,
        postal_codes: codes.len() as u64,
    }
}

fn set(
    options: &PlayOptions,
    scenario: Arc<Scenario>,
    land: Land,
    net: Net,
    say: Arc<Say>,
) -> anyhow::Result<Stage> {
    let places = net
        .nodes()
        .iter()
        .map(|n| Place {
            id: n.id(),
            api: n.api().into(),
        })
        .collect();
    let names = net.nodes().iter();
    let names = names.map(|n| (n.id(), n.name().to_owned())).collect();
    let founders = net.founders().clone();
    let revoked_practice = match scenario.revocation {
        Some(_) => practice::name(options.seeds, revoked(&scenario))?,
        None => String::new(),
    };
    Ok(Stage {
        view: TrustView::new(founders.federation().clone())?,
        dir: net.path().to_owned(),
        scenario,
        land,
        seeds: options.seeds,
        net: Arc::new(Mutex::new(net)),
        places,
        names,
        founders,
        say,
        tally: Arc::new(Tally::default()),
        bookings: Bookings::default(),
        ledger: Arc::new(Ledger::default()),
        reached: stage::Reached::default(),
        revoked_practice,
        practices: std::sync::Mutex::default(),
        kept: std::sync::Mutex::default(),
        clients: AtomicU16::new(1),
    })
}

/// The number of the provider that is revoked: the last of the first group.
fn revoked(scenario: &Scenario) -> usize {
    scenario.providers.groups * (scenario.providers.per_group - 1)
}

/// Shows the end of every node's log, and what was acknowledged.
async fn blame(stage: &Stage) {
    for (kind, count) in stage.ledger.read().counts {
        let what = format!("{count} × {kind:?} acknowledged");
        stage.say.line("testnet", "", what);
    }
    for node in stage.net.lock().await.nodes() {
        let log = format!("the end of its log:\n{}", node.log_end());
        stage.say.bad(node.name(), "", log);
    }
}

/// Shows the counts: whether they are right, and their JSON.
fn conclude(stage: &Stage, lists: Lists, counts: &Counts) -> anyhow::Result<(bool, String)> {
    let wrong = counts.wrong(&stage.scenario, lists);
    for (name, found, expected) in &wrong {
        let what = format!("{name} is {found}, must be {expected}");
        stage.say.bad("wrong", "", what);
    }
    if wrong.is_empty() {
        stage.say.good("testnet", "", "every count is right");
    }
    let json = serde_json::to_string(counts)?;
    Ok((wrong.is_empty(), json))
}

/// What each provider's book and each node hold.
async fn table(stage: &Stage, ended: &Ended) {
    let say = &stage.say;
    say.plain("");
    let head = ["node", "peers", "items", "requests", "healed", "disk"];
    let mut rows = vec![head.iter().map(|h| (*h).to_owned()).collect::<Vec<_>>()];
    for node in stage.net.lock().await.nodes() {
        let Ok(status) = node.status().await else {
            continue;
        };
        rows.push(vec![
            node.name().to_owned(),
            status.peers_connected.to_string(),
            status.number("items").to_string(),
            status.number("requests").to_string(),
            status.number("healed").to_string(),
            status
                .store
                .bytes
                .map_or_else(String::new, |b| format!("{} KiB", b / 1024)),
        ]);
    }
    say.table(&rows);
    let free: usize = ended
        .providers
        .iter()
        .map(|p| {
            p.slots()
                .iter()
                .filter(|s| s.usage == SlotUsage::Free)
                .count()
        })
        .sum();
    say.plain("");
    say.plain(format!("{free} slots are free and in no offer."));
}

/// Everybody who works goes on; says where the API is, and waits for Ctrl-C.
async fn go_on(stage: &Stage, ended: Ended) -> anyhow::Result<()> {
    let mut mediators = Vec::new();
    for (n, role) in ended.mediators.into_iter().enumerate() {
        let options = stage.options("mediator", n, n, stage.ledger.clone());
        mediators.push(Handle::start(role, options));
    }
    let mut providers = Vec::new();
    for (n, role) in ended.providers.into_iter().enumerate() {
        let options = stage.options("provider", n, n, stage.ledger.clone());
        providers.push(Handle::start(role, options));
    }
    stay(&stage.net, &stage.say).await;
    for handle in mediators {
        handle.stop().await?;
    }
    for handle in providers {
        handle.stop().await?;
    }
    Ok(())
}

/// Says where the API is, and waits for Ctrl-C.
pub async fn stay(net: &SharedNet, say: &Say) {
    {
        let net = net.lock().await;
        say.plain("");
        for node in net.nodes() {
            say.plain(format!("  {}  http://{}/v1/node", node.name(), node.api()));
        }
        say.plain(format!(
            "Federation file: {}",
            net.path().join("federation.toml").display()
        ));
        say.plain(format!(
            "Operators' keys, to register a mediator with: {} and so on.",
            net.path().join("operator-1.key").display()
        ));
        say.plain(format!(
            "Logs, keys and data: {}. `lapwing-testnet ctl` plays fate, Ctrl-C ends it.",
            net.path().display()
        ));
    }
    interrupted().await;
}

/// Waits for SIGINT or SIGTERM.
pub async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        // Without signals there is nothing to wait for.
        _ => std::future::pending().await,
    }
}
