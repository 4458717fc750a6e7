//! The slots: added one by one or as a series, listed, removed.

use anyhow::anyhow;
use clap::{Args, Subcommand};
use lapwing_protocol::codec::{from_bytes, to_bytes};
use lapwing_protocol::role::Provider;
use lapwing_protocol::role::provider::{SlotId, SlotLine, SlotUsage};
use lapwing_protocol::time::{Seconds, Time};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::commands::role::words::{exact, shown};
use crate::commands::role::{Failure, Hand, words};

/// Most slots of one series.
const MAX_SERIES: u32 = 1000;
/// Longest slot, in minutes.
const LONGEST: i64 = 1440;

/// A command to the slots.
#[derive(Subcommand, Serialize, Deserialize)]
pub(crate) enum Slots {
    /// Add one slot.
    Add(Add),
    /// Add slots one after the other: --every 15 minutes from one time to another, each day.
    Series(Series),
    /// List the slots.
    List(List),
    /// Take slots back; those that are booked stay.
    Remove(Remove),
}

/// One slot.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct Add {
    /// When it starts: 2027-01-31T09:30+01:00, or in UTC without an offset.
    start: String,
    /// How long it takes, in minutes.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=LONGEST))]
    minutes: u16,
    /// What is offered, such as the vaccine.
    #[arg(long)]
    what: String,
}

/// Several slots.
#[derive(Args, Serialize, Deserialize)]
#[command(after_help = "\
Example, five mornings of eight slots:
  lapwing provider slots series --from 2027-02-01T08:00+01:00 --to 2027-02-01T10:00+01:00 --every 15 \\
      --days 5 --what mRNA")]
pub(crate) struct Series {
    /// When the first one starts.
    #[arg(long)]
    from: String,
    /// When the last one of the day is over at the latest.
    #[arg(long)]
    to: String,
    /// Minutes from one start to the next; each slot is as long.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=LONGEST))]
    every: u16,
    /// On how many days in a row.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=120))]
    days: u32,
    /// How many at the same time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=50))]
    places: u32,
    /// What is offered, such as the vaccine.
    #[arg(long)]
    what: String,
}

/// Which slots.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct List {
    /// Those that are over or were removed, too, as long as they are kept: until their marks are set, and
    /// booked ones for a day.
    #[arg(long)]
    all: bool,
}

/// Which to take back.
#[derive(Args, Serialize, Deserialize)]
pub(crate) struct Remove {
    /// Their numbers, as `slots list` shows them.
    #[arg(required = true)]
    slots: Vec<u64>,
}

/// The number by which a slot is known on a command line: the one in its stored form.
pub(super) fn number(id: SlotId) -> u64 {
    from_bytes(&to_bytes(&id), 16).unwrap_or_default()
}

fn named(number: u64) -> Option<SlotId> {
    from_bytes(&to_bytes(&number), 16).ok()
}

impl Slots {
    pub(super) async fn perform(self, hand: &Hand<Provider>) -> Result<(), Failure> {
        match self {
            Slots::Add(add) => {
                let start = words::time(&add.start)?;
                added(hand, vec![(start, add.minutes)], &add.what).await
            }
            Slots::Series(series) => added(hand, series.starts()?, &series.what).await,
            Slots::List(which) => list(hand, which.all).await,
            Slots::Remove(which) => remove(hand, which.slots).await,
        }
    }
}

impl Series {
    fn starts(&self) -> Result<Vec<(Time, u16)>, Failure> {
        let (from, to) = (words::time(&self.from)?, words::time(&self.to)?);
        let every = Seconds::minutes(self.every.into());
        let length = to.get().saturating_sub(from.get());
        let a_day = length / u64::from(every.get());
        if a_day == 0 || length > u64::from(Seconds::DAY.get()) {
            return Err(Failure::Usage(anyhow!(
                "--to must be at least --every minutes after --from, and on the same day"
            )));
        }
        let all = a_day * u64::from(self.days) * u64::from(self.places);
        if all > u64::from(MAX_SERIES) {
            return Err(Failure::Usage(anyhow!(
                "that would be {all} slots: make several series of at most {MAX_SERIES}"
            )));
        }
        let mut starts = Vec::new();
        for day in 0..self.days {
            let mut start = from.plus(Seconds::days(day));
            for _ in 0..a_day {
                for _ in 0..self.places {
                    starts.push((start, self.every));
                }
                start = start.plus(every);
            }
        }
        Ok(starts)
    }
}

async fn added(hand: &Hand<Provider>, starts: Vec<(Time, u16)>, what: &str) -> Result<(), Failure> {
    let what = words::text("--what", what)?;
    let ids = hand
        .with(move |provider, now, rng| {
            let mut ids = Vec::new();
            for (start, minutes) in starts {
                match provider.add_slot(start, minutes, what.clone(), now, rng) {
                    Ok(id) => ids.push(id),
                    Err(error) => {
                        // All of them or none.
                        for id in ids {
                            let _free = provider.remove_slot(id);
                        }
                        return Err(Failure::Failed(anyhow!(
                            "the slot at {} cannot be added: {error}",
                            shown(start)
                        )));
                    }
                }
            }
            Ok(ids)
        })
        .await??;
    let numbers: Vec<u64> = ids.iter().map(|id| number(*id)).collect();
    let which = match numbers.as_slice() {
        [one] => format!("Slot {one} is"),
        [first, .., last] => format!("Slots {first} to {last} are"),
        [] => "No slot is".to_owned(),
    };
    hand.say(
        "slots_added",
        format!("{which} added; offered while `lapwing provider run` runs."),
        json!({ "slots": numbers }),
    );
    Ok(())
}

fn usage(usage: SlotUsage) -> &'static str {
    match usage {
        SlotUsage::Preparing => "preparing",
        SlotUsage::Free => "free",
        SlotUsage::Offered => "offered",
        SlotUsage::Booked => "booked",
        SlotUsage::Elsewhere => "elsewhere",
        SlotUsage::Removed => "removed",
    }
}

async fn list(hand: &Hand<Provider>, all: bool) -> Result<(), Failure> {
    let lines: Vec<SlotLine> = hand
        .with(move |provider, now, _| {
            let mut lines = provider.slots();
            lines.retain(|l| all || (l.start > now && l.usage != SlotUsage::Removed));
            lines.sort_by_key(|l| (l.start, l.id));
            lines
        })
        .await?;
    let text: Vec<String> = lines
        .iter()
        .map(|l| {
            format!(
                "{:>5}  {}  {:>3} min  {:<9}  {}",
                number(l.id),
                shown(l.start),
                l.minutes,
                usage(l.usage),
                l.what.as_str()
            )
        })
        .collect();
    let data: Vec<Value> = lines
        .iter()
        .map(|l| {
            json!({
                "slot": number(l.id), "start": exact(l.start), "minutes": l.minutes,
                "what": l.what.as_str(), "usage": usage(l.usage),
            })
        })
        .collect();
    let text = if text.is_empty() {
        "No slots. Next: `lapwing provider slots add TIME --what WHAT`.".to_owned()
    } else {
        text.join("\n")
    };
    hand.say("slots", text, json!({ "slots": data }));
    Ok(())
}

async fn remove(hand: &Hand<Provider>, slots: Vec<u64>) -> Result<(), Failure> {
    let removed = slots.clone();
    hand.with(move |provider, _, _| {
        for slot in &slots {
            let there =
                named(*slot).and_then(|id| provider.slots().into_iter().find(|l| l.id == id));
            let failed = match there.map(|l| l.usage) {
                None | Some(SlotUsage::Removed) => "there is no such slot",
                Some(SlotUsage::Booked) => "it is booked",
                Some(_) => continue,
            };
            return Err(Failure::Failed(anyhow!(
                "slot {slot}: {failed}; nothing was removed, see `lapwing provider slots list`"
            )));
        }
        for id in slots.iter().filter_map(|n| named(*n)) {
            provider
                .remove_slot(id)
                .map_err(|e| Failure::Failed(anyhow!("slot {}: {e}", number(id))))?;
        }
        Ok(())
    })
    .await??;
    hand.say(
        "slots_removed",
        "Removed; offers that hold them are answered with \"taken\".",
        json!({ "slots": removed }),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(from: &str, to: &str, every: u16, days: u32, places: u32) -> Series {
        Series {
            from: from.to_owned(),
            to: to.to_owned(),
            every,
            days,
            places,
            what: "x".to_owned(),
        }
    }

    #[test]
    fn a_series_fills_the_time_it_is_given() {
        let starts = series("2027-01-31 08:00", "2027-01-31 09:00", 25, 2, 2)
            .starts()
            .unwrap();
        let shown: Vec<String> = starts.iter().map(|(at, _)| shown(*at)).collect();
        assert_eq!(
            shown,
            [
                "2027-01-31 08:00 UTC",
                "2027-01-31 08:00 UTC",
                "2027-01-31 08:25 UTC",
                "2027-01-31 08:25 UTC",
                "2027-02-01 08:00 UTC",
                "2027-02-01 08:00 UTC",
                "2027-02-01 08:25 UTC",
                "2027-02-01 08:25 UTC",
            ]
        );
        for wrong in [
            series("2027-01-31 08:00", "2027-01-31 08:00", 5, 1, 1),
            series("2027-01-31 08:00", "2027-01-31 07:00", 5, 1, 1),
            series("2027-01-31 08:00", "2027-02-02 08:00", 5, 1, 1),
            series("2027-01-31 08:00", "2027-01-31 20:00", 1, 2, 1),
        ] {
            assert!(matches!(wrong.starts(), Err(Failure::Usage(_))));
        }
    }

    #[test]
    fn a_slot_keeps_its_number() {
        for n in [0, 7, u64::MAX] {
            assert_eq!(named(n).map(number), Some(n));
        }
    }
}
