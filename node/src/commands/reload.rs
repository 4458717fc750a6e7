//! `lapwing reload`: has a running node read its configuration anew, as SIGHUP does, and says what came
//! of it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use crate::{admin, config, exit};

/// Have a running node read its configuration anew.
#[derive(Args)]
#[command(after_help = "\
Log level, the API's limits, proxies and origins, and a newer roster apply at once; the answer names
what needs a restart. A file that cannot be used changes nothing.

Examples:
  lapwing reload --config /var/lib/lapwing/lapwing.toml
  systemctl reload lapwing          # the same by SIGHUP; the answer is in the log

Exit codes: 0 done, 1 the file cannot be used, 2 wrong usage, 3 no node answers.")]
pub(crate) struct Reload {
    /// The node's configuration: says where its admin socket is.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Reload {
    pub(crate) fn run(self) -> ExitCode {
        let failed = |why: &dyn std::fmt::Display, code| {
            eprintln!("lapwing: {why}");
            code
        };
        let socket = match config::load(&self.config) {
            Ok(config) => config.admin_socket,
            Err(error) => return failed(&error, exit::FAILED),
        };
        let reply = match admin::ask(&socket, "POST", "/reload") {
            Ok(reply) => reply,
            Err(error) => return failed(&error, exit::not_ready()),
        };
        let said: Value = serde_json::from_str(&reply.body).unwrap_or_default();
        if reply.status != 200 {
            let why = said["problem"].as_str().unwrap_or("the node refuses");
            return failed(&why, exit::FAILED);
        }
        if self.json {
            println!("{said}");
            return exit::DONE;
        }
        let names = |list: &Value| -> Vec<String> {
            let list = list.as_array().into_iter().flatten();
            list.filter_map(|v| v.as_str().map(str::to_owned)).collect()
        };
        let (applied, left) = (names(&said["applied"]), names(&said["needs_restart"]));
        match (applied.is_empty(), left.is_empty()) {
            (true, true) => println!("nothing changed"),
            (false, _) => println!("applied: {}", applied.join(", ")),
            (true, false) => {}
        }
        if !left.is_empty() {
            println!("needs a restart: {}", left.join(", "));
        }
        exit::DONE
    }
}
