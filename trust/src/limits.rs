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

/// Longest approval: four texts at their longest, two digests, and the signature.
pub const APPROVAL_LEN_MAX: u64 = 2 << 10;

/// Longest time for which an approval counts, in seconds: a year.
pub const APPROVAL_LIFE_S_MAX: i64 = 366 * 86_400;

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

/// Longest name of a device: a label of DNS (RFC 1035, 2.3.4), and less than a folder's.
pub const DEVICE_LEN_MAX: usize = 63;
/// Longest name of a fleet.
pub const FLEET_LEN_MAX: usize = 32;
// A DNS name with its dots is at most 253 characters.
const _: () = assert!(DEVICE_LEN_MAX + FLEET_LEN_MAX + 16 <= 253);
/// Longest request for a certificate, as DER: ours has 200 bytes, one with all that openssl puts
/// into it 1 KiB.
pub const REQUEST_DER_LEN_MAX: usize = 4 << 10;
/// Longest certificate, as DER: ours have 500 bytes.
pub const CERTIFICATE_LEN_MAX: usize = 4 << 10;
/// Most attributes of a request's subject: country, place, organisation, unit, names.
pub const SUBJECT_ATTRIBUTES_MAX: usize = 8;
/// Most extensions of a certificate or list, and attributes of a request: ours have six.
pub const EXTENSIONS_MAX: usize = 16;
/// Most entries of a list of revoked certificates: ten years of a fleet that loses three a day.
pub const CRL_ENTRIES_MAX: usize = 10_000;
/// Longest list of revoked certificates, as DER.
pub const CRL_LEN_MAX: usize = 1 << 20;
// An entry takes 52 bytes: number 18, time 17, reason 14, and what is around them.
const _: () = assert!(CRL_ENTRIES_MAX * 64 < CRL_LEN_MAX);
/// Most certificates that an authority records: some for each of thousands of devices.
pub const ISSUED_MAX: usize = 20_000;
/// Most devices that may be allowed in advance.
pub const ALLOWED_MAX: usize = 10_000;
/// Most requests that wait, in all: what people can look at.
pub const WAITING_MAX: usize = 1_000;
/// Most requests that wait for one device: others than its owner may have sent some.
pub const WAITING_PER_DEVICE_MAX: usize = 4;
/// Longest ledger of an authority.
pub const LEDGER_LEN_MAX: u64 = 64 << 20;
// A record takes 1.3 KiB with its certificate, a request 0.6 KiB, an allowed device 0.2 KiB.
const _: () = assert!(
    (ISSUED_MAX as u64 * 2048 + ALLOWED_MAX as u64 * 256 + WAITING_MAX as u64 * 6144)
        < LEDGER_LEN_MAX
);
/// Least time that a certificate can be valid, in seconds.
pub const VALIDITY_S_MIN: i64 = 60;
