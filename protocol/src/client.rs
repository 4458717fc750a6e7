//! Calls that a client makes at a node, and the answers. HTTP is one way to carry them: see
//! `docs/spec/http.md`. Role state machines make [`Call`]s; the node checks them with [`check_call`].

mod begun;

use crate::bounded::{Bytes, List};
use crate::codec::{from_bytes, to_bytes};
use crate::cose::{Verified, parse};
use crate::id::{MailboxId, NodeId, RecordId};
use crate::item::{self, CheckedItem, CheckedRequest, CheckedTicket, ItemKind};
use crate::key::VerifyingKey;
use crate::mailbox::{
    MAX_BLOB_WRITE, MAX_GRANTS, MAX_OPEN, OpenOrder, Opening, Page, Payment, ReadProof, Receipt,
};
use crate::problem::Problem;
use crate::queue::{
    Accept, Challenge, ChallengeOrder, Claim, Claimed, LockOrder, MAX_CLAIM, MAX_LOCK_ORDER,
    Release, Relist,
};
use crate::time::Time;
use crate::token::{MAX_TOKEN_ORDER, TokenOrder, TokenWork, epoch_at};
use crate::trust::{CheckedTrust, TrustView};
use crate::wire_struct;

/// Most marks read at once.
pub const MAX_MARKS: usize = 64;
/// Most mailboxes of one watch.
pub const MAX_WATCHED: usize = 64;
/// Longest encoding of a [`WatchOrder`].
pub const MAX_WATCH_ORDER: usize = MAX_WATCHED * 1284 + 8;

/// The calls of API v1 that carry protocol bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallKind {
    /// Draw a token: [`TokenOrder`] → COSE token.
    Token,
    /// Place a request: COSE [`crate::queue::Request`] → COSE admission.
    Request,
    /// Open mailboxes and marks: COSE [`OpenOrder`] → [`Openings`].
    Open,
    /// Write a blob: [`crate::mailbox::BlobWrite`] → [`Receipt`].
    Write,
    /// Read a mailbox: [`ReadOrder`] → [`Page`].
    Read,
    /// Delete what is in a slot: COSE deletion → [`Receipt`].
    Delete,
    /// Set a mark: COSE mark state → [`Receipt`].
    SetMark,
    /// Read marks: [`MarkOrder`] → [`Marks`].
    ReadMarks,
    /// Ask for challenges: [`ChallengeOrder`] → [`Challenges`].
    Challenge,
    /// Claim requests: COSE [`Claim`] → [`Claims`].
    Claim,
    /// Take a booking lock: [`LockOrder`] → [`Locks`].
    Lock,
    /// Free a booking lock: COSE [`Release`] → [`Receipt`].
    Release,
    /// Be listed again: COSE [`Relist`] → [`Receipt`].
    Relist,
    /// Publish a record of the chain of trust: COSE → its id, 32 bytes.
    Publish,
}

impl CallKind {
    /// All kinds.
    pub const ALL: [CallKind; 14] = [
        Self::Token,
        Self::Request,
        Self::Open,
        Self::Write,
        Self::Read,
        Self::Delete,
        Self::SetMark,
        Self::ReadMarks,
        Self::Challenge,
        Self::Claim,
        Self::Lock,
        Self::Release,
        Self::Relist,
        Self::Publish,
    ];

    /// Whether it only asks: nothing is different afterwards, so it may go out before the state of who asks
    /// is stored.
    #[must_use]
    pub fn reads(self) -> bool {
        matches!(self, Self::Read | Self::ReadMarks | Self::Challenge)
    }

    /// The path of the POST request that carries it.
    pub fn path(self) -> &'static str {
        match self {
            Self::Token => "/v1/tokens",
            Self::Request => "/v1/requests",
            Self::Open => "/v1/mailboxes/open",
            Self::Write => "/v1/mailboxes/write",
            Self::Read => "/v1/mailboxes/read",
            Self::Delete => "/v1/mailboxes/delete",
            Self::SetMark => "/v1/marks/set",
            Self::ReadMarks => "/v1/marks/read",
            Self::Challenge => "/v1/challenges",
            Self::Claim => "/v1/claims",
            Self::Lock => "/v1/locks/take",
            Self::Release => "/v1/locks/release",
            Self::Relist => "/v1/requests/relist",
            Self::Publish => "/v1/trust",
        }
    }

    /// The media type of the request's body.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Request
            | Self::Open
            | Self::Delete
            | Self::SetMark
            | Self::Claim
            | Self::Release
            | Self::Relist
            | Self::Publish => "application/cose",
            _ => "application/cbor",
        }
    }

    /// Most bytes of the request's body.
    pub fn max_body(self) -> usize {
        match self {
            Self::Token => MAX_TOKEN_ORDER,
            Self::Request => 6400,
            Self::Open => 17 * 1024,
            Self::Write => MAX_BLOB_WRITE,
            Self::Read => 2048,
            Self::Delete | Self::SetMark | Self::Release | Self::Relist => 1280,
            Self::ReadMarks => 4096,
            Self::Challenge => 128,
            Self::Claim => 2048,
            Self::Lock => MAX_LOCK_ORDER,
            Self::Publish => 1024 * 1024 + 4096,
        }
    }

    /// Most bytes of an answer's body.
    pub fn max_answer(self) -> usize {
        match self {
            Self::Read => 64 * (crate::mailbox::MAX_BLOB + 8 * 1024),
            Self::Claim => MAX_CLAIM * 16 * 1024,
            Self::Open => MAX_OPEN * 1280,
            Self::ReadMarks => MAX_MARKS * 1024,
            _ => 8 * 1024,
        }
    }
}

/// A call, ready to be sent: its kind and body.
#[derive(Clone, PartialEq, Eq)]
pub struct Call {
    kind: CallKind,
    body: Vec<u8>,
}

impl core::fmt::Debug for Call {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Call({:?}, {} bytes)", self.kind, self.body.len())
    }
}

impl Call {
    /// A call of any kind with its body.
    pub fn new(kind: CallKind, body: Vec<u8>) -> Self {
        Call { kind, body }
    }
    /// Its kind.
    pub fn kind(&self) -> CallKind {
        self.kind
    }
    /// Its body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

wire_struct! {
    /// Asks for a page of a mailbox.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ReadOrder {
        /// The COSE [`ReadProof`].
        pub proof: Bytes<1280>,
        /// Only slots above this one.
        pub after: Option<u32>,
    }
}

wire_struct! {
    /// Asks to be told when something is written to mailboxes; an event names one by its place here.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct WatchOrder {
        /// The COSE [`ReadProof`]s, at least one.
        pub proofs: List<Bytes<1280>, MAX_WATCHED>,
    }
}

wire_struct! {
    /// Asks for the states of marks.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct MarkOrder {
        /// The marks' ids.
        pub marks: List<MailboxId, MAX_MARKS>,
    }
}

wire_struct! {
    /// COSE mark states; a mark that was never set is absent.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Marks {
        /// The states.
        pub states: List<Bytes<768>, MAX_MARKS>,
    }
}

wire_struct! {
    /// COSE openings, in the order asked for.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Openings {
        /// The openings.
        pub openings: List<Bytes<1280>, MAX_OPEN>,
    }
}

wire_struct! {
    /// The holders' challenges.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Challenges {
        /// One a holder that answered.
        pub challenges: List<Challenge, MAX_GRANTS>,
    }
}

wire_struct! {
    /// Claimed requests in priority order.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Claims {
        /// The requests with their tickets.
        pub claimed: List<Claimed, MAX_CLAIM>,
    }
}

wire_struct! {
    /// COSE lock grants of W or more holders.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Locks {
        /// The grants.
        pub grants: List<Bytes<640>, MAX_GRANTS>,
    }
}

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
    region: &crate::id::RegionId,
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

/// What a node answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The COSE token.
    Token(Vec<u8>),
    /// The COSE admission.
    Admission(Vec<u8>),
    /// The openings.
    Openings(Openings),
    /// The receipt.
    Receipt(Receipt),
    /// A page of a mailbox.
    Page(Page),
    /// The states of marks.
    Marks(Marks),
    /// Challenges.
    Challenges(Challenges),
    /// Claimed requests.
    Claims(Claims),
    /// Lock grants.
    Locks(Locks),
    /// The id of the published record.
    Published(RecordId),
}

impl Answer {
    /// The media type of the answer's body.
    pub fn content_type(&self) -> &'static str {
        match self {
            Self::Token(_) | Self::Admission(_) => "application/cose",
            _ => "application/cbor",
        }
    }

    /// The answer's body.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Token(b) | Self::Admission(b) => b.clone(),
            Self::Openings(v) => to_bytes(v),
            Self::Receipt(v) => to_bytes(v),
            Self::Page(v) => to_bytes(v),
            Self::Marks(v) => to_bytes(v),
            Self::Challenges(v) => to_bytes(v),
            Self::Claims(v) => to_bytes(v),
            Self::Locks(v) => to_bytes(v),
            Self::Published(v) => to_bytes(v),
        }
    }

    /// Decodes the body of a successful answer. Signatures in it are checked by who uses it.
    ///
    /// # Errors
    /// [`Problem::Malformed`] or [`Problem::TooLarge`].
    pub fn parse(kind: CallKind, body: &[u8]) -> Result<Self, Problem> {
        let max = kind.max_answer();
        if body.len() > max {
            return Err(Problem::TooLarge);
        }
        Ok(match kind {
            CallKind::Token => Self::Token(body.to_vec()),
            CallKind::Request => Self::Admission(body.to_vec()),
            CallKind::Open => Self::Openings(from_bytes(body, max)?),
            CallKind::Write
            | CallKind::Delete
            | CallKind::SetMark
            | CallKind::Release
            | CallKind::Relist => Self::Receipt(from_bytes(body, max)?),
            CallKind::Read => Self::Page(from_bytes(body, max)?),
            CallKind::ReadMarks => Self::Marks(from_bytes(body, max)?),
            CallKind::Challenge => Self::Challenges(from_bytes(body, max)?),
            CallKind::Claim => Self::Claims(from_bytes(body, max)?),
            CallKind::Lock => Self::Locks(from_bytes(body, max)?),
            CallKind::Publish => Self::Published(from_bytes(body, max)?),
        })
    }
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
