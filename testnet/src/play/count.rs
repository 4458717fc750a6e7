//! What a run is judged by, counted when all is over: everything is read back and compared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::Context;
use lapwing_client::driver::Unheard;
use lapwing_client::http::Client;
use lapwing_protocol::id::{Priority, RecordId};
use lapwing_protocol::role::mediator::Mediator;
use lapwing_protocol::role::provider::{BookState, Provider};
use lapwing_protocol::role::user::{BookingStatus, SlotState, UserStatus};
use lapwing_protocol::role::{Role, User};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use super::hand::ByHand;
use super::person::Person;
use super::stage::Stage;
use super::tau::kendall;
use crate::audit::{self, Reader};
use crate::counts::Counts;

/// How long holders may take to hold the same once nobody writes any more.
const SETTLE: Duration = Duration::from_secs(30);
/// How many calls at a time read back at each node.
const LANES: usize = 6;
/// How many bookings are looked up at a time.
const LOOKS: usize = 12;

/// A person when all is over.
pub(super) struct Over {
    pub(super) person: Facts,
    pub(super) user: User,
}

/// What is kept of a person besides its role.
pub(super) struct Facts {
    pub(super) number: usize,
    pub(super) area: String,
    pub(super) email: String,
    pub(super) asked: Option<Zeroizing<Vec<u8>>>,
    pub(super) booked: Option<(RecordId, u8)>,
    pub(super) cancelled: u64,
    pub(super) reoffered: bool,
    pub(super) changed: u64,
    pub(super) first_offer: Option<Instant>,
    pub(super) priority: Option<(u32, Priority)>,
    pub(super) redrawn: bool,
}

impl Facts {
    pub(super) fn of(person: &Person) -> Self {
        Facts {
            number: person.number,
            area: person.area.clone(),
            email: person.data.email.as_str().to_owned(),
            asked: person.asked.clone(),
            booked: person.booked,
            cancelled: person.cancelled,
            reoffered: person.reoffered,
            changed: person.changed,
            first_offer: person.first_offer,
            priority: person.witness.place(),
            redrawn: person.redrawn,
        }
    }
}

/// All roles when all is over.
pub(super) struct Ended {
    pub(super) mediators: Vec<Mediator>,
    pub(super) providers: Vec<Provider>,
    pub(super) people: Vec<Over>,
}

/// Reads everything back, compares it, and counts.
pub(super) async fn count(stage: &Arc<Stage>, ended: &Ended) -> anyhow::Result<Counts> {
    let say = &stage.say;
    let entries = Arc::new(stage.ledger.read());
    let mut readers: Vec<Box<dyn Reader>> = Vec::new();
    for mediator in &ended.mediators {
        readers.push(audit::mediator(mediator)?);
    }
    for provider in &ended.providers {
        readers.push(audit::provider(provider)?);
    }
    for over in &ended.people {
        readers.push(audit::user(&over.user)?);
    }
    {
        let kept = stage.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for state in &kept.providers {
            readers.push(audit::provider(&Provider::restore(state)?)?);
        }
        for state in &kept.users {
            readers.push(audit::user(&User::restore(state)?)?);
        }
    }
    let lanes: Vec<Client> = (0..LANES).map(|_| stage.client()).collect();
    let begun = say.seconds();
    let audit = audit::read_back(&lanes, &stage.places, &entries, &mut readers).await?;
    say.line(
        "testnet",
        "",
        format!(
            "has read {} acknowledged writes back through every node ({:.1} s); {} more that no call reads back show in the bookings{}",
            audit.writes,
            say.seconds() - begun,
            entries.unreadable(),
            match audit.abandoned {
                0 => String::new(),
                n => format!("; {n} offers went to requests that were drawn anew"),
            },
        ),
    );
    for (node, missing) in &audit.missing {
        let list: Vec<String> = missing
            .iter()
            .map(|(what, n)| format!("{n} {what}"))
            .collect();
        say.bad(
            "testnet",
            stage.name(node),
            format!("lacks {}", list.join(", ")),
        );
    }
    let begun = say.seconds();
    let diverged = settle(stage).await;
    say.line(
        "testnet",
        "",
        format!(
            "compares holders: {diverged} pairs differ after {:.1} s",
            say.seconds() - begun
        ),
    );
    let lists = lists_at_nodes(stage, lanes.first().context("no client")?).await?;
    let probes: Vec<_> = {
        let mut net = stage.net.lock().await;
        net.check_alive()?;
        net.nodes().iter().map(crate::node::Node::probe).collect()
    };
    let mut running = 0;
    for probe in probes {
        running += u64::from(probe.status().await.is_ok());
    }
    let stands = UserStatus::Booking(BookingStatus::Confirmed);
    let confirmed: Vec<&Over> = ended
        .people
        .iter()
        .filter(|over| over.user.status() == stands)
        .collect();
    let admitted = ended.people.iter().filter(|over| {
        matches!(
            over.user.status(),
            UserStatus::Waiting | UserStatus::Booking(_)
        )
    });
    let facts: Vec<&Facts> = ended.people.iter().map(|over| &over.person).collect();
    let book = standing(&ended.providers);
    let bookings_confirmed = confirmed.len() as u64;
    let bookings_lost = lost(stage, confirmed, &book).await?;
    let progress = stage.tally.now();
    let (twice_in_a_slot, twice_a_person) = stage.bookings.twice();
    let sum = |of: fn(&Facts) -> u64| facts.iter().map(|f| of(f)).sum::<u64>();
    Ok(Counts {
        nodes: running,
        mediators: lists.mediators,
        providers: progress.certified,
        slots: progress.slots,
        users: admitted.count() as u64,
        postal_codes: lists.postal_codes,
        regions: lists.regions,
        tokens: entries.tokens.len() as u64,
        redrawn: progress.redrawn,
        requests: entries.admissions.len() as u64,
        claims: entries.claims,
        offers: progress.offers,
        bookings_confirmed,
        bookings_lost,
        double_bookings: twice_in_a_slot.max(double(&ended.providers)),
        token_multi_bookings: twice_a_person.max(progress.multi_bookings),
        cancelled: sum(|p| p.cancelled),
        reoffered: sum(|p| u64::from(p.reoffered)),
        changed: sum(|p| p.changed),
        token_reuse_attempts: progress.reuse_attempts,
        token_reuse_accepted: progress.reuse_accepted,
        revoked_provider_offers_shown: progress.revoked_shown,
        nodes_killed: progress.kills,
        acknowledged_writes: audit.writes,
        acknowledged_writes_lost: audit.lost,
        replicas_diverged: diverged,
        kendall_tau: (tau(&facts) * 1000.0).round() / 1000.0,
        seconds: (say.seconds() * 10.0).round() / 10.0,
    })
}

/// Waits until all holders hold the same, and gives how many pairs still differ.
async fn settle(stage: &Stage) -> u64 {
    let probes: Vec<_> = {
        let net = stage.net.lock().await;
        net.nodes().iter().map(crate::node::Node::probe).collect()
    };
    audit::settle(&probes, SETTLE).await
}

/// What is least in any node's lists.
#[derive(Clone, Copy)]
struct AtNodes {
    mediators: u64,
    regions: u64,
    postal_codes: u64,
}

async fn lists_at_nodes(stage: &Stage, client: &Client) -> anyhow::Result<AtNodes> {
    let mut least: Option<AtNodes> = None;
    for place in &stage.places {
        let view = audit::view_of(client, place, &stage.view).await?;
        let now = super::person::time();
        let in_force = view
            .mediators()
            .filter(|(_, m)| m.registered() && m.status().is_some_and(|s| now <= s.expires));
        let codes: BTreeSet<&str> = view
            .regions()
            .flat_map(|(_, r)| r.postal_codes.iter().map(|c| c.as_str()))
            .collect();
        let found = AtNodes {
            mediators: in_force.count() as u64,
            regions: view.regions().count() as u64,
            postal_codes: codes.len() as u64,
        };
        least = Some(least.map_or(found, |l| AtNodes {
            mediators: l.mediators.min(found.mediators),
            regions: l.regions.min(found.regions),
            postal_codes: l.postal_codes.min(found.postal_codes),
        }));
    }
    least.context("no node")
}

/// Who has how many standing bookings in the providers' books.
fn standing(providers: &[Provider]) -> BTreeMap<String, u64> {
    let mut book = BTreeMap::new();
    for (_, line) in providers.iter().flat_map(Provider::bookings) {
        if line.state == BookState::Confirmed {
            *book.entry(line.data.email.as_str().to_owned()).or_default() += 1;
        }
    }
    book
}

/// Slots that stand in a book more than once.
fn double(providers: &[Provider]) -> u64 {
    let mut count: BTreeMap<(usize, _), u64> = BTreeMap::new();
    for (n, provider) in providers.iter().enumerate() {
        for (_, line) in provider.bookings() {
            if line.state == BookState::Confirmed {
                *count.entry((n, line.slot)).or_default() += 1;
            }
        }
    }
    count.values().filter(|n| **n > 1).count() as u64
}

/// How many confirmations cannot be found again: in the provider's book exactly once; and, by an app
/// with the state that it had when it asked, through another node than its own, from the letters and
/// the mark that are there.
async fn lost(
    stage: &Arc<Stage>,
    confirmed: Vec<&Over>,
    book: &BTreeMap<String, u64>,
) -> anyhow::Result<u64> {
    let mut lost = 0;
    let mut looks: JoinSet<(usize, bool)> = JoinSet::new();
    for over in confirmed {
        let (fact, user) = (&over.person, &over.user);
        if book.get(&fact.email) != Some(&1) {
            stage.say.bad(
                &format!("user {}", fact.number + 1),
                "",
                "its booking is not once in a book",
            );
            lost += 1;
            continue;
        }
        let (Some(state), Some((offer, slot))) = (&fact.asked, fact.booked) else {
            stage.say.bad(
                &format!("user {}", fact.number + 1),
                "",
                "nothing is left of how it asked",
            );
            lost += 1;
            continue;
        };
        if looks.len() >= LOOKS
            && let Some(done) = looks.join_next().await
        {
            lost += tell(stage, done?);
        }
        let mut before = User::restore(state)?;
        before.set_view(user.view().clone())?;
        let hand = ByHand {
            user: before,
            client: stage.client(),
            rng: stage.seeds.stream("look", fact.number as u64),
            ledger: Arc::new(Unheard),
        };
        let place = stage
            .place(stage.place_number(&user.node()) + 1)
            .context("no node")?
            .clone();
        let number = fact.number;
        looks.spawn(async move {
            let mut hand = hand;
            let found = hand.read(&place, |u| stands(u, &offer, slot)).await;
            (number, found)
        });
    }
    while let Some(done) = looks.join_next().await {
        lost += tell(stage, done?);
    }
    Ok(lost)
}

fn tell(stage: &Stage, (number, found): (usize, bool)) -> u64 {
    if !found {
        stage.say.bad(
            &format!("user {}", number + 1),
            "",
            "its confirmation or mark is not found through another node",
        );
    }
    u64::from(!found)
}

/// Whether an app holds the confirmation for a slot, and reads its mark as taken.
fn stands(user: &User, offer: &RecordId, slot: u8) -> bool {
    let confirmed = user.status() == UserStatus::Booking(BookingStatus::Confirmed);
    let taken = user.offer(offer).is_some_and(|o| {
        o.slots
            .iter()
            .any(|s| s.index == slot && s.state == SlotState::Taken)
    });
    let booked = user
        .booking()
        .is_some_and(|b| b.offer == *offer && b.slot == slot);
    confirmed && taken && booked
}

/// For each area the order of first offers against the order of (epoch, P), mean over the areas. Users
/// who drew anew are left out: their app did not answer meanwhile.
fn tau(people: &[&Facts]) -> f64 {
    let mut areas: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for person in people.iter().filter(|p| !p.redrawn) {
        if let (Some((epoch, priority)), Some(first)) = (person.priority, person.first_offer) {
            let pair = ((epoch, *priority.as_bytes()), first);
            areas.entry(person.area.as_str()).or_default().push(pair);
        }
    }
    let taus: Vec<f64> = areas.values().filter_map(|pairs| kendall(pairs)).collect();
    if taus.is_empty() {
        return 0.0;
    }
    taus.iter().sum::<f64>() / taus.len() as f64
}

/// Waits until every node is connected with every other again.
pub(super) async fn quiet(stage: &Stage) -> anyhow::Result<()> {
    // Roles have stopped; what they wrote last is on its way.
    sleep(Duration::from_millis(200)).await;
    stage.net.lock().await.wait_met().await?;
    Ok(())
}
