//! A mediator for the nodes to hold: certificate, the regions of Germany, empty lists, status. Its
//! signing key pays for the mailboxes of a run.

use anyhow::Context;
use lapwing_protocol::bounded::{List, Text};
use lapwing_protocol::cose::sign;
use lapwing_protocol::federation::MediatorRegistration;
use lapwing_protocol::hash::record_hash;
use lapwing_protocol::id::{FederationId, MediatorId, RecordId};
use lapwing_protocol::key::{SealingSecret, SigningKey};
use lapwing_protocol::mailbox::{Life, Mailbox, SlotClass, Writers};
use lapwing_protocol::mediation::{
    Directory, ListRef, MediatorCertificate, Region, RegionList, Revocations, Status, region_id,
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
    regions: usize,
    since: Time,
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
        let regions = regions(&id, &mut rng)?;
        let count = regions.len();
        let list = RegionList {
            mediator: id,
            sequence: 1,
            issued: now,
            regions: fit(regions)?,
        };
        let list = sign(&list, &signing);
        let directory = Directory {
            mediator: id,
            sequence: 1,
            issued: now,
            certificates: List::new(),
        };
        let directory = sign(&directory, &signing);
        let revocations = Revocations {
            mediator: id,
            sequence: 1,
            issued: now,
            serials: List::new(),
        };
        let revocations = sign(&revocations, &signing);
        let named = |bytes: &[u8]| ListRef {
            sequence: 1,
            id: record_hash(bytes),
        };
        let status = Status {
            mediator: id,
            sequence: 1,
            issued: now,
            expires: now.plus(Seconds::new(lapwing_protocol::trust::MAX_STATUS_LIFE)),
            regions: named(&list),
            directory: named(&directory),
            revocations: named(&revocations),
        };
        let status = sign(&status, &signing);
        Ok(Mediator {
            id,
            certificate: record_hash(&certificate),
            records: vec![certificate, list, directory, revocations, status],
            signing,
            regions: count,
            since: now,
        })
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

    /// What it publishes, each record after those that it needs.
    pub(crate) fn records(&self) -> &[Vec<u8>] {
        &self.records
    }

    /// How many regions it has.
    pub(crate) fn regions(&self) -> usize {
        self.regions
    }
}

fn regions(id: &MediatorId, rng: &mut rand_chacha::ChaCha20Rng) -> anyhow::Result<Vec<Region>> {
    let file: File = toml::from_str(REGIONS).context("the region file is no TOML")?;
    let mut regions = Vec::new();
    for row in file.region {
        let mut salt = [0; 32];
        rng.fill_bytes(&mut salt);
        let name = text(&row.name)?;
        let codes = row
            .postal_codes
            .iter()
            .map(|c| text(c))
            .collect::<anyhow::Result<Vec<_>>>()?;
        regions.push(Region {
            id: region_id(id, &name, &salt),
            name,
            criteria: fit(vec![(text("vaccine")?, text("influenza")?)])?,
            postal_codes: fit(codes)?,
            salt,
            key_version: 1,
            sealing: SealingSecret::generate(rng).public(),
        });
    }
    regions.sort_by_key(|r| r.id);
    Ok(regions)
}

fn text<const MAX: usize>(s: &str) -> anyhow::Result<Text<MAX>> {
    Text::try_from(s).with_context(|| format!("{s:?} is too long"))
}

pub(crate) fn fit<T, const MAX: usize>(items: Vec<T>) -> anyhow::Result<List<T, MAX>> {
    List::try_from(items).map_err(|_| anyhow::anyhow!("more than {MAX} entries"))
}
