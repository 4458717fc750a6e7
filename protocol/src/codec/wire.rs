//! [`Wire`] for the plain types, and the macros that derive it for records.

use super::{DecodeError, Decoder, Encoder, Wire};

macro_rules! uint {
    ($($t:ident)*) => {$(
        impl Wire for $t {
            fn encode(&self, out: &mut Encoder) {
                out.uint(u64::from(*self));
            }
            fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                Self::try_from(d.uint()?)
                    .map_err(|_| DecodeError::OutOfBounds { what: stringify!($t) })
            }
        }
    )*};
}
uint!(u8 u16 u32 u64);

/// 0 or 1, so that no CBOR type is needed for it.
impl Wire for bool {
    fn encode(&self, out: &mut Encoder) {
        out.uint(u64::from(*self));
    }
    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match d.uint()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::OutOfBounds { what: "bool" }),
        }
    }
}

/// A byte string of exactly `N` bytes.
impl<const N: usize> Wire for [u8; N] {
    fn encode(&self, out: &mut Encoder) {
        out.bytes(self);
    }
    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        d.byte_array()
    }
}

/// An array of no element or one.
impl<T: Wire> Wire for Option<T> {
    fn encode(&self, out: &mut Encoder) {
        out.array(usize::from(self.is_some()));
        if let Some(v) = self {
            v.encode(out);
        }
    }
    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match d.array_len(1)? {
            0 => Ok(None),
            _ => T::decode(d).map(Some),
        }
    }
}

macro_rules! tuple {
    ($n:literal: $($t:ident $i:tt)*) => {
        /// An array of the elements.
        impl<$($t: Wire),*> Wire for ($($t,)*) {
            fn encode(&self, out: &mut Encoder) {
                out.array($n);
                $(self.$i.encode(out);)*
            }
            fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                d.array($n)?;
                Ok(($($t::decode(d)?,)*))
            }
        }
    };
}
tuple!(2: A 0 B 1);
tuple!(3: A 0 B 1 C 2);
tuple!(4: A 0 B 1 C 2 D 3);
tuple!(5: A 0 B 1 C 2 D 3 E 4);

/// One, for each type it is named with: how the macros count.
#[doc(hidden)]
#[must_use]
pub const fn one<T>() -> usize {
    1
}

/// Declares a struct that is encoded as the array of exactly its fields, in order.
///
/// ```
/// lapwing_protocol::wire_struct! {
///     /// A point.
///     #[derive(Debug, PartialEq)]
///     pub struct Point {
///         /// Across.
///         pub x: u32,
///         /// Up.
///         pub y: u32,
///     }
/// }
/// # use lapwing_protocol::codec::to_bytes;
/// assert_eq!(to_bytes(&Point { x: 1, y: 2 }), [0x82, 1, 2]);
/// ```
#[macro_export]
macro_rules! wire_struct {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $( $(#[$fmeta:meta])* $fvis:vis $field:ident : $fty:ty ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        $vis struct $name {
            $( $(#[$fmeta])* $fvis $field : $fty ),*
        }

        impl $crate::codec::Wire for $name {
            fn encode(&self, out: &mut $crate::codec::Encoder) {
                out.array(0 $( + $crate::codec::one::<$fty>() )*);
                $( $crate::codec::Wire::encode(&self.$field, out); )*
            }
            fn decode(
                d: &mut $crate::codec::Decoder<'_>,
            ) -> ::core::result::Result<Self, $crate::codec::DecodeError> {
                d.array(0 $( + $crate::codec::one::<$fty>() )*)?;
                ::core::result::Result::Ok(Self {
                    $( $field: <$fty as $crate::codec::Wire>::decode(d)? ),*
                })
            }
        }
    };
}

/// Declares an enum that is encoded as an array: the variant's number, then its payload if any.
///
/// ```
/// lapwing_protocol::wire_enum! {
///     /// A shape.
///     #[derive(Debug, PartialEq)]
///     pub enum Shape {
///         /// Nothing.
///         1 => Empty,
///         /// A circle and its radius.
///         2 => Circle(u32),
///     }
/// }
/// # use lapwing_protocol::codec::to_bytes;
/// assert_eq!(to_bytes(&Shape::Circle(7)), [0x82, 2, 7]);
/// ```
#[macro_export]
macro_rules! wire_enum {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident {
            $( $(#[$vmeta:meta])* $tag:literal => $variant:ident $( ( $ty:ty ) )? ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        $vis enum $name {
            $( $(#[$vmeta])* $variant $( ( $ty ) )? ),*
        }

        impl $crate::codec::Wire for $name {
            fn encode(&self, out: &mut $crate::codec::Encoder) {
                match self {
                    $( Self::$variant $( ($crate::wire_enum!(@bind payload $ty)) )? => {
                        out.array(1 $( + $crate::codec::one::<$ty>() )?);
                        out.uint($tag);
                        $( <$ty as $crate::codec::Wire>::encode(payload, out); )?
                    } )*
                }
            }
            fn decode(
                d: &mut $crate::codec::Decoder<'_>,
            ) -> ::core::result::Result<Self, $crate::codec::DecodeError> {
                let len = d.array_len(2)?;
                match d.uint()? {
                    $( $tag => {
                        if len != 1 $( + $crate::codec::one::<$ty>() )? {
                            return ::core::result::Result::Err(
                                $crate::codec::DecodeError::Unexpected,
                            );
                        }
                        ::core::result::Result::Ok(
                            Self::$variant $( (<$ty as $crate::codec::Wire>::decode(d)?) )?
                        )
                    } )*
                    tag => ::core::result::Result::Err($crate::codec::DecodeError::UnknownTag {
                        what: stringify!($name),
                        tag,
                    }),
                }
            }
        }
    };
    (@bind $payload:ident $ty:ty) => { $payload };
}

/// Declares an enum without payloads that is encoded as a bare number.
///
/// It must derive `Clone` and `Copy`.
///
/// ```
/// lapwing_protocol::wire_code! {
///     /// A colour.
///     #[derive(Clone, Copy, Debug, PartialEq)]
///     pub enum Colour {
///         /// Red.
///         1 => Red,
///         /// Green.
///         2 => Green,
///     }
/// }
/// assert_eq!(Colour::Green.code(), 2);
/// assert_eq!(Colour::from_code(9), None);
/// ```
#[macro_export]
macro_rules! wire_code {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident {
            $( $(#[$vmeta:meta])* $code:literal => $variant:ident ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        $vis enum $name {
            $( $(#[$vmeta])* $variant ),*
        }

        impl $name {
            /// Every variant, in the order of declaration.
            $vis const ALL: &'static [Self] = &[ $( Self::$variant ),* ];

            /// The number on the wire.
            #[must_use]
            $vis const fn code(self) -> u64 {
                match self { $( Self::$variant => $code ),* }
            }

            /// The variant of that number, if there is one.
            #[must_use]
            $vis const fn from_code(code: u64) -> ::core::option::Option<Self> {
                match code {
                    $( $code => ::core::option::Option::Some(Self::$variant), )*
                    _ => ::core::option::Option::None,
                }
            }
        }

        impl $crate::codec::Wire for $name {
            fn encode(&self, out: &mut $crate::codec::Encoder) {
                out.uint(self.code());
            }
            fn decode(
                d: &mut $crate::codec::Decoder<'_>,
            ) -> ::core::result::Result<Self, $crate::codec::DecodeError> {
                let tag = d.uint()?;
                Self::from_code(tag).ok_or($crate::codec::DecodeError::UnknownTag {
                    what: stringify!($name),
                    tag,
                })
            }
        }
    };
}
