//! What commands say: a short line for people, or a line of JSON with everything for programs.

use std::io::Write;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One thing said.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Said {
    /// Its name for programs.
    pub(crate) event: String,
    /// What people read; nothing where it does not concern them.
    pub(crate) text: Option<String>,
    /// What programs read besides the name; an object.
    pub(crate) data: Value,
}

impl Said {
    /// Something for both.
    pub(crate) fn new(event: &str, text: impl Into<String>, data: Value) -> Self {
        Said {
            event: event.to_owned(),
            text: Some(text.into()),
            data,
        }
    }

    /// Something for programs alone.
    pub(crate) fn quiet(event: &str, data: Value) -> Self {
        Said {
            event: event.to_owned(),
            text: None,
            data,
        }
    }

    fn json(&self) -> Value {
        let mut object = Map::new();
        object.insert("event".to_owned(), Value::from(self.event.as_str()));
        if let Value::Object(data) = &self.data {
            object.extend(data.clone());
        }
        Value::Object(object)
    }
}

/// Where it is said.
#[derive(Clone)]
pub(crate) struct Out(Arc<dyn Fn(&Said) + Send + Sync>);

impl Out {
    /// On standard output.
    pub(crate) fn print(json: bool) -> Self {
        Out(Arc::new(move |said| {
            let line = if json {
                Some(said.json().to_string())
            } else {
                said.text.clone()
            };
            if let Some(line) = line {
                // Who reads may have gone (`| head`): what was asked is done all the same.
                let mut out = std::io::stdout().lock();
                let _unread = writeln!(out, "{line}").and_then(|()| out.flush());
            }
        }))
    }

    /// To somebody else.
    pub(super) fn to(tell: impl Fn(&Said) + Send + Sync + 'static) -> Self {
        Out(Arc::new(tell))
    }

    /// Says something.
    pub(crate) fn say(&self, said: &Said) {
        (self.0)(said);
    }
}
