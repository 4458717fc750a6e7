//! An HTTP server that does the least that a node must: the same bytes in and out, one signature
//! checked or made, one look-up or one durable put. Nothing is decoded, no rule is kept.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use lapwing_core::store::Reader;
use lapwing_protocol::client::CallKind;
use lapwing_protocol::id::{FederationId, NodeId, TokenHash};
use lapwing_protocol::key::{Signature, SigningKey, VerifyingKey};
use lapwing_protocol::token::TokenWork;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tower::Service;

use super::puts::{Puts, key};
use crate::child::{listen, say};
use crate::orders::WORK_BITS;

/// What is served: the sizes of a node's answers, as the main process has seen them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    /// Values that are read.
    pub(crate) values: u64,
    /// Bytes of an answered page.
    pub(crate) page: usize,
    /// Bytes of a receipt.
    pub(crate) receipt: usize,
    /// Bytes of a token.
    pub(crate) token: usize,
    /// Where the region list is asked for.
    pub(crate) list_path: String,
    /// Bytes of the region list.
    pub(crate) list: usize,
}

/// Where it listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Listening(pub(crate) SocketAddr);

/// The kinds of what is put: tokens must not pay for lying among blobs.
const READ: u8 = b'r';
const WRITTEN: u8 = b'd';
const TOKEN: u8 = b's';

/// Bytes that are signed under a read proof and a token, about.
const RECORD: [u8; 256] = [3; 256];
/// Bytes that are signed under a write: a hash.
const HASH: [u8; 32] = [4; 32];

struct Shared {
    puts: Puts,
    keys: Vec<Vec<u8>>,
    next: AtomicUsize,
    receipt: Bytes,
    token: Vec<u8>,
    list: Bytes,
    signing: SigningKey,
    public: VerifyingKey,
    of_record: Signature,
    of_hash: Signature,
    work: TokenWork,
    hash: TokenHash,
    proof: u64,
}

impl Shared {
    fn new(puts: Puts, keys: Vec<Vec<u8>>, job: &Job) -> Self {
        let signing = SigningKey::from_seed(&[1; 32]);
        let work = TokenWork {
            federation: FederationId::from_bytes([2; 32]),
            issuer: NodeId::from_bytes([2; 32]),
            epoch: 1,
        };
        let hash = TokenHash::from_bytes([3; 32]);
        Shared {
            puts,
            keys,
            next: AtomicUsize::new(0),
            receipt: vec![5; job.receipt].into(),
            token: vec![6; job.token],
            list: vec![9; job.list].into(),
            public: signing.verifying_key(),
            of_record: signing.sign(&RECORD),
            of_hash: signing.sign(&HASH),
            signing,
            proof: work.search(&hash, WORK_BITS, 0, u64::MAX).unwrap_or(0),
            work,
            hash,
        }
    }
}

/// Runs as this baseline until the main process ends.
pub(crate) fn run(dir: &Path) -> anyhow::Result<()> {
    let Some(job) = listen::<Job>()? else {
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let address = runtime.block_on(start(dir, &job))?;
    say(&Listening(address))?;
    while listen::<serde_json::Value>()?.is_some() {}
    Ok(())
}

async fn start(dir: &Path, job: &Job) -> anyhow::Result<SocketAddr> {
    let puts = Puts::open(dir)?;
    let mut keys = Vec::new();
    for n in 1..=job.values {
        puts.put(READ, &vec![8; job.page]).await?;
        keys.push(key(READ, n));
    }
    let shared = Arc::new(Shared::new(puts, keys, job));
    let router = Router::new()
        .route(CallKind::Read.path(), post(read))
        .route(CallKind::Write.path(), post(write))
        .route(CallKind::Token.path(), post(token))
        .route(&job.list_path, get(list))
        .with_state(shared);
    serve(router).await
}

/// Serves until the process ends; says where.
pub(super) async fn serve(router: Router) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr().context("no address")?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream, router.clone()));
        }
    });
    Ok(address)
}

/// One connection, served by hyper with the settings of a node's API.
async fn connection(stream: TcpStream, router: Router) {
    let _best_effort = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let mut router = router.clone();
        async move { router.call(request.map(Body::new)).await }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(10))
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service);
    // The load closes its connections as it likes.
    let _ended = pin!(connection).await;
}

type Answer = Result<([(axum::http::HeaderName, &'static str); 1], Bytes), Failed>;

/// Whatever fails here is a fault of the measurement.
struct Failed;

impl IntoResponse for Failed {
    fn into_response(self) -> axum::response::Response {
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

fn ok(bytes: Bytes) -> Answer {
    Ok(([(CONTENT_TYPE, "application/cbor")], bytes))
}

async fn read(State(shared): State<Arc<Shared>>, _body: Bytes) -> Answer {
    shared
        .public
        .verify(&RECORD, &shared.of_record)
        .map_err(|_| Failed)?;
    let n = shared.next.fetch_add(1, Ordering::Relaxed) % shared.keys.len().max(1);
    let key = shared.keys.get(n).ok_or(Failed)?;
    let value = shared
        .puts
        .store
        .get(key)
        .map_err(|_| Failed)?
        .ok_or(Failed)?;
    ok(value.into())
}

async fn list(State(shared): State<Arc<Shared>>) -> Answer {
    ok(shared.list.clone())
}

async fn write(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    shared
        .public
        .verify(&HASH, &shared.of_hash)
        .map_err(|_| Failed)?;
    shared.puts.put(WRITTEN, &body).await.map_err(|_| Failed)?;
    ok(shared.receipt.clone())
}

async fn token(State(shared): State<Arc<Shared>>, _body: Bytes) -> Answer {
    if !shared.work.holds(&shared.hash, shared.proof, WORK_BITS) {
        return Err(Failed);
    }
    let mut token = shared.token.clone();
    let signature = shared.signing.sign(&RECORD);
    if let Some(end) = token.last_chunk_mut::<64>() {
        *end = *signature.as_bytes();
    }
    shared.puts.put(TOKEN, &token).await.map_err(|_| Failed)?;
    ok(token.into())
}
