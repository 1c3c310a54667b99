//! Blobs, metadata and receipts between peers over QUIC. Nothing that a peer says is believed.

pub mod congestion;
