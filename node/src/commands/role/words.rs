//! What people write on a command line, and how ids and times are shown to them.

use anyhow::anyhow;
use lapwing_protocol::bounded::Text;
use lapwing_protocol::time::Time;

use super::Failure;
use crate::commands::federation::date;

/// Digits of an id that are shown.
const SHOWN: usize = 8;

/// The beginning of an id, as it is shown and accepted.
pub(crate) fn short(id: &impl ToString) -> String {
    id.to_string().chars().take(SHOWN).collect()
}

/// So many of something: `1 region`, `3 regions`.
pub(crate) fn count(n: usize, one: &str) -> String {
    format!("{n} {one}{}", if n == 1 { "" } else { "s" })
}

/// What a region is called, with the criteria that tell it from others of the area.
pub(crate) fn region(name: &Text<120>, criteria: &[(Text<40>, Text<80>)]) -> String {
    let criteria: Vec<String> = criteria
        .iter()
        .map(|(key, value)| format!("{}={}", key.as_str(), value.as_str()))
        .collect();
    if criteria.is_empty() {
        name.as_str().to_owned()
    } else {
        format!("{} [{}]", name.as_str(), criteria.join(", "))
    }
}

/// The one of several whose id begins as given, or whose name is the one given.
///
/// # Errors
/// [`Failure::Usage`] where there is none or more than one; `list` names the command that lists them.
pub(crate) fn pick<T>(
    what: &str,
    given: &str,
    list: &str,
    all: impl IntoIterator<Item = (String, Option<String>, T)>,
) -> Result<T, Failure> {
    let wanted = given.to_lowercase();
    let mut found: Vec<(bool, T)> = Vec::new();
    for (id, name, one) in all {
        let named = name.is_some_and(|n| n.to_lowercase() == wanted);
        if named || (!wanted.is_empty() && id.starts_with(&wanted)) {
            found.push((named, one));
        }
    }
    // A full name counts for more than the beginning of an id.
    if found.iter().any(|(named, _)| *named) {
        found.retain(|(named, _)| *named);
    }
    let count = found.len();
    match (found.pop(), count) {
        (Some((_, one)), 1) => Ok(one),
        (None, _) => Err(Failure::Usage(anyhow!(
            "no {what} is called {given:?} or begins so: `{list}` lists them"
        ))),
        _ => Err(Failure::Usage(anyhow!(
            "{count} of them begin with {given:?}: write more of the {what}'s id; `{list}` lists them"
        ))),
    }
}

/// A time as people write it: `2027-01-31T09:30+01:00`, or in UTC without an offset; a space may stand
/// for the `T`, and seconds may be left out.
///
/// # Errors
/// [`Failure::Usage`].
pub(crate) fn time(given: &str) -> Result<Time, Failure> {
    let wrong = || {
        Failure::Usage(anyhow!(
            "{given:?} is no time: write 2027-01-31T09:30+01:00, or 2027-01-31T09:30 for UTC"
        ))
    };
    let text = given.trim().replacen(' ', "T", 1);
    let (day, clock) = text.split_once('T').ok_or_else(wrong)?;
    let at = clock.find(['Z', 'z', '+', '-']).unwrap_or(clock.len());
    let (clock, offset) = clock.split_at_checked(at).ok_or_else(wrong)?;
    let seconds = if clock.matches(':').count() == 1 {
        ":00"
    } else {
        ""
    };
    let offset = if offset.is_empty() { "Z" } else { offset };
    let full = format!("{day}T{clock}{seconds}{offset}");
    let parsed = full.parse().map_err(|_| wrong())?;
    date::time_of(&parsed).map_err(|_| wrong())
}

/// A time as people read it, in UTC, to the minute.
pub(crate) fn shown(time: Time) -> String {
    let text = date::text(time);
    let text = text.get(..16).unwrap_or(&text).replacen('T', " ", 1);
    format!("{text} UTC")
}

/// A time for programs: RFC 3339 in UTC.
pub(crate) fn exact(time: Time) -> String {
    date::text(time)
}

/// A text of at most so many bytes.
///
/// # Errors
/// [`Failure::Usage`] that names the field.
pub(crate) fn text<const MAX: usize>(field: &str, given: &str) -> Result<Text<MAX>, Failure> {
    Text::try_from(given).map_err(|e| Failure::Usage(anyhow!("{field}: {e}")))
}

/// What is written as `key=value`.
///
/// # Errors
/// [`Failure::Usage`].
pub(crate) fn pair<'a>(field: &str, given: &'a str) -> Result<(&'a str, &'a str), Failure> {
    given
        .split_once('=')
        .map(|(key, value)| (key.trim(), value.trim()))
        .filter(|(key, value)| !key.is_empty() && !value.is_empty())
        .ok_or_else(|| Failure::Usage(anyhow!("{field} is {given:?}: write KEY=VALUE")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let noon = time("2027-01-31T12:00:00Z").unwrap();
        for same in [
            "2027-01-31T12:00",
            "2027-01-31 12:00",
            "2027-01-31T13:00+01:00",
            "2027-01-31 11:00:00-01:00",
            " 2027-01-31T12:00Z ",
        ] {
            assert_eq!(time(same).unwrap(), noon, "{same}");
        }
        assert_eq!(shown(noon), "2027-01-31 12:00 UTC");
        assert_eq!(exact(noon), "2027-01-31T12:00:00Z");
        for wrong in [
            "",
            "12:00",
            "2027-01-31",
            "2027-02-30T12:00",
            "soon",
            "2027-01-31T25:00",
            "ä ö",
        ] {
            let refused = time(wrong);
            assert!(matches!(refused, Err(Failure::Usage(_))), "{wrong}");
        }
    }

    #[test]
    fn ids_are_picked_by_their_beginning_and_names_whole() {
        let all = || {
            [
                ("aa11".to_owned(), Some("North".to_owned()), 1),
                ("aa22".to_owned(), Some("aa11".to_owned()), 2),
                ("bb33".to_owned(), None, 3),
            ]
        };
        assert_eq!(pick("one", "b", "list", all()).unwrap(), 3);
        assert_eq!(pick("one", "north", "list", all()).unwrap(), 1);
        assert_eq!(pick("one", "aa11", "list", all()).unwrap(), 2);
        for wrong in ["", "aa", "cc", "nort"] {
            assert!(matches!(
                pick("one", wrong, "list", all()),
                Err(Failure::Usage(_))
            ));
        }
    }
}
