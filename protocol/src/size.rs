//! The three sizes a blob has on the wire, so that its size tells nothing.

crate::wire_code! {
    /// The size of an envelope or blob in all: suite byte, encapsulated key and tag included.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum SizeClass {
        /// 4 KiB: all ordinary booking traffic.
        1 => Small,
        /// 16 KiB.
        2 => Medium,
        /// 64 KiB.
        3 => Large,
    }
}

impl SizeClass {
    /// The size in bytes: 4096, 16384 or 65536.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Small => 4096,
            Self::Medium => 16384,
            Self::Large => 65536,
        }
    }

    /// The smallest class that `len` bytes fit into, if one does. For the class that a plaintext
    /// needs once sealed, see [`crate::seal::size_for`].
    #[must_use]
    pub fn for_len(len: usize) -> Option<Self> {
        Self::ALL.iter().copied().find(|c| len <= c.bytes())
    }

    /// The class whose size is exactly `len` bytes, as a blob's must be.
    #[must_use]
    pub fn exact(len: usize) -> Option<Self> {
        Self::ALL.iter().copied().find(|c| len == c.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        assert_eq!(SizeClass::for_len(0), Some(SizeClass::Small));
        assert_eq!(SizeClass::for_len(4096), Some(SizeClass::Small));
        assert_eq!(SizeClass::for_len(4097), Some(SizeClass::Medium));
        assert_eq!(SizeClass::for_len(65537), None);
        assert_eq!(SizeClass::exact(16384), Some(SizeClass::Medium));
        assert_eq!(SizeClass::exact(16383), None);
    }
}
