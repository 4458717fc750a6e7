//! `lapwing store`: what an operator does to the store of a stopped node.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lapwing_store::{SledOptions, SledStore, set_aside};
use serde_json::json;

use crate::config;

/// Look after a stopped node's store.
#[derive(Subcommand)]
pub(crate) enum Store {
    /// Move a damaged store out of the way; the node then starts empty and refills from the other holders.
    #[command(after_help = "\
Example:
  systemctl stop lapwing
  lapwing store set-aside --config /var/lib/lapwing/lapwing.toml

Read \"A damaged or lost store\" in docs/operator.md first.")]
    SetAside(Which),
    /// Write the live data anew to give the space of old data back to the disk.
    #[command(after_help = "\
Example:
  systemctl stop lapwing
  lapwing store rewrite --config /var/lib/lapwing/lapwing.toml
  systemctl start lapwing

It needs room for a second copy of the live data. One node of a federation at a time.")]
    Rewrite(Which),
}

/// Which store.
#[derive(Args)]
pub(crate) struct Which {
    /// The node's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Store {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Store::SetAside(Which { config, json }) => {
                let path = config::load(&config)?.data_dir.join("store");
                let moved = set_aside(&path)?;
                if json {
                    println!("{}", json!({ "moved_to": moved }));
                } else {
                    println!("moved to {}", moved.display());
                }
            }
            Store::Rewrite(Which { config, json }) => {
                let config = config::load(&config)?;
                let options = SledOptions {
                    cache_bytes: config.cache_bytes,
                    ..SledOptions::default()
                };
                let done = SledStore::rewrite(&config.data_dir.join("store"), &options)?;
                if json {
                    println!(
                        "{}",
                        json!({ "bytes_before": done.before, "bytes_after": done.after })
                    );
                } else {
                    println!("{} bytes before, {} after", done.before, done.after);
                }
            }
        }
        Ok(())
    }
}
