//! The API document as a page: HTML alone, no script, nothing from any other host.

use std::fmt::Write as _;

use data_encoding::BASE64;
use sha2::{Digest, Sha256};

use crate::describe::{Answer, Bytes, CHAPTERS, Operation, Shape};
use crate::endpoint::Endpoint;
use crate::openapi::{CONVENTIONS, INTRODUCTION};
use crate::schemas::refusals;
use crate::version;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8886;--soft:#8881}\
body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem}\
code{font-family:ui-monospace,monospace;overflow-wrap:anywhere}\
h2{border-bottom:1px solid var(--line);margin-top:2.5rem}\
article{border:1px solid var(--line);border-radius:.4rem;padding:.5rem 1rem;margin:1rem 0}\
h3{margin:.25rem 0;font-size:1.05rem}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}\
dt{font-weight:600}dd{margin:0}\
table{border-collapse:collapse;width:100%}\
th,td{text-align:left;vertical-align:top;border-bottom:1px solid var(--line);padding:.25rem .5rem}\
nav ul{columns:2 20rem}";

/// Forbids the page everything but the style that it brings.
pub(crate) fn policy() -> String {
    let hash = BASE64.encode(&Sha256::digest(STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// The page.
pub(crate) fn page() -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>Lapwing node API {v}</title><style>{STYLE}</style></head>\n<body>\
         <h1>Lapwing node API {v}</h1>\n<p>{}</p>\n<ul>\n",
        text(INTRODUCTION),
        v = version::TEXT,
    );
    for convention in CONVENTIONS {
        put(&mut out, format_args!("<li>{}</li>\n", text(convention)));
    }
    out.push_str(
        "</ul>\n<p>For programs: <a href=\"/v1/openapi.json\">OpenAPI 3.1 document</a>.</p>\n",
    );
    contents(&mut out);
    for (chapter, about) in CHAPTERS {
        put(
            &mut out,
            format_args!(
                "<h2 id=\"{chapter}\">{chapter}</h2>\n<p>{}</p>\n",
                text(about)
            ),
        );
        for endpoint in Endpoint::all() {
            let described = endpoint.describe();
            if described.chapter == chapter {
                article(&mut out, endpoint, &described);
            }
        }
    }
    problems(&mut out);
    out.push_str("</body></html>\n");
    out
}

fn put(out: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(what);
}

fn contents(out: &mut String) {
    out.push_str("<nav aria-label=\"Endpoints\"><ul>\n");
    for endpoint in Endpoint::all() {
        put(
            out,
            format_args!(
                "<li><a href=\"#{}\"><code>{} {}</code></a></li>\n",
                endpoint.describe().id,
                endpoint.method().name(),
                escape(endpoint.path())
            ),
        );
    }
    out.push_str("<li><a href=\"#refusals\">Refusals</a></li>\n</ul></nav>\n");
}

fn article(out: &mut String, endpoint: Endpoint, described: &Operation) {
    put(
        out,
        format_args!(
            "<article id=\"{}\"><h3><code>{} {}</code></h3>\n<p>{}. {}</p>\n<dl>\n",
            described.id,
            endpoint.method().name(),
            escape(endpoint.path()),
            text(described.summary),
            text(described.text)
        ),
    );
    for p in described.parameters {
        let shape = match p.shape {
            Shape::Hex32 => "64 lowercase hexadecimal digits".to_owned(),
            Shape::OneOf(values) => values.join(", "),
            Shape::UpTo(max) => format!("0 to {max}"),
            Shape::Text => "text".to_owned(),
        };
        put(
            out,
            format_args!(
                "<dt>{} <code>{}</code></dt><dd>{} ({})</dd>\n",
                p.place.name(),
                escape(p.name),
                text(p.text),
                escape(&shape)
            ),
        );
    }
    if let Some(body) = &described.body {
        put(
            out,
            format_args!("<dt>takes</dt><dd>{}</dd>\n", bytes(body)),
        );
    }
    let answer = match &described.answer {
        Answer::Bytes(answer) => bytes(answer),
        Answer::Json(name) => format!("JSON <code>{}</code>", escape(name)),
        Answer::Events => "server-sent events".to_owned(),
        Answer::Html => "HTML".to_owned(),
        Answer::Document => "JSON".to_owned(),
    };
    let tag = if described.tagged {
        ", with an entity tag"
    } else {
        ""
    };
    put(
        out,
        format_args!("<dt>answers</dt><dd>{answer}{tag}</dd>\n"),
    );
    if endpoint.cost() > 0 {
        put(
            out,
            format_args!("<dt>costs</dt><dd>{}</dd>\n", endpoint.cost()),
        );
    }
    out.push_str("</dl></article>\n");
}

fn bytes(bytes: &Bytes) -> String {
    let most = bytes
        .max
        .map_or_else(String::new, |max| format!(", at most {max} bytes"));
    format!(
        "<code>{}</code>: <code>{}</code>{most}",
        escape(bytes.media),
        escape(bytes.name)
    )
}

fn problems(out: &mut String) {
    out.push_str(
        "<h2 id=\"refusals\">Refusals</h2>\n<table><thead><tr><th scope=\"col\">Code</th>\
         <th scope=\"col\">Status</th><th scope=\"col\">Again?</th><th scope=\"col\">What it means</th>\
         </tr></thead><tbody>\n",
    );
    for refusal in refusals() {
        let (code, status, detail) = refusal.row();
        let again = if refusal.retry_after().is_some() {
            "yes"
        } else {
            ""
        };
        put(
            out,
            format_args!(
                "<tr><td><code>{code}</code></td><td>{status}</td><td>{again}</td><td>{}</td></tr>\n",
                text(detail)
            ),
        );
    }
    out.push_str("</tbody></table>\n");
}

fn escape(raw: &str) -> String {
    raw.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Text in which backticks set code apart.
fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len() + 32);
    for (n, part) in raw.split('`').enumerate() {
        if n % 2 == 1 {
            put(&mut out, format_args!("<code>{}</code>", escape(part)));
        } else {
            out.push_str(&escape(part));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_stands_alone_and_has_everything() {
        let page = page();
        for no in [
            "<script", "http://", "https://", "<img", "<link", "style=\"", "onclick",
        ] {
            assert!(!page.contains(no), "{no}");
        }
        for endpoint in Endpoint::all() {
            let id = endpoint.describe().id;
            assert!(page.contains(&format!("<article id=\"{id}\">")));
            assert!(page.contains(&format!("href=\"#{id}\"")));
        }
        for refusal in refusals() {
            assert!(page.contains(&format!("<code>{}</code>", refusal.row().0)));
        }
        assert_eq!(text("a `b<c` & d"), "a <code>b&lt;c</code> &amp; d");
    }
}
