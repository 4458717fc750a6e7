//! `lapwing status`: asks the admin socket of a running node.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;

use crate::config;

/// Most bytes of an answer.
const MAX_ANSWER: u64 = 16 * 1024 * 1024;
/// How long the node may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ask a running node how it is.
#[derive(Args)]
pub(crate) struct Status {
    /// The node's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(crate) fn run(self) -> ExitCode {
        let socket = match config::load(&self.config) {
            Ok(config) => config.admin_socket,
            Err(error) => {
                eprintln!("lapwing: {error}");
                return ExitCode::FAILURE;
            }
        };
        match ask(&socket) {
            Ok(status) => {
                if self.json {
                    println!("{status}");
                } else {
                    print(&status);
                }
                if status["ready"] == true {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::from(3)
                }
            }
            Err(error) => {
                eprintln!("lapwing: {error:#}");
                ExitCode::from(3)
            }
        }
    }
}

fn ask(socket: &Path) -> anyhow::Result<Value> {
    let mut stream = UnixStream::connect(socket).with_context(|| {
        format!(
            "no node answers at {}: start it with `lapwing run`",
            socket.display()
        )
    })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /status HTTP/1.0\r\nhost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream
        .take(MAX_ANSWER)
        .read_to_string(&mut answer)
        .context("the node does not answer")?;
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        bail!("the node's answer is cut short");
    };
    if !head.starts_with("HTTP/1.0 200") && !head.starts_with("HTTP/1.1 200") {
        bail!(
            "the node refuses: {}",
            head.lines().next().unwrap_or_default()
        );
    }
    serde_json::from_str(body).context("the node's answer is no JSON")
}

fn print(status: &Value) {
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    println!("node       {}", text(&status["node_id"]));
    println!(
        "ready      {}",
        if status["ready"] == true {
            "yes".to_owned()
        } else {
            text(&status["why"])
        }
    );
    println!("roster     {}", text(&status["roster"]));
    println!("store      {} bytes on disk", text(&status["store_bytes"]));
    if let Some(numbers) = status["numbers"].as_object() {
        for (name, value) in numbers {
            println!("{name:<16} {value}");
        }
    }
    for peer in status["peers"].as_array().into_iter().flatten() {
        println!(
            "peer       {}  {}",
            text(&peer["node_id"]),
            text(&peer["address"])
        );
    }
    for list in status["trust"].as_array().into_iter().flatten() {
        let stale = if list["half_life_passed"] == true {
            "  past half of its life: renew it"
        } else {
            ""
        };
        println!(
            "{:<24} issued {}  expires {}{stale}",
            text(&list["kind"]),
            text(&list["issued"]),
            text(&list["expires"])
        );
    }
}
