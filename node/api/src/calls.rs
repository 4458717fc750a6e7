//! The calls that carry protocol bytes: bound, check, ask, answer; and the long poll.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use lapwing_protocol::client::{Answer, CallKind, CheckedCall, check_call};
use lapwing_protocol::codec::{Encoder, Wire};
use lapwing_protocol::cose::Verified;
use lapwing_protocol::mailbox::{Page, ReadProof};
use lapwing_protocol::problem::Problem;
use tokio::time::{Instant, timeout, timeout_at};

use crate::limits::{Hold, held, read_body};
use crate::node::Node;
use crate::problem::Refusal;
use crate::rate::Network;
use crate::router::{Shell, closed};

/// Longest wait of a long poll, in seconds.
pub(crate) const MAX_WAIT: u32 = 30;

/// After a change, the holders may have the item a moment later than this node heard of it.
const SECOND_LOOK: Duration = Duration::from_millis(200);

/// Larger answers are counted against the memory for answers.
const SMALL_ANSWER: usize = 8 * 1024;

/// Carries one call.
pub(crate) async fn call<N: Node>(
    shell: Arc<Shell<N>>,
    kind: CallKind,
    request: Request,
) -> Response {
    answer(&shell, kind, request)
        .await
        .unwrap_or_else(Refusal::respond)
}

async fn answer<N: Node>(
    shell: &Shell<N>,
    kind: CallKind,
    request: Request,
) -> Result<Response, Refusal> {
    let network = request.extensions().get::<Network>().copied();
    spend(shell, network, price(kind))?;
    check_type(request.headers(), kind.content_type())?;
    let wait = match kind {
        CallKind::Read => wait_of(request.uri().query())?,
        _ => 0,
    };
    let (body, _held) = read_body(
        request.into_body(),
        kind.max_body(),
        &shell.bodies,
        shell.config.body_timeout,
    )
    .await?;
    let working = shell.calls.take(1).ok_or(Problem::Busy)?;
    let checked = if kind == CallKind::Publish {
        spend(shell, network, units(body.len() / 512))?;
        check_slowly(shell, body).await?
    } else {
        let view = shell.node.view();
        check_call(kind, &body, &view, &shell.node.id(), shell.node.now())?
    };
    match checked {
        CheckedCall::Read(proof, after) => read(shell, &proof, after, wait, working).await,
        call => Ok(bytes(ask(shell, call).await?)),
    }
}

/// Checks a record of the chain of trust. It may be a mebibyte with thousands of keys: too long for
/// the threads that serve everybody.
pub(crate) async fn check_slowly<N: Node>(
    shell: &Shell<N>,
    body: Bytes,
) -> Result<CheckedCall, Refusal> {
    let checking = shell.publishing.take(1).ok_or(Problem::Busy)?;
    let (view, me, now) = (shell.node.view(), shell.node.id(), shell.node.now());
    let check = tokio::task::spawn_blocking(move || {
        let _checking = checking;
        check_call(CallKind::Publish, &body, &view, &me, now)
    });
    Ok(check.await.map_err(|_| Problem::Internal)??)
}

/// Asks the node, for as long as a call may take.
pub(crate) async fn ask<N: Node>(shell: &Shell<N>, call: CheckedCall) -> Result<Answer, Problem> {
    match timeout(shell.config.call_timeout, shell.node.ask(call)).await {
        Ok(answer) => answer,
        // Whether it happened is not known; asking again is safe.
        Err(_) => Err(Problem::HoldersAway),
    }
}

async fn read<N: Node>(
    shell: &Shell<N>,
    proof: &Verified<ReadProof>,
    after: Option<u32>,
    wait: u32,
    working: Hold,
) -> Result<Response, Refusal> {
    if wait == 0 {
        let page = page(shell, proof, after).await?;
        return respond(shell, page);
    }
    let _waiting = shell.waiting.take(1).ok_or(Problem::Busy)?;
    let deadline = Instant::now() + Duration::from_secs(wait.into());
    // Before the first look, so that nothing falls between the two.
    let watch = shell.node.watch(&[proof.mailbox.id()])?;
    let mut closing = shell.closing.clone();
    let mut working = working;
    loop {
        let found = page(shell, proof, after).await?;
        if !found.entries.is_empty() || found.more {
            return respond(shell, found);
        }
        // While it waits, it keeps nobody from working.
        drop(working);
        let changed = tokio::select! {
            changed = timeout_at(deadline, watch.changed()) => changed.is_ok(),
            () = closed(&mut closing) => false,
        };
        if !changed {
            return respond(shell, found);
        }
        working = shell.calls.take(1).ok_or(Problem::Busy)?;
        let found = page(shell, proof, after).await?;
        if !found.entries.is_empty() {
            return respond(shell, found);
        }
        tokio::time::sleep(SECOND_LOOK).await;
    }
}

async fn page<N: Node>(
    shell: &Shell<N>,
    proof: &Verified<ReadProof>,
    after: Option<u32>,
) -> Result<Page, Problem> {
    if let Some(page) = shell.node.read_local(&proof.mailbox, after) {
        return page;
    }
    match ask(shell, CheckedCall::Read(proof.clone(), after)).await? {
        Answer::Page(page) => Ok(page),
        _ => Err(Problem::Internal),
    }
}

fn respond<N: Node>(shell: &Shell<N>, page: Page) -> Result<Response, Refusal> {
    let size = page
        .entries
        .iter()
        .map(|e| 64 + e.blob.len() + e.grants.iter().map(|g| g.len() + 3).sum::<usize>())
        .sum::<usize>();
    let mut out = Encoder::with_capacity(size + 16);
    page.encode(&mut out);
    let out = out.into_vec();
    drop(page);
    let body = if out.len() > SMALL_ANSWER {
        let hold = shell.answers.take(out.len()).ok_or(Problem::Busy)?;
        held(out, hold)
    } else {
        out.into()
    };
    Ok(ok("application/cbor", body))
}

fn bytes(answer: Answer) -> Response {
    let content_type = answer.content_type();
    let body = match answer {
        Answer::Token(bytes) | Answer::Admission(bytes) => bytes,
        other => other.to_bytes(),
    };
    ok(content_type, body.into())
}

/// A successful answer that concerns nobody else and is not to be kept on the way.
pub(crate) fn ok(content_type: &'static str, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Spends of the network's allowance.
pub(crate) fn spend<N: Node>(
    shell: &Shell<N>,
    network: Option<Network>,
    units: u32,
) -> Result<(), Refusal> {
    match network {
        Some(network) => shell
            .rates
            .spend(network, units)
            .map_err(|after| Refusal::Limited { after }),
        None => Ok(()),
    }
}

/// What an expensive call costs of a network's allowance.
pub(crate) const EXPENSIVE: u32 = 40;

/// What a call costs: see [`crate::Rate`]. Expensive is what makes the node sign, open or count
/// something, or look through a queue.
pub(crate) fn price(kind: CallKind) -> u32 {
    match kind {
        CallKind::Read
        | CallKind::ReadMarks
        | CallKind::Write
        | CallKind::Delete
        | CallKind::SetMark
        | CallKind::Release
        | CallKind::Relist => 1,
        CallKind::Token
        | CallKind::Request
        | CallKind::Open
        | CallKind::Challenge
        | CallKind::Claim
        | CallKind::Lock
        | CallKind::Publish => EXPENSIVE,
    }
}

fn units(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Refuses a body of another media type (parameters are ignored), or a compressed one.
pub(crate) fn check_type(headers: &HeaderMap, expected: &str) -> Result<(), Refusal> {
    let given = headers.get(CONTENT_TYPE).map_or(&[][..], |v| v.as_bytes());
    let essence = given.split(|b| *b == b';').next().unwrap_or_default();
    if essence
        .trim_ascii()
        .eq_ignore_ascii_case(expected.as_bytes())
        && !headers.contains_key(CONTENT_ENCODING)
    {
        Ok(())
    } else {
        Err(Refusal::WrongType)
    }
}

/// The seconds of `wait=`, zero without it. Parameters with other names are ignored.
fn wait_of(query: Option<&str>) -> Result<u32, Problem> {
    let Some(query) = query else { return Ok(0) };
    let mut values = query.split('&').filter_map(|p| p.strip_prefix("wait="));
    let Some(value) = values.next() else {
        return Ok(0);
    };
    let digits = !value.is_empty() && value.len() <= 2 && value.bytes().all(|b| b.is_ascii_digit());
    match value.parse() {
        Ok(seconds) if digits && seconds <= MAX_WAIT && values.next().is_none() => Ok(seconds),
        _ => Err(Problem::OutOfBounds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_whole_seconds_up_to_thirty() {
        assert_eq!(wait_of(None), Ok(0));
        assert_eq!(wait_of(Some("x=1")), Ok(0));
        assert_eq!(wait_of(Some("x=1&wait=30")), Ok(30));
        for bad in [
            "wait=",
            "wait=31",
            "wait=-1",
            "wait=+1",
            "wait=1.5",
            "wait=001",
            "wait=1&wait=1",
            "wait=%31",
        ] {
            assert_eq!(wait_of(Some(bad)), Err(Problem::OutOfBounds), "{bad}");
        }
    }

    #[test]
    fn no_call_costs_more_than_the_smallest_burst() {
        for kind in CallKind::ALL {
            assert!(price(kind) + units(kind.max_body() / 512) <= 4096);
        }
    }

    /// `docs/spec/http.md` has every call with its bounds.
    #[test]
    fn the_spec_page_lists_every_call() {
        let page = include_str!("../../../docs/spec/http.md");
        for kind in CallKind::ALL {
            let media = kind.content_type().trim_start_matches("application/");
            let begins = format!("| `{}` | {media} ", kind.path());
            let row = page.lines().find(|l| l.starts_with(&begins));
            let row = row.unwrap_or_else(|| panic!("no row begins {begins}"));
            assert!(row.contains(&format!(" | {} | ", kind.max_body())), "{row}");
            let cost = row.trim_end_matches('|').rsplit('|').next().unwrap();
            assert!(
                cost.trim().split(' ').next() == Some(&price(kind).to_string()),
                "{row}"
            );
        }
    }
}
