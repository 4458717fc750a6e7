//! `lapwing init`: keys and a commented configuration for a new node.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use lapwing_net::Multiaddr;

use crate::keys::NodeKeys;

/// Make a node's keys and a commented configuration in a directory.
#[derive(Args)]
#[command(after_help = "\
Example:
  lapwing init --dir /var/lib/lapwing --federation federation.toml \\
      --bootstrap /dns4/node.example.org/tcp/4001/p2p/12D3Koo…

Keep what --json prints: of it `lapwing federation operator new --node` makes the entry that goes to the
root holders. The node joins once a roster names it.")]
pub(crate) struct Init {
    /// The node's directory; made where it is missing.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The federation file.
    #[arg(long, value_name = "FILE", default_value = "federation.toml")]
    federation: PathBuf,
    /// Where the HTTP API listens.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    api: std::net::SocketAddr,
    /// Where other nodes connect; may be repeated.
    #[arg(
        long,
        value_name = "MULTIADDR",
        default_value = "/ip4/0.0.0.0/tcp/4001"
    )]
    listen: Vec<Multiaddr>,
    /// A node of the federation to ask first; may be repeated.
    #[arg(long, value_name = "MULTIADDR")]
    bootstrap: Vec<Multiaddr>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Init {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        fs::create_dir_all(&self.dir)
            .with_context(|| format!("cannot make {}", self.dir.display()))?;
        let config = self.dir.join("lapwing.toml");
        if config.exists() {
            bail!(
                "{} exists already: choose another directory, or remove it first",
                config.display()
            );
        }
        let keys = NodeKeys::generate().context("the operating system gives no randomness")?;
        keys.write_new(&self.dir.join("node.key"))?;
        fs::write(&config, self.text())
            .with_context(|| format!("cannot write {}", config.display()))?;
        let node = keys.node_id();
        let signing = lapwing_protocol::id::to_hex(keys.signing().verifying_key().as_bytes());
        let peer = lapwing_net::peer_id(&node).context("the new peer key is no key")?;
        if self.json {
            println!(
                "{}",
                serde_json::json!({
                    "node_id": node.to_hex(), "peer_id": peer.to_string(), "signing_key": signing, "config": config,
                })
            );
        } else {
            println!("Made {}. For the federation's roster:", config.display());
            println!("  node id      {node}");
            println!("  signing key  {signing}");
            println!("  peer id      {peer}");
            println!("Then: lapwing run --config {}", config.display());
        }
        Ok(())
    }

    fn text(&self) -> String {
        let list = |addresses: &[Multiaddr]| {
            addresses
                .iter()
                .map(|a| format!("\"{a}\""))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let federation =
            fs::canonicalize(&self.federation).unwrap_or_else(|_| self.federation.clone());
        include_str!("../../../configs/node.toml")
            .replace(
                "\"federation.toml\"",
                &toml::Value::from(federation.display().to_string()).to_string(),
            )
            .replace("127.0.0.1:8080", &self.api.to_string())
            .replace("\"/ip4/0.0.0.0/tcp/4001\"", &list(&self.listen))
            .replace(
                "bootstrap = []",
                &format!("bootstrap = [{}]", list(&self.bootstrap)),
            )
    }
}
