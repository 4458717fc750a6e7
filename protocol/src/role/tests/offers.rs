//! Which offers a user's app shows, one reason to refuse after the other.

use crate::booking::{Offer, OfferSlot};
use crate::bounded::Bytes;
use crate::cose::sign;
use crate::id::{RequestId, TicketId};
use crate::key::{SealingSecret, SigningKey};
use crate::mailbox::{Life, Mailbox, SlotClass};
use crate::problem::Problem;
use crate::role::talk::{mailbox, mark, only};
use crate::role::user::{InvalidOffer, OfferContext, check_offer};
use crate::size::SizeClass;
use crate::testing::{Fixture, TestProvider, bytes32, list, text};
use crate::time::{Seconds, Time};
use crate::trust::TrustView;

struct Case {
    fixture: Fixture,
    provider: TestProvider,
    token: SigningKey,
    context: OfferContext,
    offer: Offer,
    view: TrustView,
    now: Time,
}

fn channel(fixture: &mut Fixture, read: &SigningKey, write: &SigningKey) -> Mailbox {
    let class = (SizeClass::Small, SlotClass::Sixteen, Life::Days42);
    mailbox(
        &read.verifying_key(),
        only(&write.verifying_key()),
        class,
        fixture.now,
        &mut fixture.rng,
    )
}

fn case() -> Case {
    let mut fixture = Fixture::new(77, 3);
    let provider = fixture.certify(&[0]);
    let token = SigningKey::generate(&mut fixture.rng);
    let ours = SigningKey::generate(&mut fixture.rng);
    let user = SealingSecret::generate(&mut fixture.rng).public();
    let context = OfferContext {
        request: RequestId::from_bytes(bytes32(&mut fixture.rng)),
        region: fixture.region(0),
        ticket: TicketId::from_bytes(bytes32(&mut fixture.rng)),
        user,
        token_key: token.verifying_key(),
        channel: None,
    };
    let slot = |fixture: &mut Fixture, hours| OfferSlot {
        start: fixture.now.plus(Seconds::hours(hours)),
        minutes: 10,
        what: text("mRNA"),
        mark: mark(
            &ours.verifying_key(),
            Life::Days14,
            fixture.now,
            &mut fixture.rng,
        ),
    };
    let slots = vec![slot(&mut fixture, 30), slot(&mut fixture, 31)];
    let offer = Offer {
        request: context.request,
        ticket: context.ticket,
        user,
        sealing: SealingSecret::generate(&mut fixture.rng).public(),
        certificate: Bytes::try_from(provider.certificate.clone()).expect("short"),
        practice: provider.practice.clone(),
        to_provider: channel(&mut fixture, &ours, &token),
        to_user: channel(&mut fixture, &token, &ours),
        slots: list(slots),
        expires: fixture.now.plus(Seconds::hours(4)),
    };
    let (view, now) = (fixture.view(), fixture.now);
    Case {
        fixture,
        provider,
        token,
        context,
        offer,
        view,
        now,
    }
}

impl Case {
    fn check(&self, key: &SigningKey) -> Result<(), InvalidOffer> {
        check_offer(&sign(&self.offer, key), &self.context, &self.view, self.now).map(drop)
    }
}

type Bend = fn(&mut Case);

#[test]
fn bent_offers_are_refused() {
    use InvalidOffer as I;
    let table: Vec<(&str, Bend, Result<(), InvalidOffer>)> = vec![
        ("as it should be", |_| (), Ok(())),
        (
            "for another request",
            |c| c.offer.request = RequestId::from_bytes([1; 32]),
            Err(I::OtherRequest),
        ),
        (
            "for another ticket",
            |c| c.offer.ticket = TicketId::from_bytes([1; 32]),
            Err(I::OtherRequest),
        ),
        (
            "for another user",
            |c| c.offer.user = c.offer.sealing,
            Err(I::OtherRequest),
        ),
        (
            "from another region",
            |c| c.context.region = c.fixture.region(1),
            Err(I::Region),
        ),
        (
            "with a prettier practice",
            |c| c.offer.practice.name = text("Charité"),
            Err(I::Practice),
        ),
        (
            "with an altered certificate",
            |c| {
                let mut bytes = c.offer.certificate.to_vec();
                *bytes.last_mut().expect("bytes") ^= 1;
                c.offer.certificate = Bytes::try_from(bytes).expect("short");
            },
            Err(I::Certificate(Problem::BadSignature)),
        ),
        (
            "with a certificate that no mediator signed",
            |c| {
                let own = SigningKey::generate(&mut c.fixture.rng);
                let said = crate::cose::parse::<crate::mediation::ProviderCertificate>(
                    &c.provider.certificate,
                );
                let certificate = sign(said.expect("one").unverified(), &own);
                c.offer.certificate = Bytes::try_from(certificate).expect("short");
            },
            Err(I::Certificate(Problem::BrokenChain)),
        ),
        (
            "revoked",
            |c| {
                c.fixture.revoke(c.provider.serial);
                c.view = c.fixture.view();
            },
            Err(I::Certificate(Problem::Revoked)),
        ),
        (
            "certified, but not listed",
            |c| {
                let region = c.fixture.region(0);
                let (signing, sealing) = (
                    c.provider.signing.verifying_key(),
                    c.provider.sealing.public(),
                );
                let practice = c.provider.practice.clone();
                let now = c.fixture.now;
                let (_, bytes) =
                    c.fixture
                        .mediator
                        .certify(signing, sealing, &practice, &[region], now);
                c.offer.certificate = Bytes::try_from(bytes).expect("short");
            },
            Err(I::Certificate(Problem::UnknownCertificate)),
        ),
        (
            "under a status that has expired",
            |c| {
                c.now = c.now.plus(Seconds::days(8));
                c.offer.expires = c.now.plus(Seconds::HOUR);
            },
            Err(I::Certificate(Problem::StatusExpired)),
        ),
        (
            "by a view that knows no roster",
            |c| {
                c.view = TrustView::new(c.fixture.federation.clone()).expect("valid");
            },
            Err(I::Certificate(Problem::BrokenChain)),
        ),
        (
            "with a mailbox that others write to",
            |c| {
                let other = SigningKey::generate(&mut c.fixture.rng);
                c.offer.to_provider = channel(&mut c.fixture, &other, &other);
            },
            Err(I::Channel),
        ),
        (
            "with a mailbox that others read",
            |c| {
                let other = SigningKey::generate(&mut c.fixture.rng);
                c.offer.to_user = channel(&mut c.fixture, &other, &other);
            },
            Err(I::Channel),
        ),
        (
            "with a large mailbox",
            |c| c.offer.to_provider.size = SizeClass::Large,
            Err(I::Channel),
        ),
        (
            "with another channel than before",
            |c| {
                let (a, b) = (c.offer.to_provider.clone(), c.offer.to_user.clone());
                c.context.channel = Some((a, b));
                c.offer.to_user.nonce[0] ^= 1;
            },
            Err(I::Channel),
        ),
        (
            "whose slots share a mark",
            |c| {
                let slot = c.offer.slots[0].clone();
                c.offer.slots = list(vec![slot.clone(), slot]);
            },
            Err(I::Slots),
        ),
        (
            "without slots",
            |c| c.offer.slots = list(vec![]),
            Err(I::Slots),
        ),
        (
            "with slots of yesterday",
            |c| {
                let mut slot = c.offer.slots[0].clone();
                slot.start = c.now.minus(Seconds::DAY);
                c.offer.slots = list(vec![slot]);
            },
            Err(I::Slots),
        ),
        (
            "expired",
            |c| c.offer.expires = c.now.minus(Seconds::new(1)),
            Err(I::Expired),
        ),
    ];
    for (name, bend, expected) in table {
        let mut c = case();
        bend(&mut c);
        let key = c.provider.signing.clone();
        assert_eq!(c.check(&key), expected, "an offer {name}");
    }
}

#[test]
fn offers_that_the_provider_did_not_sign_are_refused() {
    let c = case();
    assert_eq!(c.check(&c.token), Err(InvalidOffer::Signature));
    let mut bytes = sign(&c.offer, &c.provider.signing);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert_eq!(
        check_offer(&bytes, &c.context, &c.view, c.now).map(drop),
        Err(InvalidOffer::Signature)
    );
    for cut in [0, 1, 100, last] {
        let outcome = check_offer(&bytes[..cut], &c.context, &c.view, c.now).map(drop);
        assert_eq!(outcome, Err(InvalidOffer::Malformed));
    }
}
