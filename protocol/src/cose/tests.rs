use proptest::prelude::*;

use super::{envelope::PROTECTED_LEN, *};
use crate::{bounded::Text, time::Time};

crate::wire_struct! {
    /// A record to test with.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(super) struct Note {
        /// What it says.
        pub(super) text: Text<200>,
        /// When.
        pub(super) at: Time,
    }
}

impl Record for Note {
    const TYPE: u64 = 1000;
    const DOMAIN: &'static str = "lapwing/v1/test-note";
    const MAX: usize = 256;
}

crate::wire_struct! {
    /// The same fields under another domain and type.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(super) struct OtherNote {
        pub(super) text: Text<200>,
        pub(super) at: Time,
    }
}

impl Record for OtherNote {
    const TYPE: u64 = 1001;
    const DOMAIN: &'static str = "lapwing/v1/test-other";
    const MAX: usize = 256;
}

/// The type of [`Note`] under the domain of another: what a careless registry would do.
struct SameType(Note);

impl Wire for SameType {
    fn encode(&self, out: &mut Encoder) {
        self.0.encode(out);
    }
    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Note::decode(d).map(Self)
    }
}

impl Record for SameType {
    const TYPE: u64 = Note::TYPE;
    const DOMAIN: &'static str = OtherNote::DOMAIN;
    const MAX: usize = 256;
}

pub(super) fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

pub(super) fn note(text: &str) -> Note {
    Note {
        text: text.try_into().unwrap(),
        at: Time::new(1_800_000_000),
    }
}

/// The example of `docs/spec/records-envelope.md`, put together by hand.
fn by_hand(key: &SigningKey) -> Vec<u8> {
    let kid = *key.verifying_key().as_bytes();
    let mut protected = b"\xa2\x01\x27\x04\x58\x20".to_vec();
    protected.extend(kid);
    let payload = b"\x82\x19\x03\xe8\x82\x65hello\x1a\x6b\x49\xd2\x00";
    let mut signed = b"\x84\x6aSignature1\x58\x26".to_vec();
    signed.extend(&protected);
    signed.extend(b"\x54lapwing/v1/test-note\x50");
    signed.extend(payload);
    let mut out = b"\xd2\x84\x58\x26".to_vec();
    out.extend(&protected);
    out.extend(b"\xa0\x50");
    out.extend(payload);
    out.extend(b"\x58\x40");
    out.extend(key.sign(&signed).as_bytes());
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn verifies_what_was_signed(text in "[a-zü ]{0,90}", at in 0..=Time::MAX.get()) {
        let said = Note { text: text.try_into().unwrap(), at: Time::new(at) };
        let bytes = sign(&said, &key(1));
        prop_assert_eq!(record_type(&bytes).unwrap(), 1000);
        let signed = parse::<Note>(&bytes).unwrap();
        prop_assert_eq!(signed.unverified(), &said);
        prop_assert_eq!(*signed.signer(), *key(1).verifying_key().as_bytes());
        let verified = signed.verify(&key(1).verifying_key()).unwrap();
        prop_assert_eq!(&*verified, &said);
        prop_assert_eq!(&**verified.bytes(), bytes.as_slice());
        prop_assert_eq!(verified.id(), record_hash(&bytes));
        prop_assert_eq!(verified.signer(), &key(1).verifying_key());
        prop_assert_eq!(verified.into_value(), said);
    }

    #[test]
    fn no_changed_byte_passes(at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let mut bytes = sign(&note("hello"), &key(1));
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let r = parse::<Note>(&bytes).and_then(Signed::verify_self);
        prop_assert!(r.is_err());
    }

    #[test]
    fn any_bytes_are_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(parse::<Note>(&bytes).is_err());
        prop_assert!(record_type(&bytes).is_err());
    }
}

#[test]
fn the_example_of_the_specification() {
    let bytes = sign(&note("hello"), &key(1));
    assert_eq!(bytes, by_hand(&key(1)));
    assert_eq!(
        data_encoding::HEXLOWER.encode(&bytes),
        concat!(
            "d2845826a201270458208a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c",
            "a050821903e8826568656c6c6f1a6b49d2005840",
            "21b2149beceb3f77008229dfabfd79303119ade55bcda35b22efa28fee7d1996",
            "e2bcb99c85a6b3ee02181a1f04af46aed90f1c8a205c776151b70ca274e2ae0c",
        )
    );
    assert_eq!(
        record_hash(&bytes).to_hex(),
        "59805cde2e08516dc82e90764908c06114958d7c5a1ae1fe9b1f385e791f4d28"
    );
}

#[test]
fn a_signature_serves_one_key_and_one_purpose() {
    let bytes = sign(&note("hello"), &key(1));
    let other = key(2).verifying_key();
    let r = parse::<Note>(&bytes).unwrap().verify(&other);
    assert_eq!(r.unwrap_err(), CoseError::OtherSigner);
    assert_eq!(
        parse::<OtherNote>(&bytes).unwrap_err(),
        CoseError::Type {
            expected: 1001,
            found: 1000
        }
    );
    let r = parse::<SameType>(&bytes).unwrap().verify_self();
    assert_eq!(r.err(), Some(CoseError::Signature));
}

#[test]
fn the_signer_must_be_a_good_key() {
    let mut bytes = sign(&note("hello"), &key(1));
    // kid: after d2 84 58 26 a2 01 27 04 58 20. The neutral element has small order.
    bytes[10..42].fill(0);
    bytes[10] = 1;
    let r = parse::<Note>(&bytes).unwrap().verify_self();
    assert_eq!(r.unwrap_err(), CoseError::Signer(BadKey::SmallOrder));
}

/// Replaces the first `from` by `to`.
fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|w| w == from).unwrap();
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

#[test]
fn other_forms_of_the_same_record_are_refused() {
    use DecodeError::*;
    let good = sign(&note("hello"), &key(1));
    let kid = *key(1).verifying_key().as_bytes();
    let header = |s: &[u8]| [s, kid.as_slice()].concat();
    let protected = header(b"\x58\x26\xa2\x01\x27\x04\x58\x20");
    let payload = b"\x50\x82\x19\x03\xe8\x82\x65hello\x1a\x6b\x49\xd2\x00";
    let change = |from: &[u8], to: &[u8]| replace(&good, from, to);
    let cases: Vec<(&str, Vec<u8>, CoseError)> = vec![
        ("untagged", good[1..].to_vec(), Unexpected.into()),
        (
            "COSE_Sign tag",
            change(b"\xd2\x84", b"\xd8\x62\x84"),
            Unexpected.into(),
        ),
        (
            "long tag",
            change(b"\xd2\x84", b"\xd8\x12\x84"),
            NotCanonical.into(),
        ),
        (
            "long array head",
            change(b"\xd2\x84", b"\xd2\x98\x04"),
            NotCanonical.into(),
        ),
        (
            "five elements",
            change(b"\xd2\x84", b"\xd2\x85"),
            Unexpected.into(),
        ),
        (
            "unsorted header",
            change(
                &protected,
                &[header(b"\x58\x26\xa2\x04\x58\x20"), b"\x01\x27".to_vec()].concat(),
            ),
            Unexpected.into(),
        ),
        (
            "key twice",
            change(&protected, &header(b"\x58\x26\xa2\x01\x27\x01\x58\x20")),
            Unexpected.into(),
        ),
        (
            "header with one entry",
            change(&protected, b"\x43\xa1\x01\x27"),
            Unexpected.into(),
        ),
        (
            "algorithm ES256",
            change(&protected, &header(b"\x58\x26\xa2\x01\x26\x04\x58\x20")),
            CoseError::Algorithm(-7),
        ),
        (
            "algorithm in two bytes",
            change(&protected, &header(b"\x58\x27\xa2\x01\x38\x07\x04\x58\x20")),
            TooLong { max: PROTECTED_LEN }.into(),
        ),
        (
            "empty header",
            change(&protected, b"\x40"),
            Truncated.into(),
        ),
        (
            "unprotected entry",
            change(b"\xa0\x50", b"\xa1\x01\x27\x50"),
            Unexpected.into(),
        ),
        (
            "indefinite map",
            change(b"\xa0\x50", b"\xbf\xff\x50"),
            NotCanonical.into(),
        ),
        ("detached", change(payload, b"\xf6"), Unexpected.into()),
        (
            "long payload head",
            change(b"\xa0\x50", b"\xa0\x58\x10"),
            NotCanonical.into(),
        ),
        (
            "short signature",
            good[..good.len() - 1].to_vec(),
            Truncated.into(),
        ),
        (
            "trailing byte",
            [good.as_slice(), b"\0"].concat(),
            Trailing.into(),
        ),
        (
            "type in five bytes",
            change(b"\x50\x82\x19\x03\xe8", b"\x52\x82\x1a\0\0\x03\xe8"),
            NotCanonical.into(),
        ),
        (
            "time in nine bytes",
            change(
                payload,
                b"\x54\x82\x19\x03\xe8\x82\x65hello\x1b\0\0\0\0\x6b\x49\xd2\x00",
            ),
            NotCanonical.into(),
        ),
        (
            "a field more",
            change(
                payload,
                b"\x51\x82\x19\x03\xe8\x83\x65hello\x1a\x6b\x49\xd2\x00\x01",
            ),
            Unexpected.into(),
        ),
        (
            "payload with a trailing byte",
            change(
                payload,
                b"\x51\x82\x19\x03\xe8\x82\x65hello\x1a\x6b\x49\xd2\x00\x01",
            ),
            Trailing.into(),
        ),
    ];
    for (what, bytes, error) in cases {
        assert_eq!(parse::<Note>(&bytes).unwrap_err(), error, "{what}");
    }
}

#[test]
fn too_long_is_refused_before_anything_is_read() {
    let bytes = vec![0; Note::MAX + OVERHEAD + 1];
    let max = Note::MAX;
    assert_eq!(
        parse::<Note>(&bytes).unwrap_err(),
        DecodeError::TooLong { max }.into()
    );
    // The overhead is enough for the largest payload.
    let mut out = Encoder::new();
    Sign1 {
        kid: [0; 32],
        payload: Some(&vec![0; MAX_PAYLOAD]),
        signature: Signature::from_bytes([0; 64]),
    }
    .encode(&mut out);
    assert!(out.as_slice().len() <= MAX_PAYLOAD + OVERHEAD);
    assert!(Sign1::strict(out.as_slice(), MAX_PAYLOAD).is_ok());
}

mod multi {
    use super::super::*;
    use super::{Note, key, note};

    fn public(ns: &[u8]) -> Vec<VerifyingKey> {
        ns.iter().map(|n| key(*n).verifying_key()).collect()
    }

    fn signed_by(text: &str, ns: &[u8]) -> Vec<u8> {
        let keys: Vec<_> = ns.iter().map(|n| key(*n)).collect();
        sign_multi(&note(text), &keys.iter().collect::<Vec<_>>())
    }

    #[test]
    fn threshold() {
        let bytes = signed_by("hello", &[1, 2, 3]);
        assert_eq!(record_type_multi(&bytes).unwrap(), 1000);
        let parsed = parse_multi::<Note>(&bytes).unwrap();
        assert_eq!(parsed.unverified(), &note("hello"));
        assert_eq!(parsed.signers().count(), 3);
        let allowed = public(&[1, 2, 3, 4]);
        let verified = parsed.clone().verify(&allowed, 3).unwrap();
        assert_eq!(*verified, note("hello"));
        assert_eq!(&**verified.bytes(), bytes.as_slice());
        assert!(verified.signers().is_sorted());
        assert_eq!(verified.signers().count(), 3);
        assert_eq!(
            parsed.clone().verify(&allowed, 4).unwrap_err(),
            CoseError::Threshold {
                needed: 4,
                found: 3
            }
        );
        assert_eq!(
            parsed.verify(&public(&[1, 2]), 1).unwrap_err(),
            CoseError::OtherSigner
        );
    }

    #[test]
    fn a_threshold_of_zero_is_one() {
        let empty = encode_by_hand("hello", &[]);
        assert_eq!(
            parse_multi::<Note>(&empty).unwrap_err(),
            CoseError::Threshold {
                needed: 1,
                found: 0
            }
        );
        let one = parse_multi::<Note>(&signed_by("hello", &[1])).unwrap();
        assert!(one.verify(&public(&[1]), 0).is_ok());
    }

    fn encode_by_hand(text: &str, signatures: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Encoder::new();
        out.array(2);
        out.bytes(&payload_of(&note(text)));
        out.array(signatures.len());
        let mut bytes = out.into_vec();
        bytes.extend(signatures.concat());
        bytes
    }

    fn detached(text: &str, by: u8) -> Vec<u8> {
        let (kid, signature) = sign_payload(Note::DOMAIN, &payload_of(&note(text)), &key(by));
        let mut out = Encoder::new();
        Sign1 {
            kid,
            payload: None,
            signature,
        }
        .encode(&mut out);
        out.into_vec()
    }

    #[test]
    fn order_and_distinctness() {
        let mut keys = public(&[1, 2]);
        keys.sort();
        let (low, high) = if keys[0] == key(1).verifying_key() {
            (1, 2)
        } else {
            (2, 1)
        };
        let (low, high) = (detached("hello", low), detached("hello", high));
        let parse = |s: &[Vec<u8>]| parse_multi::<Note>(&encode_by_hand("hello", s));
        assert!(
            parse(&[low.clone(), high.clone()])
                .unwrap()
                .verify(&keys, 2)
                .is_ok()
        );
        assert_eq!(parse(&[high, low.clone()]).unwrap_err(), CoseError::Order);
        assert_eq!(parse(&[low.clone(), low]).unwrap_err(), CoseError::Order);
        let twice = parse_multi::<Note>(&signed_by("hello", &[1, 1])).unwrap();
        assert_eq!(twice.signers().count(), 1);
    }

    #[test]
    fn one_bad_signature_spoils_all() {
        // By key 2, over something else.
        let mut both = [(1, detached("hello", 1)), (2, detached("bye", 2))];
        both.sort_by_key(|(n, _)| *key(*n).verifying_key().as_bytes());
        let bytes = encode_by_hand("hello", &both.map(|(_, s)| s));
        let r = parse_multi::<Note>(&bytes)
            .unwrap()
            .verify(&public(&[1, 2]), 1);
        assert_eq!(r.unwrap_err(), CoseError::Signature);
        let good = signed_by("hello", &[2]);
        assert_eq!(combine::<Note>(&good, &bytes), Err(CoseError::Signature));
    }

    #[test]
    fn combining() {
        let a = signed_by("hello", &[1, 2]);
        let b = signed_by("hello", &[2, 3]);
        let all = signed_by("hello", &[1, 2, 3]);
        assert_eq!(combine::<Note>(&a, &b).unwrap(), all);
        assert_eq!(combine::<Note>(&b, &a).unwrap(), all);
        assert_eq!(combine::<Note>(&a, &a).unwrap(), a);
        let c = signed_by("bye", &[3]);
        assert_eq!(combine::<Note>(&a, &c), Err(CoseError::OtherPayload));
        let hash = |bytes: &[u8]| {
            let allowed = public(&[1, 2, 3]);
            *parse_multi::<Note>(bytes)
                .unwrap()
                .verify(&allowed, 1)
                .unwrap()
                .payload_hash()
        };
        assert_eq!(hash(&a), hash(&all));
        assert_ne!(hash(&a), hash(&c));
    }

    #[test]
    fn how_many() {
        let sixteen: Vec<u8> = (1..=16).collect();
        let a = signed_by("hello", &sixteen);
        assert!(
            parse_multi::<Note>(&a)
                .unwrap()
                .verify(&public(&sixteen), 16)
                .is_ok()
        );
        let seventeen: Vec<u8> = (1..=17).collect();
        let max = MAX_SIGNERS;
        let too_long = CoseError::from(DecodeError::TooLong { max });
        let r = parse_multi::<Note>(&signed_by("hello", &seventeen));
        assert_eq!(r.unwrap_err(), too_long);
        assert_eq!(
            combine::<Note>(&a, &signed_by("hello", &[17])),
            Err(too_long)
        );
    }

    #[test]
    fn an_attached_payload_is_refused() {
        let bytes = encode_by_hand("hello", &[sign(&note("hello"), &key(1))]);
        assert_eq!(
            parse_multi::<Note>(&bytes).unwrap_err(),
            DecodeError::Unexpected.into()
        );
        assert!(parse::<Note>(&signed_by("hello", &[1])).is_err());
    }
}
