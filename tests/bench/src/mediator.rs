//! A mediator for the nodes to hold: certificate, the regions of Germany, provider certificates,
//! directory, revocations, status. Its signing key pays for the mailboxes of a run.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use lapwing_protocol::bounded::{List, Text};
use lapwing_protocol::cose::sign;
use lapwing_protocol::federation::MediatorRegistration;
use lapwing_protocol::hash::record_hash;
use lapwing_protocol::id::{FederationId, MediatorId, RecordId, RegionId};
use lapwing_protocol::key::{SealingSecret, SigningKey};
use lapwing_protocol::mailbox::{Life, Mailbox, SlotClass, Writers};
use lapwing_protocol::mediation::{
    Directory, ListRef, MAX_CERTIFICATE_LIFE, MediatorCertificate, ProviderCertificate, Region,
    RegionList, Revocations, Status, region_id,
};
use lapwing_protocol::size::SizeClass;
use lapwing_protocol::time::{Seconds, Time};
use lapwing_testnet::seeds::Seeds;
use rand_core::Rng;
use serde::Deserialize;

const REGIONS: &str = include_str!("../../../configs/regions/regions-de.toml");

/// A mediator and all that it publishes.
pub(crate) struct Mediator {
    id: MediatorId,
    signing: SigningKey,
    certificate: RecordId,
    records: Vec<Vec<u8>>,
    regions: Vec<(RegionId, SealingSecret)>,
    list: ListRef,
    /// The sequence of directory, revocations and status: they are always signed together.
    sequence: u64,
    /// Certificates that were not revoked, by serial.
    in_force: BTreeMap<u64, RecordId>,
    revoked: BTreeSet<u64>,
    since: Time,
}

/// A provider that the mediator vouches for.
pub(crate) struct Vouched {
    pub(crate) serial: u64,
    /// The record id of its certificate.
    pub(crate) id: RecordId,
    /// Signs its claims.
    pub(crate) signing: SigningKey,
    /// The certificate.
    pub(crate) certificate: Vec<u8>,
}

#[derive(Deserialize)]
struct File {
    region: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    postal_codes: Vec<String>,
}

impl Mediator {
    /// Draws its keys and signs everything.
    pub(crate) fn new(seeds: Seeds, now: Time) -> anyhow::Result<Self> {
        let mut rng = seeds.stream("mediator", 0);
        let root = SigningKey::generate(&mut rng);
        let signing = SigningKey::generate(&mut rng);
        let id = MediatorId::from_bytes(*root.verifying_key().as_bytes());
        let mut nonce = [0; 16];
        rng.fill_bytes(&mut nonce);
        let certificate = MediatorCertificate {
            mediator: id,
            sequence: 1,
            signing: signing.verifying_key(),
            sealing: SealingSecret::generate(&mut rng).public(),
            status: SigningKey::generate(&mut rng).verifying_key(),
            inbox: Mailbox {
                read: SigningKey::generate(&mut rng).verifying_key(),
                writers: Writers::Work(10),
                size: SizeClass::Medium,
                slots: SlotClass::Free,
                life: Life::Days120,
                day: now.day(),
                nonce,
            },
            issued: now,
            expires: now.plus(Seconds::days(180)),
        };
        let certificate = sign(&certificate, &root);
        let (regions, secrets) = regions(&id, &mut rng)?;
        let list = RegionList {
            mediator: id,
            sequence: 1,
            issued: now,
            regions: fit(regions)?,
        };
        let list = sign(&list, &signing);
        let mut mediator = Mediator {
            id,
            certificate: record_hash(&certificate),
            list: ListRef {
                sequence: 1,
                id: record_hash(&list),
            },
            records: vec![certificate, list],
            signing,
            regions: secrets,
            sequence: 0,
            in_force: BTreeMap::new(),
            revoked: BTreeSet::new(),
            since: now,
        };
        let lists = mediator.lists(now)?;
        mediator.records.extend(lists);
        Ok(mediator)
    }

    /// Signs the next directory, revocations and status, in this order.
    pub(crate) fn lists(&mut self, now: Time) -> anyhow::Result<[Vec<u8>; 3]> {
        self.sequence += 1;
        let (mediator, sequence) = (self.id, self.sequence);
        let mut certificates: Vec<RecordId> = self.in_force.values().copied().collect();
        certificates.sort_unstable();
        let directory = Directory {
            mediator,
            sequence,
            issued: now,
            certificates: fit(certificates)?,
        };
        let directory = sign(&directory, &self.signing);
        let revocations = Revocations {
            mediator,
            sequence,
            issued: now,
            serials: fit(self.revoked.iter().copied().collect())?,
        };
        let revocations = sign(&revocations, &self.signing);
        let named = |bytes: &[u8]| ListRef {
            sequence,
            id: record_hash(bytes),
        };
        let status = Status {
            mediator,
            sequence,
            issued: now,
            expires: now.plus(Seconds::new(lapwing_protocol::trust::MAX_STATUS_LIFE)),
            regions: self.list,
            directory: named(&directory),
            revocations: named(&revocations),
        };
        let status = sign(&status, &self.signing);
        Ok([directory, revocations, status])
    }

    /// Certifies a provider for regions by number. In force with the next [`Mediator::lists`].
    pub(crate) fn certify(
        &mut self,
        seeds: Seeds,
        regions: impl IntoIterator<Item = usize>,
        now: Time,
    ) -> anyhow::Result<Vouched> {
        let serial = u64::try_from(self.in_force.len() + self.revoked.len())? + 1;
        let mut rng = seeds.stream("vouched", serial);
        let signing = SigningKey::generate(&mut rng);
        let mut practice = [0; 32];
        rng.fill_bytes(&mut practice);
        let mut served = regions
            .into_iter()
            .map(|n| self.region(n).map(|(id, _)| *id))
            .collect::<anyhow::Result<Vec<_>>>()?;
        served.sort_unstable();
        let certificate = ProviderCertificate {
            mediator: self.id,
            serial,
            signing: signing.verifying_key(),
            sealing: SealingSecret::generate(&mut rng).public(),
            regions: fit(served)?,
            practice,
            issued: now,
            expires: now.plus(Seconds::new(MAX_CERTIFICATE_LIFE)),
        };
        let certificate = sign(&certificate, &self.signing);
        let id = record_hash(&certificate);
        self.in_force.insert(serial, id);
        Ok(Vouched {
            serial,
            id,
            signing,
            certificate,
        })
    }

    /// Revokes a certificate. In force with the next [`Mediator::lists`].
    pub(crate) fn revoke(&mut self, serial: u64) {
        self.in_force.remove(&serial);
        self.revoked.insert(serial);
    }

    /// The sequence of the lists that were signed last.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// A region by number, with its key.
    pub(crate) fn region(&self, n: usize) -> anyhow::Result<&(RegionId, SealingSecret)> {
        self.regions.get(n).context("no such region")
    }

    /// Its id.
    pub(crate) fn id(&self) -> MediatorId {
        self.id
    }

    /// Its registration for everywhere, for operators to sign.
    pub(crate) fn registration(
        &self,
        federation: FederationId,
    ) -> anyhow::Result<MediatorRegistration> {
        Ok(MediatorRegistration {
            federation,
            mediator: self.id,
            sequence: 1,
            name: text("Bench mediator")?,
            areas: fit(vec![text("")?])?,
            issued: self.since,
            expires: self.since.plus(Seconds::days(365)),
        })
    }

    /// Signs orders to open mailboxes.
    pub(crate) fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// The record id of its certificate.
    pub(crate) fn certificate(&self) -> RecordId {
        self.certificate
    }

    /// What it publishes first, each record after those that it needs.
    pub(crate) fn records(&self) -> &[Vec<u8>] {
        &self.records
    }

    /// How many regions it has.
    pub(crate) fn regions(&self) -> usize {
        self.regions.len()
    }

    /// The region list.
    pub(crate) fn region_list(&self) -> RecordId {
        self.list.id
    }
}

/// The regions, sorted, and each one's key.
type Regions = (Vec<Region>, Vec<(RegionId, SealingSecret)>);

fn regions(id: &MediatorId, rng: &mut rand_chacha::ChaCha20Rng) -> anyhow::Result<Regions> {
    let file: File = toml::from_str(REGIONS).context("the region file is no TOML")?;
    let (mut regions, mut secrets) = (Vec::new(), Vec::new());
    for row in file.region {
        let mut salt = [0; 32];
        rng.fill_bytes(&mut salt);
        let name = text(&row.name)?;
        let codes = row
            .postal_codes
            .iter()
            .map(|c| text(c))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let (region, secret) = (region_id(id, &name, &salt), SealingSecret::generate(rng));
        regions.push(Region {
            id: region,
            name,
            criteria: fit(vec![(text("vaccine")?, text("influenza")?)])?,
            postal_codes: fit(codes)?,
            salt,
            key_version: 1,
            sealing: secret.public(),
        });
        secrets.push((region, secret));
    }
    regions.sort_by_key(|r| r.id);
    Ok((regions, secrets))
}

pub(crate) fn text<const MAX: usize>(s: &str) -> anyhow::Result<Text<MAX>> {
    Text::try_from(s).with_context(|| format!("{s:?} is too long"))
}

pub(crate) fn fit<T, const MAX: usize>(items: Vec<T>) -> anyhow::Result<List<T, MAX>> {
    List::try_from(items).map_err(|_| anyhow::anyhow!("more than {MAX} entries"))
}
