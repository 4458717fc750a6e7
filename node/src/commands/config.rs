//! `lapwing config`: looks at a configuration without starting anything.

use std::path::PathBuf;

use clap::Subcommand;

use crate::config;
use crate::keys::NodeKeys;

/// Look at a configuration.
#[derive(Subcommand)]
pub(crate) enum Config {
    /// Say whether a configuration can be used, with the files that it names.
    Check {
        /// The configuration.
        file: PathBuf,
    },
}

impl Config {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Config::Check { file } = self;
        let config = config::load(&file)?;
        let keys = NodeKeys::read(&config.key_file)?;
        println!("{}: good", file.display());
        println!("  node        {}", keys.node_id());
        println!(
            "  federation  {} ({})",
            config.federation.federation.name.as_str(),
            config.federation.federation.id()
        );
        println!("  api         http://{}", config.api_listen);
        println!("  data        {}", config.data_dir.display());
        Ok(())
    }
}
