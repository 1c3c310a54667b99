//! Every limit on what is read, in bytes unless the name says otherwise.

/// Longest root metadata file: some hundred keys.
pub const ROOT_LEN_MAX: u64 = 512 << 10;
/// Longest timestamp: one entry and its signatures.
pub const TIMESTAMP_LEN_MAX: u64 = 16 << 10;
/// Longest snapshot: one entry for each role.
pub const SNAPSHOT_LEN_MAX: u64 = 2 << 20;
/// Longest targets metadata of one role: some thousand releases.
pub const TARGETS_LEN_MAX: u64 = 5 << 20;

/// Roots followed in one run. A new root each week for the twenty years that a device may be
/// forgotten in a cabinet makes 1,040; what was followed is kept, so a longer way takes two runs.
pub const ROOTS_MAX: u64 = 1040;
/// Missing roots looked past, to tell a withheld root from a wrong signature.
pub const ROOTS_PROBED: u64 = 4;
/// Delegated roles visited to find one target.
pub const DELEGATIONS_MAX: usize = 32;

/// Longest site profile: a dozen numbers and a name.
pub const PROFILE_LEN_MAX: u64 = 16 << 10;
/// Longest kept time: two times and a word.
pub const KNOWN_TIME_LEN_MAX: u64 = 4 << 10;
/// Days that a site profile may let a site be stale: ten years.
pub const STALE_DAYS_MAX: u32 = 3650;
/// Days that a clock may be ahead of all that is known before it counts as broken. It is what a
/// device lives: a device that lies longer in a cabinet has its clock set by hand.
pub const CLOCK_AHEAD_DAYS_MAX: u32 = 20 * 365 + 5;

/// Longest receipt: all texts at their longest, and the signature.
pub const RECEIPT_LEN_MAX: u64 = 8 << 10;

/// Longest file of a key: a sealed Ed25519 key is some 400 bytes.
pub const KEY_FILE_LEN_MAX: u64 = 16 << 10;
/// Least passphrase of a new key, in characters. scrypt makes each guess cost 80 ms or so.
pub const PASSPHRASE_CHARS_MIN: usize = 8;
/// Most memory that opening a sealed key may take: scrypt's own advice is 128 MiB.
pub const KEY_SCRYPT_LEN_MAX: u64 = 256 << 20;
/// Most rounds of a hash that opening a sealed key may take: some seconds.
pub const KEY_ROUNDS_MAX: u64 = 16 << 20;
/// Seconds that a command which signs may take: a person may have to find a card and type a PIN.
pub const COMMAND_S_MAX: u64 = 5 * 60;
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
