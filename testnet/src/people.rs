//! The people of a run: made up, from the seed.

use lapwing_protocol::bounded::{BoundError, Text};
use lapwing_protocol::mediation::Practice;
use lapwing_protocol::token::UserData;
use rand_core::Rng;

use crate::seeds::Seeds;

const FIRST: [&str; 12] = [
    "Ada", "Bela", "Cem", "Dilek", "Emil", "Freya", "Gesa", "Hanno", "Ilse", "Jonas", "Kerstin",
    "Lale",
];
const LAST: [&str; 12] = [
    "Albers", "Brandt", "Celik", "Dorn", "Ebert", "Fischer", "Gruber", "Hahn", "Ivanov", "Jensen",
    "Krause", "Lenz",
];
const STREETS: [&str; 6] = [
    "Lindenweg",
    "Am Markt",
    "Schulstraße",
    "Hafengasse",
    "Birkenallee",
    "Mühlenufer",
];

fn pick<'a>(from: &[&'a str], rng: &mut impl Rng) -> &'a str {
    let n = rng.next_u32() as usize % from.len().max(1);
    from.get(n).copied().unwrap_or_default()
}

/// The `n`th user. Each has data of its own.
///
/// # Errors
/// [`BoundError`] if a text is longer than its field, which none is.
pub fn user(seeds: Seeds, n: usize) -> Result<UserData, BoundError> {
    let mut rng = seeds.stream("person", n as u64);
    let (first, last) = (pick(&FIRST, &mut rng), pick(&LAST, &mut rng));
    let house = 1 + rng.next_u32() % 99;
    Ok(UserData {
        name: Text::try_from(format!("{first} {last}").as_str())?,
        address: Text::try_from(
            format!("{} {house}, 10115 Berlin", pick(&STREETS, &mut rng)).as_str(),
        )?,
        // Numbered, so that no two users have the same data.
        email: Text::try_from(format!("user{}@example.org", n + 1).as_str())?,
        telephone: Text::try_from("")?,
    })
}

/// The practice of the `n`th provider.
///
/// # Errors
/// As [`user`].
pub fn practice(
    seeds: Seeds,
    n: usize,
    postal_code: &str,
    city: &str,
) -> Result<Practice, BoundError> {
    let mut rng = seeds.stream("practice", n as u64);
    let last = pick(&LAST, &mut rng);
    let house = 1 + rng.next_u32() % 99;
    Ok(Practice {
        name: Text::try_from(format!("Praxis {}, Dr. {last}", n + 1).as_str())?,
        street: Text::try_from(format!("{} {house}", pick(&STREETS, &mut rng)).as_str())?,
        postal_code: Text::try_from(postal_code)?,
        city: Text::try_from(city)?,
        notes: Text::try_from("Please bring your insurance card.")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn people_repeat_with_the_seed_and_differ() {
        let data = |n| user(Seeds::new(3), n).unwrap();
        assert!(data(4) == data(4));
        let mails: BTreeSet<String> = (0..50).map(|n| data(n).email.as_str().to_owned()).collect();
        assert_eq!(mails.len(), 50);
        assert!(practice(Seeds::new(3), 0, "10115", "Berlin").is_ok());
    }
}
