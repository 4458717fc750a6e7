//! The shapes of the JSON answers, as JSON Schema 2020-12. A test holds real answers against them.

use lapwing_protocol::problem::Problem;
use serde_json::{Map, Value, json};

use crate::problem::Refusal;

/// All refusals that exist, in the order of their numbers, those of HTTP alone last.
pub(crate) fn refusals() -> impl Iterator<Item = Refusal> {
    (1..)
        .map_while(Problem::from_code)
        .map(Refusal::from)
        .chain(Refusal::OF_HTTP)
}

/// The schemas that the API document refers to, by name.
pub(crate) fn schemas() -> Map<String, Value> {
    [
        ("Hex32", hex()),
        ("Time", time()),
        ("Node", node()),
        ("Params", params()),
        ("TrustIndex", trust_index()),
        ("MediatorTrust", mediator()),
        ("Listed", listed(false)),
        ("ListedUntil", listed(true)),
        ("Watch", watch()),
        ("Changed", changed()),
        ("Health", health()),
        ("Problem", problem()),
    ]
    .into_iter()
    .map(|(name, schema)| (name.to_owned(), schema))
    .collect()
}

/// A reference to one of [`schemas`].
pub(crate) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn or_null(name: &str) -> Value {
    json!({ "oneOf": [reference(name), { "type": "null" }] })
}

/// An object with exactly these fields, all of them always there.
fn object(description: &str, fields: &[(&str, Value)]) -> Value {
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let properties: Map<String, Value> = fields
        .iter()
        .map(|(name, schema)| ((*name).to_owned(), schema.clone()))
        .collect();
    json!({
        "type": "object",
        "description": description,
        "required": names,
        "properties": properties,
    })
}

fn number(description: &str) -> Value {
    json!({ "type": "integer", "minimum": 0, "description": description })
}

fn hex() -> Value {
    json!({
        "type": "string",
        "pattern": "^[0-9a-f]{64}$",
        "description": "32 bytes as lowercase hexadecimal.",
    })
}

fn time() -> Value {
    json!({
        "type": "integer",
        "minimum": 0,
        "maximum": (1_u64 << 40) - 1,
        "description": "Seconds since 1970-01-01T00:00:00Z.",
    })
}

fn node() -> Value {
    let sequence = json!({
        "type": ["integer", "null"],
        "minimum": 0,
        "description": "The sequence of the roster in force, or null.",
    });
    object(
        "Who the node is, and by which numbers it goes. Compare `time` with your own clock: what you sign must be dated within `params.clock_skew` of it.",
        &[
            ("node", reference("Hex32")),
            ("signing_key", reference("Hex32")),
            ("federation", reference("Hex32")),
            ("roster", sequence),
            (
                "version",
                json!({ "type": "string", "description": "The version of the node's software." }),
            ),
            (
                "api",
                json!({ "type": "string", "description": "The version of this API that the node speaks." }),
            ),
            ("time", reference("Time")),
            ("params", or_null("Params")),
        ],
    )
}

fn params() -> Value {
    object(
        "The federation's numbers, from its roster.",
        &[
            ("replicas", number("R: holders of an id.")),
            ("epoch", number("Length of a lottery epoch, in seconds.")),
            (
                "token_life",
                number("How long after its epoch a token may be used, in seconds."),
            ),
            (
                "token_work",
                number("Leading zero bits of the work for a token."),
            ),
            (
                "box_work",
                number("Leading zero bits of the work for a write to a mediator's box."),
            ),
            (
                "open_offers",
                number("Open offers a token may have at once."),
            ),
            (
                "reoffers",
                number("How often a token may be offered to again."),
            ),
            (
                "ticket_life",
                number("How long a ticket may stay unspent, in seconds."),
            ),
            ("claim_size", number("Most requests of one claim.")),
            (
                "clock_skew",
                number("How far a signed time may be from the node's clock, in seconds."),
            ),
            (
                "openings_per_day",
                number("Openings that one node may admit a day."),
            ),
            (
                "mediator_signatures",
                number("Operators that must sign a mediator's registration."),
            ),
            (
                "shards",
                number("Parts into which ids are divided for gossip."),
            ),
            (
                "tokens_per_epoch",
                number(
                    "Tokens that one node may issue, and requests it may admit, a lottery epoch.",
                ),
            ),
        ],
    )
}

fn listed(expires: bool) -> Value {
    let mut fields = vec![
        ("id", reference("Hex32")),
        ("sequence", number("Higher replaces lower.")),
    ];
    if expires {
        fields.push(("expires", reference("Time")));
    }
    object("A record in force.", &fields)
}

fn mediator() -> Value {
    object(
        "A mediator's records in force.",
        &[
            ("mediator", reference("Hex32")),
            ("registration", reference("ListedUntil")),
            ("certificate", or_null("ListedUntil")),
            ("regions", or_null("Listed")),
            ("directory", or_null("Listed")),
            ("revocations", or_null("Listed")),
            ("status", or_null("ListedUntil")),
        ],
    )
}

fn trust_index() -> Value {
    object(
        "The ids of the records in force. Verify the records themselves.",
        &[
            ("federation", reference("Hex32")),
            ("roster", or_null("ListedUntil")),
            (
                "mediators",
                json!({ "type": "array", "items": reference("MediatorTrust") }),
            ),
        ],
    )
}

fn watch() -> Value {
    object(
        "A watch. Whoever has its token sees that the mailboxes change, and nothing else.",
        &[
            ("watch", reference("Hex32")),
            ("expires", reference("Time")),
        ],
    )
}

fn changed() -> Value {
    object(
        "The data of a `changed` event.",
        &[(
            "index",
            number("The mailbox's place in the order of the watch, from 0."),
        )],
    )
}

fn health() -> Value {
    let status = json!({ "type": "string", "enum": ["live", "ready"] });
    object("The node's health.", &[("status", status)])
}

fn problem() -> Value {
    let codes: Vec<&str> = refusals().map(|r| r.row().0).collect();
    let mut schema = object(
        "Why something was refused (RFC 9457). Codes are stable, and new ones may come: go by the status where you do not know one.",
        &[
            (
                "type",
                json!({ "type": "string", "format": "uri", "description": "The code as a URI; leads nowhere." }),
            ),
            (
                "title",
                json!({ "type": "string", "description": "The status in words." }),
            ),
            (
                "status",
                json!({ "type": "integer", "minimum": 400, "maximum": 599 }),
            ),
            (
                "detail",
                json!({ "type": "string", "description": "A fixed sentence for people." }),
            ),
            (
                "code",
                json!({ "type": "string", "examples": codes, "description": "For programs." }),
            ),
        ],
    );
    schema["properties"]["retry"] = json!({
        "const": true,
        "description": "There where the same request may succeed later: wait as Retry-After says.",
    });
    schema
}
