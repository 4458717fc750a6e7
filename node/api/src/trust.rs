//! The chain of trust for apps: all of it, one record, or the latest of a kind; and what the node is.
//!
//! Everything here is public and signed; apps verify it themselves.

use std::sync::{Arc, Mutex, OnceLock};

use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use lapwing_protocol::codec::Encoder;
use lapwing_protocol::federation::Params;
use lapwing_protocol::hash::record_hash;
use lapwing_protocol::id::{MediatorId, RecordId};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::time::Time;
use lapwing_protocol::trust::{MediatorTrust, TrustKind, TrustView};
use serde_json::{Value, json};

use crate::calls::{EXPENSIVE, ok, spend};
use crate::limits::held;
use crate::node::Node;
use crate::problem::Refusal;
use crate::rate::{Network, lock};
use crate::router::Shell;

/// A record's bytes never change.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// Which record is the latest may change at any time.
pub(crate) const REVALIDATE: &str = "no-cache";

type Found = Result<Response, Refusal>;

/// `GET /v1/node`: who this node is, and by which numbers it goes.
pub(crate) async fn node<N: Node>(State(shell): State<Arc<Shell<N>>>) -> Response {
    let node = &shell.node;
    let view = node.view();
    let answer = json!({
        "node": node.id().to_hex(),
        "signing_key": lapwing_protocol::id::to_hex(node.signing_key().as_bytes()),
        "federation": view.federation_id().to_hex(),
        "roster": view.roster().map(|r| r.sequence),
        "version": env!("CARGO_PKG_VERSION"),
        "api": crate::version::TEXT,
        "time": node.now().get(),
        "params": view.params().map(params),
    });
    ok("application/json", answer.to_string().into())
}

fn params(p: &Params) -> Value {
    json!({
        "replicas": p.replicas,
        "epoch": p.epoch.get(),
        "token_life": p.token_life.get(),
        "token_work": p.token_work,
        "box_work": p.box_work,
        "open_offers": p.open_offers,
        "reoffers": p.reoffers,
        "ticket_life": p.ticket_life.get(),
        "claim_size": p.claim_size,
        "clock_skew": p.clock_skew.get(),
        "openings_per_day": p.openings_per_day,
        "mediator_signatures": p.mediator_signatures,
        "shards": p.shards,
        "tokens_per_epoch": p.tokens_per_epoch,
    })
}

/// What was made from the view, until another view comes.
#[derive(Default)]
pub(crate) struct Snapshots(Mutex<Option<Arc<Snapshot>>>);

struct Snapshot {
    view: Arc<TrustView>,
    index: OnceLock<(Bytes, HeaderValue)>,
    all: OnceLock<(Bytes, HeaderValue)>,
}

impl Snapshots {
    fn of(&self, view: Arc<TrustView>) -> Arc<Snapshot> {
        let mut kept = lock(&self.0);
        if let Some(snapshot) = kept.as_ref().filter(|s| Arc::ptr_eq(&s.view, &view)) {
            return snapshot.clone();
        }
        let snapshot = Arc::new(Snapshot {
            view,
            index: OnceLock::new(),
            all: OnceLock::new(),
        });
        *kept = Some(snapshot.clone());
        snapshot
    }
}

impl Snapshot {
    fn index(&self) -> &(Bytes, HeaderValue) {
        self.index.get_or_init(|| {
            let bytes = index_of(&self.view).to_string();
            let tag = etag(&record_hash(bytes.as_bytes()));
            (bytes.into(), tag)
        })
    }

    fn all(&self) -> &(Bytes, HeaderValue) {
        self.all.get_or_init(|| {
            let records = self.view.records();
            let size = records.iter().map(|(_, b)| b.len() + 5).sum::<usize>();
            let mut out = Encoder::with_capacity(size + 5);
            let mut ids = Encoder::with_capacity(records.len() * 34 + 5);
            out.array(records.len());
            for (id, bytes) in &records {
                out.bytes(bytes);
                ids.bytes(id.as_bytes());
            }
            // The ids name the bytes, and hashing them is far less than hashing all.
            let tag = etag(&record_hash(ids.as_slice()));
            (out.into_vec().into(), tag)
        })
    }
}

/// `GET /v1/trust`: which records are in force, by id and sequence.
pub(crate) async fn index<N: Node>(
    State(shell): State<Arc<Shell<N>>>,
    headers: HeaderMap,
) -> Response {
    let snapshot = shell.snapshots.of(shell.node.view());
    let (bytes, tag) = snapshot.index();
    if known(&headers, tag) {
        return unchanged(tag, REVALIDATE);
    }
    tagged("application/json", bytes.clone(), tag, REVALIDATE)
}

/// `GET /v1/trust/all`: every record held as one CBOR array of byte strings, parents first.
pub(crate) async fn all<N: Node>(State(shell): State<Arc<Shell<N>>>, request: Request) -> Found {
    let snapshot = shell.snapshots.of(shell.node.view());
    let (bytes, tag) = snapshot.all();
    if known(request.headers(), tag) {
        return Ok(unchanged(tag, REVALIDATE));
    }
    spend(
        &shell,
        request.extensions().get::<Network>().copied(),
        EXPENSIVE,
    )?;
    let hold = shell.downloads.take(1).ok_or(Problem::Busy)?;
    Ok(tagged(
        "application/cbor",
        held(bytes.clone(), hold),
        tag,
        REVALIDATE,
    ))
}

/// `GET /v1/trust/records/{id}`: one record.
pub(crate) async fn record<N: Node>(
    State(shell): State<Arc<Shell<N>>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Found {
    let id: RecordId = id.parse().map_err(|_| Problem::NotFound)?;
    let bytes = shell.node.view().record(&id).ok_or(Problem::NotFound)?;
    Ok(one(&headers, &id, bytes, IMMUTABLE))
}

/// `GET /v1/trust/roster`: the roster in force.
pub(crate) async fn roster<N: Node>(
    State(shell): State<Arc<Shell<N>>>,
    headers: HeaderMap,
) -> Found {
    let view = shell.node.view();
    let roster = view.roster().ok_or(Problem::NotFound)?;
    Ok(one(
        &headers,
        &roster.id(),
        roster.bytes().clone(),
        REVALIDATE,
    ))
}

/// `GET /v1/trust/{kind}/{mediator}`: the latest of one mediator's.
pub(crate) async fn latest_of_mediator<N: Node>(
    State(shell): State<Arc<Shell<N>>>,
    Path((kind, mediator)): Path<(String, String)>,
    headers: HeaderMap,
) -> Found {
    let kind = kind_of(&kind)?;
    let mediator: MediatorId = mediator.parse().map_err(|_| Problem::NotFound)?;
    let view = shell.node.view();
    let trust = view.mediator(&mediator).ok_or(Problem::NotFound)?;
    let (id, bytes) = latest(trust, kind).ok_or(Problem::NotFound)?;
    Ok(one(&headers, &id, bytes, REVALIDATE))
}

fn latest(m: &MediatorTrust, kind: TrustKind) -> Option<(RecordId, Arc<[u8]>)> {
    Some(match kind {
        TrustKind::Registration => (m.registration().id(), m.registration().bytes().clone()),
        TrustKind::Certificate => m.certificate().map(|r| (r.id(), r.bytes().clone()))?,
        TrustKind::Regions => m.regions().map(|r| (r.id(), r.bytes().clone()))?,
        TrustKind::Directory => m.directory().map(|r| (r.id(), r.bytes().clone()))?,
        TrustKind::Revocations => m.revocations().map(|r| (r.id(), r.bytes().clone()))?,
        TrustKind::Status => m.status().map(|r| (r.id(), r.bytes().clone()))?,
        TrustKind::Roster | TrustKind::Provider => return None,
    })
}

fn kind_of(text: &str) -> Result<TrustKind, Problem> {
    Ok(match text {
        "registration" => TrustKind::Registration,
        "certificate" => TrustKind::Certificate,
        "regions" => TrustKind::Regions,
        "directory" => TrustKind::Directory,
        "revocations" => TrustKind::Revocations,
        "status" => TrustKind::Status,
        _ => return Err(Problem::UnknownCall),
    })
}

fn index_of(view: &TrustView) -> Value {
    let entry = |id: RecordId, sequence: u64, expires: Option<Time>| {
        let mut entry = json!({ "id": id.to_hex(), "sequence": sequence });
        if let Some(expires) = expires {
            entry["expires"] = expires.get().into();
        }
        entry
    };
    let mediators: Vec<Value> = view
        .mediators()
        .map(|(id, m)| {
            let r = m.registration();
            json!({
                "mediator": id.to_hex(),
                "registration": entry(r.id(), r.sequence, Some(r.expires)),
                "certificate": m.certificate().map(|r| entry(r.id(), r.sequence, Some(r.expires))),
                "regions": m.regions().map(|r| entry(r.id(), r.sequence, None)),
                "directory": m.directory().map(|r| entry(r.id(), r.sequence, None)),
                "revocations": m.revocations().map(|r| entry(r.id(), r.sequence, None)),
                "status": m.status().map(|r| entry(r.id(), r.sequence, Some(r.expires))),
            })
        })
        .collect();
    json!({
        "federation": view.federation_id().to_hex(),
        "roster": view.roster().map(|r| entry(r.id(), r.sequence, Some(r.expires))),
        "mediators": mediators,
    })
}

fn one(headers: &HeaderMap, id: &RecordId, bytes: Arc<[u8]>, caching: &'static str) -> Response {
    let tag = etag(id);
    if known(headers, &tag) {
        return unchanged(&tag, caching);
    }
    tagged("application/cose", Bytes::from_owner(bytes), &tag, caching)
}

pub(crate) fn etag(id: &RecordId) -> HeaderValue {
    // Hex in quotes is always a header value.
    HeaderValue::try_from(format!("\"{}\"", id.to_hex()))
        .unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// Whether the client has it: `If-None-Match` with this tag, weak or strong, or `*`.
pub(crate) fn known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    headers.get_all(IF_NONE_MATCH).iter().any(|v| {
        v.as_bytes().split(|b| *b == b',').any(|t| {
            let t = t.trim_ascii();
            t == b"*" || t.strip_prefix(b"W/").unwrap_or(t) == tag.as_bytes()
        })
    })
}

pub(crate) fn unchanged(tag: &HeaderValue, caching: &'static str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    cache(&mut response, tag, caching);
    response
}

pub(crate) fn tagged(
    content_type: &'static str,
    bytes: Bytes,
    tag: &HeaderValue,
    caching: &'static str,
) -> Response {
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    cache(&mut response, tag, caching);
    response
}

fn cache(response: &mut Response, tag: &HeaderValue, caching: &'static str) {
    let headers = response.headers_mut();
    headers.insert(ETAG, tag.clone());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
}
