//! What was seen of each peer, for `neap peers`: verified bytes and blame, kept from run to run.

use std::collections::BTreeMap;
use std::path::Path;

use neap_depot::limits::GROUP_LEN;
use neap_peer::quic::site::Fetched;
use neap_peer::swarm::Fault;
use neap_trust::client::directory::StateFolder;
use neap_trust::state::State;
use serde::{Deserialize, Serialize};

/// What peers did, by device name.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ledger {
    pub(crate) peers: BTreeMap<String, Seen>,
}

/// What one peer did.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Seen {
    /// Bytes of it that were verified.
    pub(crate) verified_bytes: u64,
    /// How often it sent wrong bytes.
    pub(crate) wrong: u64,
    /// How often it did not give what it said it had, or gave nothing.
    pub(crate) broken: u64,
}

impl Ledger {
    /// The ledger in a state folder; an empty one if there is none or it is damaged: it decides
    /// nothing.
    pub(crate) fn load(state: &Path) -> Self {
        let bytes = StateFolder::new(state).load(FILE).ok().flatten();
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Enters what a fetch saw.
    pub(crate) fn enter(&mut self, fetched: &Fetched) {
        for (name, groups) in &fetched.taken.by_name {
            self.seen(name).verified_bytes += groups * GROUP_LEN as u64;
        }
        for ((name, what), count) in &fetched.blame {
            let seen = self.seen(name);
            match what {
                Fault::WrongBytes => seen.wrong += count,
                _ => seen.broken += count,
            }
        }
    }

    /// Keeps it, as far as it can be.
    pub(crate) fn store(&self, state: &Path) -> std::io::Result<()> {
        let bytes = serde_json::to_vec(self).map_err(std::io::Error::other)?;
        StateFolder::new(state).store(FILE, &bytes)
    }

    fn seen(&mut self, name: &str) -> &mut Seen {
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(name) {
            self.peers.pop_first();
        }
        self.peers.entry(name.to_owned()).or_default()
    }
}

const FILE: &str = "peers.json";

/// Most peers that are remembered.
const PEERS_MAX: usize = 1000;
