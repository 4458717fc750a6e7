//! What is measured, and in which order: node and baseline in turn, several rounds, medians.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use lapwing_testnet::node::Node;
use lapwing_testnet::seeds::Seeds;
use tokio::time::sleep;

use crate::baseline::http::{Job as HttpJob, Listening};
use crate::baseline::idle::Idle;
use crate::baseline::writers::{Job as WritersJob, Took};
use crate::child::Part;
use crate::load::{Job, Outcome, Ready, Work};
use crate::proc::{cpu_micros, memory};
use crate::report::{self, Bound, Rounds, Row};
use crate::stage::{READ_MAILBOXES, Stage};
use crate::{bookings, claims, demo, revocations};

/// How much is measured.
#[derive(Args)]
pub(crate) struct Options {
    /// Rounds of each measurement.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Requests of each round, in thousands, for reads; writes and tokens take half.
    #[arg(long, default_value_t = 32)]
    thousands: u64,
    /// Seconds until an idle process is looked at.
    #[arg(long, default_value_t = 15)]
    settle: u64,
    /// Connections of the load.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Revocations that are measured.
    #[arg(long, default_value_t = 100)]
    revocations: u64,
    /// Bookings that are measured.
    #[arg(long, default_value_t = 200)]
    bookings: u64,
    /// Requests in the long queue that is claimed from.
    #[arg(long, default_value_t = 100_000)]
    queued: usize,
    /// Leave the demo out.
    #[arg(long)]
    no_demo: bool,
    /// Only these lines; all without it.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Where all randomness comes from.
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
}

impl Options {
    fn wants(&self, names: &[&str]) -> bool {
        self.only.is_empty() || names.iter().any(|n| self.only.iter().any(|o| o == n))
    }
}

/// Measures everything, prints the table and writes the file.
pub(crate) fn run(options: &Options, out: &Path) -> anyhow::Result<()> {
    let seeds = match options.seed {
        Some(seed) => Seeds::new(seed),
        None => Seeds::fresh().context("no randomness")?,
    };
    eprintln!("seed {}", seeds.get());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let rows = runtime.block_on(measure(options, seeds))?;
    report::write(&rows, out)?;
    print!("{}", report::table(&rows));
    println!("written to {}", out.display());
    Ok(())
}

async fn measure(options: &Options, seeds: Seeds) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let at_one = [
        "node_idle_rss",
        "http_read_4k_cpu",
        "http_write_4k_cpu",
        "write_throughput",
        "token_issue_cpu",
        "trust_lists_cpu",
    ];
    let mut idle_row = None;
    if options.wants(&at_one) {
        let mut stage = Stage::set(1, seeds).await?;
        eprintln!("one node, {} regions", stage.regions());
        if options.wants(&["node_idle_rss"]) {
            idle_row = Some(idle(options, &mut stage).await?);
        }
        rows.extend(One::start(options, &mut stage).await?.all().await?);
        stage.clear().await?;
    }
    if options.wants(&["claim_20_cpu"]) {
        eprintln!("one node, {} requests in one queue", options.queued);
        rows.push(claims::measure(seeds, options.rounds, options.queued).await?);
    }
    rows.extend(five(options, seeds).await?);
    rows.extend(idle_row);
    if !options.no_demo && options.wants(&["demo_seconds"]) {
        eprintln!("the demo");
        rows.push(demo::measure(seeds.get()).await?);
    }
    Ok(rows)
}

/// One measured job of load: microseconds of processor time a request, and requests a second.
#[derive(Clone, Copy, Debug)]
struct Measured {
    cpu: f64,
    rate: f64,
}

/// Runs a job and measures the processes that serve it.
async fn load(name: &str, job: &Job, pids: &[u32]) -> anyhow::Result<Measured> {
    let mut part = Part::start("load", &[])?;
    part.tell(job).await?;
    let Ready = part.hear().await?;
    let total = || pids.iter().map(|p| cpu_micros(*p)).sum::<Result<u64, _>>();
    let before = total()?;
    part.tell(&Ready).await?;
    let outcome: Outcome = part.hear().await?;
    let spent = total()? - before;
    let requests = job.requests as f64;
    let measured = Measured {
        cpu: spent as f64 / requests,
        rate: requests * 1e6 / outcome.micros.max(1) as f64,
    };
    eprintln!(
        "  {name:<28} {:>8.1} µs of CPU each, {:>7.0}/s (load: {:.1} µs each)",
        measured.cpu,
        measured.rate,
        outcome.load_cpu_micros as f64 / requests
    );
    Ok(measured)
}

/// One node and its baselines.
struct One<'a> {
    options: &'a Options,
    stage: &'a mut Stage,
    http: Part,
    http_at: SocketAddr,
    writers: Part,
}

/// The writers alone are quick: they write so many times as much, for a round of like length.
const WRITERS_LONGER: u64 = 4;

/// Region lists that are fetched for a thousand reads: each is as long as some fifty of them.
const LISTS: u64 = 100;

/// Bytes of a stored write of 4 KiB, with what is needed to check it.
const STORED_WRITE: usize = 4_350;

impl<'a> One<'a> {
    async fn start(options: &'a Options, stage: &'a mut Stage) -> anyhow::Result<Self> {
        let job: HttpJob = stage.fill().await?;
        let dir = |name: &str| stage.net.path().join(name);
        let (http_dir, writers_dir) = (dir("baseline-http"), dir("baseline-writers"));
        let mut http = Part::start("baseline-http", &["--dir".as_ref(), http_dir.as_os_str()])?;
        http.tell(&job).await?;
        let Listening(http_at) = http.hear().await?;
        let writers = Part::start(
            "baseline-writers",
            &["--dir".as_ref(), writers_dir.as_os_str()],
        )?;
        Ok(One {
            options,
            stage,
            http,
            http_at,
            writers,
        })
    }

    /// The lines that are wanted of those that need one node.
    async fn all(mut self) -> anyhow::Result<Vec<Row>> {
        let options = self.options;
        let mut rows = Vec::new();
        if options.wants(&["http_read_4k_cpu"]) {
            rows.push(self.reads().await?);
        }
        if options.wants(&["http_write_4k_cpu", "write_throughput"]) {
            rows.extend(self.writes().await?);
        }
        if options.wants(&["token_issue_cpu"]) {
            rows.push(self.tokens().await?);
        }
        if options.wants(&["trust_lists_cpu"]) {
            rows.push(self.lists().await?);
        }
        Ok(rows)
    }

    fn job(&mut self, work: Work, thousandths: u64) -> Job {
        let requests = (self.options.thousands * thousandths).max(1);
        self.stage.round = self.stage.round % 120 + 1;
        Job {
            targets: self.stage.apis(),
            work,
            seed: self.stage.seeds.get(),
            first: 0,
            warm_up: requests / 8,
            requests,
            connections: self.options.connections,
            round: self.stage.round,
            now: self.stage.now.get(),
        }
    }

    /// Runs a job at the node and at the baseline, this or that first by turns.
    async fn both(&mut self, round: u32, name: &str, job: &Job) -> anyhow::Result<[Measured; 2]> {
        let pids = self.stage.pids()?;
        let bare = Job {
            targets: vec![self.http_at],
            ..job.clone()
        };
        let (bare_name, bare_pid) = (format!("{name}, baseline"), [self.http.pid()?]);
        if round.is_multiple_of(2) {
            let ours = load(name, job, &pids).await?;
            Ok([ours, load(&bare_name, &bare, &bare_pid).await?])
        } else {
            let theirs = load(&bare_name, &bare, &bare_pid).await?;
            Ok([load(name, job, &pids).await?, theirs])
        }
    }

    async fn reads(&mut self) -> anyhow::Result<Row> {
        let (mut ours, mut theirs) = (Rounds::default(), Rounds::default());
        for round in 0..self.options.rounds {
            let nodes = self
                .stage
                .net
                .nodes()
                .iter()
                .map(|n| n.id().to_hex())
                .collect();
            let job = self.job(
                Work::Read {
                    nodes,
                    mailboxes: READ_MAILBOXES,
                },
                1000,
            );
            let [a, b] = self.both(round, "read", &job).await?;
            ours.0.push(a.cpu);
            theirs.0.push(b.cpu);
        }
        let baseline = "bare axum handler, one get, one verify_strict";
        Ok(Row::bounded(
            "http_read_4k_cpu",
            "µs/read",
            &ours,
            baseline,
            &theirs,
            Bound::AtMost(1.5),
        ))
    }

    async fn writes(&mut self) -> anyhow::Result<[Row; 2]> {
        let (mut cpu, mut bare_cpu) = (Rounds::default(), Rounds::default());
        let (mut rate, mut bare_rate) = (Rounds::default(), Rounds::default());
        for round in 0..self.options.rounds {
            let mut job = self.job(Work::Write, 500);
            job.first = self
                .stage
                .open_for_writes(job.warm_up + job.requests)
                .await?;
            let [a, b] = self.both(round, "write", &job).await?;
            cpu.0.push(a.cpu);
            bare_cpu.0.push(b.cpu);
            rate.0.push(a.rate);
            let writers = WritersJob {
                writers: job.connections,
                writes: job.requests * WRITERS_LONGER,
                bytes: STORED_WRITE,
            };
            self.writers.tell(&writers).await?;
            let took: Took = self.writers.hear().await?;
            let per_second = writers.writes as f64 * 1e6 / took.micros.max(1) as f64;
            eprintln!("  {:<28} {per_second:>30.0}/s", "write, writers alone");
            bare_rate.0.push(per_second);
        }
        let baseline = "bare axum handler, one verify_strict, one grouped put";
        let writers = "64 writers through the same committer";
        Ok([
            Row::bounded(
                "http_write_4k_cpu",
                "µs/write",
                &cpu,
                baseline,
                &bare_cpu,
                Bound::AtMost(1.6),
            ),
            Row::bounded(
                "write_throughput",
                "writes/s",
                &rate,
                writers,
                &bare_rate,
                Bound::AtLeast(0.5),
            ),
        ])
    }

    async fn lists(&mut self) -> anyhow::Result<Row> {
        let (mut ours, mut theirs) = (Rounds::default(), Rounds::default());
        for round in 0..self.options.rounds {
            let path = self.stage.list_path();
            let job = self.job(Work::Get { path }, LISTS);
            let [a, b] = self.both(round, "region list", &job).await?;
            ours.0.push(a.cpu);
            theirs.0.push(b.cpu);
        }
        let baseline = "bare axum handler, as many bytes";
        Ok(Row::bounded(
            "trust_lists_cpu",
            "µs/list",
            &ours,
            baseline,
            &theirs,
            Bound::AtMost(1.3),
        ))
    }

    async fn tokens(&mut self) -> anyhow::Result<Row> {
        let (mut ours, mut theirs) = (Rounds::default(), Rounds::default());
        for round in 0..self.options.rounds {
            let work = self.stage.token_work()?;
            let work = Work::Token {
                federation: work.federation.to_hex(),
                issuer: work.issuer.to_hex(),
                epoch: work.epoch,
            };
            let mut job = self.job(work, 500);
            job.first = self.stage.tokens(job.warm_up + job.requests);
            let [a, b] = self.both(round, "token", &job).await?;
            ours.0.push(a.cpu);
            theirs.0.push(b.cpu);
        }
        let baseline = "bare axum handler, one check of work, one signature, one grouped put";
        Ok(Row::bounded(
            "token_issue_cpu",
            "µs/token",
            &ours,
            baseline,
            &theirs,
            Bound::AtMost(1.5),
        ))
    }
}

/// The lines that are wanted of those that need five nodes.
async fn five(options: &Options, seeds: Seeds) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let names = [
        "revocation_5_nodes_p99",
        "booking_p50",
        "booking_p99",
        "write_w2_throughput",
        "write_w2_cpu_all_nodes",
    ];
    if !options.wants(&names) {
        return Ok(rows);
    }
    let mut stage = Stage::set(5, seeds).await?;
    stage.net.wait_met().await?;
    eprintln!("five nodes, {} regions", stage.regions());
    // What waits comes before what fills disks and queues.
    if options.wants(&["revocation_5_nodes_p99"]) {
        rows.push(revocations::measure(&mut stage, options.revocations).await?);
    }
    if options.wants(&["booking_p50", "booking_p99"]) {
        rows.extend(bookings::measure(&mut stage, options.bookings).await?);
    }
    if options.wants(&["write_w2_throughput", "write_w2_cpu_all_nodes"]) {
        rows.extend(writes_of_five(options, &mut stage).await?);
    }
    stage.clear().await?;
    Ok(rows)
}

/// Each blob on three of five nodes, and acknowledged by two.
async fn writes_of_five(options: &Options, stage: &mut Stage) -> anyhow::Result<[Row; 2]> {
    let (mut rate, mut cpu) = (Rounds::default(), Rounds::default());
    for round in 0..options.rounds {
        let requests = (options.thousands * 250).max(1);
        let warm_up = requests / 8;
        let job = Job {
            targets: stage.apis(),
            work: Work::Write,
            seed: stage.seeds.get(),
            first: stage.open_for_writes(warm_up + requests).await?,
            warm_up,
            requests,
            connections: options.connections,
            round: u8::try_from(round % 90).unwrap_or(0) + 1,
            now: stage.now.get(),
        };
        // What comes after the last receipt (third replicas, gossip) is of the next round's cost.
        let measured = load("write, W = 2 of five", &job, &stage.pids()?).await?;
        rate.0.push(measured.rate);
        cpu.0.push(measured.cpu);
    }
    Ok([
        Row::reported("write_w2_throughput", "writes/s", &rate),
        Row::reported("write_w2_cpu_all_nodes", "µs/write", &cpu),
    ])
}

/// The node and the bare libraries, each started anew and left alone.
async fn idle(options: &Options, stage: &mut Stage) -> anyhow::Result<Row> {
    let (mut ours, mut theirs) = (Rounds::default(), Rounds::default());
    for round in 0..options.rounds.min(3) {
        stage.net.kill(0).await?;
        stage.net.restart(0).await?;
        stage.check_regions().await?;
        let dir = stage.net.path().join(format!("baseline-idle-{round}"));
        let mut bare = Part::start("baseline-idle", &["--dir".as_ref(), dir.as_os_str()])?;
        let Idle = bare.hear().await?;
        sleep(Duration::from_secs(options.settle)).await;
        let node = memory(
            stage
                .net
                .nodes()
                .first()
                .and_then(Node::pid)
                .context("the node does not run")?,
        )?;
        let bare = memory(bare.pid()?)?;
        eprintln!(
            "  idle: node {} KiB (Pss {}), baseline {} KiB (Pss {})",
            node.rss, node.pss, bare.rss, bare.pss
        );
        ours.0.push(node.rss as f64 / 1024.0);
        theirs.0.push(bare.rss as f64 / 1024.0);
    }
    let baseline = "libp2p with the same transports and behaviours, an open sled";
    Ok(Row::bounded(
        "node_idle_rss",
        "MiB",
        &ours,
        baseline,
        &theirs,
        Bound::AtMost(1.5),
    ))
}
