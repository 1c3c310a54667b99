//! Every limit of a depot, in bytes unless the name says otherwise.

/// What is verified at once: 16 chunks of BLAKE3. Trees of 16 KiB groups add 0.39 % to a blob.
pub const GROUP_LEN: usize = 16 << 10;

/// Longest file: FAT32 holds 4 GiB less one byte; less 64 KiB is a whole number of groups and of
/// every cluster size that FAT32 has.
pub const PART_LEN: u64 = (4 << 30) - (64 << 10);
const _: () = assert!(PART_LEN.is_multiple_of(GROUP_LEN as u64));

/// Longest blob: its tree, 2 GiB, is one file on FAT32.
pub const BLOB_LEN_MAX: u64 = 512 << 30;
const _: () = assert!(BLOB_LEN_MAX / GROUP_LEN as u64 * 64 + 8 < PART_LEN);

/// Most parts of a blob.
pub const PART_COUNT_MAX: u64 = BLOB_LEN_MAX.div_ceil(PART_LEN);
const _: () = assert!(PART_COUNT_MAX <= 1000, "a part is named by three digits");

/// Longest name of a file, in characters. A blob's part with `.partial` takes 76.
pub const FILE_NAME_LEN_MAX: usize = 96;

/// Longest name of a device, in characters: its folder under `receipts/`.
pub const DEVICE_LEN_MAX: usize = 64;

/// Most entries of a folder that are listed: 256 Ki names of 69 characters take 40 MiB of memory.
/// A folder of FAT32 ends at 65,536 slots, about 5,000 blobs with their trees.
pub const LIST_COUNT_MAX: usize = 1 << 18;

/// Longest metadata file of any kind: what the longest role may take.
pub const METADATA_LEN_MAX: u64 = neap_trust::limits::TARGETS_LEN_MAX;

/// Longest staged file: new metadata and the old that it replaces, in one envelope.
pub const STAGED_LEN_MAX: u64 = 4 * METADATA_LEN_MAX;

/// Longest record of what a depot took: a folder full of blobs with their trees, each digest in 80
/// bytes, and half as much for metadata.
pub const HELD_LEN_MAX: u64 = LIST_COUNT_MAX as u64 / 2 * 80 * 3 / 2;

/// Longest receipt.
pub const RECEIPT_LEN_MAX: u64 = 64 << 10;

/// Longest text that says who holds the lock.
pub const HOLDER_LEN_MAX: usize = 512;

/// Most that one verified read gives.
pub const READ_LEN_MAX: usize = 16 << 20;

/// Pairs of a tree that are read at once: 64 KiB, the subtree of 16 MiB of a blob.
pub const SUBTREE_GROUPS: u64 = 1024;

/// What is copied at once.
pub const COPY_LEN: usize = 1 << 20;
const _: () = assert!(COPY_LEN.is_multiple_of(GROUP_LEN));
