//! What the demo counts: everything is read back and compared; nothing is taken from what was played.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lapwing_protocol::id::{MediatorId, NodeId};
use lapwing_protocol::mailbox::Writers;
use lapwing_protocol::mediation::RegionList;
use lapwing_protocol::role::provider::{BookState, Provider};
use lapwing_protocol::role::user::{BookingStatus, UserStatus};
use lapwing_protocol::role::{Role, User};
use lapwing_protocol::token::UserData;

use super::acts::{Ended, Stage};
use crate::audit::{self, Audit, Reader};
use crate::clients;
use crate::report::Counts;
use lapwing_client::http::Client;

/// How long holders may take to hold the same once nobody writes any more.
const SETTLE: Duration = Duration::from_secs(30);

/// Reads everything back, compares it, and counts.
pub(super) async fn count(
    stage: &mut Stage,
    ended: Ended,
    providers: u64,
    users: u64,
) -> anyhow::Result<Counts> {
    let say = stage.say.clone();
    stage.net.wait_met().await?;
    let entries = stage.ledger.read();
    let mut readers: Vec<Box<dyn Reader>> = vec![audit::reader(&ended.mediator)?];
    for provider in &ended.providers {
        readers.push(audit::reader(provider)?);
    }
    for (_, user) in &ended.users {
        readers.push(audit::reader(user)?);
    }
    stage.clients += 1;
    let client = clients::numbered(stage.clients);
    let audit = audit::read_back(&client, &stage.places, &entries, &mut readers).await?;
    say.line(
        "testnet",
        "",
        format!(
            "reads {} acknowledged writes back through every node",
            audit.writes
        ),
    );
    for (node, missing) in &audit.missing {
        let list: Vec<String> = missing
            .iter()
            .map(|(what, n)| format!("{n} {what}"))
            .collect();
        say.bad(
            "testnet",
            stage.net.name_of(node),
            format!("lacks {}", list.join(", ")),
        );
    }
    let begun = say.seconds();
    let diverged = audit::settle(&stage.net, SETTLE).await;
    say.line(
        "testnet",
        "",
        format!(
            "compares holders: {diverged} pairs differ after {:.1} s",
            say.seconds() - begun
        ),
    );
    let (regions, postal_codes) = regions_at_nodes(stage, &client, ended.mediator.id()).await?;
    let mut running = 0;
    for n in 0..stage.places.len() {
        running += u64::from(stage.net.node(n)?.status().await.is_ok());
    }
    stage.net.check_alive()?;
    let stands = UserStatus::Booking(BookingStatus::Confirmed);
    let confirmed: Vec<_> = ended
        .users
        .iter()
        .filter(|(_, user)| user.status() == stands)
        .collect();
    let book = standing(&ended.providers);
    let lost = confirmed
        .iter()
        .filter(|(data, user)| !holds(data, user, stage, &book, &audit))
        .count() as u64;
    table(stage, &ended, &book).await?;
    Ok(Counts {
        nodes: running,
        regions,
        postal_codes,
        providers,
        users,
        bookings_confirmed: confirmed.len() as u64,
        bookings_lost: lost,
        double_bookings: double(&ended.providers),
        nodes_killed: stage.killed,
        acknowledged_writes: audit.writes,
        acknowledged_writes_lost: audit.lost,
        replicas_diverged: diverged,
        seconds: (say.seconds() * 10.0).round() / 10.0,
    })
}

/// How many regions and postal codes every node's list has: the least of any.
async fn regions_at_nodes(
    stage: &Stage,
    client: &Client,
    mediator: MediatorId,
) -> anyhow::Result<(u64, u64)> {
    let empty = stage.view()?;
    let mut least: Option<(u64, u64)> = None;
    for place in &stage.places {
        let view = audit::view_of(client, place, &empty).await?;
        let list: Option<&RegionList> = view
            .mediator(&mediator)
            .and_then(|m| m.regions())
            .map(|l| &**l);
        let regions = list.map_or(0, |l| l.regions.len() as u64);
        let codes: BTreeSet<&str> = list
            .into_iter()
            .flat_map(|l| l.regions.iter())
            .flat_map(|r| r.postal_codes.iter().map(|c| c.as_str()))
            .collect();
        let found = (regions, codes.len() as u64);
        least = Some(least.map_or(found, |l| l.min(found)));
    }
    Ok(least.unwrap_or_default())
}

/// Who has a standing booking in the providers' books.
fn standing(providers: &[Provider]) -> Vec<UserData> {
    let lines = providers.iter().flat_map(Provider::bookings);
    lines
        .filter(|(_, line)| line.state == BookState::Confirmed)
        .map(|(_, line)| line.data.clone())
        .collect()
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

/// Whether a confirmed booking is in a provider's book exactly once, and a letter of the provider is in
/// the user's channel at every node.
fn holds(data: &UserData, user: &User, stage: &Stage, book: &[UserData], audit: &Audit) -> bool {
    let booked = book.iter().filter(|booked| *booked == data).count() == 1;
    let channels: Vec<_> = user
        .watching()
        .into_iter()
        .filter(|m| matches!(m.writers, Writers::Keys(_)))
        .map(|m| m.id())
        .collect();
    let at = |node: NodeId| {
        channels.iter().any(|id| {
            audit
                .mailboxes
                .get(&(node, *id))
                .is_some_and(|found| !found.is_empty())
        })
    };
    booked && stage.places.iter().all(|p| at(p.id))
}

async fn table(stage: &Stage, ended: &Ended, book: &[UserData]) -> anyhow::Result<()> {
    let say = &stage.say;
    say.plain("");
    let text = |s: &str| s.to_owned();
    let mut rows = vec![vec![
        text("provider"),
        text("slots"),
        text("offers open"),
        text("booked"),
        text("cancelled"),
    ]];
    for (n, provider) in ended.providers.iter().enumerate() {
        let lines = provider.bookings();
        let of = |state| {
            lines
                .iter()
                .filter(|(_, l)| l.state == state)
                .count()
                .to_string()
        };
        rows.push(vec![
            format!("provider {}", n + 1),
            provider.slots().len().to_string(),
            provider.open_offers().to_string(),
            of(BookState::Confirmed),
            of(BookState::Cancelled),
        ]);
    }
    say.table(&rows);
    say.plain("");
    let head = [
        "node", "peers", "items", "requests", "healed", "disk", "API",
    ];
    let mut rows = vec![head.iter().map(|h| text(h)).collect::<Vec<_>>()];
    for node in stage.net.nodes() {
        let status = node.status().await?;
        rows.push(vec![
            node.name().to_owned(),
            status.peers.len().to_string(),
            status.number("items").to_string(),
            status.number("requests").to_string(),
            status.number("healed").to_string(),
            status
                .store_bytes
                .map_or_else(String::new, |b| format!("{} KiB", b / 1024)),
            format!("http://{}", node.api()),
        ]);
    }
    say.table(&rows);
    say.plain("");
    let moved = ended.moves;
    say.plain(format!(
        "{} bookings stand; roles moved on to another node {moved} times.",
        book.len()
    ));
    say.plain("");
    Ok(())
}
