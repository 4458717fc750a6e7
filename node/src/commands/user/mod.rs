//! `lapwing user`: an appointment from a shell, from the request to the booking.

mod event;
mod more;
mod new;
mod order;
mod region;
mod status;

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use lapwing_protocol::role::{User, UserEvent};
use serde::{Deserialize, Serialize};

use super::role::{
    Common, Failure, Hand, Player, Said, Unattended, block_on, end, play, unattended,
};

/// Ask for an appointment and book it.
#[derive(Args)]
#[command(arg_required_else_help = true)]
#[command(after_help = "\
A booking by hand:
  lapwing user new --federation federation.toml --node http://127.0.0.1:8080 \\
      --name \"Ada Beispiel\" --address \"Am Markt 1, 10115 Berlin\"
  lapwing user ask --postal-code 10115 --wish vaccine=mRNA
  lapwing user offers --wait
  lapwing user book 3f2a 0
  lapwing user status
  lapwing user cancel

Offers are named by the beginning of their id. What takes longer than --timeout goes on with the next
command, or by itself while `lapwing user watch` runs.

The directory holds everything, secrets included: a plain copy of it is the backup. Never use two copies
at the same time.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no node answers, 4 not yet (try again later).")]
pub(crate) struct UserCommand {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    /// Make a user: who you are, and whom to trust.
    New(new::New),
    /// Run until Ctrl-C, and print what happens.
    Watch(Unattended),
    #[command(flatten)]
    Order(Order),
}

/// A command to a user's role.
#[derive(Subcommand, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Ask for an appointment: draws a token and places the request.
    Ask(Ask),
    /// Say how far it is.
    Status(Look),
    /// List the offers.
    Offers(Offers),
    /// Book a slot of an offer, and wait for the confirmation.
    Book(Book),
    /// Cancel the booking.
    Cancel(Cancel),
    /// Ask for another slot in the place of the booked one, which stands until that is confirmed.
    Change(Change),
    /// Give up every open offer, and be listed again in the queue.
    Relist,
    /// Draw another token, at another node if there is one: the issuer of this one is away for long.
    Redraw,
    /// Report the provider of an offer to the mediator that vouches for it.
    Report(Report),
    /// Write to the provider of an offer.
    Message(Message),
    /// Forget the request, its offers and its keys; cancel a booking first.
    Forget,
}

/// What to ask for.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct Ask {
    /// Where: the postal code.
    #[arg(long, required_unless_present = "region")]
    postal_code: Option<String>,
    /// Where, or which of several: a region's name, or the beginning of its id.
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// What: such as vaccine=mRNA; may be repeated.
    #[arg(long = "wish", value_name = "KEY=VALUE")]
    wishes: Vec<String>,
}

/// How to look.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct Look {
    /// Say what is known here, and ask no node.
    #[arg(long)]
    offline: bool,
}

/// Which offers.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct Offers {
    /// Wait until there is one.
    #[arg(long)]
    wait: bool,
    /// Say what is known here, and ask no node.
    #[arg(long, conflicts_with = "wait")]
    offline: bool,
}

/// What to book.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct Book {
    /// The offer: the beginning of its id.
    #[arg(required_unless_present = "any")]
    offer: Option<String>,
    /// The slot: its number in the offer.
    #[arg(required_unless_present = "any")]
    slot: Option<u8>,
    /// Book any slot of any offer, one after the other until one is confirmed.
    #[arg(long, conflicts_with_all = ["offer", "slot"])]
    any: bool,
}

/// How to cancel.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct Cancel {
    /// Ask the provider for another offer.
    #[arg(long)]
    again: bool,
}

/// What to change to.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct Change {
    /// The offer: the beginning of its id; one by the same provider.
    #[arg(required_unless_present = "ask")]
    offer: Option<String>,
    /// The slot: its number in the offer.
    #[arg(required_unless_present = "ask")]
    slot: Option<u8>,
    /// Ask the provider for an offer of other slots, and wait for it.
    #[arg(long, conflicts_with_all = ["offer", "slot"])]
    ask: bool,
}

/// Whom to report, and why.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The offer: the beginning of its id.
    offer: String,
    /// Why.
    #[arg(long, value_enum)]
    reason: Reason,
    /// What happened, at most 1500 bytes.
    text: String,
}

/// Why a provider is reported.
#[derive(Clone, Copy, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Reason {
    /// It is not the practice that it claims to be.
    Impostor,
    /// It asks for money or data that it has no right to.
    Demands,
    /// It does not keep its appointments.
    NoAppointment,
    /// It uses your data for something else.
    DataMisuse,
    /// Something else.
    Other,
}

/// What to write.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct Message {
    /// The offer: the beginning of its id.
    offer: String,
    /// What to say, at most 1500 bytes.
    text: String,
}

impl UserCommand {
    pub(crate) fn run(self) -> ExitCode {
        let UserCommand { common, act } = self;
        let json = common.json;
        let work = async {
            match act {
                Act::New(new) => new.make(&common).await,
                Act::Watch(run) => unattended::<User>(&common, &run).await,
                Act::Order(order) => play::<User>(&common, order).await,
            }
        };
        end(json, block_on(work))
    }
}

impl Player for User {
    const NAME: &'static str = "user";
    type Order = Order;

    fn online(order: &Order) -> bool {
        match order {
            Order::Status(look) => !look.offline,
            Order::Offers(offers) => !offers.offline,
            Order::Forget => false,
            Order::Ask(_)
            | Order::Book(_)
            | Order::Cancel(_)
            | Order::Change(_)
            | Order::Relist
            | Order::Redraw
            | Order::Report(_)
            | Order::Message(_) => true,
        }
    }

    async fn perform(hand: &Hand<Self>, order: Order) -> Result<(), Failure> {
        match order {
            Order::Ask(ask) => order::ask(hand, ask).await,
            Order::Status(_) => status::status(hand).await,
            Order::Offers(offers) => order::offers(hand, &offers).await,
            Order::Book(book) => order::book(hand, &book).await,
            Order::Cancel(cancel) => order::cancel(hand, cancel.again).await,
            Order::Change(change) => more::change(hand, &change).await,
            Order::Relist => more::relist(hand).await,
            Order::Redraw => more::redraw(hand).await,
            Order::Report(report) => more::report(hand, report).await,
            Order::Message(message) => order::message(hand, &message).await,
            Order::Forget => order::forget(hand).await,
        }
    }

    fn tell(event: &UserEvent) -> Option<Said> {
        event::tell(event)
    }
}
