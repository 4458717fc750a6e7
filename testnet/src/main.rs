//! Starts real Lapwing nodes on this machine and prepares what they need.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand};
use lapwing_client::driver::now;
use lapwing_testnet::cleanup::RunDir;
use lapwing_testnet::control;
use lapwing_testnet::federation::quick_params;
use lapwing_testnet::net::{Net, NetOptions};
use lapwing_testnet::node::binary;
use lapwing_testnet::play::{self, PlayOptions};
use lapwing_testnet::regions;
use lapwing_testnet::relays;
use lapwing_testnet::report::Say;
use lapwing_testnet::scenario::{DAY, Scenario};
use lapwing_testnet::seeds::Seeds;
use lapwing_testnet::tally::Tally;
use lapwing_testnet::view::{Shown, View, possible};
use tokio::sync::Mutex;

/// Starts real Lapwing nodes on this machine and prepares what they need.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What every run takes. The node binary is the one beside this program, unless LAPWING_BIN names another.
#[derive(Args)]
struct RunArgs {
    /// Where all randomness comes from; drawn and printed if not given.
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
    /// Keep the run's directory: logs, keys and data.
    #[arg(long, env = "KEEP", value_parser = FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
    keep: bool,
    /// Draw nodes, replication and bookings in place; on a terminal only.
    #[arg(long, env = "VIEW", value_parser = FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
    view: bool,
}

/// What playing a scenario takes.
#[derive(Args)]
struct PlayArgs {
    #[command(flatten)]
    run: RunArgs,
    /// End when all is counted; the last line is one JSON object.
    #[arg(long, env = "ONCE", value_parser = FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
    once: bool,
    /// Print a line for everything that anybody does.
    #[arg(long, short)]
    verbose: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Plays a whole day: five nodes, two mediators, twenty providers, three hundred users.
    #[command(
        after_help = "Exit codes: 0 every count is right, 1 one is not or it could not go on, 2 wrong usage."
    )]
    Demo {
        #[command(flatten)]
        play: PlayArgs,
    },
    /// Plays a scenario from a file (docs/testnet.md).
    #[command(after_help = "\
Example:
  lapwing-testnet run testnet/scenarios/partition.toml --once --view

Exit codes: 0 every count is right, 1 one is not or it could not go on, 2 wrong usage.")]
    Run {
        /// The scenario (TOML).
        #[arg(value_name = "FILE")]
        scenario: PathBuf,
        #[command(flatten)]
        play: PlayArgs,
    },
    /// Starts a federation and stays until Ctrl-C.
    Up {
        #[command(flatten)]
        run: RunArgs,
        /// How many nodes, each of an operator of its own.
        #[arg(long, env = "NODES", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=64))]
        nodes: u16,
    },
    /// Says a command to a running federation: kill, restart, pause, partition nodes.
    #[command(after_help = "\
Examples:
  lapwing-testnet ctl status
  lapwing-testnet ctl kill 2            kill -9
  lapwing-testnet ctl restart 2
  lapwing-testnet ctl pause 3           SIGSTOP; then resume 3
  lapwing-testnet ctl partition 1,2     cut nodes 1 and 2 from the others
  lapwing-testnet ctl heal

Nodes can be cut from each other in a federation started by `up`, or by a scenario that does so.")]
    Ctl {
        /// The run's directory; the newest run if none is named.
        #[arg(long, value_name = "DIR")]
        run: Option<PathBuf>,
        /// What to do.
        #[arg(required = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// Writes the region file: groups a table of postal codes by their first three digits.
    Regions {
        /// Table of postal codes: tab-separated `postal_code`, `state`, `places`.
        #[arg(long, value_name = "PATH")]
        table: PathBuf,
        /// Region file to write (TOML); replaced if it is there.
        #[arg(long, value_name = "PATH")]
        out: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("lapwing-testnet: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Regions { table, out } => write_regions(&table, &out).map(|()| true),
        Command::Demo { play } => {
            let scenario = Scenario::parse(DAY).context("the day's scenario")?;
            // Whoever starts it by hand wants to see it.
            let view = possible();
            runtime()?.block_on(play::play(&options(scenario, &play, view)?))
        }
        Command::Run { scenario, play } => {
            let read = Scenario::read(&scenario)
                .with_context(|| format!("the scenario {}", scenario.display()))?;
            let view = play.run.view && possible();
            runtime()?.block_on(play::play(&options(read, &play, view)?))
        }
        Command::Up { run, nodes } => runtime()?
            .block_on(up(&run, usize::from(nodes)))
            .map(|()| true),
        Command::Ctl { run, command } => runtime()?.block_on(ctl(run, &command.join(" "))),
    }
}

fn options(scenario: Scenario, play: &PlayArgs, view: bool) -> anyhow::Result<PlayOptions> {
    Ok(PlayOptions {
        scenario,
        seeds: seeds(&play.run)?,
        once: play.once,
        keep: play.run.keep,
        view: view && !play.verbose,
        verbose: play.verbose,
        base: RunDir::base(),
        binary: binary()?,
    })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start")
}

fn seeds(run: &RunArgs) -> anyhow::Result<Seeds> {
    match run.seed {
        Some(seed) => Ok(Seeds::new(seed)),
        None => Seeds::fresh().context("the operating system gives no randomness"),
    }
}

async fn up(run: &RunArgs, nodes: usize) -> anyhow::Result<()> {
    let options = NetOptions {
        nodes,
        seeds: seeds(run)?,
        params: quick_params(),
        base: RunDir::base(),
        binary: binary()?,
        keep: run.keep,
        // Where it cannot be had all else can: who asks for a partition is told.
        relays: relays::possible(),
    };
    let say = Arc::new(Say::default());
    let net = Net::start(&options, now()).await?;
    let dir = net.path().to_owned();
    let net = Arc::new(Mutex::new(net));
    let _control =
        control::serve(&dir, net.clone(), say.clone()).context("cannot open the control socket")?;
    say.good(
        "nodes",
        "",
        format!("{nodes} are one federation, seed {}", options.seeds.get()),
    );
    if run.view && possible() {
        let view = View::start(
            Shown {
                net: net.clone(),
                tally: Arc::new(Tally::default()),
                say: say.clone(),
                scenario: None,
                seed: options.seeds.get(),
            },
            true,
        );
        play::interrupted().await;
        view.end().await;
    } else {
        play::stay(&net, &say).await;
    }
    Ok(net.lock().await.stop_all().await?)
}

async fn ctl(run: Option<PathBuf>, command: &str) -> anyhow::Result<bool> {
    let socket = match run {
        Some(dir) => dir.join(control::SOCKET),
        None => control::newest(&RunDir::base())?,
    };
    print!("{}", control::ask(&socket, command).await?);
    Ok(true)
}

fn write_regions(table: &Path, out: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(table)
        .with_context(|| format!("cannot read the table {}", table.display()))?;
    let codes = regions::parse_table(&text)
        .with_context(|| format!("the table {} is not usable", table.display()))?;
    let areas = regions::areas(&codes);
    fs::write(out, regions::to_toml(&areas))
        .with_context(|| format!("cannot write the region file {}", out.display()))?;
    println!(
        "{}: {} areas, {} postal codes",
        out.display(),
        areas.len(),
        codes.len()
    );
    Ok(())
}
