//! One frame (4.2 to 4.4): from its body to bytes of the target.

use crate::bytes::{Bytes, memory, within};
use crate::coder::{self, LiteralStream};
use crate::header::Header;
use crate::mix::{Mix, Plan};
use crate::refs::{Copy, Refs};
use crate::{Result, must};

/// What is kept from one restart point to the next, once a frame needs it.
#[derive(Default)]
pub(crate) struct Streams {
    literals: LiteralStream,
    mix: Option<Mix>,
}

/// The body of a frame, decoded.
pub(crate) struct Frame {
    target_len: u64,
    columns: Vec<Vec<u8>>,
    literals: Vec<u8>,
    /// Code of coder 2, instead of literals.
    mixed: Option<Vec<u8>>,
}

/// Literals, then a copy, or zeros where there is none.
struct Segment {
    literals_len: u64,
    run_len: u64,
    copy: Option<Copy>,
}

impl Frame {
    /// Reads a body of a patch that has the layer `refs` or not.
    pub(crate) fn read(body: &[u8], refs: bool, streams: &mut Streams) -> Result<Self> {
        let mut body = Bytes::new(body, "frame");
        let coder = within(0..=2, body.number(1)?, "coder")?;
        let target_len = within(1..=128 << 30, body.varint()?, "target_len")?;
        let (mut lens, mut room) = (vec![(0, 0); if coder == 2 { 6 } else { 0 }], 3 << 20);
        while lens.len() < if refs { 8 } else { 6 } {
            let raw_len = within(0..=room, body.varint()?, "the raw length of a column")?;
            let least = if coder == 0 { raw_len } else { raw_len.min(1) };
            lens.push((raw_len, within(least..=raw_len, body.varint()?, "a coded length")?));
            room -= raw_len;
        }
        let (mut literals_len, mut piece_len) = (0, 0);
        if coder != 2 {
            literals_len = within(0..=target_len, body.varint()?, "literals_len")?;
            piece_len = body.varint()?;
        }
        let columns = lens.iter().map(|lens| coder::column(body.take(lens.1)?, lens.0));
        let mut columns = columns.collect::<Result<Vec<_>>>()?;
        columns.resize(8, Vec::new());
        let piece = body.take(piece_len)?;
        let mixed = if coder == 2 { Some(body.take(body.len())?.to_vec()) } else { None };
        body.end()?;
        let literals = match coder {
            1 if literals_len > 0 => coder::literals(&mut streams.literals, piece, literals_len)?,
            _ => piece.to_vec(),
        };
        within(literals_len..=literals_len, literals.len() as u64, "literals_coded_len")?;
        Ok(Self { target_len, columns, literals, mixed })
    }

    /// Appends the bytes that the frame makes to the target.
    pub(crate) fn run(
        &self,
        header: &Header,
        source: &[u8],
        streams: &mut Streams,
        target: &mut Vec<u8>,
    ) -> Result<()> {
        match &self.mixed {
            Some(code) => {
                let (regions, moves) = (&self.columns[6], &self.columns[7]);
                let plan = Plan { target_len: self.target_len, regions, moves };
                let mix = streams.mix.get_or_insert_with(Mix::new);
                mix.frame(code, &plan, header, source, target)
            }
            None => self.run_plain(header, source, target),
        }
    }

    /// Coders 0 and 1: segments, then islands.
    fn run_plain(&self, header: &Header, source: &[u8], target: &mut Vec<u8>) -> Result<()> {
        let segments = self.segments(header, target.len() as u64)?;
        let copies = segments.iter().filter_map(|segment| segment.copy).collect();
        let mut refs = Refs::open(&self.columns[6], &self.columns[7], copies, header.source_size)?;
        let mut literals = Bytes::new(&self.literals, "literals");
        // Where in the target the copies went.
        let mut copied = Vec::new();
        for segment in segments {
            target.extend(literals.take(segment.literals_len)?);
            let made = target.len()..target.len() + memory(segment.run_len);
            if let Some(copy) = segment.copy {
                target.extend(refs.guess(header, source, copy)?.bytes);
                copied.push(made);
            } else {
                target.resize(made.end, 0);
            }
        }
        let column = |index: usize| Bytes::new(&self.columns[index], "columns");
        let (mut gaps, mut island_lens, mut differences) = (column(3), column(4), column(5));
        let mut copied = copied.into_iter().flatten();
        while gaps.len() > 0 {
            for _ in 0..gaps.varint()? {
                copied.next().ok_or("an island lies outside the copies")?;
            }
            for _ in 0..=island_lens.varint()? {
                let place = copied.next().ok_or("an island lies outside the copies")?;
                target[place] = target[place].wrapping_add(differences.take(1)?[0]);
            }
        }
        [literals, island_lens, differences].iter().try_for_each(Bytes::end)
    }

    /// The segments (4.4) of a frame that starts at byte `at` of the target.
    fn segments(&self, header: &Header, mut at: u64) -> Result<Vec<Segment>> {
        let column = |index: usize| Bytes::new(&self.columns[index], "columns");
        let (mut literal_lens, mut run_lens, mut diagonals) = (column(0), column(1), column(2));
        let (mut segments, mut diagonal, end) = (Vec::new(), 0, at + self.target_len);
        must(end <= header.target_size, "the frames make more than the target")?;
        while at < end {
            let literals_len = within(0..=end - at, literal_lens.varint()?, "literals")?;
            at += literals_len;
            let run = run_lens.varint()?;
            let run_len = within(0..=end - at, run / 2, "the length of a run")?;
            must(literals_len + run_len > 0, "a segment makes no byte")?;
            let mut copy = None;
            if run % 2 == 0 && run_len > 0 {
                diagonal += i128::from(diagonals.signed()?);
                let start = u64::try_from(i128::from(at) + diagonal).unwrap_or(u64::MAX);
                let end = start.saturating_add(run_len);
                within(run_len..=header.source_size, end, "the end of a copy")?;
                copy = Some(Copy { source: start, target: at, len: run_len });
            }
            at += run_len;
            segments.push(Segment { literals_len, run_len, copy });
        }
        [literal_lens, run_lens, diagonals].iter().try_for_each(Bytes::end)?;
        Ok(segments)
    }
}
