//! What a view says: rosters and placement, mediators, regions, certificates, and what is in force.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::shards::ShardMap;
use super::{ListAge, MediatorTrust, TrustKind, rules};
use crate::cose::Verified;
use crate::federation::{Federation, Params, Roster};
use crate::id::{FederationId, MediatorId, NodeId, RecordId, RegionId};
use crate::key::VerifyingKey;
use crate::mediation::{ProviderCertificate, Region};
use crate::placement::Placement;
use crate::problem::Problem;
use crate::time::Time;

#[derive(Clone, Debug)]
pub(super) struct KeptRoster {
    pub(super) roster: Arc<Verified<Roster>>,
    pub(super) placement: Arc<Placement>,
}

#[derive(Clone)]
pub(super) struct Inner {
    pub(super) federation: Arc<Federation>,
    pub(super) id: FederationId,
    /// Newest first; the first is the current one.
    pub(super) rosters: Vec<KeptRoster>,
    pub(super) nodes: Arc<BTreeMap<NodeId, VerifyingKey>>,
    pub(super) mediators: BTreeMap<MediatorId, Arc<MediatorTrust>>,
    /// Where the regions of the lists in force are: mediator, place in the list.
    pub(super) regions: ShardMap<RegionId, MediatorId>,
    pub(super) owners: ShardMap<RecordId, MediatorId>,
}

/// What one node or app knows of the chain of trust. Cheap to clone: a clone is a snapshot, which
/// later changes do not touch.
#[derive(Clone)]
pub struct TrustView(pub(super) Arc<Inner>);

impl TrustView {
    /// The view that knows the pinned federation and nothing else.
    ///
    /// # Errors
    /// [`Problem::OutOfBounds`] where the roots are not sorted and distinct, or the threshold is not
    /// from one to their number.
    pub fn new(federation: Federation) -> Result<Self, Problem> {
        rules::federation(&federation)?;
        Ok(TrustView(Arc::new(Inner {
            id: federation.id(),
            federation: Arc::new(federation),
            rosters: Vec::new(),
            nodes: Arc::new(BTreeMap::new()),
            mediators: BTreeMap::new(),
            regions: ShardMap::new(),
            owners: ShardMap::new(),
        })))
    }

    /// The pinned federation.
    #[must_use]
    pub fn federation(&self) -> &Federation {
        &self.0.federation
    }

    /// Its id.
    #[must_use]
    pub fn federation_id(&self) -> FederationId {
        self.0.id
    }

    /// The current roster: the one with the highest sequence.
    #[must_use]
    pub fn roster(&self) -> Option<&Verified<Roster>> {
        self.rosters().next()
    }

    /// The rosters kept, newest first.
    pub fn rosters(&self) -> impl Iterator<Item = &Verified<Roster>> {
        self.0.rosters.iter().map(|r| &*r.roster)
    }

    /// The current roster's parameters.
    #[must_use]
    pub fn params(&self) -> Option<&Params> {
        self.roster().map(|r| &r.params)
    }

    /// A node's signing key: by the current roster, else by the newest earlier one that has the node,
    /// so that what it signed then still verifies.
    #[must_use]
    pub fn node_key(&self, node: &NodeId) -> Option<&VerifyingKey> {
        self.0.nodes.get(node)
    }

    /// Whether a node is in the current roster.
    #[must_use]
    pub fn in_roster(&self, node: &NodeId) -> bool {
        self.placement().is_some_and(|p| p.has(node))
    }

    /// The current roster's placement.
    #[must_use]
    pub fn placement(&self) -> Option<&Arc<Placement>> {
        self.0.rosters.first().map(|r| &r.placement)
    }

    /// The holders of an id, nearest first; none without a roster.
    #[must_use]
    pub fn holders(&self, id: &[u8; 32]) -> Vec<NodeId> {
        self.placement().map(|p| p.holders(id)).unwrap_or_default()
    }

    /// Whether a node is a holder of an id by the current roster.
    #[must_use]
    pub fn is_holder(&self, id: &[u8; 32], node: &NodeId) -> bool {
        self.placement().is_some_and(|p| p.is_holder(id, node))
    }

    /// Whether a node is a holder of an id by the current roster or an earlier one that is kept.
    #[must_use]
    pub fn was_holder(&self, id: &[u8; 32], node: &NodeId) -> bool {
        self.0
            .rosters
            .iter()
            .any(|r| r.placement.is_holder(id, node))
    }

    /// W: how many holders must have a write on disk. Zero without a roster.
    #[must_use]
    pub fn write_quorum(&self) -> usize {
        self.placement().map_or(0, |p| p.write_quorum())
    }

    /// How many holders a read merges. Zero without a roster.
    #[must_use]
    pub fn read_quorum(&self) -> usize {
        self.placement().map_or(0, |p| p.read_quorum())
    }

    /// The mediators, registered now or not.
    pub fn mediators(&self) -> impl Iterator<Item = (&MediatorId, &MediatorTrust)> {
        self.0.mediators.iter().map(|(id, m)| (id, &**m))
    }

    /// One mediator.
    #[must_use]
    pub fn mediator(&self, id: &MediatorId) -> Option<&MediatorTrust> {
        self.0.mediators.get(id).map(|m| &**m)
    }

    /// A mediator that has not withdrawn.
    pub(super) fn standing(&self, id: &MediatorId) -> Result<&MediatorTrust, Problem> {
        self.mediator(id)
            .filter(|m| !m.withdrawn())
            .ok_or(Problem::BrokenChain)
    }

    /// A region of the list that its mediator's latest status names, with the mediator, while that is
    /// registered. Says nothing about expiry.
    #[must_use]
    pub fn region(&self, id: &RegionId) -> Option<(MediatorId, &Region)> {
        let mediator = self.0.regions.get(id)?;
        Some((*mediator, self.mediator(mediator)?.region(id)?))
    }

    /// The regions that [`TrustView::region`] finds, by mediator, then id.
    pub fn regions(&self) -> impl Iterator<Item = (&MediatorId, &Region)> {
        self.mediators()
            .filter(|(_, m)| m.registered())
            .flat_map(|(id, m)| {
                m.regions()
                    .into_iter()
                    .flat_map(move |l| l.regions.iter().map(move |r| (id, r)))
            })
    }

    /// A provider certificate that is held, in force or not.
    #[must_use]
    pub fn certificate(&self, id: &RecordId) -> Option<&Verified<ProviderCertificate>> {
        let owner = self.0.owners.get(id)?;
        self.mediator(owner)?.providers.get(id).map(|c| &**c)
    }

    /// A provider certificate that is in force: the chain above it unexpired, the mediator registered,
    /// its status fresh, the certificate listed in the directory, unexpired and not revoked.
    ///
    /// # Errors
    /// [`Problem::UnknownCertificate`] where it is not held or not listed, [`Problem::BrokenChain`]
    /// where roster, registration or mediator certificate are missing or over,
    /// [`Problem::StatusExpired`], [`Problem::Revoked`], [`Problem::Expired`].
    pub fn provider(
        &self,
        id: &RecordId,
        now: Time,
    ) -> Result<&Verified<ProviderCertificate>, Problem> {
        let c = self.certificate(id).ok_or(Problem::UnknownCertificate)?;
        self.in_force(c, now)?;
        Ok(c)
    }

    /// Checks the certificate that came with an offer, whether it is held here or not: its signature,
    /// and that it is in force as by [`TrustView::provider`].
    ///
    /// # Errors
    /// As [`TrustView::check`] and [`TrustView::provider`].
    pub fn check_certificate(
        &self,
        bytes: &[u8],
        now: Time,
    ) -> Result<Verified<ProviderCertificate>, Problem> {
        let c = self.verify_provider(bytes, Some(now))?;
        self.in_force(&c, now)?;
        Ok(c)
    }

    /// Recognises a provider certificate that a mediator once signed, whatever became of it since:
    /// expired, revoked, listed or not. Only good for saying who somebody was.
    ///
    /// # Errors
    /// As [`TrustView::check`], but for times.
    pub fn recognise(&self, bytes: &[u8]) -> Result<Verified<ProviderCertificate>, Problem> {
        self.verify_provider(bytes, None)
    }

    fn in_force(&self, c: &Verified<ProviderCertificate>, now: Time) -> Result<(), Problem> {
        let m = self.chain(&c.mediator, now)?;
        let status = m.status().ok_or(Problem::StatusExpired)?;
        if now > status.expires {
            return Err(Problem::StatusExpired);
        }
        if now > c.expires {
            return Err(Problem::Expired);
        }
        let revocations = m.revocations().ok_or(Problem::StatusExpired)?;
        if revocations.serials.binary_search(&c.serial).is_ok() {
            return Err(Problem::Revoked);
        }
        if m.listed(&c.id()) {
            Ok(())
        } else {
            Err(Problem::UnknownCertificate)
        }
    }

    /// A mediator whose roster, registration and certificate are in force now. Its status may be over.
    ///
    /// # Errors
    /// [`Problem::BrokenChain`].
    pub fn chain(&self, mediator: &MediatorId, now: Time) -> Result<&MediatorTrust, Problem> {
        let roster = self.roster().filter(|r| now <= r.expires);
        let m = self
            .mediator(mediator)
            .filter(|m| m.registered() && now <= m.registration.expires);
        match (roster, m) {
            (Some(_), Some(m)) if m.certificate().is_some_and(|c| now <= c.expires) => Ok(m),
            _ => Err(Problem::BrokenChain),
        }
    }

    /// The bytes of a record that is held.
    #[must_use]
    pub fn record(&self, id: &RecordId) -> Option<Arc<[u8]>> {
        if let Some(c) = self.certificate(id) {
            return Some(c.bytes().clone());
        }
        if let Some(r) = self.rosters().find(|r| r.id() == *id) {
            return Some(r.bytes().clone());
        }
        self.0
            .mediators
            .values()
            .find_map(|m| m.statement(id))
            .cloned()
    }

    /// Every record held, each after those that its acceptance needs: for storing, and for a peer that
    /// connects. Given in this order to an empty view, they make an equal one.
    #[must_use]
    pub fn records(&self) -> Vec<(RecordId, Arc<[u8]>)> {
        self.iter().map(|(id, bytes)| (id, bytes.clone())).collect()
    }

    fn iter(&self) -> impl Iterator<Item = (RecordId, &Arc<[u8]>)> {
        let rosters = self.rosters().map(|r| (r.id(), r.bytes()));
        rosters.chain(self.0.mediators.values().flat_map(|m| m.records()))
    }

    /// The latest record of a kind: of the federation's ([`TrustKind::Roster`], no mediator) or of one
    /// mediator's. There is no latest provider certificate.
    #[must_use]
    pub fn latest(&self, kind: TrustKind, mediator: Option<&MediatorId>) -> Option<Arc<[u8]>> {
        let m = mediator.and_then(|id| self.mediator(id));
        let bytes = match (kind, m) {
            (TrustKind::Roster, _) => self.roster()?.bytes(),
            (TrustKind::Registration, Some(m)) => m.registration.bytes(),
            (TrustKind::Certificate, Some(m)) => m.certificate()?.bytes(),
            (TrustKind::Regions, Some(m)) => m.regions()?.bytes(),
            (TrustKind::Directory, Some(m)) => m.directory()?.bytes(),
            (TrustKind::Revocations, Some(m)) => m.revocations()?.bytes(),
            (TrustKind::Status, Some(m)) => m.status()?.bytes(),
            (TrustKind::Provider, _) | (_, None) => return None,
        };
        Some(bytes.clone())
    }

    /// How old what expires is: the roster, and each mediator's registration, certificate and status.
    #[must_use]
    pub fn ages(&self, now: Time) -> Vec<ListAge> {
        let age = |kind, mediator: Option<&MediatorId>, issued: Time, expires: Time| ListAge {
            kind,
            mediator: mediator.copied(),
            issued,
            expires,
            half: now.get() > issued.get().midpoint(expires.get()),
            expired: now > expires,
        };
        let mut out = Vec::new();
        out.extend(
            self.roster()
                .map(|r| age(TrustKind::Roster, None, r.issued, r.expires)),
        );
        for (id, m) in self.mediators() {
            let id = Some(id);
            out.push(age(
                TrustKind::Registration,
                id,
                m.registration.issued,
                m.registration.expires,
            ));
            out.extend(
                m.certificate()
                    .map(|c| age(TrustKind::Certificate, id, c.issued, c.expires)),
            );
            out.extend(
                m.status()
                    .map(|s| age(TrustKind::Status, id, s.issued, s.expires)),
            );
        }
        out
    }
}

impl PartialEq for TrustView {
    /// Equal federation and equal records: everything else follows from them.
    fn eq(&self, other: &Self) -> bool {
        self.0.federation == other.0.federation
            && self
                .iter()
                .map(|(id, _)| id)
                .eq(other.iter().map(|(id, _)| id))
    }
}

impl Eq for TrustView {}

impl core::fmt::Debug for TrustView {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TrustView")
            .field("federation", &self.0.id)
            .field("roster", &self.roster().map(|r| r.sequence))
            .field("mediators", &self.0.mediators.len())
            .finish_non_exhaustive()
    }
}
