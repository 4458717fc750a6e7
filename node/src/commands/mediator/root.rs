//! The mediator's root key: its file, and what is done with it on a machine of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use lapwing_client::driver::now;
use lapwing_client::file;
use lapwing_client::locked::{self, FileKey, LockError};
use lapwing_protocol::role::mediator::MediatorRoot;
use lapwing_protocol::time::Time;
use rand_core::UnwrapErr;
use serde_json::json;

use crate::commands::federation::{date, files};
use crate::commands::passphrase::Passphrase;
use crate::commands::role::words::{exact, shown};
use crate::commands::role::{Failure, Out, Said};

/// Most bytes of an order or a certificate.
const MAX_ORDER: u64 = 16 * 1024;

/// A command to the root key.
#[derive(Subcommand)]
pub(super) enum RootCommand {
    /// Make a root key, and with it a new mediator.
    New(NewRoot),
    /// Sign the certificate that was ordered.
    Certify(CertifyOrder),
}

/// Where to.
#[derive(Args)]
#[command(after_help = "\
On a machine that is never online:
  lapwing mediator root new root.key
and on the working machine, with the id that it prints:
  lapwing mediator new --federation federation.toml --node http://127.0.0.1:8080 --name \"Chamber North\" \\
      --mediator 5ac1…")]
pub(super) struct NewRoot {
    /// The root key's file; must not exist.
    file: PathBuf,
    /// Keep it without a passphrase.
    #[arg(long)]
    no_passphrase: bool,
}

/// What to sign.
#[derive(Args)]
#[command(after_help = "\
On the machine of the root key, with the file that `lapwing mediator order` wrote:
  lapwing mediator root certify --root root.key order.cbor --out certificate.cbor
and back on the working machine:
  lapwing mediator certified certificate.cbor")]
pub(super) struct CertifyOrder {
    /// The root key's file.
    #[arg(long, value_name = "FILE", default_value = "root.key")]
    root: PathBuf,
    /// The order.
    order: PathBuf,
    /// For how many days the certificate is good; not longer than its inbox lives.
    #[arg(long, default_value_t = 110, value_parser = clap::value_parser!(u32).range(1..=120))]
    days: u32,
    /// The certificate.
    #[arg(long, value_name = "FILE", default_value = "certificate.cbor")]
    out: PathBuf,
}

impl RootCommand {
    pub(super) fn run(self, json: bool) -> Result<(), Failure> {
        let out = Out::print(json);
        match self {
            RootCommand::New(new) => {
                let root = RootFile::make(&new.file, !new.no_passphrase)?;
                out.say(&Said::new(
                    "root_made",
                    format!(
                        "{}: the root key of mediator {}. Keep it offline, and a copy elsewhere.\nNext, on the working machine: `lapwing mediator new … --mediator {}`.",
                        new.file.display(),
                        root.root.id(),
                        root.root.id()
                    ),
                    json!({ "mediator": root.root.id().to_hex(), "file": new.file }),
                ));
            }
            RootCommand::Certify(certify) => {
                let order = files::read(&certify.order, MAX_ORDER)?;
                let mut root = RootFile::open(&certify.root)?;
                let expires = date::after_days(now(), certify.days);
                let certificate = root
                    .certify(&order, expires)
                    .with_context_of(&certify.order)?;
                files::replace(&certify.out, &certificate)?;
                out.say(&Said::new(
                    "certificate_signed",
                    format!(
                        "{}: signed, until {}.\nNext, on the working machine: `lapwing mediator certified {}`.",
                        certify.out.display(),
                        shown(expires),
                        certify.out.display()
                    ),
                    json!({ "file": certify.out, "expires": exact(expires) }),
                ));
            }
        }
        Ok(())
    }
}

/// Names the file that a failure is about.
trait WithFile<T> {
    fn with_context_of(self, path: &Path) -> Result<T, Failure>;
}

impl<T> WithFile<T> for Result<T, Failure> {
    fn with_context_of(self, path: &Path) -> Result<T, Failure> {
        self.map_err(|failure| match failure {
            Failure::Failed(e) => Failure::Failed(e.context(path.display().to_string())),
            other => other,
        })
    }
}

/// A root key that is open.
pub(super) struct RootFile {
    path: PathBuf,
    key: Option<FileKey>,
    root: MediatorRoot,
}

impl RootFile {
    /// Makes a root key and its file, which only its owner can read; nothing is overwritten.
    pub(super) fn make(path: &Path, ask: bool) -> Result<Self, Failure> {
        if path.exists() {
            return Err(anyhow!(
                "{}: exists already and is not overwritten: choose another name",
                path.display()
            )
            .into());
        }
        let key = match Passphrase::for_new_key(ask)? {
            None => None,
            Some(passphrase) => {
                let mut salt = [0; 32];
                getrandom::fill(&mut salt)
                    .map_err(|e| anyhow!("the operating system gives no randomness ({e})"))?;
                Some(FileKey::new(salt, passphrase.stretch(&salt)?))
            }
        };
        // Randomness was had a moment ago; where it fails now, the process may only end.
        let root = MediatorRoot::create(&mut UnwrapErr(getrandom::SysRng));
        let made = RootFile {
            path: path.to_owned(),
            key,
            root,
        };
        made.store()?;
        Ok(made)
    }

    /// Opens a root key's file; asks for the passphrase where it is under one.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let bytes = file::read(path)?.ok_or_else(|| {
            anyhow!(
                "{shown}: is missing: name the root key's file, or carry the order to its machine"
            )
        })?;
        let known = fs::metadata(path).with_context(|| format!("{shown}: cannot be read"))?;
        if known.permissions().mode() & 0o077 != 0 {
            return Err(anyhow!("{shown}: others may read it: run `chmod 600` on it").into());
        }
        let (key, plain) = match locked::salt(&bytes) {
            None => (None, bytes),
            Some(salt) => {
                let key = FileKey::new(salt, Passphrase::for_key(path)?.stretch(&salt)?);
                let plain = locked::unlock(&key, &bytes).map_err(|e| match e {
                    LockError::WrongKey => {
                        anyhow!("{shown}: the passphrase does not open it: try again")
                    }
                    e => anyhow!("{shown}: {e}: put a copy of it back"),
                })?;
                (Some(key), plain)
            }
        };
        let root = MediatorRoot::restore(&plain)
            .map_err(|e| anyhow!("{shown}: {e}: put a copy of it back"))?;
        Ok(RootFile {
            path: path.to_owned(),
            key,
            root,
        })
    }

    /// The root.
    pub(super) fn root(&self) -> &MediatorRoot {
        &self.root
    }

    /// Signs what was ordered. That it did is on disk before the certificate is given away.
    pub(super) fn certify(&mut self, order: &[u8], expires: Time) -> Result<Vec<u8>, Failure> {
        let asked = MediatorRoot::read_order(order).map_err(|e| anyhow!("{e}"))?;
        let certificate = self
            .root
            .certify(order, expires.min(asked.inbox.expires()))
            .map_err(|e| anyhow!("{e}"))?;
        self.store()?;
        Ok(certificate)
    }

    fn store(&self) -> Result<(), Failure> {
        let plain = self.root.save();
        match &self.key {
            None => file::write(&self.path, &plain)?,
            Some(key) => {
                let bytes = locked::lock(key, &plain)
                    .map_err(|e| anyhow!("{}: {e}", self.path.display()))?;
                file::write(&self.path, &bytes)?;
            }
        }
        Ok(())
    }
}
