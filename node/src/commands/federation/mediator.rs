//! Mediators: operators of the federation admit them, for areas of postal codes.

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use clap::{ArgGroup, Args};
use lapwing_protocol::bounded::{List, Text};
use lapwing_protocol::cose::{MultiSigned, parse_multi};
use lapwing_protocol::federation::{MediatorRegistration, Roster};
use lapwing_protocol::id::MediatorId;
use serde_json::json;

use super::keyfile::KeyFile;
use super::{cosign, date, entry, files};
use crate::commands::role::words;
use crate::config;
use crate::shell::now;

/// Sign a mediator's registration.
#[derive(Args)]
#[command(group(ArgGroup::new("where").required(true).args(["areas", "all_areas", "withdraw"])))]
#[command(after_help = "\
Examples:
  lapwing federation mediator register --mediator 5ac1… --name \"Chamber North\" --area 10 --area 12 \\
      --days 365 --key operator.key --into registration.cbor
  lapwing federation mediator register --mediator 5ac1… --name \"Chamber North\" --all-areas --days 365 \\
      --from registration.cbor --key operator.key --into registration-2.cbor
  lapwing federation mediator register --mediator 5ac1… --name \"Chamber North\" --withdraw --days 365 \\
      --from registration-2.cbor --key operator.key --into registration-3.cbor

Where there is a registration already, always give it with --from: two with one number are equivocation.
Where the federation wants several operators, each runs the same command on the same file: the first
one's dates and sequence stay, the others add their signature. Then `lapwing publish` it.")]
pub(crate) struct Register {
    /// The federation file.
    #[arg(long, value_name = "FILE", default_value = "federation.toml")]
    federation: PathBuf,
    /// The mediator: the public half of its root key, in hex.
    #[arg(long, value_name = "HEX")]
    mediator: String,
    /// A readable name.
    #[arg(long)]
    name: String,
    /// The beginning of the postal codes that it may serve; may be repeated.
    #[arg(long = "area", value_name = "PREFIX", num_args = 1..)]
    areas: Vec<String>,
    /// It may serve all postal codes.
    #[arg(long)]
    all_areas: bool,
    /// It may serve none any more: what it published is forgotten.
    #[arg(long, requires = "from")]
    withdraw: bool,
    /// For how many days it is registered.
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=i64::from(date::MAX_DAYS)))]
    days: u32,
    /// The mediator's registration before, as signed: the new one's sequence is one higher.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// The roster to check the operator against; by default the one that the federation file names.
    #[arg(long, value_name = "FILE")]
    roster: Option<PathBuf>,
    /// The operator's key file.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The registration: made, or given one more signature.
    #[arg(long, value_name = "FILE", default_value = "registration.cbor")]
    into: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Register {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let new = self.registration()?;
        let needed = self.needed()?;
        let before = cosign::read_if_there::<MediatorRegistration>(&self.into)?;
        let registration = match &before {
            None => new,
            Some(before) => self
                .agreed(before, new)
                .with_context(|| self.into.display().to_string())?,
        };
        let key = KeyFile::read(&self.key)?;
        key.operator()?;
        let signed = cosign::sign(&registration, before.as_ref(), &key.unlock()?)?;
        files::replace(&self.into, &signed.bytes)?;
        let found = signed.signers.len();
        if self.json {
            println!(
                "{}",
                json!({
                    "mediator": registration.mediator.to_hex(), "sequence": registration.sequence,
                    "issued": registration.issued.get(), "expires": registration.expires.get(),
                    "signatures": found, "needed": needed, "complete": needed.map(|n| found >= n),
                    "signers": signed.signers(), "file": self.into,
                })
            );
            return Ok(());
        }
        let has = match needed {
            Some(n) => format!("{found} of {}", words::count(n, "signature")),
            None => words::count(found, "signature"),
        };
        println!(
            "{}: registration {} of {:?}, until {}, has {has}{}",
            self.into.display(),
            registration.sequence,
            registration.name.as_str(),
            date::text(registration.expires),
            if signed.again {
                "; this operator had signed before"
            } else {
                ""
            }
        );
        println!(
            "{}",
            if needed.is_some_and(|n| found < n) {
                "Next: another operator runs the same on this file."
            } else {
                "Next: `lapwing publish` it, or send it to the mediator: `lapwing mediator register` publishes it."
            }
        );
        Ok(())
    }

    /// What the arguments say, as of now.
    fn registration(&self) -> anyhow::Result<MediatorRegistration> {
        let (federation, _) = config::load_pinned(&self.federation)?;
        let mediator =
            MediatorId::from_bytes(*entry::key("--mediator", &self.mediator)?.as_bytes());
        let sequence = match &self.from {
            None => 1,
            Some(file) => {
                let before = cosign::read::<MediatorRegistration>(file)?;
                let before = before.unverified();
                if before.mediator != mediator || before.federation != federation.id() {
                    bail!(
                        "{}: registers another mediator, or in another federation: give this one's",
                        file.display()
                    );
                }
                before
                    .sequence
                    .checked_add(1)
                    .ok_or_else(|| anyhow!("{}: has the last sequence there is", file.display()))?
            }
        };
        let issued = now().time();
        Ok(MediatorRegistration {
            federation: federation.id(),
            mediator,
            sequence,
            name: entry::name("--name", &self.name)?,
            areas: self.area_list()?,
            issued,
            expires: date::after_days(issued, self.days),
        })
    }

    fn area_list(&self) -> anyhow::Result<List<Text<16>, 1024>> {
        let mut areas = Vec::new();
        if self.all_areas {
            areas.push(Text::try_from("").map_err(|e| anyhow!("`--all-areas`: {e}"))?);
        }
        for area in &self.areas {
            let plain = area.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
            if area.is_empty() || !plain {
                bail!("`--area` is {area:?}: write the beginning of a postal code, such as 10");
            }
            areas.push(
                Text::try_from(area.as_str()).map_err(|e| anyhow!("`--area` is {area:?}: {e}"))?,
            );
        }
        // The same areas in another order are the same bytes, for every operator.
        areas.sort();
        areas.dedup();
        let found = areas.len();
        List::try_from(areas).map_err(|e| anyhow!("`--area` names {found}: {e}"))
    }

    /// How many operators must sign, where a roster is at hand; the key must be an operator's of it.
    fn needed(&self) -> anyhow::Result<Option<usize>> {
        let federation = config::load_pinned(&self.federation)?;
        let file = match (&self.roster, federation.1) {
            (Some(file), _) => file.clone(),
            (None, Some(file)) => file,
            (None, None) => return Ok(None),
        };
        let signed = cosign::read::<Roster>(&file)?;
        let roots = &federation.0.roots;
        let roster = parse_multi::<Roster>(signed.bytes())
            .and_then(|r| r.verify(roots, usize::from(federation.0.threshold)))
            .map_err(|e| {
                anyhow!(
                    "{}: {e}: give a roster with all its signatures",
                    file.display()
                )
            })?;
        let key = KeyFile::read(&self.key)?;
        if !roster.operators.iter().any(|o| o.key == *key.public()) {
            bail!(
                "{}: is no operator's key of roster {} in {}: sign with one that is, or give a newer `--roster`",
                self.key.display(),
                roster.sequence,
                file.display()
            );
        }
        Ok(Some(usize::from(roster.params.mediator_signatures)))
    }

    /// The registration that another operator has signed, if it says what the arguments say.
    fn agreed(
        &self,
        before: &MultiSigned<MediatorRegistration>,
        new: MediatorRegistration,
    ) -> anyhow::Result<MediatorRegistration> {
        let held = before.unverified();
        let sequence = if self.from.is_some() {
            new.sequence
        } else {
            held.sequence
        };
        let expected = MediatorRegistration {
            issued: held.issued,
            expires: date::after_days(held.issued, self.days),
            sequence,
            ..new
        };
        let differs = |what| {
            anyhow!(
                "holds a registration with another {what}: agree with those who signed it, or choose another file"
            )
        };
        if held.federation != expected.federation {
            return Err(differs("federation"));
        }
        if held.mediator != expected.mediator {
            return Err(differs("mediator"));
        }
        if held.name != expected.name {
            return Err(differs("name"));
        }
        if held.areas != expected.areas {
            return Err(differs("list of areas"));
        }
        if held.expires != expected.expires {
            return Err(differs("number of days"));
        }
        if held.sequence != expected.sequence {
            return Err(differs("sequence"));
        }
        Ok(expected)
    }
}
