//! Every limit of the engine, with its unit and its reason.
//!
//! The sum that matters is what `apply` may hold at once, asserted at the end of this file: the
//! process must stay under 24 MiB whatever the image. A patch that `diff` did not make may ask for
//! the largest of everything at once: then it is below the 64 MiB that hostile input may take.

/// Largest target or source, in bytes: 128 GiB.
///
/// Both tables in the patch header grow with the image; at this size and the largest window the
/// target table is 2 MiB.
pub const IMAGE_SIZE_MAX: u64 = 128 << 30;

/// Smallest window, as log2 of bytes: 64 KiB, below which the digest table outgrows the patch.
pub const WINDOW_LOG2_MIN: u8 = 16;

/// Largest window, as log2 of bytes: 2 MiB, since three windows are in memory at once.
pub const WINDOW_LOG2_MAX: u8 = 21;

/// Windows in memory at once: one being filled, one in the queue, one being written.
pub const WINDOWS_IN_FLIGHT: usize = 3;

/// Windows of a view, which are packed and neither verified nor written one by one, are no larger
/// than this, as log2 of bytes: 256 KiB, of which a thousand a second go from thread to thread.
pub const VIEW_WINDOW_LOG2_MAX: u8 = 18;
const _: () = assert!(VIEW_WINDOW_LOG2_MAX >= WINDOW_LOG2_MIN, "pieces do not cross windows");

/// Source blocks are counted in units of 4 KiB, the page and block size of the images we see.
pub const SOURCE_BLOCK: u64 = 4096;

/// Most runs of used source blocks in a patch; the encoder joins near runs until it fits.
pub const SOURCE_RUNS_MAX: usize = 1 << 15;

/// Most layers a patch may list.
pub const LAYERS_MAX: usize = 16;

/// Most restart points in a patch: 1 MiB of table.
pub const RESTARTS_MAX: usize = 1 << 16;

/// Longest patch header, in bytes: the target table of the largest image, its source map, and the
/// restart table.
pub const HEADER_LEN_MAX: usize = 6 << 20;

/// Longest frame body as coded, in bytes.
pub const BODY_LEN_MAX: usize = 2 << 20;

/// Most bytes that the columns of one frame may decode to, literals excluded.
pub const COLUMNS_LEN_MAX: usize = 3 << 20;

/// Window of the literal stream, as log2 of bytes: 8 MiB, as large as `zstd -19` uses, so that a
/// patch of literals alone is no larger than the plain compressed image.
pub const LITERAL_WINDOW_LOG2: u32 = 23;

/// Most segments in a frame of the coder `cm`, which are held whole: 4 MiB.
pub const SEGMENTS_MAX: usize = 1 << 17;

/// Most regions in a frame: 1 MiB of table.
pub const REGIONS_MAX: usize = 1 << 14;

/// Most times that a frame makes the device load a region: a fraction of a millisecond each, beside
/// what its map takes.
pub const REGION_LOADS_MAX: u64 = 1 << 14;
const _: () = assert!(REGIONS_MAX as u64 <= REGION_LOADS_MAX, "each can be used once");

/// Most copies that all loads of regions of a frame look at, as a load makes a map of those that
/// touch its region: thirteen times what kernel modules take, the most we saw.
pub const REGION_LOOKS_MAX: u64 = 1 << 24;

/// Most moves in all regions of a frame: 768 KiB.
pub const MOVES_MAX: usize = 1 << 15;

/// Most copies that touch regions of a frame: 1.5 MiB, and as much again in their maps.
pub const COPIES_MAX: usize = 1 << 16;

/// Longest piece of a copy that is rewritten or coded by `cm` at once, in bytes: pieces end where
/// the target offset is a multiple of this, so that every window is whole pieces.
pub const PIECE_LEN: u64 = 1 << WINDOW_LOG2_MIN;

/// Most places of a source where `diff` looks for an executable: one for each so many bytes of it,
/// or [`STARTS_MIN`]. Each can have a few 100 KiB of headers, and an image can be made to have one
/// in every few bytes; the most we saw is one in 40 KiB. What is behind is coded as it is.
pub const START_SPACING: u64 = 1 << 10;

/// As many are looked at in any source.
pub const STARTS_MIN: u64 = 1 << 10;

/// Most blocks that a patch may unpack or pack, of both images together: 14 MiB of table.
pub const BLOCKS_MAX: usize = 1 << 18;

/// Most ways in which the blocks of a patch are packed.
pub const METHODS_MAX: usize = 1 << 8;

/// Longest block as packed, its correction too, in bytes.
pub const BLOCK_LEN_MAX: u64 = 64 << 20;

/// Corrections that stand together in front of the blocks of a run, in bytes, which a device keeps
/// until their blocks come; one that is longer stands alone.
pub const CORRECTIONS_LEN_MAX: u64 = 1 << 20;

/// Plain bytes of a run between its first block and the last one that has a correction: what a
/// device makes again after a power cut, though it packs none of it, as it needs what stands in
/// front. A copy takes tens of milliseconds for so many.
pub const RUN_LEN_MAX: u64 = 16 << 20;

/// How deep blocks may lie in blocks: a module in a package in an image.
pub const UNPACK_DEPTH_MAX: u64 = 3;

/// Most memory that blocks may take while a patch is applied, in bytes, unless whoever applies it
/// says otherwise; `diff` keeps to [`UNPACK_MEMORY`] by itself.
pub const UNPACK_MEMORY_MAX: u64 = 512 << 20;

/// Memory that `diff` lets one block take on a device, in bytes, packed or unpacked. What is kept
/// and what is packed at once come on top: `inspect` says how much it is in all.
pub const UNPACK_MEMORY: u64 = 36 << 20;

/// What is kept of the source unpacked while a patch is applied, in bytes, beside the last block.
pub const UNPACKED_KEPT: u64 = 16 << 20;

/// Bytes that are unpacked of the source in one apply, at most so many times what its blocks unpack
/// to: what is copied at random is unpacked again and again, 4 times on a root image. A hostile
/// patch is stopped.
pub const UNPACK_WORK: u64 = 256;

/// Plain bytes that a diff unpacks of an image, and keeps in a file, at most: so many times the
/// image, and [`UNPACKED_MIN`]. Kilobytes that unpack to megabytes would fill any disk.
pub const UNPACKED_SHARE: u64 = 16;

/// So many more are unpacked of any image.
pub const UNPACKED_MIN: u64 = 1 << 30;

/// Memory of blocks that are packed at once, in bytes, beside the last one.
pub const PACKED_AT_ONCE: u64 = 8 << 20;

/// Most threads that pack.
pub const PACKERS_MAX: usize = 8;

/// Most regions of a target that are derived. Each may read the whole target: a hostile patch must
/// not keep a device busy for hours.
pub const DERIVED_MAX: usize = 64;

/// Bytes that are read at once to derive a region: whole blocks, whatever their size.
pub const DERIVED_PIECE_LEN: u64 = 1 << 20;

/// Bytes of target between two checkpoints: what a power cut can cost in repeated writes.
pub const CHECKPOINT_LEN: u64 = 16 << 20;

/// Bytes of coded patch after which the encoder sets a restart point.
pub const RESTART_LEN: u64 = 8 << 20;

/// Bytes read from a patch at once when skipping or hashing.
pub const READ_LEN: usize = 256 << 10;

/// Shortest part of a stream that is worth to be seen without the rest of it, in bytes: with each
/// comes a correction of about 100.
pub const CUT_LEN_MIN: u64 = 1 << 10;

/// Most packed blocks that are found in an image: one for each so many bytes of it, beside
/// [`BLOCKS_MIN`]. Each is 40 bytes of memory while searching; the file systems we saw have one in
/// 20 KiB to 60 KiB. What is behind the last is coded as it is.
pub const BLOCK_SPACING: u64 = 1 << 14;

/// As many are found in any image, where its size allows it: 40 MiB of memory.
pub const BLOCKS_MIN: u64 = 1 << 20;

/// Bytes that are looked through for first bytes of containers at once, by each core.
pub const SCAN_PIECE_LEN: u64 = 2 << 20;

/// Pieces whose candidates are in memory at once: 64 MiB of image.
pub const SCAN_PIECES: u64 = 32;

/// Most places of a piece that are looked at, one for each so many bytes: 4 MiB of memory for
/// [`SCAN_PIECES`]. An archive of the smallest files has one in 200 bytes.
pub const CANDIDATE_SPACING: usize = 128;

/// Most work of looking for blocks, in bytes read and unpacked, for each byte of image: an image of
/// text in one stream takes 5 to 10. Work is about 400 MB/s, so this is 40 s for each GiB of an
/// image that was made to cost time; others take what scanning takes.
pub const FIND_WORK: u64 = 16;

/// So much more is allowed for any image.
pub const FIND_WORK_MIN: u64 = 64 << 20;

/// Work after which a stream is no longer looked at beside others but alone, in bytes: what is
/// lost when it then turns out to be inside another.
pub const STREAM_WORK_FIRST: u64 = 4 << 20;

/// Most streams looked at beside each other. It is the same on every machine, and so is what is
/// found when work runs out.
pub const STREAM_BATCH: usize = 64;

const _: () = assert!(SOURCE_BLOCK <= 1 << WINDOW_LOG2_MIN);
const _: () = assert!(CHECKPOINT_LEN.is_multiple_of(1 << WINDOW_LOG2_MAX));
const _: () = assert!(IMAGE_SIZE_MAX >> WINDOW_LOG2_MAX <= HEADER_LEN_MAX as u64 / 64);
// What apply holds, without the program itself (3 to 4 MiB), small images' tables, and what is kept
// of the source (1 to 2 MiB).
const _: () = assert!(
    (WINDOWS_IN_FLIGHT << WINDOW_LOG2_MAX)
        + (1 << LITERAL_WINDOW_LOG2)
        + BODY_LEN_MAX
        + COLUMNS_LEN_MAX
        <= 19 << 20
);

/// Most plain bytes of a block, which is held whole: a kernel has less.
pub const PLAIN_LEN_MAX: usize = 128 << 20;

/// Most memory that an LZMA decoder may ask for, in bytes: the largest dictionary that packing
/// again allows, and its tables.
pub const DECODER_MEMORY_MAX: u64 = 72 << 20;

/// Largest dictionary of LZMA that is packed again, in bytes: that of `xz -9`.
pub const XZ_DICT_MAX: u32 = 64 << 20;
const _: () = assert!((XZ_DICT_MAX as u64) < DECODER_MEMORY_MAX);

/// Blocks of a .xz stream have at least one in so many of the bytes of its dictionary: for each,
/// the encoder clears tables as large as that. xz makes them three times as long.
pub const XZ_BLOCK_SHARE: u32 = 512;

/// Largest window of a zstd frame that is unpacked, as log2 of bytes: what libzstd decodes without
/// being asked.
pub const ZSTD_WINDOW_LOG2_MAX: u8 = 27;

/// Most tokens in a deflate block whose codes are counted again: zlib ends a block after 32767
/// symbols, whatever its settings. 24 bytes each are held.
pub const DEFLATE_BLOCK_TOKENS_MAX: usize = 1 << 16;

/// Methods that are remembered and tried first: an image has a few containers.
pub const METHODS_RECENT_MAX: usize = 8;

/// A correction is worth its bytes as long as it is no longer than one in so many of the packed
/// bytes: a patch codes it little better than it is.
pub const CORRECTION_SHARE_MIN: usize = 4;

/// Plain bytes that are packed to see which method comes near, before a long block is packed whole.
pub const METHOD_SAMPLE_LEN: usize = 1 << 18;
