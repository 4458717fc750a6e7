//! Watches: an app proves once that it may read some mailboxes, and is told for five minutes when one
//! of them changed, by server-sent events.
//!
//! A token stands for the watch, as an `EventSource` can send neither body nor header. It is not kept,
//! only its hash, and never logged.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use futures::Stream;
use lapwing_protocol::client::{MAX_WATCH_ORDER, MAX_WATCHED, WatchOrder, check_proof};
use lapwing_protocol::codec::from_bytes;
use lapwing_protocol::hash::record_hash;
use lapwing_protocol::id::{RecordId, from_hex};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::time::Seconds;
use serde_json::json;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::calls::{EXPENSIVE, check_type, ok, spend};
use crate::hub::Watch;
use crate::limits::{Hold, read_body};
use crate::node::Node;
use crate::problem::Refusal;
use crate::rate::{Network, lock};
use crate::router::{Shell, closed};

/// How long a watch lives.
const LIFE: Seconds = Seconds::minutes(5);

/// How often a silent stream shows that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Proofs checked in one go, each about 50 µs, before others get their turn.
const BATCH: usize = 8;

/// The watches that are open.
pub(crate) struct Watches {
    open: Mutex<BTreeMap<RecordId, Open>>,
    max: usize,
}

struct Open {
    watched: Arc<Watched>,
    expires: Instant,
    /// Ends the stream that is open for it, when another takes its place.
    stream: Option<oneshot::Sender<Infallible>>,
}

struct Watched {
    watch: Watch,
    told: Mutex<Told>,
}

/// What the streams of a watch have told.
struct Told {
    /// Which stream is the present one.
    stream: u64,
    /// Events so far; the number of the last.
    events: u64,
    /// For each place the number of the event that told of it last; 0 for none.
    last: [u64; MAX_WATCHED],
}

impl Watched {
    fn new(watch: Watch) -> Self {
        let told = Told {
            stream: 0,
            events: 0,
            last: [0; MAX_WATCHED],
        };
        Self {
            watch,
            told: Mutex::new(told),
        }
    }

    /// Begins a stream, which ends the one before. What was told after the event that the client had
    /// last is told again: it may have been lost with the connection.
    fn begin(&self, after: Option<u64>) -> u64 {
        let mut told = lock(&self.told);
        told.stream += 1;
        if let Some(after) = after {
            // A number that was never given out is not this watch's: then nothing is known to have
            // arrived.
            let after = if after > told.events { 0 } else { after };
            let unsure = told.last.iter().enumerate().filter(|(_, n)| **n > after);
            unsure.for_each(|(place, _)| self.watch.again(place));
        }
        told.stream
    }

    /// Numbers the event that tells of a place; `None` when another stream has taken over, which
    /// then tells it.
    fn tell(&self, stream: u64, place: usize) -> Option<u64> {
        let mut told = lock(&self.told);
        if told.stream != stream {
            self.watch.again(place);
            return None;
        }
        told.events += 1;
        let number = told.events;
        if let Some(last) = told.last.get_mut(place) {
            *last = number;
        }
        Some(number)
    }
}

impl Watches {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            open: Mutex::default(),
            max,
        }
    }

    fn add(&self, token: &[u8; 32], watch: Watch, expires: Instant) -> Result<(), Problem> {
        let mut open = lock(&self.open);
        let now = Instant::now();
        open.retain(|_, o| o.expires > now);
        if open.len() >= self.max {
            return Err(Problem::Busy);
        }
        let entry = Open {
            watched: Arc::new(Watched::new(watch)),
            expires,
            stream: None,
        };
        open.insert(record_hash(token), entry);
        Ok(())
    }

    fn stream(&self, token: &[u8; 32]) -> Option<(Arc<Watched>, Instant, Replaced)> {
        let mut open = lock(&self.open);
        let entry = open.get_mut(&record_hash(token))?;
        if entry.expires <= Instant::now() {
            return None;
        }
        let (sender, replaced) = oneshot::channel();
        entry.stream = Some(sender);
        Some((entry.watched.clone(), entry.expires, replaced))
    }
}

type Replaced = oneshot::Receiver<Infallible>;

/// `POST /v1/watches`: a [`WatchOrder`] gives a token.
pub(crate) async fn open<N: Node>(
    State(shell): State<Arc<Shell<N>>>,
    request: Request,
) -> Result<Response, Refusal> {
    let network = request.extensions().get::<Network>().copied();
    spend(&shell, network, EXPENSIVE)?;
    check_type(request.headers(), "application/cbor")?;
    let (body, _held) = read_body(
        request.into_body(),
        MAX_WATCH_ORDER,
        &shell.bodies,
        shell.config.body_timeout,
    )
    .await?;
    let _working = shell.calls.take(1).ok_or(Problem::Busy)?;
    let order: WatchOrder = from_bytes(&body, MAX_WATCH_ORDER).map_err(Problem::from)?;
    let (view, me, now) = (shell.node.view(), shell.node.id(), shell.node.now());
    let mut ids = Vec::with_capacity(order.proofs.len());
    for batch in order.proofs.chunks(BATCH) {
        for proof in batch {
            ids.push(check_proof(proof, &view, &me, now)?.mailbox.id());
        }
        tokio::task::yield_now().await;
    }
    let watch = shell.node.watch(&ids)?;
    let token = shell.node.random();
    let expires = Instant::now() + Duration::from_secs(LIFE.get().into());
    shell.watches.add(&token, watch, expires)?;
    let answer = json!({
        "watch": HEXLOWER.encode(&token),
        "expires": now.plus(LIFE).get(),
    });
    Ok(ok("application/json", answer.to_string().into()))
}

/// `GET /v1/watches/{token}/events`: the stream of a watch. One at a time: a new one ends the one
/// before, which may be a connection that broke unseen. With `Last-Event-ID` it begins with what may
/// have been lost.
pub(crate) async fn events<N: Node>(
    State(shell): State<Arc<Shell<N>>>,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let token = from_hex(&token).map_err(|_| Problem::NotFound)?;
    let waiting = shell.waiting.take(1).ok_or(Problem::Busy)?;
    let (watched, expires, replaced) = shell.watches.stream(&token).ok_or(Problem::NotFound)?;
    let following = Following {
        stream: watched.begin(last_event(&headers)),
        watched,
        expires,
        replaced,
        closing: shell.closing.clone(),
        _waiting: waiting,
    };
    Ok(respond(following))
}

/// The number of the last event that the client had, where it comes back. Zero, so that everything is
/// told again, where it names something that is no number.
fn last_event(headers: &HeaderMap) -> Option<u64> {
    let given = headers.get("last-event-id")?;
    let number = given.to_str().ok().and_then(|text| text.parse().ok());
    Some(number.unwrap_or(0))
}

fn respond(following: Following) -> Response {
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    let mut response = Sse::new(stream(following))
        .keep_alive(keep_alive)
        .into_response();
    let headers = response.headers_mut();
    // A proxy that buffers would hold events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct Following {
    watched: Arc<Watched>,
    stream: u64,
    expires: Instant,
    replaced: Replaced,
    closing: watch::Receiver<bool>,
    _waiting: Hold,
}

fn stream(following: Following) -> impl Stream<Item = Result<Event, Infallible>> {
    futures::stream::unfold(Some(following), |following| async move {
        let mut f = following?;
        tokio::select! {
            biased;
            _ = &mut f.replaced => None,
            () = closed(&mut f.closing) => None,
            () = sleep_until(f.expires) => Some((Ok(Event::default().event("expired").data("{}")), None)),
            index = f.watched.watch.changed() => {
                let number = f.watched.tell(f.stream, index)?;
                let event = Event::default()
                    .event("changed")
                    .id(number.to_string())
                    .data(format!("{{\"index\":{index}}}"));
                Some((Ok(event), Some(f)))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::WatchHub;
    use crate::limits::Gauge;
    use lapwing_protocol::id::MailboxId;

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_shows_that_it_lives_and_ends_with_its_watch() {
        let hub = WatchHub::new(1);
        let watches = Watches::new(1);
        let token = [1; 32];
        let expires = Instant::now() + Duration::from_secs(LIFE.get().into());
        let watch = hub.watch(&[MailboxId::from_bytes([2; 32])]).unwrap();
        watches.add(&token, watch, expires).unwrap();
        let (watched, expires, replaced) = watches.stream(&token).unwrap();
        let (_close, closing) = watch::channel(false);
        let response = respond(Following {
            stream: watched.begin(None),
            watched,
            expires,
            replaced,
            closing,
            _waiting: Gauge::new(1).take(1).unwrap(),
        });
        let begun = Instant::now();
        let body = axum::body::to_bytes(response.into_body(), 1000)
            .await
            .unwrap();
        assert_eq!(begun.elapsed().as_secs(), 300);
        let text = std::str::from_utf8(&body).unwrap();
        let silent = text.strip_suffix("event: expired\ndata: {}\n\n").unwrap();
        assert!(
            (19..=20).contains(&silent.matches(":\n\n").count()),
            "{text}"
        );
        assert!(watches.stream(&token).is_none());
        // The next order finds the place free, and the mailboxes are no longer watched.
        let other = WatchHub::new(1);
        let watch = other.watch(&[MailboxId::from_bytes([2; 32])]).unwrap();
        let later = expires + Duration::from_secs(1);
        watches.add(&[3; 32], watch, later).unwrap();
        assert!(hub.is_empty());
    }

    #[test]
    fn what_a_broken_stream_told_is_told_again_and_nothing_else() {
        let hub = WatchHub::new(3);
        let ids = [1, 2, 3].map(|n| MailboxId::from_bytes([n; 32]));
        let watched = Watched::new(hub.watch(&ids).unwrap());
        let next = |stream| {
            let place = futures::FutureExt::now_or_never(watched.watch.changed())?;
            watched.tell(stream, place).map(|number| (number, place))
        };
        let first = watched.begin(None);
        ids.iter().for_each(|id| hub.notify(id));
        assert_eq!(next(first), Some((1, 0)));
        assert_eq!(next(first), Some((2, 1)));
        // The client saw event 1 alone; place 2 was never told.
        let second = watched.begin(Some(1));
        assert_eq!(next(second), Some((3, 1)));
        assert_eq!(next(second), Some((4, 2)));
        assert_eq!(next(second), None);
        let third = watched.begin(Some(4));
        assert_eq!(next(third), None);
        // The stream before, still being polled elsewhere, takes nothing from this one.
        hub.notify(&ids[0]);
        assert_eq!(next(second), None);
        assert_eq!(next(third), Some((5, 0)));
        // A number of some other watch: all that was told so far.
        let fourth = watched.begin(Some(99));
        assert_eq!(next(fourth), Some((6, 0)));
        assert_eq!(next(fourth), Some((7, 1)));
        assert_eq!(next(fourth), Some((8, 2)));
        let fifth = watched.begin(None);
        assert_eq!(next(fifth), None);
    }

    #[test]
    fn a_last_event_is_a_number_or_stands_for_the_beginning() {
        let given = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("last-event-id", text.parse().unwrap());
            last_event(&headers)
        };
        assert_eq!(last_event(&HeaderMap::new()), None);
        assert_eq!(given("7"), Some(7));
        for other in ["", "-1", "x", "99999999999999999999"] {
            assert_eq!(given(other), Some(0), "{other}");
        }
    }
}
