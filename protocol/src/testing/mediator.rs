//! The fixture's mediator, its regions and its providers.

use std::collections::BTreeSet;

use rand_chacha::ChaCha20Rng;
use rand_core::Rng;

use super::{bytes32, list, text};
use crate::cose::sign;
use crate::hash::record_hash;
use crate::id::{MediatorId, RecordId, RegionId};
use crate::key::{SealingKey, SealingSecret, SigningKey, VerifyingKey};
use crate::mailbox::{Life, Mailbox, SlotClass, Writers};
use crate::mediation::{
    Directory, ListRef, MAX_CERTIFICATE_LIFE, MediatorCertificate, Practice, ProviderCertificate,
    Region, RegionList, Revocations, Status, region_id,
};
use crate::size::SizeClass;
use crate::time::{Seconds, Time};
use crate::trust::MAX_STATUS_LIFE;

/// One region with the secret of its current key version.
#[derive(Clone, Debug)]
pub struct TestRegion {
    /// As it is published.
    pub region: Region,
    /// Opens what is sealed to it.
    pub secret: SealingSecret,
}

impl TestRegion {
    /// Draws the next key version; it is not published by that.
    pub fn renew(&mut self, rng: &mut ChaCha20Rng) {
        self.secret = SealingSecret::generate(rng);
        self.region.key_version += 1;
        self.region.sealing = self.secret.public();
    }
}

/// One provider with its secrets and its certificate.
#[derive(Clone, Debug)]
pub struct TestProvider {
    /// Signs claims, offers and confirmations.
    pub signing: SigningKey,
    /// Opens approvals.
    pub sealing: SealingSecret,
    /// What was verified.
    pub practice: Practice,
    /// The certificate's serial.
    pub serial: u64,
    /// The certificate's record id.
    pub id: RecordId,
    /// The certificate, signed.
    pub certificate: Vec<u8>,
}

impl TestProvider {
    /// Keys without a certificate.
    pub(super) fn new(rng: &mut ChaCha20Rng) -> Self {
        TestProvider {
            signing: SigningKey::generate(rng),
            sealing: SealingSecret::generate(rng),
            practice: Practice {
                name: text("Practice"),
                street: text("Street 1"),
                postal_code: text("10115"),
                city: text("Berlin"),
                notes: text(""),
            },
            serial: 0,
            id: RecordId::from_bytes([0; 32]),
            certificate: Vec::new(),
        }
    }
}

/// The mediator with its secrets and all that it has published last. Records are signed by `now`, so
/// that a test can make them earlier or later; the fields are there to make wrong ones.
#[derive(Clone, Debug)]
pub struct TestMediator {
    /// Its id: the public half of `root`.
    pub id: MediatorId,
    /// Signs its certificates.
    pub root: SigningKey,
    /// Signs all else.
    pub signing: SigningKey,
    /// The delegated key.
    pub status_key: SigningKey,
    /// Opens applications.
    pub sealing: SealingSecret,
    /// Reads `inbox`.
    pub reading: SigningKey,
    /// For applications; written with work of 4 bits.
    pub inbox: Mailbox,
    /// The regions, sorted by id.
    pub regions: Vec<TestRegion>,
    /// The serial of the next provider certificate.
    pub next_serial: u64,
    /// The provider certificates of the directory, by record id, with their serials.
    pub listed: Vec<(RecordId, u64)>,
    /// Every provider certificate that was signed.
    pub certificates: Vec<Vec<u8>>,
    /// The serials revoked.
    pub revoked: BTreeSet<u64>,
    /// The sequence of the last record of each kind, by its type.
    pub sequences: [u64; 9],
    /// The mediator certificate, signed.
    pub certificate: Vec<u8>,
    /// The region list, signed.
    pub region_list: Vec<u8>,
    /// The directory, signed.
    pub directory: Vec<u8>,
    /// The revocations, signed.
    pub revocations: Vec<u8>,
    /// The revocations that `status` names: a re-dated one may name longer ones.
    pub base_revocations: Vec<u8>,
    /// The status of the signing key, signed.
    pub status: Vec<u8>,
    /// The status of the status key, signed, if there was one since `status`.
    pub redated: Option<Vec<u8>>,
}

impl TestMediator {
    pub(super) fn new(rng: &mut ChaCha20Rng, regions: usize) -> Self {
        let root = SigningKey::generate(rng);
        let reading = SigningKey::generate(rng);
        let id = MediatorId::from_bytes(*root.verifying_key().as_bytes());
        let mut nonce = [0; 16];
        rng.fill_bytes(&mut nonce);
        let inbox = Mailbox {
            read: reading.verifying_key(),
            writers: Writers::Work(4),
            size: SizeClass::Medium,
            slots: SlotClass::Free,
            life: Life::Days120,
            nonce,
            day: super::START.day(),
        };
        let mut regions: Vec<TestRegion> = (0..regions).map(|i| test_region(rng, &id, i)).collect();
        regions.sort_by_key(|r| r.region.id);
        TestMediator {
            id,
            root,
            signing: SigningKey::generate(rng),
            status_key: SigningKey::generate(rng),
            sealing: SealingSecret::generate(rng),
            reading,
            inbox,
            regions,
            next_serial: 1,
            listed: Vec::new(),
            certificates: Vec::new(),
            revoked: BTreeSet::new(),
            sequences: [0; 9],
            certificate: Vec::new(),
            region_list: Vec::new(),
            directory: Vec::new(),
            revocations: Vec::new(),
            base_revocations: Vec::new(),
            status: Vec::new(),
            redated: None,
        }
    }

    fn next(&mut self, kind: usize) -> u64 {
        match self.sequences.get_mut(kind) {
            Some(s) => {
                *s += 1;
                *s
            }
            None => 0,
        }
    }

    /// Everything that is in force, each record after those that it needs.
    #[must_use]
    pub fn records(&self) -> Vec<Vec<u8>> {
        let mut out = vec![
            self.certificate.clone(),
            self.region_list.clone(),
            self.directory.clone(),
            self.base_revocations.clone(),
            self.status.clone(),
        ];
        if let Some(redated) = &self.redated {
            if self.revocations != self.base_revocations {
                out.push(self.revocations.clone());
            }
            out.push(redated.clone());
        }
        let listed = |c: &&Vec<u8>| self.listed.iter().any(|(id, _)| *id == record_hash(c));
        out.extend(self.certificates.iter().filter(listed).cloned());
        out
    }

    /// Signs a certificate for the keys as they are.
    pub fn sign_certificate(&mut self, now: Time) -> Vec<u8> {
        let certificate = MediatorCertificate {
            mediator: self.id,
            sequence: self.next(3),
            signing: self.signing.verifying_key(),
            sealing: self.sealing.public(),
            status: self.status_key.verifying_key(),
            inbox: self.inbox.clone(),
            issued: now,
            expires: now.plus(Seconds::days(180)),
        };
        self.certificate = sign(&certificate, &self.root);
        self.certificate.clone()
    }

    /// Signs a list of the regions as they are.
    pub fn sign_regions(&mut self, now: Time) -> Vec<u8> {
        let regions = RegionList {
            mediator: self.id,
            sequence: self.next(4),
            issued: now,
            regions: list(self.regions.iter().map(|r| r.region.clone()).collect()),
        };
        self.region_list = sign(&regions, &self.signing);
        self.region_list.clone()
    }

    /// Signs a directory of what is certified and not revoked.
    pub fn sign_directory(&mut self, now: Time) -> Vec<u8> {
        self.listed
            .retain(|(_, serial)| !self.revoked.contains(serial));
        self.listed.sort();
        let directory = Directory {
            mediator: self.id,
            sequence: self.next(6),
            issued: now,
            certificates: list(self.listed.iter().map(|(id, _)| *id).collect()),
        };
        self.directory = sign(&directory, &self.signing);
        self.directory.clone()
    }

    /// Signs the revocations, by the status key if it is asked for.
    pub fn sign_revocations(&mut self, now: Time, delegated: bool) -> Vec<u8> {
        let revocations = Revocations {
            mediator: self.id,
            sequence: self.next(7),
            issued: now,
            serials: list(self.revoked.iter().copied().collect()),
        };
        let key = if delegated {
            &self.status_key
        } else {
            &self.signing
        };
        self.revocations = sign(&revocations, key);
        self.revocations.clone()
    }

    /// Signs directory and revocations.
    pub fn sign_lists(&mut self, now: Time) {
        self.sign_directory(now);
        self.sign_revocations(now, false);
    }

    /// The status that names the lists as they are; `sequence` counts on.
    pub fn next_status(&mut self, now: Time) -> Status {
        let name = |kind: usize, bytes: &[u8], sequences: &[u64; 9]| ListRef {
            sequence: sequences.get(kind).copied().unwrap_or_default(),
            id: record_hash(bytes),
        };
        Status {
            mediator: self.id,
            sequence: self.next(8),
            issued: now,
            expires: now.plus(Seconds::new(MAX_STATUS_LIFE)),
            regions: name(4, &self.region_list, &self.sequences),
            directory: name(6, &self.directory, &self.sequences),
            revocations: name(7, &self.revocations, &self.sequences),
        }
    }

    /// Signs a status that names the lists as they are.
    pub fn sign_status(&mut self, now: Time) -> Vec<u8> {
        let status = self.next_status(now);
        self.status = sign(&status, &self.signing);
        self.base_revocations = self.revocations.clone();
        self.redated = None;
        self.status.clone()
    }

    /// Signs a status by the status key.
    pub fn redate(&mut self, now: Time) -> Vec<u8> {
        let status = sign(&self.next_status(now), &self.status_key);
        self.redated = Some(status.clone());
        status
    }

    /// Certifies a provider for the longest life, and lists it; no list is signed by that. Gives
    /// serial and record.
    pub fn certify(
        &mut self,
        signing: VerifyingKey,
        sealing: SealingKey,
        practice: &Practice,
        regions: &[RegionId],
        now: Time,
    ) -> (u64, Vec<u8>) {
        let mut regions = regions.to_vec();
        regions.sort();
        regions.dedup();
        let serial = self.next_serial;
        self.next_serial += 1;
        let certificate = ProviderCertificate {
            mediator: self.id,
            serial,
            signing,
            sealing,
            regions: list(regions),
            practice: practice.hash(),
            issued: now,
            expires: now.plus(Seconds::new(MAX_CERTIFICATE_LIFE)),
        };
        let bytes = sign(&certificate, &self.signing);
        self.listed.push((record_hash(&bytes), serial));
        self.certificates.push(bytes.clone());
        (serial, bytes)
    }
}

fn test_region(rng: &mut ChaCha20Rng, mediator: &MediatorId, number: usize) -> TestRegion {
    let secret = SealingSecret::generate(rng);
    let salt = bytes32(rng);
    let name = text(&format!("Region {number}"));
    // Five digits, and distinct for up to a thousand regions.
    let code = |last: usize| text(&format!("1{:03}{last}", number % 1000));
    let region = Region {
        id: region_id(mediator, &name, &salt),
        name,
        criteria: list(vec![(text("vaccine"), text("test"))]),
        postal_codes: list(vec![code(1), code(5)]),
        salt,
        key_version: 1,
        sealing: secret.public(),
    };
    TestRegion { region, secret }
}
