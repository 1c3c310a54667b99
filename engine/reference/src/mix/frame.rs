//! A frame of coder 2 (4.2): the list of its segments, then the bytes of each.

use super::Mix;
use super::decide::Code;
use crate::Result;
use crate::bytes::{Bytes, memory, within};
use crate::coder;
use crate::header::Header;
use crate::refs::{Copy, Refs};

/// Copies are cut at multiples of this in the target (10.10).
const PIECE_LEN: u64 = 1 << 16;

/// Literals, then a copy, or zeros where there is none.
struct Segment {
    literals_len: u64,
    run_len: u64,
    copy: Option<Copy>,
}

impl Mix {
    /// Appends what a frame makes to the target; its body is given from behind the coder's number.
    pub(crate) fn frame(
        &mut self,
        mut body: Bytes<'_>,
        header: &Header,
        source: &[u8],
        target: &mut Vec<u8>,
    ) -> Result<()> {
        let at = target.len() as u64;
        let target_len = within(1..=header.target_size - at, body.varint()?, "target_len")?;
        let lens = coder::lens(&mut body, if header.refs { 2 } else { 0 }, 2)?;
        let columns = lens.iter().map(|lens| coder::column(&mut body, *lens));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        self.code = Code::open(body.take(body.len())?);
        let segments = self.list(target_len, header, at)?;
        let copies: Vec<_> = segments.iter().filter_map(|segment| segment.copy).collect();
        let mut refs = Refs::open(&columns, &copies, header.source_size)?;
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
        let mut segments = Vec::new();
        for told in self.segments.list(&mut self.code, target_len)? {
            at += told.literals_len;
            let copy = told
                .diagonal
                .map(|diagonal| Copy::new(at, diagonal, told.run_len, header.source_size));
            let copy = copy.transpose()?;
            at += told.run_len;
            let (literals_len, run_len) = (told.literals_len, told.run_len);
            segments.push(Segment { literals_len, run_len, copy });
        }
        Ok(segments)
    }
}
