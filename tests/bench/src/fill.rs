//! Fills the queues of regions, in the store of the one node of a federation while that does not run: by
//! the node's own core, with real signatures, but without HTTP and with few syncs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use lapwing_core::store::{Batch, CommitId};
use lapwing_core::{ClientTag, Core, Effect, Identity, Input};
use lapwing_protocol::bounded::Bytes;
use lapwing_protocol::client::{Answer, CallKind, CheckedCall, check_call};
use lapwing_protocol::codec::from_bytes;
use lapwing_protocol::cose::sign;
use lapwing_protocol::federation::Federation;
use lapwing_protocol::id::{NodeId, RegionId, TokenHash, from_hex};
use lapwing_protocol::key::SigningKey;
use lapwing_protocol::mailbox::{Life, Mailbox, SlotClass, Writers};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::Request;
use lapwing_protocol::size::SizeClass;
use lapwing_protocol::time::{Millis, Time};
use lapwing_protocol::token::TokenOrder;
use lapwing_protocol::trust::TrustView;
use lapwing_store::{SledOptions, SledStore, Writer};
use lapwing_testnet::seeds::Seeds;
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;
use serde::{Deserialize, Serialize};

use crate::child::{listen, say};

/// Requests that are placed between two syncs.
const CHUNK: usize = 1024;

/// What is to be put where.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    /// The federation that the node pins, encoded.
    pub(crate) federation: Vec<u8>,
    /// Regions, in hex, each with how many requests.
    pub(crate) regions: Vec<(String, usize)>,
    pub(crate) seed: u64,
}

/// All are queued.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Filled {
    pub(crate) seconds: f64,
}

/// Runs as this part, in the directory of a node.
pub(crate) fn run(dir: &Path) -> anyhow::Result<()> {
    let Some(job) = listen::<Job>()? else {
        return Ok(());
    };
    let begun = Instant::now();
    let mut filler = Filler::open(dir, &job)?;
    let mut wanted = Vec::new();
    for (region, count) in &job.regions {
        let region: RegionId = region.parse()?;
        wanted.extend(std::iter::repeat_n(region, *count));
    }
    for (n, chunk) in (0..).zip(wanted.chunks(CHUNK)) {
        filler.place(n, chunk)?;
    }
    drop(filler);
    say(&Filled {
        seconds: begun.elapsed().as_secs_f64(),
    })
}

/// The three secrets of a node's key file.
#[derive(Deserialize)]
struct Keys {
    peer: String,
    signing: String,
    secret: String,
}

fn identity(file: &Path) -> anyhow::Result<Identity> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let keys: Keys = toml::from_str(&text).context("the node's key file is no such file")?;
    let peer = SigningKey::from_seed(&from_hex(&keys.peer)?);
    let id = NodeId::from_bytes(*peer.verifying_key().as_bytes());
    let signing = SigningKey::from_seed(&from_hex(&keys.signing)?);
    Ok(Identity::new(id, signing, &from_hex(&keys.secret)?))
}

fn clock() -> anyhow::Result<Millis> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(Millis::new(u64::try_from(since.as_millis())?))
}

/// The node's core with its store; what leaves the node is dropped, for it is alone.
struct Filler {
    core: Core<Arc<SledStore>>,
    store: Arc<SledStore>,
    me: NodeId,
    view: Arc<TrustView>,
    seeds: Seeds,
    rng: ChaCha20Rng,
    next: u64,
    pending: Vec<(CommitId, Batch)>,
    answers: BTreeMap<ClientTag, Result<Answer, Problem>>,
}

impl Filler {
    fn open(dir: &Path, job: &Job) -> anyhow::Result<Self> {
        let federation: Federation = from_bytes(&job.federation, 4096)?;
        let view = TrustView::new(federation)?;
        let store = dir.join("data").join("store");
        let store = Arc::new(SledStore::open(&store, &SledOptions::default())?);
        let identity = identity(&dir.join("node.key"))?;
        let seeds = Seeds::new(job.seed);
        let me = identity.id();
        let (core, effects) = Core::open(identity, store.clone(), view, clock()?)?;
        let mut filler = Filler {
            view: Arc::new(core.view().clone()),
            core,
            store,
            me,
            seeds,
            rng: seeds.stream("fill", 0),
            next: 0,
            pending: Vec::new(),
            answers: BTreeMap::new(),
        };
        filler.carry_out(effects);
        filler.settle()?;
        filler.tell(Input::Tick)?;
        filler.settle()?;
        Ok(filler)
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Commit { id, batch } => self.pending.push((id, batch)),
                Effect::Answer { tag, result } => drop(self.answers.insert(tag, result)),
                Effect::View(view) => self.view = view,
                _ => {}
            }
        }
    }

    fn tell(&mut self, input: Input) -> anyhow::Result<()> {
        let effects = self.core.handle(input, clock()?, &mut self.rng);
        self.carry_out(effects);
        Ok(())
    }

    /// Writes what is pending, until nothing follows from that.
    fn settle(&mut self) -> anyhow::Result<()> {
        while let Some((last, _)) = self.pending.last() {
            let last = *last;
            let mut all = Batch::new();
            for (_, batch) in self.pending.drain(..) {
                all.merge(batch);
            }
            self.store.apply(&all)?;
            self.tell(Input::Durable(last))?;
        }
        Ok(())
    }

    /// Makes calls, and gives their answers in order.
    fn ask(&mut self, calls: Vec<CheckedCall>) -> anyhow::Result<Vec<Answer>> {
        let mut tags = Vec::with_capacity(calls.len());
        for call in calls {
            self.next += 1;
            let tag = ClientTag(self.next);
            tags.push(tag);
            self.tell(Input::Client { tag, call })?;
        }
        self.settle()?;
        tags.iter()
            .map(|tag| match self.answers.remove(tag) {
                Some(Ok(answer)) => Ok(answer),
                Some(Err(problem)) => bail!("the core refuses: {}", problem.text()),
                None => bail!("the core does not answer"),
            })
            .collect()
    }

    /// Draws a token and places a request for each of these regions.
    fn place(&mut self, chunk: u64, regions: &[RegionId]) -> anyhow::Result<()> {
        let mut rng = self.seeds.stream("queued", chunk);
        let mut keys = Vec::with_capacity(regions.len());
        let mut orders = Vec::with_capacity(regions.len());
        for _ in regions {
            let key = SigningKey::generate(&mut rng);
            let mut hash = [0; 32];
            rng.fill_bytes(&mut hash);
            // The work is checked before the core, and nothing later depends on it.
            orders.push(CheckedCall::Token(TokenOrder {
                hash: TokenHash::from_bytes(hash),
                proof: 0,
                key: key.verifying_key(),
            }));
            keys.push(key);
        }
        let tokens = self.ask(orders)?;
        let now = clock()?.time();
        let mut unsigned = Vec::with_capacity(regions.len());
        for ((token, key), region) in tokens.into_iter().zip(&keys).zip(regions) {
            let Answer::Token(token) = token else {
                bail!("the core answers an order with something else");
            };
            unsigned.push((key, request(*region, token, now, &mut rng)?));
        }
        let checked = self.check(&unsigned, now)?;
        self.ask(checked)?;
        Ok(())
    }

    /// Signs requests and checks them as a node's workers do, on both halves of them at once.
    fn check(
        &self,
        unsigned: &[(&SigningKey, Request)],
        now: Time,
    ) -> anyhow::Result<Vec<CheckedCall>> {
        let one = |(key, request): &(&SigningKey, Request)| {
            check_call(
                CallKind::Request,
                &sign(request, key),
                &self.view,
                &self.me,
                now,
            )
        };
        let (early, late) = unsigned.split_at(unsigned.len() / 2);
        let halves = std::thread::scope(|scope| {
            let late = scope.spawn(|| late.iter().map(one).collect::<Result<Vec<_>, _>>());
            let early = early.iter().map(one).collect::<Result<Vec<_>, _>>();
            (early, late.join())
        });
        let (Ok(early), Ok(Ok(late))) = halves else {
            bail!("a request that was made here is refused");
        };
        Ok(early.into_iter().chain(late).collect())
    }
}

fn request(
    region: RegionId,
    token: Vec<u8>,
    now: Time,
    rng: &mut ChaCha20Rng,
) -> anyhow::Result<Request> {
    let mut nonce = [0; 16];
    rng.fill_bytes(&mut nonce);
    // What is sealed is nobody's to read here; the suite byte comes first.
    let mut envelope = vec![0; SizeClass::Small.bytes()];
    rng.fill_bytes(&mut envelope);
    if let Some(first) = envelope.first_mut() {
        *first = 1;
    }
    Ok(Request {
        token: Bytes::try_from(token)?,
        region,
        key_version: 1,
        inbox: Mailbox {
            read: SigningKey::generate(rng).verifying_key(),
            writers: Writers::Tickets,
            size: SizeClass::Small,
            slots: SlotClass::Free,
            life: Life::Days42,
            day: now.day(),
            nonce,
        },
        envelope: Bytes::try_from(envelope)?,
    })
}
