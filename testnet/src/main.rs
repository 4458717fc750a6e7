//! Starts real Lapwing nodes on this machine and prepares what they need.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Parser, Subcommand};
use lapwing_testnet::regions;

/// Starts real Lapwing nodes on this machine and prepares what they need.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
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

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Regions { table, out } => write_regions(&table, &out),
    }
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
