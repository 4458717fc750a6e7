//! The event loop: one task that owns the swarm and everything that is counted about peers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures::StreamExt;
use lapwing_core::{CallFailure, Input, Topic};
use lapwing_protocol::codec::to_bytes;
use lapwing_protocol::id::NodeId;
use lapwing_protocol::peer::{Gossip, MAX_GOSSIP, PeerReply};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::trust::TrustView;
use libp2p::core::transport::ListenerId;
use libp2p::gossipsub::PublishError;
use libp2p::kad::QueryId;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, Swarm};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::behaviour::{Behaviour, BehaviourEvent};
use crate::config::{Limits, NetConfig, Tuning};
use crate::connections::Peer;
use crate::discovery::Discovery;
use crate::faults::Faults;
use crate::gossip::{Heard, Pending, Topics};
use crate::handle::{Clock, Command, Inputs};
use crate::inbound::Inbound;
use crate::outbound::Outbound;
use crate::peer::kind;
use crate::rates::Rates;
use crate::status::{CallCounters, Counters, NetStatus, Transport};
use crate::transport::Meters;
use crate::work::{Done, Workers};

/// How long the end waits for connections to close in good order.
const FAREWELL: Duration = Duration::from_millis(500);

/// A reply counts as sent before its bytes are with the peer, and closing the connection would
/// overtake them: so long the end waits after the last.
const LINGER: Duration = Duration::from_millis(250);

/// The event loop's ends of its channels.
pub(crate) struct Channels {
    pub(crate) commands: mpsc::UnboundedReceiver<Command>,
    pub(crate) status: watch::Sender<NetStatus>,
    pub(crate) inputs: Inputs,
    pub(crate) now: Clock,
    pub(crate) meters: Meters,
    /// How many gossip messages were hashed, those that came again among them.
    pub(crate) ids: Arc<AtomicU64>,
}

/// All state of the network side.
pub(crate) struct Net {
    pub(crate) swarm: Swarm<Behaviour>,
    pub(crate) own: NodeId,
    pub(crate) limits: Limits,
    pub(crate) tuning: Tuning,
    pub(crate) topics: Topics,
    subscribed: BTreeSet<Topic>,
    pub(crate) view: watch::Sender<Arc<TrustView>>,
    pub(crate) channels: Channels,
    done: mpsc::UnboundedReceiver<Done>,
    pub(crate) workers: Workers,
    pub(crate) inbound: Inbound,
    pub(crate) outbound: Outbound,
    pub(crate) pending: Pending,
    pub(crate) book: Discovery,
    pub(crate) faults: Faults,
    pub(crate) rates: Rates,
    pub(crate) peers: BTreeMap<NodeId, Peer>,
    /// Peers to connect to again once their connections are closed.
    pub(crate) renew: BTreeSet<NodeId>,
    /// How often a peer was healed in vain, and when it may be again.
    pub(crate) heals: BTreeMap<NodeId, (u32, Instant)>,
    /// Order does not matter, and a query's id has none.
    pub(crate) lookups: HashMap<QueryId, (NodeId, bool)>,
    listeners: Vec<(ListenerId, Multiaddr)>,
    pub(crate) listening: BTreeSet<Multiaddr>,
    pub(crate) counters: Counters,
    pub(crate) calls: BTreeMap<&'static str, CallCounters>,
    /// Messages this node tried to publish, and those that came for the first time.
    pub(crate) new_messages: u64,
    /// Set by a shutdown: when it stops waiting.
    pub(crate) closing: Option<Instant>,
    /// When a shutdown with no open call is done.
    quiet: Option<Instant>,
    /// The handle is gone.
    orphaned: bool,
    /// Connections changed since the last status.
    pub(crate) changed: bool,
}

impl Net {
    #[allow(clippy::too_many_arguments)] // One caller; a struct would only repeat the names.
    pub(crate) fn new(
        swarm: Swarm<Behaviour>,
        config: NetConfig,
        own: NodeId,
        topics: Topics,
        bootstrap: &[(NodeId, Multiaddr)],
        view: Arc<TrustView>,
        listening: Vec<(ListenerId, Multiaddr)>,
        channels: Channels,
    ) -> Self {
        let NetConfig { limits, tuning, .. } = config;
        let (done_out, done) = mpsc::unbounded_channel();
        let (view_out, view_in) = watch::channel(Arc::clone(&view));
        let workers = Workers::new(limits.workers, view_in, Arc::clone(&channels.now), done_out);
        let mut net = Self {
            swarm,
            own,
            topics,
            subscribed: BTreeSet::new(),
            view: view_out,
            channels,
            done,
            workers,
            inbound: Inbound::new(),
            outbound: Outbound::new(limits.calls_out, limits.calls_out_per_peer),
            pending: Pending::default(),
            book: Discovery::new(
                own,
                bootstrap,
                limits.full_mesh,
                limits.chosen,
                tuning.redial,
            ),
            faults: Faults::default(),
            rates: Rates::new(limits.calls_per_second, limits.mib_per_second),
            peers: BTreeMap::new(),
            renew: BTreeSet::new(),
            heals: BTreeMap::new(),
            lookups: HashMap::new(),
            listeners: listening.clone(),
            listening: listening.into_iter().map(|(_, a)| a).collect(),
            counters: Counters::default(),
            calls: BTreeMap::new(),
            new_messages: 0,
            closing: None,
            quiet: None,
            orphaned: false,
            changed: true,
            limits,
            tuning,
        };
        net.follow(view);
        net
    }

    /// Runs until a shutdown is done; `early` happened before.
    pub(crate) async fn run(mut self, early: Vec<SwarmEvent<BehaviourEvent>>) {
        tracing::info!(node = %self.own, "network side started");
        for event in early {
            self.on_event(event);
        }
        let mut tick = interval(self.tuning.tick.max(Duration::from_millis(10)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.drained() {
            let due = self.next_due();
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_event(event),
                command = self.channels.commands.recv(), if !self.orphaned => match command {
                    Some(command) => self.on_command(command),
                    None => {
                        self.orphaned = true;
                        self.shut_down();
                    }
                },
                Some(done) = self.done.recv() => self.on_done(done),
                () = sleep_until(due) => self.on_due(),
                _ = tick.tick() => self.on_tick(),
            }
            if self.changed {
                self.publish_status();
            }
        }
        self.farewell().await;
        tracing::info!(node = %self.own, "network side ended");
    }

    fn next_due(&self) -> Instant {
        let far = Instant::now() + Duration::from_secs(3600);
        [
            self.inbound.next_due(),
            self.outbound.next_due(),
            self.closing,
            self.quiet,
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(far)
    }

    pub(crate) fn tell(&self, input: Input) {
        (self.channels.inputs)(input);
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Call {
                tag,
                to,
                call,
                timeout_ms,
            } => self.call(tag, to, call, timeout_ms),
            Command::Reply { tag, reply } => self.reply(tag, reply),
            Command::Publish { topic, message } => self.publish(topic, &message),
            Command::View(view) => self.follow(view),
            Command::Fault {
                peer,
                severity,
                what,
            } => self.fault(peer, severity, what),
            Command::Shutdown => self.shut_down(),
        }
    }

    fn publish(&mut self, topic: Topic, message: &Gossip) {
        let data = to_bytes(message);
        if data.len() > MAX_GOSSIP {
            tracing::warn!(bytes = data.len(), "message too large to gossip");
            return;
        }
        let name = self.topics.name(topic);
        self.new_messages += 1;
        match self.swarm.behaviour_mut().gossip.publish(name, data) {
            Ok(_) => self.counters.gossip_published += 1,
            Err(PublishError::Duplicate | PublishError::NoPeersSubscribedToTopic) => {}
            Err(error) => tracing::warn!(%error, ?topic, "message not gossiped"),
        }
    }

    /// Follows a view: who may be connected, and what is subscribed to.
    pub(crate) fn follow(&mut self, view: Arc<TrustView>) {
        let roster: Option<BTreeSet<NodeId>> = view
            .roster()
            .map(|r| r.nodes().map(|(_, n)| n.id).collect());
        if roster.as_ref().is_some_and(|r| !r.contains(&self.own)) {
            tracing::warn!(node = %self.own, "this node is not in the roster; others will refuse it");
        }
        self.swarm.behaviour_mut().gate.set_roster(roster.clone());
        self.book.set_roster(roster);
        let strangers: Vec<NodeId> = self
            .peers
            .keys()
            .filter(|n| self.swarm.behaviour().gate.admit(Some(n)).is_err())
            .copied()
            .collect();
        for node in strangers {
            self.part(node);
        }
        self.forget_strangers();
        let shards = view.params().map_or(0, |p| p.shards);
        let wanted = (0..shards)
            .map(Topic::Shard)
            .chain([Topic::Trust])
            .collect();
        self.subscribe(wanted);
        self.view.send_replace(view);
        self.changed = true;
    }

    fn subscribe(&mut self, wanted: BTreeSet<Topic>) {
        for topic in wanted.difference(&self.subscribed) {
            let name = self.topics.name(*topic);
            if let Err(error) = self.swarm.behaviour_mut().gossip.subscribe(&name) {
                tracing::error!(%error, ?topic, "topic not subscribed to");
            }
        }
        for topic in self.subscribed.difference(&wanted) {
            let name = self.topics.name(*topic);
            self.swarm.behaviour_mut().gossip.unsubscribe(&name);
        }
        self.subscribed = wanted;
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Call(tag, name, result) => self.call_checked(tag, name, *result),
            Done::Reply(tag, result) => self.reply_checked(tag, *result),
            Done::Gossip {
                id,
                source,
                from,
                verdict,
            } => self.judged(&id, &source, from, verdict),
            Done::Resolved(node, addresses) => self.dial(node, addresses),
        }
    }

    pub(crate) fn hear(&self, from: NodeId, heard: Heard) {
        self.tell(match heard {
            Heard::Item(item) => Input::Gossip { from, item: *item },
            Heard::Written(mailbox) => Input::Written(mailbox),
            Heard::Have(id) => Input::TrustHave { from, id },
            Heard::Trust(checked) => Input::Trust {
                from: Some(from),
                first: Ok(*checked),
                rest: Vec::new(),
            },
        });
    }

    fn on_due(&mut self) {
        let now = Instant::now();
        while let Some(tag) = self.outbound.overdue(now) {
            self.settle(tag, CallFailure::Timeout);
        }
        while let Some(tag) = self.inbound.overdue(now) {
            tracing::debug!("a peer's call was not answered in time");
            self.reply(tag, PeerReply::Refused(Problem::Busy));
        }
    }

    fn shut_down(&mut self) {
        if self.closing.is_none() {
            self.closing = Some(Instant::now() + self.tuning.drain);
            self.swarm.behaviour_mut().gate.close();
            // A QUIC listener takes its connections with it; those are still needed.
            for (id, address) in std::mem::take(&mut self.listeners) {
                if kind(&address) != Some(Transport::Quic) {
                    self.swarm.remove_listener(id);
                }
            }
        }
    }

    /// Whether a shutdown need not wait any longer.
    fn drained(&mut self) -> bool {
        let Some(until) = self.closing else {
            return false;
        };
        let now = Instant::now();
        if self.inbound.len() > 0 {
            self.quiet = None;
            return now >= until;
        }
        let quiet = *self.quiet.get_or_insert(now + LINGER);
        now >= quiet.min(until)
    }

    /// Settles what is open and closes the connections.
    async fn farewell(&mut self) {
        self.channels.commands.close();
        while let Ok(command) = self.channels.commands.try_recv() {
            self.on_command(command);
        }
        for tag in self.outbound.all() {
            self.settle(tag, CallFailure::Unreachable);
        }
        let nodes: Vec<NodeId> = self.peers.keys().copied().collect();
        for node in nodes {
            self.part(node);
        }
        let until = Instant::now() + FAREWELL;
        while !self.peers.is_empty() {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_event(event),
                () = sleep_until(until) => break,
            }
        }
        for (node, _) in std::mem::take(&mut self.peers) {
            self.tell(Input::PeerDown(node));
        }
        self.publish_status();
    }
}
