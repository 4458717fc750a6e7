//! What each endpoint takes and answers, in words and bounds: the material of the API document.

use lapwing_protocol::client::{CallKind, MAX_WATCH_ORDER};
use lapwing_protocol::problem::Problem;

use crate::endpoint::Endpoint;
use crate::problem::Refusal;

/// An endpoint, described.
pub(crate) struct Operation {
    /// A name for generated code; unique.
    pub(crate) id: &'static str,
    /// The chapter it stands in: one of [`CHAPTERS`].
    pub(crate) chapter: &'static str,
    /// One line.
    pub(crate) summary: &'static str,
    /// What a caller has to know, beyond that.
    pub(crate) text: &'static str,
    /// Parameters of path, query and head.
    pub(crate) parameters: &'static [Parameter],
    /// The body of the request.
    pub(crate) body: Option<Bytes>,
    /// The body of the answer.
    pub(crate) answer: Answer,
    /// Whether it has an entity tag and answers `If-None-Match`.
    pub(crate) tagged: bool,
    /// Refusals by the HTTP side; the protocol's own are on the page of the call.
    pub(crate) refusals: Vec<Refusal>,
}

/// A parameter.
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    pub(crate) text: &'static str,
    pub(crate) shape: Shape,
}

/// Where a parameter stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Path,
    Query,
    Head,
}

impl Place {
    /// As the API document names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Head => "header",
        }
    }
}

/// What a parameter may be.
pub(crate) enum Shape {
    /// 64 lowercase hexadecimal digits.
    Hex32,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// A whole number up to this.
    UpTo(u32),
    /// Text.
    Text,
}

/// Protocol bytes.
pub(crate) struct Bytes {
    /// The media type.
    pub(crate) media: &'static str,
    /// What they hold, by the name that the pages of the specification use.
    pub(crate) name: &'static str,
    /// Most bytes.
    pub(crate) max: Option<usize>,
}

/// What comes back.
pub(crate) enum Answer {
    Bytes(Bytes),
    /// JSON of this schema.
    Json(&'static str),
    /// Server-sent events.
    Events,
    /// A page to read.
    Html,
    /// The API document.
    Document,
}

/// The chapters, in order, each with a line on it.
pub(crate) const CHAPTERS: [(&str, &str); 6] = [
    (
        "tokens",
        "Drawing a priority token and asking for an appointment with it.",
    ),
    ("mailboxes", "Sealed blobs and marks, and waiting for them."),
    (
        "queue",
        "For certified providers: claiming requests and taking booking locks.",
    ),
    ("trust", "The chain of trust. Public; verify it yourself."),
    ("node", "Who the node is, and this document."),
    (
        "health",
        "For load balancers and supervisors. Free of charge.",
    ),
];

const COSE: &str = "application/cose";
const CBOR: &str = "application/cbor";

const KINDS: [&str; 6] = [
    "registration",
    "certificate",
    "regions",
    "directory",
    "revocations",
    "status",
];

const WAIT: Parameter = Parameter {
    name: "wait",
    place: Place::Query,
    text: "Long poll: wait so many seconds for something behind `after`, then answer with an empty page.",
    shape: Shape::UpTo(crate::calls::MAX_WAIT),
};
const WATCH: Parameter = Parameter {
    name: "watch",
    place: Place::Path,
    text: "The watch's token.",
    shape: Shape::Hex32,
};
const LAST_EVENT: Parameter = Parameter {
    name: "last-event-id",
    place: Place::Head,
    text: "The id of the last event that arrived, 0 for none: what was told after it is told again. A browser's EventSource sends it by itself.",
    shape: Shape::Text,
};
const RECORD: Parameter = Parameter {
    name: "id",
    place: Place::Path,
    text: "The record's id: BLAKE3 of its bytes.",
    shape: Shape::Hex32,
};
const KIND: Parameter = Parameter {
    name: "kind",
    place: Place::Path,
    text: "Which record.",
    shape: Shape::OneOf(&KINDS),
};
const MEDIATOR: Parameter = Parameter {
    name: "mediator",
    place: Place::Path,
    text: "The mediator's id.",
    shape: Shape::Hex32,
};

impl Endpoint {
    /// Describes it.
    pub(crate) fn describe(self) -> Operation {
        match self {
            Self::Call(kind) => call(kind),
            Self::OpenWatch => Operation {
                body: Some(Bytes {
                    media: CBOR,
                    name: "WatchOrder",
                    max: Some(MAX_WATCH_ORDER),
                }),
                refusals: carried(),
                ..about(
                    "openWatch",
                    "mailboxes",
                    "Watch up to 64 mailboxes for five minutes",
                    "The token that comes back stands for the watch: it lets its bearer see that these mailboxes change. Put it into no log.",
                    &[],
                    Answer::Json("Watch"),
                )
            },
            Self::WatchEvents => Operation {
                refusals: vec![Problem::NotFound.into(), Problem::Busy.into()],
                ..about(
                    "followWatch",
                    "mailboxes",
                    "Follow a watch by server-sent events",
                    "`event: changed` names a mailbox by its place in the order, as JSON `Changed`; read it to see what changed. `event: expired` ends the stream after five minutes. A comment every 15 seconds shows that it lives. One stream at a time: a second one ends the first.",
                    &[WATCH, LAST_EVENT],
                    Answer::Events,
                )
            },
            Self::TrustIndex => tagged(about(
                "trustIndex",
                "trust",
                "Which records are in force",
                "",
                &[],
                Answer::Json("TrustIndex"),
            )),
            Self::TrustAll => Operation {
                refusals: vec![Problem::RateLimited.into(), Problem::Busy.into()],
                ..tagged(about(
                    "trustAll",
                    "trust",
                    "Every record of the chain of trust",
                    "One CBOR array of byte strings; each record stands after those that it needs.",
                    &[],
                    bytes(CBOR, "Records", None),
                ))
            },
            Self::TrustRecord => found(about(
                "trustRecord",
                "trust",
                "One record, by its id",
                "It never changes.",
                &[RECORD],
                bytes(COSE, "Record", None),
            )),
            Self::TrustRoster => found(about(
                "trustRoster",
                "trust",
                "The roster in force",
                "",
                &[],
                bytes(COSE, "Roster", None),
            )),
            Self::TrustOfMediator => found(about(
                "trustOfMediator",
                "trust",
                "The latest record of a mediator's",
                "",
                &[KIND, MEDIATOR],
                bytes(COSE, "Record", None),
            )),
            Self::Node => about(
                "node",
                "node",
                "Who this node is, its clock, and the federation's numbers",
                "Ask it first. Where `time` differs from your clock by more than `params.clock_skew`, date what you sign by the node's.",
                &[],
                Answer::Json("Node"),
            ),
            Self::Document => tagged(about(
                "document",
                "node",
                "This API as an OpenAPI 3.1 document",
                "",
                &[],
                Answer::Document,
            )),
            Self::Page => tagged(about(
                "page",
                "node",
                "This API as a page to read",
                "",
                &[],
                Answer::Html,
            )),
            Self::Live => about(
                "live",
                "health",
                "Whether the process answers",
                "",
                &[],
                Answer::Json("Health"),
            ),
            Self::Ready => Operation {
                refusals: vec![Problem::NotReady.into()],
                ..about(
                    "ready",
                    "health",
                    "Whether the node can serve calls",
                    "`detail` says what is missing.",
                    &[],
                    Answer::Json("Health"),
                )
            },
        }
    }
}

fn call(kind: CallKind) -> Operation {
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

fn bytes(media: &'static str, name: &'static str, max: Option<usize>) -> Answer {
    Answer::Bytes(Bytes { media, name, max })
}

fn about(
    id: &'static str,
    chapter: &'static str,
    summary: &'static str,
    text: &'static str,
    parameters: &'static [Parameter],
    answer: Answer,
) -> Operation {
    Operation {
        id,
        chapter,
        summary,
        text,
        parameters,
        body: None,
        answer,
        tagged: false,
        refusals: Vec::new(),
    }
}

fn tagged(operation: Operation) -> Operation {
    Operation {
        tagged: true,
        ..operation
    }
}

/// For what is looked up by name or id.
fn found(operation: Operation) -> Operation {
    Operation {
        refusals: vec![Problem::NotFound.into()],
        ..tagged(operation)
    }
}

/// What may be refused of any call that has a body, whatever it is about.
fn carried() -> Vec<Refusal> {
    let mut refusals: Vec<Refusal> = [
        Problem::Malformed,
        Problem::TooLarge,
        Problem::BadSignature,
        Problem::RateLimited,
        Problem::Busy,
        Problem::HoldersAway,
        Problem::NotReady,
        Problem::Internal,
    ]
    .map(Refusal::from)
    .into();
    refusals.extend([Refusal::WrongType, Refusal::SlowBody]);
    refusals
}
