//! The one layout that every carrier holds: metadata, blobs and receipts.
