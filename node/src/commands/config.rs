//! `lapwing config`: looks at a configuration without starting anything.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use crate::config;
use crate::keys::NodeKeys;

/// Look at a configuration.
#[derive(Subcommand)]
pub(crate) enum Config {
    /// Say whether a configuration can be used, with the files that it names.
    #[command(after_help = "\
Examples:
  lapwing config check /var/lib/lapwing/lapwing.toml
  lapwing config check lapwing.toml --json | jq .node_id

It reads the federation file, its roster, and the key file, which must be readable by its owner alone
(`chmod 600`). It starts nothing and changes nothing.

Exit codes: 0 it can be used, 1 it cannot (one line says where and why), 2 wrong usage.")]
    Check {
        /// The configuration.
        file: PathBuf,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

impl Config {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Config::Check { file, json } = self;
        let config = config::load(&file)?;
        let keys = NodeKeys::read(&config.key_file)?;
        let federation = &config.federation.federation;
        if json {
            let said = json!({
                "config": file,
                "node_id": keys.node_id().to_hex(),
                "federation": federation.name.as_str(),
                "federation_id": federation.id().to_hex(),
                "roster": config.federation.roster.is_some(),
                "api": config.api_listen.to_string(),
                "admin_socket": config.admin_socket,
                "data_dir": config.data_dir,
            });
            println!("{said}");
            return Ok(());
        }
        println!("{}: good", file.display());
        println!("  node        {}", keys.node_id());
        println!(
            "  federation  {} ({})",
            federation.name.as_str(),
            federation.id()
        );
        println!("  api         http://{}", config.api_listen);
        println!("  admin       {}", config.admin_socket.display());
        println!("  data        {}", config.data_dir.display());
        Ok(())
    }
}
