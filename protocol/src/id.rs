//! 32-byte identifiers, each a type of its own.
//!
//! Public kinds print as lowercase hex. Private kinds (what would point at a person's mailbox or
//! token in a log) print as redacted and have no `Display`: whoever needs their text asks for it
//! by name.

use data_encoding::HEXLOWER;

/// Why text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseIdError {
    /// Not 64 characters.
    #[error("an id has 64 characters")]
    Length,
    /// A character other than 0-9 and a-f; capitals have no place, so that an id has one text.
    #[error("an id is lowercase hexadecimal")]
    NotHex,
}

/// The lowercase hex of 32 bytes.
#[must_use]
pub fn to_hex(bytes: &[u8; 32]) -> String {
    HEXLOWER.encode(bytes)
}

/// The 32 bytes of 64 lowercase hex digits.
///
/// # Errors
/// [`ParseIdError`].
pub fn from_hex(text: &str) -> Result<[u8; 32], ParseIdError> {
    let text = text.as_bytes();
    if text.len() != 64 {
        return Err(ParseIdError::Length);
    }
    let mut bytes = [0; 32];
    HEXLOWER
        .decode_mut(text, &mut bytes)
        .map_err(|_| ParseIdError::NotHex)?;
    Ok(bytes)
}

/// Declares a 32-byte id type: `id_type! { public /// doc pub struct X; }`, or `private`.
///
/// Both kinds: `from_bytes`, `as_bytes`, `to_hex`, `FromStr`, `Wire`, order and hash. `public` adds
/// `Display` and a `Debug` that shows the hex; the `Debug` of `private` shows the name alone.
#[macro_export]
macro_rules! id_type {
    ($kind:ident $(#[$meta:meta])* $vis:vis struct $name:ident;) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis struct $name([u8; 32]);

        impl $name {
            /// The id of these bytes.
            #[must_use]
            $vis const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            #[must_use]
            $vis const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// 64 lowercase hex digits.
            #[must_use]
            $vis fn to_hex(&self) -> ::std::string::String {
                $crate::id::to_hex(&self.0)
            }
        }

        impl ::core::str::FromStr for $name {
            type Err = $crate::id::ParseIdError;

            fn from_str(text: &str) -> ::core::result::Result<Self, Self::Err> {
                $crate::id::from_hex(text).map(Self)
            }
        }

        impl $crate::codec::Wire for $name {
            fn encode(&self, out: &mut $crate::codec::Encoder) {
                out.bytes(&self.0);
            }
            fn decode(
                d: &mut $crate::codec::Decoder<'_>,
            ) -> ::core::result::Result<Self, $crate::codec::DecodeError> {
                d.byte_array().map(Self)
            }
        }

        $crate::id_type!(@debug $kind $name);
    };
    (@debug public $name:ident) => {
        impl ::core::fmt::Display for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.write_str(&self.to_hex())
            }
        }

        impl ::core::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                write!(f, "{}({})", stringify!($name), self.to_hex())
            }
        }
    };
    (@debug private $name:ident) => {
        impl ::core::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }
    };
}

id_type! { public
    /// A record: BLAKE3 of its bytes ([`crate::hash::record_hash`]).
    pub struct RecordId;
}
id_type! { public
    /// A region.
    pub struct RegionId;
}
id_type! { public
    /// A federation.
    pub struct FederationId;
}
id_type! { public
    /// A node: the bytes of its Ed25519 peer key.
    pub struct NodeId;
}
id_type! { public
    /// An operator.
    pub struct OperatorId;
}
id_type! { public
    /// A mediator.
    pub struct MediatorId;
}
id_type! { private
    /// A mailbox, or a mark.
    pub struct MailboxId;
}
id_type! { private
    /// `H`: the commitment of a priority token to a user's data.
    pub struct TokenHash;
}
id_type! { private
    /// `P`: a token's place within its lottery epoch, smaller first.
    pub struct Priority;
}
id_type! { private
    /// A priority token.
    pub struct TokenId;
}
id_type! { private
    /// A user's request in a region's queue.
    pub struct RequestId;
}
id_type! { private
    /// A provider's claim on requests.
    pub struct ClaimId;
}
id_type! { private
    /// A ticket of a claim.
    pub struct TicketId;
}
id_type! { private
    /// A booking lock.
    pub struct LockId;
}
id_type! { private
    /// An item that holders keep in step.
    pub struct ItemId;
}

impl From<&crate::key::VerifyingKey> for NodeId {
    fn from(key: &crate::key::VerifyingKey) -> Self {
        Self(*key.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0707070707070707070707070707070707070707070707070707070707070707";

    #[test]
    fn public_ids_print_and_private_ids_do_not() {
        let region = RegionId::from_bytes([7; 32]);
        assert_eq!(region.to_string(), TEXT);
        assert_eq!(format!("{region:?}"), format!("RegionId({TEXT})"));
        let mailbox = MailboxId::from_bytes([7; 32]);
        assert_eq!(format!("{mailbox:?}"), "MailboxId(redacted)");
        assert_eq!(format!("{mailbox:#?}"), "MailboxId(redacted)");
        assert_eq!(
            format!("{:?}", TokenId::from_bytes([7; 32])),
            "TokenId(redacted)"
        );
        assert_eq!(mailbox.to_hex(), TEXT);
    }

    #[test]
    fn an_id_has_one_text() {
        assert_eq!(TEXT.parse(), Ok(MailboxId::from_bytes([7; 32])));
        let capitals = TEXT.replace('7', "A");
        assert_eq!(capitals.parse::<RegionId>(), Err(ParseIdError::NotHex));
        assert_eq!(TEXT[1..].parse::<RegionId>(), Err(ParseIdError::Length));
        assert_eq!(
            format!("{TEXT}0").parse::<RegionId>(),
            Err(ParseIdError::Length)
        );
        assert_eq!(
            "ü".repeat(32).parse::<RegionId>(),
            Err(ParseIdError::NotHex)
        );
    }
}
