//! The calls that carry protocol bytes, described.

use lapwing_protocol::client::CallKind;

use crate::describe::{
    Bytes, CBOR, COSE, Operation, Parameter, Place, Shape, about, bytes, carried,
};

const WAIT: Parameter = Parameter {
    name: "wait",
    place: Place::Query,
    text: "Long poll: wait so many seconds for something behind `after`, then answer with an empty page.",
    shape: Shape::UpTo(crate::calls::MAX_WAIT),
};
/// Describes a call.
pub(crate) fn call(kind: CallKind) -> Operation {
    let (id, chapter, summary, text, takes, gives) = match kind {
        CallKind::Token => (
            "drawToken",
            "tokens",
            "Draw a priority token",
            "Needs work over H; the token is bound to H and to the key that will sign the request.",
            "TokenOrder",
            "PriorityToken",
        ),
        CallKind::Request => (
            "placeRequest",
            "tokens",
            "Ask for an appointment in a region",
            "Admits the token once, opens the user's inbox, and puts the request into the region's queue.",
            "Request",
            "Admission",
        ),
        CallKind::Open => (
            "openMailboxes",
            "mailboxes",
            "Open mailboxes and marks",
            "For certified providers and mediators; a user's inbox is opened by the request.",
            "OpenOrder",
            "Openings",
        ),
        CallKind::Write => (
            "writeMailbox",
            "mailboxes",
            "Write a blob into a mailbox's slot",
            "",
            "BlobWrite",
            "Receipt",
        ),
        CallKind::Read => (
            "readMailbox",
            "mailboxes",
            "Read a page of a mailbox",
            "Ordered by slot. Where `more` is set, go on with the last slot as `after`.",
            "ReadOrder",
            "Page",
        ),
        CallKind::Delete => (
            "deleteBlob",
            "mailboxes",
            "Delete what is in a slot",
            "The slot takes nothing more.",
            "Deletion",
            "Receipt",
        ),
        CallKind::SetMark => (
            "setMark",
            "mailboxes",
            "Set a mark",
            "The highest version wins; of two with one version, taken.",
            "MarkState",
            "Receipt",
        ),
        CallKind::ReadMarks => (
            "readMarks",
            "mailboxes",
            "Read up to 64 marks",
            "A mark that was never set is absent from the answer.",
            "MarkOrder",
            "Marks",
        ),
        CallKind::Challenge => (
            "challenges",
            "queue",
            "Ask the holders of a region for challenges",
            "Each is a nonce sealed to the region's key; a claim answers them.",
            "ChallengeOrder",
            "Challenges",
        ),
        CallKind::Claim => (
            "claim",
            "queue",
            "Claim requests in priority order",
            "Each comes with a ticket, which one write to its inbox spends.",
            "Claim",
            "Claims",
        ),
        CallKind::Lock => (
            "takeLock",
            "queue",
            "Take a token's booking lock",
            "Before a booking is confirmed, so that no token is booked twice.",
            "LockOrder",
            "Locks",
        ),
        CallKind::Release => (
            "releaseLock",
            "queue",
            "Free a booking lock",
            "By the user's token key or the provider's ticket key.",
            "Release",
            "Receipt",
        ),
        CallKind::Relist => (
            "relist",
            "queue",
            "Be listed again",
            "Gives up the offers of some tickets, so that other providers may offer.",
            "Relist",
            "Receipt",
        ),
        CallKind::Publish => (
            "publish",
            "trust",
            "Publish a record of the chain of trust",
            "Costs one more for every 512 bytes of it. The answer is its id, a byte string.",
            "Record",
            "RecordId",
        ),
    };
    let media = match kind {
        CallKind::Token | CallKind::Request => COSE,
        _ => CBOR,
    };
    let parameters: &[Parameter] = match kind {
        CallKind::Read => &[WAIT],
        _ => &[],
    };
    Operation {
        body: Some(Bytes {
            media: kind.content_type(),
            name: takes,
            max: Some(kind.max_body()),
        }),
        refusals: carried(),
        ..about(
            id,
            chapter,
            summary,
            text,
            parameters,
            bytes(media, gives, Some(kind.max_answer())),
        )
    }
}
