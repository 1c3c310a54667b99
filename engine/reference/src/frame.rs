//! One frame of coder 0 or 1 (4.2 to 4.4): from its body to bytes of the target.

use crate::bytes::{Bytes, memory, within};
use crate::coder::{self, LiteralStream};
use crate::header::Header;
use crate::refs::{Copy, Refs};
use crate::{Result, must};

/// Appends what a frame makes to the target; its body is given from behind the coder's number.
pub(crate) fn make(
    coder: u64,
    mut body: Bytes<'_>,
    stream: &mut LiteralStream,
    header: &Header,
    source: &[u8],
    target: &mut Vec<u8>,
) -> Result<()> {
    let room = header.target_size - target.len() as u64;
    let target_len = within(1..=room, body.varint()?, "target_len")?;
    let lens = coder::lens(&mut body, if header.refs { 8 } else { 6 }, coder)?;
    let literals_len = within(0..=target_len, body.varint()?, "literals_len")?;
    let piece_len = body.varint()?;
    let columns = lens.iter().map(|lens| coder::column(&mut body, *lens));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let piece = body.take(piece_len)?;
    body.end()?;
    let literals = match coder {
        1 if literals_len > 0 => coder::literals(stream, piece, literals_len)?,
        _ => piece.to_vec(),
    };
    within(literals_len..=literals_len, literals.len() as u64, "literals_coded_len")?;

    // Segments; where a copy goes they leave zeros, as what it makes depends on all of them.
    let column = |index: usize| Bytes::new(&columns[index], "columns");
    let (mut literal_lens, mut run_lens, mut diagonals) = (column(0), column(1), column(2));
    let mut literals = Bytes::new(&literals, "literals");
    let (mut copies, mut diagonal) = (Vec::new(), 0_u64);
    let end = target.len() as u64 + target_len;
    while (target.len() as u64) < end {
        let room = end - target.len() as u64;
        let literals_len = within(0..=room, literal_lens.varint()?, "literals")?;
        let run = run_lens.varint()?;
        let run_len = within(0..=room - literals_len, run / 2, "the length of a run")?;
        must(literals_len + run_len > 0, "a segment makes no byte")?;
        target.extend(literals.take(literals_len)?);
        if run % 2 == 0 && run_len > 0 {
            diagonal = diagonal.wrapping_add(diagonals.signed()?.cast_unsigned());
            copies.push(Copy::new(target.len() as u64, diagonal, run_len, header.source_size)?);
        }
        target.resize(target.len() + memory(run_len), 0);
    }
    [literal_lens, run_lens, diagonals, literals].iter().try_for_each(Bytes::end)?;

    let mut refs = Refs::open(&columns[6..], &copies, header.source_size)?;
    for copy in &copies {
        let made = refs.guess(header, source, *copy)?.bytes;
        target[memory(copy.target)..][..made.len()].copy_from_slice(&made);
    }
    // Islands.
    let (mut gaps, mut island_lens, mut differences) = (column(3), column(4), column(5));
    let mut copied = copies.iter().flat_map(|copy| copy.target..copy.target + copy.len);
    while gaps.len() > 0 {
        for _ in 0..gaps.varint()? {
            copied.next().ok_or("an island lies outside the copies")?;
        }
        for _ in 0..=island_lens.varint()? {
            let place = memory(copied.next().ok_or("an island lies outside the copies")?);
            target[place] = target[place].wrapping_add(differences.take(1)?[0]);
        }
    }
    [island_lens, differences].iter().try_for_each(Bytes::end)
}
