//! A frame of coder 2 (4.2): the list of its segments, then the bytes of each.

use super::Mix;
use super::decide::Code;
use crate::bytes::{memory, within};
use crate::header::Header;
use crate::refs::{Copy, Refs};
use crate::{Result, must};

/// Copies are cut at multiples of this in the target (10.10).
const PIECE_LEN: u64 = 1 << 16;

/// Literals, then a copy, or zeros where there is none.
struct Segment {
    literals_len: u64,
    run_len: u64,
    copy: Option<Copy>,
}

/// What a frame says beside its code.
pub(crate) struct Plan<'a> {
    pub(crate) target_len: u64,
    /// Columns 6 and 7.
    pub(crate) regions: &'a [u8],
    pub(crate) moves: &'a [u8],
}

impl Mix {
    /// Appends the bytes that a frame makes to the target.
    pub(crate) fn frame(
        &mut self,
        code: &[u8],
        plan: &Plan<'_>,
        header: &Header,
        source: &[u8],
        target: &mut Vec<u8>,
    ) -> Result<()> {
        self.code = Code::open(code);
        let segments = self.list(plan.target_len, header, target.len() as u64)?;
        let copies = segments.iter().filter_map(|segment| segment.copy).collect();
        let mut refs = Refs::open(plan.regions, plan.moves, copies, header.source_size)?;
        for segment in segments {
            for _ in 0..segment.literals_len {
                target.push(self.literal()?);
            }
            let Some(mut rest) = segment.copy else {
                target.resize(target.len() + memory(segment.run_len), 0);
                continue;
            };
            while rest.len > 0 {
                let len = rest.len.min(PIECE_LEN - rest.target % PIECE_LEN);
                let piece = Copy { len, ..rest };
                let guess = refs.guess(header, source, piece)?;
                target.extend(self.piece(&guess, header.used(source, piece.source, len)?)?);
                let (source, target) = (rest.source + len, rest.target + len);
                rest = Copy { source, target, len: rest.len - len };
            }
        }
        self.code.close()
    }

    /// The segments of a frame that starts at byte `at` of the target.
    fn list(&mut self, target_len: u64, header: &Header, mut at: u64) -> Result<Vec<Segment>> {
        must(target_len <= header.target_size - at, "the frames make more than the target")?;
        let mut segments = Vec::new();
        for told in self.segments.list(&mut self.code, target_len)? {
            at += told.literals_len;
            let mut copy = None;
            if let Some(diagonal) = told.diagonal {
                let start = at.wrapping_add(diagonal);
                let end = start.saturating_add(told.run_len);
                within(told.run_len..=header.source_size, end, "the end of a copy")?;
                copy = Some(Copy { source: start, target: at, len: told.run_len });
            }
            at += told.run_len;
            let (literals_len, run_len) = (told.literals_len, told.run_len);
            segments.push(Segment { literals_len, run_len, copy });
        }
        Ok(segments)
    }
}
