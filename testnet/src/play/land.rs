//! Which areas a mediator publishes, and which of them each group of providers serves.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use lapwing_protocol::bounded::Text;
use lapwing_protocol::role::mediator::RegionPlan;
use serde::Deserialize;

use crate::scenario::{MediatorPlan, Scenario};

/// The areas of the country.
const REGION_FILE: &str = include_str!("../../../configs/regions/regions-de.toml");

/// One area of the region file.
#[derive(Clone, Debug, Deserialize)]
pub struct Area {
    /// What it is called.
    pub name: String,
    /// The first three digits of its postal codes.
    pub area: String,
    /// Its postal codes.
    pub postal_codes: Vec<String>,
}

/// A closed group of providers: whom it applies to, and where it works.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its mediator, by number.
    pub mediator: usize,
    /// Its areas.
    pub areas: Vec<Area>,
}

/// The whole country as a scenario parts it.
#[derive(Clone, Debug)]
pub struct Land {
    /// By mediator: what it publishes.
    pub plans: Vec<Vec<RegionPlan>>,
    /// The groups.
    pub groups: Vec<Group>,
}

/// All areas of the region file.
///
/// # Errors
/// When the file is damaged.
pub fn areas() -> anyhow::Result<Vec<Area>> {
    #[derive(Deserialize)]
    struct File {
        region: Vec<Area>,
    }
    let file: File = toml::from_str(REGION_FILE).context("the region file is damaged")?;
    Ok(file.region)
}

/// An area as a mediator publishes it.
///
/// # Errors
/// When a text is longer than a record allows.
pub fn plan(area: &Area) -> anyhow::Result<RegionPlan> {
    Ok(RegionPlan {
        name: Text::try_from(area.name.as_str())?,
        criteria: vec![(Text::try_from("area")?, Text::try_from(area.area.as_str())?)],
        postal_codes: codes(area)?,
    })
}

fn codes(area: &Area) -> anyhow::Result<Vec<Text<10>>> {
    let codes = area.postal_codes.iter();
    Ok(codes
        .map(|c| Text::try_from(c.as_str()))
        .collect::<Result<_, _>>()?)
}

impl Land {
    /// Parts the country.
    ///
    /// # Errors
    /// When a mediator has not as many areas as its groups of providers need, or an extra region names
    /// an area that it does not serve.
    pub fn of(scenario: &Scenario) -> anyhow::Result<Self> {
        let all = areas()?;
        let mediators = scenario.mediators.len();
        let mut groups: Vec<Option<Group>> = vec![None; scenario.providers.groups];
        let mut plans = Vec::new();
        for (number, mediator) in scenario.mediators.iter().enumerate() {
            let mine: Vec<usize> = (0..scenario.providers.groups)
                .filter(|g| g % mediators == number)
                .collect();
            let needed = mine.len() * scenario.providers.areas;
            let list = in_order(&all, mediator, needed);
            ensure!(
                list.len() >= needed,
                "{} has {} areas, its providers need {needed}: name more prefixes or more areas",
                mediator.name.as_str(),
                list.len()
            );
            // The last group first: the areas that a scenario names lie with providers that stay.
            let served = list.chunks(scenario.providers.areas.max(1));
            for (group, areas) in mine.iter().rev().zip(served) {
                if let Some(place) = groups.get_mut(*group) {
                    *place = Some(Group {
                        mediator: number,
                        areas: areas.iter().map(|a| (*a).clone()).collect(),
                    });
                }
            }
            plans.push(published(&list, mediator, needed)?);
        }
        let groups: Vec<Group> = groups.into_iter().flatten().collect();
        Ok(Land { plans, groups })
    }
}

/// The areas that a mediator may serve: first those that it names, then those that lie evenly spread
/// over all of them, then the rest.
fn in_order<'a>(all: &'a [Area], mediator: &MediatorPlan, needed: usize) -> Vec<&'a Area> {
    let within = |a: &Area| {
        let mut prefixes = mediator.prefixes.iter();
        prefixes.any(|p| a.area.starts_with(p.as_str()))
    };
    let mine: Vec<&Area> = all.iter().filter(|a| within(a)).collect();
    let named: BTreeSet<&str> = mediator.extra.iter().map(|e| e.area.as_str()).collect();
    let step = (mine.len() / needed.max(1)).max(1);
    let named = mine.iter().filter(|a| named.contains(a.area.as_str()));
    let spread = mine.iter().step_by(step);
    let mut seen = BTreeSet::new();
    named
        .chain(spread)
        .chain(mine.iter())
        .filter(|a| seen.insert(a.area.as_str()))
        .copied()
        .collect()
}

fn published(
    list: &[&Area],
    mediator: &MediatorPlan,
    needed: usize,
) -> anyhow::Result<Vec<RegionPlan>> {
    let count = mediator.areas.unwrap_or(list.len()).max(needed);
    let mut plans: Vec<RegionPlan> = list
        .iter()
        .take(count)
        .map(|a| plan(a))
        .collect::<anyhow::Result<_>>()?;
    for extra in &mediator.extra {
        let area = list.iter().find(|a| a.area == extra.area.as_str());
        let area = area.with_context(|| {
            format!(
                "{} has no area {} for \"{}\"",
                mediator.name.as_str(),
                extra.area.as_str(),
                extra.name.as_str()
            )
        })?;
        let mut criteria = plan(area)?.criteria;
        criteria.extend(extra.criteria.iter().cloned());
        plans.push(RegionPlan {
            name: extra.name.clone(),
            criteria,
            postal_codes: codes(area)?,
        });
    }
    Ok(plans)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::DAY;

    #[test]
    fn the_day_has_every_area_once_and_two_more_regions() {
        let scenario = Scenario::parse(DAY).unwrap();
        let land = Land::of(&scenario).unwrap();
        let plans: Vec<&RegionPlan> = land.plans.iter().flatten().collect();
        assert_eq!(plans.len(), 673);
        let codes: BTreeSet<&str> = plans
            .iter()
            .flat_map(|p| p.postal_codes.iter().map(|c| c.as_str()))
            .collect();
        assert_eq!(codes.len(), 8168);
        assert_eq!(plans.iter().filter(|p| p.criteria.len() == 2).count(), 2);
        assert_eq!(land.groups.len(), 10);
        let served: Vec<&str> = land
            .groups
            .iter()
            .flat_map(|g| g.areas.iter().map(|a| a.area.as_str()))
            .collect();
        assert_eq!(served.len(), 40);
        assert_eq!(served.iter().collect::<BTreeSet<_>>().len(), 40);
        assert!(
            !land.groups[0].areas.iter().any(|a| a.area == "101"),
            "its provider is revoked"
        );
        assert!(served.contains(&"101"));
    }

    #[test]
    fn too_few_areas_are_said() {
        let text = DAY.replace(
            "prefixes = [\"5\", \"6\", \"7\", \"8\", \"9\"]",
            "prefixes = [\"50\"]",
        );
        let scenario = Scenario::parse(&text).unwrap();
        let error = Land::of(&scenario).unwrap_err().to_string();
        assert!(error.contains("its providers need 20"), "{error}");
    }
}
