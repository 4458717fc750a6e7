//! What a node looks at before it takes a call: decoding, bounds, signatures, work, freshness, chain.

use super::{CallKind, MarkOrder, ReadOrder, begun};
use crate::codec::from_bytes;
use crate::cose::{Verified, parse};
use crate::id::{MailboxId, NodeId, RecordId, RegionId};
use crate::item::{self, CheckedItem, CheckedRequest, CheckedTicket, ItemKind};
use crate::key::VerifyingKey;
use crate::mailbox::{OpenOrder, Opening, Payment, ReadProof};
use crate::problem::Problem;
use crate::queue::{Accept, ChallengeOrder, Claim, LockOrder, MAX_LOCK_ORDER, Release, Relist};
use crate::time::Time;
use crate::token::{MAX_TOKEN_ORDER, TokenOrder, TokenWork, epoch_at};
use crate::trust::{CheckedTrust, TrustView};

/// A lock order that was checked: its ticket holds, its user agreed, its provider asks.
#[derive(Clone, Debug)]
pub struct CheckedLock {
    ticket: CheckedTicket,
    accept: Verified<Accept>,
}

impl CheckedLock {
    /// The ticket.
    pub fn ticket(&self) -> &CheckedTicket {
        &self.ticket
    }
    /// The user's acceptance; its signer must be the request's token key, which the holder compares.
    pub fn accept(&self) -> &Verified<Accept> {
        &self.accept
    }
}

/// A call whose signatures, work and times were checked; what the node core takes.
#[derive(Clone, Debug)]
pub enum CheckedCall {
    /// Draw a token.
    Token(TokenOrder),
    /// Place a request.
    Request(CheckedRequest),
    /// Open mailboxes and marks.
    Open(Verified<OpenOrder>),
    /// Write, delete, set a mark, release a lock or be listed again: one item.
    Put(CheckedItem),
    /// Read a mailbox.
    Read(Verified<ReadProof>, Option<u32>),
    /// Read marks.
    ReadMarks(Vec<MailboxId>),
    /// Challenges for a provider.
    Challenge(ChallengeOrder),
    /// Claim requests.
    Claim(Box<Verified<Claim>>),
    /// Take a booking lock.
    Lock(Box<(CheckedLock, LockOrder)>),
    /// Publish a trust record.
    Publish(CheckedTrust),
}

/// Checks a call's bytes for the node `me` at `now`: decoding, bounds, signatures, work, freshness, chain.
///
/// # Errors
/// The [`Problem`] of the first check that fails.
pub fn check_call(
    kind: CallKind,
    body: &[u8],
    trust: &TrustView,
    me: &NodeId,
    now: Time,
) -> Result<CheckedCall, Problem> {
    if body.len() > kind.max_body() {
        return Err(Problem::TooLarge);
    }
    let put = |kind| item::make(kind, body, now.hour(), trust).map(CheckedCall::Put);
    match kind {
        CallKind::Token => {
            let order: TokenOrder = from_bytes(body, MAX_TOKEN_ORDER)?;
            let params = trust.params().ok_or(Problem::NotReady)?;
            let work = TokenWork {
                federation: trust.federation_id(),
                issuer: *me,
                epoch: epoch_at(now, params.epoch),
            };
            if !work.holds(&order.hash, order.proof, params.token_work) {
                return Err(Problem::WorkMissing);
            }
            Ok(CheckedCall::Token(order))
        }
        CallKind::Request => {
            // Region and key version are looked at by the issuer, and only when it admits: a request that
            // it admitted gets the same answer also after the region's key has changed.
            Ok(CheckedCall::Request(item::check_request(body, trust)?))
        }
        CallKind::Open => check_open(body, trust, me, now).map(CheckedCall::Open),
        CallKind::Write => {
            let CheckedCall::Put(item) = put(ItemKind::Blob)? else {
                return Err(Problem::Malformed);
            };
            if let item::Item::Blob(blob) = item.item()
                && let Some(ticket) = blob.ticket()
            {
                let grant = ticket.grant();
                check_provider(&grant.certificate, &grant.region, trust, now)?;
            }
            Ok(CheckedCall::Put(item))
        }
        CallKind::Delete => put(ItemKind::Deletion),
        CallKind::SetMark => put(ItemKind::Mark),
        CallKind::Release => {
            let release = parse::<Release>(body)?;
            if release.unverified().expires <= now {
                return Err(Problem::Expired);
            }
            put(ItemKind::Release)
        }
        CallKind::Relist => {
            let relist = parse::<Relist>(body)?;
            if relist.unverified().expires <= now {
                return Err(Problem::Expired);
            }
            put(ItemKind::Relist)
        }
        CallKind::Read => {
            let order: ReadOrder = from_bytes(body, kind.max_body())?;
            Ok(CheckedCall::Read(
                check_proof(&order.proof, trust, me, now)?,
                order.after,
            ))
        }
        CallKind::ReadMarks => {
            let order: MarkOrder = from_bytes(body, kind.max_body())?;
            Ok(CheckedCall::ReadMarks(order.marks.to_vec()))
        }
        CallKind::Challenge => {
            let order: ChallengeOrder = from_bytes(body, kind.max_body())?;
            check_provider(&order.certificate, &order.region, trust, now)?;
            Ok(CheckedCall::Challenge(order))
        }
        CallKind::Claim => check_claim(body, trust, now).map(|c| CheckedCall::Claim(Box::new(c))),
        CallKind::Lock => {
            let order: LockOrder = from_bytes(body, MAX_LOCK_ORDER)?;
            Ok(CheckedCall::Lock(Box::new((
                check_lock(&order, trust, now)?,
                order,
            ))))
        }
        CallKind::Publish => trust.check(body, now).map(CheckedCall::Publish),
    }
}

fn fresh(time: Time, trust: &TrustView, now: Time) -> Result<(), Problem> {
    let skew = trust.params().ok_or(Problem::NotReady)?.clock_skew;
    if time.plus(skew) < now || now.plus(skew) < time {
        Err(Problem::StaleTime)
    } else {
        Ok(())
    }
}

fn check_open(
    body: &[u8],
    trust: &TrustView,
    me: &NodeId,
    now: Time,
) -> Result<Verified<OpenOrder>, Problem> {
    let order = parse::<OpenOrder>(body)?;
    let said = order.unverified();
    if said.node != *me {
        return Err(Problem::WrongNode);
    }
    fresh(said.time, trust, now)?;
    if said.places.is_empty() {
        return Err(Problem::OutOfBounds);
    }
    let key = match said.payment {
        Payment::Provider(id) => trust.provider(&id, now)?.signing,
        Payment::Mediator(id) => mediator_key(&id, trust, now)?,
    };
    Ok(order.verify(&key)?)
}

/// The signing key of the mediator that this certificate is the current one of.
fn mediator_key(
    certificate: &RecordId,
    trust: &TrustView,
    now: Time,
) -> Result<VerifyingKey, Problem> {
    let (mediator, _) = trust
        .mediators()
        .find(|(_, m)| m.certificate().is_some_and(|c| c.id() == *certificate))
        .ok_or(Problem::UnknownCertificate)?;
    let current = trust.chain(mediator, now)?.certificate();
    Ok(current.ok_or(Problem::BrokenChain)?.signing)
}

/// Checks a read proof for the node it is bound to.
///
/// # Errors
/// [`Problem::WrongNode`], [`Problem::StaleTime`], or why the signature is none.
pub fn check_proof(
    bytes: &[u8],
    trust: &TrustView,
    node: &NodeId,
    now: Time,
) -> Result<Verified<ReadProof>, Problem> {
    let proof = parse::<ReadProof>(bytes)?;
    let said = proof.unverified();
    if said.node != *node {
        return Err(Problem::WrongNode);
    }
    fresh(said.time, trust, now)?;
    let key: VerifyingKey = said.mailbox.read;
    Ok(proof.verify(&key)?)
}

fn check_provider(
    certificate: &RecordId,
    region: &RegionId,
    trust: &TrustView,
    now: Time,
) -> Result<VerifyingKey, Problem> {
    let certificate = trust.provider(certificate, now)?;
    if trust.region(region).is_none() {
        return Err(Problem::UnknownRegion);
    }
    if !certificate.regions.contains(region) {
        return Err(Problem::WrongRegion);
    }
    Ok(certificate.signing)
}

/// Checks a claim: certificate in force and for the region, signature, freshness.
///
/// # Errors
/// The [`Problem`] of the first check that fails.
pub fn check_claim(bytes: &[u8], trust: &TrustView, now: Time) -> Result<Verified<Claim>, Problem> {
    let claim = parse::<Claim>(bytes)?;
    let said = claim.unverified();
    fresh(said.time, trust, now)?;
    let params = trust.params().ok_or(Problem::NotReady)?;
    if said.count == 0 || said.count > params.claim_size {
        return Err(Problem::OutOfBounds);
    }
    let key = check_provider(&said.certificate, &said.region, trust, now)?;
    Ok(claim.verify(&key)?)
}

/// Checks a lock order: the ticket's grants, the user's acceptance of it, the ticket key's signature.
///
/// # Errors
/// The [`Problem`] of the first check that fails.
pub fn check_lock(order: &LockOrder, trust: &TrustView, now: Time) -> Result<CheckedLock, Problem> {
    let ticket = item::check_ticket(order.grants.iter().map(|g| &**g), trust)?;
    ticket
        .grant()
        .key
        .verify(&LockOrder::message(&order.accept), &order.signature)
        .map_err(|_| Problem::BadSignature)?;
    let accept = parse::<Accept>(&order.accept)?.verify(&order.token_key)?;
    if accept.request != ticket.grant().request
        || accept.ticket != ticket.id()
        || accept.expires != ticket.grant().expires
    {
        return Err(Problem::BadTicket);
    }
    if accept.expires <= now {
        return Err(Problem::Expired);
    }
    // The offer may be older than the last status, and the user looked at a status of their own: it is
    // revocation alone that stops a booking here, not that nobody has said anything of late.
    begun::provider_begun(trust, &ticket.grant().certificate, now)?;
    Ok(CheckedLock { ticket, accept })
}

/// Checks an opening that a node sent, against the chain of trust.
///
/// # Errors
/// Why it is not one.
pub fn check_opening(
    bytes: &[u8],
    trust: &TrustView,
    now: Time,
) -> Result<Verified<Opening>, Problem> {
    match item::make(ItemKind::Opening, bytes, now.hour(), trust)?.item() {
        item::Item::Opening(o) => Ok(o.clone()),
        _ => Err(Problem::Malformed),
    }
}
