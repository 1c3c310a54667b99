//! Every limit between peers, in bytes unless the name says otherwise. A peer chooses none of them.

use neap_depot::limits::{BLOB_LEN_MAX, GROUP_LEN};

/// What is asked for and claimed at once, in groups: 256 KiB. Several of them at a time fill a
/// satellite link; a single long stream would not (each stream has a small window of its own).
pub const SPAN_GROUPS: u64 = 16;

/// Most groups of a blob; their numbers take four bytes on the wire.
pub const GROUP_COUNT_MAX: u64 = BLOB_LEN_MAX / GROUP_LEN as u64;
const _: () = assert!(GROUP_COUNT_MAX <= u32::MAX as u64);

/// Most groups of one request: 1 MiB. It bounds what one stream may cost its server.
pub const REQUEST_GROUPS_MAX: u64 = 64;
const _: () = assert!(SPAN_GROUPS <= REQUEST_GROUPS_MAX);

/// Most ranges of a have-map or a claim: 8 KiB on the wire. One that is more broken up leaves out
/// its last ranges, which costs time and never correctness.
pub const RANGE_COUNT_MAX: usize = 1024;

/// Longest frame, kind included: a timestamp or a have-map fits.
pub const FRAME_LEN_MAX: usize = 64 << 10;
const _: () = assert!(RANGE_COUNT_MAX * 8 + 64 < FRAME_LEN_MAX);

/// Longest request, kind included: a receipt is the longest.
pub const REQUEST_LEN_MAX: usize = neap_depot::limits::RECEIPT_LEN_MAX as usize + 256;

/// Longest name of a site, in bytes of UTF-8.
pub const SITE_LEN_MAX: usize = 64;

/// Most addresses in one exchange of peers.
pub const ADDRESS_COUNT_MAX: usize = 64;

/// Most blobs asked about at once.
pub const HAS_COUNT_MAX: usize = 1024;
const _: () = assert!(HAS_COUNT_MAX * 32 + 8 < REQUEST_LEN_MAX);

/// Most devices in a list of receipts: 64 bytes of name and 9 more each.
pub const RECEIPT_DEVICES_MAX: usize = 800;
const _: () = assert!(RECEIPT_DEVICES_MAX * 73 + 8 < FRAME_LEN_MAX);

/// Most blobs that a peer may speak of, so that it cannot fill our memory with have-maps.
pub const BLOBS_PER_PEER_MAX: usize = 16;

/// Streams that a peer may have open towards us, each with one request.
pub const STREAMS_PER_PEER_MAX: u32 = 64;

/// Connections at a time, of all peers.
pub const CONNECTION_COUNT_MAX: usize = 64;

/// Connections at a time of one peer: an old one may linger while its address changes.
pub const CONNECTIONS_PER_PEER_MAX: usize = 3;

/// Most of requested blobs that is under way to us at a time, from all peers together.
pub const UNDER_WAY_MAX: u64 = 8 << 20;

/// Longest that a request may take to arrive, in milliseconds: against peers that send a byte a
/// minute to hold a stream.
pub const REQUEST_MS_MAX: u64 = 20_000;
