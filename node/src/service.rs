//! The node behind the API.

use std::path::PathBuf;
use std::sync::Arc;

use lapwing_api::{Event, Node, NotReady, Watch};
use lapwing_core::read_local;
use lapwing_net::NetStatus;
use lapwing_protocol::client::{Answer, CheckedCall};
use lapwing_protocol::id::{MailboxId, NodeId};
use lapwing_protocol::key::VerifyingKey;
use lapwing_protocol::mailbox::{Mailbox, Page};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::time::Time;
use lapwing_protocol::trust::TrustView;
use lapwing_store::{Committer, SledStore};
use serde_json::Value;
use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::reload::Reloader;
use crate::shell::{Report, Shell, now};
use crate::status::{Source, Status, Watcher, collect};

/// What the API sees of the node.
pub(crate) struct Service {
    pub(crate) id: NodeId,
    pub(crate) signing: VerifyingKey,
    pub(crate) started: Time,
    pub(crate) data_dir: PathBuf,
    pub(crate) shell: Shell,
    pub(crate) store: Arc<SledStore>,
    pub(crate) committer: Arc<Committer>,
    pub(crate) net: Arc<lapwing_net::Handle>,
    /// The core's newest report.
    pub(crate) report: watch::Receiver<Option<Arc<Report>>>,
    pub(crate) metrics: Metrics,
    pub(crate) watcher: Watcher,
    pub(crate) reloader: Reloader,
}

impl Service {
    /// How the node is.
    pub(crate) fn account(&self) -> Status {
        self.account_with(&self.net.status())
    }

    fn account_with(&self, net: &NetStatus) -> Status {
        let report = self.report.borrow().clone();
        collect(&Source {
            id: self.id,
            started: self.started,
            now: self.now(),
            ready: self.ready(),
            failed: self.shell.failed(),
            view: &self.view(),
            net,
            commits: self.committer.stats(),
            store_bytes: self.store.size_on_disk().ok(),
            data_dir: &self.data_dir,
            report: report.as_deref(),
            watcher: &self.watcher,
        })
    }

    /// Looks for what is newly wrong, and tells the log.
    pub(crate) fn look(&self) {
        self.watcher.note(&self.account().findings);
    }
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
        // Strings, numbers and lists alone: writing them does not fail.
        serde_json::to_value(self.account()).unwrap_or_default()
    }

    fn metrics(&self) -> String {
        let net = self.net.status();
        let watched = self.shell.hub().len();
        self.metrics.render(&self.account_with(&net), &net, watched)
    }

    fn reload(&self) -> Result<Value, String> {
        let done = self.reloader.reload().map_err(|e| e.to_string())?;
        Ok(serde_json::to_value(done).unwrap_or_default())
    }

    fn count(&self, event: Event) {
        self.metrics.count(event);
    }
}
