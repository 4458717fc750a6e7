//! What each endpoint takes and answers, in words and bounds: the material of the API document.

use lapwing_protocol::client::MAX_WATCH_ORDER;
use lapwing_protocol::problem::Problem;

use crate::describe_call::call;
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

pub(crate) const COSE: &str = "application/cose";
pub(crate) const CBOR: &str = "application/cbor";

const KINDS: [&str; 6] = [
    "registration",
    "certificate",
    "regions",
    "directory",
    "revocations",
    "status",
];

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

pub(crate) fn bytes(media: &'static str, name: &'static str, max: Option<usize>) -> Answer {
    Answer::Bytes(Bytes { media, name, max })
}

pub(crate) fn about(
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
pub(crate) fn carried() -> Vec<Refusal> {
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
