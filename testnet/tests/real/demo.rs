//! A day as it is played by hand, in small: everything that `make demo` counts, in a few seconds.

use std::path::Path;
use std::process::{Command, Output};

use crate::machine;
use crate::start::lapwing;

fn play(scenario: &str, seed: &str, runs: &Path) -> (Output, String) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("scenarios")
        .join(scenario);
    let output = Command::new(env!("CARGO_BIN_EXE_lapwing-testnet"))
        .arg("run")
        .arg(file)
        .args(["--once", "--verbose", "--seed", seed])
        .env("TMPDIR", runs)
        .env("LAPWING_BIN", lapwing())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    (output, text)
}

#[test]
fn a_small_day_counts_right() {
    let _turn = machine::alone();
    let dir = tempfile::tempdir().unwrap();
    let (output, text) = play("small.toml", "11", dir.path());
    let said = format!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    let counts: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    for (name, expected) in [
        ("nodes", 3),
        ("mediators", 2),
        ("providers", 4),
        ("slots", 52),
        ("users", 20),
        ("regions", 11),
        ("bookings_confirmed", 19),
        ("bookings_lost", 0),
        ("double_bookings", 0),
        ("token_multi_bookings", 0),
        ("cancelled", 2),
        ("reoffered", 1),
        ("changed", 1),
        ("token_reuse_accepted", 0),
        ("revoked_provider_offers_shown", 0),
        ("nodes_killed", 2),
        ("acknowledged_writes_lost", 0),
        ("replicas_diverged", 0),
    ] {
        assert_eq!(counts[name], expected, "{name}: {said}");
    }
    assert!(
        !text.contains('\x1b'),
        "no colours where there is no terminal"
    );
    let left = std::fs::read_dir(dir.path().join("lapwing-testnet"))
        .unwrap()
        .count();
    assert_eq!(left, 0, "nothing is left behind");
}
