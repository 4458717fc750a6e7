//! Finds the region that somebody asks for.

use anyhow::anyhow;
use lapwing_protocol::id::RegionId;
use lapwing_protocol::mediation::Region;
use lapwing_protocol::trust::TrustView;

use super::Ask;
use crate::commands::role::{Failure, words};

/// How many regions an error names.
const NAMED: usize = 8;

/// The region asked for, with its name.
///
/// # Errors
/// [`Failure::Failed`] where there is none, [`Failure::Usage`] where there are several.
pub(super) fn find(
    view: &TrustView,
    ask: &Ask,
    wishes: &[(String, String)],
) -> Result<(RegionId, String), Failure> {
    let mut found: Vec<&Region> = view
        .regions()
        .map(|(_, region)| region)
        .filter(|r| covers(r, ask.postal_code.as_deref()))
        .filter(|r| named(r, ask.region.as_deref()))
        .collect();
    if found.is_empty() {
        return Err(nothing(ask));
    }
    found.retain(|r| fits(r, wishes));
    match found.as_slice() {
        [] => Err(anyhow!("no region there is for these wishes: leave one out").into()),
        [one] => Ok((one.id, title(one))),
        several => Err(Failure::Usage(anyhow!(
            "{} regions fit: say which with --region, or with a wish: {}{}",
            several.len(),
            several
                .iter()
                .take(NAMED)
                .map(|r| format!("{} ({})", title(r), words::short(&r.id)))
                .collect::<Vec<_>>()
                .join("; "),
            if several.len() > NAMED { "; …" } else { "" }
        ))),
    }
}

fn nothing(ask: &Ask) -> Failure {
    let place = match (&ask.postal_code, &ask.region) {
        (Some(code), None) => format!("no region has the postal code {code:?}"),
        (Some(code), Some(name)) => {
            format!("no region called {name:?} has the postal code {code:?}")
        }
        (None, name) => format!("no region is called {:?}", name.as_deref().unwrap_or("")),
    };
    Failure::Failed(anyhow!(
        "{place}: no mediator of this federation serves it; check it, or try another"
    ))
}

/// Name and criteria.
pub(super) fn title(region: &Region) -> String {
    let criteria: Vec<String> = region
        .criteria
        .iter()
        .map(|(key, value)| format!("{}={}", key.as_str(), value.as_str()))
        .collect();
    if criteria.is_empty() {
        region.name.as_str().to_owned()
    } else {
        format!("{} [{}]", region.name.as_str(), criteria.join(", "))
    }
}

fn covers(region: &Region, code: Option<&str>) -> bool {
    code.is_none_or(|code| region.postal_codes.iter().any(|c| c.as_str() == code))
}

fn named(region: &Region, name: Option<&str>) -> bool {
    name.is_none_or(|name| {
        let wanted = name.to_lowercase();
        region.name.as_str().to_lowercase() == wanted
            || (wanted.len() >= 4 && region.id.to_hex().starts_with(&wanted))
    })
}

/// Whether no wish contradicts a region's criteria.
fn fits(region: &Region, wishes: &[(String, String)]) -> bool {
    region.criteria.iter().all(|(key, value)| {
        wishes
            .iter()
            .all(|(k, v)| k != key.as_str() || v == value.as_str())
    })
}
