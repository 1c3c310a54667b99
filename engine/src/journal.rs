//! The journal: how far a target was verified and flushed, so that a power cut costs little.
//!
//! Two slots take turns, so that a write torn by a power cut leaves the one before. A journal is a
//! hint where to look, never a proof: what it claims is hashed again before it counts.

use crate::apply::Checkpoint;
use crate::digest::Digest;

/// Length of a slot as coded, in bytes.
pub const SLOT_LEN: usize = 88;

/// Bytes from one slot to the next: no sector of any medium we know holds both.
pub const SLOT_STRIDE: u64 = 16 << 10;

/// Count of slots.
pub const SLOT_COUNT: u64 = 2;

const MAGIC: [u8; 8] = *b"neapjrn1";

/// One record of the journal (format 6).
///
/// | at | size | field      | bound                                      |
/// |----|------|------------|--------------------------------------------|
/// |  0 |    8 | `magic`    | `neapjrn1`                                 |
/// |  8 |    8 | `sequence` | one more than in the other slot            |
/// | 16 |   32 | `patch`    | header digest of the patch                 |
/// | 48 |    8 | `windows`  | count of windows that are written, flushed |
/// | 56 |   32 | `digest`   | BLAKE3 of the bytes before                 |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Counts records; the higher of two valid slots is the newer.
    pub sequence: u64,
    /// What the record claims.
    pub checkpoint: Checkpoint,
}

impl Slot {
    /// The bytes of this record.
    #[must_use]
    pub fn encode(&self) -> [u8; SLOT_LEN] {
        let mut out = [0; SLOT_LEN];
        out[..8].copy_from_slice(&MAGIC);
        out[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        out[16..48].copy_from_slice(&self.checkpoint.patch.0);
        out[48..56].copy_from_slice(&self.checkpoint.windows.to_le_bytes());
        let digest = Digest::of(&out[..56]);
        out[56..].copy_from_slice(&digest.0);
        out
    }

    /// Reads a record; `None` where there is none, it is torn, or it is of another program.
    #[must_use]
    pub fn decode(bytes: &[u8; SLOT_LEN]) -> Option<Self> {
        let (body, digest) = bytes.split_at(56);
        if body[..8] != MAGIC || Digest::of(body).0 != digest {
            return None;
        }
        let sequence = u64::from_le_bytes(*body[8..].first_chunk()?);
        let patch = Digest(*body[16..].first_chunk()?);
        let windows = u64::from_le_bytes(*body[48..].first_chunk()?);
        Some(Self { sequence, checkpoint: Checkpoint { patch, windows } })
    }

    /// Which slot this record belongs in.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.sequence % SLOT_COUNT
    }

    /// The newer of the valid slots.
    #[must_use]
    pub fn newest(slots: &[[u8; SLOT_LEN]]) -> Option<Self> {
        slots.iter().filter_map(Self::decode).max_by_key(|slot| slot.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(sequence: u64) -> Slot {
        let checkpoint = Checkpoint { patch: Digest::of(b"patch"), windows: sequence * 8 };
        Slot { sequence, checkpoint }
    }

    #[test]
    fn slot_survives_the_round_trip() {
        assert_eq!(Slot::decode(&slot(7).encode()), Some(slot(7)));
    }

    #[test]
    fn slot_with_any_byte_changed_is_no_slot() {
        for at in 0..SLOT_LEN {
            let mut bytes = slot(7).encode();
            bytes[at] ^= 1;
            assert_eq!(Slot::decode(&bytes), None, "byte {at}");
        }
    }

    #[test]
    fn torn_newest_slot_leaves_the_one_before() {
        let mut torn = slot(8).encode();
        torn[60] ^= 0xff;
        assert_eq!(Slot::newest(&[torn, slot(7).encode()]), Some(slot(7)));
        assert_eq!(Slot::newest(&[slot(8).encode(), slot(7).encode()]), Some(slot(8)));
    }

    #[test]
    fn two_records_in_turn_use_two_slots() {
        assert_ne!(slot(8).index(), slot(9).index());
    }
}
