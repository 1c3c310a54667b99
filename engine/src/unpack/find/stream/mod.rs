//! Streams and archives: each has a start that is known, and says or shows where it ends.

mod bzip2;
mod deflate;
mod gzip;
mod lz4;
mod lzma;
mod png;
mod xz;
mod zip;
mod zstd;

use super::blocks::Blocks;
use super::reader::{Parsed, Reader, Stop, check};
use super::scan::Kind;
use super::{Hit, NotFollowed};
use crate::limits::PLAIN_LEN_MAX;
use crate::unpack::codec::Stream;
use crate::unpack::{Block, Codec};

/// Longest plain bytes of a stream that is looked through to its end: what unpacks at all.
const STREAM_PLAIN_LEN_MAX: u64 = PLAIN_LEN_MAX as u64;

/// Finds the stream or entry of an archive that starts at `offset`.
pub(super) fn find(reader: &mut Reader<'_>, kind: Kind, offset: u64) -> Parsed<Hit> {
    match kind {
        Kind::Gzip => gzip::find(reader, offset),
        Kind::Zip => zip::find(reader, offset),
        Kind::Png => png::find(reader, offset),
        Kind::Xz => xz::find(reader, offset),
        Kind::Zstd => zstd::find(reader, offset),
        Kind::Lz4Frame => lz4::find_frame(reader, offset),
        Kind::Lz4Legacy => lz4::find_legacy(reader, offset),
        Kind::Lzma => lzma::find(reader, offset),
        Kind::LzmaSection => lzma::find_section(reader, offset),
        Kind::Bzip2 => bzip2::find(reader, offset),
        Kind::Squashfs | Kind::Erofs | Kind::Cramfs | Kind::Ext4 => Err(Stop::Malformed),
        Kind::Kallsyms | Kind::Verity => Err(Stop::Malformed),
    }
}

/// What a stream from `offset` to `end` with one block gives.
fn one(
    reader: &Reader<'_>,
    name: &'static str,
    (offset, end): (u64, u64),
    block: Block,
) -> Parsed<Hit> {
    let mut blocks = Blocks::new(reader.size());
    check(blocks.add(block))?;
    Ok(Hit::new(name, offset, end - offset, blocks))
}

/// What a stream gives whose container starts at `offset`, whose packed bytes start at `start`, and
/// that goes on elsewhere; nothing if it does not.
fn cut(
    reader: &Reader<'_>,
    name: &'static str,
    (offset, start): (u64, u64),
    stream: Stream,
) -> Parsed<Hit> {
    let end = reader.cut(start)?;
    let block = Block { offset: start, len: end - start, codec: Codec::Cut(stream) };
    one(reader, name, (offset, end), block)
}

/// What a stream that is a block as a whole gives.
fn whole(
    reader: &Reader<'_>,
    name: &'static str,
    (offset, end): (u64, u64),
    codec: Codec,
) -> Parsed<Hit> {
    one(reader, name, (offset, end), Block { offset, len: end - offset, codec })
}
