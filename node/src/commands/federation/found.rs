//! Founding and joining: root keys, the federation file, operators.

use std::path::PathBuf;

use anyhow::{anyhow, bail};
use clap::Args;
use lapwing_protocol::bounded::List;
use lapwing_protocol::federation::{Federation, Operator};
use lapwing_protocol::id::{OperatorId, to_hex};
use lapwing_protocol::trust::TrustView;
use serde_json::json;

use super::entry;
use super::files::{Readers, write_new};
use super::keyfile::{self, KeyFile, Owner};
use crate::commands::passphrase::Passphrase;

/// Make a root key.
#[derive(Args)]
#[command(after_help = "\
Examples:
  lapwing federation root new --out root.key --passphrase
  LAPWING_PASSPHRASE_FILE=words.txt lapwing federation root new --out root.key

Each root is best kept by another person, on a machine that is offline. The printed public key goes into
`lapwing federation new --root`.")]
pub(crate) struct NewRoot {
    /// The new key file; never overwritten.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Ask for a passphrase on the terminal (LAPWING_PASSPHRASE_FILE names a file with one instead).
    #[arg(long)]
    passphrase: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl NewRoot {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let passphrase = Passphrase::for_new_key(self.passphrase)?;
        let public = keyfile::make(&self.out, &Owner::Root, passphrase.as_ref())?;
        let public = to_hex(public.as_bytes());
        if self.json {
            println!(
                "{}",
                json!({ "public_key": public, "file": self.out, "passphrase": passphrase.is_some() })
            );
        } else {
            println!("{public}");
        }
        Ok(())
    }
}

/// Found a federation: name its roots, and how many of them must sign a roster.
#[derive(Args)]
#[command(after_help = "\
Example:
  lapwing federation new --name \"Appointments North\" --root 3f0c… --root 91ab… --root c27d… \\
      --threshold 2 --out federation.toml

The file is what every node and every app pins: publish it. Name, roots and threshold make the
federation's id; with others it is another federation.")]
pub(crate) struct NewFederation {
    /// A readable name, part of the id.
    #[arg(long)]
    name: String,
    /// The public key of a root, in hex; may be repeated.
    #[arg(long = "root", value_name = "HEX", required = true, num_args = 1..)]
    roots: Vec<String>,
    /// How many of the roots must sign a roster.
    #[arg(long, value_name = "NUMBER")]
    threshold: u8,
    /// The new federation file; never overwritten.
    #[arg(long, value_name = "FILE", default_value = "federation.toml")]
    out: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl NewFederation {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let keys = self.roots.iter().map(|hex| entry::key("--root", hex));
        let mut roots = keys.collect::<anyhow::Result<Vec<_>>>()?;
        roots.sort_unstable();
        if roots.windows(2).any(|w| w[0] == w[1]) {
            bail!("`--root` names one key twice: name each root once");
        }
        let found = roots.len();
        if self.threshold == 0 || usize::from(self.threshold) > found {
            bail!(
                "`--threshold` is {}: choose 1 to the number of roots ({found})",
                self.threshold
            );
        }
        let federation = Federation {
            name: entry::name("--name", &self.name)?,
            roots: List::try_from(roots)
                .map_err(|e| anyhow!("`--root` names {found} keys: {e}"))?,
            threshold: self.threshold,
        };
        let id = federation.id();
        // What nodes and apps will ask of it.
        let text = render(&federation);
        TrustView::new(federation).map_err(|p| anyhow!("it cannot be used: {}", p.message()))?;
        write_new(&self.out, Readers::All, text.as_bytes())?;
        if self.json {
            println!("{}", json!({ "federation": id.to_hex(), "file": self.out }));
        } else {
            println!("{id}");
        }
        Ok(())
    }
}

fn render(federation: &Federation) -> String {
    let roots = federation
        .roots
        .iter()
        .map(|r| format!("    \"{}\",\n", to_hex(r.as_bytes())))
        .collect::<String>();
    format!(
        "# A federation, as every node and every app pins it. Its id is a hash of name, roots and threshold:\n\
         # change one, and it is another federation. This one:\n\
         # {id}\n\n\
         name = {name}\n\n\
         # How many of the roots must sign a roster.\n\
         threshold = {threshold}\n\n\
         # The public root keys, in hex. Their secrets stay offline.\n\
         roots = [\n{roots}]\n\n\
         # The roster to start with, as signed; a newer one comes from other nodes.\n\
         # roster = \"roster.cbor\"\n",
        id = federation.id(),
        name = entry::quoted(federation.name.as_str()),
        threshold = federation.threshold,
    )
}

/// Make an operator's key; print its entry for the roster.
#[derive(Args)]
#[command(after_help = "\
Examples:
  lapwing init --dir /var/lib/lapwing --federation federation.toml --json > node.json
  lapwing federation operator new --name \"Clinic North\" --out operator.key --node node.json > entry.toml

Send entry.toml to those who sign the federation's roster. All of it is public; operator.key is not.")]
pub(crate) struct NewOperator {
    /// A readable name.
    #[arg(long)]
    name: String,
    /// The new key file; never overwritten.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// What `lapwing init --json` printed for a node of this operator; may be repeated.
    #[arg(long = "node", value_name = "FILE")]
    nodes: Vec<PathBuf>,
    /// Ask for a passphrase on the terminal (LAPWING_PASSPHRASE_FILE names a file with one instead).
    #[arg(long)]
    passphrase: bool,
    /// Print one JSON object instead of the entry.
    #[arg(long)]
    json: bool,
}

impl NewOperator {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let name = entry::name("--name", &self.name)?;
        let nodes = read_nodes(&self.nodes)?;
        let passphrase = Passphrase::for_new_key(self.passphrase)?;
        let id = OperatorId::from_bytes(keyfile::random()?);
        let owner = Owner::Operator {
            id,
            name: name.clone(),
        };
        let key = keyfile::make(&self.out, &owner, passphrase.as_ref())?;
        let operator = Operator {
            id,
            name,
            key,
            nodes: entry::list_of_nodes(nodes)?,
        };
        print(&operator, self.json);
        Ok(())
    }
}

/// Print an operator's entry again, from its key file and its nodes.
#[derive(Args)]
#[command(after_help = "\
Example:
  lapwing federation operator entry --key operator.key --node node.json --node second.json > entry.toml

Needs no passphrase: the entry is public.")]
pub(crate) struct Entry {
    /// The operator's key file.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// What `lapwing init --json` printed for a node of this operator; may be repeated.
    #[arg(long = "node", value_name = "FILE")]
    nodes: Vec<PathBuf>,
    /// Print one JSON object instead of the entry.
    #[arg(long)]
    json: bool,
}

impl Entry {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let file = KeyFile::read(&self.key)?;
        let (id, name) = file.operator()?;
        let operator = Operator {
            id: *id,
            name: name.clone(),
            key: *file.public(),
            nodes: entry::list_of_nodes(read_nodes(&self.nodes)?)?,
        };
        print(&operator, self.json);
        Ok(())
    }
}

fn read_nodes(files: &[PathBuf]) -> anyhow::Result<Vec<lapwing_protocol::federation::NodeEntry>> {
    let nodes = files.iter().map(|f| entry::read_node(f));
    let nodes = nodes.collect::<anyhow::Result<Vec<_>>>()?;
    // Before a key is made: too many would be found only after.
    entry::list_of_nodes::<{ lapwing_protocol::federation::MAX_NODES_PER_OPERATOR }>(nodes)
        .map(List::into_vec)
}

fn print(operator: &Operator, as_json: bool) {
    if as_json {
        println!("{}", super::roster::operator_json(operator));
    } else {
        print!("{}", entry::render(operator));
    }
}
