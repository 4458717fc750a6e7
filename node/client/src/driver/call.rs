//! One call of a role, over HTTP.

use std::fmt::Debug;

use lapwing_protocol::client::{Answer, Call};
use lapwing_protocol::id::NodeId;
use lapwing_protocol::problem::Problem;
use lapwing_protocol::role::{Failure, Outcome};
use serde::Deserialize;

use crate::http::{Ask, Client, Server, StatusCode};

/// A node that a role may talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The node.
    pub id: NodeId,
    /// Where its API is.
    pub api: Server,
}

/// The places of a run, beginning with the `first`th.
#[must_use]
pub fn places_from(places: &[Place], first: usize) -> Vec<Place> {
    let mut places = places.to_vec();
    if !places.is_empty() {
        let first = first % places.len();
        places.rotate_left(first);
    }
    places
}

/// Is told of every call that a node answered with success: for tests that read it back.
pub trait Acknowledged: Debug + Send + Sync {
    /// A node answered a call with success.
    fn acknowledged(&self, call: &Call, answer: &Answer);
}

/// Nobody wants to know.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unheard;

impl Acknowledged for Unheard {
    fn acknowledged(&self, _: &Call, _: &Answer) {}
}

/// Makes one call.
///
/// # Errors
/// [`Failure`].
pub async fn make(
    client: &Client,
    api: &Server,
    call: &Call,
    ledger: &dyn Acknowledged,
) -> Outcome {
    let kind = call.kind();
    let ask = Ask::post(
        kind.path(),
        kind.content_type(),
        call.body().to_vec(),
        kind.max_answer(),
    );
    let reply = client
        .ask(api, &ask)
        .await
        .map_err(|_| Failure::Unreachable)?;
    if reply.status != StatusCode::OK {
        return Err(refusal(&reply.body));
    }
    let answer = Answer::parse(kind, &reply.body).map_err(|_| Failure::Unreachable)?;
    ledger.acknowledged(call, &answer);
    Ok(answer)
}

/// The problem that an error's body names; none of the protocol's counts as no answer.
fn refusal(body: &[u8]) -> Failure {
    #[derive(Deserialize)]
    struct Details {
        code: String,
    }
    let details: Option<Details> = serde_json::from_slice(body).ok();
    details
        .and_then(|d| Problem::from_text(&d.code))
        .map_or(Failure::Unreachable, Failure::Refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_read_and_others_count_as_no_answer() {
        assert_eq!(
            refusal(br#"{"code":"busy","status":503}"#),
            Failure::Refused(Problem::Busy)
        );
        for body in [&b"{}"[..], b"", b"{\"code\":\"slow_body\"}", b"\xff"] {
            assert_eq!(refusal(body), Failure::Unreachable);
        }
    }
}
