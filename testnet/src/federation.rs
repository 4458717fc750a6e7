//! The founders of a federation: root keys, operators, the roster, and the registration of mediators.
//! Everything by the protocol's own code; what is signed here is what a real federation signs offline.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use lapwing_protocol::bounded::{List, Text};
use lapwing_protocol::cose::sign_multi;
use lapwing_protocol::federation::{
    Federation, MediatorRegistration, NodeEntry, Operator, Params, Roster,
};
use lapwing_protocol::id::{NodeId, OperatorId, to_hex};
use lapwing_protocol::key::{SigningKey, VerifyingKey};
use lapwing_protocol::time::{Seconds, Time};
use rand_core::Rng;
use zeroize::Zeroizing;

use crate::seeds::Seeds;

/// How many root keys there are.
const ROOTS: usize = 3;
/// How many of them sign a roster.
const THRESHOLD: usize = 2;
/// How long roster and registrations last.
const LIFE: Seconds = Seconds::days(365);

/// Why no federation can be founded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoundError {
    /// A name is too long.
    #[error("a name is too long")]
    Name,
    /// More nodes, areas or keys than a record holds.
    #[error("more than a record holds")]
    TooMany,
}

/// One operator: its identity and the key that signs registrations.
#[derive(Clone, Debug)]
struct Founder {
    id: OperatorId,
    name: String,
    key: SigningKey,
}

/// Who founds a federation, with all secrets.
#[derive(Clone, Debug)]
pub struct Founders {
    roots: Vec<SigningKey>,
    federation: Federation,
    operators: Vec<Founder>,
    params: Params,
}

/// What the standard parameters are changed to, so that a run on one machine need not wait: tokens
/// cost 8 bits of work, letters to a mediator 10. Nothing else differs.
#[must_use]
pub fn quick_params() -> Params {
    Params {
        token_work: 8,
        box_work: 10,
        ..Params::standard()
    }
}

impl Founders {
    /// Draws the keys of a federation of so many operators.
    ///
    /// # Errors
    /// [`FoundError`].
    pub fn new(
        name: &str,
        operators: usize,
        params: Params,
        seeds: Seeds,
    ) -> Result<Self, FoundError> {
        let mut rng = seeds.stream("federation", 0);
        let mut roots: Vec<SigningKey> =
            (0..ROOTS).map(|_| SigningKey::generate(&mut rng)).collect();
        roots.sort_by_key(|key| *key.verifying_key().as_bytes());
        let federation = Federation {
            name: Text::try_from(name).map_err(|_| FoundError::Name)?,
            roots: list(roots.iter().map(SigningKey::verifying_key).collect())?,
            threshold: u8::try_from(THRESHOLD).map_err(|_| FoundError::TooMany)?,
        };
        let operators = (0..operators)
            .map(|n| {
                let mut rng = seeds.stream("operator", n as u64);
                let mut id = [0; 32];
                rng.fill_bytes(&mut id);
                let key = SigningKey::generate(&mut rng);
                Founder {
                    id: OperatorId::from_bytes(id),
                    name: format!("Operator {}", n + 1),
                    key,
                }
            })
            .collect();
        Ok(Founders {
            roots,
            federation,
            operators,
            params,
        })
    }

    /// What apps and nodes pin.
    #[must_use]
    pub fn federation(&self) -> &Federation {
        &self.federation
    }

    /// The file by which a node pins it, naming the roster's file beside it.
    #[must_use]
    pub fn file(&self, roster: &str) -> String {
        let mut text = String::new();
        let roots: Vec<String> = self
            .federation
            .roots
            .iter()
            .map(|k| format!("\"{}\"", to_hex(k.as_bytes())))
            .collect();
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "name = {}\nthreshold = {}\nroots = [{}]\nroster = {}\n",
            toml::Value::from(self.federation.name.as_str()),
            self.federation.threshold,
            roots.join(", "),
            toml::Value::from(roster),
        );
        text
    }

    /// Signs a roster in which each operator has one of the nodes, in order.
    ///
    /// # Errors
    /// [`FoundError`].
    pub fn roster(
        &self,
        nodes: &[(NodeId, VerifyingKey)],
        sequence: u64,
        now: Time,
    ) -> Result<Vec<u8>, FoundError> {
        let operators = self.operators.iter().zip(nodes).map(|(o, (id, signing))| {
            Ok(Operator {
                id: o.id,
                name: Text::try_from(o.name.as_str()).map_err(|_| FoundError::Name)?,
                key: o.key.verifying_key(),
                nodes: list(vec![NodeEntry {
                    id: *id,
                    signing: *signing,
                }])?,
            })
        });
        let roster = Roster {
            federation: self.federation.id(),
            sequence,
            issued: now,
            expires: now.plus(LIFE),
            params: self.params.clone(),
            operators: list(operators.collect::<Result<_, FoundError>>()?)?,
        };
        Ok(sign_multi(
            &roster,
            &self.roots.iter().take(THRESHOLD).collect::<Vec<_>>(),
        ))
    }

    /// Signs the registration of a mediator by as many operators as the parameters ask for.
    #[must_use]
    pub fn sign_registration(&self, registration: &MediatorRegistration) -> Vec<u8> {
        let signers = usize::from(self.params.mediator_signatures);
        sign_multi(
            registration,
            &self
                .operators
                .iter()
                .take(signers)
                .map(|o| &o.key)
                .collect::<Vec<_>>(),
        )
    }

    /// Writes each operator's key into a directory, as `operator-N.key`, in the form that `lapwing
    /// federation operator new` gives it: who tries the federation out can sign in an operator's name.
    ///
    /// # Errors
    /// What the operating system says; a file that is there is left as it is.
    pub fn write_keys(&self, dir: &Path) -> io::Result<()> {
        for (n, operator) in self.operators.iter().enumerate() {
            let text = Zeroizing::new(format!(
                "# The secret key of an operator of a testnet.\nversion = 1\nuse = \"operator\"\nid = \"{}\"\nname = {}\npublic_key = \"{}\"\nsecret = \"{}\"\n",
                operator.id.to_hex(),
                toml::Value::from(operator.name.as_str()),
                to_hex(operator.key.verifying_key().as_bytes()),
                to_hex(&operator.key.seed()),
            ));
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(dir.join(format!("operator-{}.key", n + 1)))?;
            file.write_all(text.as_bytes())?;
        }
        Ok(())
    }

    /// The names of the operators whose signature a registration carries.
    pub fn registrars(&self) -> impl Iterator<Item = &str> {
        self.operators
            .iter()
            .take(usize::from(self.params.mediator_signatures))
            .map(|o| o.name.as_str())
    }
}

fn list<T, const MAX: usize>(items: Vec<T>) -> Result<List<T, MAX>, FoundError> {
    List::try_from(items).map_err(|_| FoundError::TooMany)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapwing_protocol::id::MediatorId;
    use lapwing_protocol::trust::TrustView;

    #[test]
    fn what_founders_sign_is_accepted() {
        let now = Time::new(1_800_000_000);
        let founders = Founders::new("Test", 5, quick_params(), Seeds::new(1)).unwrap();
        let mut rng = Seeds::new(1).stream("node", 0);
        let nodes: Vec<_> = (0..5)
            .map(|_| {
                let key = SigningKey::generate(&mut rng).verifying_key();
                (
                    NodeId::from_bytes(*key.as_bytes()),
                    SigningKey::generate(&mut rng).verifying_key(),
                )
            })
            .collect();
        let mut view = TrustView::new(founders.federation().clone()).unwrap();
        view.learn(&founders.roster(&nodes, 1, now).unwrap(), now)
            .unwrap();
        let mediator =
            MediatorId::from_bytes(*SigningKey::generate(&mut rng).verifying_key().as_bytes());
        let registration = MediatorRegistration {
            federation: founders.federation().id(),
            mediator,
            sequence: 1,
            name: Text::try_from("M").unwrap(),
            areas: list(vec![Text::try_from("").unwrap()]).unwrap(),
            issued: now,
            expires: now.plus(LIFE),
        };
        view.learn(&founders.sign_registration(&registration), now)
            .unwrap();
        assert_eq!(view.roster().unwrap().nodes().count(), 5);
        assert!(view.mediator(&mediator).unwrap().registered());
        let file: toml::Table = toml::from_str(&founders.file("roster.cbor")).unwrap();
        assert_eq!(file["roots"].as_array().unwrap().len(), 3);
        assert_eq!(file["threshold"].as_integer(), Some(2));
    }
}
