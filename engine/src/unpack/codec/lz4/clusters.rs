//! Clusters of erofs: blocks of fixed length, each with as much of a file as goes in.
//!
//! mkfs.erofs (lib/compress.c of erofs-utils) gives what is left of a file to
//! `LZ4_compress_destSize` or `LZ4_compress_HC_destSize`, again and again, and puts zeros before
//! what comes out. A run of clusters ends with the file, or where a part of it did not get shorter;
//! then the encoder saw more than the run, of which we know nothing.
//!
//! A correction, if there is one, is a byte, 1 if unknown bytes follow the run, and then for every
//! cluster that is not as predicted:
//!
//! | field   | coding | meaning                                                   |
//! |---------|--------|-----------------------------------------------------------|
//! | `right` | varint | clusters before it that are as predicted                  |
//! | `plain` | varint | plain bytes in it                                         |
//! | `len`   | varint | length of the edits                                       |
//! | `edits` | bytes  | what makes it of the tokens that are predicted            |

use neap_lz4_exact::Filled;

use super::{Encoder, correct as correct_block, likely_len, tokens, unpack_into};
use crate::error::FormatError;
use crate::unpack::codec::UnpackError;
use crate::varint;

/// Bounds of a cluster, as log2 of bytes: a block of erofs, and `Z_EROFS_PCLUSTER_MAX_SIZE`.
const LOG2_MIN: u8 = 12;
const LOG2_MAX: u8 = 20;

/// Whether clusters may have this length, as log2 of bytes.
pub(in super::super) fn is_len(cluster_log2: u8) -> bool {
    (LOG2_MIN..=LOG2_MAX).contains(&cluster_log2)
}

/// The last cluster is as many blocks of this many bytes as it needs.
const BLOCK_LEN: usize = 4096;

/// Unknown bytes behind a run, as many as make liblz4 take the tables that it takes for long texts
/// (`LZ4_64Klimit`); what they are matters to the last cluster alone.
const BEHIND: &[u8] = &[0; 66 << 10];

const UNDECODABLE: FormatError = FormatError::Undecodable("correction");

/// The plain bytes of a run of clusters.
pub(in super::super) fn unpack(
    packed: &[u8],
    cluster_log2: u8,
    plain_len_max: usize,
) -> Result<Vec<u8>, UnpackError> {
    let is_whole = !packed.is_empty() && packed.len().is_multiple_of(BLOCK_LEN);
    if !is_len(cluster_log2) || !is_whole {
        return Err(UnpackError::Malformed);
    }
    let mut plain = Vec::with_capacity(likely_len(packed, plain_len_max));
    for cluster in packed.chunks(1 << cluster_log2) {
        unpack_into(strip(cluster), &mut plain, plain_len_max)?;
    }
    Ok(plain)
}

/// The block in a cluster: no block starts with a zero, which would be a match of nothing.
fn strip(cluster: &[u8]) -> &[u8] {
    let zeros = cluster.iter().take_while(|byte| **byte == 0).count();
    &cluster[zeros..]
}

/// What packs a run again, beside its text; empty if all is as predicted.
pub(in super::super) fn correct(
    encoder: Encoder,
    cluster_log2: u8,
    packed: &[u8],
    plain: &[u8],
) -> Option<Vec<u8>> {
    let as_is = correct_before(encoder, cluster_log2, packed, plain, false)?;
    if as_is.len() == 1 {
        return Some(Vec::new());
    }
    let before_more = correct_before(encoder, cluster_log2, packed, plain, true)?;
    Some(if before_more.len() < as_is.len() { before_more } else { as_is })
}

fn correct_before(
    encoder: Encoder,
    cluster_log2: u8,
    packed: &[u8],
    plain: &[u8],
    is_before_more: bool,
) -> Option<Vec<u8>> {
    let mut correction = vec![u8::from(is_before_more)];
    let mut rest = plain;
    let mut right = 0;
    for cluster in packed.chunks(1 << cluster_log2) {
        let block = strip(cluster);
        let mut text = Vec::new();
        unpack_into(block, &mut text, rest.len()).ok()?;
        let predicted = predict(encoder, rest, is_before_more, 1 << cluster_log2);
        if predicted.plain_len == text.len() && predicted.packed == block {
            right += 1;
        } else {
            let edits = correct_block(block, &predicted.packed)?;
            for field in [right, text.len() as u64, edits.len() as u64] {
                varint::put(&mut correction, field);
            }
            correction.extend(edits);
            right = 0;
        }
        rest = rest.get(text.len()..)?;
    }
    rest.is_empty().then_some(correction)
}

/// The length of the corrections of the first clusters of a run, whose text starts with `sample`.
pub(in super::super) fn distance(
    encoder: Encoder,
    cluster_log2: u8,
    packed: &[u8],
    sample: &[u8],
) -> Option<usize> {
    /// Enough of a text to fill a few clusters and go on.
    const CLUSTERS: usize = 4;
    let (mut rest, mut distance) = (sample, 0);
    for cluster in packed.chunks(1 << cluster_log2).take(CLUSTERS) {
        let block = strip(cluster);
        let mut text = Vec::new();
        if unpack_into(block, &mut text, rest.len()).is_err() {
            // The sample ends here.
            break;
        }
        let predicted = predict(encoder, rest, true, 1 << cluster_log2);
        if predicted.packed != block {
            distance += correct_block(block, &predicted.packed)?.len();
        }
        rest = rest.get(text.len()..)?;
    }
    Some(distance)
}

/// The next cluster of what is left; of nothing if nothing fits.
fn predict(encoder: Encoder, rest: &[u8], is_before_more: bool, cluster_len: usize) -> Filled {
    let filled = if is_before_more && rest.len() < BEHIND.len() {
        encoder.fill(&[rest, BEHIND].concat(), cluster_len)
    } else {
        encoder.fill(rest, cluster_len)
    };
    filled.unwrap_or(Filled { plain_len: 0, packed: Vec::new() })
}

/// The run that was packed from `plain`: `packed_len` bytes, or an error.
pub(in super::super) fn pack(
    encoder: Encoder,
    cluster_log2: u8,
    plain: &[u8],
    correction: &[u8],
    packed_len: usize,
) -> Result<Vec<u8>, FormatError> {
    let cluster_len = 1 << cluster_log2;
    let mut told = Told::new(correction)?;
    let mut packed = Vec::with_capacity(packed_len.min(plain.len() + cluster_len));
    let mut rest = plain;
    while !rest.is_empty() {
        let predicted = predict(encoder, rest, told.is_before_more, cluster_len);
        let (plain_len, block) = match told.next_edit()? {
            None => (predicted.plain_len, predicted.packed),
            Some((plain_len, edits)) => {
                let text = rest.get(..plain_len).ok_or(UNDECODABLE)?;
                let tokens = tokens(&predicted.packed);
                (plain_len, super::write_edited(text, tokens, edits, cluster_len)?)
            }
        };
        if plain_len == 0 || block.len() > cluster_len {
            return Err(UNDECODABLE);
        }
        rest = rest.get(plain_len..).ok_or(UNDECODABLE)?;
        let len =
            if rest.is_empty() { block.len().next_multiple_of(BLOCK_LEN) } else { cluster_len };
        let end = packed.len() + len;
        if end > packed_len {
            return Err(UNDECODABLE);
        }
        packed.resize(end - block.len(), 0);
        packed.extend(block);
    }
    if told.is_used() && packed.len() == packed_len { Ok(packed) } else { Err(UNDECODABLE) }
}

/// A correction that is read.
struct Told<'a> {
    is_before_more: bool,
    rest: &'a [u8],
    /// Clusters that are right before the next that is told; none behind the last.
    right: Option<u64>,
}

impl<'a> Told<'a> {
    fn new(correction: &'a [u8]) -> Result<Self, FormatError> {
        let (is_before_more, rest) = match correction {
            [] => (false, correction),
            [flag @ 0..=1, rest @ ..] => (*flag == 1, rest),
            _ => return Err(UNDECODABLE),
        };
        let mut told = Self { is_before_more, rest, right: None };
        told.read_right()?;
        Ok(told)
    }

    fn number(&mut self) -> Result<u64, FormatError> {
        let mut at = 0;
        let value = varint::take(self.rest, &mut at)?;
        self.rest = &self.rest[at..];
        Ok(value)
    }

    fn read_right(&mut self) -> Result<(), FormatError> {
        self.right = if self.rest.is_empty() { None } else { Some(self.number()?) };
        Ok(())
    }

    /// How many plain bytes are in the next cluster and what makes it, if it is not as predicted.
    fn next_edit(&mut self) -> Result<Option<(usize, &'a [u8])>, FormatError> {
        match &mut self.right {
            None => return Ok(None),
            Some(right @ 1..) => {
                *right -= 1;
                return Ok(None);
            }
            Some(0) => {}
        }
        let plain_len = usize::try_from(self.number()?).map_err(|_| UNDECODABLE)?;
        let len = usize::try_from(self.number()?).map_err(|_| UNDECODABLE)?;
        let (edits, rest) = self.rest.split_at_checked(len).ok_or(UNDECODABLE)?;
        self.rest = rest;
        self.read_right()?;
        Ok(Some((plain_len, edits)))
    }

    fn is_used(&self) -> bool {
        self.right.is_none()
    }
}
