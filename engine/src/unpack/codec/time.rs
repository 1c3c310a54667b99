//! How long packing and unpacking keep a processor busy, told before a patch is applied.
//!
//! The figures are those of one core of an Intel Xeon with 16 of them, on machine code
//! (`cargo bench -p neap-bench --bench codecs`). They say which of two patches costs a
//! device more, and how much in the order of magnitude; its own cores may be several times slower.

use core::time::Duration;

use super::lz4::Encoder;
use super::method::{Method, Settings};

impl Method {
    /// Time of one core to pack so many plain bytes, to so many.
    #[must_use]
    pub fn pack_time(&self, plain_len: u64, packed_len: u64) -> Duration {
        let nanos_per_kib = match &self.settings {
            Settings::Stored => 0,
            Settings::Deflate { level } | Settings::Zlib { level, .. } => match level {
                ..=3 => 20_000,
                4..=6 => 50_000,
                _ => 95_000,
            },
            Settings::Lz4(encoder) | Settings::Lz4Clusters { encoder, .. } => match encoder {
                Encoder::Fast(_) => 2_000,
                Encoder::Hc(..=9) => 25_000,
                Encoder::Hc(_) => 60_000,
            },
            Settings::Xz(xz) => of_preset(xz.lzma.preset),
            Settings::Lzma(lzma) | Settings::LzmaCluster(lzma) => of_preset(lzma.preset),
            Settings::Zstd(zstd) => match zstd.level {
                ..=4 => 5_000,
                5..=9 => 20_000,
                10..=15 => 120_000,
                _ => 275_000,
            },
            Settings::Bzip2 { .. } => 115_000,
            Settings::Ext4Inodes(_) => 1_000,
            Settings::Kallsyms(_) => 20_000,
            // Digests of 4096 bytes each, and parity of 127 times as many: mostly.
            Settings::Verity => return of(128 * 1_000, packed_len),
            Settings::Fec => return of(127 * 4_000, packed_len),
        };
        of(nanos_per_kib, plain_len)
    }

    /// Time of one core to unpack so many plain bytes.
    #[must_use]
    pub fn unpack_time(&self, plain_len: u64) -> Duration {
        let nanos_per_kib = match &self.settings {
            Settings::Stored => 0,
            Settings::Deflate { .. } | Settings::Zlib { .. } => 3_000,
            Settings::Lz4(_) | Settings::Lz4Clusters { .. } => 800,
            Settings::Xz(_) | Settings::Lzma(_) | Settings::LzmaCluster(_) => 12_000,
            Settings::Zstd(_) => 1_500,
            Settings::Bzip2 { .. } => 30_000,
            Settings::Ext4Inodes(_) | Settings::Kallsyms(_) => 1_000,
            Settings::Verity | Settings::Fec => 0,
        };
        of(nanos_per_kib, plain_len)
    }
}

/// The lowest bits of a preset are its number; a high one makes it extreme.
fn of_preset(preset: u8) -> u64 {
    match preset {
        ..=3 => 75_000,
        _ => 245_000,
    }
}

fn of(nanos_per_kib: u64, plain_len: u64) -> Duration {
    Duration::from_nanos(nanos_per_kib.saturating_mul(plain_len) / 1024)
}
