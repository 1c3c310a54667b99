//! How a block was packed: the codec and the settings with which it is packed again.

use super::{Codec, Inodes, Kallsyms, Stream, UnpackError, bzip2, cut, deflate, lz4, xz, zstd};
use crate::error::FormatError;
use crate::limits::{DECODER_MEMORY_MAX, PLAIN_LEN_MAX, ZSTD_WINDOW_LOG2_MAX};
use crate::unpack::derived::Derived;

/// A codec and the settings of the encoder that made a block.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Method {
    pub(super) settings: Settings,
    /// Whether it makes the first bytes of a stream only.
    is_cut: bool,
}

/// How a block is packed again: proven when it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// Codec and settings.
    pub method: Method,
    /// What is packed again, and of how many plain bytes: of what is cut maybe only the front.
    pub packed_len: usize,
    /// The plain bytes that this takes.
    pub plain_len: usize,
    /// What has to be known beside plain bytes and method; mostly nothing. It is carried behind the
    /// plain bytes, so it is worth being short and alike from block to block.
    pub correction: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Settings {
    Stored,
    Deflate { level: u8 },
    Zlib { level: u8, header: [u8; 2] },
    Lz4(lz4::Encoder),
    Lz4Clusters { cluster_log2: u8, encoder: lz4::Encoder },
    Xz(xz::Xz),
    Lzma(xz::Lzma),
    LzmaCluster(xz::Lzma),
    Zstd(zstd::Settings),
    Bzip2 { level: u8 },
    Ext4Inodes(Inodes),
    Kallsyms(Kallsyms),
    Verity,
    Fec,
}

/// The first byte of a method's spelling.
mod id {
    pub(super) const STORED: u8 = 0;
    pub(super) const DEFLATE: u8 = 1;
    pub(super) const ZLIB: u8 = 2;
    pub(super) const LZ4: u8 = 3;
    pub(super) const LZ4_CLUSTERS: u8 = 4;
    pub(super) const XZ: u8 = 5;
    pub(super) const LZMA: u8 = 6;
    pub(super) const ZSTD: u8 = 7;
    pub(super) const BZIP2: u8 = 8;
    /// Stands before the spelling of what is cut.
    pub(super) const CUT: u8 = 9;
    pub(super) const VERITY: u8 = 10;
    pub(super) const FEC: u8 = 11;
    pub(super) const EXT4_INODES: u8 = 12;
    pub(super) const KALLSYMS: u8 = 13;
    pub(super) const LZMA_CLUSTER: u8 = 14;
}

const PART: &str = "methods";
const UNPACKABLE: FormatError = FormatError::Undecodable("block");

impl Method {
    /// Nothing is packed.
    pub const STORED: Self = Self { settings: Settings::Stored, is_cut: false };

    /// Longest spelling of a method, in bytes.
    pub const LEN_MAX: usize = 32;

    /// What unpacks such blocks.
    #[must_use]
    pub fn codec(&self) -> Codec {
        match self.settings {
            Settings::Deflate { .. } if self.is_cut => Codec::Cut(Stream::Deflate),
            Settings::Zlib { .. } if self.is_cut => Codec::Cut(Stream::Zlib),
            Settings::Xz(_) if self.is_cut => Codec::Cut(Stream::Xz),
            Settings::Lzma(_) if self.is_cut => Codec::Cut(Stream::Lzma),
            Settings::Zstd(_) if self.is_cut => Codec::Cut(Stream::Zstd),
            Settings::Stored => Codec::Stored,
            Settings::Deflate { .. } => Codec::Deflate,
            Settings::Zlib { .. } => Codec::Zlib,
            Settings::Lz4(_) => Codec::Lz4,
            Settings::Lz4Clusters { cluster_log2, .. } => Codec::Lz4Clusters { cluster_log2 },
            Settings::Xz(_) => Codec::Xz,
            Settings::Lzma(_) => Codec::Lzma,
            Settings::LzmaCluster(lzma) => lzma.cluster_codec(),
            Settings::Zstd(_) => Codec::Zstd,
            Settings::Bzip2 { .. } => Codec::Bzip2,
            Settings::Ext4Inodes(inodes) => Codec::Ext4Inodes(inodes),
            Settings::Kallsyms(kallsyms) => Codec::Kallsyms(kallsyms),
            Settings::Verity => Codec::Verity,
            Settings::Fec => Codec::Fec,
        }
    }

    /// A method whose codec unpacks a block: the first that may have made it.
    #[must_use]
    pub fn of_block(codec: Codec, packed: &[u8]) -> Option<Self> {
        Self::candidates(codec, packed).into_iter().next()
    }

    /// As [`Codec::unpack`], by a decoder that takes no more memory than [`Method::unpack_memory`]
    /// tells: of LZMA the packed bytes say how much it takes.
    ///
    /// # Errors
    /// As there, or if it would take more.
    pub fn unpack(&self, packed: &[u8], plain_len_max: usize) -> Result<Vec<u8>, UnpackError> {
        let memory_max = match &self.settings {
            Settings::Xz(_) | Settings::Lzma(_) | Settings::LzmaCluster(_) => self.unpack_memory(0),
            _ => DECODER_MEMORY_MAX,
        };
        self.codec().unpack_within(packed, plain_len_max, memory_max)
    }

    /// Most memory that unpacking takes beside packed bytes and plain ones, in bytes, if a block is
    /// as the method says.
    #[must_use]
    pub fn unpack_memory(&self, plain_len: u64) -> u64 {
        match &self.settings {
            Settings::Stored
            | Settings::Lz4(_)
            | Settings::Lz4Clusters { .. }
            | Settings::Ext4Inodes(_)
            | Settings::Kallsyms(_)
            | Settings::Verity
            | Settings::Fec => 0,
            // zlib's window of 32 KiB and its tables.
            Settings::Deflate { .. } | Settings::Zlib { .. } => 64 << 10,
            Settings::Xz(xz) => xz.lzma.unpack_memory(),
            Settings::Lzma(lzma) | Settings::LzmaCluster(lzma) => lzma.unpack_memory(),
            // libzstd's context, and its window.
            Settings::Zstd(_) => plain_len.min(1 << ZSTD_WINDOW_LOG2_MAX) + (512 << 10),
            // Four bytes for each of a block of 900 kB, and its tables.
            Settings::Bzip2 { .. } => 4 << 20,
        }
    }

    /// Whether this program on this machine can pack so many plain bytes: lz4 makes other bytes on
    /// some, and another libzstd may be linked.
    #[must_use]
    pub fn can_pack(&self, plain_len: u64) -> bool {
        let plain_len = usize::try_from(plain_len).unwrap_or(usize::MAX);
        match &self.settings {
            Settings::Lz4(encoder) => encoder.is_canonical(plain_len),
            // As if more followed, where nothing does.
            Settings::Lz4Clusters { encoder, .. } => encoder.is_canonical(usize::MAX),
            Settings::Zstd(_) => zstd::is_canonical(),
            _ => true,
        }
    }

    /// The block that was packed from `plain`.
    ///
    /// # Errors
    /// If this does not make `packed_len` bytes: the patch is wrong.
    pub fn pack(
        &self,
        plain: &[u8],
        correction: &[u8],
        packed_len: usize,
    ) -> Result<Vec<u8>, FormatError> {
        if plain.len() > PLAIN_LEN_MAX {
            return Err(UNPACKABLE);
        }
        if let Settings::Lz4Clusters { cluster_log2, encoder } = self.settings {
            return lz4::clusters::pack(encoder, cluster_log2, plain, correction, packed_len);
        }
        if let Settings::LzmaCluster(lzma) = self.settings {
            return lzma.pack_cluster(plain, correction, packed_len).ok_or(UNPACKABLE);
        }
        let packed = if self.is_cut {
            self.pack_cut(plain, correction, packed_len)?
        } else {
            let predicted = self.predict(plain, packed_len).ok_or(UNPACKABLE)?;
            let body = if correction.is_empty() {
                predicted
            } else {
                self.apply(plain, &predicted, correction, packed_len)?
            };
            self.wrap(body, plain)
        };
        if packed.len() == packed_len { Ok(packed) } else { Err(UNPACKABLE) }
    }

    /// Most memory that packing so many plain bytes takes beside them and what they make, in bytes.
    #[must_use]
    pub fn memory(&self, plain_len: u64) -> u64 {
        match &self.settings {
            Settings::Stored | Settings::Ext4Inodes(_) => 0,
            Settings::Kallsyms(kallsyms) => kallsyms.memory(plain_len),
            // zlib takes 256 KiB; a block of a correction is held whole.
            Settings::Deflate { .. } | Settings::Zlib { .. } => plain_len * 9 / 8 + (3 << 20),
            // What is predicted, beside what is made of it.
            Settings::Lz4(_) => plain_len * 9 / 8 + LZ4_STATE_LEN,
            Settings::Lz4Clusters { .. } => LZ4_STATE_LEN + (2 << 20),
            Settings::Xz(xz) => xz.lzma.memory(),
            Settings::Lzma(lzma) | Settings::LzmaCluster(lzma) => lzma.memory(),
            Settings::Zstd(zstd) => zstd.memory(plain_len, self.is_cut),
            Settings::Bzip2 { .. } => 9 << 20,
            Settings::Verity | Settings::Fec => Derived::MEMORY,
        }
    }

    /// Its spelling in a patch.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let whole = self.encode_whole();
        if self.is_cut { [&[id::CUT][..], &whole].concat() } else { whole }
    }

    fn encode_whole(&self) -> Vec<u8> {
        match &self.settings {
            Settings::Stored => vec![id::STORED],
            Settings::Deflate { level } => vec![id::DEFLATE, *level],
            Settings::Zlib { level, header: [first, second] } => {
                vec![id::ZLIB, *level, *first, *second]
            }
            Settings::Lz4(encoder) => {
                let [kind, level] = encoder.encode();
                vec![id::LZ4, kind, level]
            }
            Settings::Lz4Clusters { cluster_log2, encoder } => {
                let [kind, level] = encoder.encode();
                vec![id::LZ4_CLUSTERS, *cluster_log2, kind, level]
            }
            Settings::Xz(xz) => [vec![id::XZ], xz.encode()].concat(),
            Settings::Lzma(lzma) => [&[id::LZMA][..], &lzma.encode()].concat(),
            Settings::LzmaCluster(lzma) => [&[id::LZMA_CLUSTER][..], &lzma.encode()].concat(),
            Settings::Zstd(zstd) => [&[id::ZSTD][..], &zstd.encode()].concat(),
            Settings::Bzip2 { level } => vec![id::BZIP2, *level],
            Settings::Ext4Inodes(inodes) => [&[id::EXT4_INODES][..], &inodes.encode()].concat(),
            Settings::Kallsyms(kallsyms) => [&[id::KALLSYMS][..], &kallsyms.encode()].concat(),
            Settings::Verity => vec![id::VERITY],
            Settings::Fec => vec![id::FEC],
        }
    }

    /// Reads a spelling of exactly `bytes`.
    ///
    /// # Errors
    /// If it is not one this program knows.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let (whole, is_cut) = match bytes {
            [id::CUT, whole @ ..] => (whole, true),
            whole => (whole, false),
        };
        let settings = match *whole {
            [id::STORED] => Some(Settings::Stored),
            [id::DEFLATE, level @ 1..=9] => Some(Settings::Deflate { level }),
            [id::ZLIB, level @ 1..=9, first, second] => deflate::zlib_header(&[first, second])
                .map(|header| Settings::Zlib { level, header }),
            [id::LZ4, kind, level] => lz4::Encoder::decode([kind, level]).map(Settings::Lz4),
            [id::LZ4_CLUSTERS, cluster_log2, kind, level]
                if lz4::clusters::is_len(cluster_log2) =>
            {
                lz4::Encoder::decode([kind, level])
                    .filter(|encoder| encoder.fills())
                    .map(|encoder| Settings::Lz4Clusters { cluster_log2, encoder })
            }
            [id::XZ, ref xz @ ..] => {
                xz::Xz::decode(xz).filter(|xz| !is_cut || xz.is_bare()).map(Settings::Xz)
            }
            [id::LZMA, a, b, c, d, e, f] => {
                xz::Lzma::decode([a, b, c, d, e, f]).map(Settings::Lzma)
            }
            [id::LZMA_CLUSTER, a, b, c, d, e, f] => {
                xz::Lzma::decode([a, b, c, d, e, f]).map(Settings::LzmaCluster)
            }
            [id::ZSTD, level, window_log2, flags] => {
                zstd::Settings::decode([level, window_log2, flags]).map(Settings::Zstd)
            }
            [id::BZIP2, level @ 1..=9] => Some(Settings::Bzip2 { level }),
            [id::EXT4_INODES, ref inodes @ ..] => {
                let inodes = inodes.try_into().ok().and_then(Inodes::decode);
                inodes.map(Settings::Ext4Inodes)
            }
            [id::KALLSYMS, ref kallsyms @ ..] => {
                let kallsyms = kallsyms.try_into().ok().and_then(Kallsyms::decode);
                kallsyms.map(Settings::Kallsyms)
            }
            [id::VERITY] => Some(Settings::Verity),
            [id::FEC] => Some(Settings::Fec),
            _ => None,
        };
        let method = settings.map(|settings| Self { settings, is_cut }).filter(|method| {
            // One method has one spelling.
            let is_whole_or_cut = matches!(method.codec(), Codec::Cut(_)) == is_cut;
            is_whole_or_cut && bytes.len() <= Self::LEN_MAX && method.encode() == bytes
        });
        method.ok_or(FormatError::Undecodable(PART))
    }

    /// The methods that may have made a block, as far as the block shows it.
    pub(super) fn candidates(codec: Codec, packed: &[u8]) -> Vec<Self> {
        let whole = match codec {
            Codec::Cut(Stream::Deflate) => Codec::Deflate,
            Codec::Cut(Stream::Zlib) => Codec::Zlib,
            Codec::Cut(Stream::Xz) => Codec::Xz,
            Codec::Cut(Stream::Lzma) => Codec::Lzma,
            Codec::Cut(Stream::Zstd) => Codec::Zstd,
            whole => whole,
        };
        let is_cut = whole != codec;
        let of_level = |make: &dyn Fn(u8) -> Settings, levels: &[u8]| {
            levels.iter().map(|level| make(*level)).collect()
        };
        let settings: Option<Vec<Settings>> = match whole {
            Codec::Stored => Some(vec![Settings::Stored]),
            Codec::Deflate => {
                Some(of_level(&|level| Settings::Deflate { level }, &deflate::LEVELS))
            }
            Codec::Zlib => deflate::zlib_header(packed).map(|header| {
                of_level(&|level| Settings::Zlib { level, header }, &deflate::LEVELS)
            }),
            Codec::Lz4 => Some(lz4::ENCODERS.map(Settings::Lz4).to_vec()),
            Codec::Lz4Clusters { cluster_log2 } if !lz4::clusters::is_len(cluster_log2) => None,
            Codec::Lz4Clusters { cluster_log2 } => Some(
                lz4::ENCODERS
                    .map(|encoder| Settings::Lz4Clusters { cluster_log2, encoder })
                    .to_vec(),
            ),
            Codec::Ext4Inodes(inodes) => Some(vec![Settings::Ext4Inodes(inodes)]),
            Codec::Kallsyms(kallsyms) => Some(vec![Settings::Kallsyms(kallsyms)]),
            // How it is derived is not tried but known.
            Codec::Verity => Some(vec![Settings::Verity]),
            Codec::Fec => Some(vec![Settings::Fec]),
            Codec::Bzip2 => bzip2::level(packed).map(|level| vec![Settings::Bzip2 { level }]),
            Codec::Xz => xz::Xz::of(packed, is_cut)
                .map(|xz| of_level(&|preset| Settings::Xz(xz.with_preset(preset)), &xz::PRESETS)),
            Codec::Lzma => xz::Lzma::of_lzma(packed).map(|lzma| {
                of_level(&|preset| Settings::Lzma(lzma.with_preset(preset)), &xz::PRESETS)
            }),
            Codec::LzmaCluster { dict_size, .. } => {
                xz::Lzma::of_cluster(packed, dict_size).map(|lzma| {
                    let of = |preset| Settings::LzmaCluster(lzma.with_preset(preset));
                    of_level(&of, &xz::PRESETS)
                })
            }
            Codec::Zstd => zstd::Settings::of(packed).map(|zstd| {
                of_level(&|level| Settings::Zstd(zstd.with_level(level)), &zstd::LEVELS)
            }),
            // Nothing is cut twice.
            Codec::Cut(_) => None,
        };
        let settings = settings.unwrap_or_default();
        settings.into_iter().map(|settings| Self { settings, is_cut }).collect()
    }

    /// What the encoder makes of `plain`, without what is around it. Where that is longer than
    /// `packed_len`, nothing or its beginning.
    pub(super) fn predict(&self, plain: &[u8], packed_len: usize) -> Option<Vec<u8>> {
        match &self.settings {
            Settings::Stored => Some(plain.to_vec()),
            Settings::Deflate { level } => {
                Some(deflate::predict(plain, *level, deflate::WINDOW_LOG2_MAX))
            }
            Settings::Zlib { level, header } => {
                let window_log2 = ((header[0] >> 4) + 8).max(deflate::WINDOW_LOG2_MIN);
                Some(deflate::predict(plain, *level, window_log2))
            }
            Settings::Lz4(encoder) => encoder.predict(plain),
            Settings::Xz(xz) => xz.predict(plain, packed_len),
            Settings::Lzma(lzma) => lzma.predict_lzma(plain, packed_len),
            Settings::LzmaCluster(lzma) => lzma.predict_cluster(plain, packed_len),
            Settings::Zstd(zstd) => zstd.predict(plain),
            Settings::Bzip2 { level } => bzip2::predict(plain, *level, packed_len),
            Settings::Ext4Inodes(inodes) => inodes.predict(plain),
            Settings::Kallsyms(kallsyms) => kallsyms.predict(plain),
            // They are packed one by one, or from other bytes of the target.
            Settings::Lz4Clusters { .. } | Settings::Verity | Settings::Fec => None,
        }
    }

    /// What is predicted of a block, without what is around it: that has to be as it is derived.
    pub(super) fn body<'a>(&self, packed: &'a [u8], plain: &[u8]) -> Option<&'a [u8]> {
        match &self.settings {
            Settings::Zlib { header, .. } if self.is_cut => packed.strip_prefix(header),
            Settings::Zlib { header, .. } => {
                packed.strip_prefix(header)?.strip_suffix(&deflate::adler32(plain).to_be_bytes())
            }
            _ => Some(packed),
        }
    }

    fn wrap(&self, body: Vec<u8>, plain: &[u8]) -> Vec<u8> {
        match &self.settings {
            Settings::Zlib { header, .. } => {
                [header, &body[..], &deflate::adler32(plain).to_be_bytes()].concat()
            }
            _ => body,
        }
    }

    /// How this method makes a block with this body, if there is a way.
    pub(super) fn rebuild(&self, packed: &[u8], plain: &[u8]) -> Option<Rebuilt> {
        let body = self.body(packed, plain)?;
        let (plain_len, body_len, correction) = if self.is_cut {
            self.correct_cut(body, plain)?
        } else {
            (plain.len(), body.len(), self.correct(body, plain)?)
        };
        let packed_len = packed.len() - body.len() + body_len;
        Some(Rebuilt { method: self.clone(), packed_len, plain_len, correction })
    }

    /// The correction with which this method makes a body, if there is one; empty if what it makes
    /// is right as it is.
    fn correct(&self, body: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
        if let Settings::Lz4Clusters { cluster_log2, encoder } = self.settings {
            return lz4::clusters::correct(encoder, cluster_log2, body, plain);
        }
        let predicted = self.predict(plain, body.len())?;
        if predicted == body {
            return Some(Vec::new());
        }
        let correction = match &self.settings {
            Settings::Deflate { .. } | Settings::Zlib { .. } => {
                deflate::correct(body, &predicted, plain)
            }
            Settings::Lz4(_) => lz4::correct(body, &predicted),
            Settings::Zstd(_) => zstd::correct(body, &predicted),
            Settings::LzmaCluster(_) => Some(xz::correct_cluster(body, &predicted)),
            _ => None,
        };
        // One that is empty would be taken for none.
        correction.filter(|correction| !correction.is_empty())
    }

    /// The same of what is cut, as far as this method makes it: plain bytes, those of the body, and
    /// the correction.
    fn correct_cut(&self, body: &[u8], plain: &[u8]) -> Option<(usize, usize, Vec<u8>)> {
        match &self.settings {
            Settings::Deflate { .. } | Settings::Zlib { .. } => {
                deflate::correct_cut(body, plain, |plain| self.predict(plain, body.len()))
            }
            Settings::Xz(xz) => {
                let data = xz.predict_data(plain, body.len())?;
                let (len, correction) = cut::correct(body, xz::front_len(body)?, &data)?;
                Some((plain.len(), len, correction))
            }
            Settings::Lzma(lzma) => {
                let data = lzma.predict_data(plain, body.len())?;
                let (len, correction) = cut::correct(body, xz::LZMA_FRONT_LEN, &data)?;
                Some((plain.len(), len, correction))
            }
            Settings::Zstd(zstd) => zstd::correct_cut(body, plain, *zstd),
            _ => None,
        }
    }

    fn pack_cut(
        &self,
        plain: &[u8],
        correction: &[u8],
        packed_len: usize,
    ) -> Result<Vec<u8>, FormatError> {
        match &self.settings {
            Settings::Deflate { .. } | Settings::Zlib { .. } => {
                let predicted = self.predict(plain, packed_len).ok_or(UNPACKABLE)?;
                let body = deflate::apply(plain, &predicted, correction, packed_len, true)?;
                Ok(match &self.settings {
                    Settings::Zlib { header, .. } => [&header[..], &body].concat(),
                    _ => body,
                })
            }
            Settings::Xz(xz) => {
                cut::apply(correction, packed_len, |len| xz.predict_data(plain, len))
            }
            Settings::Lzma(lzma) => {
                cut::apply(correction, packed_len, |len| lzma.predict_data(plain, len))
            }
            Settings::Zstd(zstd) => zstd::apply_cut(plain, correction, packed_len, *zstd),
            _ => Err(UNPACKABLE),
        }
    }

    fn apply(
        &self,
        plain: &[u8],
        predicted: &[u8],
        correction: &[u8],
        packed_len: usize,
    ) -> Result<Vec<u8>, FormatError> {
        match &self.settings {
            Settings::Deflate { .. } | Settings::Zlib { .. } => {
                deflate::apply(plain, predicted, correction, packed_len, false)
            }
            Settings::Lz4(_) => lz4::apply(plain, predicted, correction, packed_len),
            Settings::Zstd(_) => zstd::apply(plain, predicted, correction, packed_len),
            _ => Err(FormatError::TrailingBytes("block")),
        }
    }

    /// How far what this method makes of `sample`, the beginning of the plain bytes, is from the
    /// beginning of `body`; less is nearer, and no more than a few is right.
    pub(super) fn distance(&self, body: &[u8], sample: &[u8], plain_len: u64) -> Option<usize> {
        let not_alike = |predicted: &[u8], from: usize| {
            let pairs = predicted.iter().zip(body).skip(from);
            body.len() - pairs.take_while(|(one, other)| one == other).count()
        };
        match &self.settings {
            Settings::Deflate { .. } | Settings::Zlib { .. } => {
                let predicted = self.predict(sample, body.len())?;
                Some(deflate::distance(body, &predicted, sample.len()))
            }
            Settings::Lz4(_) => Some(lz4::distance(body, &self.predict(sample, body.len())?)),
            Settings::Xz(xz) => {
                let predicted = xz.predict_data(sample, body.len())?;
                Some(body.len() - xz::alike(body, &predicted))
            }
            Settings::Zstd(zstd) if self.is_cut => {
                let correction = zstd::correct_cut(body, sample, *zstd);
                Some(correction.map_or(body.len(), |(.., correction)| correction.len()))
            }
            Settings::Zstd(_) if sample.len() as u64 == plain_len => {
                Some(zstd::distance(body, &self.predict(sample, body.len())?))
            }
            Settings::Zstd(zstd) => Some(not_alike(&zstd.predict_sample(sample, plain_len)?, 0)),
            Settings::LzmaCluster(_) => Some(not_alike(&self.predict(sample, body.len())?, 0)),
            // The header of a .lzma stream tells the length.
            Settings::Lzma(_) => Some(not_alike(&self.predict(sample, body.len())?, 13)),
            Settings::Stored | Settings::Verity | Settings::Fec => None,
            Settings::Lz4Clusters { cluster_log2, encoder } => {
                lz4::clusters::distance(*encoder, *cluster_log2, body, sample)
            }
            Settings::Bzip2 { .. } | Settings::Ext4Inodes(_) | Settings::Kallsyms(_) => Some(0),
        }
    }
}

/// Memory that liblz4 takes, in bytes.
const LZ4_STATE_LEN: u64 = neap_lz4_exact::STATE_LEN as u64;
