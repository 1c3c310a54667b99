//! Blobs, metadata and receipts between peers over QUIC. Nothing that a peer says is believed.

pub mod groups;
pub mod limits;
pub mod shelf;
pub mod slice;
pub mod swarm;
pub mod tls;
pub mod wire;
