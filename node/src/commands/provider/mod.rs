//! `lapwing provider`: a practice from a shell, from the application to the book.

mod event;
mod new;
mod offers;
mod order;
mod slots;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use lapwing_protocol::role::{Provider, ProviderEvent};
use serde::{Deserialize, Serialize};

use super::role::{
    Common, Failure, Hand, Player, Said, Unattended, block_on, end, play, unattended,
};

/// Offer appointments and keep the book.
#[derive(Args)]
#[command(arg_required_else_help = true)]
#[command(after_help = "\
From the application to the first booking:
  lapwing provider new --federation federation.toml --node http://127.0.0.1:8080 \\
      --name \"Praxis Dr. Muster\" --street \"Am Markt 2\" --postal-code 10115 --city Berlin
  lapwing provider apply --mediator \"Chamber North\" --postal-code 10115
  lapwing provider status
  lapwing provider slots series --from 2027-01-31T08:00+01:00 --to 2027-01-31T12:00+01:00 \\
      --every 15 --what mRNA
  lapwing provider run &
  lapwing provider bookings

`run` does the rest: it answers requests with offers, confirms bookings and keeps the marks of the slots.
While it runs, all other commands go through it. Without it, slots wait and nobody is offered anything.

The directory holds everything, secrets included: a plain copy of it is the backup. Never use two copies
at the same time: one device of a practice confirms.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no node answers, 4 not yet (try again later).")]
pub(crate) struct ProviderCommand {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    /// Make a provider: which practice, and whom to trust.
    New(new::New),
    /// Run unattended until SIGINT or SIGTERM: offer, confirm, print what happens.
    Run(Unattended),
    #[command(flatten)]
    Order(Order),
}

/// A command to a provider's role.
#[derive(Subcommand, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Apply to a mediator for its regions.
    Apply(Apply),
    /// Say how far it is.
    Status(Look),
    /// Look after the slots.
    #[command(subcommand)]
    Slots(slots::Slots),
    /// Show, or change, what an offer holds from now on.
    Offers(offers::Offers),
    /// List the bookings.
    Bookings(Bookings),
    /// Cancel a booking: the user is told.
    Cancel(Cancel),
    /// Write to a user.
    Message(Message),
}

/// For what to apply.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct Apply {
    /// The mediator: its name, or the beginning of its id.
    #[arg(long, value_name = "NAME")]
    mediator: String,
    /// A region: its name, or the beginning of its id; may be repeated.
    #[arg(
        long = "region",
        value_name = "NAME",
        required_unless_present = "postal_codes"
    )]
    regions: Vec<String>,
    /// All regions of the mediator that have this postal code; may be repeated.
    #[arg(long = "postal-code", value_name = "CODE")]
    postal_codes: Vec<String>,
}

/// How to look.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct Look {
    /// Say what is known here, and ask no node.
    #[arg(long)]
    offline: bool,
}

/// Which bookings.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct Bookings {
    /// Those that were cancelled, too.
    #[arg(long)]
    all: bool,
}

/// What to cancel.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct Cancel {
    /// The booking: the beginning of its id, as `bookings` shows it.
    booking: String,
    /// Why, for the user to read; at most 300 bytes.
    #[arg(long, default_value = "")]
    text: String,
    /// The slot can be booked again; else it is taken back.
    #[arg(long)]
    keep: bool,
    /// Offer the user other slots, as soon as there are any.
    #[arg(long)]
    again: bool,
}

/// What to write to whom.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct Message {
    /// The ticket, as `run` shows it with the user's messages.
    ticket: String,
    /// What to say, at most 1500 bytes.
    text: String,
}

impl ProviderCommand {
    pub(crate) fn run(self) -> ExitCode {
        let ProviderCommand { common, act } = self;
        let json = common.json;
        let work = async {
            match act {
                Act::New(new) => new.make(&common).await,
                Act::Run(run) => unattended::<Provider>(&common, &run).await,
                Act::Order(order) => play::<Provider>(&common, order).await,
            }
        };
        end(json, block_on(work))
    }
}

impl Player for Provider {
    const NAME: &'static str = "provider";
    type Order = Order;

    fn online(order: &Order) -> bool {
        match order {
            Order::Apply(_) | Order::Cancel(_) | Order::Message(_) => true,
            Order::Status(look) => !look.offline,
            Order::Slots(_) | Order::Offers(_) | Order::Bookings(_) => false,
        }
    }

    async fn perform(hand: &Hand<Self>, order: Order) -> Result<(), Failure> {
        match order {
            Order::Apply(apply) => order::apply(hand, apply).await,
            Order::Status(_) => order::status(hand).await,
            Order::Slots(slots) => slots.perform(hand).await,
            Order::Offers(offers) => offers.perform(hand).await,
            Order::Bookings(which) => order::bookings(hand, which.all).await,
            Order::Cancel(cancel) => order::cancel(hand, cancel).await,
            Order::Message(message) => order::message(hand, &message).await,
        }
    }

    fn tell(event: &ProviderEvent) -> Option<Said> {
        event::tell(event)
    }
}
