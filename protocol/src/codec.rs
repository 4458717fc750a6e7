//! Deterministic CBOR: one encoding for every value (RFC 8949 §4.2, `docs/spec/codec.md`).
//!
//! Only what records need: integers, byte strings, text, arrays of known length, and the tag, map
//! and null that COSE brings. `cbor4ii` reads leniently, so [`from_bytes`] encodes again what it
//! decoded and refuses every input that differs. Nothing is allocated by a claimed length.

mod wire;

use std::convert::Infallible;

use cbor4ii::core::{
    dec::{self, Decode, Read, Reference},
    enc::{self, Encode},
    error::{DecodeError as CborError, Len},
    marker, types,
};
use zeroize::Zeroize;

#[doc(hidden)]
pub use wire::one;

/// A value that has exactly one encoding.
pub trait Wire: Sized {
    /// Appends the value's encoding.
    fn encode(&self, out: &mut Encoder);

    /// Reads one value.
    ///
    /// # Errors
    /// Whatever of [`DecodeError`] applies. An encoding that is merely not the shortest may pass
    /// here; [`from_bytes`] refuses it.
    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError>;
}

/// Why bytes are not the encoding of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The input, or a string or array in it, is longer than its bound.
    #[error("longer than {max}")]
    TooLong {
        /// The bound, in bytes or elements.
        max: usize,
    },
    /// The input ends within a value.
    #[error("input ends within a value")]
    Truncated,
    /// Bytes follow the value.
    #[error("bytes after the value")]
    Trailing,
    /// Another CBOR type, array length, tag or map key than the grammar has here.
    #[error("not the CBOR item expected here")]
    Unexpected,
    /// A value of the right type outside its bounds.
    #[error("{what} out of bounds")]
    OutOfBounds {
        /// What was out of bounds.
        what: &'static str,
    },
    /// A variant or code that this version does not know.
    #[error("unknown {what} {tag}")]
    UnknownTag {
        /// The type that has the variants.
        what: &'static str,
        /// The number found.
        tag: u64,
    },
    /// The value is right, but this is not its deterministic encoding.
    #[error("not the deterministic encoding")]
    NotCanonical,
    /// Text that is not UTF-8.
    #[error("text is not UTF-8")]
    Utf8,
    /// A public key that is no key: see [`crate::key::BadKey`].
    #[error(transparent)]
    BadKey(#[from] crate::key::BadKey),
}

/// The deterministic encoding of `v`.
#[must_use]
pub fn to_bytes<T: Wire>(v: &T) -> Vec<u8> {
    let mut out = Encoder::new();
    v.encode(&mut out);
    out.into_vec()
}

/// Decodes all of `bytes` as one value, and accepts no other encoding than [`to_bytes`] writes.
///
/// # Errors
/// [`DecodeError::TooLong`] beyond `max` bytes, [`DecodeError::Trailing`] when input is left,
/// [`DecodeError::NotCanonical`] when another encoding of the value was sent, and whatever the
/// type's own decoding refuses.
pub fn from_bytes<T: Wire>(bytes: &[u8], max: usize) -> Result<T, DecodeError> {
    if bytes.len() > max {
        return Err(DecodeError::TooLong { max });
    }
    let mut d = Decoder::new(bytes);
    let value = T::decode(&mut d)?;
    d.end()?;
    let mut again = Encoder::with_capacity(bytes.len());
    value.encode(&mut again);
    if again.as_slice() != bytes {
        return Err(DecodeError::NotCanonical);
    }
    Ok(value)
}

/// Writes deterministic CBOR.
#[derive(Default)]
pub struct Encoder {
    bytes: Vec<u8>,
    /// Whether a buffer that has become too small is wiped.
    wipes: bool,
}

struct Sink<'a>(&'a mut Encoder);

impl enc::Write for Sink<'_> {
    type Error = Infallible;

    #[inline]
    fn push(&mut self, input: &[u8]) -> Result<(), Infallible> {
        if self.0.wipes && self.0.bytes.capacity() - self.0.bytes.len() < input.len() {
            self.0.grow(input.len());
        }
        match input {
            // A head, most often: not worth a copy.
            [byte] => self.0.bytes.push(*byte),
            _ => self.0.bytes.extend_from_slice(input),
        }
        Ok(())
    }
}

impl Encoder {
    /// An empty encoder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty encoder with room for `bytes`.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            wipes: false,
        }
    }

    /// An empty encoder for secrets of any length: it leaves no copy behind by growing.
    #[must_use]
    pub fn wiping() -> Self {
        Self {
            bytes: Vec::with_capacity(4_096),
            wipes: true,
        }
    }

    /// Goes on in a larger buffer, and wipes the one that has become too small.
    #[cold]
    fn grow(&mut self, more: usize) {
        let (used, room) = (self.bytes.len(), self.bytes.capacity());
        let mut larger = Vec::with_capacity((2 * room).max(used + more));
        larger.extend_from_slice(&self.bytes);
        self.bytes.zeroize();
        self.bytes = larger;
    }

    fn put(&mut self, item: impl Encode) {
        // Appending to a Vec cannot fail; the error type has no value.
        let _infallible = item.encode(&mut Sink(self));
    }

    /// Begins an array: `len` items must follow.
    pub fn array(&mut self, len: usize) {
        let _infallible = types::Array::bounded(len, &mut Sink(self));
    }

    /// Begins a map: `len` pairs must follow, keys in the order of their encodings.
    pub fn map(&mut self, len: usize) {
        let _infallible = types::Map::bounded(len, &mut Sink(self));
    }

    /// Writes an unsigned integer.
    pub fn uint(&mut self, v: u64) {
        self.put(v);
    }

    /// Writes an integer.
    pub fn int(&mut self, v: i64) {
        self.put(v);
    }

    /// Writes a byte string.
    pub fn bytes(&mut self, v: &[u8]) {
        self.put(types::Bytes(v));
    }

    /// Writes a text string.
    pub fn text(&mut self, v: &str) {
        self.put(v);
    }

    /// Writes a tag: one item must follow.
    pub fn tag(&mut self, tag: u64) {
        self.put(types::Tag(tag, types::Nothing));
    }

    /// Writes null.
    pub fn null(&mut self) {
        self.put(types::Null);
    }

    /// What was written so far.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// What was written.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads CBOR from a slice; strings are borrowed from it.
pub struct Decoder<'a> {
    src: Source<'a>,
}

struct Source<'a> {
    rest: &'a [u8],
}

impl<'a> Read<'a> for Source<'a> {
    type Error = Infallible;

    fn fill<'s>(&'s mut self, want: usize) -> Result<Reference<'a, 's>, Infallible> {
        let n = want.min(self.rest.len());
        Ok(Reference::Long(self.rest.get(..n).unwrap_or_default()))
    }

    fn advance(&mut self, n: usize) {
        self.rest = self.rest.get(n..).unwrap_or_default();
    }
}

fn refused(e: CborError<Infallible>) -> DecodeError {
    match e {
        CborError::Eof { .. } | CborError::RequireBorrowed { .. } => DecodeError::Truncated,
        CborError::RequireUtf8 { .. } => DecodeError::Utf8,
        CborError::RequireLength {
            found: Len::Indefinite,
            ..
        } => DecodeError::NotCanonical,
        CborError::RequireLength { .. } => DecodeError::Truncated,
        CborError::CastOverflow { .. } | CborError::ArithmeticOverflow { .. } => {
            DecodeError::OutOfBounds { what: "integer" }
        }
        _ => DecodeError::Unexpected,
    }
}

impl<'a> Decoder<'a> {
    /// A decoder at the start of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            src: Source { rest: bytes },
        }
    }

    fn item<T: Decode<'a>>(&mut self) -> Result<T, DecodeError> {
        T::decode(&mut self.src).map_err(refused)
    }

    /// Reads the head of an array of exactly `expected` items.
    ///
    /// # Errors
    /// [`DecodeError::Unexpected`] for another length or type.
    pub fn array(&mut self, expected: usize) -> Result<(), DecodeError> {
        match self.head(types::Array::len)? {
            n if n == expected => Ok(()),
            _ => Err(DecodeError::Unexpected),
        }
    }

    /// Reads the head of an array of at most `max` items, and returns its length.
    ///
    /// # Errors
    /// [`DecodeError::TooLong`] above `max`; [`DecodeError::Truncated`] when fewer bytes than
    /// items are left, so that a caller may trust the length with memory.
    pub fn array_len(&mut self, max: usize) -> Result<usize, DecodeError> {
        let n = self.head(types::Array::len)?;
        if n > max {
            return Err(DecodeError::TooLong { max });
        }
        if n > self.src.rest.len() {
            return Err(DecodeError::Truncated);
        }
        Ok(n)
    }

    /// Reads the head of a map of exactly `expected` pairs.
    ///
    /// # Errors
    /// [`DecodeError::Unexpected`] for another length or type.
    pub fn map(&mut self, expected: usize) -> Result<(), DecodeError> {
        match self.head(types::Map::len)? {
            n if n == expected => Ok(()),
            _ => Err(DecodeError::Unexpected),
        }
    }

    fn head(
        &mut self,
        len: fn(&mut Source<'a>) -> Result<Option<usize>, dec::Error<Infallible>>,
    ) -> Result<usize, DecodeError> {
        // No length given: an indefinite array, which has a definite encoding too.
        len(&mut self.src)
            .map_err(refused)?
            .ok_or(DecodeError::NotCanonical)
    }

    /// Reads an unsigned integer.
    ///
    /// # Errors
    /// [`DecodeError::Unexpected`] for anything else.
    pub fn uint(&mut self) -> Result<u64, DecodeError> {
        self.item()
    }

    /// Reads an integer.
    ///
    /// # Errors
    /// [`DecodeError::Unexpected`] for anything else; [`DecodeError::OutOfBounds`] beyond 64 bits.
    pub fn int(&mut self) -> Result<i64, DecodeError> {
        self.item()
    }

    /// Reads a byte string of at most `max` bytes.
    ///
    /// # Errors
    /// [`DecodeError::TooLong`] above `max`.
    pub fn bytes(&mut self, max: usize) -> Result<&'a [u8], DecodeError> {
        let types::Bytes(b) = self.item::<types::Bytes<&'a [u8]>>()?;
        if b.len() > max {
            return Err(DecodeError::TooLong { max });
        }
        Ok(b)
    }

    /// Reads a byte string of exactly `N` bytes.
    ///
    /// # Errors
    /// [`DecodeError::OutOfBounds`] for another length.
    pub fn byte_array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let types::Bytes(b) = self.item::<types::Bytes<&'a [u8]>>()?;
        b.try_into().map_err(|_| DecodeError::OutOfBounds {
            what: "byte string length",
        })
    }

    /// Reads text of at most `max` bytes of UTF-8.
    ///
    /// # Errors
    /// [`DecodeError::TooLong`] above `max`, [`DecodeError::Utf8`] for ill-formed text.
    pub fn text(&mut self, max: usize) -> Result<&'a str, DecodeError> {
        let s = self.item::<&'a str>()?;
        if s.len() > max {
            return Err(DecodeError::TooLong { max });
        }
        Ok(s)
    }

    /// Reads the tag `expected`.
    ///
    /// # Errors
    /// [`DecodeError::Unexpected`] for another tag or type.
    pub fn tag(&mut self, expected: u64) -> Result<(), DecodeError> {
        match types::Tag::tag(&mut self.src).map_err(refused)? {
            t if t == expected => Ok(()),
            _ => Err(DecodeError::Unexpected),
        }
    }

    /// Reads null.
    ///
    /// # Errors
    /// [`DecodeError::Unexpected`] for anything else.
    pub fn null(&mut self) -> Result<(), DecodeError> {
        match self.src.rest.split_first() {
            Some((&marker::NULL, rest)) => {
                self.src.rest = rest;
                Ok(())
            }
            Some(_) => Err(DecodeError::Unexpected),
            None => Err(DecodeError::Truncated),
        }
    }

    /// The bytes not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.src.rest
    }

    /// Refuses input that is left over.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`].
    pub fn end(&self) -> Result<(), DecodeError> {
        if self.src.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing)
        }
    }
}

#[cfg(test)]
mod tests;
