//! .xz streams and .lzma streams, by liblzma.
//!
//! A .xz stream is made of blocks that know nothing of each other; the wrapping around them is
//! written by `container`, so that it is the same whether one thread of xz made it, many, or a
//! buffer was packed at once. What liblzma packs has no correction: it is exact or not at all.

mod cluster;
mod container;

use liblzma::stream::{Action, Filters, LzmaOptions, Status, Stream};

pub(super) use self::cluster::{correct as correct_cluster, unpack as unpack_cluster};
use self::container::Header;
use super::{Step, UnpackError, decode_cut, decode_whole};
use crate::limits::{XZ_BLOCK_SHARE, XZ_DICT_MAX};

/// Makes of a preset its extreme variant: `LZMA_PRESET_EXTREME` in the highest bit of a byte.
const EXTREME: u8 = 0x80;

/// Presets that differ in more than the dictionary, in the order in which they are worth trying.
/// Presets 7, 8 and 9 are 6; the extreme ones are those of 6 or of 5 (lzma_encoder_presets.c).
pub(super) const PRESETS: [u8; 9] = [6, 6 | EXTREME, 5, 4, 3, 2, 1, 0, 5 | EXTREME];

/// How LZMA data was packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Lzma {
    /// One of [`PRESETS`].
    pub(super) preset: u8,
    /// Dictionary, in bytes.
    dict_size: u32,
    /// Literal context bits, literal position bits and position bits, as `(pb * 5 + lp) * 9 + lc`.
    properties: u8,
}

/// How a .xz stream was packed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Xz {
    pub(super) lzma: Lzma,
    header: Header,
}

impl Lzma {
    /// The same with another preset.
    pub(super) fn with_preset(self, preset: u8) -> Self {
        Self { preset, ..self }
    }

    fn options(self) -> Option<LzmaOptions> {
        let mut preset = u32::from(self.preset & !EXTREME);
        if self.preset & EXTREME != 0 {
            preset |= liblzma::stream::PRESET_EXTREME;
        }
        let mut options = LzmaOptions::new_preset(preset).ok()?;
        let (rest, lc) = (self.properties / 9, self.properties % 9);
        options.dict_size(self.dict_size);
        options.literal_context_bits(lc.into());
        options.literal_position_bits((rest % 5).into());
        options.position_bits((rest / 5).into());
        Some(options)
    }

    /// Most memory that packing takes, in bytes.
    ///
    /// The window is one and a half dictionaries, a binary tree eight, its hash table two of what
    /// the next power of two is (lz_encoder.c); the rest is 2 MiB at most.
    pub(super) fn memory(self) -> u64 {
        let dict_size = u64::from(self.dict_size);
        dict_size * 19 / 2 + dict_size.next_power_of_two() * 2 + (2 << 20)
    }

    /// Most memory that unpacking takes, in bytes: the dictionary, and tables.
    pub(super) fn unpack_memory(self) -> u64 {
        u64::from(self.dict_size) + (128 << 10)
    }

    /// Preset, properties, and the dictionary in four bytes.
    pub(super) fn encode(self) -> [u8; 6] {
        let [a, b, c, d] = self.dict_size.to_le_bytes();
        [self.preset, self.properties, a, b, c, d]
    }

    pub(super) fn decode(bytes: [u8; 6]) -> Option<Self> {
        let [preset, properties, a, b, c, d] = bytes;
        let dict_size = u32::from_le_bytes([a, b, c, d]);
        let is_known = PRESETS.contains(&preset)
            && properties < 5 * 5 * 9
            && (DICT_MIN..=XZ_DICT_MAX).contains(&dict_size);
        is_known.then_some(Self { preset, dict_size, properties })
    }

    /// The settings that a .lzma stream shows, with the first preset.
    pub(super) fn of_lzma(packed: &[u8]) -> Option<Self> {
        let [properties, a, b, c, d, ..] = *packed.first_chunk::<13>()?;
        Self::decode([PRESETS[0], properties, a, b, c, d])
    }

    /// What is behind the header of that stream; no more than `len_max + 1` bytes of it.
    pub(super) fn predict_data(self, plain: &[u8], len_max: usize) -> Option<Vec<u8>> {
        let mut packed = self.predict_lzma(plain, LZMA_FRONT_LEN + len_max)?;
        Some(packed.split_off(LZMA_FRONT_LEN.min(packed.len())))
    }

    /// The .lzma stream of `plain`; no more than `packed_len_max + 1` bytes of it.
    pub(super) fn predict_lzma(self, plain: &[u8], packed_len_max: usize) -> Option<Vec<u8>> {
        let encoder = Stream::new_lzma_encoder(&self.options()?).ok()?;
        run(encoder, plain, packed_len_max)
    }
}

impl Xz {
    /// The settings that a stream shows, or the front of one, with the first preset.
    pub(super) fn of(packed: &[u8], is_cut: bool) -> Option<Self> {
        let (header, dict_size, properties) = container::read(packed, is_cut)?;
        let [a, b, c, d] = dict_size.to_le_bytes();
        let lzma = Lzma::decode([PRESETS[0], properties, a, b, c, d])?;
        Self { lzma, header }.within_time()
    }

    /// The same with another preset.
    pub(super) fn with_preset(&self, preset: u8) -> Self {
        Self { lzma: self.lzma.with_preset(preset), header: self.header.clone() }
    }

    /// Six bytes of [`Lzma`], and how the stream is wrapped.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.lzma.encode().to_vec();
        self.header.encode(&mut bytes);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (lzma, header) = bytes.split_first_chunk::<6>()?;
        Self { lzma: Lzma::decode(*lzma)?, header: Header::decode(header)? }.within_time()
    }

    /// Nothing if blocks are so short that clearing tables would take longer than packing.
    fn within_time(self) -> Option<Self> {
        self.header.has_blocks_of((self.lzma.dict_size / XZ_BLOCK_SHARE).into()).then_some(self)
    }

    /// Whether it says nothing of what is around the data, as is right for what is cut.
    pub(super) fn is_bare(&self) -> bool {
        self.header.is_bare()
    }

    /// The stream of `plain`; not much more than `packed_len_max` bytes of it.
    pub(super) fn predict(&self, plain: &[u8], packed_len_max: usize) -> Option<Vec<u8>> {
        let data = |piece: &[u8], len_max| self.predict_data(piece, len_max);
        self.header.write(plain, self.lzma.dict_size, packed_len_max, data)
    }

    /// The data of a block; not much more than `len_max` bytes of it.
    pub(super) fn predict_data(&self, plain: &[u8], len_max: usize) -> Option<Vec<u8>> {
        let options = self.lzma.options()?;
        let mut filters = Filters::new();
        self.header.add_filters(&mut filters);
        filters.lzma2(&options);
        run(Stream::new_raw_encoder(&filters).ok()?, plain, len_max)
    }
}

/// Bytes before the data of the first block.
pub(super) fn front_len(packed: &[u8]) -> Option<usize> {
    Some(packed.len() - container::data(packed)?.len())
}

/// Bytes before the data of a .lzma stream: properties, dictionary, length.
pub(super) const LZMA_FRONT_LEN: usize = 13;

/// How many bytes of the first block of a stream are as predicted.
pub(super) fn alike(packed: &[u8], predicted: &[u8]) -> usize {
    /// The header of the first chunk has lengths.
    const CHUNK_HEADER_LEN: usize = 6;
    let data = container::data(packed).unwrap_or_default();
    let pairs = data.iter().zip(predicted).skip(CHUNK_HEADER_LEN);
    pairs.take_while(|(one, other)| one == other).count()
}

/// The plain bytes of a .xz stream, by a decoder that may take so many bytes of memory.
pub(super) fn unpack(
    packed: &[u8],
    plain_len_max: usize,
    memory_max: u64,
) -> Result<Vec<u8>, UnpackError> {
    decode(Stream::new_stream_decoder(memory_max, 0), packed, plain_len_max)
}

/// The plain bytes of a .lzma stream.
pub(super) fn unpack_lzma(
    packed: &[u8],
    plain_len_max: usize,
    memory_max: u64,
) -> Result<Vec<u8>, UnpackError> {
    decode(Stream::new_lzma_decoder(memory_max), packed, plain_len_max)
}

/// The plain bytes of a .xz stream, as far as it goes.
pub(super) fn unpack_cut(
    packed: &[u8],
    plain_len_max: usize,
    memory_max: u64,
) -> Result<Vec<u8>, UnpackError> {
    let decoder = Stream::new_stream_decoder(memory_max, 0);
    decode_cut(packed, plain_len_max, steps(decoder)?)
}

/// The plain bytes of a .lzma stream, as far as it goes.
pub(super) fn unpack_lzma_cut(
    packed: &[u8],
    plain_len_max: usize,
    memory_max: u64,
) -> Result<Vec<u8>, UnpackError> {
    let decoder = Stream::new_lzma_decoder(memory_max);
    decode_cut(packed, plain_len_max, steps(decoder)?)
}

fn decode(
    decoder: Result<Stream, liblzma::stream::Error>,
    packed: &[u8],
    plain_len_max: usize,
) -> Result<Vec<u8>, UnpackError> {
    decode_whole(packed, plain_len_max, steps(decoder)?)
}

fn steps(
    decoder: Result<Stream, liblzma::stream::Error>,
) -> Result<impl FnMut(&[u8], &mut Vec<u8>) -> Step, UnpackError> {
    let mut decoder = decoder.map_err(|_| UnpackError::Malformed)?;
    Ok(move |rest: &[u8], plain: &mut Vec<u8>| {
        let status = decoder.process_vec(rest, plain, Action::Finish).map_err(|e| match e {
            liblzma::stream::Error::MemLimit => UnpackError::TooLarge,
            _ => UnpackError::Malformed,
        })?;
        Ok((decoder.total_in(), status == Status::StreamEnd))
    })
}

/// Packs `plain`; stops behind `len_max` bytes.
fn run(mut encoder: Stream, plain: &[u8], len_max: usize) -> Option<Vec<u8>> {
    let mut packed = Vec::with_capacity(len_max.min(plain.len() + plain.len() / 8) + 64);
    loop {
        let taken = usize::try_from(encoder.total_in()).ok()?;
        let status = encoder.process_vec(&plain[taken..], &mut packed, Action::Finish).ok()?;
        if status == Status::StreamEnd || packed.len() > len_max {
            return Some(packed);
        }
        packed.reserve(1 << 16);
    }
}

/// Least dictionary, in bytes: `LZMA_DICT_SIZE_MIN`.
const DICT_MIN: u32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::DECODER_MEMORY_MAX;

    /// What is told of a stream that says how large its dictionary is holds for any that says less:
    /// a device that was told of 4 KiB was made to take 72 MiB.
    #[test]
    fn stream_is_unpacked_with_the_memory_of_its_dictionary_and_no_less() {
        let plain = [7; 5000];
        for dict_size in [DICT_MIN, 100_000, 1 << 20, 3 << 20, XZ_DICT_MAX] {
            // Of the properties 4 bits of literals are the most, which take the largest tables.
            let lzma = Lzma { preset: PRESETS[0], dict_size, properties: (4 * 5 + 4) * 9 };
            let mut options = lzma.options().expect("liblzma knows them");
            let mut filters = Filters::new();
            filters.x86().lzma2(&options);
            let xz = Stream::new_stream_encoder(&filters, liblzma::stream::Check::Crc64);
            let alone = Stream::new_lzma_encoder(options.dict_size(dict_size));
            let packed = [xz, alone].map(|encoder| {
                run(encoder.expect("memory for an encoder"), &plain, 1 << 20).expect("it packs")
            });
            let unpacked = |memory_max| {
                let [xz, alone] = &packed;
                [unpack(xz, plain.len(), memory_max), unpack_lzma(alone, plain.len(), memory_max)]
            };
            let told = lzma.unpack_memory();
            assert!(told <= DECODER_MEMORY_MAX);
            assert_eq!(unpacked(told), [Ok(plain.to_vec()), Ok(plain.to_vec())], "{dict_size}");
            let less = unpacked(told - (128 << 10) - 1);
            assert_eq!(less, [const { Err(UnpackError::TooLarge) }; 2], "{dict_size}");
        }
    }
}
