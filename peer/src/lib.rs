//! Blobs, metadata and receipts between peers over QUIC. Nothing that a peer says is believed.

pub mod budget;
pub mod config;
pub mod groups;
pub mod limits;
pub mod link;
pub mod metrics;
pub mod slice;
pub mod wire;
