//! A draft: a roster as people read and edit it. What the roots sign follows from it alone, so that
//! all of them sign the same bytes.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use lapwing_protocol::bounded::List;
use lapwing_protocol::federation::{Federation, Operator, Roster};
use lapwing_protocol::id::to_hex;
use lapwing_protocol::time::Time;
use serde::Deserialize;
use toml::value::Datetime;

use super::entry::{RawOperator, quoted, render_in_draft};
use super::params::RawParams;
use super::{date, params};
use crate::config;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDraft {
    federation: String,
    sequence: u64,
    issued: Datetime,
    expires: Datetime,
    params: RawParams,
    #[serde(default)]
    operators: Vec<RawOperator>,
}

/// The text of a draft.
pub(super) fn render(roster: &Roster, federation: &Federation) -> String {
    let mut out = format!(
        "# A draft of a roster of the federation {name}.\n\
         # Its roots sign it with `lapwing federation roster sign`. They sign what stands here, comments\n\
         # apart: send all of them this file, and change nothing once one has signed.\n\n\
         # The federation's id.\n\
         federation = \"{id}\"\n\
         # One more than the roster before. Never sign two rosters with one number.\n\
         sequence = {sequence}\n\
         issued = {issued}\n\
         # Nodes follow it until then. Sign the next one well before.\n\
         expires = {expires}\n\n\
         # The numbers that every node uses alike.\n\
         {params}",
        name = quoted(federation.name.as_str()).replace('\n', " "),
        id = roster.federation,
        sequence = roster.sequence,
        issued = date::text(roster.issued),
        expires = date::text(roster.expires),
        params = params::render(&roster.params),
    );
    for operator in &roster.operators {
        out.push_str(&render_in_draft(operator));
    }
    out
}

/// Reads a draft of a federation.
///
/// # Errors
/// One line: the file, the field, what to do.
pub(super) fn read(path: &Path, federation: &Federation) -> anyhow::Result<Roster> {
    parse(path, &config::read(path)?, Some(federation))
}

/// The roster of a draft's text; of any federation where none is given.
///
/// # Errors
/// As [`read`].
pub(super) fn parse(
    path: &Path,
    text: &str,
    federation: Option<&Federation>,
) -> anyhow::Result<Roster> {
    let raw: RawDraft = config::parse(path, text)?;
    raw.roster(federation)
        .with_context(|| path.display().to_string())
}

impl RawDraft {
    fn roster(&self, federation: Option<&Federation>) -> anyhow::Result<Roster> {
        let time = |field: &str, date: &Datetime| -> anyhow::Result<Time> {
            date::time_of(date).map_err(|e| anyhow!("`{field}` {e}"))
        };
        let operators = self.operators.iter().map(|o| {
            o.operator()
                .with_context(|| "an entry of `operators`".to_owned())
        });
        let roster = Roster {
            federation: self
                .federation
                .parse()
                .map_err(|e| anyhow!("`federation` is {:?}: {e}", self.federation))?,
            sequence: self.sequence,
            issued: time("issued", &self.issued)?,
            expires: time("expires", &self.expires)?,
            params: params::check(&self.params)?,
            operators: list_of_operators(operators.collect::<anyhow::Result<_>>()?)?,
        };
        if let Some(federation) = federation
            && roster.federation != federation.id()
        {
            bail!(
                "`federation` is another one than {:?}: give that one's federation file",
                federation.name.as_str()
            );
        }
        check(&roster)?;
        Ok(roster)
    }
}

/// The operators of a roster, if they are not too many.
///
/// # Errors
/// One line that says how many there may be.
pub(super) fn list_of_operators<const MAX: usize>(
    operators: Vec<Operator>,
) -> anyhow::Result<List<Operator, MAX>> {
    let found = operators.len();
    List::try_from(operators)
        .map_err(|_| anyhow!("`operators` has {found}: a roster has at most {MAX}"))
}

/// What `docs/spec/trust.md` wants of a roster, said so that its author can put it right.
///
/// # Errors
/// One line that names the field.
pub(super) fn check(roster: &Roster) -> anyhow::Result<()> {
    if roster.sequence == 0 {
        bail!("`sequence` is 0: the first roster has 1");
    }
    if roster.issued >= roster.expires {
        bail!("`expires` is not after `issued`: correct it");
    }
    // One map for all keys: one with two uses would let a signature made for one serve the other.
    let mut seen: BTreeMap<[u8; 32], String> = BTreeMap::new();
    let mut distinct = |bytes: &[u8; 32], what: String| match seen.insert(*bytes, what) {
        Some(before) => Err(anyhow!(
            "the key {} stands twice, the first time as {before}: every key has one use",
            to_hex(bytes)
        )),
        None => Ok(()),
    };
    let mut ids = BTreeMap::new();
    for operator in &roster.operators {
        let name = operator.name.as_str();
        if let Some(before) = ids.insert(operator.id, name) {
            bail!("the operators {before:?} and {name:?} have one id: remove one of them");
        }
        distinct(operator.key.as_bytes(), format!("the key of {name:?}"))?;
        for node in &operator.nodes {
            distinct(node.id.as_bytes(), format!("a node of {name:?}"))?;
            let what = format!("the signing key of a node of {name:?}");
            distinct(node.signing.as_bytes(), what)?;
        }
    }
    Ok(())
}
