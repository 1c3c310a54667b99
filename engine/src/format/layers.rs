//! The layer list of the header: what changes the meaning of frames, and notes that change nothing.

use super::{bounded, split, split_array};
use crate::error::FormatError;
use crate::limits::HEADER_LEN_MAX;
use crate::varint;

/// Addresses in the source are rewritten before they are copied; frames carry two more columns.
const REFS: u16 = 1;

/// Frames make the target's view, from the source's view; the header says what blocks both have.
const UNPACK: u16 = 2;

/// From here on an id names a note, and a reader that does not know it skips it.
const FIRST_NOTE: u16 = 0x8000;

/// What other ways of sending the target would have cost.
const ESTIMATES: u16 = 0x8000;

/// What is known of a patch's layer list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Layers {
    pub(super) refs: bool,
    /// Length of the table of blocks, in bytes, where there is one.
    pub(super) blocks_len: Option<u64>,
    pub(super) estimates: Option<Estimates>,
}

/// What other ways of sending the same target would have cost, in bytes, as whoever made the patch
/// estimated it. For people: nothing is checked against it, and no buffer is sized by it.
///
/// Three varints (format 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimates {
    /// The whole target, compressed.
    pub full: u64,
    /// A delta of byte ranges, coded as xdelta3 does.
    pub delta: u64,
    /// The blocks of 4 KiB that the source does not have, compressed.
    pub blocks: u64,
}

impl Layers {
    /// Takes `count` entries from the front of `rest`.
    pub(super) fn decode(rest: &mut &[u8], count: u8) -> Result<Self, FormatError> {
        let mut layers = Self::default();
        let mut before = None;
        for _ in 0..count {
            let id = u16::from_le_bytes(split_array(rest, "layers")?);
            let len = u16::from_le_bytes(split_array(rest, "layers")?);
            let bytes = split(rest, len.into(), "layers")?;
            if before.is_some_and(|before| before >= id) {
                return Err(FormatError::LayerMisplaced(id));
            }
            before = Some(id);
            match id {
                REFS if bytes.is_empty() => layers.refs = true,
                REFS => return Err(FormatError::TrailingBytes("layers")),
                UNPACK => layers.blocks_len = Some(blocks_len(bytes)?),
                ESTIMATES => layers.estimates = Some(Estimates::decode(bytes)?),
                unknown if unknown < FIRST_NOTE => return Err(FormatError::UnknownLayer(unknown)),
                _ => {}
            }
        }
        Ok(layers)
    }

    /// How many entries there are, and their bytes.
    pub(super) fn encode(self) -> (u8, Vec<u8>) {
        let estimates = self.estimates.map(|estimates| (ESTIMATES, estimates.encode()));
        let unpack = self.blocks_len.map(|len| {
            let mut bytes = Vec::new();
            varint::put(&mut bytes, len);
            (UNPACK, bytes)
        });
        let refs = self.refs.then(|| (REFS, Vec::new()));
        let entries = refs.into_iter().chain(unpack).chain(estimates);
        let (mut count, mut out) = (0, Vec::new());
        for (id, bytes) in entries {
            let len = u16::try_from(bytes.len()).expect("three varints are at most 30 bytes");
            count += 1;
            out.extend(id.to_le_bytes());
            out.extend(len.to_le_bytes());
            out.extend(bytes);
        }
        (count, out)
    }
}

/// Reads the bytes of the layer `unpack`.
fn blocks_len(bytes: &[u8]) -> Result<u64, FormatError> {
    let mut at = 0;
    let len = varint::take(bytes, &mut at)?;
    if at < bytes.len() {
        return Err(FormatError::TrailingBytes("layers"));
    }
    bounded("blocks_len", len, 1, HEADER_LEN_MAX as u64)
}

impl Estimates {
    fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut at = 0;
        let mut next = || varint::take(bytes, &mut at);
        let estimates = Self { full: next()?, delta: next()?, blocks: next()? };
        if at < bytes.len() {
            return Err(FormatError::TrailingBytes("layers"));
        }
        Ok(estimates)
    }

    fn encode(self) -> Vec<u8> {
        let mut out = Vec::new();
        for len in [self.full, self.delta, self.blocks] {
            varint::put(&mut out, len);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOTE: &[u8] = &[0x01, 0x90, 3, 0, b'a', b'b', b'c'];
    const NUMBERS: &[u8] = &[0x00, 0x80, 3, 0, 10, 9, 8];
    const REWRITTEN: &[u8] = &[1, 0, 0, 0];
    const UNPACKED: &[u8] = &[2, 0, 1, 0, 7];

    fn decode(entries: &[&[u8]]) -> Result<Layers, FormatError> {
        let bytes = entries.concat();
        let mut rest = &bytes[..];
        let count = u8::try_from(entries.len()).expect("few entries");
        let layers = Layers::decode(&mut rest, count)?;
        assert!(rest.is_empty(), "left over: {rest:?}");
        Ok(layers)
    }

    #[test]
    fn entries_in_order_are_read_and_unknown_notes_are_skipped() {
        let estimates = Some(Estimates { full: 10, delta: 9, blocks: 8 });
        assert_eq!(decode(&[]), Ok(Layers::default()));
        let layers = Layers { refs: true, blocks_len: None, estimates };
        assert_eq!(decode(&[REWRITTEN, NUMBERS]), Ok(layers));
        assert_eq!(decode(&[NUMBERS, NOTE]), Ok(Layers { refs: false, ..layers }));
        let layers = Layers { blocks_len: Some(7), ..layers };
        assert_eq!(decode(&[REWRITTEN, UNPACKED, NUMBERS]), Ok(layers));
        assert_eq!(decode(&[&[0xff, 0xff, 0, 0]]), Ok(Layers::default()));
    }

    #[test]
    fn unknown_layer_is_refused_by_its_number() {
        for id in [0, 3, 0x7fff_u16] {
            let entry = [id.to_le_bytes(), [0, 0]].concat();
            assert_eq!(decode(&[&entry]), Err(FormatError::UnknownLayer(id)));
        }
    }

    #[test]
    fn entry_twice_or_out_of_order_is_refused() {
        let misplaced = |id| Err(FormatError::LayerMisplaced(id));
        assert_eq!(decode(&[REWRITTEN, REWRITTEN]), misplaced(1));
        assert_eq!(decode(&[NUMBERS, REWRITTEN]), misplaced(1));
        assert_eq!(decode(&[NOTE, NOTE]), misplaced(0x9001));
    }

    #[test]
    fn entry_of_the_wrong_length_is_refused() {
        let left_over = Err(FormatError::TrailingBytes("layers"));
        assert_eq!(decode(&[&[1, 0, 1, 0, 0]]), left_over);
        assert_eq!(decode(&[&[0, 0x80, 4, 0, 10, 9, 8, 0]]), left_over);
        assert_eq!(decode(&[&[0, 0x80, 2, 0, 10, 9]]), Err(FormatError::IntegerTruncated));
        assert_eq!(decode(&[&[2, 0, 2, 0, 7, 7]]), left_over);
        for entry in [NOTE, NUMBERS, REWRITTEN, UNPACKED] {
            let half = &entry[..entry.len() - 1];
            assert_eq!(decode(&[half]), Err(FormatError::Truncated("layers")));
        }
    }

    proptest! {
        #[test]
        fn list_survives_the_round_trip(
            refs: bool,
            blocks_len in proptest::option::of(1_u64..1 << 22),
            lens: Option<(u64, u64, u64)>,
        ) {
            let estimates = lens.map(|(full, delta, blocks)| Estimates { full, delta, blocks });
            let layers = Layers { refs, blocks_len, estimates };
            let (count, bytes) = layers.encode();
            prop_assert_eq!(Layers::decode(&mut &bytes[..], count), Ok(layers));
        }

        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>, count in 0_u8..17) {
            let mut rest = &bytes[..];
            if let Ok(layers) = Layers::decode(&mut rest, count) {
                let (_, again) = layers.encode();
                prop_assert!(again.len() + rest.len() <= bytes.len());
            }
        }
    }
}
