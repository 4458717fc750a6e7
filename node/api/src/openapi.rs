//! The API as an OpenAPI 3.1 document, made from the endpoints that the router is made from.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::describe::{Answer, Bytes, CHAPTERS, Operation, Parameter, Shape};
use crate::endpoint::{Endpoint, Method};
use crate::problem::Refusal;
use crate::schemas::{reference, refusals, schemas};
use crate::version;

/// What the API is, for who reads of it first.
pub(crate) const INTRODUCTION: &str = "A Lapwing node's public API. Apps keep keys and plaintext to themselves: what they send is signed, sealed, or both. Bodies and answers of calls are protocol bytes: `application/cose` for a signed record, `application/cbor` for the rest, in the one encoding that the specification allows. The schemas here name what those bytes hold; its fields are on the pages of the specification.";

/// What holds for every call.
pub(crate) const CONVENTIONS: [&str; 6] = [
    "Every call may be sent again with the same bytes and then does nothing more. After `holders_away`, a broken connection or no answer, send the same bytes again.",
    "Paths are matched byte by byte. Every GET answers HEAD too. Content-Encoding is refused.",
    "A refusal is a problem document (RFC 9457): go by `code`, and where you do not know it by the status. Where Retry-After is given, wait so many seconds.",
    "The path has the major version of the API. Within it things are only added; each addition raises the minor version, which `lapwing-version` of every answer gives. A request may carry `lapwing-version` with the least version that it needs: a node that does not speak it refuses it as `wrong_version`.",
    "Signed times must lie within `params.clock_skew` of the node's clock, which GET /v1/node tells.",
    "Calls cost units of an allowance that a network (an IPv4 /24, an IPv6 /48) has; what is not said to cost anything is free.",
];

/// The whole document.
pub(crate) fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for endpoint in Endpoint::all() {
        let item = paths.entry(endpoint.path()).or_insert_with(|| json!({}));
        let method = endpoint.method().name().to_ascii_lowercase();
        item[method] = operation(endpoint);
    }
    let tags: Vec<Value> = CHAPTERS
        .iter()
        .map(|(name, text)| json!({ "name": name, "description": text }))
        .collect();
    let description = [&[INTRODUCTION][..], &CONVENTIONS].concat().join("\n\n");
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Lapwing node API",
            "version": version::TEXT,
            "summary": "Arranging appointments in private, at any node of a federation.",
            "description": description,
            "license": { "name": "Apache License 2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "This node." }],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "parameters": { "Version": version_asked() },
            "headers": {
                "Version": {
                    "description": "The version of the API that the node speaks.",
                    "schema": { "type": "string", "const": version::TEXT },
                },
                "RetryAfter": {
                    "description": "Seconds to wait before the same request may succeed.",
                    "schema": { "type": "integer", "minimum": 1 },
                },
                "ETag": {
                    "description": "Names these bytes; for If-None-Match.",
                    "schema": { "type": "string" },
                },
            },
            "responses": responses(),
        },
    })
}

fn version_asked() -> Value {
    json!({
        "name": version::HEADER.as_str(),
        "in": "header",
        "required": false,
        "description": "The least version of the API that the request needs.",
        "schema": { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?$" },
    })
}

fn operation(endpoint: Endpoint) -> Value {
    let described = endpoint.describe();
    let versioned = endpoint.path().starts_with("/v1/");
    let mut parameters: Vec<Value> = described.parameters.iter().map(parameter).collect();
    if described.tagged {
        parameters.push(json!({
            "name": "if-none-match",
            "in": "header",
            "required": false,
            "description": "Entity tags that are known already.",
            "schema": { "type": "string" },
        }));
    }
    if versioned {
        parameters.push(json!({ "$ref": "#/components/parameters/Version" }));
    }
    let mut operation = json!({
        "operationId": described.id,
        "tags": [described.chapter],
        "summary": described.summary,
        "parameters": parameters,
        "responses": answers(&described, versioned),
        "x-cost": endpoint.cost(),
    });
    if !described.text.is_empty() {
        operation["description"] = described.text.into();
    }
    if endpoint.method() == Method::Post
        && let Some(body) = &described.body
    {
        operation["requestBody"] = json!({
            "required": true,
            "content": { body.media: { "schema": octets(body) } },
        });
    }
    operation
}

fn parameter(p: &Parameter) -> Value {
    let schema = match p.shape {
        Shape::Hex32 => reference("Hex32"),
        Shape::OneOf(values) => json!({ "type": "string", "enum": values }),
        Shape::UpTo(max) => json!({ "type": "integer", "minimum": 0, "maximum": max }),
        Shape::Text => json!({ "type": "string" }),
    };
    json!({
        "name": p.name,
        "in": p.place.name(),
        "required": p.place == crate::describe::Place::Path,
        "description": p.text,
        "schema": schema,
    })
}

/// Bytes have no JSON type; OpenAPI 3.1 bounds their number by `maxLength`.
fn octets(bytes: &Bytes) -> Value {
    let mut schema = json!({ "title": bytes.name, "contentMediaType": bytes.media });
    if let Some(max) = bytes.max {
        schema["maxLength"] = max.into();
    }
    schema
}

fn answers(described: &Operation, versioned: bool) -> Value {
    let content = match &described.answer {
        Answer::Bytes(bytes) => json!({ bytes.media: { "schema": octets(bytes) } }),
        Answer::Json(name) => json!({ "application/json": { "schema": reference(name) } }),
        Answer::Events => json!({ "text/event-stream": { "schema": { "type": "string" } } }),
        Answer::Html => json!({ "text/html": { "schema": { "type": "string" } } }),
        Answer::Document => json!({ "application/json": { "schema": { "type": "object" } } }),
    };
    let mut headers = Map::new();
    if versioned {
        headers.insert("lapwing-version".into(), header("Version"));
    }
    if described.tagged {
        headers.insert("etag".into(), header("ETag"));
    }
    let mut answers = json!({
        "200": { "description": described.summary, "headers": headers, "content": content },
        "default": { "$ref": "#/components/responses/Problem" },
    });
    if described.tagged {
        answers["304"] =
            json!({ "description": "What is known already is current.", "headers": headers });
    }
    let statuses: BTreeSet<u16> = described.refusals.iter().map(|r| r.row().1).collect();
    for status in statuses {
        answers[status.to_string()] =
            json!({ "$ref": format!("#/components/responses/Problem{status}") });
    }
    answers
}

fn header(name: &str) -> Value {
    json!({ "$ref": format!("#/components/headers/{name}") })
}

/// One response for each status that refuses, and one for those that a caller does not expect.
fn responses() -> Map<String, Value> {
    let mut by_status: BTreeMap<u16, Vec<Refusal>> = BTreeMap::new();
    for refusal in refusals() {
        by_status.entry(refusal.row().1).or_default().push(refusal);
    }
    let mut responses = Map::new();
    for (status, refusals) in by_status {
        let lines: Vec<String> = refusals
            .iter()
            .map(|r| format!("- `{}`: {}", r.row().0, r.row().2))
            .collect();
        let retry = refusals.iter().any(|r| r.retry_after().is_some());
        responses.insert(
            format!("Problem{status}"),
            refused(&lines.join("\n"), retry),
        );
    }
    responses.insert("Problem".into(), refused("Refused.", true));
    responses
}

fn refused(description: &str, retry: bool) -> Value {
    let mut response = json!({
        "description": description,
        "content": { "application/problem+json": { "schema": reference("Problem") } },
    });
    if retry {
        response["headers"] = json!({ "retry-after": header("RetryAfter") });
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere_and_every_name_is_its_own() {
        let document = document();
        let text = document.to_string();
        for part in text.split("\"$ref\":\"#").skip(1) {
            let pointer = part.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
        let mut ids = BTreeSet::new();
        for endpoint in Endpoint::all() {
            let described = endpoint.describe();
            assert!(ids.insert(described.id), "{}", described.id);
            assert!(CHAPTERS.iter().any(|(c, _)| *c == described.chapter));
            for p in described.parameters {
                let named = endpoint.path().contains(&format!("{{{}}}", p.name));
                let in_path = p.place == crate::describe::Place::Path;
                assert_eq!(named, in_path, "{} of {}", p.name, endpoint.path());
            }
            let named = endpoint.path().matches('{').count();
            let in_path = |p: &&Parameter| p.place == crate::describe::Place::Path;
            assert_eq!(described.parameters.iter().filter(in_path).count(), named);
            assert_eq!(described.body.is_some(), endpoint.method() == Method::Post);
        }
    }

    #[test]
    fn answers_have_the_media_types_that_the_node_gives_them() {
        use lapwing_protocol::client::{Answer as Given, CallKind};
        use lapwing_protocol::id::RecordId;
        for (kind, given) in [
            (CallKind::Token, Given::Token(vec![])),
            (CallKind::Request, Given::Admission(vec![])),
            (
                CallKind::Publish,
                Given::Published(RecordId::from_bytes([0; 32])),
            ),
        ] {
            let Answer::Bytes(said) = Endpoint::Call(kind).describe().answer else {
                panic!("calls answer with bytes");
            };
            assert_eq!(said.media, given.content_type());
        }
    }
}
