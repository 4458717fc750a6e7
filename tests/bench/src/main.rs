//! `lapwing-bench`: what a node costs, against baselines that do the bare minimum of the same work.
//!
//! The main process starts real nodes, baselines and load generators, each a process of its own, and
//! reads their processor time and memory from `/proc`. It prints a table and writes a JSON file.
//! `docs/benchmarks.md` says what each line means.

mod baseline;
mod bookings;
mod cast;
mod child;
mod claims;
mod demo;
mod fill;
mod load;
mod mediator;
mod orders;
mod proc;
mod report;
mod revocations;
mod stage;
mod suites;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures a node against bare baselines on the same machine.
#[derive(Parser)]
#[command(name = "lapwing-bench", version, about)]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    options: suites::Options,
    /// Where the results are written.
    #[arg(long, value_name = "FILE", default_value = "target/bench.json")]
    out: PathBuf,
}

/// What the main process starts itself as.
#[derive(Subcommand)]
enum Part {
    /// Makes requests: reads a job from standard input.
    #[command(hide = true)]
    Load,
    /// Serves what a node serves, with the least work.
    #[command(hide = true)]
    BaselineHttp {
        /// Where its store is made.
        #[arg(long)]
        dir: PathBuf,
    },
    /// Writes through the committer without HTTP.
    #[command(hide = true)]
    BaselineWriters {
        /// Where its store is made.
        #[arg(long)]
        dir: PathBuf,
    },
    /// Queues requests in the store of a node that does not run.
    #[command(hide = true)]
    Fill {
        /// The node's directory.
        #[arg(long)]
        dir: PathBuf,
    },
    /// Gossips, and does nothing with what comes.
    #[command(hide = true)]
    BaselineGossip,
    /// Runs libp2p and an open store, and does nothing.
    #[command(hide = true)]
    BaselineIdle {
        /// Where its store is made.
        #[arg(long)]
        dir: PathBuf,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.part {
        Some(Part::Load) => load::run(),
        Some(Part::Fill { dir }) => fill::run(&dir),
        Some(Part::BaselineGossip) => baseline::gossip::run(),
        Some(Part::BaselineHttp { dir }) => baseline::http::run(&dir),
        Some(Part::BaselineWriters { dir }) => baseline::writers::run(&dir),
        Some(Part::BaselineIdle { dir }) => baseline::idle::run(&dir),
        None => suites::run(&cli.options, &cli.out),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lapwing-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
