use data_encoding::HEXLOWER;
use proptest::prelude::*;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::*;

fn hex(s: &str) -> Vec<u8> {
    HEXLOWER.decode(s.as_bytes()).unwrap()
}

fn recipient() -> (SealingSecret, ChaCha20Rng) {
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    (SealingSecret::generate(&mut rng), rng)
}

const BINDING: [u8; 32] = [9; 32];

#[test]
fn rfc_9180_a_2_1() {
    let secret = SealingSecret::from_bytes(
        &hex("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb")
            .try_into()
            .unwrap(),
    );
    assert_eq!(
        secret.public().as_bytes().as_slice(),
        hex("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a")
    );
    let info = hex("4f6465206f6e2061204772656369616e2055726e");
    let mut envelope = vec![SUITE_1];
    envelope.extend(hex(
        "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a",
    ));
    envelope.extend(hex(
        "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28",
    ));
    assert_eq!(
        *raw_open(&secret, &info, b"Count-0", &envelope).unwrap(),
        b"Beauty is truth, truth beauty"
    );

    // The sender's side, with the vector's ikmE for randomness.
    struct Fixed(Vec<u8>);
    impl rand_core::TryRng for Fixed {
        type Error = std::convert::Infallible;
        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            unreachable!("only bytes are drawn")
        }
        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            unreachable!("only bytes are drawn")
        }
        fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
            let rest = self.0.split_off(out.len());
            out.copy_from_slice(&self.0);
            self.0 = rest;
            Ok(())
        }
    }
    impl rand_core::TryCryptoRng for Fixed {}
    let mut rng = Fixed(hex(
        "909a9b35d3dc4713a5e72a4da274b55d3d3821a37e5d099e74a647db583a904b",
    ));
    let plaintext = b"Beauty is truth, truth beauty";
    assert_eq!(
        raw_seal(&secret.public(), &info, b"Count-0", plaintext, &mut rng).unwrap(),
        envelope
    );
}

#[test]
fn the_example_of_the_specification() {
    let expected = [
        b"\x84\x6flapwing/v1/seal\x02\x58\x20".as_slice(),
        &[9; 32],
        b"\x03",
    ]
    .concat();
    assert_eq!(info(DOMAIN, Purpose::Offer, &[9; 32], 3), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn opens_what_it_seals(
        content in prop::collection::vec(any::<u8>(), 0..6000),
        aad in prop::collection::vec(any::<u8>(), 0..40),
        version in any::<u32>(),
    ) {
        let (secret, mut rng) = recipient();
        let size = size_for(content.len()).unwrap();
        let envelope = seal(
            &secret.public(), Purpose::Offer, &BINDING, version, &aad, &content, size, &mut rng,
        ).unwrap();
        prop_assert_eq!(envelope.len(), size.bytes());
        let opened = open(&secret, Purpose::Offer, &BINDING, version, &aad, &envelope).unwrap();
        prop_assert_eq!(&*opened, &content);
    }

    #[test]
    fn any_bytes_are_refused_without_panic(
        envelope in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let (secret, _) = recipient();
        prop_assert!(open(&secret, Purpose::Offer, &BINDING, 0, b"", &envelope).is_err());
        prop_assert!(short_open(&secret, Purpose::Offer, &BINDING, 0, b"", &envelope).is_err());
    }
}

#[test]
fn sizes() {
    assert_eq!(capacity(SizeClass::Small), 4043);
    let (secret, mut rng) = recipient();
    let to = secret.public();
    for size in SizeClass::ALL.iter().copied() {
        let full = vec![0xff; capacity(size)];
        let mut seal = |content: &[u8]| {
            super::seal(
                &to,
                Purpose::Vault,
                &BINDING,
                0,
                b"",
                content,
                size,
                &mut rng,
            )
        };
        let envelope = seal(&full).unwrap();
        assert_eq!(envelope.len(), size.bytes());
        let opened = open(&secret, Purpose::Vault, &BINDING, 0, b"", &envelope);
        assert_eq!(*opened.unwrap(), full);
        let empty = seal(b"").unwrap();
        assert_eq!(empty.len(), size.bytes());
        let opened = open(&secret, Purpose::Vault, &BINDING, 0, b"", &empty);
        assert!(opened.unwrap().is_empty());
        assert_eq!(
            seal(&vec![0; capacity(size) + 1]),
            Err(SealError::TooLong {
                max: capacity(size)
            })
        );
        assert_eq!(size_for(capacity(size)), Some(size));
        assert_ne!(size_for(capacity(size) + 1), Some(size));
        let short = &envelope[..size.bytes() - 1];
        let opened = open(&secret, Purpose::Vault, &BINDING, 0, b"", short);
        assert_eq!(opened.unwrap_err(), SealError::Size);
    }
}

#[test]
fn everything_that_is_bound_must_be_the_same() {
    let (secret, mut rng) = recipient();
    let to = secret.public();
    let small = SizeClass::Small;
    let envelope = seal(
        &to,
        Purpose::Request,
        &BINDING,
        3,
        b"aad",
        b"content",
        small,
        &mut rng,
    )
    .unwrap();
    let open = |secret, purpose, binding, version, aad| {
        super::open(secret, purpose, binding, version, aad, &envelope).map(|c| c.to_vec())
    };
    let good = open(&secret, Purpose::Request, &BINDING, 3, b"aad");
    assert_eq!(good.as_deref(), Ok(b"content".as_slice()));
    let other = SealingSecret::generate(&mut rng);
    let refused = [
        open(&other, Purpose::Request, &BINDING, 3, b"aad"),
        open(&secret, Purpose::Offer, &BINDING, 3, b"aad"),
        open(&secret, Purpose::Request, &[8; 32], 3, b"aad"),
        open(&secret, Purpose::Request, &BINDING, 4, b"aad"),
        open(&secret, Purpose::Request, &BINDING, 3, b"aae"),
    ];
    for r in refused {
        assert_eq!(r, Err(SealError::Open));
    }
    for at in [1, 32, 33, 2000, 4095] {
        let mut altered = envelope.clone();
        altered[at] ^= 1;
        let r = super::open(&secret, Purpose::Request, &BINDING, 3, b"aad", &altered);
        assert_eq!(r.unwrap_err(), SealError::Open, "byte {at}");
    }
    for suite in [0, 2, 255] {
        let mut altered = envelope.clone();
        altered[0] = suite;
        let r = super::open(&secret, Purpose::Request, &BINDING, 3, b"aad", &altered);
        assert_eq!(r.unwrap_err(), SealError::Suite(suite));
    }
}

#[test]
fn low_order_encapsulation_is_refused() {
    let (secret, _) = recipient();
    let mut envelope = vec![0; 4096];
    envelope[0] = SUITE_1;
    let r = open(&secret, Purpose::Offer, &BINDING, 0, b"", &envelope);
    assert_eq!(r.unwrap_err(), SealError::Open);
}

#[test]
fn padding_is_checked() {
    let (secret, mut rng) = recipient();
    let info = info(DOMAIN, Purpose::Offer, &BINDING, 0);
    let mut attempt = |padded: &[u8]| {
        let envelope = raw_seal(&secret.public(), &info, b"", padded, &mut rng).unwrap();
        open(&secret, Purpose::Offer, &BINDING, 0, b"", &envelope).map(|c| c.to_vec())
    };
    let mut padded = vec![0; 4 + capacity(SizeClass::Small)];
    padded[3] = 1;
    assert_eq!(attempt(&padded), Ok(vec![0]));
    padded[5] = 1;
    assert_eq!(attempt(&padded), Err(SealError::Padding));
    let mut padded = vec![0; 4 + capacity(SizeClass::Small)];
    *padded.last_mut().unwrap() = 1;
    assert_eq!(attempt(&padded), Err(SealError::Padding));
    padded[..4].copy_from_slice(&4044_u32.to_be_bytes());
    assert_eq!(attempt(&padded), Err(SealError::Padding));
    padded[..4].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(attempt(&padded), Err(SealError::Padding));
}

#[test]
fn the_short_form() {
    let (secret, mut rng) = recipient();
    let to = secret.public();
    for len in [0, 1, 32, SHORT_MAX] {
        let content = vec![5; len];
        let sealed = short_seal(
            &to,
            Purpose::Challenge,
            &BINDING,
            1,
            b"",
            &content,
            &mut rng,
        )
        .unwrap();
        assert_eq!(sealed.len(), len + SHORT_OVERHEAD);
        let opened = short_open(&secret, Purpose::Challenge, &BINDING, 1, b"", &sealed);
        assert_eq!(*opened.unwrap(), content);
        // The long form's info differs, so that neither passes for the other.
        let long = info(DOMAIN, Purpose::Challenge, &BINDING, 1);
        assert_eq!(raw_open(&secret, &long, b"", &sealed), Err(SealError::Open));
    }
    let content = [0; SHORT_MAX + 1];
    let r = short_seal(
        &to,
        Purpose::Challenge,
        &BINDING,
        1,
        b"",
        &content,
        &mut rng,
    );
    assert_eq!(r, Err(SealError::TooLong { max: SHORT_MAX }));
    for len in [0, SHORT_OVERHEAD - 1, SHORT_OVERHEAD + SHORT_MAX + 1] {
        let r = short_open(&secret, Purpose::Challenge, &BINDING, 1, b"", &vec![1; len]);
        assert_eq!(r.unwrap_err(), SealError::Size);
    }
}
