//! Collections that carry their bound in the type.
//!
//! A value of these types is within its bound, whoever made it; decoding grows memory only with
//! what was really read.

use std::ops::Deref;

use crate::codec::{DecodeError, Decoder, Encoder, Wire};

/// Why a collection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BoundError {
    /// More elements (or bytes, for [`Bytes`] and [`Text`]) than the type holds.
    #[error("longer than {max}")]
    TooLong {
        /// The bound.
        max: usize,
    },
    /// Text with a control character other than line feed and tab.
    #[error("text has a control character")]
    Control,
}

impl From<BoundError> for DecodeError {
    fn from(e: BoundError) -> Self {
        match e {
            BoundError::TooLong { max } => Self::TooLong { max },
            BoundError::Control => Self::OutOfBounds {
                what: "text character",
            },
        }
    }
}

/// At most `MAX` elements; an array on the wire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct List<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> List<T, MAX> {
    /// The most elements it holds.
    pub const MAX: usize = MAX;

    /// No element.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds an element at the end.
    ///
    /// # Errors
    /// [`BoundError::TooLong`] when the list is full; it is then as before.
    pub fn push(&mut self, v: T) -> Result<(), BoundError> {
        if self.0.len() >= MAX {
            return Err(BoundError::TooLong { max: MAX });
        }
        self.0.push(v);
        Ok(())
    }

    /// The elements.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const MAX: usize> Deref for List<T, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T, const MAX: usize> TryFrom<Vec<T>> for List<T, MAX> {
    type Error = BoundError;

    fn try_from(v: Vec<T>) -> Result<Self, BoundError> {
        if v.len() > MAX {
            return Err(BoundError::TooLong { max: MAX });
        }
        Ok(Self(v))
    }
}

impl<T, const MAX: usize> IntoIterator for List<T, MAX> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T, const MAX: usize> IntoIterator for &'a List<T, MAX> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T: Wire, const MAX: usize> Wire for List<T, MAX> {
    fn encode(&self, out: &mut Encoder) {
        out.array(self.0.len());
        for v in &self.0 {
            v.encode(out);
        }
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let n = d.array_len(MAX)?;
        // Not with_capacity(n): an element may be far larger in memory than the byte that claims it.
        let mut v = Vec::new();
        for _ in 0..n {
            v.push(T::decode(d)?);
        }
        Ok(Self(v))
    }
}

/// At most `MAX` bytes; a byte string on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes<const MAX: usize>(Vec<u8>);

impl<const MAX: usize> Bytes<MAX> {
    /// The most bytes it holds.
    pub const MAX: usize = MAX;

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The bytes.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

impl<const MAX: usize> Deref for Bytes<MAX> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: usize> TryFrom<Vec<u8>> for Bytes<MAX> {
    type Error = BoundError;

    fn try_from(v: Vec<u8>) -> Result<Self, BoundError> {
        if v.len() > MAX {
            return Err(BoundError::TooLong { max: MAX });
        }
        Ok(Self(v))
    }
}

impl<const MAX: usize> TryFrom<&[u8]> for Bytes<MAX> {
    type Error = BoundError;

    fn try_from(v: &[u8]) -> Result<Self, BoundError> {
        if v.len() > MAX {
            return Err(BoundError::TooLong { max: MAX });
        }
        Ok(Self(v.to_vec()))
    }
}

impl<const MAX: usize> Wire for Bytes<MAX> {
    fn encode(&self, out: &mut Encoder) {
        out.bytes(&self.0);
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self(d.bytes(MAX)?.to_vec()))
    }
}

/// At most `MAX` bytes of UTF-8 without control characters other than line feed and tab.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// The most bytes of UTF-8 it holds.
    pub const MAX: usize = MAX;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }

    fn check(s: &str) -> Result<(), BoundError> {
        if s.len() > MAX {
            return Err(BoundError::TooLong { max: MAX });
        }
        if s.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
            return Err(BoundError::Control);
        }
        Ok(())
    }
}

impl<const MAX: usize> Deref for Text<MAX> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> TryFrom<String> for Text<MAX> {
    type Error = BoundError;

    fn try_from(s: String) -> Result<Self, BoundError> {
        Self::check(&s)?;
        Ok(Self(s))
    }
}

impl<const MAX: usize> TryFrom<&str> for Text<MAX> {
    type Error = BoundError;

    fn try_from(s: &str) -> Result<Self, BoundError> {
        Self::check(s)?;
        Ok(Self(s.to_owned()))
    }
}

impl<const MAX: usize> Wire for Text<MAX> {
    fn encode(&self, out: &mut Encoder) {
        out.text(&self.0);
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self::try_from(d.text(MAX)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_for_whoever_makes_one() {
        let mut list = List::<u8, 2>::try_from(vec![1]).unwrap();
        assert_eq!(list.push(2), Ok(()));
        assert_eq!(list.push(3), Err(BoundError::TooLong { max: 2 }));
        assert_eq!(&*list, [1, 2]);
        assert!(List::<u8, 2>::try_from(vec![1, 2, 3]).is_err());
        assert!(Bytes::<2>::try_from(b"abc".as_slice()).is_err());
        assert!(Text::<2>::try_from("abc").is_err());
        // Bytes count, not characters.
        assert!(Text::<3>::try_from("üü").is_err());
        assert_eq!(Text::<3>::try_from("a\r"), Err(BoundError::Control));
        assert!(Text::<3>::try_from("a\n\t").is_ok());
    }
}
