use proptest::prelude::*;

use super::*;
use crate::{
    bounded::{Bytes, List, Text},
    time::Time,
};

crate::wire_struct! {
    /// Some of everything.
    #[derive(Clone, Debug, PartialEq)]
    pub(crate) struct Sample {
        /// A number.
        pub(crate) number: u32,
        pub(crate) flag: bool,
        pub(crate) id: [u8; 4],
        pub(crate) text: Text<16>,
        pub(crate) bytes: Bytes<8>,
        pub(crate) list: List<(u8, u64), 3>,
        pub(crate) perhaps: Option<Choice>,
        at: Time,
    }
}

crate::wire_enum! {
    /// One of these.
    #[derive(Clone, Debug, PartialEq)]
    pub(crate) enum Choice {
        /// Nothing.
        1 => Nothing,
        5 => Number(u16),
        300 => Pair((u8, [u8; 2])),
    }
}

crate::wire_code! {
    /// A code.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub(crate) enum Code {
        1 => One,
        40 => Forty,
    }
}

fn choice() -> impl Strategy<Value = Choice> {
    prop_oneof![
        Just(Choice::Nothing),
        any::<u16>().prop_map(Choice::Number),
        any::<(u8, [u8; 2])>().prop_map(Choice::Pair),
    ]
}

fn sample() -> impl Strategy<Value = Sample> {
    (
        any::<(u32, bool, [u8; 4])>(),
        "[a-zäß\n]{0,8}",
        prop::collection::vec(any::<u8>(), 0..=8),
        prop::collection::vec(any::<(u8, u64)>(), 0..=3),
        prop::option::of(choice()),
        0..=Time::MAX.get(),
    )
        .prop_map(
            |((number, flag, id), text, bytes, list, perhaps, at)| Sample {
                number,
                flag,
                id,
                text: text.try_into().unwrap(),
                bytes: bytes.try_into().unwrap(),
                list: list.try_into().unwrap(),
                perhaps,
                at: Time::new(at),
            },
        )
}

fn example() -> Sample {
    Sample {
        number: 1000,
        flag: true,
        id: [0xab; 4],
        text: "grüß".try_into().unwrap(),
        bytes: vec![].try_into().unwrap(),
        list: vec![(7, 1 << 32)].try_into().unwrap(),
        perhaps: Some(Choice::Number(24)),
        at: Time::new(3),
    }
}

const EXAMPLE: &[u8] = b"\x88\x19\x03\xe8\x01\x44\xab\xab\xab\xab\x66gr\xc3\xbc\xc3\x9f\x40\
    \x81\x82\x07\x1b\0\0\0\x01\0\0\0\0\x81\x82\x05\x18\x18\x03";

proptest! {
    #[test]
    fn decodes_what_it_encodes(v in sample()) {
        let bytes = to_bytes(&v);
        prop_assert_eq!(from_bytes::<Sample>(&bytes, bytes.len()).unwrap(), v);
    }

    #[test]
    fn every_prefix_and_every_addition_is_refused(v in sample(), more in any::<u8>()) {
        let mut bytes = to_bytes(&v);
        for n in 0..bytes.len() {
            prop_assert!(from_bytes::<Sample>(&bytes[..n], 1000).is_err());
        }
        bytes.push(more);
        prop_assert_eq!(from_bytes::<Sample>(&bytes, 1000), Err(DecodeError::Trailing));
    }

    #[test]
    fn what_is_accepted_has_one_encoding(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(v) = from_bytes::<Sample>(&bytes, 64) {
            prop_assert_eq!(to_bytes(&v), bytes);
        }
    }

    #[test]
    fn one_byte_changed_never_gives_a_second_encoding(
        v in sample(), at in any::<prop::sample::Index>(), to in any::<u8>(),
    ) {
        let mut bytes = to_bytes(&v);
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(v) = from_bytes::<Sample>(&bytes, 1000) {
            prop_assert_eq!(to_bytes(&v), bytes);
        }
    }

    #[test]
    fn integers_of_both_signs(v in any::<i64>()) {
        let mut out = Encoder::new();
        out.int(v);
        prop_assert_eq!(Decoder::new(out.as_slice()).int().unwrap(), v);
    }
}

#[test]
fn the_example_of_the_specification() {
    assert_eq!(to_bytes(&example()), EXAMPLE);
    assert_eq!(from_bytes::<Sample>(EXAMPLE, 64).unwrap(), example());
}

#[test]
fn other_encodings_of_the_same_value_are_refused() {
    use DecodeError::*;
    type Pair = (u64, List<u8, 4>);
    let refused: &[(&str, &[u8], DecodeError)] = &[
        ("1 in two bytes", b"\x82\x18\x01\x80", NotCanonical),
        ("1 in three bytes", b"\x82\x19\0\x01\x80", NotCanonical),
        ("1 in five bytes", b"\x82\x1a\0\0\0\x01\x80", NotCanonical),
        (
            "1 in nine bytes",
            b"\x82\x1b\0\0\0\0\0\0\0\x01\x80",
            NotCanonical,
        ),
        ("array head in two bytes", b"\x98\x02\x01\x80", NotCanonical),
        ("inner head in two bytes", b"\x82\x01\x98\0", NotCanonical),
        ("indefinite array", b"\x9f\x01\x80\xff", NotCanonical),
        ("indefinite inner array", b"\x82\x01\x9f\xff", NotCanonical),
        ("trailing byte", b"\x82\x01\x80\0", Trailing),
        ("no input", b"", Truncated),
        ("ends early", b"\x82\x01", Truncated),
        ("three elements", b"\x83\x01\x80\x80", Unexpected),
        ("one element", b"\x81\x01", Unexpected),
        ("map", b"\xa1\x01\x80", Unexpected),
        ("tagged", b"\xc1\x82\x01\x80", Unexpected),
        ("tagged inside", b"\x82\xc1\x01\x80", Unexpected),
        ("negative", b"\x82\x20\x80", Unexpected),
        ("true", b"\x82\xf5\x80", Unexpected),
        ("float 1.0", b"\x82\xf9\x3c\0\x80", Unexpected),
        ("null", b"\x82\xf6\x80", Unexpected),
        ("bytes for an array", b"\x82\x01\x40", Unexpected),
        ("reserved head", b"\x82\x1c\x80", Unexpected),
        (
            "list too long",
            b"\x82\x01\x85\0\0\0\0\0",
            TooLong { max: 4 },
        ),
        (
            "a list that claims 2^64 - 1 elements",
            b"\x82\x01\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
            TooLong { max: 4 },
        ),
        (
            "256 in a byte",
            b"\x82\x01\x81\x19\x01\0",
            OutOfBounds { what: "u8" },
        ),
    ];
    for (what, bytes, error) in refused {
        assert_eq!(from_bytes::<Pair>(bytes, 64), Err(*error), "{what}");
    }
    assert!(from_bytes::<Pair>(b"\x82\x01\x80", 3).is_ok());
    assert_eq!(
        from_bytes::<Pair>(b"\x82\x01\x80", 2),
        Err(TooLong { max: 2 })
    );
}

#[test]
fn strings_are_checked() {
    use DecodeError::*;
    let text = |bytes: &[u8]| from_bytes::<Text<4>>(bytes, 64).map(Text::into_string);
    assert_eq!(text(b"\x62\xc3\xbc").as_deref(), Ok("ü"));
    assert_eq!(text(b"\x63a\n\t").as_deref(), Ok("a\n\t"));
    assert_eq!(text(b"\x62\xc3\x28"), Err(Utf8));
    assert_eq!(text(b"\x65abcde"), Err(TooLong { max: 4 }));
    assert_eq!(text(b"\x78\x01a"), Err(NotCanonical));
    assert_eq!(text(b"\x7f\x61a\xff"), Err(Unexpected));
    assert_eq!(text(b"\x41a"), Err(Unexpected));
    for control in [b"\x61\0", b"\x61\r", b"\x61\x7f"] {
        let what = "text character";
        assert_eq!(text(control), Err(OutOfBounds { what }));
    }
    // U+0085, a control character beyond ASCII.
    assert!(text(b"\x62\xc2\x85").is_err());

    let bytes = |bytes: &[u8]| from_bytes::<Bytes<2>>(bytes, 64).map(Bytes::into_vec);
    assert_eq!(bytes(b"\x42ab"), Ok(b"ab".to_vec()));
    assert_eq!(bytes(b"\x43abc"), Err(TooLong { max: 2 }));
    assert_eq!(bytes(b"\x58\x01a"), Err(NotCanonical));
    assert_eq!(bytes(b"\x5f\x41a\xff"), Err(Unexpected));
    assert_eq!(bytes(b"\x82\x01\x02"), Err(Unexpected));
    assert_eq!(
        bytes(b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff"),
        Err(Truncated)
    );
    let what = "byte string length";
    assert_eq!(
        from_bytes::<[u8; 2]>(b"\x41a", 64),
        Err(OutOfBounds { what })
    );
}

#[test]
fn variants_and_codes_are_checked() {
    use DecodeError::*;
    let choice = |bytes: &[u8]| from_bytes::<Choice>(bytes, 64);
    assert_eq!(choice(b"\x81\x01"), Ok(Choice::Nothing));
    assert_eq!(
        choice(b"\x82\x19\x01\x2c\x82\x07\x42ab"),
        Ok(Choice::Pair((7, *b"ab")))
    );
    assert_eq!(choice(b"\x82\x01\x01"), Err(Unexpected));
    assert_eq!(choice(b"\x81\x05"), Err(Unexpected));
    assert_eq!(choice(b"\x80"), Err(Truncated));
    assert_eq!(
        choice(b"\x81\x02"),
        Err(UnknownTag {
            what: "Choice",
            tag: 2
        })
    );
    assert_eq!(choice(b"\x81\x18\x01"), Err(NotCanonical));

    assert_eq!(from_bytes::<Code>(b"\x18\x28", 64), Ok(Code::Forty));
    assert_eq!(
        from_bytes::<Code>(b"\x02", 64),
        Err(UnknownTag {
            what: "Code",
            tag: 2
        })
    );
    assert_eq!(Code::ALL.len(), 2);
    assert_eq!(Code::from_code(1), Some(Code::One));

    let what = "bool";
    assert_eq!(from_bytes::<bool>(b"\x02", 64), Err(OutOfBounds { what }));
    assert_eq!(from_bytes::<bool>(b"\xf5", 64), Err(Unexpected));
    assert_eq!(from_bytes::<Option<u8>>(b"\xf6", 64), Err(Unexpected));
    assert_eq!(
        from_bytes::<Option<u8>>(b"\x82\0\0", 64),
        Err(TooLong { max: 1 })
    );
    let what = "time";
    assert_eq!(
        from_bytes::<Time>(b"\x1b\0\0\x01\0\0\0\0\0", 64),
        Err(OutOfBounds { what })
    );
}

#[test]
fn a_list_that_lies_about_its_length_costs_nothing() {
    // 2^24 elements claimed and none sent.
    let r = from_bytes::<List<u64, { 1 << 24 }>>(b"\x9a\x01\0\0\0", 64);
    assert_eq!(r.unwrap_err(), DecodeError::Truncated);
}

#[test]
fn an_encoder_that_wipes_writes_the_same() {
    let (mut wiping, mut plain) = (Encoder::wiping(), Encoder::new());
    for n in 0..200_u16 {
        for out in [&mut wiping, &mut plain] {
            out.uint(u64::from(n));
            out.bytes(&vec![7; usize::from(n) * 11]);
        }
    }
    assert!(wiping.as_slice().len() > 100_000);
    assert_eq!(wiping.into_vec(), plain.into_vec());
}
