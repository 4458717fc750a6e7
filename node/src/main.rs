//! `lapwing`: a node of a Lapwing federation, and the commands of its operator.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod admin;
mod commands;
mod config;
mod exit;
mod keys;
mod logging;
mod metrics;
mod reload;
mod run;
mod service;
mod shell;
mod status;
mod why;

/// A node of a Lapwing federation, its operator's commands, and the roles of user, provider and mediator.
#[derive(Parser)]
#[command(name = "lapwing", version, arg_required_else_help = true)]
#[command(after_help = "\
Examples:
  lapwing init --dir /var/lib/lapwing --federation federation.toml
  lapwing config check /var/lib/lapwing/lapwing.toml
  lapwing run --config /var/lib/lapwing/lapwing.toml
  lapwing status --config /var/lib/lapwing/lapwing.toml
  lapwing reload --config /var/lib/lapwing/lapwing.toml
  lapwing federation --help
  lapwing user --help

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the node is not running or not ready; of user, provider and
mediator also 4, not yet.
Standard error has one line that says why. `--json` prints data for programs.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a node's keys and a commented configuration in a directory.
    Init(commands::init::Init),
    /// Run the node until SIGINT or SIGTERM.
    Run(run::Run),
    /// Ask a running node how it is.
    Status(commands::status::Status),
    /// Have a running node read its configuration anew.
    Reload(commands::reload::Reload),
    /// Look at a configuration.
    #[command(subcommand)]
    Config(commands::config::Config),
    /// Look after a stopped node's store.
    #[command(subcommand)]
    Store(commands::store::Store),
    /// Found or join a federation; sign its roster and its mediators' registrations.
    #[command(subcommand)]
    Federation(commands::federation::FederationCommand),
    /// Publish a roster, a registration or another record of the chain of trust.
    Publish(commands::publish::Publish),
    /// Print completions for a shell.
    Completions(commands::completions::Completions),
    User(commands::user::UserCommand),
    Provider(commands::provider::ProviderCommand),
    Mediator(commands::mediator::MediatorCommand),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Init(c) => c.run(),
        Command::Run(c) => c.run(),
        Command::Status(c) => return c.run(),
        Command::Reload(c) => return c.run(),
        Command::Config(c) => c.run(),
        Command::Store(c) => c.run(),
        Command::Federation(c) => c.run(),
        Command::Publish(c) => return c.run(),
        Command::Completions(c) => c.run::<Cli>(),
        Command::User(c) => return c.run(),
        Command::Provider(c) => return c.run(),
        Command::Mediator(c) => return c.run(),
    };
    match done {
        Ok(()) => exit::DONE,
        Err(error) => {
            eprintln!("lapwing: {}", why::line(&error));
            exit::FAILED
        }
    }
}
