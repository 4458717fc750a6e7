//! Runs the real binary's commands as a person at a shell does, and reads what they say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use lapwing_client::driver::now;
use lapwing_protocol::bounded::{List, Text};
use lapwing_protocol::federation::MediatorRegistration;
use lapwing_protocol::time::{Seconds, Time};
use lapwing_testnet::net::Net;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::start::lapwing;

/// How long a step may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(240);

/// What a command came to.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) code: i32,
    pub(super) said: Vec<Value>,
    pub(super) error: String,
}

impl Done {
    /// The last event of this name.
    #[track_caller]
    pub(super) fn event(&self, name: &str) -> &Value {
        let found = self.said.iter().rev().find(|v| v["event"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    #[track_caller]
    pub(super) fn good(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }
}

/// Where the commands of a test are run.
pub(super) struct Shell {
    pub(super) dir: PathBuf,
    pub(super) federation: PathBuf,
    pub(super) node: String,
}

impl Shell {
    pub(super) fn new(dir: &Path, net: &Net) -> Self {
        Shell {
            dir: dir.to_owned(),
            federation: net.path().join("federation.toml"),
            node: format!("http://{}", net.node(0).unwrap().api()),
        }
    }

    pub(super) fn command(&self, role: &str, line: &str) -> Command {
        let mut command = Command::new(lapwing());
        command.arg(role).args(words(line)).arg("--json");
        if !line.contains("--dir") {
            command.arg("--dir").arg(self.dir.join(role));
        }
        command.current_dir(&self.dir).stdin(Stdio::null());
        command
    }

    /// Runs `lapwing ROLE LINE`; words with spaces stand in quotation marks.
    pub(super) fn run(&self, role: &str, line: &str) -> Done {
        done(self.command(role, line).output().unwrap())
    }

    /// Runs it until it says something that `enough` accepts.
    #[track_caller]
    pub(super) fn until(&self, role: &str, line: &str, enough: impl Fn(&Done) -> bool) -> Done {
        let begun = Instant::now();
        loop {
            let done = self.run(role, line);
            if enough(&done) {
                return done;
            }
            assert!(begun.elapsed() < PATIENCE, "{role} {line}: {done:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    pub(super) fn whom(&self) -> String {
        format!(
            "--federation {} --node {}",
            self.federation.display(),
            self.node
        )
    }

    pub(super) fn unattended(&self, role: &str) -> Running {
        let log = fs::File::create(self.dir.join(format!("{role}.log"))).unwrap();
        let mut command = self.command(role, "run --every 1");
        let child = command
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let socket = self.dir.join(role).join("control.sock");
        let begun = Instant::now();
        while !socket.exists() {
            assert!(begun.elapsed() < PATIENCE, "{role} does not run");
            std::thread::sleep(Duration::from_millis(20));
        }
        Running { child }
    }

    /// A registration of the mediator for postal codes that begin with 10, signed by the operators.
    pub(super) fn registration(
        &self,
        net: &Net,
        mediator: &str,
        sequence: u64,
        now: Time,
    ) -> PathBuf {
        let registration = MediatorRegistration {
            federation: net.founders().federation().id(),
            mediator: mediator.parse().unwrap(),
            sequence,
            name: Text::try_from("Chamber North").unwrap(),
            areas: List::try_from(vec![Text::try_from("10").unwrap()]).unwrap(),
            issued: now,
            expires: now.plus(Seconds::days(365)),
        };
        let path = self.dir.join("registration.cbor");
        fs::write(&path, net.founders().sign_registration(&registration)).unwrap();
        path
    }

    /// A mediator that is registered and certified, with one region.
    pub(super) fn mediator(&self, net: &Net) {
        let whom = self.whom();
        let new = format!("new {whom} --name 'Chamber North' --no-root-passphrase");
        let made = self.run("mediator", &new).good();
        let id = made.event("made")["mediator"].as_str().unwrap().to_owned();
        let told = self.run("mediator", "register --area 10").good();
        assert_eq!(told.event("mediator")["mediator"], id.as_str());
        // The operators run what is printed; the name is the mediator's own.
        let command = told.event("mediator")["command"].as_str().unwrap();
        assert!(
            command.contains("--name 'Chamber North' --area 10 "),
            "{command}"
        );
        let key = net.path().join("operator-1.key");
        let command = command.replace("operator.key", &key.display().to_string());
        let mut words = words(&command).into_iter();
        assert_eq!(words.next().as_deref(), Some("lapwing"));
        let mut sign = Command::new(lapwing());
        sign.args(words).arg("--federation").arg(&self.federation);
        let signed = sign.current_dir(&self.dir).output().unwrap();
        assert!(signed.status.success(), "{signed:?}");
        self.run("mediator", "register registration.cbor").good();
        self.run("mediator", "certify").good();
        fs::write(self.dir.join("regions.toml"), REGIONS).unwrap();
        let imported = self
            .run(
                "mediator",
                "regions import regions.toml --area 101 --criterion vaccine=mRNA",
            )
            .good();
        assert_eq!(imported.event("regions_imported")["added"], 1);
        let again = "regions import regions.toml --area 101 --criterion vaccine=mRNA";
        let again = self.run("mediator", again).good();
        assert_eq!(again.event("regions_imported")["added"], 0);
        self.run("mediator", "publish").good();
    }
}

pub(super) const REGIONS: &str = r#"
[[region]]
name = "101 Berlin"
area = "101"
postal_codes = ["10115", "10117"]

[[region]]
name = "201 Hamburg"
area = "201"
postal_codes = ["20144"]
"#;

pub(super) fn done(output: Output) -> Done {
    let text = String::from_utf8(output.stdout).unwrap();
    Done {
        code: output.status.code().unwrap_or(-1),
        said: text
            .lines()
            .map(|l| serde_json::from_str(l).unwrap_or_else(|_| panic!("no JSON: {l}")))
            .collect(),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The words of a command line; single quotation marks keep spaces.
pub(super) fn words(line: &str) -> Vec<String> {
    line.split('\'')
        .enumerate()
        .flat_map(|(n, part)| -> Vec<String> {
            if n % 2 == 1 {
                vec![part.to_owned()]
            } else {
                part.split_whitespace().map(str::to_owned).collect()
            }
        })
        .collect()
}

/// A process that runs an identity; killed when the test ends.
pub(super) struct Running {
    pub(super) child: Child,
}

impl Running {
    /// Stops it as a service manager does, and waits.
    pub(super) fn stop(mut self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// The day after tomorrow at eight, as people write it.
pub(super) fn morning() -> (String, String) {
    let day = now().day().plus(2).start();
    let text = |hours: u32| {
        let days = (day.get() / 86_400) as i64;
        let (y, m, d) = civil(days);
        format!("{y:04}-{m:02}-{d:02}T{hours:02}:00Z")
    };
    (text(8), text(10))
}

pub(super) fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + days.div_euclid(146_097) * 400 + i64::from(month <= 2);
    (year, month, day)
}
