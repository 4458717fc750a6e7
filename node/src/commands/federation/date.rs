//! Times as people write them: RFC 3339, which is also TOML's offset date-time.

use lapwing_protocol::time::{Seconds, Time};
use toml::value::{Datetime, Offset};

const DAY: i64 = 86_400;
/// Longest life that a command gives a record, in days (about ten years): roots change too.
pub(crate) const MAX_DAYS: u32 = 3_660;

/// Why a date is no time of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DateError {
    #[error("needs a date, a time and an offset: write 2027-01-31T12:00:00Z")]
    Incomplete,
    #[error("has a fraction of a second: leave it out")]
    Fraction,
    #[error("is before 1970: correct the year")]
    TooEarly,
}

/// The time of a TOML date.
///
/// # Errors
/// [`DateError`].
pub(crate) fn time_of(date: &Datetime) -> Result<Time, DateError> {
    let (Some(day), Some(time), Some(offset)) = (date.date, date.time, date.offset) else {
        return Err(DateError::Incomplete);
    };
    if time.nanosecond.is_some_and(|n| n != 0) {
        return Err(DateError::Fraction);
    }
    let minutes = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    let clock = i64::from(time.hour) * 3_600
        + (i64::from(time.minute) - minutes) * 60
        + i64::from(time.second.unwrap_or(0));
    let days = days_from_civil(day.year.into(), day.month.into(), day.day.into());
    u64::try_from(days * DAY + clock)
        .map(Time::new)
        .map_err(|_| DateError::TooEarly)
}

/// RFC 3339 in UTC. (Beyond the year 9999, as no command makes one, the year has five digits.)
pub(crate) fn text(time: Time) -> String {
    // Below 2^40 seconds.
    let seconds = time.get() as i64;
    let (year, month, day) = civil_from_days(seconds / DAY);
    let clock = seconds % DAY;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        clock / 3_600,
        clock / 60 % 60,
        clock % 60
    )
}

/// So many days later.
pub(crate) fn after_days(from: Time, days: u32) -> Time {
    from.plus(Seconds::new(days.min(MAX_DAYS) * 86_400))
}

/// Days since 1970-01-01 of a date of the Gregorian calendar
/// (<https://howardhinnant.github.io/date_algorithms.html>).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the leap day is the last one.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<u64, DateError> {
        time_of(&text.parse().unwrap()).map(Time::get)
    }

    #[test]
    fn known_dates() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_795_336_478, "2026-11-22T08:34:38Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(text(Time::new(seconds)), date);
            assert_eq!(read(date), Ok(seconds));
        }
        assert_eq!(read("1970-01-01T02:00:00+02:00"), Ok(0));
        assert_eq!(read("1970-01-01T00:00:00+02:00"), Err(DateError::TooEarly));
        assert_eq!(read("1970-01-01T00:00:00"), Err(DateError::Incomplete));
        assert_eq!(read("1970-01-01"), Err(DateError::Incomplete));
        assert_eq!(read("1970-01-01T00:00:00.5Z"), Err(DateError::Fraction));
    }

    #[test]
    fn every_day_reads_back() {
        for day in 0..200_000 {
            let time = Time::new(day * 86_400 + day % 86_400);
            assert_eq!(read(&text(time)), Ok(time.get()));
        }
    }
}
