//! The node behind the API.

use std::sync::Arc;

use lapwing_api::{Node, NotReady, Watch};
use lapwing_core::read_local;
use lapwing_protocol::client::{Answer, CheckedCall};
use lapwing_protocol::id::{MailboxId, NodeId, to_hex};
use lapwing_protocol::key::VerifyingKey;
use lapwing_protocol::mailbox::{Mailbox, Page};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::time::Time;
use lapwing_protocol::trust::TrustView;
use lapwing_store::{Committer, SledStore};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::shell::{Report, Shell, now};

/// What the API sees of the node.
pub(crate) struct Service {
    pub(crate) id: NodeId,
    pub(crate) signing: VerifyingKey,
    pub(crate) shell: Shell,
    pub(crate) store: Arc<SledStore>,
    pub(crate) committer: Arc<Committer>,
    pub(crate) net: Arc<lapwing_net::Handle>,
    /// The core's newest report.
    pub(crate) report: watch::Receiver<Option<Arc<Report>>>,
}

impl Node for Service {
    fn id(&self) -> NodeId {
        self.id
    }

    fn signing_key(&self) -> VerifyingKey {
        self.signing
    }

    fn now(&self) -> Time {
        now().time()
    }

    fn view(&self) -> Arc<TrustView> {
        self.shell.view()
    }

    async fn ask(&self, call: CheckedCall) -> Result<Answer, Problem> {
        self.shell.ask(call).await
    }

    fn read_local(&self, mailbox: &Mailbox, after: Option<u32>) -> Option<Result<Page, Problem>> {
        let view = self.shell.view();
        let alone = view.read_quorum() == 1 && view.is_holder(mailbox.id().as_bytes(), &self.id);
        alone.then(|| read_local(&*self.store, mailbox, after))
    }

    fn watch(&self, ids: &[MailboxId]) -> Result<Watch, Problem> {
        self.shell.hub().watch(ids)
    }

    fn random(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        // Without randomness of its own the node must not hand out tokens: it ends.
        if let Err(error) = getrandom::fill(&mut bytes) {
            tracing::error!(%error, "the operating system gives no randomness");
            std::process::abort();
        }
        bytes
    }

    fn ready(&self) -> Result<(), NotReady> {
        if self.shell.stopping() {
            return Err(NotReady::ShuttingDown);
        }
        if self.shell.failed() {
            return Err(NotReady::Store);
        }
        let view = self.shell.view();
        let roster = view.roster().ok_or(NotReady::NoRoster)?;
        if roster.expires <= self.now() {
            return Err(NotReady::RosterExpired);
        }
        if !view.in_roster(&self.id) {
            return Err(NotReady::NotInRoster);
        }
        if self.shell.peers_up() + 1 < view.write_quorum() {
            return Err(NotReady::TooFewNodes);
        }
        Ok(())
    }

    fn status(&self) -> Value {
        let ready = self.ready();
        let view = self.view();
        let net = self.net.status();
        let peers: Vec<Value> = net
            .peers
            .iter()
            .map(|p| {
                json!({
                    "node_id": p.node.to_hex(),
                    "address": p.address.as_ref().map(ToString::to_string),
                    "since": p.since.get(),
                    "pending": p.pending,
                })
            })
            .collect();
        let trust: Vec<Value> = view
            .ages(self.now())
            .iter()
            .map(|a| {
                json!({
                    "kind": format!("{:?}", a.kind),
                    "mediator": a.mediator.map(|m| m.to_hex()),
                    "issued": a.issued.get(),
                    "expires": a.expires.get(),
                    "half_life_passed": a.half,
                    "expired": a.expired,
                })
            })
            .collect();
        let commits = self.committer.stats();
        let mut status = json!({
            "node_id": self.id.to_hex(),
            "version": env!("CARGO_PKG_VERSION"),
            "ready": ready.is_ok(),
            "why": ready.err().map(|e| e.to_string()),
            "roster": view.roster().map(|r| r.sequence),
            "listening": net.listening.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "peers": peers,
            "trust": trust,
            "store_bytes": self.store.size_on_disk().ok(),
            "commits": { "durable": commits.commits, "groups": commits.groups, "pending_bytes": self.committer.pending_bytes() },
        });
        if let Some(report) = self.report.borrow().as_deref() {
            let n = &report.numbers;
            status["numbers"] = json!({
                "items": n.items, "requests": n.requests, "flows": n.flows, "pending_commits": n.pending_commits,
                "tokens": n.tokens, "written": n.written, "healed": n.healed, "peers": n.peers,
            });
            let digests: serde_json::Map<String, Value> = report
                .digests
                .iter()
                .map(|(node, list)| {
                    let rows: Vec<Value> = list
                        .iter()
                        .map(|d| json!([d.shard, d.count, to_hex(&d.xor)]))
                        .collect();
                    (node.to_hex(), Value::from(rows))
                })
                .collect();
            status["digests"] = Value::from(digests);
        }
        status
    }
}
