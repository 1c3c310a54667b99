//! Every limit between peers, in bytes unless the name says otherwise. A peer chooses none of them.

use neap_depot::limits::{BLOB_LEN_MAX, GROUP_LEN};

/// What is asked for and claimed at once, in groups: 256 KiB. Several of them at a time fill a
/// satellite link; a single long stream would not (each stream has a small window of its own).
pub const SPAN_GROUPS: u64 = 16;

/// Most that is asked for at a time over a link that costs: four times what 10 Mbit/s hold at
/// geostationary round trips, and what is asked for where the rate is not known.
pub const ASKED_LEN_MAX: u64 = 4 << 20;

/// Most groups of a blob; their numbers take four bytes on the wire.
pub const GROUP_COUNT_MAX: u64 = BLOB_LEN_MAX / GROUP_LEN as u64;
const _: () = assert!(GROUP_COUNT_MAX <= u32::MAX as u64);

/// Most groups of one request: 1 MiB. It bounds what one stream may cost its server.
pub const REQUEST_GROUPS_MAX: u64 = 64;
const _: () = assert!(SPAN_GROUPS <= REQUEST_GROUPS_MAX);

/// Most ranges of a have-map or a claim: 8 KiB on the wire. One that is more broken up leaves out
/// its last ranges, which costs time and never correctness.
pub const RANGE_COUNT_MAX: usize = 1024;

/// Most ranges of what one source says it has, told bit by bit: 200 KiB of memory.
pub const HAVE_RANGES_MAX: usize = 4 * RANGE_COUNT_MAX;

/// Longest frame, kind included: a timestamp or a have-map fits.
pub const FRAME_LEN_MAX: usize = 64 << 10;
const _: () = assert!(RANGE_COUNT_MAX * 8 + 64 < FRAME_LEN_MAX);

/// Longest request, kind included: a receipt is the longest.
pub const REQUEST_LEN_MAX: usize = (64 << 10) + 256;
const _: () = assert!(REQUEST_LEN_MAX as u64 == neap_depot::limits::RECEIPT_LEN_MAX + 256);

/// Longest name of a site, in bytes of UTF-8.
pub const SITE_LEN_MAX: usize = 64;

/// Most addresses in one exchange of peers.
pub const ADDRESS_COUNT_MAX: usize = 64;

/// Most blobs asked about at once.
pub const HAS_COUNT_MAX: usize = 1024;
const _: () = assert!(HAS_COUNT_MAX * 32 + 8 < REQUEST_LEN_MAX);

/// Most groups whose newest metadata is asked for at once.
pub const LATEST_GROUPS_MAX: usize = CONFIG_GROUP_COUNT_MAX;

/// Most files that an asker may say it has: those of that many groups, and three above them.
pub const LATEST_KEPT_MAX: usize = LATEST_GROUPS_MAX + 3;

/// Longest answer to a request for the newest metadata. What does not fit is asked for by name.
pub const LATEST_LEN_MAX: u64 = 1 << 20;

/// Most devices in a list of receipts: 64 bytes of name and 9 more each.
pub const RECEIPT_DEVICES_MAX: usize = 800;
const _: () = assert!(RECEIPT_DEVICES_MAX * 73 + 8 < FRAME_LEN_MAX);

/// Most blobs that a peer may speak of, so that it cannot fill our memory with have-maps.
pub const BLOBS_PER_PEER_MAX: usize = 16;

/// Streams that a peer may have open towards us, each with one request.
pub const STREAMS_PER_PEER_MAX: u32 = 64;

/// Connections at a time, of all peers.
pub const CONNECTION_COUNT_MAX: usize = 64;

/// Connections at a time of one peer: an old one may linger while its address changes. As many may
/// wait for its hello besides.
pub const CONNECTIONS_PER_PEER_MAX: usize = 3;

/// Handshakes under way at a time from one address: whoever has no certificate must not keep those
/// out who have one. A site behind one address comes in by sixteens.
pub const HANDSHAKES_PER_ADDRESS_MAX: usize = 16;

/// Longest that a handshake may take, and a hello after it, in milliseconds: ten round trips by
/// satellite.
pub const HELLO_MS_MAX: u64 = 10_000;

/// Most of requested blobs that is under way to us at a time, from all peers together.
pub const UNDER_WAY_MAX: u64 = 8 << 20;

/// Longest that a request may take to arrive, in milliseconds: against peers that send a byte a
/// minute to hold a stream.
pub const REQUEST_MS_MAX: u64 = 20_000;

/// What requests of one connection may cost in a second, and at once ([`Request::cost`]). Whoever
/// asks for more waits: 2,048 of 1 MiB are more than a LAN carries.
///
/// [`Request::cost`]: crate::wire::Request::cost
pub const REQUEST_COST_PER_S: u64 = 2_048;
/// At once: a list of all receipts and a thousand blobs asked about fit several times.
pub const REQUEST_COST_BURST: u64 = 4_096;

/// Receipts that one connection may leave: 32 MiB of disk. Whoever carries more comes again.
pub const RECEIPTS_PER_CONNECTION_MAX: u64 = 4_096;

/// Certificates that receipts are verified by: all that an authority may have issued. Each takes
/// about a kilobyte.
pub const CERTIFICATE_COUNT_MAX: usize = neap_trust::limits::ISSUED_MAX;

/// Peers whose bytes of a day are counted, where that is bounded.
pub const QUOTA_PEERS_MAX: usize = 4_096;

/// Notices of one connection in a second: 20 tell of each of 16 blobs.
pub const NOTICES_PER_S: u64 = 512;
/// At once: what is told where members meet.
pub const NOTICES_BURST: u64 = 2_048;

/// Notices that may wait for one peer: 2 MiB of have-maps at the most, and ten seconds of news.
pub const TELLS_MAX: usize = 256;
const _: () = assert!(TELLS_MAX * RANGE_COUNT_MAX * 8 <= 2 << 20);

/// What is reserved of a link's budget at a time. A kill wastes at most this much of it, and a link
/// of 2 Mbit/s stores its count once a second.
pub const RESERVE_LEN: u64 = 256 << 10;

/// Links that the meter counts: those of the configuration, and some that were in it before.
pub const METER_LINK_COUNT_MAX: usize = 32;
const _: () = assert!(LINK_COUNT_MAX + 3 <= METER_LINK_COUNT_MAX);

/// Days whose bytes the meter remembers for each link, for a clock that goes back.
pub const METER_DAY_COUNT_MAX: usize = 32;

/// Months whose bytes the meter remembers for each link.
pub const METER_MONTH_COUNT_MAX: usize = 12;

/// Updates whose bytes the meter remembers for each link; those of this month are never forgotten.
pub const METER_UPDATE_COUNT_MAX: usize = 64;

/// Longest file of the meter: a day takes up to 36 bytes, an update 130, a link's frame 256.
pub const METER_LEN_MAX: usize = 512 << 10;
const _: () = assert!(
    METER_LINK_COUNT_MAX
        * ((METER_DAY_COUNT_MAX + METER_MONTH_COUNT_MAX) * 36 + METER_UPDATE_COUNT_MAX * 130 + 256)
        < METER_LEN_MAX
);

/// Longest file of the configuration.
pub const CONFIG_LEN_MAX: u64 = 1 << 20;

/// Most files of a configuration, drop-ins included.
pub const CONFIG_FILE_COUNT_MAX: usize = 64;

/// Most peers that a configuration names.
pub const CONFIG_PEER_COUNT_MAX: usize = 64;

/// Most mirrors that a configuration names.
pub const MIRROR_COUNT_MAX: usize = 16;

/// Most keys of those who approve: a receipt names 8.
pub const APPROVAL_KEY_COUNT_MAX: usize = 8;

/// Most groups that a node follows.
pub const CONFIG_GROUP_COUNT_MAX: usize = 64;

/// Most links that a configuration describes.
pub const LINK_COUNT_MAX: usize = 16;

/// Most hours of a link: every hour of a day apart.
pub const HOURS_COUNT_MAX: usize = 24;

/// Longest name of a link, in bytes: it is a label of metrics.
pub const LINK_NAME_LEN_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_the_document() {
        let document = include_str!("../../docs/wire.md");
        let limits: [(&str, u64); 26] = [
            ("GROUP_COUNT_MAX", GROUP_COUNT_MAX),
            ("REQUEST_GROUPS_MAX", REQUEST_GROUPS_MAX),
            ("RANGE_COUNT_MAX", RANGE_COUNT_MAX as u64),
            ("HAVE_RANGES_MAX", HAVE_RANGES_MAX as u64),
            ("FRAME_LEN_MAX", FRAME_LEN_MAX as u64),
            ("REQUEST_LEN_MAX", REQUEST_LEN_MAX as u64),
            ("SITE_LEN_MAX", SITE_LEN_MAX as u64),
            ("ADDRESS_COUNT_MAX", ADDRESS_COUNT_MAX as u64),
            ("HAS_COUNT_MAX", HAS_COUNT_MAX as u64),
            ("LATEST_GROUPS_MAX", LATEST_GROUPS_MAX as u64),
            ("LATEST_KEPT_MAX", LATEST_KEPT_MAX as u64),
            ("LATEST_LEN_MAX", LATEST_LEN_MAX),
            ("RECEIPT_DEVICES_MAX", RECEIPT_DEVICES_MAX as u64),
            ("BLOBS_PER_PEER_MAX", BLOBS_PER_PEER_MAX as u64),
            ("STREAMS_PER_PEER_MAX", u64::from(STREAMS_PER_PEER_MAX)),
            ("CONNECTION_COUNT_MAX", CONNECTION_COUNT_MAX as u64),
            ("CONNECTIONS_PER_PEER_MAX", CONNECTIONS_PER_PEER_MAX as u64),
            ("HANDSHAKES_PER_ADDRESS_MAX", HANDSHAKES_PER_ADDRESS_MAX as u64),
            ("REQUEST_MS_MAX", REQUEST_MS_MAX),
            ("HELLO_MS_MAX", HELLO_MS_MAX),
            ("REQUEST_COST_PER_S", REQUEST_COST_PER_S),
            ("REQUEST_COST_BURST", REQUEST_COST_BURST),
            ("RECEIPTS_PER_CONNECTION_MAX", RECEIPTS_PER_CONNECTION_MAX),
            ("NOTICES_PER_S", NOTICES_PER_S),
            ("NOTICES_BURST", NOTICES_BURST),
            ("TELLS_MAX", TELLS_MAX as u64),
        ];
        let rows = document.lines().filter(|line| line.starts_with("| `"));
        assert_eq!(rows.count(), limits.len(), "each row of the document is checked");
        for (name, value) in limits {
            let head = format!("| `{name}` |");
            let row = document.lines().find(|line| line.starts_with(&head)).unwrap_or_default();
            let found = row.split('|').nth(2).unwrap_or_default().trim().replace(',', "");
            assert_eq!(found, value.to_string(), "{name}");
        }
    }
}
