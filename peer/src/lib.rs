//! Blobs, metadata and receipts between peers over QUIC. Nothing that a peer says is believed.
//!
//! # Modules, in reading order
//!
//! - [`limits`]: every limit. [`groups`]: sets of the 16 KiB groups that blobs are verified by.
//! - [`wire`]: what peers say, byte for byte. [`mod@slice`]: parts of blobs with what proves them.
//! - [`swarm`]: what to ask of whom, so that each byte crosses the costly link once.
//! - [`congestion`]: how fast to send over a satellite.
//! - [`link`]: links by what a byte costs. [`budget`]: what may still cross them.
//! - [`config`]: the configuration of a node. [`metrics`]: what it counts.
//! - [`tls`]: who may speak to whom. [`allowance`]: how much a peer may ask and tell.
//! - [`quota`]: what it may be sent in a day. [`receipts`]: which it may bring.
//! - [`shelf`]: the depot, in a thread of its own.
//! - [`quic`]: the network; only its files know sockets.
//!
//! # Guarantees
//!
//! - Nothing is kept or given on that was not verified against a signed digest.
//! - What a link that costs may carry is counted before it crosses, through any kill.
//! - A peer chooses neither memory nor time of ours beyond [`limits`].

pub mod allowance;
pub mod budget;
pub mod config;
pub mod congestion;
mod latest;
pub mod limits;
pub mod link;
pub mod metrics;
pub mod quic;
pub mod quota;
pub mod receipts;
pub mod shelf;
pub mod slice;
pub mod swarm;
pub mod tls;
pub mod wire;

pub use neap_depot::groups;
