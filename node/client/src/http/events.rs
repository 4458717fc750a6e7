//! A stream of server-sent events (WHATWG HTML, 9.2), as far as nodes send them.

use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::client::Sender;

/// Most characters of one event.
const MAX_EVENT: usize = 4096;

/// A stream of server-sent events.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    text: String,
    // Dropping it would end the connection.
    _sender: Sender,
}

impl Events {
    pub(super) fn new(body: Incoming, sender: Sender) -> Self {
        Events {
            body,
            text: String::new(),
            _sender: sender,
        }
    }

    /// The next event's name and data; nothing when the stream is over. Comments are passed over.
    pub async fn next(&mut self) -> Option<(String, String)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let parsed = parse_event(event);
                self.text = rest.to_owned();
                match parsed {
                    Some(parsed) => return Some(parsed),
                    None => continue,
                }
            }
            if self.text.len() > MAX_EVENT {
                return None;
            }
            let frame = self.body.frame().await?.ok()?;
            if let Some(data) = frame.data_ref() {
                self.text.push_str(std::str::from_utf8(data).ok()?);
            }
        }
    }
}

fn parse_event(text: &str) -> Option<(String, String)> {
    let field = |name: &str| {
        text.lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))
            .map(|v| v.trim_start().to_owned())
    };
    Some((field("event")?, field("data").unwrap_or_default()))
}
