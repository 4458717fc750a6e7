//! A whole federation made from a seed, for tests: this crate's and, by the feature `testing`, others'.
//!
//! Everything follows from the seed, and every secret key can be had. It is no part of the protocol.
// Test support: a fixture that cannot be made must stop the test.
#![allow(clippy::expect_used)]

mod mediator;

pub use mediator::{TestMediator, TestProvider, TestRegion};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::bounded::{List, Text};
use crate::cose::sign_multi;
use crate::federation::{Federation, MediatorRegistration, NodeEntry, Operator, Params, Roster};
use crate::id::{NodeId, OperatorId, RecordId, RegionId};
use crate::key::{SealingKey, SigningKey, VerifyingKey};
use crate::mediation::Practice;
use crate::time::{Seconds, Time};
use crate::trust::TrustView;

/// When every fixture begins: 2027-01-15T08:00:00Z.
pub const START: Time = Time::new(1_800_000_000);
/// How many regions the mediator of a fixture has, unless told otherwise.
pub const REGIONS: usize = 3;

/// One node with its secrets.
#[derive(Clone, Debug)]
pub struct TestNode {
    /// Its id: the public half of `peer`.
    pub id: NodeId,
    /// Its libp2p key.
    pub peer: SigningKey,
    /// The key with which it signs statements.
    pub signing: SigningKey,
}

/// One operator with its secrets.
#[derive(Clone, Debug)]
pub struct TestOperator {
    /// Its id.
    pub id: OperatorId,
    /// Signs registrations.
    pub key: SigningKey,
    /// Its nodes.
    pub nodes: Vec<TestNode>,
}

/// A federation of one node an operator and one mediator.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// Draws everything; at hand for what a test needs besides.
    pub rng: ChaCha20Rng,
    /// The time at which new records are signed; a test moves it.
    pub now: Time,
    /// The three root keys, of which two sign; sorted like those of `federation`.
    pub roots: Vec<SigningKey>,
    /// What apps pin.
    pub federation: Federation,
    /// The parameters of the next roster.
    pub params: Params,
    /// The operators of the next roster.
    pub operators: Vec<TestOperator>,
    /// The sequence of the last roster; zero before the first.
    pub roster_sequence: u64,
    /// The last roster, signed.
    pub roster: Vec<u8>,
    /// The sequence of the last registration.
    pub registration_sequence: u64,
    /// The mediator's last registration, signed.
    pub registration: Vec<u8>,
    /// The mediator.
    pub mediator: TestMediator,
}

/// A text within its bound.
///
/// # Panics
/// Where it is not.
#[must_use]
pub fn text<const MAX: usize>(s: &str) -> Text<MAX> {
    Text::try_from(s).expect("a text within its bound")
}

/// A list within its bound.
///
/// # Panics
/// Where it is not.
#[must_use]
pub fn list<T, const MAX: usize>(items: Vec<T>) -> List<T, MAX> {
    match List::try_from(items) {
        Ok(l) => l,
        Err(_) => unreachable!("a list within its bound"),
    }
}

/// 32 random bytes.
#[must_use]
pub fn bytes32(rng: &mut ChaCha20Rng) -> [u8; 32] {
    let mut out = [0; 32];
    rng.fill_bytes(&mut out);
    out
}

impl Fixture {
    /// A federation of so many nodes, each of an operator of its own, by the standard parameters with
    /// cheap work, and one mediator with [`REGIONS`] regions.
    #[must_use]
    pub fn new(seed: u64, nodes: usize) -> Self {
        Self::with(seed, nodes, REGIONS, |_| ())
    }

    /// As [`Fixture::new`], with other parameters or another number of regions.
    #[must_use]
    pub fn with(seed: u64, nodes: usize, regions: usize, tune: impl FnOnce(&mut Params)) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut roots: Vec<SigningKey> = (0..3).map(|_| SigningKey::generate(&mut rng)).collect();
        roots.sort_by_key(|k| *k.verifying_key().as_bytes());
        let federation = Federation {
            name: text("Test federation"),
            roots: list(roots.iter().map(SigningKey::verifying_key).collect()),
            threshold: 2,
        };
        let mut params = Params::standard();
        params.token_work = 4;
        params.box_work = 4;
        tune(&mut params);
        let mediator = TestMediator::new(&mut rng, regions);
        let mut f = Fixture {
            rng,
            now: START,
            roots,
            federation,
            params,
            operators: Vec::new(),
            roster_sequence: 0,
            roster: Vec::new(),
            registration_sequence: 0,
            registration: Vec::new(),
            mediator,
        };
        for _ in 0..nodes {
            f.add_operator(1);
        }
        f.sign_roster();
        f.register(&[""]);
        f.mediator.sign_certificate(f.now);
        f.mediator.sign_regions(f.now);
        f.mediator.sign_lists(f.now);
        f.mediator.sign_status(f.now);
        f
    }

    /// Adds an operator with so many nodes; it joins with the next [`Fixture::sign_roster`].
    pub fn add_operator(&mut self, nodes: usize) {
        let rng = &mut self.rng;
        let nodes = (0..nodes)
            .map(|_| {
                let peer = SigningKey::generate(rng);
                TestNode {
                    id: NodeId::from(&peer.verifying_key()),
                    peer,
                    signing: SigningKey::generate(rng),
                }
            })
            .collect();
        let id = OperatorId::from_bytes(bytes32(rng));
        self.operators.push(TestOperator {
            id,
            key: SigningKey::generate(rng),
            nodes,
        });
    }

    /// The roster that would be signed next.
    #[must_use]
    pub fn next_roster(&self) -> Roster {
        let operators = self.operators.iter().enumerate().map(|(i, o)| Operator {
            id: o.id,
            name: text(&format!("Operator {i}")),
            key: o.key.verifying_key(),
            nodes: list(
                o.nodes
                    .iter()
                    .map(|n| NodeEntry {
                        id: n.id,
                        signing: n.signing.verifying_key(),
                    })
                    .collect(),
            ),
        });
        Roster {
            federation: self.federation.id(),
            sequence: self.roster_sequence + 1,
            issued: self.now,
            expires: self.now.plus(Seconds::days(365)),
            params: self.params.clone(),
            operators: list(operators.collect()),
        }
    }

    /// Signs a new roster of the operators as they are, by two of the three roots.
    pub fn sign_roster(&mut self) -> Vec<u8> {
        let roster = self.next_roster();
        self.roster_sequence = roster.sequence;
        self.roster = sign_multi(&roster, &self.roots.iter().take(2).collect::<Vec<_>>());
        self.roster.clone()
    }

    /// The registration that would be signed next, for areas by prefix of the postal code.
    #[must_use]
    pub fn next_registration(&self, areas: &[&str]) -> MediatorRegistration {
        MediatorRegistration {
            federation: self.federation.id(),
            mediator: self.mediator.id,
            sequence: self.registration_sequence + 1,
            name: text("Test mediator"),
            areas: list(areas.iter().map(|a| text(a)).collect()),
            issued: self.now,
            expires: self.now.plus(Seconds::days(365)),
        }
    }

    /// Registers the mediator anew, signed by as many operators as the parameters ask for.
    pub fn register(&mut self, areas: &[&str]) -> Vec<u8> {
        let registration = self.next_registration(areas);
        self.registration_sequence = registration.sequence;
        let m = usize::from(self.params.mediator_signatures);
        let keys: Vec<&SigningKey> = self.operators.iter().take(m).map(|o| &o.key).collect();
        self.registration = sign_multi(&registration, &keys);
        self.registration.clone()
    }

    /// Every node, in the roster's order.
    pub fn nodes(&self) -> impl Iterator<Item = &TestNode> {
        self.operators.iter().flat_map(|o| o.nodes.iter())
    }

    /// A node by its id.
    ///
    /// # Panics
    /// Where there is none.
    #[must_use]
    pub fn node(&self, id: &NodeId) -> &TestNode {
        self.nodes()
            .find(|n| n.id == *id)
            .expect("a node of the fixture")
    }

    /// The id of the mediator's region of that number.
    ///
    /// # Panics
    /// Where there is none.
    #[must_use]
    pub fn region(&self, at: usize) -> RegionId {
        self.mediator
            .regions
            .get(at)
            .expect("a region of the fixture")
            .region
            .id
    }

    /// Everything that is in force, each record after those that it needs.
    #[must_use]
    pub fn records(&self) -> Vec<Vec<u8>> {
        let mut out = vec![self.roster.clone(), self.registration.clone()];
        out.extend(self.mediator.records());
        out
    }

    /// A view that has learned [`Fixture::records`].
    ///
    /// # Panics
    /// Where one of them is refused.
    #[must_use]
    pub fn view(&self) -> TrustView {
        let mut view = TrustView::new(self.federation.clone()).expect("a federation");
        self.teach(&mut view);
        view
    }

    /// Teaches a view [`Fixture::records`].
    ///
    /// # Panics
    /// Where one of them is refused.
    pub fn teach(&self, view: &mut TrustView) {
        for record in self.records() {
            view.learn(&record, self.now)
                .expect("a record of the fixture");
        }
    }

    /// A new provider, certified for regions by number; directory and status follow.
    ///
    /// # Panics
    /// Where there is no such region.
    pub fn certify(&mut self, regions: &[usize]) -> TestProvider {
        let ids: Vec<RegionId> = regions.iter().map(|r| self.region(*r)).collect();
        let mut provider = TestProvider::new(&mut self.rng);
        let (signing, sealing) = (provider.signing.verifying_key(), provider.sealing.public());
        let (serial, bytes) = self.certify_keys(signing, sealing, &provider.practice, &ids);
        provider.serial = serial;
        provider.id = crate::hash::record_hash(&bytes);
        provider.certificate = bytes;
        provider
    }

    /// Certifies a provider by its public keys; directory and status follow. Gives serial and record.
    pub fn certify_keys(
        &mut self,
        signing: VerifyingKey,
        sealing: SealingKey,
        practice: &Practice,
        regions: &[RegionId],
    ) -> (u64, Vec<u8>) {
        let out = self
            .mediator
            .certify(signing, sealing, practice, regions, self.now);
        self.mediator.sign_lists(self.now);
        self.mediator.sign_status(self.now);
        out
    }

    /// Revokes a certificate by its serial; revocations, directory and status follow.
    pub fn revoke(&mut self, serial: u64) {
        self.mediator.revoked.insert(serial);
        self.mediator.sign_lists(self.now);
        self.mediator.sign_status(self.now);
    }

    /// Gives a region a new key version; the region list and status follow. Gives the record's id.
    ///
    /// # Panics
    /// Where there is no such region.
    pub fn renew_region(&mut self, at: usize) -> RecordId {
        let region = self
            .mediator
            .regions
            .get_mut(at)
            .expect("a region of the fixture");
        region.renew(&mut self.rng);
        self.mediator.sign_regions(self.now);
        self.mediator.sign_status(self.now);
        crate::hash::record_hash(&self.mediator.region_list)
    }
}
