//! The regions: taken from a file, listed, removed, given new keys.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use lapwing_protocol::bounded::Text;
use lapwing_protocol::id::RegionId;
use lapwing_protocol::role::Mediator;
use lapwing_protocol::role::mediator::{PublishError, RegionPlan, RegionView};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::keys::refused;
use crate::commands::federation::files;
use crate::commands::role::words::{exact, short};
use crate::commands::role::{Failure, Hand, words};

/// Most bytes of a region file: all postal codes of a large country fit.
const MAX_FILE: u64 = 4 << 20;

/// A command to the regions.
#[derive(Subcommand)]
pub(super) enum RegionsCommand {
    /// Take regions from a file; those that are there already are changed, not doubled.
    Import(Import),
    /// List the regions.
    List,
    /// Take regions out of the list.
    Remove(Which),
    /// Give regions new keys now, and send them to their providers.
    Renew(Which),
}

/// Which file, and what of it.
#[derive(Args)]
#[command(after_help = "\
Examples:
  lapwing mediator regions import configs/regions/regions-de.toml --area 101 --area 104
  lapwing mediator regions import regions.toml --criterion vaccine=mRNA --criterion age=60+

The file has a [[region]] with name, postal_codes and, if wanted, criteria each:
  [[region]]
  name = \"101 Berlin\"
  postal_codes = [\"10115\", \"10117\"]
  criteria = { vaccine = \"mRNA\" }

Several regions may share an area and differ in their criteria: import twice with other --criterion.")]
pub(super) struct Import {
    /// The region file, TOML.
    file: PathBuf,
    /// Only regions whose postal codes all begin so; may be repeated.
    #[arg(long = "area", value_name = "PREFIX")]
    areas: Vec<String>,
    /// What else narrows every region, in the place of the file's; may be repeated.
    #[arg(long = "criterion", value_name = "KEY=VALUE")]
    criteria: Vec<String>,
}

/// Which regions.
#[derive(Args)]
pub(super) struct Which {
    /// Their names, or the beginnings of their ids.
    #[arg(required = true)]
    regions: Vec<String>,
}

/// A command to the regions, with what it needs of files.
#[derive(Serialize, Deserialize)]
pub(crate) enum Regions {
    /// Take these.
    Import(Vec<Row>),
    /// List all.
    List,
    /// Take these out.
    Remove(Vec<String>),
    /// Give these new keys.
    Renew(Vec<String>),
}

/// One region of a file.
#[derive(Serialize, Deserialize)]
pub(crate) struct Row {
    name: String,
    criteria: Vec<(String, String)>,
    postal_codes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    region: Vec<RawRegion>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRegion {
    name: String,
    /// What the codes have in common, for those who read the file.
    #[serde(default, rename = "area")]
    _area: String,
    #[serde(default)]
    criteria: std::collections::BTreeMap<String, String>,
    postal_codes: Vec<String>,
}

impl RegionsCommand {
    /// The command, with the file read.
    pub(super) fn order(self) -> Result<Regions, Failure> {
        Ok(match self {
            RegionsCommand::Import(import) => Regions::Import(import.rows()?),
            RegionsCommand::List => Regions::List,
            RegionsCommand::Remove(which) => Regions::Remove(which.regions),
            RegionsCommand::Renew(which) => Regions::Renew(which.regions),
        })
    }
}

impl Import {
    fn rows(&self) -> Result<Vec<Row>, Failure> {
        let shown = self.file.display();
        let bytes = files::read(&self.file, MAX_FILE)?;
        let text = std::str::from_utf8(&bytes).with_context(|| format!("{shown}: is no text"))?;
        let raw: RawFile = toml::from_str(text).map_err(|e| {
            let line = e
                .span()
                .and_then(|s| text.get(..s.start))
                .map_or(0, |before| before.lines().count().max(1));
            anyhow!("{shown}: line {line}: {}", e.message())
        })?;
        let mut given = Vec::new();
        for criterion in &self.criteria {
            let (key, value) = words::pair("--criterion", criterion)?;
            given.push((key.to_owned(), value.to_owned()));
        }
        given.sort();
        let inside = |codes: &[String]| {
            self.areas.is_empty()
                || codes
                    .iter()
                    .all(|c| self.areas.iter().any(|a| c.starts_with(a.as_str())))
        };
        let rows: Vec<Row> = raw
            .region
            .into_iter()
            .filter(|r| inside(&r.postal_codes))
            .map(|r| Row {
                name: r.name,
                criteria: if given.is_empty() {
                    r.criteria.into_iter().collect()
                } else {
                    given.clone()
                },
                postal_codes: r.postal_codes,
            })
            .collect();
        if rows.is_empty() {
            return Err(anyhow!("{shown}: has no region in these areas: check --area").into());
        }
        Ok(rows)
    }
}

impl Row {
    fn plan(&self) -> Result<RegionPlan, Failure> {
        let criterion = |(key, value): &(String, String)| -> Result<(Text<40>, Text<80>), Failure> {
            Ok((
                words::text("a criterion", key)?,
                words::text("a criterion", value)?,
            ))
        };
        let mut codes: Vec<Text<10>> = self
            .postal_codes
            .iter()
            .map(|c| words::text("a postal code", c))
            .collect::<Result<_, _>>()?;
        codes.sort();
        codes.dedup();
        Ok(RegionPlan {
            name: words::text("a region's name", &self.name)?,
            criteria: self
                .criteria
                .iter()
                .map(criterion)
                .collect::<Result<_, _>>()?,
            postal_codes: codes,
        })
    }
}

impl Regions {
    /// Whether it needs nodes.
    pub(super) fn online(&self) -> bool {
        !matches!(self, Regions::List)
    }

    pub(super) async fn perform(self, hand: &Hand<Mediator>) -> Result<(), Failure> {
        match self {
            Regions::Import(rows) => import(hand, &rows).await,
            Regions::List => list(hand).await,
            Regions::Remove(which) => remove(hand, which).await,
            Regions::Renew(which) => renew(hand, which).await,
        }
    }
}

fn views(mediator: &Mediator) -> Vec<RegionView> {
    let ids: Vec<RegionId> = mediator.regions().map(|(id, _)| id).collect();
    ids.iter().filter_map(|id| mediator.region(id)).collect()
}

/// Adds what is new, and changes what is there under the same name with the same criteria.
async fn import(hand: &Hand<Mediator>, rows: &[Row]) -> Result<(), Failure> {
    let mut plans: Vec<RegionPlan> = Vec::new();
    for row in rows {
        plans.push(row.plan()?);
    }
    hand.fed().await?;
    let (added, changed) = hand
        .with(move |mediator, now, rng| {
            let held = views(mediator);
            let (mut new, mut changed) = (Vec::new(), 0u32);
            let mut changes = Vec::new();
            for plan in plans {
                match held
                    .iter()
                    .find(|v| v.plan.name == plan.name && same(&v.plan.criteria, &plan.criteria))
                {
                    None => new.push(plan),
                    Some(v) if v.plan.postal_codes == plan.postal_codes => {}
                    Some(v) => changes.push((v.id, plan)),
                }
            }
            // What is new first: where it is refused, nothing has changed.
            if !new.is_empty() {
                mediator.add_regions(&new, now, rng)?;
            }
            for (id, plan) in changes {
                mediator.change_region(&id, &plan.criteria, &plan.postal_codes, now)?;
                changed += 1;
            }
            Ok::<_, PublishError>((new.len(), changed))
        })
        .await?
        .map_err(refused)?;
    hand.say(
        "regions_imported",
        format!(
            "{} added, {changed} changed. Next: `lapwing mediator publish`.",
            words::count(added, "region")
        ),
        json!({ "added": added, "changed": changed }),
    );
    Ok(())
}

fn same(a: &[(Text<40>, Text<80>)], b: &[(Text<40>, Text<80>)]) -> bool {
    let set = |criteria: &[(Text<40>, Text<80>)]| -> BTreeSet<(String, String)> {
        criteria
            .iter()
            .map(|(k, v)| (k.as_str().to_owned(), v.as_str().to_owned()))
            .collect()
    };
    set(a) == set(b)
}

async fn list(hand: &Hand<Mediator>) -> Result<(), Failure> {
    let mut regions = hand.with(|mediator, _, _| views(mediator)).await?;
    regions.sort_by(|a, b| (&a.plan.name, a.id).cmp(&(&b.plan.name, b.id)));
    let lines: Vec<String> = regions
        .iter()
        .map(|r| {
            let criteria: Vec<String> = r
                .plan
                .criteria
                .iter()
                .map(|(k, v)| format!("{}={}", k.as_str(), v.as_str()))
                .collect();
            format!(
                "{}  {}{}  {} postal codes, key version {}",
                short(&r.id.to_hex()),
                r.plan.name.as_str(),
                match criteria.join(", ") {
                    none if none.is_empty() => String::new(),
                    some => format!("  [{some}]"),
                },
                r.plan.postal_codes.len(),
                r.version
            )
        })
        .collect();
    let data: Vec<_> = regions
        .iter()
        .map(|r| {
            let codes: Vec<&str> = r.plan.postal_codes.iter().map(Text::as_str).collect();
            let criteria: std::collections::BTreeMap<&str, &str> = r
                .plan
                .criteria
                .iter()
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .collect();
            json!({
                "region": r.id.to_hex(), "name": r.plan.name.as_str(), "criteria": criteria,
                "postal_codes": codes, "key_version": r.version, "renewed": exact(r.renewed),
            })
        })
        .collect();
    let text = if lines.is_empty() {
        "No regions. Next: `lapwing mediator regions import FILE`.".to_owned()
    } else {
        lines.join("\n")
    };
    hand.say("regions", text, json!({ "regions": data }));
    Ok(())
}

/// The ids of these regions.
pub(super) fn pick(mediator: &Mediator, given: &[String]) -> Result<Vec<RegionId>, Failure> {
    let mut ids = Vec::new();
    for one in given {
        let all = mediator
            .regions()
            .map(|(id, name)| (id.to_hex(), Some(name.as_str().to_owned()), id));
        ids.push(words::pick(
            "region",
            one,
            "lapwing mediator regions list",
            all,
        )?);
    }
    ids.sort();
    ids.dedup();
    Ok(ids)
}

async fn remove(hand: &Hand<Mediator>, which: Vec<String>) -> Result<(), Failure> {
    hand.fed().await?;
    let count = hand
        .with(move |mediator, now, rng| {
            let ids = pick(mediator, &which)?;
            mediator.remove_regions(&ids, now, rng).map_err(refused)?;
            Ok::<_, Failure>(ids.len())
        })
        .await??;
    hand.settled().await?;
    hand.say(
        "regions_removed",
        format!(
            "{} removed; requests that wait there go unanswered.",
            words::count(count, "region")
        ),
        json!({ "removed": count }),
    );
    Ok(())
}

async fn renew(hand: &Hand<Mediator>, which: Vec<String>) -> Result<(), Failure> {
    hand.fed().await?;
    let count = hand
        .with(move |mediator, now, rng| {
            let ids = pick(mediator, &which)?;
            mediator.rotate(&ids, now, rng).map_err(refused)?;
            Ok::<_, Failure>(ids.len())
        })
        .await??;
    hand.settled().await?;
    hand.say(
        "regions_renewed",
        format!(
            "New keys for {}; the providers get them.",
            words::count(count, "region")
        ),
        json!({ "renewed": count }),
    );
    Ok(())
}
