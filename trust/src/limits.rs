//! Every limit on what is read, in bytes unless the name says otherwise.

/// Longest root metadata file: some hundred keys.
pub const ROOT_LEN_MAX: u64 = 512 << 10;
/// Longest timestamp: one entry and its signatures.
pub const TIMESTAMP_LEN_MAX: u64 = 16 << 10;
/// Longest snapshot: one entry for each role.
pub const SNAPSHOT_LEN_MAX: u64 = 2 << 20;
/// Longest targets metadata of one role: some thousand releases.
pub const TARGETS_LEN_MAX: u64 = 5 << 20;
