//! The expensive half of taking a record in: decoding, shape, signatures. Run by workers on a
//! snapshot of the view; it changes nothing.

use std::sync::Arc;

use super::{TrustKind, TrustView, rules};
use crate::cose::{
    CoseError, Record, Signed, Verified, parse, parse_multi, record_type, record_type_multi,
};
use crate::federation::{MediatorRegistration, Roster};
use crate::hash::record_hash;
use crate::id::{MediatorId, RecordId};
use crate::key::VerifyingKey;
use crate::mediation::{
    Directory, MediatorCertificate, ProviderCertificate, RegionList, Revocations, Status,
};
use crate::placement::Placement;
use crate::problem::Problem;
use crate::time::{Seconds, Time};

/// A record that passed [`TrustView::check`]. Only that makes one.
#[derive(Clone, Debug)]
pub struct CheckedTrust {
    pub(super) id: RecordId,
    pub(super) kind: TrustKind,
    pub(super) bytes: Arc<[u8]>,
    pub(super) expires: Option<Time>,
    pub(super) body: Body,
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    /// The view that checked it held it already.
    Held,
    Roster(Arc<Verified<Roster>>, Arc<Placement>),
    Registration(Arc<Verified<MediatorRegistration>>),
    Certificate(Arc<Verified<MediatorCertificate>>),
    /// With the registration by whose areas the list was measured.
    Regions(Arc<Verified<RegionList>>, RecordId),
    Provider(Arc<Verified<ProviderCertificate>>),
    Directory(Arc<Verified<Directory>>),
    Revocations(Arc<Verified<Revocations>>),
    Status(Arc<Verified<Status>>),
}

impl CheckedTrust {
    /// The record's id.
    #[must_use]
    pub fn id(&self) -> RecordId {
        self.id
    }

    /// The record's kind.
    #[must_use]
    pub fn kind(&self) -> TrustKind {
        self.kind
    }

    /// The record's bytes.
    #[must_use]
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    fn new<T>(
        kind: TrustKind,
        expires: Option<Time>,
        v: Verified<T>,
        body: impl FnOnce(Arc<Verified<T>>) -> Body,
    ) -> Self {
        CheckedTrust {
            id: v.id(),
            kind,
            bytes: v.bytes().clone(),
            expires,
            body: body(Arc::new(v)),
        }
    }
}

/// The kind of a record of the chain, without believing any of it.
///
/// # Errors
/// [`Problem::Malformed`] where it is not one encoding of such a record; [`Problem::UnknownCall`] for
/// records of other types.
pub(super) fn kind_of(bytes: &[u8]) -> Result<TrustKind, Problem> {
    // An array of two is a record with several signatures, anything else must be COSE_Sign1.
    let multi = bytes.first() == Some(&0x82);
    let code = if multi {
        record_type_multi(bytes)?
    } else {
        record_type(bytes)?
    };
    let kind = TrustKind::from_code(code).ok_or(Problem::UnknownCall)?;
    let by_several = matches!(kind, TrustKind::Roster | TrustKind::Registration);
    if multi == by_several {
        Ok(kind)
    } else {
        Err(Problem::Malformed)
    }
}

/// The verifier's clock and how far a signer's may be ahead of it; nothing for what was stored.
#[derive(Clone, Copy)]
struct Clock(Option<(Time, Seconds)>);

impl Clock {
    fn began(self, issued: Time) -> Result<(), Problem> {
        match self.0 {
            Some((now, skew)) if issued > now.plus(skew) => Err(Problem::StaleTime),
            _ => Ok(()),
        }
    }

    fn lasts(self, issued: Time, expires: Time) -> Result<(), Problem> {
        self.began(issued)?;
        match self.0 {
            Some((now, _)) if now > expires => Err(Problem::Expired),
            _ => Ok(()),
        }
    }
}

fn signed_by<T: Record>(signed: Signed<T>, key: &VerifyingKey) -> Result<Verified<T>, Problem> {
    signed.verify(key).map_err(refusal)
}

/// A good signature by somebody else, or by too few, is another fault than a bad one.
fn refusal(e: CoseError) -> Problem {
    match e {
        CoseError::OtherSigner | CoseError::Threshold { .. } => Problem::WrongSigner,
        e => e.into(),
    }
}

impl TrustView {
    /// Checks a record by itself and against this view: its encoding, shape and life, that its signer
    /// may sign it, and every signature. [`TrustView::accept`] then decides whether it is taken in.
    ///
    /// # Errors
    /// The [`Problem`] of the first check that fails. Where [`super::waits`] says so, the record may
    /// be good and something it rests on is missing.
    pub fn check(&self, bytes: &[u8], now: Time) -> Result<CheckedTrust, Problem> {
        self.check_at(bytes, Some(now))
    }

    /// As [`TrustView::check`], without regard to time: for what this node has stored itself, so that
    /// a restart forgets no sequence number. Expired records are in force nowhere, held or not.
    ///
    /// # Errors
    /// As [`TrustView::check`].
    pub fn check_stored(&self, bytes: &[u8]) -> Result<CheckedTrust, Problem> {
        self.check_at(bytes, None)
    }

    fn check_at(&self, bytes: &[u8], now: Option<Time>) -> Result<CheckedTrust, Problem> {
        if bytes.len() > super::MAX_RECORD {
            return Err(Problem::TooLarge);
        }
        let kind = kind_of(bytes)?;
        let id = record_hash(bytes);
        if let Some(bytes) = self.record(&id) {
            return Ok(CheckedTrust {
                id,
                kind,
                bytes,
                expires: None,
                body: Body::Held,
            });
        }
        match kind {
            TrustKind::Roster => self.check_roster(bytes, now),
            TrustKind::Registration => self.check_registration(bytes, self.clock(now)?),
            TrustKind::Certificate => self.check_mediator(bytes, self.clock(now)?),
            TrustKind::Regions => self.check_regions(bytes, self.clock(now)?),
            TrustKind::Provider => {
                let v = self.verify_provider(bytes, now)?;
                Ok(CheckedTrust::new(kind, Some(v.expires), v, Body::Provider))
            }
            TrustKind::Directory => {
                let signed = parse::<Directory>(bytes)?;
                let (of, issued) = (signed.unverified().mediator, signed.unverified().issued);
                let v = self.list(signed, of, issued, false, self.clock(now)?)?;
                rules::directory(&v)?;
                Ok(CheckedTrust::new(kind, None, v, Body::Directory))
            }
            TrustKind::Revocations => {
                let signed = parse::<Revocations>(bytes)?;
                let (of, issued) = (signed.unverified().mediator, signed.unverified().issued);
                let v = self.list(signed, of, issued, true, self.clock(now)?)?;
                rules::revocations(&v)?;
                Ok(CheckedTrust::new(kind, None, v, Body::Revocations))
            }
            TrustKind::Status => self.check_status(bytes, self.clock(now)?),
        }
    }

    fn clock(&self, now: Option<Time>) -> Result<Clock, Problem> {
        let params = self.params().ok_or(Problem::BrokenChain)?;
        Ok(Clock(now.map(|now| (now, params.clock_skew))))
    }

    fn check_roster(&self, bytes: &[u8], now: Option<Time>) -> Result<CheckedTrust, Problem> {
        let signed = parse_multi::<Roster>(bytes)?;
        let r = signed.unverified();
        if r.federation != self.federation_id() {
            return Err(Problem::WrongFederation);
        }
        rules::roster(r)?;
        let skew = self.params().map_or(r.params.clock_skew, |p| p.clock_skew);
        let clock = Clock(now.map(|now| (now, skew)));
        clock.began(r.issued)?;
        // An earlier roster may be over: it is kept for what its nodes signed, and never followed.
        let earlier = self.roster().is_some_and(|held| held.sequence > r.sequence);
        if !earlier {
            clock.lasts(r.issued, r.expires)?;
        }
        let federation = self.federation();
        let v = signed
            .verify(&federation.roots, usize::from(federation.threshold))
            .map_err(refusal)?;
        let placement = Arc::new(Placement::new(&v));
        let expires = (!earlier).then_some(v.expires);
        Ok(CheckedTrust::new(TrustKind::Roster, expires, v, |v| {
            Body::Roster(v, placement)
        }))
    }

    fn check_registration(&self, bytes: &[u8], clock: Clock) -> Result<CheckedTrust, Problem> {
        let signed = parse_multi::<MediatorRegistration>(bytes)?;
        let r = signed.unverified();
        if r.federation != self.federation_id() {
            return Err(Problem::WrongFederation);
        }
        rules::registration(r)?;
        clock.lasts(r.issued, r.expires)?;
        // Operators of any roster kept: whether it is in force under the current one changes with
        // every roster, and is asked then.
        let mut operators: Vec<VerifyingKey> = self
            .rosters()
            .flat_map(|r| r.operators.iter().map(|o| o.key))
            .collect();
        operators.sort_unstable();
        operators.dedup();
        let v = signed.verify(&operators, 1).map_err(|e| match e {
            // Perhaps by an operator of a roster that is not here yet.
            CoseError::OtherSigner => Problem::BrokenChain,
            e => refusal(e),
        })?;
        Ok(CheckedTrust::new(
            TrustKind::Registration,
            Some(v.expires),
            v,
            Body::Registration,
        ))
    }

    fn check_mediator(&self, bytes: &[u8], clock: Clock) -> Result<CheckedTrust, Problem> {
        let signed = parse::<MediatorCertificate>(bytes)?;
        let c = signed.unverified();
        let mediator = self.standing(&c.mediator)?;
        rules::certificate(c)?;
        clock.began(c.issued)?;
        let earlier = mediator
            .certificate()
            .is_some_and(|held| held.sequence > c.sequence);
        if !earlier {
            clock.lasts(c.issued, c.expires)?;
        }
        let root =
            VerifyingKey::from_bytes(c.mediator.as_bytes()).map_err(|_| Problem::BadSignature)?;
        let v = signed_by(signed, &root)?;
        let expires = (!earlier).then_some(v.expires);
        Ok(CheckedTrust::new(
            TrustKind::Certificate,
            expires,
            v,
            Body::Certificate,
        ))
    }

    /// Checks signer, time and signature of a list.
    fn list<T: Record>(
        &self,
        signed: Signed<T>,
        of: MediatorId,
        issued: Time,
        delegated: bool,
        clock: Clock,
    ) -> Result<Verified<T>, Problem> {
        clock.began(issued)?;
        let key = self.standing(&of)?.may_list(signed.signer(), delegated)?;
        signed_by(signed, key)
    }

    fn check_regions(&self, bytes: &[u8], clock: Clock) -> Result<CheckedTrust, Problem> {
        let signed = parse::<RegionList>(bytes)?;
        let (of, issued) = (signed.unverified().mediator, signed.unverified().issued);
        let v = self.list(signed, of, issued, false, clock)?;
        rules::regions(&v)?;
        let mediator = self.standing(&of)?;
        rules::served(&v, &mediator.registration)?;
        let registration = mediator.registration.id();
        Ok(CheckedTrust::new(TrustKind::Regions, None, v, |v| {
            Body::Regions(v, registration)
        }))
    }

    /// Checks a provider certificate by itself and its signature, not whether it is in force.
    pub(super) fn verify_provider(
        &self,
        bytes: &[u8],
        now: Option<Time>,
    ) -> Result<Verified<ProviderCertificate>, Problem> {
        let clock = self.clock(now)?;
        let signed = parse::<ProviderCertificate>(bytes)?;
        let c = signed.unverified();
        rules::provider(c)?;
        clock.lasts(c.issued, c.expires)?;
        if !self
            .standing(&c.mediator)?
            .may_certify(signed.signer(), c.issued)
        {
            return Err(Problem::BrokenChain);
        }
        Ok(signed.verify_self()?)
    }

    fn check_status(&self, bytes: &[u8], clock: Clock) -> Result<CheckedTrust, Problem> {
        let signed = parse::<Status>(bytes)?;
        let s = signed.unverified();
        rules::status(s)?;
        let (of, issued, expires) = (s.mediator, s.issued, s.expires);
        let by_delegate = self
            .standing(&of)?
            .certificate()
            .is_some_and(|c| c.status.as_bytes() == signed.signer());
        // One by the signing key is needed when it is over: re-dated ones are measured by it.
        if by_delegate {
            clock.lasts(issued, expires)?;
        }
        let v = self.list(signed, of, issued, true, clock)?;
        Ok(CheckedTrust::new(
            TrustKind::Status,
            by_delegate.then_some(expires),
            v,
            Body::Status,
        ))
    }
}
