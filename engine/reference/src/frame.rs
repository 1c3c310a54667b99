//! One frame (4.2 to 4.4): from its body to bytes of the target.

use crate::bytes::{Bytes, memory, within};
use crate::coder::{self, LiteralStream};
use crate::header::Header;
use crate::{Result, must};

/// The body of a frame, decoded.
pub(crate) struct Frame {
    target_len: u64,
    columns: Vec<Vec<u8>>,
    literals: Vec<u8>,
}

impl Frame {
    pub(crate) fn read(body: &[u8], literal_stream: &mut LiteralStream) -> Result<Self> {
        let mut body = Bytes::new(body, "frame");
        let coder = within(0..=1, body.number(1)?, "coder")?;
        let target_len = within(1..=128 << 30, body.varint()?, "target_len")?;
        let (mut lens, mut room) = (Vec::new(), 3 << 20);
        for _ in 0..6 {
            let raw_len = within(0..=room, body.varint()?, "the raw length of a column")?;
            let least = if coder == 0 { raw_len } else { raw_len.min(1) };
            lens.push((raw_len, within(least..=raw_len, body.varint()?, "a coded length")?));
            room -= raw_len;
        }
        let literals_len = within(0..=target_len, body.varint()?, "literals_len")?;
        let piece_len = body.varint()?;
        let columns = lens.iter().map(|lens| coder::column(body.take(lens.1)?, lens.0));
        let columns = columns.collect::<Result<_>>()?;
        let piece = body.take(piece_len)?;
        body.end()?;
        let literals = match coder {
            1 if literals_len > 0 => coder::literals(literal_stream, piece, literals_len)?,
            _ => piece.to_vec(),
        };
        within(literals_len..=literals_len, literals.len() as u64, "literals_coded_len")?;
        Ok(Self { target_len, columns, literals })
    }

    /// Appends the bytes that the frame makes to the target: segments, then islands.
    pub(crate) fn run(&self, header: &Header, source: &[u8], target: &mut Vec<u8>) -> Result<()> {
        let column = |index: usize| Bytes::new(&self.columns[index], "columns");
        let (mut literal_lens, mut run_lens, mut diagonals) = (column(0), column(1), column(2));
        let mut literals = Bytes::new(&self.literals, "literals");
        let end = target.len() as u64 + self.target_len;
        must(end <= header.target_size, "the frames make more than the target")?;
        // Where in the target the copies went.
        let mut copies = Vec::new();
        let mut diagonal = 0;
        while (target.len() as u64) < end {
            let room = end - target.len() as u64;
            let literals_len = within(0..=room, literal_lens.varint()?, "a count of literals")?;
            let run = run_lens.varint()?;
            let run_len = within(0..=room - literals_len, run / 2, "the length of a run")?;
            must(literals_len + run_len > 0, "a segment makes no byte")?;
            target.extend(literals.take(literals_len)?);
            let made = target.len()..target.len() + memory(run_len);
            if run % 2 == 1 {
                target.resize(made.end, 0);
            } else if run_len > 0 {
                let zigzag = i128::from(diagonals.varint()?);
                diagonal += if zigzag % 2 == 0 { zigzag / 2 } else { -(zigzag + 1) / 2 };
                let start = u64::try_from(made.start as i128 + diagonal).unwrap_or(u64::MAX);
                let end = start.saturating_add(run_len);
                within(run_len..=header.source_size, end, "the end of a copy")?;
                let is_in = header.runs.iter().any(|run| run.start <= start && end <= run.end);
                must(is_in, "a copy uses blocks that are not in the source map")?;
                target.extend(&source[memory(start)..memory(end)]);
                copies.push(made);
            }
        }
        let mut copied = copies.into_iter().flatten();
        let (mut gaps, mut island_lens, mut differences) = (column(3), column(4), column(5));
        while gaps.len() > 0 {
            for _ in 0..gaps.varint()? {
                copied.next().ok_or("an island lies outside the copies")?;
            }
            for _ in 0..=island_lens.varint()? {
                let place = copied.next().ok_or("an island lies outside the copies")?;
                target[place] = target[place].wrapping_add(differences.take(1)?[0]);
            }
        }
        let parts = [literals, literal_lens, run_lens, diagonals, island_lens, differences];
        parts.iter().try_for_each(Bytes::end)
    }
}
