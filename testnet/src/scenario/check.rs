//! Whether the numbers of a scenario fit together.

use std::collections::BTreeSet;
use std::time::Duration;

use lapwing_protocol::bounded::Text;

use super::raw::{self, Raw, Verb};
use super::{
    Act, At, ExtraRegion, Fault, MediatorPlan, ProvidersPlan, Revocation, Scenario, UsersPlan,
};

/// What does not fit in a scenario.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// A number is outside its bounds.
    #[error("{field} is {found}: it must be from {min} to {max}")]
    Bounds {
        /// The field.
        field: &'static str,
        /// What was found.
        found: u64,
        /// The least it may be.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A text is longer than its record allows.
    #[error("{field}: \"{text}\" is too long")]
    TooLong {
        /// The field.
        field: &'static str,
        /// What was found.
        text: String,
    },
    /// A fault names no node, or names some where none belong.
    #[error("fault {number}: {what}")]
    Fault {
        /// Which, from one.
        number: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// More users do something special than there are.
    #[error(
        "{special} users do something besides booking, and only {users} may: those of the group of the revoked provider just book"
    )]
    TooMany {
        /// How many.
        special: usize,
        /// How many there are for it.
        users: usize,
    },
    /// There are not slots enough for everybody.
    #[error(
        "{users} users of a group share {slots} slots of providers that stay: not everybody can be served"
    )]
    Slots {
        /// Users of the group.
        users: usize,
        /// Slots in it.
        slots: usize,
    },
    /// Some behaviour needs what the scenario has not.
    #[error("{what}")]
    Needs {
        /// What it needs.
        what: &'static str,
    },
}

pub(super) fn checked(raw: Raw) -> Result<Scenario, Wrong> {
    let nodes = within("federation.nodes", raw.federation.nodes, 1, 64)?;
    within("mediators", raw.mediators.len(), 1, 16)?;
    let mediators = raw
        .mediators
        .into_iter()
        .map(mediator)
        .collect::<Result<Vec<_>, _>>()?;
    let providers = providers(&raw.providers)?;
    let revocation = raw.revocation.map(|r| Revocation {
        after_offers: r.after_offers,
    });
    let users = users(&raw.users, &providers, revocation.is_some())?;
    let faults = raw
        .faults
        .iter()
        .zip(1..)
        .map(|(f, number)| fault(f, number, nodes))
        .collect::<Result<Vec<_>, _>>()?;
    let scenario = Scenario {
        name: text("name", &raw.name)?,
        nodes,
        token_work: bits("federation.token_work", raw.federation.token_work, 8)?,
        box_work: bits("federation.box_work", raw.federation.box_work, 10)?,
        mediators,
        providers,
        users,
        revocation,
        faults,
        patience: Duration::from_secs(within("patience", raw.patience.unwrap_or(300), 1, 3600)?),
    };
    if scenario.users.at_killed > 0 && (scenario.doomed().is_none() || nodes < 3) {
        return Err(Wrong::Needs {
            what: "users.at_killed needs a fault that kills a node, and three nodes",
        });
    }
    if scenario.users.double_upload > 0 && nodes < 2 {
        return Err(Wrong::Needs {
            what: "users.double_upload needs two nodes",
        });
    }
    Ok(scenario)
}

fn within<T: Copy + TryInto<u64>>(
    field: &'static str,
    found: T,
    min: u64,
    max: u64,
) -> Result<T, Wrong> {
    let n = found.try_into().unwrap_or(u64::MAX);
    if (min..=max).contains(&n) {
        Ok(found)
    } else {
        Err(Wrong::Bounds {
            field,
            found: n,
            min,
            max,
        })
    }
}

fn bits(field: &'static str, found: Option<u8>, default: u8) -> Result<u8, Wrong> {
    within(field, found.unwrap_or(default), 0, 24)
}

fn text<const MAX: usize>(field: &'static str, text: &str) -> Result<Text<MAX>, Wrong> {
    Text::try_from(text).map_err(|_| Wrong::TooLong {
        field,
        text: text.to_owned(),
    })
}

fn mediator(raw: raw::Mediator) -> Result<MediatorPlan, Wrong> {
    within("mediators.prefixes", raw.prefixes.len(), 1, 1024)?;
    let extra = raw.extra.iter().map(|e| {
        let criteria = e
            .criteria
            .iter()
            .map(|(k, v)| Ok((text("criteria", k)?, text("criteria", v)?)));
        Ok(ExtraRegion {
            area: text("mediators.extra.area", &e.area)?,
            name: text("mediators.extra.name", &e.name)?,
            criteria: criteria.collect::<Result<_, Wrong>>()?,
        })
    });
    Ok(MediatorPlan {
        name: text("mediators.name", &raw.name)?,
        prefixes: raw
            .prefixes
            .iter()
            .map(|p| text("mediators.prefixes", p))
            .collect::<Result<_, _>>()?,
        areas: raw.areas,
        extra: extra.collect::<Result<_, Wrong>>()?,
    })
}

fn providers(raw: &raw::Providers) -> Result<ProvidersPlan, Wrong> {
    Ok(ProvidersPlan {
        groups: within("providers.groups", raw.groups, 1, 128)?,
        per_group: within("providers.per_group", raw.per_group, 1, 16)?,
        areas: within("providers.areas", raw.areas, 1, 16)?,
        slots: within("providers.slots", raw.slots, 1, 64)?,
        per_slot: within("providers.per_slot", raw.per_slot, 1, 8)?,
    })
}

fn users(raw: &raw::Users, providers: &ProvidersPlan, revoked: bool) -> Result<UsersPlan, Wrong> {
    let count = within("users.count", raw.count, 1, 10_000)?;
    let even = count.div_ceil(providers.groups);
    let in_revoked_group = if revoked {
        raw.in_revoked_group.unwrap_or(even).min(count)
    } else {
        0
    };
    let mut users = UsersPlan {
        count,
        in_revoked_group,
        in_last_group: 0,
        cancel: raw.cancel,
        cancel_again: raw.cancel_again,
        change: raw.change,
        double_upload: raw.double_upload,
        double_accept: raw.double_accept,
        at_killed: raw.at_killed,
    };
    let slots = providers.slots as usize;
    if revoked {
        let stay = slots * (providers.per_group - 1);
        if in_revoked_group > stay {
            return Err(Wrong::Slots {
                users: in_revoked_group,
                slots: stay,
            });
        }
    }
    let (rest, groups) = if revoked {
        (count - in_revoked_group, providers.groups - 1)
    } else {
        (count, providers.groups)
    };
    // Fewer than one provider has slots, where somebody must find one left.
    let roomy = slots.saturating_sub(1);
    let share = rest.div_ceil(groups.max(1));
    users.in_last_group = if users.need_room() > 0 {
        share.min(roomy)
    } else {
        rest / groups.max(1)
    };
    let share = match groups {
        0 | 1 => rest,
        _ => (rest - users.in_last_group).div_ceil(groups - 1),
    };
    let there = slots * providers.per_group;
    if share > there || (groups == 0 && rest > 0) {
        return Err(Wrong::Slots {
            users: share,
            slots: there,
        });
    }
    if users.need_room() > users.in_last_group || (groups == 1 && rest > users.in_last_group) {
        return Err(Wrong::Needs {
            what: "users.change and users.double_accept need fewer users in the last group than each of its providers has slots",
        });
    }
    if users.special() > rest {
        return Err(Wrong::TooMany {
            special: users.special(),
            users: rest,
        });
    }
    if users.double_accept > 0 && providers.per_group < 2 {
        return Err(Wrong::Needs {
            what: "users.double_accept needs two providers in a group",
        });
    }
    Ok(users)
}

fn fault(raw: &raw::Fault, number: usize, nodes: usize) -> Result<Fault, Wrong> {
    let wrong = |what| Wrong::Fault { number, what };
    let place = |n: usize| match n.checked_sub(1).filter(|n| *n < nodes) {
        Some(n) => Ok(n),
        None => Err(wrong("there is no node of that number")),
    };
    let one = || {
        let n = raw.node.ok_or(wrong("it needs `node = N`"))?;
        if raw.nodes.is_some() {
            return Err(wrong("it takes `node`, not `nodes`"));
        }
        place(n)
    };
    let act = match raw.act {
        Verb::Kill => Act::Kill(one()?),
        Verb::Stop => Act::Stop(one()?),
        Verb::Restart => Act::Restart(one()?),
        Verb::Pause => Act::Pause(one()?),
        Verb::Resume => Act::Resume(one()?),
        Verb::Partition => {
            let named = raw
                .nodes
                .as_ref()
                .ok_or(wrong("it needs `nodes = [N, …]`"))?;
            let cut = named
                .iter()
                .map(|n| place(*n))
                .collect::<Result<BTreeSet<_>, _>>()?;
            if cut.is_empty() || cut.len() >= nodes {
                return Err(wrong("a partition needs nodes on both sides"));
            }
            Act::Partition(cut.into_iter().collect())
        }
        Verb::Heal => {
            if raw.node.is_some() || raw.nodes.is_some() {
                return Err(wrong("healing ends every partition and names no node"));
            }
            Act::Heal
        }
    };
    if let At::Seconds(s) | At::After(s) = raw.at
        && !(s.is_finite() && (0.0..=3600.0).contains(&s))
    {
        return Err(wrong("it happens within an hour"));
    }
    Ok(Fault { at: raw.at, act })
}
