//! Times as values: whoever needs the present is told it.
//!
//! Records speak in whole seconds since 1970-01-01T00:00:00Z ([`Time`]); the node's core works in
//! milliseconds ([`Millis`]). Arithmetic saturates: a hostile expiry must never wrap round.

use crate::codec::{DecodeError, Decoder, Encoder, Wire};

const DAY: u32 = 86_400;
const HOUR: u32 = 3_600;

/// Seconds since the Unix epoch, below 2^40.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// 2^40 − 1 seconds: the year 36812.
    pub const MAX: Self = Self((1 << 40) - 1);
    /// The Unix epoch.
    pub const ZERO: Self = Self(0);

    /// So many seconds after the epoch, [`Time::MAX`] at most.
    #[must_use]
    pub const fn new(secs: u64) -> Self {
        if secs > Self::MAX.0 {
            Self::MAX
        } else {
            Self(secs)
        }
    }

    /// Seconds since the epoch.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Later by `d`, [`Time::MAX`] at most.
    #[must_use]
    pub const fn plus(self, d: Seconds) -> Self {
        Self::new(self.0.saturating_add(d.0 as u64))
    }

    /// Later by `d`, or nothing beyond [`Time::MAX`].
    #[must_use]
    pub fn checked_plus(self, d: Seconds) -> Option<Self> {
        let t = self.0.checked_add(u64::from(d.0))?;
        (t <= Self::MAX.0).then_some(Self(t))
    }

    /// Earlier by `d`, the epoch at least.
    #[must_use]
    pub const fn minus(self, d: Seconds) -> Self {
        Self(self.0.saturating_sub(d.0 as u64))
    }

    /// How long after `earlier` this is: zero if before it, [`Seconds::MAX`] at most.
    #[must_use]
    pub fn since(self, earlier: Self) -> Seconds {
        Seconds(u32::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(u32::MAX))
    }

    /// The day it falls on (UTC).
    #[must_use]
    pub const fn day(self) -> Day {
        // At most 2^40 / 86400 < 2^24.
        Day((self.0 / DAY as u64) as u32)
    }

    /// The hour it falls in, counted from the epoch.
    #[must_use]
    pub const fn hour(self) -> Hour {
        // At most 2^40 / 3600 < 2^29.
        Hour((self.0 / HOUR as u64) as u32)
    }

    /// The same in milliseconds.
    #[must_use]
    pub const fn millis(self) -> Millis {
        Millis(self.0 * 1000)
    }
}

impl Wire for Time {
    fn encode(&self, out: &mut Encoder) {
        out.uint(self.0);
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match d.uint()? {
            t if t <= Self::MAX.0 => Ok(Self(t)),
            _ => Err(DecodeError::OutOfBounds { what: "time" }),
        }
    }
}

macro_rules! count {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u32);

        impl $name {
            /// The largest.
            pub const MAX: Self = Self(u32::MAX);
            /// None.
            pub const ZERO: Self = Self(0);

            /// So many.
            #[must_use]
            pub const fn new(n: u32) -> Self {
                Self(n)
            }

            /// How many.
            #[must_use]
            pub const fn get(self) -> u32 {
                self.0
            }
        }

        impl Wire for $name {
            fn encode(&self, out: &mut Encoder) {
                self.0.encode(out);
            }

            fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                u32::decode(d).map(Self)
            }
        }
    };
}

count! {
    /// A duration in seconds.
    Seconds
}
count! {
    /// A day: whole days since the epoch (UTC).
    Day
}
count! {
    /// An hour: whole hours since the epoch.
    Hour
}

impl Seconds {
    /// One minute.
    pub const MINUTE: Self = Self(60);
    /// One hour.
    pub const HOUR: Self = Self(HOUR);
    /// One day.
    pub const DAY: Self = Self(DAY);

    /// `n` minutes, saturating.
    #[must_use]
    pub const fn minutes(n: u32) -> Self {
        Self(n.saturating_mul(60))
    }

    /// `n` hours, saturating.
    #[must_use]
    pub const fn hours(n: u32) -> Self {
        Self(n.saturating_mul(HOUR))
    }

    /// `n` days, saturating.
    #[must_use]
    pub const fn days(n: u32) -> Self {
        Self(n.saturating_mul(DAY))
    }
}

impl Day {
    /// Its first second; [`Time::MAX`] for a day beyond it.
    #[must_use]
    pub const fn start(self) -> Time {
        Time::new(self.0 as u64 * DAY as u64)
    }

    /// `n` days later, saturating.
    #[must_use]
    pub const fn plus(self, n: u32) -> Self {
        Self(self.0.saturating_add(n))
    }

    /// `n` days earlier, the epoch at least.
    #[must_use]
    pub const fn minus(self, n: u32) -> Self {
        Self(self.0.saturating_sub(n))
    }

    /// How many days after `earlier` this is: zero if before it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Hour {
    /// Its first second; [`Time::MAX`] for an hour beyond it.
    #[must_use]
    pub const fn start(self) -> Time {
        Time::new(self.0 as u64 * HOUR as u64)
    }

    /// `n` hours later, saturating.
    #[must_use]
    pub const fn plus(self, n: u32) -> Self {
        Self(self.0.saturating_add(n))
    }

    /// `n` hours earlier, the epoch at least.
    #[must_use]
    pub const fn minus(self, n: u32) -> Self {
        Self(self.0.saturating_sub(n))
    }
}

/// Milliseconds since the Unix epoch: the core's clock. Never in a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(u64);

impl Millis {
    /// The epoch.
    pub const ZERO: Self = Self(0);

    /// So many milliseconds after the epoch.
    #[must_use]
    pub const fn new(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The whole second it falls in.
    #[must_use]
    pub const fn time(self) -> Time {
        Time::new(self.0 / 1000)
    }

    /// Later by `ms` milliseconds, saturating.
    #[must_use]
    pub const fn plus_millis(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Later by `d`, saturating.
    #[must_use]
    pub const fn plus(self, d: Seconds) -> Self {
        self.plus_millis(d.0 as u64 * 1000)
    }

    /// How many milliseconds after `earlier` this is: zero if before it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Time::new(u64::MAX), Time::MAX);
        assert_eq!(Time::MAX.plus(Seconds::new(1)), Time::MAX);
        assert_eq!(Time::MAX.checked_plus(Seconds::new(1)), None);
        assert_eq!(Time::ZERO.minus(Seconds::DAY), Time::ZERO);
        assert_eq!(Time::ZERO.since(Time::MAX), Seconds::ZERO);
        assert_eq!(Time::MAX.since(Time::ZERO), Seconds::MAX);
        assert_eq!(Day::MAX.start(), Time::MAX);
        assert_eq!(Day::MAX.plus(1), Day::MAX);
        assert_eq!(Seconds::days(u32::MAX), Seconds::MAX);
        assert_eq!(Millis::new(u64::MAX).plus(Seconds::MAX).get(), u64::MAX);
        assert_eq!(Millis::new(u64::MAX).time(), Time::MAX);
    }

    #[test]
    fn days_and_hours() {
        let t = Time::new(86_400 * 3 + 3_600 * 2 + 59);
        assert_eq!(t.day(), Day::new(3));
        assert_eq!(t.hour(), Hour::new(74));
        assert_eq!(
            t.day().plus(1).start().since(t),
            Seconds::new(86_400 - 7_259)
        );
        assert_eq!(t.hour().start(), Time::new(86_400 * 3 + 7_200));
        assert_eq!(Time::MAX.day().start().day(), Time::MAX.day());
        assert_eq!(t.millis().plus_millis(999).time(), t);
    }
}
