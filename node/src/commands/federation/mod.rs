//! `lapwing federation`: everything that people sign by hand, so that a federation can be founded,
//! joined and changed. All of it works offline; `lapwing publish` hands the results to a node.

use clap::Subcommand;

mod cosign;
pub(crate) mod date;
mod draft;
mod entry;
pub(crate) mod files;
mod found;
mod keyfile;
mod mediator;
mod params;
mod roster;

/// Found or join a federation; sign its roster and its mediators' registrations.
#[derive(Subcommand)]
#[command(after_help = "\
A federation from nothing, with one root:
  lapwing federation root new --out root.key
  lapwing federation new --name \"Example\" --root HEX --threshold 1 --out federation.toml
  lapwing init --dir node --federation federation.toml --json > node.json
  lapwing federation operator new --name \"Clinic\" --out operator.key --node node.json > entry.toml
  lapwing federation roster draft --operator entry.toml --out roster.toml
  lapwing federation roster sign --draft roster.toml --key root.key --into roster.cbor
  lapwing run --config node/lapwing.toml &
  lapwing publish --config node/lapwing.toml roster.cbor")]
pub(crate) enum FederationCommand {
    /// Keys of the federation's roots.
    #[command(subcommand)]
    Root(Root),
    /// Found a federation: name its roots, and how many of them must sign a roster.
    New(found::NewFederation),
    /// Keys and entries of operators.
    #[command(subcommand)]
    Operator(OperatorCommand),
    /// Who is in the federation: draft, sign, look.
    #[command(subcommand)]
    Roster(roster::RosterCommand),
    /// Mediators of the federation.
    #[command(subcommand)]
    Mediator(MediatorCommand),
}

/// Keys of the federation's roots.
#[derive(Subcommand)]
pub(crate) enum Root {
    /// Make a root key; print its public half.
    New(found::NewRoot),
}

/// Keys and entries of operators.
#[derive(Subcommand)]
pub(crate) enum OperatorCommand {
    /// Make an operator's key; print its entry for the roster.
    New(found::NewOperator),
    /// Print an operator's entry again, from its key file and its nodes.
    Entry(found::Entry),
}

/// Mediators of the federation.
#[derive(Subcommand)]
pub(crate) enum MediatorCommand {
    /// Sign a mediator's registration.
    Register(mediator::Register),
}

impl FederationCommand {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            FederationCommand::Root(Root::New(c)) => c.run(),
            FederationCommand::New(c) => c.run(),
            FederationCommand::Operator(OperatorCommand::New(c)) => c.run(),
            FederationCommand::Operator(OperatorCommand::Entry(c)) => c.run(),
            FederationCommand::Roster(c) => c.run(),
            FederationCommand::Mediator(MediatorCommand::Register(c)) => c.run(),
        }
    }
}
