//! A provider made by hand, whose every letter can be bent, and a user to write to.

use crate::booking::{
    Confirmation, Decision, Offer, OfferSlot, ProviderCancellation, ToProvider, ToUser, Wish,
    challenge_binding,
};
use crate::bounded::{Bytes, List};
use crate::client::{Answer, Call, CallKind};
use crate::codec::from_bytes;
use crate::codec::to_bytes;
use crate::cose::{parse, sign};
use crate::hash::record_hash;
use crate::id::{RecordId, RegionId, RequestId, TicketId};
use crate::item::item_id;
use crate::key::{SealingKey, SealingSecret, SigningKey};
use crate::mailbox::{
    Entry, Life, Mailbox, Mark, MarkState, MarkValue, OpenOrder, Payment, Place, SlotClass,
    ticket_slot,
};
use crate::queue::{Accept, ChallengeAnswer, Claim, Release, Request, TicketGrant};
use crate::role::talk::{keyed_write, mailbox, mark, only, open_from, seal_for};
use crate::role::tests::Paper;
use crate::role::user::{User, UserEvent};
use crate::role::{Role, user::Wishes};
use crate::seal::{Purpose, open, short_open};
use crate::size::SizeClass;
use crate::testing::{TestProvider, list, text};
use crate::time::{Seconds, Time};
use crate::token::PriorityToken;

/// One user and the federation.
pub(super) struct Scene {
    pub(super) paper: Paper,
    pub(super) user: User,
    pub(super) events: Vec<UserEvent>,
    /// The user is stored and restored before every step.
    pub(super) restart: bool,
}

impl Scene {
    /// A user with a request in the first region's queue.
    pub(super) fn new(seed: u64, restart: bool) -> Self {
        let paper = Paper::new(seed);
        let user = User::create(super::data("Ada"), paper.view.clone(), paper.node());
        let mut s = Scene {
            paper,
            user,
            events: Vec::new(),
            restart,
        };
        let region = s.paper.fixture.region(0);
        s.user
            .request(region, Wishes::default(), &mut s.paper.rng)
            .expect("idle");
        s.go(2);
        s
    }

    /// Lets the user act, and half a minute pass, so many times.
    pub(super) fn go(&mut self, times: usize) {
        for _ in 0..times {
            if self.restart {
                self.user = self.paper.restarted(&self.user);
            }
            self.user
                .set_view(self.paper.view.clone())
                .expect("one federation");
            let events = self.paper.turn(&mut self.user, self.restart);
            self.events.extend(events);
            self.paper.pass(31);
        }
    }

    /// The view learns what the fixture signed since.
    pub(super) fn learn(&mut self) {
        self.paper.view = self.paper.fixture.view();
        self.user
            .set_view(self.paper.view.clone())
            .expect("one federation");
    }

    pub(super) fn book(&mut self, offer: &RecordId, slot: u8) {
        let now = self.paper.now;
        self.user
            .book(offer, slot, now, &mut self.paper.rng)
            .expect("booked");
    }

    /// A booking that was confirmed: its record id.
    pub(super) fn booked(&mut self, maker: &mut Maker, offer: &RecordId, slot: u8) -> RecordId {
        self.book(offer, slot);
        self.go(1);
        let id = maker.letters(&self.paper).last().expect("a booking").0;
        maker.decide(&mut self.paper, id, offer, slot, Decision::Confirmed);
        self.go(1);
        id
    }

    pub(super) fn count(&self, what: impl Fn(&UserEvent) -> bool) -> usize {
        self.events.iter().filter(|e| what(e)).count()
    }
}

/// A provider by hand that holds one ticket of the user.
pub(super) struct Maker {
    pub(super) certified: TestProvider,
    pub(super) region: RegionId,
    pub(super) ticket: TicketId,
    pub(super) ticket_key: SigningKey,
    pub(super) marks: SigningKey,
    pub(super) request: RequestId,
    pub(super) to_provider: Mailbox,
    pub(super) to_user: Mailbox,
    grants: Vec<Vec<u8>>,
    inbox: Mailbox,
    user: SealingKey,
    expires: Time,
    write: SigningKey,
    next: u32,
    offers: Vec<(RecordId, SealingSecret, Offer)>,
}

impl Maker {
    /// Certifies a provider for the first region, and claims the first request in it.
    pub(super) fn new(paper: &mut Paper) -> Self {
        let certified = paper.fixture.certify(&[0]);
        paper.view = paper.fixture.view();
        Self::claim(paper, certified)
    }

    /// Claims the first request in the region for a provider.
    pub(super) fn claim(paper: &mut Paper, certified: TestProvider) -> Self {
        let region = paper.fixture.region(0);
        let secret = paper.fixture.mediator.regions[0].secret.clone();
        let order = crate::queue::ChallengeOrder {
            region,
            certificate: certified.id,
        };
        let answer = paper.serve(&Call::new(CallKind::Challenge, to_bytes(&order)));
        let Ok(Answer::Challenges(challenges)) = answer else {
            panic!("no challenge: {answer:?}")
        };
        let answers = challenges.challenges.iter().map(|c| {
            let binding = challenge_binding(&region, &c.holder);
            let nonce = short_open(
                &secret,
                Purpose::Challenge,
                &binding,
                c.key_version,
                &[],
                &c.sealed,
            )
            .expect("ours");
            ChallengeAnswer {
                holder: c.holder,
                nonce: nonce.as_slice().try_into().expect("32 bytes"),
            }
        });
        let ticket_key = SigningKey::generate(&mut paper.rng);
        let claim = Claim {
            certificate: certified.id,
            region,
            count: 1,
            key: ticket_key.verifying_key(),
            answers: list(answers.collect()),
            time: paper.now,
        };
        let call = Call::new(CallKind::Claim, sign(&claim, &certified.signing));
        let answer = paper.serve(&call);
        let Ok(Answer::Claims(claims)) = answer else {
            panic!("no claim: {answer:?}")
        };
        let claimed = claims.claimed.first().expect("a request").clone();
        let grants: Vec<Vec<u8>> = claimed.grants.iter().map(|g| g.to_vec()).collect();
        let grant = parse::<TicketGrant>(&grants[0])
            .expect("one")
            .unverified()
            .clone();
        let request = parse::<Request>(&claimed.entry.request)
            .expect("one")
            .unverified()
            .clone();
        let token = parse::<PriorityToken>(&request.token)
            .expect("one")
            .unverified()
            .clone();
        let wish = open(
            &secret,
            Purpose::Request,
            region.as_bytes(),
            request.key_version,
            &[],
            &request.envelope,
        )
        .expect("ours");
        let wish: Wish = from_bytes(&wish, 4096).expect("a wish");
        let (read, write) = (
            SigningKey::generate(&mut paper.rng),
            SigningKey::generate(&mut paper.rng),
        );
        let class = (SizeClass::Small, SlotClass::Sixteen, Life::Days42);
        let (now, rng) = (paper.now, &mut paper.rng);
        let to_provider = mailbox(&read.verifying_key(), only(&token.key), class, now, rng);
        let to_user = mailbox(&token.key, only(&write.verifying_key()), class, now, rng);
        let marks = SigningKey::generate(rng);
        let maker = Maker {
            certified,
            region,
            ticket: grant.ticket(),
            ticket_key,
            marks,
            request: grant.request,
            to_provider,
            to_user,
            grants,
            inbox: request.inbox,
            user: wish.user,
            expires: grant.expires,
            write,
            next: 0,
            offers: Vec::new(),
        };
        let places = [&maker.to_provider, &maker.to_user].map(|m| Place::Mailbox(m.clone()));
        let order = OpenOrder {
            node: paper.node(),
            payment: Payment::Provider(maker.certified.id),
            places: list(places.to_vec()),
            time: paper.now,
        };
        let call = Call::new(CallKind::Open, sign(&order, &maker.certified.signing));
        paper.serve(&call).expect("opened");
        maker
    }

    /// The offers made so far.
    pub(super) fn offer(&self, at: usize) -> (RecordId, Offer) {
        let (id, _, offer) = &self.offers[at];
        (*id, offer.clone())
    }

    /// Makes an offer of so many slots, signed.
    pub(super) fn make(&mut self, paper: &mut Paper, slots: u32) -> (RecordId, Vec<u8>) {
        let sealing = SealingSecret::generate(&mut paper.rng);
        let base = Seconds::days(3 + self.offers.len() as u32);
        let slots: Vec<OfferSlot> = (0..slots)
            .map(|i| OfferSlot {
                start: paper.now.plus(base).plus(Seconds::minutes(15 * i)),
                minutes: 15,
                what: text("mRNA"),
                mark: self.mark(paper),
            })
            .collect();
        let offer = Offer {
            request: self.request,
            ticket: self.ticket,
            user: self.user,
            sealing: sealing.public(),
            certificate: Bytes::try_from(self.certified.certificate.clone()).expect("short"),
            practice: self.certified.practice.clone(),
            to_provider: self.to_provider.clone(),
            to_user: self.to_user.clone(),
            slots: list(slots),
            expires: paper.now.plus(Seconds::hours(12)).min(self.expires),
        };
        let bytes = sign(&offer, &self.certified.signing);
        let id = record_hash(&bytes);
        self.offers.push((id, sealing, offer));
        (id, bytes)
    }

    fn mark(&self, paper: &mut Paper) -> Mark {
        let (now, rng) = (paper.now, &mut paper.rng);
        mark(&self.marks.verifying_key(), Life::Days14, now, rng)
    }

    /// Makes an offer and puts it into the inbox, by the ticket.
    pub(super) fn send_offer(&mut self, paper: &mut Paper, slots: u32) -> RecordId {
        let (id, bytes) = self.make(paper, slots);
        let blob = seal_for(
            &self.inbox,
            &self.user,
            Purpose::Offer,
            &bytes,
            &mut paper.rng,
        )
        .expect("sealed");
        let grants: Vec<Bytes<768>> = self
            .grants
            .iter()
            .map(|g| Bytes::try_from(g.clone()).expect("short"))
            .collect();
        let entry = Entry {
            slot: ticket_slot(&self.ticket),
            item: item_id(crate::item::ItemKind::Blob, &blob),
            grants: list(grants),
            blob: Bytes::try_from(blob).expect("short"),
        };
        let inbox = self.inbox.clone();
        paper.plant(&inbox, entry);
        id
    }

    /// Makes an offer and writes it into the channel.
    pub(super) fn offer_again(&mut self, paper: &mut Paper, slots: u32) -> RecordId {
        let (id, bytes) = self.make(paper, slots);
        let letter = ToUser::Offer(Bytes::try_from(bytes).expect("short"));
        self.say(paper, Purpose::Offer, &letter);
        id
    }

    /// Seals a letter to the user and writes it into the next slot.
    pub(super) fn say(&mut self, paper: &mut Paper, purpose: Purpose, letter: &ToUser) {
        let plain = to_bytes(letter);
        let blob =
            seal_for(&self.to_user, &self.user, purpose, &plain, &mut paper.rng).expect("sealed");
        let write = keyed_write(&self.to_user, self.next, blob, &self.write).expect("short");
        self.next += 1;
        paper
            .serve(&Call::new(CallKind::Write, write))
            .expect("written");
    }

    /// Answers a letter about a slot.
    pub(super) fn decide(
        &mut self,
        paper: &mut Paper,
        letter: RecordId,
        offer: &RecordId,
        slot: u8,
        decision: Decision,
    ) {
        let start = self
            .offers
            .iter()
            .find(|(id, _, _)| id == offer)
            .map_or(Time::ZERO, |(_, _, o)| o.slots[usize::from(slot)].start);
        let said = Confirmation {
            booking: letter,
            offer: *offer,
            slot,
            start,
            decision,
        };
        self.confirm(paper, &said, &self.certified.signing.clone());
    }

    pub(super) fn confirm(&mut self, paper: &mut Paper, said: &Confirmation, by: &SigningKey) {
        let letter = ToUser::Confirmation(Bytes::try_from(sign(said, by)).expect("short"));
        self.say(paper, Purpose::Confirmation, &letter);
    }

    /// An honest cancellation of a booking with this acceptance.
    pub(super) fn cancellation(
        &self,
        booking: RecordId,
        accept: &Accept,
        again: bool,
    ) -> ProviderCancellation {
        let release = Release {
            region: self.region,
            request: self.request,
            lock: accept.lock(),
            expires: self.expires,
        };
        ProviderCancellation {
            booking,
            release: Bytes::try_from(sign(&release, &self.ticket_key)).expect("short"),
            again,
            text: text("The doctor is ill."),
        }
    }

    pub(super) fn cancel(
        &mut self,
        paper: &mut Paper,
        said: &ProviderCancellation,
        by: &SigningKey,
    ) {
        let letter = ToUser::Cancellation(Bytes::try_from(sign(said, by)).expect("short"));
        self.say(paper, Purpose::Message, &letter);
    }

    /// What the user wrote, in order, each with its record id.
    pub(super) fn letters(&self, paper: &Paper) -> Vec<(RecordId, ToProvider)> {
        let found = paper.contents(&self.to_provider).into_iter().map(|entry| {
            let opened = self.offers.iter().find_map(|(_, secret, _)| {
                [Purpose::Booking, Purpose::Message]
                    .iter()
                    .find_map(|p| open_from(&self.to_provider, secret, *p, &entry.blob).ok())
            });
            let letter: ToProvider =
                from_bytes(&opened.expect("sealed to an offer"), 4096).expect("a letter");
            let id = match &letter {
                ToProvider::Booking(b) => record_hash(b),
                ToProvider::Cancellation(b) => record_hash(b),
                ToProvider::Change(b) => record_hash(b),
                ToProvider::Decline(b) => record_hash(b),
                ToProvider::Message(_) => RecordId::from_bytes([0; 32]),
            };
            (id, letter)
        });
        found.collect()
    }

    /// The acceptance in the last booking.
    pub(super) fn accept(&self, paper: &Paper) -> Accept {
        let letters = self.letters(paper);
        let booking = letters.iter().rev().find_map(|(_, l)| match l {
            ToProvider::Booking(b) => Some(
                parse::<crate::booking::Booking>(b)
                    .expect("one")
                    .unverified()
                    .clone(),
            ),
            _ => None,
        });
        parse::<Accept>(&booking.expect("a booking").accept)
            .expect("one")
            .unverified()
            .clone()
    }

    /// Takes slots of an offer, as other users' bookings do.
    pub(super) fn take_slots(&self, paper: &mut Paper, at: usize, version: u64) {
        let slots: List<OfferSlot, 8> = self.offers[at].2.slots.clone();
        for slot in &slots {
            let state = MarkState {
                mark: slot.mark.clone(),
                version,
                value: MarkValue::Taken,
                by: [1; 16],
            };
            let bytes = sign(&state, &self.marks);
            paper.overwrite_mark(slot.mark.id(), version, bytes);
        }
    }
}
