//! `lapwing completions`: what a shell needs to complete the commands.

use std::io::{self, Write};

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

/// Print completions for a shell.
#[derive(Args)]
#[command(after_help = "\
Examples:
  lapwing completions bash > /usr/share/bash-completion/completions/lapwing
  lapwing completions zsh > /usr/share/zsh/vendor-completions/_lapwing
  lapwing completions fish > ~/.config/fish/completions/lapwing.fish")]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub(crate) fn run<C: CommandFactory>(self) -> anyhow::Result<()> {
        let mut text = Vec::new();
        generate(self.shell, &mut C::command(), "lapwing", &mut text);
        io::stdout()
            .write_all(&text)
            .context("standard output is closed")
    }
}
