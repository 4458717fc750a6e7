//! The certificate of a mediator's working keys, which its root signs.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use data_encoding::HEXLOWER;
use lapwing_client::driver::now;
use lapwing_protocol::role::Mediator;
use lapwing_protocol::role::mediator::{PublishError, WorkingKeys};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Order;
use super::root::RootFile;
use crate::commands::federation::{date, files};
use crate::commands::role::words::{exact, shown};
use crate::commands::role::{Common, Failure, Hand, Player, play};

/// Most bytes of a record in a file.
const MAX_FILE: u64 = 64 * 1024;

/// How to certify.
#[derive(Args)]
pub(super) struct Certify {
    /// The root key's file [default: root.key in the directory].
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// New working keys: as a habit, or because the present ones may have been seen by others.
    #[arg(long)]
    fresh: bool,
    /// For how many days the certificate is good.
    #[arg(long, default_value_t = 110, value_parser = clap::value_parser!(u32).range(1..=120))]
    days: u32,
}

/// The certificate.
#[derive(Args)]
pub(super) struct Certified {
    /// The certificate that the root signed.
    file: PathBuf,
}

/// What to order.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct MakeOrder {
    /// New working keys: as a habit, or because the present ones may have been seen by others.
    #[arg(long)]
    fresh: bool,
    /// In how many days the certificate is expected back, give or take one.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=30))]
    back_in: u32,
    /// The order.
    #[arg(long, value_name = "FILE", default_value = "order.cbor")]
    out: PathBuf,
    /// It goes to a root key that is at hand: there is no next step to tell.
    #[arg(skip)]
    #[serde(default)]
    at_hand: bool,
}

impl MakeOrder {
    /// With a path that means the same to a process elsewhere.
    pub(super) fn absolute(self) -> Result<Self, Failure> {
        Ok(MakeOrder {
            out: std::path::absolute(&self.out).context("--out")?,
            ..self
        })
    }
}

pub(super) fn read_hex(file: &Path) -> Result<String, Failure> {
    Ok(HEXLOWER.encode(&files::read(file, MAX_FILE)?))
}

pub(super) fn bytes(hex: &str) -> Result<Vec<u8>, Failure> {
    HEXLOWER
        .decode(hex.as_bytes())
        .map_err(|_| Failure::Failed(anyhow!("the record was damaged on its way: try again")))
}

impl Certified {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        let certificate = read_hex(&self.file)?;
        play::<Mediator>(common, Order::Certified { certificate }).await
    }
}

impl Certify {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        let dir = std::path::absolute(common.dir(Mediator::NAME)?).context("--dir")?;
        let file = self.root.unwrap_or_else(|| dir.join("root.key"));
        // Before anything changes: the passphrase may be wrong.
        let mut root = RootFile::open(&file)?;
        let out = dir.join("order.cbor");
        let order = MakeOrder {
            fresh: self.fresh,
            back_in: 0,
            out: out.clone(),
            at_hand: true,
        };
        play::<Mediator>(common, Order::MakeOrder(order)).await?;
        let order = files::read(&out, MAX_FILE)?;
        let certificate = root.certify(&order, date::after_days(now(), self.days))?;
        drop(root);
        let certificate = HEXLOWER.encode(&certificate);
        play::<Mediator>(common, Order::Certified { certificate }).await
    }
}

/// What a refusal of a mediator's role means for its person.
pub(super) fn refused(error: PublishError) -> Failure {
    Failure::Failed(anyhow!(told(&error)))
}

/// What is wrong, and what to do next.
pub(super) fn told(error: &PublishError) -> String {
    let next = match error {
        PublishError::NotRegistered => "; `lapwing mediator register` says how",
        PublishError::NotCertified | PublishError::CertificateOver | PublishError::OrderOver => {
            ": `lapwing mediator certify`"
        }
        PublishError::OtherOrder => {
            ": carry the order of the last `lapwing mediator order` to the root"
        }
        PublishError::OutsideAreas { .. } => ": leave the region out, or be registered for more",
        PublishError::UnknownRegion(_) | PublishError::NotAsked(_) => {
            ": see `lapwing mediator regions list`"
        }
        PublishError::UnknownApplication | PublishError::Decided => {
            ": see `lapwing mediator applications`"
        }
        PublishError::KeyReplaced => {
            ": make another refresher with `lapwing mediator delegate`, and end this one"
        }
        PublishError::UnknownSerial(_) => ": see `lapwing mediator providers`",
        PublishError::UnknownReport => ": see `lapwing mediator reports`",
        _ => "",
    };
    format!("{error}{next}")
}

/// Writes the order of a certificate.
pub(super) async fn order(hand: &Hand<Mediator>, order: MakeOrder) -> Result<(), Failure> {
    hand.fed().await?;
    let keys = if order.fresh {
        WorkingKeys::Fresh
    } else {
        WorkingKeys::Same
    };
    let back = order.back_in;
    let bytes = hand
        .with(move |mediator, now, rng| mediator.order(keys, now.day().plus(back), now, rng))
        .await?
        .map_err(refused)?;
    files::replace(&order.out, &bytes)?;
    if order.at_hand {
        return Ok(());
    }
    hand.say(
        "ordered",
        format!(
            "{}: the order.\nNext, where the root key is: `lapwing mediator root certify {}`.",
            order.out.display(),
            order.out.display()
        ),
        json!({ "file": order.out }),
    );
    Ok(())
}

/// Takes the certificate, and publishes it.
pub(super) async fn certified(hand: &Hand<Mediator>, certificate: &str) -> Result<(), Failure> {
    let bytes = bytes(certificate)?;
    hand.fed().await?;
    let expires = hand
        .with(move |mediator, now, rng| {
            mediator
                .certified(&bytes, now, rng)
                .map(|()| mediator.certificate_expires())
        })
        .await?
        .map_err(refused)?;
    hand.settled().await?;
    let until = expires.map(|at| format!(" until {}", shown(at)));
    hand.say(
        "certified",
        format!(
            "Certified{}. Next: `lapwing mediator regions import FILE`, then `lapwing mediator publish`.",
            until.unwrap_or_default()
        ),
        json!({ "expires": expires.map(exact) }),
    );
    Ok(())
}
