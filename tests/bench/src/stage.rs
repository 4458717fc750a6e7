//! A federation of real nodes with everything that a run needs: regions published, mailboxes opened.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use lapwing_client::http::Ask;
use lapwing_protocol::client::CallKind;
use lapwing_protocol::codec::from_bytes;
use lapwing_protocol::cose::sign;
use lapwing_protocol::federation::Params;
use lapwing_protocol::mailbox::{MAX_OPEN, OpenOrder, Page, Payment, Place, Receipt};
use lapwing_protocol::time::Time;
use lapwing_protocol::token::{TokenWork, epoch_at};
use lapwing_testnet::cleanup::RunDir;
use lapwing_testnet::clients;
use lapwing_testnet::net::{Net, NetOptions};
use lapwing_testnet::node::{Node, binary};
use lapwing_testnet::seeds::Seeds;

use crate::baseline;
use crate::load::read_channel;
use crate::mediator::{Mediator, fit};
use crate::orders::{Channel, SLOTS, WORK_BITS};

/// Mailboxes that are read; each holds one blob of 4 KiB.
pub(crate) const READ_MAILBOXES: u64 = 512;

/// The federation of a run.
pub(crate) struct Stage {
    pub(crate) net: Net,
    pub(crate) seeds: Seeds,
    /// When it began; days of mailboxes count from it.
    pub(crate) now: Time,
    pub(crate) mediator: Mediator,
    /// The number of the next write; those before were dealt out.
    next_write: u64,
    next_token: u64,
    /// The next network that orders to open come from.
    next_client: u16,
    /// Tells jobs of load apart.
    pub(crate) round: u8,
}

/// The time, as this machine's clock has it.
pub(crate) fn now() -> anyhow::Result<Time> {
    Ok(Time::new(
        SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
    ))
}

impl Stage {
    /// Starts so many nodes and publishes a mediator with the regions of Germany.
    pub(crate) async fn set(nodes: usize, seeds: Seeds) -> anyhow::Result<Self> {
        let now = now()?;
        let options = NetOptions {
            nodes,
            seeds,
            params: Params {
                token_work: WORK_BITS,
                openings_per_day: u32::MAX,
                tokens_per_epoch: u32::MAX,
                ..Params::standard()
            },
            base: RunDir::base(),
            binary: binary()?,
            keep: false,
            relays: false,
        };
        let net = Net::start(&options, now).await?;
        let mediator = Mediator::new(seeds, now)?;
        let registration = net
            .founders()
            .sign_registration(&mediator.registration(net.founders().federation().id())?);
        let mut stage = Stage {
            net,
            seeds,
            now,
            mediator,
            next_write: 0,
            next_token: 0,
            next_client: 0,
            round: 1,
        };
        stage.post(0, CallKind::Publish, registration).await?;
        for record in stage.mediator.records().to_vec() {
            stage.post(0, CallKind::Publish, record).await?;
        }
        Ok(stage)
    }

    /// How many regions are published.
    pub(crate) fn regions(&self) -> usize {
        self.mediator.regions()
    }

    /// Asks the first node whether it holds the regions.
    pub(crate) async fn check_regions(&self) -> anyhow::Result<()> {
        let ask = Ask::get(CallKind::Publish.path(), 64 * 1024);
        let reply = clients::from(Ipv4Addr::LOCALHOST)
            .ask(&self.net.node(0)?.api().into(), &ask)
            .await?;
        let index: serde_json::Value = serde_json::from_slice(&reply.body)?;
        let regions = index.pointer("/mediators/0/regions/id");
        regions.map(|_| ()).context("the node has no regions")
    }

    /// The addresses of the nodes' APIs.
    pub(crate) fn apis(&self) -> Vec<SocketAddr> {
        self.net.nodes().iter().map(Node::api).collect()
    }

    /// The processes of the nodes.
    pub(crate) fn pids(&self) -> anyhow::Result<Vec<u32>> {
        self.net
            .nodes()
            .iter()
            .map(|n| n.pid().context("a node does not run"))
            .collect()
    }

    /// Makes a call at a node, each time from another network, so that no allowance is used up.
    pub(crate) async fn post(
        &mut self,
        node: usize,
        kind: CallKind,
        body: Vec<u8>,
    ) -> anyhow::Result<Vec<u8>> {
        self.next_client = (self.next_client + 1) % 16_384;
        let [high, low] = self.next_client.to_be_bytes();
        // The upper half of the loopback networks; jobs of load have the lower.
        let client = clients::from(Ipv4Addr::new(127, 128 + high, low, 1));
        let ask = Ask::post(kind.path(), kind.content_type(), body, kind.max_answer());
        let reply = client.ask(&self.net.node(node)?.api().into(), &ask).await?;
        if !reply.status.is_success() {
            bail!(
                "{kind:?} was refused ({}): {}",
                reply.status,
                String::from_utf8_lossy(&reply.body)
            );
        }
        Ok(reply.body.to_vec())
    }

    /// Opens mailboxes for so many writes; gives the number of the first.
    pub(crate) async fn open_for_writes(&mut self, writes: u64) -> anyhow::Result<u64> {
        let first = self.next_write;
        let channels = writes.div_ceil(SLOTS);
        self.open(first / SLOTS..first / SLOTS + channels).await?;
        self.next_write += channels * SLOTS;
        Ok(first)
    }

    /// The number of the first of so many orders of tokens.
    pub(crate) fn tokens(&mut self, orders: u64) -> u64 {
        let first = self.next_token;
        self.next_token += orders;
        first
    }

    async fn open(&mut self, channels: std::ops::Range<u64>) -> anyhow::Result<()> {
        let numbers: Vec<u64> = channels.collect();
        for (n, chunk) in numbers.chunks(MAX_OPEN).enumerate() {
            let at = n % self.net.nodes().len();
            let day = self.now.day();
            let places = chunk
                .iter()
                .map(|c| Place::Mailbox(Channel::of(self.seeds, *c, day).mailbox));
            let order = OpenOrder {
                node: self.net.node(at)?.id(),
                payment: Payment::Mediator(self.mediator.certificate()),
                places: fit(places.collect())?,
                time: now()?,
            };
            let order = sign(&order, self.mediator.signing());
            self.post(at, CallKind::Open, order).await?;
        }
        Ok(())
    }

    /// Opens the mailboxes that are read and writes one blob to each; gives the sizes of a node's
    /// answers, for the baseline to answer alike.
    pub(crate) async fn fill(&mut self) -> anyhow::Result<baseline::http::Job> {
        self.open(read_channel(0)..read_channel(READ_MAILBOXES))
            .await?;
        let (mut page, mut receipt) = (Vec::new(), Vec::new());
        for n in 0..READ_MAILBOXES {
            let channel = Channel::of(self.seeds, read_channel(n), self.now.day());
            let mut blob = vec![0x5a; 4096];
            if let Some(first) = blob.first_mut() {
                *first = 1;
            }
            receipt = self
                .post(0, CallKind::Write, channel.write(0, blob))
                .await?;
            let node = self.net.node(0)?.id();
            page = self
                .post(0, CallKind::Read, channel.read(node, now()?))
                .await?;
        }
        let read: Page = from_bytes(&page, CallKind::Read.max_answer())?;
        let written: Receipt = from_bytes(&receipt, CallKind::Write.max_answer())?;
        if read.entries.len() != 1 || written.acks.is_empty() {
            bail!("the node does not answer with what was written");
        }
        let order = crate::orders::token(Seeds::new(!self.seeds.get()), 0, &self.token_work()?);
        let token = self.post(0, CallKind::Token, order).await?;
        let list_path = self.list_path();
        let ask = Ask::get(&list_path, 4 << 20);
        let list = clients::from(Ipv4Addr::LOCALHOST)
            .ask(&self.net.node(0)?.api().into(), &ask)
            .await?;
        if lapwing_protocol::hash::record_hash(&list.body) != self.mediator.region_list() {
            bail!("the node does not answer with the region list");
        }
        Ok(baseline::http::Job {
            values: READ_MAILBOXES,
            page: page.len(),
            receipt: receipt.len(),
            token: token.len(),
            list_path,
            list: list.body.len(),
        })
    }

    /// Where a node answers with the region list.
    pub(crate) fn list_path(&self) -> String {
        format!("/v1/trust/regions/{}", self.mediator.id().to_hex())
    }

    /// What work for a token of the first node is done for now.
    pub(crate) fn token_work(&self) -> anyhow::Result<TokenWork> {
        Ok(TokenWork {
            federation: self.net.founders().federation().id(),
            issuer: self.net.node(0)?.id(),
            epoch: epoch_at(now()?, Params::standard().epoch),
        })
    }

    /// Stops the nodes.
    pub(crate) async fn clear(self) -> anyhow::Result<()> {
        Ok(self.net.stop().await?)
    }
}
