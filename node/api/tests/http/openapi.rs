//! The API document: that the router and real answers keep to it.

use serde_json::Value;

use crate::client::Client;
use crate::node::{Served, served};

async fn document(client: &mut Client) -> Value {
    let reply = client.get("/v1/openapi.json").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    reply.json()
}

/// Refuses what a schema of the document does not allow; of JSON Schema it knows what they use.
fn hold(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let refuse = |what: &str| Err(format!("{at}: {what}: {value}"));
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(&reference[1..]).unwrap();
        return hold(root, target, value, at);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = |s: &&Value| hold(root, s, value, at).is_ok();
        return match choices.iter().filter(fits).count() {
            1 => Ok(()),
            _ => refuse("not one of the choices"),
        };
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    };
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !types.is_empty() && !types.contains(&is) {
        return refuse("of another type");
    }
    if schema.get("const").is_some_and(|c| c != value) {
        return refuse("not the constant");
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        return refuse("not in the list");
    }
    if schema["pattern"] == "^[0-9a-f]{64}$" {
        let text = value.as_str().unwrap_or_default();
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 64 || !text.bytes().all(digit) {
            return refuse("not 64 lowercase hexadecimal digits");
        }
    }
    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
        hold(root, &schema["items"], item, &format!("{at}[{n}]"))?;
    }
    if let Some(fields) = value.as_object() {
        for name in schema["required"].as_array().into_iter().flatten() {
            if !fields.contains_key(name.as_str().unwrap()) {
                return refuse(&format!("lacks {name}"));
            }
        }
        for (name, field) in fields {
            match schema["properties"].get(name) {
                Some(s) => hold(root, s, field, &format!("{at}.{name}"))?,
                None => return refuse(&format!("{name} is not described")),
            }
        }
    }
    Ok(())
}

/// A path with its parameters filled in: well-formed, and leading to nothing.
fn filled(path: &str) -> String {
    path.replace("{kind}", "status")
        .split('/')
        .map(|part| {
            if part.starts_with('{') {
                "00".repeat(32)
            } else {
                part.to_owned()
            }
        })
        .collect::<Vec<_>>()
        .join("/")
}

#[tokio::test]
async fn the_router_has_every_path_of_the_document_and_takes_no_other_method() {
    let served = served().await;
    let mut client = served.client().await;
    let document = document(&mut client).await;
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    // GET and POST at /v1/trust are one path.
    assert_eq!(paths.len(), 25);
    for (path, item) in paths {
        let asked = filled(path);
        let described: Vec<String> = item
            .as_object()
            .unwrap()
            .keys()
            .map(|m| m.to_ascii_uppercase())
            .collect();
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            // The stream of a watch that does not exist is a problem like any other.
            let reply = client
                .request(method, &asked, &[("content-length", "0")])
                .await;
            let routed = !matches!(reply.status, 405)
                && (reply.status != 404 || reply.code() != "unknown_call");
            let wanted = described.iter().any(|m| m == method);
            assert_eq!(routed, wanted, "{method} {path}: {reply:?}");
            if reply.status == 405 {
                let allow = reply.header("allow").unwrap();
                for m in &described {
                    assert!(allow.split(',').any(|a| a == m), "{path}: {allow}");
                }
            }
        }
        assert_eq!(
            client.get(&format!("{asked}/")).await.status,
            404,
            "{path} with a slash"
        );
    }
}

async fn answer(served: &Served, document: &Value, path: &str) -> Result<(), String> {
    let mut client = served.client().await;
    let asked = path.replace("{mediator}", &served.fixture.mediator.id.to_hex());
    let reply = client.get(&asked).await;
    let response = &document["paths"][path]["get"]["responses"][reply.status.to_string()];
    let response = match response["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).unwrap(),
        None => response,
    };
    let media = reply.header("content-type").unwrap();
    let schema = &response["content"][media]["schema"];
    assert!(schema.is_object(), "{path}: {} {media}", reply.status);
    hold(document, schema, &reply.json(), path)
}

#[tokio::test]
async fn json_answers_are_as_the_document_says() {
    let served = served().await;
    let mut client = served.client().await;
    let document = document(&mut client).await;
    for path in [
        "/v1/node",
        "/v1/trust",
        "/v1/openapi.json",
        "/health/live",
        "/health/ready",
    ] {
        let held = if path == "/v1/openapi.json" {
            Ok(())
        } else {
            answer(&served, &document, path).await
        };
        assert_eq!(held, Ok(()));
    }
    *served.node.not_ready.lock().unwrap() = Some(lapwing_api::NotReady::NoRoster);
    assert_eq!(answer(&served, &document, "/health/ready").await, Ok(()));
    // The check itself refuses what it should.
    let node = &document["components"]["schemas"]["Node"];
    let mut said = client.get("/v1/node").await.json();
    said["node"] = "AB".into();
    assert!(hold(&document, node, &said, "node").is_err());
    said.as_object_mut().unwrap().remove("node");
    assert!(hold(&document, node, &said, "node").is_err());
}

#[tokio::test]
async fn refusals_are_as_the_document_says() {
    let served = served().await;
    let mut client = served.client().await;
    let document = document(&mut client).await;
    let problem = &document["components"]["schemas"]["Problem"];
    for path in ["/v1/tokens", "/v1/watches", "/v1/claims", "/v1/trust"] {
        let reply = client.post(path, "text/plain", b"x").await;
        assert_eq!(reply.code(), "wrong_type");
        assert_eq!(hold(&document, problem, &reply.json(), path), Ok(()));
        let listed = &document["paths"][path]["post"]["responses"]["415"];
        assert_eq!(listed["$ref"], "#/components/responses/Problem415");
    }
}

#[tokio::test]
async fn the_page_is_served_with_a_policy_that_allows_its_style_alone() {
    let served = served().await;
    let mut client = served.client().await;
    let page = client.get("/v1/docs").await;
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    assert!(policy.contains("frame-ancestors 'none'"));
    let tag = page.header("etag").unwrap();
    let again = client
        .request("GET", "/v1/docs", &[("if-none-match", tag)])
        .await;
    assert_eq!(again.status, 304);
    let text = String::from_utf8(page.body).unwrap();
    assert!(text.contains("<html lang=\"en\">") && text.contains("/v1/openapi.json"));
}
