//! Starts real Lapwing nodes on this machine and prepares what they need.

use std::fs;
use std::path::{Path, PathBuf};

use std::process::ExitCode;

use anyhow::Context;
use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand};
use lapwing_client::driver::now;
use lapwing_testnet::cleanup::RunDir;
use lapwing_testnet::demo::{self, DemoOptions};
use lapwing_testnet::federation::quick_params;
use lapwing_testnet::net::{Net, NetOptions};
use lapwing_testnet::node::binary;
use lapwing_testnet::regions;
use lapwing_testnet::report::Say;
use lapwing_testnet::seeds::Seeds;

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
    /// How many nodes, each of an operator of its own.
    #[arg(long, env = "NODES", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=64))]
    nodes: u16,
    /// Where all randomness comes from; drawn and printed if not given.
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
    /// Keep the run's directory: logs, keys and data.
    #[arg(long, env = "KEEP", value_parser = FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
    keep: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Plays a whole federation through: roster to bookings, with a node killed in the middle.
    #[command(
        after_help = "Exit codes: 0 every count is right, 1 one is not or the demo could not go on, 2 wrong usage."
    )]
    Demo {
        #[command(flatten)]
        run: RunArgs,
        /// End after one round; the last line is one JSON object.
        #[arg(long, env = "ONCE", value_parser = FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
        once: bool,
    },
    /// Starts a federation and stays until Ctrl-C.
    Up {
        #[command(flatten)]
        run: RunArgs,
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
        Command::Demo { run, once } => {
            let options = DemoOptions {
                nodes: usize::from(run.nodes),
                seeds: seeds(&run)?,
                once,
                keep: run.keep,
                base: RunDir::base(),
                binary: binary()?,
            };
            runtime()?.block_on(demo::demo(&options))
        }
        Command::Up { run } => runtime()?.block_on(up(&run)).map(|()| true),
    }
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

async fn up(run: &RunArgs) -> anyhow::Result<()> {
    let options = NetOptions {
        nodes: usize::from(run.nodes),
        seeds: seeds(run)?,
        params: quick_params(),
        base: RunDir::base(),
        binary: binary()?,
        keep: run.keep,
    };
    let say = Say::default();
    let net = Net::start(&options, now()).await?;
    say.good(
        "nodes",
        "",
        format!(
            "{} are one federation, seed {}",
            options.nodes,
            options.seeds.get()
        ),
    );
    demo::stay(&net, &say).await;
    Ok(net.stop().await?)
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
