//! Every limit of a stick, in bytes unless the name says otherwise.

/// Most entries of one folder that are looked at. A folder of FAT32 ends at 65,536 slots, about
/// 9,300 names of 69 characters; exFAT and ext4 hold more. Listed, these take 8 MiB of memory.
pub const ENTRIES_MAX: usize = 1 << 15;

/// Most entries of all folders together that are kept in memory.
pub const ENTRIES_ALL_MAX: usize = 1 << 16;
const _: () = assert!(ENTRIES_ALL_MAX >= ENTRIES_MAX);

/// Most devices whose receipts lie on one stick.
pub const DEVICES_MAX: usize = 4096;

/// Most receipts of one device that one visit writes or reads; the next one goes on.
pub const RECEIPTS_MAX: usize = 10_000;

/// Most receipts of one device that shore reads in one visit, in bytes: 4,096 of the longest.
pub const BROUGHT_LEN_MAX: usize = 32 << 20;

/// Encrypted receipts that shore holds as they were opened to learn whose they are, in bytes: some
/// 20,000 of 500 bytes each. Those past it are opened again for their device.
pub const OPENED_LEN_MAX: usize = 16 << 20;

/// Most approvals of a stick that are looked at: 8 people for each of 32 images.
pub const APPROVALS_MAX: usize = 256;

/// Longest `stick.json`: 4,096 encrypted blobs of some 220 bytes each.
pub const MANIFEST_LEN_MAX: u64 = 1 << 20;

/// Most encrypted blobs of a stick.
pub const SEALED_COUNT_MAX: usize = 4096;
const _: () = assert!(SEALED_COUNT_MAX as u64 * 250 < MANIFEST_LEN_MAX);

/// Longest header of an encrypted file: one recipient takes 200 bytes.
pub const SEAL_HEADER_LEN_MAX: u64 = 4 << 10;

/// Longest encrypted receipt: a receipt, the header, and the tag of its one chunk.
pub const SEALED_RECEIPT_LEN_MAX: u64 =
    neap_trust::limits::RECEIPT_LEN_MAX + SEAL_HEADER_LEN_MAX + 64;

/// Longest file of keys that open encrypted files.
pub const IDENTITY_LEN_MAX: u64 = 16 << 10;

/// Written bytes after which a file is synced. Linux can hang for good in a large buffered write
/// to exFAT when the stick is pulled; what is dirty must stay far below the tenth of memory at
/// which the kernel makes writers wait: 25 MiB where there are 256 MiB. A sync costs a stick some
/// 20 ms, and writing this much 250 ms at 32 MB/s.
pub const STEP_LEN: u64 = 8 << 20;

/// Groups that import verifies and writes at once: 4 MiB. What a pulled stick costs again.
pub const RUN_GROUPS: u64 = 256;

/// Bytes of a blob that came and a power cut may lose.
pub const SYNC_EVERY: u64 = 16 << 20;

/// Wrong groups of a blob that import reads past, beside one for each good group: a stick with a
/// bad spot still gives the rest, and one full of zeros is given up after 1 MiB.
pub const ALTERED_GROUPS_MAX: u64 = 64;

/// Reads that may fail one after the other before a stick counts as gone.
pub const UNREADABLE_MAX: u64 = 3;

/// Pairs of a leftover and a good file of its length that are compared in one folder. A pull leaves
/// one such pair, and a stick has some hundred files of one length: trees of short blobs.
pub const COMPARED_COUNT_MAX: usize = 1024;

/// Bytes of leftovers that are found equal to a good file's in one folder: two of the longest.
pub const COMPARED_BYTES_MAX: u64 = 2 * neap_depot::limits::PART_LEN;

/// Room that export leaves on a stick for the receipts on the way back: 500 receipts of 8 KiB,
/// each with clusters of 32 KiB.
pub const RESERVE_LEN: u64 = 16 << 20;
