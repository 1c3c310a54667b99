//! The mixing coder (10): what frames of coder 2 are decoded from.
//!
//! Read `frame`, `decide` (bits), `segments`, then `bytes` and `past` (the model of bytes),
//! `fields` and `copies`. All state is kept from one restart point to the next.

mod bytes;
mod copies;
mod decide;
mod fields;
mod frame;
mod past;
mod segments;

use crate::Result;
use bytes::{ByteModel, Contexts};
use copies::Copies;
use decide::{Code, hash};
use past::Past;
use segments::Segments;

pub(crate) struct Mix {
    code: Code,
    segments: Segments,
    model: ByteModel,
    past: Past,
    copies: Copies,
    /// Literals that are still coded as they are.
    plain: u32,
    /// What literals cost of late, in 1/65536 bits.
    average: i64,
}

impl Mix {
    pub(crate) fn new() -> Self {
        Self {
            code: Code::open(&[]),
            segments: Segments::new(),
            model: ByteModel::new(),
            past: Past::new(),
            copies: Copies::new(),
            plain: 0,
            average: 0,
        }
    }

    /// Decodes a literal (10.9).
    fn literal(&mut self) -> Result<u8> {
        let byte = if self.plain > 0 && self.past.len < 8 {
            self.plain -= 1;
            let mut byte = 0;
            for _ in 0..8 {
                byte = byte << 1 | u8::from(self.code.bit(32768)?);
            }
            byte
        } else {
            let (hashes, len, mut cost) = (self.literal_hashes(), self.past.len, 0);
            let expected = [(self.past.expected(), len.min(32)), (0, 0), (0, 0), (0, 0)];
            let (set, before) = (len.min(15), self.past.b(1));
            let asked = Contexts { hashes, expected, mode: 0, set, before };
            let byte = self.model.byte(&mut self.code, &asked, &mut cost)?;
            self.average += cost;
            self.average -= self.average >> 8;
            if self.average > 525_312 {
                (self.plain, self.average) = (2048, 524_288);
            }
            byte
        };
        self.past.push(byte, true, self.plain == 0);
        Ok(byte)
    }

    fn note(&mut self, byte: u8) {
        self.model.note(&self.literal_hashes(), byte);
    }

    fn literal_hashes(&self) -> [u32; 8] {
        let b = |age| self.past.b(age);
        let (b1, b2, b3, b4) = (b(1), b(2), b(3), b(4));
        [
            hash(&[1, b1]),
            hash(&[2, b1, b2]),
            hash(&[3, b1 | b2 << 8 | b3 << 16]),
            hash(&[5, b1 | b2 << 8 | b3 << 16 | b4 << 24, b(5)]),
            hash(&[7, b2, b3]),
            hash(&[8, b4, b(8)]),
            hash(&[10, b3, b4]),
            hash(&[11, b1, b4]),
        ]
    }
}
