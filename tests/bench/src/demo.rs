//! How long the testnet's demo takes: a process of its own, by its own account.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;
use tokio::process::Command;
use tokio::time::timeout;

use crate::report::{Rounds, Row};

/// The longest that it may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is read of its last line.
#[derive(Deserialize)]
struct Counts {
    seconds: f64,
}

fn seconds(output: &str) -> anyhow::Result<f64> {
    let last = output.lines().next_back().unwrap_or_default();
    let counts: Counts =
        serde_json::from_str(last).context("the demo's last line does not say how long it took")?;
    Ok(counts.seconds)
}

/// Plays it once.
pub(crate) async fn measure(seed: u64) -> anyhow::Result<Row> {
    let program = std::env::current_exe()?;
    let program = program
        .parent()
        .unwrap_or(Path::new("."))
        .join("lapwing-testnet");
    let playing = Command::new(&program)
        .args(["demo", "--once", "--seed", &seed.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output();
    let played = timeout(PATIENCE, playing).await.context("takes too long")?;
    let played = played.with_context(|| format!("cannot run {}", program.display()))?;
    let output = String::from_utf8_lossy(&played.stdout);
    let seconds = seconds(&output)?;
    eprintln!("  demo: {seconds} s");
    // How long it took says nothing where something went wrong.
    ensure!(played.status.success(), "the demo fails: {}", played.status);
    Ok(Row::reported("demo_seconds", "s", &Rounds(vec![seconds])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_tells() {
        let output = "a line\n{\"nodes\":5,\"seconds\":12.5}\n";
        assert_eq!(seconds(output).unwrap(), 12.5);
        assert!(seconds("no JSON\n").is_err());
    }
}
