//! The context-mixing coder: the content of a frame, bit by bit, from what was seen before.
//!
//! It predicts each bit from many contexts at once, mixes what they say by weights that learn, and
//! codes the bit with the chance that comes of it (M. Mahoney, "Data Compression Explained",
//! sections 4.3 and 4.4). What makes it a coder of differences are its contexts: the byte that a
//! copy leads us to expect, the addresses in it, and what was wrong about such bytes before.
//!
//! Integers only: every machine makes the same bytes. It takes 20 MiB, whatever it codes.

mod ahead;
mod buckets;
mod bytes;
mod counters;
mod decide;
mod fields;
mod history;
mod mixer;
mod model;
mod numbers;
mod range;
mod segments;
mod squash;
#[cfg(test)]
mod tests;

pub use fields::FieldMark;
pub use segments::SegmentLimits;

use crate::error::FormatError;
use model::Model;
use range::{RangeDecoder, RangeEncoder};

/// One segment: literals, then a run that is a copy along `diagonal` or zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Segment {
    /// Count of literals.
    pub literals: u64,
    /// Length of the run in bytes; may be 0.
    pub run: u64,
    /// Whether the run is of zeros.
    pub zeros: bool,
    /// Source offset less target offset of the copy; the last copy's where there is none.
    pub diagonal: i64,
}

/// What is known about the bytes of a copy before they are decoded.
#[derive(Debug, Clone, Copy, Default)]
pub struct Guess<'a> {
    /// What is predicted: the source after rewriting addresses.
    pub bytes: &'a [u8],
    /// The source untouched; as long as `bytes`.
    pub raw: &'a [u8],
    /// The rewritten addresses, by their offset; they do not overlap.
    pub fields: &'a [FieldMark],
}

/// Codes frames.
#[derive(Debug)]
pub struct Encoder {
    model: Model,
    coder: RangeEncoder,
    scratch: Vec<u8>,
}

impl Encoder {
    /// An encoder that has learned nothing.
    #[must_use]
    pub fn new() -> Self {
        Self { model: Model::new(), coder: RangeEncoder::new(), scratch: Vec::new() }
    }

    /// Forgets all that was learned.
    pub fn restart(&mut self) {
        *self = Self::new();
    }

    /// Codes the copy list of a frame; it comes first.
    pub fn segments(&mut self, list: &[Segment]) {
        // Without limits nothing is refused.
        let coded = self.model.segments.code(&mut self.coder, &mut list.to_vec(), None);
        debug_assert!(coded.is_ok(), "an encoder refuses no segments");
    }

    /// Codes a piece of a copy.
    ///
    /// # Panics
    /// If target and guess are not of one length.
    pub fn copy(&mut self, guess: &Guess, target: &[u8]) {
        assert_eq!(guess.bytes.len(), target.len(), "a guess for each byte");
        self.scratch.resize(target.len(), 0);
        self.model.copy(&mut self.coder, guess, Some(target), &mut self.scratch);
        assert_eq!(self.scratch, target, "the encoder makes what the decoder will");
    }

    /// Codes literals.
    pub fn literals(&mut self, bytes: &[u8]) {
        self.scratch.clear();
        self.scratch.extend(bytes);
        self.model.literals(&mut self.coder, &mut self.scratch);
    }

    /// Bytes of the frame's code so far, but for the last few.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a measure of progress, not a collection")]
    pub fn len(&self) -> usize {
        self.coder.len()
    }

    /// The frame's code.
    pub fn finish(&mut self) -> Vec<u8> {
        self.coder.finish()
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

/// Decodes frames.
#[derive(Debug)]
pub struct Decoder {
    model: Model,
    coder: RangeDecoder,
}

impl Decoder {
    /// A decoder that has learned nothing, with no frame open.
    #[must_use]
    pub fn new() -> Self {
        Self { model: Model::new(), coder: RangeDecoder::new(Vec::new()) }
    }

    /// Forgets all that was learned.
    pub fn restart(&mut self) {
        *self = Self::new();
    }

    /// Opens a frame's code, which is held up to [`Decoder::close`].
    pub fn open(&mut self, coded: Vec<u8>) {
        self.coder = RangeDecoder::new(coded);
    }

    /// Decodes the copy list.
    ///
    /// # Errors
    /// If it passes the limits, a segment is empty, or the code ends.
    pub fn segments(
        &mut self,
        list: &mut Vec<Segment>,
        limits: SegmentLimits,
    ) -> Result<(), FormatError> {
        list.clear();
        self.model.segments.code(&mut self.coder, list, Some(limits))?;
        self.check()
    }

    /// Decodes a piece of a copy.
    ///
    /// # Errors
    /// If the code ends.
    ///
    /// # Panics
    /// If `out` and guess are not of one length.
    pub fn copy(&mut self, guess: &Guess, out: &mut [u8]) -> Result<(), FormatError> {
        assert_eq!(guess.bytes.len(), out.len(), "a guess for each byte");
        self.model.copy(&mut self.coder, guess, None, out);
        self.check()
    }

    /// Decodes literals.
    ///
    /// # Errors
    /// If the code ends.
    pub fn literals(&mut self, out: &mut [u8]) -> Result<(), FormatError> {
        self.model.literals(&mut self.coder, out);
        self.check()
    }

    /// Whether the frame's code was used up, exactly.
    ///
    /// # Errors
    /// If it was too short or too long.
    pub fn close(&mut self) -> Result<(), FormatError> {
        std::mem::replace(&mut self.coder, RangeDecoder::new(Vec::new())).close()
    }

    fn check(&self) -> Result<(), FormatError> {
        if self.coder.has_run_out() {
            return Err(FormatError::Truncated("coded frame"));
        }
        Ok(())
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}
