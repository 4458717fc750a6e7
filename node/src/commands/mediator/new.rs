//! Makes a mediator.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use lapwing_protocol::id::MediatorId;
use lapwing_protocol::role::{Mediator, Role};
use rand_core::UnwrapErr;
use serde_json::json;

use super::root::RootFile;
use crate::commands::role::{Common, Failure, Home, NewHome, Out, Player, Said, meet, words};

/// Which mediator.
#[derive(Args)]
#[command(after_help = "\
Examples:
  lapwing mediator new --federation federation.toml --node http://127.0.0.1:8080 --name \"Chamber North\"
  lapwing mediator new --federation federation.toml --node http://127.0.0.1:8080 --name \"Chamber North\" \\
      --mediator 5ac1…

The first makes the root key too, under a passphrase, as root.key in the directory: move it to a medium that
is never online once the certificate is there. The second is for a root key made elsewhere, by `lapwing
mediator root new`.")]
pub(super) struct New {
    #[command(flatten)]
    home: NewHome,
    /// A readable name.
    #[arg(long)]
    name: String,
    /// The id of a mediator whose root key is elsewhere.
    #[arg(long, value_name = "HEX", conflicts_with_all = ["root", "no_root_passphrase"])]
    mediator: Option<MediatorId>,
    /// The root key's file, made here [default: root.key in the directory].
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// Keep the root key without a passphrase.
    #[arg(long)]
    no_root_passphrase: bool,
}

impl New {
    pub(super) async fn make(self, common: &Common) -> Result<(), Failure> {
        let dir = common.dir(Mediator::NAME)?;
        Home::vacant(&dir)?;
        let name = words::text("--name", self.name.trim())?;
        if name.as_str().is_empty() {
            return Err(Failure::Usage(anyhow!("--name is empty: write a name")));
        }
        let passphrase = self.home.passphrase()?;
        let (view, places) = meet(&self.home.federation, &self.home.nodes).await?;
        let node = places.first().map(|p| p.id);
        let node = node.ok_or_else(|| anyhow!("give a --node"))?;
        let id = match self.mediator {
            Some(id) => id,
            None => {
                let file = self.root.unwrap_or_else(|| dir.join("root.key"));
                Home::prepare(&dir)?;
                RootFile::make(&file, !self.no_root_passphrase)?.root().id()
            }
        };
        // Where the operating system has no randomness, the process may only end.
        let mut rng = UnwrapErr(getrandom::SysRng);
        let mediator = Mediator::create(id, name, view, node, &mut rng);
        Home::create(&dir, Mediator::NAME, places, &mediator, passphrase.as_ref())?;
        Out::print(common.json).say(&Said::new(
            "made",
            format!(
                "{}: mediator {id} of {}.\nNext: `lapwing mediator register` says what the operators run.",
                dir.display(),
                mediator.view().federation().name.as_str(),
            ),
            json!({ "dir": dir, "mediator": id.to_hex(), "node": node.to_hex() }),
        ));
        Ok(())
    }
}
