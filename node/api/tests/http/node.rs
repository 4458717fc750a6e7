//! The node behind the API in these tests: a chain of trust from the fixture, a hub, one list of
//! entries that every mailbox has, and a record of what it was asked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use lapwing_api::{ApiConfig, Event, Node, NotReady, Watch, WatchHub, serve};
use lapwing_protocol::client::{Answer, CheckedCall, ReadOrder};
use lapwing_protocol::codec::to_bytes;
use lapwing_protocol::cose::sign;
use lapwing_protocol::id::{ItemId, MailboxId, NodeId};
use lapwing_protocol::key::{SigningKey, VerifyingKey};
use lapwing_protocol::mailbox::{
    Entry, Life, Mailbox, Page, ReadProof, Receipt, SlotClass, Writers,
};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::size::SizeClass;
use lapwing_protocol::testing::{Fixture, START, TestNode, list};
use lapwing_protocol::time::Time;
use lapwing_protocol::trust::TrustView;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

use crate::client::Client;

pub(crate) struct Recorder {
    me: TestNode,
    view: Mutex<Arc<TrustView>>,
    pub(crate) hub: WatchHub,
    pub(crate) entries: Mutex<Vec<Entry>>,
    pub(crate) local: AtomicBool,
    pub(crate) asked: Mutex<Vec<&'static str>>,
    pub(crate) fails: Mutex<Option<Problem>>,
    pub(crate) not_ready: Mutex<Option<NotReady>>,
    pub(crate) counted: Mutex<Vec<Event>>,
    /// Each answer takes one; closed: all pass.
    pub(crate) gate: Semaphore,
}

impl Node for Recorder {
    fn id(&self) -> NodeId {
        self.me.id
    }
    fn signing_key(&self) -> VerifyingKey {
        self.me.signing.verifying_key()
    }
    fn now(&self) -> Time {
        START
    }
    fn view(&self) -> Arc<TrustView> {
        self.view.lock().unwrap().clone()
    }
    async fn ask(&self, call: CheckedCall) -> Result<Answer, Problem> {
        if let Ok(permit) = self.gate.acquire().await {
            permit.forget();
        }
        let (name, answer) = match call {
            CheckedCall::Token(_) => ("token", Answer::Token(vec![7; 300])),
            CheckedCall::Put(_) => ("put", self.receipt()),
            CheckedCall::Read(_, after) => ("read", Answer::Page(self.page(after))),
            CheckedCall::ReadMarks(_) => (
                "read marks",
                Answer::Marks(lapwing_protocol::client::Marks {
                    states: list(vec![]),
                }),
            ),
            CheckedCall::Publish(record) => {
                let id = record.id();
                let mut view = self.view.lock().unwrap();
                let mut next = TrustView::clone(&view);
                next.accept(record, START).map_err(|r| r.problem)?;
                *view = Arc::new(next);
                ("publish", Answer::Published(id))
            }
            _ => ("other", self.receipt()),
        };
        self.asked.lock().unwrap().push(name);
        match *self.fails.lock().unwrap() {
            Some(problem) => Err(problem),
            None => Ok(answer),
        }
    }
    fn read_local(&self, _: &Mailbox, after: Option<u32>) -> Option<Result<Page, Problem>> {
        self.local
            .load(Ordering::Relaxed)
            .then(|| Ok(self.page(after)))
    }
    fn watch(&self, ids: &[MailboxId]) -> Result<Watch, Problem> {
        self.hub.watch(ids)
    }
    fn random(&self) -> [u8; 32] {
        [0xab; 32]
    }
    fn ready(&self) -> Result<(), NotReady> {
        self.not_ready.lock().unwrap().map_or(Ok(()), Err)
    }
    fn status(&self) -> serde_json::Value {
        json!({ "peers": 2 })
    }
    fn count(&self, event: Event) {
        self.counted.lock().unwrap().push(event);
    }
}

impl Recorder {
    fn receipt(&self) -> Answer {
        Answer::Receipt(Receipt {
            item: ItemId::from_bytes([1; 32]),
            acks: list(vec![]),
        })
    }
    pub(crate) fn page(&self, after: Option<u32>) -> Page {
        let entries = self.entries.lock().unwrap();
        let found = entries.iter().filter(|e| after.is_none_or(|a| e.slot > a));
        Page {
            entries: list(found.cloned().collect()),
            more: false,
        }
    }
    pub(crate) fn put(&self, slot: u32, size: usize) {
        self.entries.lock().unwrap().push(Entry {
            slot,
            item: ItemId::from_bytes([9; 32]),
            grants: list(vec![]),
            blob: vec![slot as u8; size].try_into().unwrap(),
        });
    }
    pub(crate) fn asked(&self) -> Vec<&'static str> {
        self.asked.lock().unwrap().clone()
    }
}

/// A server with its node, and a mailbox to read.
pub(crate) struct Served {
    pub(crate) node: Arc<Recorder>,
    pub(crate) fixture: Fixture,
    pub(crate) address: SocketAddr,
    pub(crate) reader: SigningKey,
    pub(crate) mailbox: Mailbox,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

pub(crate) fn recorder(fixture: &Fixture) -> Arc<Recorder> {
    let gate = Semaphore::new(0);
    gate.close();
    Arc::new(Recorder {
        me: fixture.nodes().next().unwrap().clone(),
        view: Mutex::new(Arc::new(fixture.view())),
        hub: WatchHub::new(1000),
        entries: Mutex::default(),
        local: AtomicBool::new(false),
        asked: Mutex::default(),
        fails: Mutex::default(),
        not_ready: Mutex::default(),
        counted: Mutex::default(),
        gate,
    })
}

/// Serves with a configuration.
pub(crate) async fn served_with(change: impl FnOnce(&mut ApiConfig)) -> Served {
    let fixture = Fixture::new(1, 3);
    let node = recorder(&fixture);
    served_by(fixture, node, change).await
}

pub(crate) async fn served_by(
    fixture: Fixture,
    node: Arc<Recorder>,
    change: impl FnOnce(&mut ApiConfig),
) -> Served {
    let mut config = ApiConfig::default();
    change(&mut config);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        let _stopped = stopped.await;
    };
    let serving = serve(listener, node.clone(), config, shutdown);
    let task = tokio::spawn(async { serving.await.unwrap() });
    let reader = SigningKey::from_seed(&[5; 32]);
    let mailbox = Mailbox {
        read: reader.verifying_key(),
        writers: Writers::Tickets,
        size: SizeClass::Small,
        slots: SlotClass::Sixteen,
        life: Life::Days14,
        day: START.day(),
        nonce: [3; 16],
    };
    Served {
        node,
        fixture,
        address,
        reader,
        mailbox,
        stop: Some(stop),
        task,
    }
}

pub(crate) async fn served() -> Served {
    served_with(|_| ()).await
}

impl Served {
    pub(crate) async fn client(&self) -> Client {
        Client::to(self.address).await
    }

    pub(crate) fn proof(&self) -> ReadProof {
        ReadProof {
            mailbox: self.mailbox.clone(),
            node: self.node.id(),
            time: START,
        }
    }

    /// A signed proof, after a change to it.
    pub(crate) fn signed_proof(&self, change: impl FnOnce(&mut ReadProof)) -> Vec<u8> {
        let mut proof = self.proof();
        change(&mut proof);
        sign(&proof, &self.reader)
    }

    pub(crate) fn read_order(&self) -> Vec<u8> {
        order(&self.signed_proof(|_| ()), None)
    }

    /// Begins the shutdown.
    pub(crate) fn stop(&mut self) {
        let _gone = self.stop.take().map(|s| s.send(()));
    }

    /// Waits until the server has ended.
    pub(crate) async fn ended(self) {
        self.task.await.unwrap();
    }
}

pub(crate) fn order(proof: &[u8], after: Option<u32>) -> Vec<u8> {
    to_bytes(&ReadOrder {
        proof: proof.try_into().unwrap(),
        after,
    })
}
