//! What a claim of twenty requests costs the holder, in a long queue over short ones.

use std::net::Ipv4Addr;

use anyhow::{Context, bail, ensure};
use lapwing_client::http::{Ask, Client};
use lapwing_protocol::booking::challenge_binding;
use lapwing_protocol::client::{Answer, CallKind};
use lapwing_protocol::codec::to_bytes;
use lapwing_protocol::cose::sign;
use lapwing_protocol::id::RegionId;
use lapwing_protocol::key::SealingSecret;
use lapwing_protocol::queue::{ChallengeAnswer, ChallengeOrder, Claim};
use lapwing_protocol::seal::{Purpose, short_open};
use lapwing_testnet::clients;
use lapwing_testnet::seeds::Seeds;

use crate::child::Part;
use crate::fill::{Filled, Job};
use crate::mediator::{Vouched, fit};
use crate::proc::cpu_nanos;
use crate::report::{Bound, Rounds, Row};
use crate::stage::{Stage, now};

/// Requests in a short queue.
const SHORT: usize = 100;
/// Short queues: a request has but so many tickets at once.
const SHORT_QUEUES: usize = 10;
/// Requests that a claim asks for.
const COUNT: u8 = 20;
/// Claims in a round, dealt out over the short queues.
const CLAIMS: usize = 2 * SHORT_QUEUES;
/// The most rounds: a short queue yields fifteen claims, five to each twenty of its requests.
const MAX_ROUNDS: u32 = 6;
/// Providers: none may have more than six claims of one region unspent.
const PROVIDERS: usize = 30;

/// Measures it at a node of its own.
pub(crate) async fn measure(seeds: Seeds, rounds: u32, long: usize) -> anyhow::Result<Row> {
    let mut stage = Stage::set(1, seeds).await?;
    let mut providers = Vec::new();
    for _ in 0..PROVIDERS {
        let vouched = stage.mediator.certify(seeds, 0..=SHORT_QUEUES, now()?)?;
        let certificate = vouched.certificate.clone();
        stage.post(0, CallKind::Publish, certificate).await?;
        providers.push(vouched);
    }
    for record in stage.mediator.lists(now()?)? {
        stage.post(0, CallKind::Publish, record).await?;
    }
    fill(&mut stage, long).await?;
    let mut claims = Claims {
        stage: &stage,
        providers,
        made: 0,
        client: clients::from(Ipv4Addr::new(127, 252, 1, 1)),
    };
    let (mut in_long, mut in_short) = (Rounds::default(), Rounds::default());
    // The first round warms up.
    for round in 0..=rounds.min(MAX_ROUNDS) {
        let (a, b) = if round.is_multiple_of(2) {
            let a = claims.round(|_| SHORT_QUEUES).await?;
            (a, claims.round(|n| n % SHORT_QUEUES).await?)
        } else {
            let b = claims.round(|n| n % SHORT_QUEUES).await?;
            (claims.round(|_| SHORT_QUEUES).await?, b)
        };
        eprintln!("  claim of {COUNT}: {a:.0} µs among {long}, {b:.0} µs among {SHORT}");
        if round > 0 {
            in_long.0.push(a);
            in_short.0.push(b);
        }
    }
    stage.clear().await?;
    Ok(Row::bounded(
        "claim_20_cpu",
        "µs/claim",
        &in_long,
        "the same in a queue of 100",
        &in_short,
        Bound::AtMost(1.5),
    ))
}

/// Queues requests in the store of the node, which is stopped meanwhile.
async fn fill(stage: &mut Stage, long: usize) -> anyhow::Result<()> {
    stage.net.kill(0).await?;
    let dir = stage.net.path().join("n1");
    let mut regions = Vec::new();
    for n in 0..=SHORT_QUEUES {
        let (region, _) = stage.mediator.region(n)?;
        let count = if n < SHORT_QUEUES { SHORT } else { long };
        regions.push((region.to_hex(), count));
    }
    let mut part = Part::start("fill", &["--dir".as_ref(), dir.as_os_str()])?;
    part.tell(&Job {
        federation: to_bytes(stage.net.founders().federation()),
        regions,
        seed: stage.seeds.get(),
    })
    .await?;
    let Filled { seconds } = part.hear().await?;
    // The store is one process's alone: the part must be gone.
    part.end().await?;
    eprintln!("  {long} requests queued in {seconds:.0} s");
    stage.net.restart(0).await?;
    Ok(())
}

struct Claims<'a> {
    stage: &'a Stage,
    providers: Vec<Vouched>,
    /// Claims made, so that providers take turns.
    made: usize,
    client: Client,
}

impl Claims<'_> {
    async fn call(&self, kind: CallKind, body: Vec<u8>) -> anyhow::Result<Answer> {
        let ask = Ask::post(kind.path(), kind.content_type(), body, kind.max_answer());
        let node = self.stage.net.node(0)?.api();
        let reply = self.client.ask(&node.into(), &ask).await?;
        if !reply.status.is_success() {
            let why = String::from_utf8_lossy(&reply.body);
            bail!("{kind:?} was refused ({}): {why}", reply.status);
        }
        Ok(Answer::parse(kind, &reply.body)?)
    }

    /// A claim of one provider, with its challenges answered.
    async fn prepare(&self, provider: &Vouched, region: usize) -> anyhow::Result<Vec<u8>> {
        let (id, secret): &(RegionId, SealingSecret) = self.stage.mediator.region(region)?;
        let order = ChallengeOrder {
            region: *id,
            certificate: provider.id,
        };
        let answer = self.call(CallKind::Challenge, to_bytes(&order)).await?;
        let Answer::Challenges(list) = answer else {
            bail!("no challenges");
        };
        let mut answers = Vec::new();
        for c in &list.challenges {
            let binding = challenge_binding(id, &c.holder);
            let opened = short_open(
                secret,
                Purpose::Challenge,
                &binding,
                c.key_version,
                &[],
                &c.sealed,
            )?;
            answers.push(ChallengeAnswer {
                holder: c.holder,
                nonce: opened.as_slice().try_into().context("no nonce")?,
            });
        }
        let mut rng = self.stage.seeds.stream("claim", self.made as u64);
        let claim = Claim {
            certificate: provider.id,
            region: *id,
            count: COUNT,
            key: lapwing_protocol::key::SigningKey::generate(&mut rng).verifying_key(),
            answers: fit(answers)?,
            time: now()?,
        };
        Ok(sign(&claim, &provider.signing))
    }

    /// Makes claims in the regions that these numbers lead to; gives the holder's microseconds for one.
    async fn round(&mut self, region: impl Fn(usize) -> usize) -> anyhow::Result<f64> {
        let mut claims = Vec::new();
        for n in 0..CLAIMS {
            let at = self.made % self.providers.len();
            let provider = self.providers.get(at).context("no provider")?;
            claims.push(self.prepare(provider, region(n)).await?);
            self.made += 1;
        }
        let pid = *self.stage.pids()?.first().context("no node")?;
        let before = cpu_nanos(pid)?;
        for claim in claims {
            let Answer::Claims(got) = self.call(CallKind::Claim, claim).await? else {
                bail!("no claims");
            };
            let got = got.claimed.len();
            ensure!(got == usize::from(COUNT), "a claim of {COUNT} yields {got}");
        }
        let spent = cpu_nanos(pid)?.saturating_sub(before);
        Ok(spent as f64 / 1000.0 / CLAIMS as f64)
    }
}
