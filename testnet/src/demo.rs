//! The demo: a federation from nothing to booked appointments, with a node killed in the middle, and
//! everything counted at the end.

mod acts;
mod count;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, ensure};
use lapwing_protocol::bounded::Text;
use lapwing_protocol::role::mediator::RegionPlan;
use serde::Deserialize;

use self::acts::{PROVIDERS, Practice, Stage, USERS};
use crate::cast::{Desk, open_slots};
use crate::federation::quick_params;
use crate::net::{Net, NetOptions};
use crate::report::{Counts, Expected, Say};
use crate::seeds::Seeds;
use lapwing_client::driver::{Place, now};

/// The areas that the mediator publishes.
const REGION_FILE: &str = include_str!("../../configs/regions/regions-de.toml");

/// What the demo is run with.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Nodes; three at least, so that writes survive one that is killed.
    pub nodes: usize,
    /// Where randomness comes from.
    pub seeds: Seeds,
    /// Ends after one round instead of staying.
    pub once: bool,
    /// Keeps the run's directory.
    pub keep: bool,
    /// Where run directories live.
    pub base: PathBuf,
    /// The node binary.
    pub binary: PathBuf,
}

/// The areas of the region file, as a mediator publishes them.
///
/// # Errors
/// When the file is damaged.
pub fn region_plans() -> anyhow::Result<Vec<RegionPlan>> {
    #[derive(Deserialize)]
    struct File {
        region: Vec<Area>,
    }
    #[derive(Deserialize)]
    struct Area {
        name: String,
        area: String,
        postal_codes: Vec<String>,
    }
    let file: File = toml::from_str(REGION_FILE).context("the region file is damaged")?;
    file.region
        .into_iter()
        .map(|area| {
            Ok(RegionPlan {
                name: Text::try_from(area.name.as_str())?,
                criteria: vec![(Text::try_from("area")?, Text::try_from(area.area.as_str())?)],
                postal_codes: area
                    .postal_codes
                    .iter()
                    .map(|c| Text::try_from(c.as_str()))
                    .collect::<Result<_, _>>()?,
            })
        })
        .collect()
}

/// Runs the demo. True when every count is right.
///
/// # Errors
/// When it cannot go on.
pub async fn demo(options: &DemoOptions) -> anyhow::Result<bool> {
    ensure!(
        options.nodes >= 3,
        "the demo needs three nodes or more: one of them is killed"
    );
    let say = Arc::new(Say::default());
    say.plain(format!(
        "seed {} (SEED={} runs the same again)",
        options.seeds.get(),
        options.seeds.get()
    ));
    let net = NetOptions {
        nodes: options.nodes,
        seeds: options.seeds,
        params: quick_params(),
        base: options.base.clone(),
        binary: options.binary.clone(),
        keep: options.keep,
    };
    let net = Net::start(&net, now()).await?;
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
    say.line(
        "root keys",
        "",
        format!("sign the roster of {} operators", options.nodes),
    );
    say.good("nodes", "", format!("{} are one federation", options.nodes));
    let places = net
        .nodes()
        .iter()
        .map(|n| Place {
            id: n.id(),
            api: n.api().into(),
        })
        .collect();
    let mut stage = Stage {
        say,
        net,
        seeds: options.seeds,
        places,
        ledger: Arc::default(),
        clients: 0,
        killed: 0,
    };
    let result = tokio::select! {
        played = play(&mut stage) => played,
        () = interrupted() => Err(anyhow::anyhow!("interrupted")),
    };
    let right = match result {
        Ok(counts) => conclude(&mut stage, options, counts).await?,
        Err(error) => {
            for (kind, count) in stage.ledger.read().counts {
                stage
                    .say
                    .line("testnet", "", format!("{count} × {kind:?} acknowledged"));
            }
            for node in stage.net.nodes() {
                stage.say.bad(
                    node.name(),
                    "",
                    format!("the end of its log:\n{}", node.log_end()),
                );
            }
            return Err(error);
        }
    };
    if options.keep {
        stage
            .say
            .plain(format!("kept: {}", stage.net.path().display()));
    }
    stage.net.stop().await?;
    Ok(right)
}

/// Shows the counts; stays where it should; prints the JSON line last where it should not.
async fn conclude(
    stage: &mut Stage,
    options: &DemoOptions,
    counts: Counts,
) -> anyhow::Result<bool> {
    let expected = Expected {
        nodes: options.nodes as u64,
        regions: 671,
        postal_codes: 8168,
        providers: PROVIDERS as u64,
        users: USERS as u64,
        nodes_killed: 1,
    };
    let wrong = counts.wrong(&expected);
    for (name, found, expected) in &wrong {
        stage.say.bad(
            "wrong",
            "",
            format!("{name} is {found}, must be {expected}"),
        );
    }
    let json = serde_json::to_string(&counts)?;
    if options.once {
        stage.say.plain(json);
        return Ok(wrong.is_empty());
    }
    stage.say.plain(json);
    stay(&stage.net, &stage.say).await;
    Ok(wrong.is_empty())
}

/// Says where the API is, and waits for Ctrl-C.
pub async fn stay(net: &Net, say: &Say) {
    say.plain("");
    for node in net.nodes() {
        say.plain(format!("  {}  http://{}/v1/node", node.name(), node.api()));
    }
    say.plain(format!(
        "Logs, keys and data: {}. Ctrl-C ends it.",
        net.path().display()
    ));
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

async fn play(stage: &mut Stage) -> anyhow::Result<Counts> {
    let say = stage.say.clone();
    let at = stage.name(0);
    let options = stage.options("mediator", 0, 0);
    let mut desk = Desk::open(options, stage.net.founders(), region_plans()?, &say, &at).await?;
    let practices = acts::providers(stage, &mut desk).await?;
    let certified = practices.len() as u64;
    let mut people = acts::users(stage).await?;
    let admitted = people.len() as u64;
    let mut open = Vec::new();
    for (n, mut handle) in practices.into_iter().enumerate() {
        let (who, place) = (format!("provider {}", n + 1), stage.name(n + 1));
        open_slots(&mut handle, &say, (&who, &place)).await?;
        open.push(Practice::tell(handle, say.clone(), who, place));
    }
    for person in &mut people {
        person.offered(&say).await?;
    }
    let mut people = acts::bookings_and_a_kill(stage, people).await?;
    let last = people.last_mut().context("no user")?;
    last.cancel(&say).await?;
    last.book(&say).await?;
    let ended = acts::end(desk, open, people).await?;
    count::count(stage, ended, certified, admitted).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_regions_are_there() {
        let plans = region_plans().unwrap();
        assert_eq!(plans.len(), 671);
        assert_eq!(
            plans.iter().map(|p| p.postal_codes.len()).sum::<usize>(),
            8168
        );
        for (areas, postal_code, _) in acts::AREAS {
            for area in areas {
                assert!(
                    plans
                        .iter()
                        .any(|p| p.postal_codes.iter().any(|c| c.starts_with(area))),
                    "{area}"
                );
            }
            assert!(
                plans
                    .iter()
                    .any(|p| p.postal_codes.iter().any(|c| c.as_str() == postal_code)),
                "{postal_code}"
            );
        }
    }
}
