//! The roster: drafted as text, signed by one root after the other, looked at.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use lapwing_protocol::cose::MultiSigned;
use lapwing_protocol::federation::{Federation, Operator, Params, Roster};
use lapwing_protocol::id::to_hex;
use lapwing_protocol::problem::Problem;
use lapwing_protocol::trust::TrustView;
use serde_json::{Value, json};

use super::files::{self, Readers};
use super::keyfile::KeyFile;
use super::{cosign, date, draft, entry, params};
use crate::commands::role::words;
use crate::config;
use crate::shell::now;

/// Who is in the federation: draft, sign, look.
#[derive(Subcommand)]
pub(crate) enum RosterCommand {
    /// Write a draft that people can read and edit.
    Draft(Draft),
    /// Add an operator's entry to a draft.
    Admit(Admit),
    /// Add a root's signature to the roster of a draft.
    Sign(Sign),
    /// Show a signed roster, and check its signatures.
    Show(Show),
}

impl RosterCommand {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            RosterCommand::Draft(c) => c.run(),
            RosterCommand::Admit(c) => c.run(),
            RosterCommand::Sign(c) => c.run(),
            RosterCommand::Show(c) => c.run(),
        }
    }
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  lapwing federation roster draft --operator north.toml south.toml --out roster.toml
  lapwing federation roster draft --from roster.cbor --operator east.toml --out roster-2.toml

With --from, the operators and parameters of the roster before stay, an entry with an id that is there
takes the place of the former one, and the sequence is one higher. To let an operator go, or to change a
parameter, edit the draft.")]
pub(crate) struct Draft {
    /// The federation file.
    #[arg(long, value_name = "FILE", default_value = "federation.toml")]
    federation: PathBuf,
    /// An operator's entry; may be repeated.
    #[arg(long = "operator", value_name = "FILE", num_args = 1..)]
    operators: Vec<PathBuf>,
    /// The new draft; never overwritten.
    #[arg(long, value_name = "FILE", default_value = "roster.toml")]
    out: PathBuf,
    /// For how many days nodes follow it.
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=i64::from(date::MAX_DAYS)))]
    expires_days: u32,
    /// The roster before, as signed.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

impl Draft {
    fn run(self) -> anyhow::Result<()> {
        let (federation, _) = config::load_pinned(&self.federation)?;
        let (mut operators, params, sequence) = match &self.from {
            None => (Vec::new(), Params::standard(), 1),
            Some(file) => {
                let before = checked(&federation, file, cosign::read(file)?)?;
                let before = before.unverified();
                let next = before.sequence.checked_add(1);
                let next = next
                    .ok_or_else(|| anyhow!("{}: has the last sequence there is", file.display()))?;
                (before.operators.to_vec(), before.params.clone(), next)
            }
        };
        for file in &self.operators {
            let new = entry::read(file)?;
            match operators.iter_mut().find(|o| o.id == new.id) {
                Some(former) => *former = new,
                None => operators.push(new),
            }
        }
        let issued = now().time();
        let roster = Roster {
            federation: federation.id(),
            sequence,
            issued,
            expires: date::after_days(issued, self.expires_days),
            params,
            operators: draft::list_of_operators(operators)?,
        };
        draft::check(&roster)?;
        let text = draft::render(&roster, &federation);
        files::write_new(&self.out, Readers::All, text.as_bytes())?;
        println!(
            "{}: a draft of roster {sequence} (operators: {}); read it, then sign it with every root",
            self.out.display(),
            roster.operators.len()
        );
        Ok(())
    }
}

#[derive(Args)]
#[command(after_help = "\
Example:
  lapwing federation roster admit --roster roster.toml --operator east.toml

The draft must not have been signed yet: a roster that one root has signed does not change.")]
pub(crate) struct Admit {
    /// The draft.
    #[arg(long, value_name = "FILE", default_value = "roster.toml")]
    roster: PathBuf,
    /// The operator's entry.
    #[arg(long, value_name = "FILE")]
    operator: PathBuf,
}

impl Admit {
    fn run(self) -> anyhow::Result<()> {
        let new = entry::read(&self.operator)?;
        let mut text = config::read(&self.roster)?;
        let before = draft::parse(&self.roster, &text, None)?;
        if before.operators.iter().any(|o| o.id == new.id) {
            bail!(
                "{}: has the operator {:?} already: edit its entry there",
                self.roster.display(),
                new.name.as_str()
            );
        }
        // At the end, so that what people wrote into the draft stays.
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&entry::render_in_draft(&new));
        let after = draft::parse(&self.roster, &text, None)?;
        files::replace(&self.roster, text.as_bytes())?;
        println!(
            "{}: {:?} is in the draft (operators: {})",
            self.roster.display(),
            new.name.as_str(),
            after.operators.len()
        );
        Ok(())
    }
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  lapwing federation roster sign --draft roster.toml --key root-1.key --into roster.cbor
  lapwing federation roster sign --draft roster.toml --key root-2.key --into roster.cbor

Every root signs the same draft; hand roster.cbor on from one to the next. Once enough have signed, put
`roster = \"roster.cbor\"` into the federation file, or `lapwing publish` it to a running node.")]
pub(crate) struct Sign {
    /// The federation file.
    #[arg(long, value_name = "FILE", default_value = "federation.toml")]
    federation: PathBuf,
    /// The draft.
    #[arg(long, value_name = "FILE", default_value = "roster.toml")]
    draft: PathBuf,
    /// The root's key file.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The roster: made, or given one more signature.
    #[arg(long, value_name = "FILE", default_value = "roster.cbor")]
    into: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Sign {
    fn run(self) -> anyhow::Result<()> {
        let (federation, _) = config::load_pinned(&self.federation)?;
        let roster = draft::read(&self.draft, &federation)?;
        let key = KeyFile::read(&self.key)?;
        key.root()?;
        if !federation.roots.contains(key.public()) {
            bail!(
                "{}: is no root of {:?}: sign with the key of one that {} names",
                self.key.display(),
                federation.name.as_str(),
                self.federation.display()
            );
        }
        let before = match cosign::read_if_there(&self.into)? {
            None => None,
            Some(before) => {
                let before = checked(&federation, &self.into, before)?;
                same(before.unverified(), &roster)
                    .with_context(|| self.into.display().to_string())?;
                Some(before)
            }
        };
        let signed = cosign::sign(&roster, before.as_ref(), &key.unlock()?)?;
        let (found, needed) = (signed.signers.len(), usize::from(federation.threshold));
        accepted(&federation, &signed.bytes, found < needed)?;
        files::replace(&self.into, &signed.bytes)?;
        if self.json {
            println!(
                "{}",
                json!({
                    "sequence": roster.sequence, "signatures": found, "threshold": needed,
                    "complete": found >= needed, "signers": signed.signers(), "file": self.into,
                })
            );
            return Ok(());
        }
        println!(
            "{}: roster {} has {found} of {}{}",
            self.into.display(),
            roster.sequence,
            words::count(needed, "signature"),
            if signed.again {
                "; this root had signed before"
            } else {
                ""
            }
        );
        println!(
            "{}",
            if found < needed {
                "Next: the next root signs the same draft into it."
            } else {
                "Next: name it as `roster` in the federation file, or `lapwing publish` it."
            }
        );
        Ok(())
    }
}

/// That a file which is to get another signature holds the roster of the draft.
fn same(before: &Roster, roster: &Roster) -> anyhow::Result<()> {
    let (held, new) = (before.sequence, roster.sequence);
    if before == roster {
        Ok(())
    } else if new < held {
        bail!(
            "holds roster {held}, and the draft goes back to {new}, which nodes refuse: draft with `--from`"
        )
    } else if new > held {
        bail!("holds roster {held}, and the draft is roster {new}: choose another file")
    } else {
        bail!(
            "holds another roster {held} than the draft: never sign two with one number; sign the draft that was signed before, or raise `sequence`"
        )
    }
}

/// That the nodes would take it; too few signatures are no fault yet.
fn accepted(federation: &Federation, bytes: &[u8], more_to_come: bool) -> anyhow::Result<()> {
    let view = TrustView::new(federation.clone())
        .map_err(|p| anyhow!("the federation file cannot be used: {}", p.message()))?;
    match view.check_stored(bytes) {
        Ok(_) => Ok(()),
        Err(Problem::WrongSigner) if more_to_come => Ok(()),
        Err(p) => bail!(
            "nodes would refuse the roster ({}): correct the draft",
            p.text()
        ),
    }
}

/// That every signature is a root's and holds, be they enough or not.
fn checked(
    federation: &Federation,
    path: &Path,
    roster: MultiSigned<Roster>,
) -> anyhow::Result<MultiSigned<Roster>> {
    if roster.unverified().federation != federation.id() {
        bail!(
            "{}: is a roster of another federation than {:?}: check both files",
            path.display(),
            federation.name.as_str()
        );
    }
    let held = roster.clone();
    roster.verify(&federation.roots, 1).map_err(|e| {
        anyhow!(
            "{}: {e}, so it is not by this federation's roots: have it sent again",
            path.display()
        )
    })?;
    Ok(held)
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  lapwing federation roster show roster.cbor --federation federation.toml
  lapwing federation roster show roster.cbor --json

Without --federation the signatures are not checked.")]
pub(crate) struct Show {
    /// The roster.
    file: PathBuf,
    /// The federation file, to check the signatures.
    #[arg(long, value_name = "FILE")]
    federation: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Show {
    fn run(self) -> anyhow::Result<()> {
        let mut signed = cosign::read::<Roster>(&self.file)?;
        let mut threshold = None;
        if let Some(file) = &self.federation {
            let (federation, _) = config::load_pinned(file)?;
            signed = checked(&federation, &self.file, signed)?;
            threshold = Some(federation.threshold);
        }
        if self.json {
            println!("{}", roster_json(&signed, threshold));
        } else {
            print(&signed, threshold);
        }
        Ok(())
    }
}

/// An operator as JSON, in the words of its entry.
pub(super) fn operator_json(o: &Operator) -> Value {
    let node = |n: &lapwing_protocol::federation::NodeEntry| json!({ "id": n.id.to_hex(), "signing_key": to_hex(n.signing.as_bytes()) });
    json!({
        "id": o.id.to_hex(),
        "name": o.name.as_str(),
        "key": to_hex(o.key.as_bytes()),
        "nodes": o.nodes.iter().map(node).collect::<Vec<_>>(),
    })
}

fn roster_json(signed: &MultiSigned<Roster>, threshold: Option<u8>) -> Value {
    let r = signed.unverified();
    let params: serde_json::Map<String, Value> = params::list(&r.params)
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let signers: Vec<String> = signed.signers().map(to_hex).collect();
    json!({
        "id": signed.id().to_hex(),
        "federation": r.federation.to_hex(),
        "sequence": r.sequence,
        "issued": r.issued.get(),
        "expires": r.expires.get(),
        "params": params,
        "operators": r.operators.iter().map(operator_json).collect::<Vec<_>>(),
        "checked": threshold.is_some(),
        "threshold": threshold,
        "complete": threshold.map(|t| signers.len() >= usize::from(t)),
        "signers": signers,
    })
}

fn print(signed: &MultiSigned<Roster>, threshold: Option<u8>) {
    let r = signed.unverified();
    let found = signed.signers().count();
    let over = if r.expires < now().time() {
        "  over: sign a new one"
    } else {
        ""
    };
    println!("roster      {}", r.sequence);
    println!("id          {}", signed.id());
    println!("federation  {}", r.federation);
    println!("issued      {}", date::text(r.issued));
    println!("expires     {}{over}", date::text(r.expires));
    match threshold {
        Some(t) if found < usize::from(t) => {
            println!("signatures  {found} of {t}: not yet to be followed");
        }
        Some(t) => println!("signatures  {found} of {t}, checked"),
        None => println!("signatures  {found}, not checked: give --federation"),
    }
    for signer in signed.signers() {
        println!("  by        {}", to_hex(signer));
    }
    for (name, value) in params::list(&r.params) {
        println!("{name:<20} {value}");
    }
    for o in &r.operators {
        println!("operator    {:?}", o.name.as_str());
        println!("  id        {}", o.id);
        println!("  key       {}", to_hex(o.key.as_bytes()));
        for n in &o.nodes {
            println!("  node      {}", n.id);
        }
    }
}
