//! The one layout that every carrier holds: metadata, blobs and receipts.

pub mod plan;
pub mod sbom;
pub mod version;
