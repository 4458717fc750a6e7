//! The registration: what operators are asked to sign for a mediator, and what they signed.

use std::path::PathBuf;

use clap::Args;
use lapwing_protocol::id::MediatorId;
use lapwing_protocol::role::{Mediator, Role};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Order;
use super::keys::{bytes, read_hex, refused};
use crate::commands::federation::date::MAX_DAYS;
use crate::commands::role::words::{self, exact, shown};
use crate::commands::role::{Common, Failure, Hand, play};

/// What the operators signed, if they did; else what they are asked for.
#[derive(Args)]
#[command(after_help = "\
Examples:
  lapwing mediator register --area 10 --area 12     (prints what an operator runs)
  lapwing mediator register registration.cbor       (takes what they signed, and publishes it)")]
pub(super) struct Register {
    /// The registration that the operators signed.
    #[arg(conflicts_with = "wanted")]
    file: Option<PathBuf>,
    #[command(flatten)]
    wanted: Wanted,
}

/// What the operators are asked to register.
#[derive(Args, Serialize, Deserialize)]
#[group(id = "wanted", multiple = true)]
pub(crate) struct Wanted {
    /// A readable name [default: the one it was made with].
    #[arg(long)]
    name: Option<String>,
    /// The beginning of the postal codes that it wants to serve; may be repeated.
    #[arg(long = "area", value_name = "PREFIX", num_args = 1.., conflicts_with = "all_areas")]
    areas: Vec<String>,
    /// It wants to serve all postal codes.
    #[arg(long)]
    all_areas: bool,
    /// For how many days [default: 365].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_DAYS)))]
    days: Option<u32>,
}

impl Wanted {
    /// That its texts fit a registration.
    fn check(&self) -> Result<(), Failure> {
        if let Some(name) = &self.name {
            words::text::<80>("--name", name)?;
        }
        for area in &self.areas {
            words::text::<16>("--area", area)?;
        }
        Ok(())
    }

    /// The command of an operator; `again` where there is a registration already.
    fn command(&self, id: &MediatorId, own_name: &str, again: bool) -> String {
        let name = quoted(self.name.as_deref().unwrap_or(own_name));
        let areas = match (self.all_areas, self.areas.as_slice()) {
            (true, _) => " --all-areas".to_owned(),
            (false, []) => " --area PREFIX".to_owned(),
            (false, areas) => areas
                .iter()
                .map(|area| format!(" --area {}", quoted(area)))
                .collect(),
        };
        let files = match again {
            true => "--from registration.cbor --into registration-next.cbor",
            false => "--into registration.cbor",
        };
        format!(
            "lapwing federation mediator register --mediator {id} --name {name}{areas} --days {} --key operator.key {files}",
            self.days.unwrap_or(365)
        )
    }
}

/// A word for a shell: quoted where it is more than letters and digits.
fn quoted(word: &str) -> String {
    if !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

impl Register {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        let order = match &self.file {
            None => {
                self.wanted.check()?;
                Order::Identify(self.wanted)
            }
            Some(file) => Order::Registered {
                registration: read_hex(file)?,
            },
        };
        play::<Mediator>(common, order).await
    }
}

/// Says what the operators run.
pub(super) async fn identify(hand: &Hand<Mediator>, wanted: Wanted) -> Result<(), Failure> {
    let (id, name, registration) = hand
        .with(|mediator, _, _| {
            let id = mediator.id();
            let held = mediator.view().mediator(&id);
            let held = held.filter(|m| m.registered());
            (
                id,
                mediator.name().clone(),
                held.map(|m| {
                    (
                        m.registration().name.as_str().to_owned(),
                        m.registration().expires,
                    )
                }),
            )
        })
        .await?;
    let so_far = registration
        .as_ref()
        .map(|(name, expires)| format!("Registered as {name:?} until {}.\n", shown(*expires)))
        .unwrap_or_default();
    let command = wanted.command(&id, name.as_str(), registration.is_some());
    let file = if registration.is_some() {
        "registration-next.cbor"
    } else {
        "registration.cbor"
    };
    hand.say(
        "mediator",
        format!(
            "{so_far}An operator runs:\n  {command}\nNext: `lapwing mediator register {file}`."
        ),
        json!({
            "mediator": id.to_hex(),
            "command": command,
            "registered_until": registration.map(|(_, at)| exact(at)),
        }),
    );
    Ok(())
}

/// Takes the registration, and publishes it.
pub(super) async fn registered(hand: &Hand<Mediator>, registration: &str) -> Result<(), Failure> {
    let bytes = bytes(registration)?;
    hand.fed().await?;
    hand.with(move |mediator, now, _| mediator.registered(&bytes, now))
        .await?
        .map_err(refused)?;
    hand.settled().await?;
    hand.say(
        "registered",
        "Registered. Next: `lapwing mediator certify`, or `lapwing mediator order` where the root key is elsewhere.",
        json!({}),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(areas: &[&str]) -> Wanted {
        Wanted {
            name: None,
            areas: areas.iter().map(|a| (*a).to_owned()).collect(),
            all_areas: false,
            days: None,
        }
    }

    #[test]
    fn the_command_is_one_that_a_shell_takes() {
        let id = MediatorId::from_bytes([0xab; 32]);
        let first = wanted(&["10", "12"]).command(&id, "Pat's Chamber", false);
        let id = id.to_string();
        assert_eq!(
            first,
            format!(
                r"lapwing federation mediator register --mediator {id} --name 'Pat'\''s Chamber' --area 10 --area 12 --days 365 --key operator.key --into registration.cbor"
            )
        );
        let unsaid = wanted(&[]).command(&MediatorId::from_bytes([1; 32]), "Nord", true);
        assert!(unsaid.contains("--name Nord --area PREFIX"), "{unsaid}");
        assert!(
            unsaid.ends_with("--from registration.cbor --into registration-next.cbor"),
            "{unsaid}"
        );
    }
}
