//! Finds how blocks were packed, by packing them.
//!
//! Nearly all blocks of an image were packed by one method, so what was right last is tried first,
//! and a block costs one packing. What is new costs one packing of a sample for each method, and
//! after a few blocks that nothing makes, most are given up without that.

use std::collections::BTreeMap;

use super::{Codec, Method, Rebuilt};
use crate::limits::{CORRECTION_SHARE_MIN, METHOD_SAMPLE_LEN, METHODS_RECENT_MAX, PLAIN_LEN_MAX};

/// Finds methods; those that were right before are tried first.
#[derive(Debug, Clone, Default)]
pub struct Methods {
    /// What was right, the last first.
    recent: Vec<Method>,
    /// Blocks in a row for which there was no method.
    misses: BTreeMap<Codec, u32>,
}

/// A correction of the method that was right last is taken without looking for a better method if
/// it is no longer than one in so many of the packed bytes.
const NEAR_SHARE: usize = 32;

/// So many blocks without a method are searched for one, and behind them one in so many.
const MISSES_SEARCHED: u32 = 4;
const MISSES_BETWEEN: u32 = 16;

/// So many methods are tried on the whole block in a search.
const TRIALS_MAX: usize = 2;

impl Methods {
    /// How to pack `plain` so that it gives exactly `packed`, or of what is cut its front, if there
    /// is a way we know; proven by packing it.
    pub fn find(&mut self, codec: Codec, packed: &[u8], plain: &[u8]) -> Option<Rebuilt> {
        if plain.len() > PLAIN_LEN_MAX {
            return None;
        }
        let found = self.search(codec, packed, plain).filter(|found| {
            if found.correction.is_empty() {
                // That is how it was found.
                return true;
            }
            let Rebuilt { method, packed_len, plain_len, correction } = found;
            let made = method.pack(&plain[..*plain_len], correction, *packed_len);
            made.is_ok_and(|made| made == packed[..*packed_len])
        });
        match &found {
            Some(found) => {
                self.recent.retain(|method| *method != found.method);
                self.recent.insert(0, found.method.clone());
                self.recent.truncate(METHODS_RECENT_MAX);
                self.misses.remove(&codec.of_any_len());
            }
            None => *self.misses.entry(codec.of_any_len()).or_default() += 1,
        }
        found
    }

    fn search(&self, codec: Codec, packed: &[u8], plain: &[u8]) -> Option<Rebuilt> {
        let mut candidates = Method::candidates(codec, packed);
        // Stable: those that were never right keep their order.
        candidates.sort_by_key(|method| {
            self.recent.iter().position(|recent| recent == method).unwrap_or(usize::MAX)
        });
        let first = candidates.first()?;
        let body = first.body(packed, plain)?;
        let mut best: Option<Rebuilt> = None;
        let is_recent = |method: &&Method| self.recent.contains(method);
        let recent_count = candidates.iter().take_while(is_recent).count().min(TRIALS_MAX);
        for method in &candidates[..recent_count] {
            let Some(found) = method.rebuild(packed, plain) else { continue };
            let near_len = packed.len() / NEAR_SHARE + lost_len_max(codec);
            if cost(&found, packed) <= near_len && is_worth(&found, packed) {
                return Some(found);
            }
            keep_cheaper(&mut best, found, packed);
        }
        let misses = self.misses.get(&codec.of_any_len()).copied().unwrap_or(0);
        if misses >= MISSES_SEARCHED && !misses.is_multiple_of(MISSES_BETWEEN) {
            return best.filter(|best| is_worth(best, packed));
        }
        let sample = &plain[..plain.len().min(METHOD_SAMPLE_LEN)];
        let mut ranked: Vec<(usize, &Method)> = Vec::new();
        for method in &candidates[recent_count..] {
            let Some(distance) = method.distance(body, sample, plain.len() as u64) else {
                continue;
            };
            ranked.push((distance, method));
            if distance == 0 {
                break;
            }
        }
        ranked.sort_by_key(|(distance, _)| *distance);
        for (_, method) in ranked.into_iter().take(TRIALS_MAX) {
            let Some(found) = method.rebuild(packed, plain) else { continue };
            if found.correction.is_empty() {
                return Some(found);
            }
            keep_cheaper(&mut best, found, packed);
        }
        best.filter(|best| is_worth(best, packed))
    }
}

fn keep_cheaper(best: &mut Option<Rebuilt>, found: Rebuilt, packed: &[u8]) {
    if best.as_ref().is_none_or(|best| cost(&found, packed) < cost(best, packed)) {
        *best = Some(found);
    }
}

/// Bytes that have to be sent beside the plain ones.
fn cost(found: &Rebuilt, packed: &[u8]) -> usize {
    found.correction.len() + packed.len() - found.packed_len
}

fn is_worth(found: &Rebuilt, packed: &[u8]) -> bool {
    // Of what is cut, half is more than nothing.
    found.correction.len() <= found.packed_len / CORRECTION_SHARE_MIN
        && found.packed_len >= packed.len() / 2
}

/// Bytes that a right method costs all the same.
fn lost_len_max(codec: Codec) -> usize {
    match codec {
        // What is told of the end, which an encoder makes that sees more.
        Codec::LzmaCluster { .. } => 256,
        // What is told of the front and of a chunk, and what the range coder holds back; codes of a
        // block that nothing tells.
        Codec::Cut(_) => 128,
        _ => 0,
    }
}
