//! The demo, as it is started by hand.

use std::process::Command;

use crate::start::lapwing;

#[test]
fn one_round_of_the_demo_counts_right() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_lapwing-testnet"))
        .args(["demo", "--once", "--seed", "11"])
        .env("TMPDIR", dir.path())
        .env("LAPWING_BIN", lapwing())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let said = format!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    let counts: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    for (name, expected) in [
        ("nodes", 5),
        ("regions", 671),
        ("postal_codes", 8168),
        ("providers", 2),
        ("users", 10),
        ("bookings_confirmed", 10),
        ("bookings_lost", 0),
        ("double_bookings", 0),
        ("nodes_killed", 1),
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
