//! The refresher: an identity of its own, with the status key alone, that dates the status anew and can
//! add revocations, and nothing else.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args;
use lapwing_client::driver::Place;
use lapwing_protocol::role::{Mediator, Refresher, Role};
use lapwing_protocol::time::Seconds;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Order;
use super::keys::refused;
use crate::commands::role::{Common, Failure, Hand, Home, Unattended, play, unattended};

/// Where the refresher shall be.
#[derive(Args)]
#[command(after_help = "\
Example:
  lapwing mediator delegate --out refresher
  scp -r refresher another-machine:
and there:
  lapwing mediator refresh --dir refresher            (runs until it is stopped)
  lapwing mediator refresh --dir refresher --once     (for cron)")]
pub(super) struct Delegate {
    /// The new directory.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How long each status lasts, in hours, a week at most; it is dated anew after half of it.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=168))]
    hours: u16,
}

/// How to refresh.
#[derive(Args)]
pub(super) struct Refresh {
    /// Date the status anew now, and end.
    #[arg(long)]
    once: bool,
    /// Revoke this serial, and end; may be repeated.
    #[arg(long = "revoke", value_name = "SERIAL")]
    revoke: Vec<u64>,
    #[command(flatten)]
    run: Unattended,
}

/// What a refresher does at once.
#[derive(Serialize, Deserialize)]
pub(crate) struct Once {
    revoke: Vec<u64>,
}

impl Delegate {
    pub(super) fn order(self) -> Result<Order, Failure> {
        Ok(Order::Delegate {
            dir: std::path::absolute(&self.out).context("--out")?,
            hours: self.hours,
        })
    }
}

impl Refresh {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        if self.once || !self.revoke.is_empty() {
            let once = Once {
                revoke: self.revoke,
            };
            return play::<Refresher>(common, once).await;
        }
        unattended::<Refresher>(common, &self.run).await
    }
}

/// Makes a refresher's directory.
pub(super) async fn delegate(
    hand: &Hand<Mediator>,
    dir: PathBuf,
    hours: u16,
) -> Result<(), Failure> {
    Home::vacant(&dir)?;
    let places: Vec<Place> = hand.places().to_vec();
    let refresher = hand
        .with(move |mediator, _, _| {
            if mediator.certificate_expires().is_none() {
                return Err(Failure::Failed(anyhow!(
                    "there is no certificate yet that names the status key: `lapwing mediator certify` first"
                )));
            }
            Ok(Refresher::create(
                mediator.id(),
                mediator.status_key(),
                Seconds::hours(hours.into()),
                mediator.view().clone(),
                mediator.node(),
            ))
        })
        .await??;
    Home::create(&dir, "refresher", places, &refresher, None)?;
    hand.say(
        "delegated",
        format!(
            "{}: a refresher. It holds the status key: keep it private.\nNext, there: `lapwing mediator refresh --dir {}`.",
            dir.display(),
            dir.display()
        ),
        json!({ "dir": dir }),
    );
    Ok(())
}

impl Once {
    pub(super) async fn perform(self, hand: &Hand<Refresher>) -> Result<(), Failure> {
        hand.fed().await?;
        let revoked = self.revoke.len();
        hand.with(move |refresher, now, _| {
            if self.revoke.is_empty() {
                refresher.refresh(now)
            } else {
                refresher.revoke(&self.revoke, now)
            }
        })
        .await?
        .map_err(refused)?;
        hand.settled().await?;
        let text = if revoked == 0 {
            "The status is dated anew.".to_owned()
        } else {
            format!("{revoked} revoked; the mediator takes it over when it next publishes.")
        };
        hand.say("refreshed", text, json!({ "revoked": revoked }));
        Ok(())
    }
}
