//! Every limit on what is read, in bytes unless the name says otherwise.

/// Longest root metadata file: some hundred keys.
pub const ROOT_LEN_MAX: u64 = 512 << 10;
/// Longest timestamp: one entry and its signatures.
pub const TIMESTAMP_LEN_MAX: u64 = 16 << 10;
/// Longest snapshot: one entry for each role.
pub const SNAPSHOT_LEN_MAX: u64 = 2 << 20;
/// Longest targets metadata of one role: some thousand releases.
pub const TARGETS_LEN_MAX: u64 = 5 << 20;
/// Longest file of a key: a sealed Ed25519 key is some 400 bytes.
pub const KEY_FILE_LEN_MAX: u64 = 16 << 10;
/// Least passphrase of a new key, in characters. scrypt makes each guess cost 80 ms or so.
pub const PASSPHRASE_CHARS_MIN: usize = 8;
/// Most memory that opening a sealed key may take: scrypt's own advice is 128 MiB.
pub const KEY_SCRYPT_LEN_MAX: u64 = 256 << 20;
/// Most rounds of a hash that opening a sealed key may take: some seconds.
pub const KEY_ROUNDS_MAX: u64 = 16 << 20;
/// Longest signature file: some 500 bytes are needed.
pub const SIGNATURE_FILE_LEN_MAX: usize = 4 << 10;
/// Longest staged file: the metadata, what it replaces, and all roots.
pub const REQUEST_LEN_MAX: u64 = 16 << 20;
/// Most roots that there may be, one after the other: one a week for twenty years.
pub const ROOT_COUNT_MAX: u64 = 1024;
/// Longest name of a group.
pub const GROUP_LEN_MAX: usize = 32;
/// Longest name of a product.
pub const PRODUCT_LEN_MAX: usize = 64;
/// Longest name of a version, and of a file of it.
pub const VERSION_LEN_MAX: usize = 64;
