//! `lapwing store`: what an operator does to the store of a stopped node.

use std::path::PathBuf;

use clap::Subcommand;
use lapwing_store::{SledOptions, SledStore, set_aside};

use crate::config;

/// Look after a stopped node's store.
#[derive(Subcommand)]
pub(crate) enum Store {
    /// Move a damaged store out of the way; the node then starts empty and refills from the other holders.
    SetAside {
        /// The node's configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Write the live data anew to give the space of old data back to the disk.
    Rewrite {
        /// The node's configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

impl Store {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Store::SetAside { config } => {
                let path = config::load(&config)?.data_dir.join("store");
                println!("moved to {}", set_aside(&path)?.display());
            }
            Store::Rewrite { config } => {
                let config = config::load(&config)?;
                let options = SledOptions {
                    cache_bytes: config.cache_bytes,
                    ..SledOptions::default()
                };
                let done = SledStore::rewrite(&config.data_dir.join("store"), &options)?;
                println!("{} bytes before, {} after", done.before, done.after);
            }
        }
        Ok(())
    }
}
