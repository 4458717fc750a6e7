use data_encoding::HEXLOWER;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use super::*;
use crate::codec::{from_bytes, to_bytes};

fn hex<const N: usize>(s: &str) -> [u8; N] {
    HEXLOWER.decode(s.as_bytes()).unwrap().try_into().unwrap()
}

#[test]
fn rfc_8032_test_1() {
    let key = SigningKey::from_seed(&hex(
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    ));
    let public = key.verifying_key();
    assert_eq!(
        *public.as_bytes(),
        hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    );
    let signature = key.sign(b"");
    assert_eq!(
        *signature.as_bytes(),
        hex(concat!(
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155",
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ))
    );
    assert_eq!(public.verify(b"", &signature), Ok(()));
    assert_eq!(public.verify(b"x", &signature), Err(BadSignature));
    assert_eq!(*key.seed(), *SigningKey::from_seed(&key.seed()).seed());
}

#[test]
fn a_signature_has_one_form() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let key = SigningKey::generate(&mut rng);
    let signature = key.sign(b"m");
    // s + L, with L = 2^252 + 27742317777372353535851937790883648493, is the same number modulo L.
    let order: [u8; 32] = hex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let mut other = *signature.as_bytes();
    let mut carry = 0;
    for (s, l) in other[32..].iter_mut().zip(order) {
        let sum = u16::from(*s) + u16::from(l) + carry;
        *s = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert_eq!(
        key.verifying_key()
            .verify(b"m", &Signature::from_bytes(other)),
        Err(BadSignature)
    );
}

#[test]
fn bad_ed25519_keys_are_refused() {
    let small = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    ];
    for s in small {
        assert_eq!(
            VerifyingKey::from_bytes(&hex(s)),
            Err(BadKey::SmallOrder),
            "{s}"
        );
    }
    let not_points = [
        // y = 2 has no x.
        "0200000000000000000000000000000000000000000000000000000000000000",
        // y = p + 1, another name of the neutral element.
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        // The neutral element with the sign of its x, zero, set.
        "0100000000000000000000000000000000000000000000000000000000000080",
    ];
    for s in not_points {
        assert_eq!(
            VerifyingKey::from_bytes(&hex(s)),
            Err(BadKey::NotAPoint),
            "{s}"
        );
    }
    // The base point plus the point of order 2: (x, y) + (0, -1) = (-x, -y).
    let base: [u8; 32] = hex("5866666666666666666666666666666666666666666666666666666666666666");
    assert!(VerifyingKey::from_bytes(&base).is_ok());
    let mut mixed = [0; 32];
    let mut borrow = 0_i16;
    for i in 0..32 {
        let p: i16 = match i {
            0 => 0xed,
            31 => 0x7f,
            _ => 0xff,
        };
        let d = p - i16::from(base[i]) - borrow;
        borrow = i16::from(d < 0);
        mixed[i] = u8::try_from(d.rem_euclid(256)).unwrap();
    }
    mixed[31] |= 0x80;
    assert_eq!(VerifyingKey::from_bytes(&mixed), Err(BadKey::Torsion));
    // On the wire it passes, verifies nothing it should not, and is refused where keys are registered.
    let read = from_bytes::<VerifyingKey>(&to_bytes(&mixed), 64).unwrap();
    assert_eq!(read.check(), Err(BadKey::Torsion));
    for s in small.iter().chain(&not_points[1..]) {
        assert!(matches!(
            from_bytes::<VerifyingKey>(&to_bytes(&hex::<32>(s)), 64),
            Err(DecodeError::BadKey(_))
        ));
    }
    let no_point = from_bytes::<VerifyingKey>(&to_bytes(&hex::<32>(not_points[0])), 64).unwrap();
    assert_eq!(no_point.check(), Err(BadKey::NotAPoint));
    assert_eq!(
        no_point.verify(b"", &Signature::from_bytes([0; 64])),
        Err(BadSignature)
    );
}

#[test]
fn bad_x25519_keys_are_refused() {
    let secret = StaticSecret::from([7; 32]);
    for low in LOW_ORDER {
        // Not contributory: the table is right.
        assert!(
            !secret
                .diffie_hellman(&PublicKey::from(low))
                .was_contributory()
        );
        assert_eq!(SealingKey::from_bytes(&low), Err(BadKey::SmallOrder));
    }
    let mut p = [0xff; 32];
    p[0] = 0xed;
    p[31] = 0x7f;
    for above in [0, 1, 18] {
        let mut v = p;
        v[0] += above;
        assert_eq!(SealingKey::from_bytes(&v), Err(BadKey::NotAPoint));
    }
    let mut high = [9; 32];
    high[31] |= 0x80;
    assert_eq!(SealingKey::from_bytes(&high), Err(BadKey::NotAPoint));
    let mut below = p;
    below[0] -= 2;
    assert!(SealingKey::from_bytes(&below).is_ok());
}

#[test]
fn rfc_7748_agreement() {
    let alice = SealingSecret::from_bytes(&hex(
        "77076d0a7318a57d3c16c17251b26645e0c2c3b7d8c2c0c0a4c1c0b2a0d6f3b0",
    ));
    let bob = SealingSecret::generate(&mut ChaCha8Rng::seed_from_u64(2));
    assert_eq!(*alice.agree(&bob.public()), *bob.agree(&alice.public()));
    let key = SealingKey::from_bytes(bob.public().as_bytes()).unwrap();
    assert_eq!(from_bytes::<SealingKey>(&to_bytes(&key), 64), Ok(key));
    assert_eq!(
        SealingSecret::from_bytes(&bob.to_secret_bytes()).public(),
        key
    );
}

#[test]
fn secrets_do_not_print() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let signing = SigningKey::generate(&mut rng);
    let sealing = SealingSecret::generate(&mut rng);
    assert_eq!(format!("{signing:?}"), "SigningKey(redacted)");
    assert_eq!(format!("{signing:#?}"), "SigningKey(redacted)");
    assert_eq!(format!("{sealing:?}"), "SealingSecret(redacted)");
    assert_eq!(format!("{sealing:#?}"), "SealingSecret(redacted)");
}
