//! Blobs, metadata and receipts between peers over QUIC. Nothing that a peer says is believed.

pub mod budget;
pub mod config;
pub mod congestion;
pub mod groups;
pub mod limits;
pub mod link;
pub mod metrics;
pub mod quic;
pub mod shelf;
pub mod slice;
pub mod swarm;
pub mod tls;
pub mod wire;
