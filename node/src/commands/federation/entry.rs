//! An operator's entry: what it hands to the federation, and how it stands in a draft.

use std::path::Path;

use anyhow::{Context, anyhow, bail};
use lapwing_protocol::bounded::{List, Text};
use lapwing_protocol::federation::{NodeEntry, Operator};
use lapwing_protocol::id::{NodeId, from_hex, to_hex};
use lapwing_protocol::key::VerifyingKey;
use serde::Deserialize;

use super::files;
use crate::config;

/// Most bytes of what `lapwing init --json` prints.
const MAX_NODE: u64 = 64 * 1024;

/// An operator as it stands in an entry or a draft.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOperator {
    id: String,
    name: String,
    key: String,
    #[serde(default)]
    nodes: Vec<RawNode>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNode {
    id: String,
    signing_key: String,
}

/// Of what `lapwing init --json` prints, what a roster needs.
#[derive(Deserialize)]
struct MadeNode {
    node_id: String,
    signing_key: String,
}

/// A public key in hex, checked as keys that are registered must be.
///
/// # Errors
/// One line that names the field.
pub(super) fn key(field: &str, hex: &str) -> anyhow::Result<VerifyingKey> {
    let bytes = from_hex(hex).map_err(|e| anyhow!("`{field}` is {hex:?}: {e}"))?;
    VerifyingKey::from_bytes(&bytes).map_err(|e| anyhow!("`{field}` is {hex:?}: {e}"))
}

/// A name of at most 80 bytes on one line.
///
/// # Errors
/// One line that names the field.
pub(super) fn name(field: &str, text: &str) -> anyhow::Result<Text<80>> {
    if text.trim().is_empty() || text.contains(['\n', '\t']) {
        bail!("`{field}` is {text:?}: write a name on one line");
    }
    Text::try_from(text).map_err(|e| anyhow!("`{field}` cannot be used: {e}"))
}

fn node(id: &str, signing: &str) -> anyhow::Result<NodeEntry> {
    Ok(NodeEntry {
        id: NodeId::from(&key("nodes.id", id)?),
        signing: key("nodes.signing_key", signing)?,
    })
}

impl RawOperator {
    /// The operator, if every part of it can be used.
    ///
    /// # Errors
    /// One line that names the field.
    pub(super) fn operator(&self) -> anyhow::Result<Operator> {
        let nodes = self.nodes.iter().map(|n| node(&n.id, &n.signing_key));
        Ok(Operator {
            id: self
                .id
                .parse()
                .map_err(|e| anyhow!("`id` is {:?}: {e}", self.id))?,
            name: name("name", &self.name)?,
            key: key("key", &self.key)?,
            nodes: list_of_nodes(nodes.collect::<anyhow::Result<_>>()?)?,
        })
    }
}

/// The nodes of one operator, if they are not too many.
///
/// # Errors
/// One line that says how many there may be.
pub(super) fn list_of_nodes<const MAX: usize>(
    nodes: Vec<NodeEntry>,
) -> anyhow::Result<List<NodeEntry, MAX>> {
    let found = nodes.len();
    List::try_from(nodes).map_err(|_| anyhow!("`nodes` has {found}: an operator has at most {MAX}"))
}

/// Reads an entry.
///
/// # Errors
/// One line: the file, the field, what to do.
pub(super) fn read(path: &Path) -> anyhow::Result<Operator> {
    let raw: RawOperator = config::parse(path, &config::read(path)?)?;
    raw.operator().with_context(|| path.display().to_string())
}

/// Reads what `lapwing init --json` printed.
///
/// # Errors
/// One line: the file and what to do.
pub(super) fn read_node(path: &Path) -> anyhow::Result<NodeEntry> {
    let bytes = files::read(path, MAX_NODE)?;
    let made: MadeNode = serde_json::from_slice(&bytes).map_err(|_| {
        anyhow!(
            "{}: is not what `lapwing init --json` prints: give a file with that",
            path.display()
        )
    })?;
    node(&made.node_id, &made.signing_key).with_context(|| path.display().to_string())
}

/// Text as TOML writes it.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn fields(operator: &Operator) -> String {
    format!(
        "id = \"{}\"\nname = {}\nkey = \"{}\"\n",
        operator.id,
        quoted(operator.name.as_str()),
        to_hex(operator.key.as_bytes())
    )
}

fn nodes(operator: &Operator, table: &str) -> String {
    let one = |n: &NodeEntry| {
        format!(
            "\n[[{table}]]\nid = \"{}\"\nsigning_key = \"{}\"\n",
            n.id,
            to_hex(n.signing.as_bytes())
        )
    };
    operator.nodes.iter().map(one).collect()
}

/// The entry that an operator sends.
pub(super) fn render(operator: &Operator) -> String {
    let mut out = String::from(
        "# An operator's entry for a federation's roster. All of it is public.\n\
         # `id` stays when the key changes; `key` signs the registrations of mediators.\n",
    );
    out.push_str(&fields(operator));
    if operator.nodes.is_empty() {
        out.push_str(
            "\n# One of these for each node, from `lapwing init --json`:\n\
             # [[nodes]]\n# id = \"node_id\"\n# signing_key = \"signing_key\"\n",
        );
    }
    out + &nodes(operator, "nodes")
}

/// The entry as it stands in a draft.
pub(super) fn render_in_draft(operator: &Operator) -> String {
    format!(
        "\n[[operators]]\n{}{}",
        fields(operator),
        nodes(operator, "operators.nodes")
    )
}

#[cfg(test)]
mod tests {
    use lapwing_protocol::id::OperatorId;
    use lapwing_protocol::key::SigningKey;

    use super::*;

    #[test]
    fn entries_read_back() {
        let public = |seed| SigningKey::from_seed(&[seed; 32]).verifying_key();
        let made = |n: u8| NodeEntry {
            id: NodeId::from(&public(n)),
            signing: public(n + 1),
        };
        for count in [0, 1, 2] {
            let operator = Operator {
                id: OperatorId::from_bytes([7; 32]),
                name: Text::try_from("Klinik \"Nord\" \\ [x]").unwrap(),
                key: public(1),
                nodes: list_of_nodes((0..count).map(|n| made(10 + 2 * n)).collect()).unwrap(),
            };
            let raw: RawOperator = toml::from_str(&render(&operator)).unwrap();
            assert_eq!(raw.operator().unwrap(), operator);
        }
    }

    #[test]
    fn names_stay_on_one_line() {
        for wrong in ["", "  ", "two\nlines", "a\u{7}bell"] {
            assert!(name("name", wrong).is_err(), "{wrong:?}");
        }
        assert!(name("name", &"x".repeat(81)).is_err());
    }
}
