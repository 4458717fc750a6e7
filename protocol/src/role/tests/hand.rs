//! A user made by hand, whose every key is known and whose every letter can be bent.

use super::Paper;
use crate::booking::{Booking, Confirmation, Offer, ToProvider, ToUser, Wish, binding};
use crate::bounded::Bytes;
use crate::client::{Answer, Call, CallKind};
use crate::codec::{from_bytes, to_bytes};
use crate::cose::{parse, sign};
use crate::hash::record_hash;
use crate::id::{RecordId, RegionId, RequestId};
use crate::key::{SealingSecret, SigningKey};
use crate::mailbox::{Life, Mailbox, SlotClass, Writers};
use crate::queue::{Accept, Request};
use crate::role::talk::{keyed_write, mailbox, seal_for};
use crate::seal::{Purpose, open, seal};
use crate::size::SizeClass;
use crate::testing::{list, text};
use crate::time::Time;
use crate::token::{PriorityToken, TokenOrder, TokenWork, UserData, epoch_at, token_hash};

pub(super) struct Hand {
    pub(super) data: UserData,
    pub(super) nonce: [u8; 32],
    pub(super) user: SealingSecret,
    pub(super) key: SigningKey,
    pub(super) token: Vec<u8>,
    pub(super) request: RequestId,
    pub(super) inbox: Mailbox,
    pub(super) expires: Time,
    next: u32,
}

impl Hand {
    /// Draws a token and places a request.
    pub(super) fn new(paper: &mut Paper, region: RegionId) -> Self {
        let data = UserData {
            name: text("Hand"),
            address: text("Street 9"),
            email: text(""),
            telephone: text(""),
        };
        let (user, key) = (
            SealingSecret::generate(&mut paper.rng),
            SigningKey::generate(&mut paper.rng),
        );
        let nonce = crate::testing::bytes32(&mut paper.rng);
        let token = Self::draw(paper, &data, &nonce, &user, &key);
        let read = SigningKey::generate(&mut paper.rng);
        let class = (SizeClass::Small, SlotClass::Free, Life::Days42);
        let inbox = mailbox(
            &read.verifying_key(),
            Writers::Tickets,
            class,
            paper.now,
            &mut paper.rng,
        );
        let published = paper.view.region(&region).expect("a region").1.clone();
        let wish = to_bytes(&Wish {
            user: user.public(),
            wishes: list(vec![]),
        });
        let version = published.key_version;
        let envelope = seal(
            &published.sealing,
            Purpose::Request,
            region.as_bytes(),
            version,
            &[],
            &wish,
            SizeClass::Small,
            &mut paper.rng,
        )
        .expect("sealed");
        let request = Request {
            token: Bytes::try_from(token.clone()).expect("short"),
            region,
            key_version: version,
            inbox: inbox.clone(),
            envelope: Bytes::try_from(envelope).expect("short"),
        };
        let bytes = sign(&request, &key);
        let answer = paper.serve(&Call::new(CallKind::Request, bytes.clone()));
        let Ok(Answer::Admission(admission)) = answer else {
            panic!("not admitted: {answer:?}")
        };
        let expires = parse::<crate::queue::Admission>(&admission)
            .expect("one")
            .unverified()
            .expires;
        let request = RequestId::from_bytes(*record_hash(&bytes).as_bytes());
        Hand {
            data,
            nonce,
            user,
            key,
            token,
            request,
            inbox,
            expires,
            next: 0,
        }
    }

    /// Draws a token for data and keys.
    pub(super) fn draw(
        paper: &mut Paper,
        data: &UserData,
        nonce: &[u8; 32],
        user: &SealingSecret,
        key: &SigningKey,
    ) -> Vec<u8> {
        let hash = token_hash(data, nonce, &user.public());
        let bits = paper.fixture.params.token_work;
        let work = TokenWork {
            federation: paper.view.federation_id(),
            issuer: paper.node(),
            epoch: epoch_at(paper.now, paper.fixture.params.epoch),
        };
        let proof = work.search(&hash, bits, 0, 100_000).expect("cheap");
        let order = TokenOrder {
            hash,
            proof,
            key: key.verifying_key(),
        };
        let answer = paper.serve(&Call::new(CallKind::Token, to_bytes(&order)));
        let Ok(Answer::Token(token)) = answer else {
            panic!("no token: {answer:?}")
        };
        assert!(parse::<PriorityToken>(&token).is_ok());
        token
    }

    /// The first offer that came.
    pub(super) fn offer(&self, paper: &Paper) -> Option<(RecordId, Offer)> {
        let entry = paper.contents(&self.inbox).into_iter().next()?;
        let plain = open(
            &self.user,
            Purpose::Offer,
            &binding(&self.inbox.id()),
            0,
            &[],
            &entry.blob,
        )
        .expect("ours");
        let offer = parse::<Offer>(&plain).expect("an offer");
        Some((offer.id(), offer.unverified().clone()))
    }

    /// An honest booking of a slot.
    pub(super) fn booking(&self, id: RecordId, offer: &Offer, slot: u8) -> Booking {
        let accept = self.accept(offer);
        Booking {
            offer: id,
            slot,
            token: Bytes::try_from(self.token.clone()).expect("short"),
            data: self.data.clone(),
            nonce: self.nonce,
            user: self.user.public(),
            accept: Bytes::try_from(sign(&accept, &self.key)).expect("short"),
        }
    }

    pub(super) fn accept(&self, offer: &Offer) -> Accept {
        Accept {
            request: self.request,
            ticket: offer.ticket,
            attempt: 1,
            expires: self.expires,
        }
    }

    /// Seals a letter to an offer and writes it into the next slot.
    pub(super) fn send(
        &mut self,
        paper: &mut Paper,
        offer: &Offer,
        purpose: Purpose,
        letter: &ToProvider,
    ) {
        let plain = to_bytes(letter);
        let blob = seal_for(
            &offer.to_provider,
            &offer.sealing,
            purpose,
            &plain,
            &mut paper.rng,
        )
        .expect("sealed");
        let write = keyed_write(&offer.to_provider, self.next, blob, &self.key).expect("short");
        self.next += 1;
        paper
            .serve(&Call::new(CallKind::Write, write))
            .expect("written");
    }

    pub(super) fn send_booking(
        &mut self,
        paper: &mut Paper,
        offer: &Offer,
        booking: &Booking,
        by: &SigningKey,
    ) {
        let letter = ToProvider::Booking(Bytes::try_from(sign(booking, by)).expect("short"));
        self.send(paper, offer, Purpose::Booking, &letter);
    }

    /// The decisions that came back, in order.
    pub(super) fn decisions(&self, paper: &Paper, offer: &Offer) -> Vec<Confirmation> {
        let id = binding(&offer.to_user.id());
        let letters = paper
            .contents(&offer.to_user)
            .into_iter()
            .filter_map(|entry| {
                let plain =
                    open(&self.user, Purpose::Confirmation, &id, 0, &[], &entry.blob).ok()?;
                from_bytes::<ToUser>(&plain, 4096).ok()
            });
        letters
            .filter_map(|letter| match letter {
                ToUser::Confirmation(bytes) => Some(
                    parse::<Confirmation>(&bytes)
                        .expect("one")
                        .unverified()
                        .clone(),
                ),
                _ => None,
            })
            .collect()
    }
}
