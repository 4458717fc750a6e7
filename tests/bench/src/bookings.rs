//! How long a booking takes from the request to the confirmation, over its durable writes made bare, one
//! after the other, at the same nodes.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use lapwing_client::driver::{Acknowledged, Handle, Remote};
use lapwing_client::http::{Ask, Client};
use lapwing_protocol::client::{Answer, Call, CallKind};
use lapwing_protocol::codec::from_bytes;
use lapwing_protocol::cose::sign;
use lapwing_protocol::id::RegionId;
use lapwing_protocol::key::SigningKey;
use lapwing_protocol::mailbox::{
    BlobWrite, Life, Mark, MarkState, MarkValue, NO_BOOKING, OpenOrder, Payment, Place, WriteAuth,
};
use lapwing_protocol::role::{Provider, User, UserEvent};
use lapwing_testnet::clients;
use rand_core::Rng;
use tokio::time::sleep;

use crate::cast::{self, REGIONS, wait};
use crate::mediator::fit;
use crate::orders;
use crate::report::{Bound, Rounds, Row};
use crate::stage::{Stage, now};

/// Bookings before the measured ones.
const WARM_UP: u64 = 3;
/// Slots beyond those that are booked: offers hold some for a while.
const SPARE: u64 = 32;
/// How long a provider is left to end what a booking set off.
const REST: Duration = Duration::from_millis(100);

/// Counts the durable writes that nodes acknowledge, by size.
#[derive(Debug, Default)]
struct Counting {
    /// With a blob of 4 KiB.
    large: AtomicU64,
    /// With a record of some hundred bytes.
    small: AtomicU64,
}

/// How many durable writes of each size a call is: large, small.
fn weight(call: &Call) -> (u64, u64) {
    match call.kind() {
        CallKind::Read | CallKind::ReadMarks | CallKind::Challenge | CallKind::Publish => (0, 0),
        // Its admission, then the request with it.
        CallKind::Request => (1, 1),
        CallKind::Write => {
            let write = from_bytes::<BlobWrite>(call.body(), CallKind::Write.max_body());
            // An offer, then the spend of its ticket.
            match write.map(|w| w.auth) {
                Ok(WriteAuth::Ticket(_)) => (1, 1),
                _ => (1, 0),
            }
        }
        CallKind::Token
        | CallKind::Open
        | CallKind::Delete
        | CallKind::SetMark
        | CallKind::Claim
        | CallKind::Lock
        | CallKind::Release
        | CallKind::Relist => (0, 1),
    }
}

impl Acknowledged for Counting {
    fn acknowledged(&self, call: &Call, _: &Answer) {
        let (large, small) = weight(call);
        self.large.fetch_add(large, Ordering::Relaxed);
        self.small.fetch_add(small, Ordering::Relaxed);
    }
}

impl Counting {
    fn take(&self) -> (u64, u64) {
        let take = |n: &AtomicU64| n.swap(0, Ordering::Relaxed);
        (take(&self.large), take(&self.small))
    }
}

/// Writes one after the other, each acknowledged by two of five nodes.
struct Bare {
    client: Client,
    mark: Mark,
    key: SigningKey,
    version: u64,
}

impl Bare {
    async fn open(stage: &mut Stage) -> anyhow::Result<Self> {
        let mut rng = stage.seeds.stream("bare mark", 0);
        let key = SigningKey::generate(&mut rng);
        let mut nonce = [0; 16];
        rng.fill_bytes(&mut nonce);
        let mark = Mark {
            key: key.verifying_key(),
            life: Life::Days14,
            day: stage.now.day(),
            nonce,
        };
        let order = OpenOrder {
            node: stage.net.node(0)?.id(),
            payment: Payment::Mediator(stage.mediator.certificate()),
            places: fit(vec![Place::Mark(mark.clone())])?,
            time: now()?,
        };
        let order = sign(&order, stage.mediator.signing());
        stage.post(0, CallKind::Open, order).await?;
        Ok(Bare {
            client: clients::from(Ipv4Addr::new(127, 251, 1, 1)),
            mark,
            key,
            version: 0,
        })
    }

    /// Makes so many writes at the `n`th node; gives how long they take, in milliseconds.
    async fn writes(
        &mut self,
        stage: &mut Stage,
        n: usize,
        (large, small): (u64, u64),
    ) -> anyhow::Result<f64> {
        let first = stage.open_for_writes(large).await?;
        let (seeds, day) = (stage.seeds, stage.now.day());
        let mut channel = None;
        let mut calls: Vec<(CallKind, Vec<u8>)> = (first..first + large)
            .map(|n| (CallKind::Write, orders::write(seeds, n, day, &mut channel)))
            .collect();
        for _ in 0..small {
            self.version += 1;
            let state = MarkState {
                mark: self.mark.clone(),
                version: self.version,
                value: MarkValue::Open,
                by: NO_BOOKING,
            };
            calls.push((CallKind::SetMark, sign(&state, &self.key)));
        }
        let node = stage.net.node(n)?.api();
        let begun = Instant::now();
        for (kind, body) in calls {
            let ask = Ask::post(kind.path(), kind.content_type(), body, kind.max_answer());
            let reply = self.client.ask(&node.into(), &ask).await?;
            if !reply.status.is_success() {
                bail!("a bare {kind:?} was refused ({})", reply.status);
            }
        }
        Ok(begun.elapsed().as_secs_f64() * 1000.0)
    }
}

/// Books once: asks, and takes the first slot of the first offer. The provider looks at its queue as soon
/// as the request is in it. In milliseconds: until the admission, the offer, the confirmation.
async fn book(
    user: &mut Handle<User>,
    provider: &Remote<Provider>,
    region: RegionId,
) -> anyhow::Result<[f64; 3]> {
    let wishes = fit(Vec::new())?;
    let begun = Instant::now();
    let passed = || begun.elapsed().as_secs_f64() * 1000.0;
    user.with(move |u, _, rng| u.request(region, wishes, rng))
        .await??;
    wait(user, "the admission", |event| {
        complain(&event)?;
        Ok(matches!(event, UserEvent::Admitted { .. }).then_some(()))
    })
    .await?;
    let admitted = passed();
    provider.with(move |p, _, _| p.offer_round(region)).await?;
    let (offer, slot) = wait(user, "an offer", |event| {
        complain(&event)?;
        let UserEvent::OfferReceived(offer) = event else {
            return Ok(None);
        };
        let slot = offer.slots.first().context("an offer without slots")?.index;
        Ok(Some((offer.id, slot)))
    })
    .await?;
    let offered = passed();
    user.with(move |u, now, rng| u.book(&offer, slot, now, rng))
        .await??;
    wait(user, "the confirmation", |event| {
        complain(&event)?;
        Ok(matches!(event, UserEvent::Confirmed { .. }).then_some(()))
    })
    .await?;
    Ok([admitted, offered, passed()])
}

fn complain(event: &UserEvent) -> anyhow::Result<()> {
    match event {
        UserEvent::Rejected { reason, .. } => bail!("a booking was turned down: {reason:?}"),
        UserEvent::Refused(p) => bail!("a user was refused: {}", p.text()),
        UserEvent::InvalidConfirmation => bail!("something came that is no confirmation"),
        _ => Ok(()),
    }
}

/// Measures it among the nodes of a stage.
pub(crate) async fn measure(stage: &mut Stage, count: u64) -> anyhow::Result<[Row; 2]> {
    let ledger = Arc::new(Counting::default());
    let options = cast::options(stage, "mediator", 1, 0, ledger.clone());
    let (mut mediator, regions) = cast::mediator(stage, options).await?;
    let options = cast::options(stage, "provider", 2, 1, ledger.clone());
    let slots = usize::try_from(WARM_UP + count + SPARE)?;
    let provider = cast::provider(stage, options, &mut mediator, &regions, slots).await?;
    let remote = provider.remote();
    let mut bare = Bare::open(stage).await?;
    let (mut ours, mut theirs) = (Rounds::default(), Rounds::default());
    let (mut admitted, mut offered) = (Rounds::default(), Rounds::default());
    let mut writes = Rounds::default();
    for n in 0..WARM_UP + count {
        let at = usize::try_from(n)?;
        let region = *regions.get(at % REGIONS).context("no region")?;
        let nodes = stage.net.nodes().len();
        let options = cast::options(stage, "user", n, at % nodes, ledger.clone());
        let mut user = cast::user(stage, options, n, region).await?;
        ledger.take();
        let [admission, offer, took] = book(&mut user, &remote, region).await?;
        let made = ledger.take();
        user.stop().await?;
        sleep(REST).await;
        let bare = bare.writes(stage, at % nodes, made).await?;
        if n >= WARM_UP {
            ours.0.push(took);
            admitted.0.push(admission);
            offered.0.push(offer);
            theirs.0.push(bare);
            writes.0.push((made.0 + made.1) as f64);
        }
    }
    drop(provider);
    drop(mediator);
    eprintln!(
        "  booking: median {:.0} ms (admitted {:.0}, offered {:.0}), its {} writes alone {:.0} ms",
        ours.median(),
        admitted.median(),
        offered.median(),
        writes.median(),
        theirs.median()
    );
    let row = |name, share| {
        let baseline = "its durable writes (W = 2 of five), bare, one after the other";
        let bound = Bound::AtMost(2.0);
        Row::at_share(name, "ms", share, &ours, baseline, &theirs, bound)
    };
    Ok([row("booking_p50", 0.5), row("booking_p99", 0.99)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durable_writes_are_counted_by_size() {
        let counting = Counting::default();
        let answer = Answer::Token(Vec::new());
        for kind in [
            CallKind::Token,
            CallKind::Request,
            CallKind::Write,
            CallKind::Read,
            CallKind::Lock,
        ] {
            counting.acknowledged(&Call::new(kind, Vec::new()), &answer);
        }
        assert_eq!(counting.take(), (2, 3));
        assert_eq!(counting.take(), (0, 0));
    }
}
