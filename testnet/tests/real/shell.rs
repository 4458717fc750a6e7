//! A booking by hand: nothing but the real binary, as `docs/roles-cli.md` shows it. And what happens when a
//! step is wrong.

mod hand;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use lapwing_client::driver::now;
use lapwing_client::file::StateFile;
use lapwing_testnet::net::Net;

use self::hand::{REGIONS, Shell, done, morning};
use crate::machine;
use crate::start::options;

#[tokio::test(flavor = "multi_thread")]
async fn an_appointment_is_booked_and_cancelled_by_hand() {
    let _turn = machine::shared();
    let dir = tempfile::tempdir().unwrap();
    let net = Net::start(&options(dir.path(), 3, 11), now())
        .await
        .unwrap();
    let hands = tempfile::tempdir().unwrap();
    let shell = Shell::new(hands.path(), &net);
    tokio::task::block_in_place(|| book_by_hand(&shell, &net));
    net.stop().await.unwrap();
}

fn book_by_hand(shell: &Shell, net: &Net) {
    shell.mediator(net);
    let whom = shell.whom();
    let mediator = shell.unattended("mediator");

    let practice =
        "--name 'Praxis Dr. Muster' --street 'Am Markt 2' --postal-code 10115 --city Berlin";
    let new = format!("new {whom} {practice} --evidence 12345");
    shell.run("provider", &new).good();
    shell
        .run(
            "provider",
            "apply --mediator 'Chamber North' --postal-code 10115",
        )
        .good();
    let waiting = shell.until("mediator", "applications", |d| {
        d.code == 0
            && !d.event("applications")["applications"]
                .as_array()
                .unwrap()
                .is_empty()
    });
    let application = &waiting.event("applications")["applications"][0];
    assert_eq!(application["practice"]["name"], "Praxis Dr. Muster");
    assert_eq!(application["evidence"], "12345");
    let id = &application["application"].as_str().unwrap()[..8];
    shell.run("mediator", &format!("show {id}")).good();
    let approved = shell.run("mediator", &format!("approve {id}")).good();
    assert_eq!(approved.event("approved")["serial"], 1);
    shell.until("provider", "status", |d| {
        d.code == 0 && d.event("status")["in_force"] == true
    });
    let (from, to) = morning();
    let series = format!("slots series --from {from} --to {to} --every 15 --what mRNA");
    let added = shell.run("provider", &series).good();
    assert_eq!(
        added.event("slots_added")["slots"]
            .as_array()
            .unwrap()
            .len(),
        8
    );
    shell
        .run("provider", "offers --hours 4 --per-slot 1")
        .good();
    let provider = shell.unattended("provider");
    let held = shell.run("provider", "offers").good();
    let held = held.event("offers");
    assert_eq!(
        [&held["slots"], &held["hours"], &held["per_slot"]],
        [3, 4, 1]
    );
    // Commands go to the process that runs.
    let more = shell
        .run("provider", &format!("slots add {to} --what mRNA"))
        .good();
    assert_eq!(more.event("slots_added")["slots"], serde_json::json!([8]));

    let person = "--name 'Ada Beispiel' --address 'Am Markt 1, 10115 Berlin'";
    shell.run("user", &format!("new {whom} {person}")).good();
    shell
        .run("user", "ask --postal-code 10115 --wish vaccine=mRNA")
        .good();
    let offers = shell.run("user", "offers --wait").good();
    let offer = &offers.event("offers")["offers"][0];
    assert_eq!(offer["practice"]["name"], "Praxis Dr. Muster");
    let slots = offer["slots"].as_array().unwrap();
    assert!(
        !slots.is_empty() && slots.iter().all(|s| s["state"] == "open"),
        "{slots:?}"
    );
    let id = &offer["offer"].as_str().unwrap()[..8];
    let booked = shell.run("user", &format!("book {id} 0")).good();
    assert_eq!(booked.event("confirmed")["start"], slots[0]["start"]);
    assert_eq!(booked.event("booked")["practice"], "Praxis Dr. Muster");
    let status = shell.run("user", "status").good();
    assert_eq!(status.event("status")["status"], "confirmed");
    let book = shell.run("provider", "bookings").good();
    let bookings = book.event("bookings")["bookings"].as_array().unwrap();
    assert_eq!(bookings.len(), 1);
    assert_eq!(bookings[0]["user"]["name"], "Ada Beispiel");

    shell
        .run("user", &format!("message {id} 'I may be late.'"))
        .good();
    shell.run("user", "cancel").good();
    assert_eq!(
        shell.run("user", "status").good().event("status")["status"],
        "cancelled"
    );
    shell.until("provider", "bookings", |d| {
        d.event("bookings")["bookings"]
            .as_array()
            .unwrap()
            .is_empty()
    });
    let told = fs::read_to_string(shell.dir.join("provider.log")).unwrap();
    assert!(told.contains("I may be late."), "{told}");

    // Revoked: the practice is no longer offered.
    shell.run("mediator", "revoke 1 --reason test").good();
    shell.until("provider", "status", |d| {
        d.code == 0 && d.event("status")["in_force"] == false
    });
    provider.stop();
    mediator.stop();

    // The delegated status key does its work without the mediator.
    shell.run("mediator", "delegate --out refresher").good();
    shell
        .run("mediator", "refresh --once --dir refresher")
        .good();
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_steps_are_one_line_that_says_what_to_do_and_change_nothing() {
    let _turn = machine::shared();
    let dir = tempfile::tempdir().unwrap();
    let net = Net::start(&options(dir.path(), 3, 12), now())
        .await
        .unwrap();
    let hands = tempfile::tempdir().unwrap();
    let shell = Shell::new(hands.path(), &net);
    tokio::task::block_in_place(|| wrong_steps(&shell, &net));
    net.stop().await.unwrap();
}

/// A wrong step: role, command, exit code, and what the line must say.
type Row<'a> = (&'a str, &'a str, i32, &'a str);

fn wrong_steps(shell: &Shell, net: &Net) {
    let whom = shell.whom();
    // What it says: the file itself has two places, which are written in turn.
    let state = |role: &str| {
        let file = StateFile::plain(shell.dir.join(role).join("state"));
        file.read().ok().flatten()
    };
    let check = |rows: &[Row<'_>]| {
        for (role, line, code, says) in rows {
            let before = state(role);
            let done = shell.run(role, line);
            assert_eq!(done.code, *code, "{role} {line}: {done:?}");
            let clap = done.error.starts_with("error:");
            assert!(
                clap || done.error.lines().count() == 1,
                "{role} {line}: {done:?}"
            );
            assert!(
                done.error.contains(says),
                "{role} {line}: {says:?} not in {done:?}"
            );
            assert_eq!(before, state(role), "{role} {line} changed the state");
        }
    };
    // Before there is anything.
    let away = "new --federation FED --node http://127.0.0.1:1 --name A --address B"
        .replace("FED", &shell.federation.display().to_string());
    let none = format!(
        "new --federation none.toml --node {} --name A --address B",
        shell.node
    );
    let nameless = format!("new {whom} --address B");
    check(&[
        ("user", "status", 1, "lapwing user new"),
        ("user", "offers", 1, "lapwing user new"),
        ("provider", "status", 1, "lapwing provider new"),
        ("mediator", "status", 1, "lapwing mediator new"),
        (
            "mediator",
            "refresh --once --dir refresher",
            1,
            "lapwing mediator delegate",
        ),
        ("user", &away, 3, "127.0.0.1:1"),
        ("user", &none, 1, "none.toml"),
        ("user", &nameless, 2, "--name"),
        ("user", "nonsense", 2, "nonsense"),
        ("user", "new --federation f --node ftp://a", 2, "http://"),
    ]);
    let person = "--name Ada --address Berlin";
    shell.run("user", &format!("new {whom} {person}")).good();
    shell
        .run(
            "provider",
            &format!("new {whom} --name P --street S --postal-code 10115 --city B"),
        )
        .good();
    let new = format!("new {whom} --name 'Chamber North' --no-root-passphrase");
    let made = shell.run("mediator", &new).good();
    let id = made.event("made")["mediator"].as_str().unwrap().to_owned();
    let again = format!("new {whom} {person}");
    let user = format!("status --dir {}", shell.dir.join("user").display());
    // Another mediator's: any good key will do.
    let other = net.node(0).unwrap().id().to_hex();
    shell.registration(net, &other, 1, now());
    check(&[
        ("user", &again, 1, "choose another directory"),
        ("provider", &user, 1, "lapwing user"),
        // Steps in the wrong order.
        ("user", "offers", 1, "lapwing user ask"),
        ("user", "book 3f2a 0", 1, "lapwing user ask"),
        ("user", "book --any", 1, "lapwing user ask"),
        ("user", "cancel", 1, "no booking"),
        ("user", "message 3f2a hello", 2, "lapwing user offers"),
        ("user", "ask --postal-code 10115", 1, "10115"),
        (
            "user",
            "ask --postal-code 10115 --wish vaccine",
            2,
            "KEY=VALUE",
        ),
        ("user", "ask", 2, "--postal-code"),
        (
            "provider",
            "apply --mediator North --postal-code 10115",
            2,
            "no mediator",
        ),
        ("provider", "slots remove 7", 1, "no such slot"),
        ("provider", "slots add soon --what x", 2, "no time"),
        ("provider", "offers --per-slot 9", 2, "1..=8"),
        (
            "provider",
            "slots add 2001-01-01T08:00 --what x",
            1,
            "future",
        ),
        ("mediator", "publish", 1, "lapwing mediator register"),
        ("mediator", "certify --root none", 1, "none: is missing"),
        (
            "mediator",
            "register registration.cbor",
            1,
            "not a registration of this mediator",
        ),
        (
            "mediator",
            "delegate --out refresher",
            1,
            "lapwing mediator certify",
        ),
        (
            "mediator",
            "approve 3f2a",
            1,
            "lapwing mediator applications",
        ),
        ("mediator", "revoke 7", 1, "register"),
    ]);
    shell.registration(net, &id, 1, now());
    shell.run("mediator", "register registration.cbor").good();
    check(&[("mediator", "publish", 1, "lapwing mediator certify")]);
    shell.run("mediator", "certify").good();
    fs::write(shell.dir.join("regions.toml"), REGIONS).unwrap();
    fs::write(
        shell.dir.join("bad.toml"),
        "[[region]]\nname = \"x\"\ncodes = []\n",
    )
    .unwrap();
    check(&[
        ("mediator", "regions import none.toml", 1, "none.toml"),
        ("mediator", "regions import bad.toml", 1, "line"),
        (
            "mediator",
            "regions import regions.toml --area 99",
            1,
            "--area",
        ),
        (
            "mediator",
            "regions import regions.toml",
            1,
            "20144 is outside the areas",
        ),
        ("mediator", "regions remove nowhere", 2, "regions list"),
        (
            "mediator",
            "approve 3f2a",
            1,
            "lapwing mediator applications",
        ),
        ("mediator", "show 3f2a", 1, "lapwing mediator applications"),
        ("mediator", "show 7", 1, "serial 7"),
        ("mediator", "revoke 7", 1, "serial 7"),
        ("mediator", "renew 7", 1, "serial 7"),
        ("mediator", "dismiss 7", 2, "lapwing mediator reports"),
        ("mediator", "refresh --once --dir user", 1, "lapwing user"),
    ]);
    guarded(shell, &check);
}

/// Files that are locked, damaged, exposed, or under a passphrase.
fn guarded(shell: &Shell, check: &dyn Fn(&[Row<'_>])) {
    let user = shell.dir.join("user");
    // Held by a process that takes no commands.
    let lock = fs::File::open(user.join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    check(&[
        ("user", "status", 1, "another process"),
        ("user", "watch", 1, "another process"),
    ]);
    drop(lock);
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&user.join("state"), 0o644);
    check(&[("user", "status", 1, "chmod 600")]);
    mode(&user.join("state"), 0o600);
    mode(&user, 0o755);
    check(&[("user", "status", 1, "chmod 700")]);
    mode(&user, 0o700);
    for file in ["state", "trust", "identity.toml"] {
        let path = user.join(file);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        check(&[("user", "status --offline", 1, "copy of it back")]);
        fs::write(&path, whole).unwrap();
    }
    shell.run("user", "status").good();

    // Under a passphrase.
    let secret = |name: &str, text: &str| {
        let path = shell.dir.join(name);
        fs::write(&path, text).unwrap();
        mode(&path, 0o600);
        path
    };
    let right = secret("right", "four words in order\n");
    let wrong = secret("wrong", "four words in disorder\n");
    let with = |file: &Path, line: &str| {
        let mut command = shell.command("locked", line);
        let args: Vec<_> = command.get_args().skip(1).map(ToOwned::to_owned).collect();
        let mut command_for_user = Command::new(command.get_program());
        command_for_user
            .arg("user")
            .args(args)
            .current_dir(&shell.dir)
            .stdin(Stdio::null())
            .env("LAPWING_PASSPHRASE_FILE", file);
        command = command_for_user;
        done(command.output().unwrap())
    };
    let new = format!(
        "new {} --name Ada --address Berlin --passphrase",
        shell.whom()
    );
    with(&right, &new).good();
    let kept = fs::read(shell.dir.join("locked").join("state")).unwrap();
    assert!(!kept.windows(6).any(|w| w == b"Berlin"));
    with(&right, "status --offline").good();
    let refused = with(&wrong, "status --offline");
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.error.contains("passphrase does not open"),
        "{refused:?}"
    );
    assert_eq!(
        kept,
        fs::read(shell.dir.join("locked").join("state")).unwrap()
    );
}
