//! `lapwing status`: asks the admin socket of a running node how it is.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::exit::{self, Check};
use crate::status::{Level, Status as Account};
use crate::{admin, config, why};

mod show;

/// Ask a running node how it is.
#[derive(Args)]
#[command(after_help = "\
Examples:
  lapwing status --config /var/lib/lapwing/lapwing.toml
  lapwing status --config /var/lib/lapwing/lapwing.toml --json | jq '.peers[] | select(.connected | not)'
  lapwing status --config /var/lib/lapwing/lapwing.toml --check     # for monitoring: one line

Exit codes: 0 ready, 1 the configuration cannot be used, 2 wrong usage, 3 not ready or not running.
With --check, as Nagios reads them: 0 OK, 1 WARNING, 2 CRITICAL (also: not ready, not running),
3 UNKNOWN (the configuration cannot be used).")]
pub(crate) struct Status {
    /// The node's configuration: says where its admin socket is.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print everything as one JSON object.
    #[arg(long, conflicts_with = "check")]
    json: bool,
    /// Print one line, and end with a code for monitoring.
    #[arg(long)]
    check: bool,
}

impl Status {
    pub(crate) fn run(self) -> ExitCode {
        let socket = match config::load(&self.config) {
            Ok(config) => config.admin_socket,
            Err(error) if self.check => return say(Check::Unknown, &error.to_string()),
            Err(error) => {
                eprintln!("lapwing: {error}");
                return exit::FAILED;
            }
        };
        match ask(&socket) {
            Ok((status, _)) if self.check => {
                let (check, text) = judge(&status);
                say(check, &text)
            }
            Ok((status, body)) => {
                if self.json {
                    println!("{body}");
                } else {
                    print!("{}", show::text(&status));
                }
                if status.ready {
                    exit::DONE
                } else {
                    exit::not_ready()
                }
            }
            Err(error) if self.check => say(Check::Critical, &error.to_string()),
            Err(error) => {
                eprintln!("lapwing: {}", why::line(&error));
                exit::not_ready()
            }
        }
    }
}

fn say(check: Check, text: &str) -> ExitCode {
    println!("LAPWING {} - {text}", check.word());
    check.code()
}

/// The status and the bytes that it came in.
fn ask(socket: &Path) -> anyhow::Result<(Account, String)> {
    let reply = admin::ask(socket, "GET", "/status")?;
    anyhow::ensure!(
        reply.status == 200,
        "the node refuses ({}): look at its log",
        reply.status
    );
    let status = serde_json::from_str(&reply.body).map_err(|_| {
        anyhow::anyhow!(
            "the node's answer is not understood: is it of version {}?",
            env!("CARGO_PKG_VERSION")
        )
    })?;
    Ok((status, reply.body))
}

/// One word and one line for monitoring.
fn judge(status: &Account) -> (Check, String) {
    let worst = status.findings.iter().map(|f| f.level).max();
    let check = match worst {
        Some(Level::Error) => Check::Critical,
        _ if !status.ready => Check::Critical,
        Some(Level::Warning) => Check::Warning,
        None => Check::Ok,
    };
    let mut text = match status.findings.first() {
        Some(first) => first.text.clone(),
        None => format!(
            "roster {}, {} of {} peers, {} items",
            status.roster.unwrap_or_default(),
            status.peers_connected,
            status.peers_expected,
            status.numbers.items
        ),
    };
    if status.findings.len() > 1 {
        text = format!("{text} (and {} more)", status.findings.len() - 1);
    }
    // What follows the bar is for graphs.
    let text = text.replace('|', "/");
    (
        check,
        format!(
            "{text} | ready={} peers={} items={} requests={} commit_ms={}",
            u8::from(status.ready),
            status.peers_connected,
            status.numbers.items,
            status.queues.requests,
            status.store.last_commit_micros / 1000,
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Finding;

    #[test]
    fn monitoring_sees_the_worst() {
        let mut status = Account {
            ready: true,
            ..Account::default()
        };
        assert_eq!(judge(&status).0, Check::Ok);
        let finding = |level, text: &str| Finding {
            level,
            code: "x".to_owned(),
            text: text.to_owned(),
        };
        status.findings.push(finding(Level::Warning, "late | slow"));
        let (check, line) = judge(&status);
        assert_eq!(check, Check::Warning);
        assert!(line.starts_with("late / slow | ready=1 "), "{line}");
        status.findings.insert(0, finding(Level::Error, "expired"));
        let (check, line) = judge(&status);
        assert_eq!(check, Check::Critical);
        assert!(line.starts_with("expired (and 1 more) | "), "{line}");
        let asleep = Account::default();
        assert_eq!(judge(&asleep).0, Check::Critical, "not ready");
    }
}
