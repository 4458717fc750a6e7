//! `lapwing mediator`: regions, applications, certificates, revocations and reports from a shell.

mod event;
mod keys;
mod new;
mod order;
mod providers;
mod refresh;
mod regions;
mod register;
mod root;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use lapwing_protocol::role::{Mediator, MediatorEvent, Refresher};
use serde::{Deserialize, Serialize};

use super::role::{
    Common, Failure, Hand, Player, Said, Unattended, block_on, end, play, unattended,
};

/// Vouch for providers: regions, certificates, revocations.
#[derive(Args)]
#[command(arg_required_else_help = true)]
#[command(after_help = "\
From nothing to the first certified provider:
  lapwing mediator new --federation federation.toml --node http://127.0.0.1:8080 --name \"Chamber North\"
  lapwing mediator register --area 10  (prints what the operators run; they send registration.cbor)
  lapwing mediator register registration.cbor
  lapwing mediator certify             (asks for the root key's passphrase)
  lapwing mediator regions import regions-de.toml --area 101 --criterion vaccine=mRNA
  lapwing mediator publish
  lapwing mediator run &
  lapwing mediator applications
  lapwing mediator approve 3f2a

`run` fetches the inbox, answers providers, renews region keys and dates the status anew. While it runs,
all other commands go through it. `delegate` and `refresh` let another machine keep the status fresh with a
key that can do nothing else but revoke.

The root key certifies the working keys and is needed for nothing else: keep its file offline, see
`lapwing mediator root --help`. The directory holds everything else, secrets included: a plain copy of it
is the backup. Never use two copies at the same time.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no node answers, 4 not yet (try again later).")]
pub(crate) struct MediatorCommand {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    /// Make a mediator: its root key and its working keys.
    New(new::New),
    /// Look after the root key, on a machine of its own.
    #[command(subcommand)]
    Root(root::RootCommand),
    /// Print what the operators run to register this mediator; or take the registration they signed.
    Register(register::Register),
    /// Order a certificate, sign it with the root key that is here, and take it: all in one.
    Certify(keys::Certify),
    /// Take the certificate that the root signed elsewhere.
    Certified(keys::Certified),
    /// Look after the regions.
    #[command(subcommand)]
    Regions(regions::RegionsCommand),
    /// Run unattended until SIGINT or SIGTERM.
    Run(Unattended),
    /// Make the directory of a refresher, which holds the status key alone.
    Delegate(refresh::Delegate),
    /// As a refresher: date the status anew, once or unattended.
    Refresh(refresh::Refresh),
    #[command(flatten)]
    Order(Order),
}

/// A command to a mediator's role.
#[derive(Subcommand, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Write the order of a certificate for the root, to be carried to its machine.
    #[command(name = "order")]
    MakeOrder(keys::MakeOrder),
    /// Publish what waits, and open the inbox.
    Publish,
    /// Say how far it is.
    Status(Look),
    /// List the applications that wait for a decision.
    Applications(Look),
    /// Show an application that waits, or by a serial the one by which a provider was certified.
    Show(providers::Show),
    /// Approve an application: certify the provider.
    Approve(providers::Approve),
    /// Reject an application.
    Reject(providers::Reject),
    /// List the certified providers.
    Providers(providers::Providers),
    /// Give a provider a new certificate before the old one ends.
    Renew(providers::Renew),
    /// Revoke a provider.
    Revoke(providers::Revoke),
    /// List what users report.
    Reports(Look),
    /// Put a report away: it was dealt with.
    Dismiss(providers::Dismiss),
    #[command(skip)]
    Registered {
        /// The registration, in hex.
        registration: String,
    },
    #[command(skip)]
    Certified {
        /// The certificate, in hex.
        certificate: String,
    },
    #[command(skip)]
    Identify(register::Wanted),
    #[command(skip)]
    Regions(regions::Regions),
    #[command(skip)]
    Delegate {
        /// The new refresher's directory.
        dir: PathBuf,
        /// How long each status lasts, in hours.
        hours: u16,
    },
}

/// How to look.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct Look {
    /// Say what is known here, and ask no node.
    #[arg(long)]
    offline: bool,
}

impl MediatorCommand {
    pub(crate) fn run(self) -> ExitCode {
        let MediatorCommand { common, act } = self;
        let json = common.json;
        let common = &common;
        let work = async {
            match act {
                Act::New(new) => new.make(common).await,
                Act::Root(root) => root.run(common.json),
                Act::Register(register) => register.run(common).await,
                Act::Certify(certify) => certify.run(common).await,
                Act::Certified(certified) => certified.run(common).await,
                Act::Regions(regions) => {
                    play::<Mediator>(common, Order::Regions(regions.order()?)).await
                }
                Act::Run(run) => unattended::<Mediator>(common, &run).await,
                Act::Delegate(delegate) => play::<Mediator>(common, delegate.order()?).await,
                Act::Refresh(refresh) => refresh.run(common).await,
                Act::Order(order) => play::<Mediator>(common, order.absolute()?).await,
            }
        };
        end(json, block_on(work))
    }
}

impl Order {
    /// With paths that mean the same to a process elsewhere.
    fn absolute(self) -> Result<Self, Failure> {
        Ok(match self {
            Order::MakeOrder(order) => Order::MakeOrder(order.absolute()?),
            other => other,
        })
    }
}

impl Player for Mediator {
    const NAME: &'static str = "mediator";
    type Order = Order;

    fn online(order: &Order) -> bool {
        match order {
            Order::MakeOrder(_)
            | Order::Publish
            | Order::Approve(_)
            | Order::Reject(_)
            | Order::Renew(_)
            | Order::Revoke(_)
            | Order::Registered { .. }
            | Order::Certified { .. } => true,
            Order::Status(look) | Order::Applications(look) | Order::Reports(look) => !look.offline,
            Order::Regions(regions) => regions.online(),
            Order::Show(_)
            | Order::Providers(_)
            | Order::Dismiss(_)
            | Order::Identify(_)
            | Order::Delegate { .. } => false,
        }
    }

    async fn perform(hand: &Hand<Self>, order: Order) -> Result<(), Failure> {
        match order {
            Order::MakeOrder(order) => keys::order(hand, order).await,
            Order::Registered { registration } => register::registered(hand, &registration).await,
            Order::Certified { certificate } => keys::certified(hand, &certificate).await,
            Order::Identify(wanted) => register::identify(hand, wanted).await,
            Order::Publish => order::publish(hand).await,
            Order::Status(_) => order::status(hand).await,
            Order::Regions(regions) => regions.perform(hand).await,
            Order::Applications(_) => providers::applications(hand).await,
            Order::Show(show) => providers::show(hand, show).await,
            Order::Approve(approve) => providers::approve(hand, approve).await,
            Order::Reject(reject) => providers::reject(hand, reject).await,
            Order::Providers(which) => providers::list(hand, which).await,
            Order::Renew(renew) => providers::renew(hand, renew).await,
            Order::Revoke(revoke) => providers::revoke(hand, revoke).await,
            Order::Reports(_) => providers::reports(hand).await,
            Order::Dismiss(dismiss) => providers::dismiss(hand, dismiss).await,
            Order::Delegate { dir, hours } => refresh::delegate(hand, dir, hours).await,
        }
    }

    fn tell(event: &MediatorEvent) -> Option<Said> {
        event::tell(event)
    }
}

impl Player for Refresher {
    const NAME: &'static str = "refresher";
    type Order = refresh::Once;

    fn online(_: &Self::Order) -> bool {
        true
    }

    async fn perform(hand: &Hand<Self>, order: Self::Order) -> Result<(), Failure> {
        order.perform(hand).await
    }

    fn tell(event: &MediatorEvent) -> Option<Said> {
        event::tell(event)
    }
}
