//! Makes a user.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args;
use lapwing_protocol::role::{Role, User};
use lapwing_protocol::token::UserData;
use serde::Deserialize;
use serde_json::json;

use crate::commands::federation::files;
use crate::commands::role::{Common, Failure, Home, NewHome, Out, Player, Said, meet, words};

/// Most bytes of a file with a user's data.
const MAX_DATA: u64 = 64 * 1024;

/// Who asks. Nobody learns it but the provider with whom an appointment is booked.
#[derive(Args)]
#[command(after_help = "\
Examples:
  lapwing user new --federation federation.toml --node http://127.0.0.1:8080 \\
      --name \"Ada Beispiel\" --address \"Am Markt 1, 10115 Berlin\" --email ada@example.org
  lapwing user new --federation federation.toml --node http://127.0.0.1:8080 --data me.toml --passphrase

The file of --data has the same fields: name, address, email, telephone; TOML, or JSON if its name ends so.
On a terminal, what is not given is asked for.")]
pub(super) struct New {
    #[command(flatten)]
    home: NewHome,
    /// Full name.
    #[arg(long)]
    name: Option<String>,
    /// Postal address.
    #[arg(long)]
    address: Option<String>,
    /// E-mail address, if the provider may write there.
    #[arg(long)]
    email: Option<String>,
    /// Telephone number, if the provider may call.
    #[arg(long)]
    telephone: Option<String>,
    /// A file with these fields.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "address", "email", "telephone"])]
    data: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: Option<String>,
    address: Option<String>,
    email: Option<String>,
    telephone: Option<String>,
}

impl New {
    pub(super) async fn make(self, common: &Common) -> Result<(), Failure> {
        let dir = common.dir(User::NAME)?;
        Home::vacant(&dir)?;
        let data = self.data()?;
        let passphrase = self.home.passphrase()?;
        let (view, places) = meet(&self.home.federation, &self.home.nodes).await?;
        let node = places.first().map(|p| p.id);
        let node = node.ok_or_else(|| anyhow!("give a --node"))?;
        let user = User::create(data, view, node);
        Home::create(&dir, User::NAME, places, &user, passphrase.as_ref())?;
        Out::print(common.json).say(&Said::new(
            "made",
            format!(
                "{}: a user of {}.\nNext: `lapwing user ask --postal-code CODE`.",
                dir.display(),
                user.view().federation().name.as_str()
            ),
            json!({ "dir": dir, "node": user.node().to_hex() }),
        ));
        Ok(())
    }

    fn data(&self) -> Result<UserData, Failure> {
        let raw = match &self.data {
            Some(file) => {
                let bytes = files::read(file, MAX_DATA)?;
                let text = std::str::from_utf8(&bytes)
                    .with_context(|| format!("{}: is no text", file.display()))?;
                let json = file.extension().is_some_and(|e| e == "json");
                let raw: Result<Raw, anyhow::Error> = if json {
                    serde_json::from_str(text).map_err(Into::into)
                } else {
                    toml::from_str(text).map_err(|e| anyhow!("{}", e.message()))
                };
                raw.with_context(|| file.display().to_string())?
            }
            None => self.asked()?,
        };
        let wanted = |field: &str, given: Option<String>| {
            given
                .filter(|v| !v.trim().is_empty())
                .ok_or_else(|| Failure::Usage(anyhow!("a user has a {field}: give --{field}")))
        };
        Ok(UserData {
            name: words::text("name", &wanted("name", raw.name)?)?,
            address: words::text("address", &wanted("address", raw.address)?)?,
            email: words::text("email", &raw.email.unwrap_or_default())?,
            telephone: words::text("telephone", &raw.telephone.unwrap_or_default())?,
        })
    }

    /// The options, and on a terminal the answers to what they leave out.
    fn asked(&self) -> Result<Raw, Failure> {
        let mut raw = Raw {
            name: self.name.clone(),
            address: self.address.clone(),
            email: self.email.clone(),
            telephone: self.telephone.clone(),
        };
        if (raw.name.is_some() && raw.address.is_some()) || !std::io::stdin().is_terminal() {
            return Ok(raw);
        }
        for (what, field) in [
            ("Full name", &mut raw.name),
            ("Postal address", &mut raw.address),
            ("E-mail (or nothing)", &mut raw.email),
            ("Telephone (or nothing)", &mut raw.telephone),
        ] {
            if field.is_none() {
                *field = Some(prompt(what)?);
            }
        }
        Ok(raw)
    }
}

fn prompt(what: &str) -> anyhow::Result<String> {
    let mut out = std::io::stderr().lock();
    write!(out, "{what}: ").and_then(|()| out.flush())?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}
