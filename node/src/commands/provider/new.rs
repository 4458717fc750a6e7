//! Makes a provider.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args;
use lapwing_protocol::mediation::Practice;
use lapwing_protocol::role::{Provider, Role};
use rand_core::UnwrapErr;
use serde::Deserialize;
use serde_json::json;

use crate::commands::federation::files;
use crate::commands::role::{Common, Failure, Home, NewHome, Out, Player, Said, meet, words};

/// Most bytes of a file with a practice's data.
const MAX_DATA: u64 = 64 * 1024;

/// Which practice. The mediator verifies it, and users see it with every offer.
#[derive(Args)]
#[command(after_help = "\
Examples:
  lapwing provider new --federation federation.toml --node http://127.0.0.1:8080 \\
      --name \"Praxis Dr. Muster\" --street \"Am Markt 2\" --postal-code 10115 --city Berlin \\
      --evidence \"Chamber of physicians, number 12345\"
  lapwing provider new --federation federation.toml --node http://127.0.0.1:8080 --data practice.toml

The file of --data has the same fields: name, street, postal_code, city, notes, evidence; TOML, or JSON if
its name ends so.")]
pub(super) struct New {
    #[command(flatten)]
    home: NewHome,
    /// The practice's name.
    #[arg(long, required_unless_present = "data")]
    name: Option<String>,
    /// Street and number.
    #[arg(long, required_unless_present = "data")]
    street: Option<String>,
    /// Postal code.
    #[arg(long, required_unless_present = "data")]
    postal_code: Option<String>,
    /// City.
    #[arg(long, required_unless_present = "data")]
    city: Option<String>,
    /// Shown with every offer, such as how to get in.
    #[arg(long)]
    notes: Option<String>,
    /// For the mediator alone: how it can verify the practice.
    #[arg(long)]
    evidence: Option<String>,
    /// A file with these fields.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "street", "postal_code", "city", "notes", "evidence"])]
    data: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: String,
    street: String,
    postal_code: String,
    city: String,
    #[serde(default)]
    notes: String,
    #[serde(default)]
    evidence: String,
}

impl New {
    pub(super) async fn make(self, common: &Common) -> Result<(), Failure> {
        let dir = common.dir(Provider::NAME)?;
        Home::vacant(&dir)?;
        let raw = self.raw()?;
        let practice = Practice {
            name: words::text("name", &wanted("name", &raw.name)?)?,
            street: words::text("street", &wanted("street", &raw.street)?)?,
            postal_code: words::text("postal-code", &wanted("postal-code", &raw.postal_code)?)?,
            city: words::text("city", &wanted("city", &raw.city)?)?,
            notes: words::text("notes", &raw.notes)?,
        };
        let evidence = words::text("evidence", &raw.evidence)?;
        let passphrase = self.home.passphrase()?;
        let (view, places) = meet(&self.home.federation, &self.home.nodes).await?;
        let node = places.first().map(|p| p.id);
        let node = node.ok_or_else(|| anyhow!("give a --node"))?;
        // Where the operating system has no randomness, the process may only end.
        let mut rng = UnwrapErr(getrandom::SysRng);
        let provider = Provider::create(practice, evidence, view, node, &mut rng);
        Home::create(&dir, Provider::NAME, places, &provider, passphrase.as_ref())?;
        let mediators: Vec<String> = provider
            .view()
            .mediators()
            .filter(|(_, m)| m.registered())
            .map(|(id, m)| format!("{} ({})", m.registration().name.as_str(), words::short(id)))
            .collect();
        let known = if mediators.is_empty() {
            "No mediator is registered yet".to_owned()
        } else {
            format!("Mediators: {}", mediators.join("; "))
        };
        Out::print(common.json).say(&Said::new(
            "made",
            format!(
                "{}: a provider of {}. {known}.\nNext: `lapwing provider apply --mediator NAME --postal-code CODE`.",
                dir.display(),
                provider.view().federation().name.as_str(),
            ),
            json!({ "dir": dir, "node": provider.node().to_hex() }),
        ));
        Ok(())
    }

    fn raw(&self) -> Result<Raw, Failure> {
        let Some(file) = &self.data else {
            let text = |given: &Option<String>| given.clone().unwrap_or_default();
            return Ok(Raw {
                name: text(&self.name),
                street: text(&self.street),
                postal_code: text(&self.postal_code),
                city: text(&self.city),
                notes: text(&self.notes),
                evidence: text(&self.evidence),
            });
        };
        let bytes = files::read(file, MAX_DATA)?;
        let text = std::str::from_utf8(&bytes)
            .with_context(|| format!("{}: is no text", file.display()))?;
        let raw: Result<Raw, anyhow::Error> = if file.extension().is_some_and(|e| e == "json") {
            serde_json::from_str(text).map_err(Into::into)
        } else {
            toml::from_str(text).map_err(|e| anyhow!("{}", e.message()))
        };
        Ok(raw.with_context(|| file.display().to_string())?)
    }
}

fn wanted(field: &str, given: &str) -> Result<String, Failure> {
    let given = given.trim();
    if given.is_empty() {
        return Err(Failure::Usage(anyhow!(
            "a practice has a {field}: give --{field}"
        )));
    }
    Ok(given.to_owned())
}
