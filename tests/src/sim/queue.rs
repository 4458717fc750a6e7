//! What providers ask of a region's holders: claims, offers by ticket, booking locks.

use lapwing_protocol::booking::challenge_binding;
use lapwing_protocol::bounded::Bytes;
use lapwing_protocol::client::{Answer, Call, CallKind};
use lapwing_protocol::codec::to_bytes;
use lapwing_protocol::cose::{parse, sign};
use lapwing_protocol::id::{LockId, TicketId};
use lapwing_protocol::key::{SigningKey, VerifyingKey};
use lapwing_protocol::mailbox::{BlobWrite, Mailbox, Spend, TicketAuth, WriteAuth, ticket_slot};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::{
    Accept, Challenge, ChallengeAnswer, ChallengeOrder, Claim, Claimed, LockOrder, Release, Relist,
    Request, TicketGrant,
};
use lapwing_protocol::seal::{Purpose, short_open};
use lapwing_protocol::time::Time;
use lapwing_protocol::token::PriorityToken;

use super::actor::{bounded, listed};
use super::world::World;

/// A claimed request with the ticket for it.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// The claim's key.
    pub key: SigningKey,
    /// The holders' grants.
    pub grants: Vec<Bytes<768>>,
    /// One grant, to read.
    pub grant: TicketGrant,
    /// The user's inbox.
    pub inbox: Mailbox,
    /// The key that signed the request.
    pub token_key: VerifyingKey,
}

/// A booking lock, as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// The lock.
    pub lock: LockId,
    /// The ticket it was asked for with.
    pub ticket: TicketId,
}

impl Ticket {
    fn new(key: &SigningKey, claimed: &Claimed) -> Self {
        let request = parse::<Request>(&claimed.entry.request).expect("a request");
        let token = parse::<PriorityToken>(&request.unverified().token).expect("a token");
        let grants = claimed.grants.to_vec();
        let first = grants.first().expect("a claimed request has grants");
        Ticket {
            key: key.clone(),
            grant: parse::<TicketGrant>(first)
                .expect("a grant")
                .unverified()
                .clone(),
            grants,
            inbox: request.unverified().inbox.clone(),
            token_key: token.unverified().key,
        }
    }

    /// The ticket's id.
    #[must_use]
    pub fn id(&self) -> TicketId {
        self.grant.ticket()
    }

    /// Writes an offer of one repeated byte to the user's inbox, open until `expires`.
    #[must_use]
    pub fn offer(&self, byte: u8, expires: Time) -> Call {
        let blob = vec![byte; self.inbox.size.bytes()];
        let spend = Spend {
            request: self.grant.request,
            ticket: self.id(),
            mailbox: self.inbox.id(),
            blob: *blake3::hash(&blob).as_bytes(),
            offer_expires: expires,
            expires: self.grant.expires,
        };
        let write = BlobWrite {
            mailbox: self.inbox.clone(),
            slot: ticket_slot(&self.id()),
            blob: bounded(blob),
            auth: WriteAuth::Ticket(TicketAuth {
                grants: listed(self.grants.clone()),
                spend: bounded(sign(&spend, &self.key)),
            }),
        };
        Call::new(CallKind::Write, to_bytes(&write))
    }

    /// Takes the booking lock with the user's acceptance.
    #[must_use]
    pub fn lock(&self, user: &SigningKey, attempt: u32) -> (Call, Held) {
        let accept = Accept {
            request: self.grant.request,
            ticket: self.id(),
            attempt,
            expires: self.grant.expires,
        };
        let bytes = sign(&accept, user);
        let order = LockOrder {
            grants: listed(self.grants.clone()),
            signature: self.key.sign(&LockOrder::message(&bytes)),
            accept: bounded(bytes),
            token_key: user.verifying_key(),
        };
        let held = Held {
            lock: accept.lock(),
            ticket: self.id(),
        };
        (Call::new(CallKind::Lock, to_bytes(&order)), held)
    }

    /// Frees a lock, signed by the ticket's key or the user's.
    #[must_use]
    pub fn release(&self, held: &Held, by: &SigningKey) -> Call {
        let release = Release {
            region: self.grant.region,
            request: self.grant.request,
            lock: held.lock,
            expires: self.grant.expires,
        };
        Call::new(CallKind::Release, sign(&release, by))
    }
}

impl World {
    /// The holders' challenges for the world's provider, for a region by number.
    ///
    /// # Errors
    /// The node's refusal.
    ///
    /// # Panics
    /// Where the answer is something else.
    pub fn challenges(&mut self, node: usize, region: usize) -> Result<Vec<Challenge>, Problem> {
        let order = ChallengeOrder {
            region: self.fixture.region(region),
            certificate: self.provider.id,
        };
        match self.call(node, &Call::new(CallKind::Challenge, to_bytes(&order)))? {
            Answer::Challenges(c) => Ok(c.challenges.to_vec()),
            other => panic!("challenges: {other:?}"),
        }
    }

    /// A claim that answers challenges, with the key it names.
    ///
    /// # Panics
    /// Where a challenge does not open with the region's key.
    pub fn claim_call(
        &mut self,
        region: usize,
        count: u8,
        challenges: &[Challenge],
    ) -> (Call, SigningKey) {
        let key = self.key();
        let id = self.fixture.region(region);
        let secret = &self.fixture.mediator.regions[region].secret;
        let answers = challenges.iter().map(|c| {
            let binding = challenge_binding(&id, &c.holder);
            let opened = short_open(
                secret,
                Purpose::Challenge,
                &binding,
                c.key_version,
                &[],
                &c.sealed,
            )
            .expect("a challenge opens");
            let nonce = <[u8; 32]>::try_from(opened.as_slice()).expect("a nonce");
            ChallengeAnswer {
                holder: c.holder,
                nonce,
            }
        });
        let claim = Claim {
            certificate: self.provider.id,
            region: id,
            count,
            key: key.verifying_key(),
            answers: listed(answers.collect()),
            time: self.now(),
        };
        (
            Call::new(CallKind::Claim, sign(&claim, &self.provider.signing)),
            key,
        )
    }

    /// Claims requests of a region at a node.
    ///
    /// # Errors
    /// The node's refusal.
    pub fn claim(&mut self, node: usize, region: usize, count: u8) -> Result<Vec<Ticket>, Problem> {
        let challenges = self.challenges(node, region)?;
        let (call, key) = self.claim_call(region, count, &challenges);
        let answer = self.call(node, &call)?;
        Ok(tickets(&key, &answer))
    }
}

/// The tickets in an answer to a claim.
///
/// # Panics
/// Where it is no such answer.
#[must_use]
pub fn tickets(key: &SigningKey, answer: &Answer) -> Vec<Ticket> {
    let Answer::Claims(claims) = answer else {
        panic!("claims: {answer:?}")
    };
    claims.claimed.iter().map(|c| Ticket::new(key, c)).collect()
}

impl Ticket {
    /// Gives up offers and locks of this ticket's request, and asks to be listed again.
    #[must_use]
    pub fn relist(&self, tickets: Vec<TicketId>, locks: Vec<LockId>, by: &SigningKey) -> Call {
        let relist = Relist {
            region: self.grant.region,
            request: self.grant.request,
            tickets: listed(tickets),
            locks: listed(locks),
            expires: self.grant.expires,
        };
        Call::new(CallKind::Relist, sign(&relist, by))
    }
}
