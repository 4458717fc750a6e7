//! Asking a node how it is, by its admin socket.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use lapwing_client::http::{Ask, ask_socket};
use lapwing_protocol::id::NodeId;
use serde::Deserialize;

use super::NodeError;

/// Most bytes of a status.
const MAX_STATUS: usize = 16 << 20;

/// What a node tells about itself on its admin socket, as far as a testnet asks. What it asks for must be
/// there: a default in its place would look like an answer.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Status {
    /// How many other nodes it is connected with.
    pub peers_connected: usize,
    /// Counters by name.
    pub numbers: BTreeMap<String, serde_json::Value>,
    /// By the other node's id: shard, count and XOR of what both hold.
    pub digests: BTreeMap<String, Vec<(u32, u64, String)>>,
    /// Its disk.
    pub store: Store,
}

/// The disk in a status.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Store {
    /// Bytes of the store's files, if they can be counted.
    pub bytes: Option<u64>,
}

impl Status {
    /// A counter; zero where there is none.
    #[must_use]
    pub fn number(&self, name: &str) -> u64 {
        self.numbers
            .get(name)
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0)
    }
}

/// Asks one node how it is.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The node's id.
    pub id: NodeId,
    /// What people call it.
    pub name: String,
    /// Where its API listens.
    pub api: SocketAddr,
    pub(super) socket: PathBuf,
}

impl Probe {
    /// Asks the admin socket how the node is.
    ///
    /// # Errors
    /// [`NodeError::Silent`], [`NodeError::BadStatus`].
    pub async fn status(&self) -> Result<Status, NodeError> {
        let reply = ask_socket(&self.socket, &Ask::get("/status", MAX_STATUS)).await;
        let reply = reply.map_err(|source| NodeError::Silent {
            name: self.name.clone(),
            source,
        })?;
        serde_json::from_slice(&reply.body).map_err(|source| NodeError::BadStatus {
            name: self.name.clone(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_may_say_more_and_not_less() {
        let said = r#"{"peers_connected":2,"numbers":{"items":3},"more":1,"digests":{"aa":[[0,2,"ff"]]},"store":{"bytes":7}}"#;
        let status: Status = serde_json::from_str(said).unwrap();
        assert_eq!((status.peers_connected, status.store.bytes), (2, Some(7)));
        assert_eq!((status.number("items"), status.number("other")), (3, 0));
        assert_eq!(status.digests["aa"][0].1, 2);
        for field in ["peers_connected", "numbers", "digests", "store"] {
            let less = said.replace(field, "other");
            assert!(serde_json::from_str::<Status>(&less).is_err(), "{field}");
        }
    }
}
