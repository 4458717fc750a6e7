//! Users, a provider and a mediator by hand: calls made with the keys at hand, without the role machines,
//! so that a test can make them in an order that no role would.

use lapwing_client::driver::now;
use lapwing_protocol::booking::challenge_binding;
use lapwing_protocol::bounded::Bytes;
use lapwing_protocol::client::{Answer, Call, CallKind};
use lapwing_protocol::codec::to_bytes;
use lapwing_protocol::cose::{parse, sign};
use lapwing_protocol::federation::MediatorRegistration;
use lapwing_protocol::hash::record_hash;
use lapwing_protocol::id::{LockId, RecordId, RegionId, RequestId, TicketId, TokenHash};
use lapwing_protocol::key::SigningKey;
use lapwing_protocol::mailbox::{
    BlobWrite, Life, Mailbox, SlotClass, Spend, TicketAuth, WriteAuth, Writers, ticket_slot,
};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::{
    Accept, Challenge, ChallengeAnswer, ChallengeOrder, Claim, Claimed, LockOrder, Release, Relist,
    Request, TicketGrant,
};
use lapwing_protocol::seal::{Purpose, short_open};
use lapwing_protocol::size::SizeClass;
use lapwing_protocol::testing::{Fixture, TestProvider, bytes32, list, text};
use lapwing_protocol::time::{Seconds, Time};
use lapwing_protocol::token::{TokenOrder, TokenWork, epoch_at};
use lapwing_testnet::audit::view_of;
use lapwing_testnet::clients::numbered;
use rand_core::Rng;

use crate::stage::{Stage, until};

fn bounded<const MAX: usize>(bytes: Vec<u8>) -> Bytes<MAX> {
    Bytes::try_from(bytes).unwrap()
}

/// A mediator of two regions, one certified provider, and whatever keys users need.
pub(crate) struct Hand {
    pub(crate) fixture: Fixture,
    pub(crate) provider: TestProvider,
}

/// A token with the key that signs its request.
pub(crate) struct Drawn {
    pub(crate) token: Vec<u8>,
    pub(crate) key: SigningKey,
}

/// A claimed request with its ticket.
#[derive(Clone)]
pub(crate) struct Ticket {
    pub(crate) key: SigningKey,
    pub(crate) grants: Vec<Bytes<768>>,
    pub(crate) grant: TicketGrant,
    pub(crate) inbox: Mailbox,
}

impl Hand {
    /// The mediator, registered by the founders for postal codes that begin with 1 and published at the
    /// first node, with its provider for the first region; every node knows them.
    pub(crate) async fn open(stage: &Stage, seed: u64) -> Self {
        let mut fixture = Fixture::with(seed, 1, 2, |p| {
            *p = lapwing_testnet::federation::quick_params();
        });
        fixture.now = now();
        fixture.mediator.inbox.day = fixture.now.day();
        fixture.mediator.sign_certificate(fixture.now);
        fixture.mediator.sign_regions(fixture.now);
        let provider = fixture.certify(&[0]);
        let hand = Hand { fixture, provider };
        let registration = hand.registration(stage, 1, "1");
        let signed = stage.net.founders().sign_registration(&registration);
        hand.publish(stage, signed).await.unwrap();
        hand.publish_all(stage).await;
        hand
    }

    /// A registration of the mediator for postal codes that begin so.
    pub(crate) fn registration(
        &self,
        stage: &Stage,
        sequence: u64,
        area: &str,
    ) -> MediatorRegistration {
        let now = self.fixture.now;
        MediatorRegistration {
            federation: stage.net.founders().federation().id(),
            mediator: self.fixture.mediator.id,
            sequence,
            name: text("By hand"),
            areas: list(vec![text(area)]),
            issued: now,
            expires: now.plus(Seconds::days(30)),
        }
    }

    /// Publishes a record at the first node.
    pub(crate) async fn publish(&self, stage: &Stage, record: Vec<u8>) -> Result<(), Problem> {
        let call = Call::new(CallKind::Publish, record);
        stage.insist(0, &call).await.map(drop)
    }

    /// Publishes everything of the mediator's that is in force, and waits until all nodes know it.
    pub(crate) async fn publish_all(&self, stage: &Stage) {
        for record in self.fixture.mediator.records() {
            self.publish(stage, record).await.unwrap();
        }
        let mediator = &self.fixture.mediator;
        let status = mediator.redated.as_ref().unwrap_or(&mediator.status);
        let status = record_hash(status);
        let certificate = self.provider.id;
        for place in &stage.places {
            let empty = stage.view();
            until("the mediator's records", async || {
                let view = view_of(&numbered(900), place, &empty).await;
                view.is_ok_and(|v| {
                    v.record(&status).is_some() && v.certificate(&certificate).is_some()
                })
            })
            .await;
        }
    }

    pub(crate) fn key(&mut self) -> SigningKey {
        SigningKey::generate(&mut self.fixture.rng)
    }

    pub(crate) fn region(&self) -> RegionId {
        self.fixture.region(0)
    }

    /// Draws a token at a node.
    pub(crate) async fn draw(&mut self, stage: &Stage, node: usize) -> Drawn {
        let key = self.key();
        let hash = TokenHash::from_bytes(bytes32(&mut self.fixture.rng));
        let params = &self.fixture.params;
        let work = TokenWork {
            federation: stage.net.founders().federation().id(),
            issuer: stage.places[node].id,
            epoch: epoch_at(now(), params.epoch),
        };
        let proof = work.search(&hash, params.token_work, 0, 1 << 20).unwrap();
        let order = TokenOrder {
            hash,
            proof,
            key: key.verifying_key(),
        };
        let call = Call::new(CallKind::Token, to_bytes(&order));
        match stage.insist(node, &call).await {
            Ok(Answer::Token(token)) => Drawn { token, key },
            other => panic!("a token: {other:?}"),
        }
    }

    /// A new request with a token, with its id.
    pub(crate) fn request(&mut self, drawn: &Drawn) -> (Call, RequestId) {
        let rng = &mut self.fixture.rng;
        let read = SigningKey::generate(rng).verifying_key();
        let mut nonce = [0; 16];
        rng.fill_bytes(&mut nonce);
        let inbox = Mailbox {
            read,
            writers: Writers::Tickets,
            size: SizeClass::Small,
            slots: SlotClass::Free,
            life: Life::Days42,
            day: now().day(),
            nonce,
        };
        let request = Request {
            token: bounded(drawn.token.clone()),
            region: self.region(),
            key_version: self.fixture.mediator.regions[0].region.key_version,
            inbox,
            // The smallest envelope; what it holds is nobody's business here.
            envelope: bounded(vec![1; 4096]),
        };
        let bytes = sign(&request, &drawn.key);
        let id = RequestId::from_bytes(*record_hash(&bytes).as_bytes());
        (Call::new(CallKind::Request, bytes), id)
    }

    /// Asks a node for the holders' challenges, in the name of a certificate.
    pub(crate) fn challenge_call(&self, certificate: RecordId) -> Call {
        let order = ChallengeOrder {
            region: self.region(),
            certificate,
        };
        Call::new(CallKind::Challenge, to_bytes(&order))
    }

    /// The holders' challenges for the provider.
    pub(crate) async fn challenges(&self, stage: &Stage, node: usize) -> Vec<Challenge> {
        let call = self.challenge_call(self.provider.id);
        match stage.insist(node, &call).await {
            Ok(Answer::Challenges(c)) => c.challenges.to_vec(),
            other => panic!("challenges: {other:?}"),
        }
    }

    /// The claim that answers challenges, signed by the provider in the name of a certificate.
    pub(crate) fn claim_call(
        &mut self,
        challenges: &[Challenge],
        certificate: RecordId,
        count: u8,
    ) -> (Call, SigningKey) {
        let (key, region) = (self.key(), self.region());
        let secret = &self.fixture.mediator.regions[0].secret;
        let answers = challenges.iter().map(|c| {
            let binding = challenge_binding(&region, &c.holder);
            let nonce = short_open(
                secret,
                Purpose::Challenge,
                &binding,
                c.key_version,
                &[],
                &c.sealed,
            )
            .unwrap();
            ChallengeAnswer {
                holder: c.holder,
                nonce: nonce.as_slice().try_into().unwrap(),
            }
        });
        let claim = Claim {
            certificate,
            region,
            count,
            key: key.verifying_key(),
            answers: list(answers.collect()),
            time: now(),
        };
        let call = Call::new(CallKind::Claim, sign(&claim, &self.provider.signing));
        (call, key)
    }

    /// Claims so many requests at a node.
    pub(crate) async fn claim(&mut self, stage: &Stage, node: usize, count: u8) -> Vec<Ticket> {
        let challenges = self.challenges(stage, node).await;
        let (call, key) = self.claim_call(&challenges, self.provider.id, count);
        match stage.insist(node, &call).await {
            Ok(Answer::Claims(claims)) => {
                let tickets = claims.claimed.iter().map(|c| Ticket::new(&key, c));
                tickets.collect()
            }
            other => panic!("claims: {other:?}"),
        }
    }
}

impl Ticket {
    fn new(key: &SigningKey, claimed: &Claimed) -> Self {
        let request = parse::<Request>(&claimed.entry.request).unwrap();
        let grants = claimed.grants.to_vec();
        Ticket {
            key: key.clone(),
            grant: parse::<TicketGrant>(&grants[0])
                .unwrap()
                .unverified()
                .clone(),
            grants,
            inbox: request.unverified().inbox.clone(),
        }
    }

    pub(crate) fn id(&self) -> TicketId {
        self.grant.ticket()
    }

    /// The acceptance that a user would sign.
    pub(crate) fn accept(&self, attempt: u32) -> Accept {
        Accept {
            request: self.grant.request,
            ticket: self.id(),
            attempt,
            expires: self.grant.expires,
        }
    }

    /// Takes the booking lock with these bytes as the acceptance of whoever has this key.
    pub(crate) fn lock(&self, accept: Vec<u8>, user: &SigningKey) -> Call {
        let order = LockOrder {
            grants: list(self.grants.clone()),
            signature: self.key.sign(&LockOrder::message(&accept)),
            accept: bounded(accept),
            token_key: user.verifying_key(),
        };
        Call::new(CallKind::Lock, to_bytes(&order))
    }

    /// Frees a lock.
    pub(crate) fn release(&self, lock: LockId, by: &SigningKey) -> Call {
        let release = Release {
            region: self.grant.region,
            request: self.grant.request,
            lock,
            expires: self.grant.expires,
        };
        Call::new(CallKind::Release, sign(&release, by))
    }

    /// Gives up this ticket's offer, and asks to be listed again.
    pub(crate) fn relist(&self, request: RequestId, by: &SigningKey) -> Call {
        let relist = Relist {
            region: self.grant.region,
            request,
            tickets: list(vec![self.id()]),
            locks: list(Vec::new()),
            expires: self.grant.expires,
        };
        Call::new(CallKind::Relist, sign(&relist, by))
    }

    /// Writes an offer to the user's inbox, spending the ticket by a key.
    pub(crate) fn offer(&self, until: Time, by: &SigningKey) -> Call {
        let blob = vec![1; self.inbox.size.bytes()];
        let spend = Spend {
            request: self.grant.request,
            ticket: self.id(),
            mailbox: self.inbox.id(),
            blob: *record_hash(&blob).as_bytes(),
            offer_expires: until,
            expires: self.grant.expires,
        };
        let write = BlobWrite {
            mailbox: self.inbox.clone(),
            slot: ticket_slot(&self.id()),
            blob: bounded(blob),
            auth: WriteAuth::Ticket(TicketAuth {
                grants: list(self.grants.clone()),
                spend: bounded(sign(&spend, by)),
            }),
        };
        Call::new(CallKind::Write, to_bytes(&write))
    }
}
