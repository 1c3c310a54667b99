//! Clusters of erofs that are packed with LZMA: as much of a file as goes in, as
//! `lzma_microlzma_encoder` of liblzma has it.
//!
//! Such a stream is that of a .lzma file, but for three things: there is no header, the first byte
//! of the range coder, which is always zero, is the complement of the properties, and it just
//! ends. So it tells neither its dictionary nor its plain length; the file system does.
//!
//! mkfs.erofs shows the encoder all that is left of a file. It looks ahead, and so the end of a
//! cluster depends on bytes behind it. Packed for itself it is the same up to there; a correction
//! is the rest, as it is.

use super::{LZMA_FRONT_LEN, Lzma, PRESETS, steps};
use crate::unpack::codec::{Codec, UnpackError, decode_cut};

use liblzma::stream::Stream;

impl Lzma {
    /// The settings that a cluster shows, with the first preset.
    pub(in super::super) fn of_cluster(packed: &[u8], dict_size: u32) -> Option<Self> {
        let [a, b, c, d] = dict_size.to_le_bytes();
        Self::decode([PRESETS[0], !*packed.first()?, a, b, c, d])
    }

    /// What unpacks such clusters.
    pub(in super::super) fn cluster_codec(self) -> Codec {
        Codec::LzmaCluster { dict_size: self.dict_size, plain_len: 0 }
    }

    /// What the encoder makes of `plain` where nothing follows; no more than `len_max + 1` bytes.
    pub(in super::super) fn predict_cluster(self, plain: &[u8], len_max: usize) -> Option<Vec<u8>> {
        let mut packed = self.predict_data(plain, len_max)?;
        *packed.first_mut()? = !self.properties;
        Some(packed)
    }

    /// The cluster of `packed_len` bytes that ends as the correction says.
    pub(in super::super) fn pack_cluster(
        self,
        plain: &[u8],
        end: &[u8],
        packed_len: usize,
    ) -> Option<Vec<u8>> {
        let front_len = packed_len.checked_sub(end.len())?;
        let mut packed = self.predict_cluster(plain, packed_len)?;
        if end.is_empty() && packed.len() != packed_len || packed.len() < front_len {
            return None;
        }
        packed.truncate(front_len);
        packed.extend(end);
        Some(packed)
    }
}

/// The end of a cluster that is not as predicted.
pub(in super::super) fn correct(packed: &[u8], predicted: &[u8]) -> Vec<u8> {
    let pairs = packed.iter().zip(predicted);
    packed[pairs.take_while(|(one, other)| one == other).count()..].to_vec()
}

/// The first plain bytes of a cluster, so many, by a decoder that may take so many bytes of memory.
/// What is behind these is not looked at.
pub(in super::super) fn unpack(
    packed: &[u8],
    dict_size: u32,
    plain_len: usize,
    memory_max: u64,
) -> Result<Vec<u8>, UnpackError> {
    let (first, rest) = packed.split_first().ok_or(UnpackError::Malformed)?;
    let mut stream = Vec::with_capacity(LZMA_FRONT_LEN + packed.len());
    stream.push(!first);
    stream.extend(dict_size.to_le_bytes());
    // The plain length is not known, and the first byte of the range coder.
    stream.extend([0xff; 8]);
    stream.push(0);
    stream.extend(rest);
    let plain = decode_cut(&stream, plain_len, steps(Stream::new_lzma_decoder(memory_max))?)?;
    if plain.len() == plain_len { Ok(plain) } else { Err(UnpackError::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unpack::codec::{Method, Methods, Rebuilt};

    /// What mkfs.erofs 1.8.6 with liblzma 5.4.1 made of the text of all golden blocks, by
    /// `-zlzma -C65536`.
    const GOLDEN: &[u8] = include_bytes!("../golden/erofs-lzma");
    const PLAIN_LEN: u32 = 36864;
    const CODEC: Codec = Codec::LzmaCluster { dict_size: 256 << 10, plain_len: PLAIN_LEN };

    fn plain() -> Vec<u8> {
        CODEC.unpack(GOLDEN, PLAIN_LEN as usize).expect("golden")
    }

    #[test]
    fn cluster_that_mkfs_made_is_packed_again() {
        let plain = plain();
        assert_eq!(plain.len(), PLAIN_LEN as usize);
        let found = Methods::default().find(CODEC, GOLDEN, &plain).expect("a preset makes it");
        let Rebuilt { method, packed_len, plain_len, correction } = found;
        assert_eq!(method.encode(), [14, 6, 0x5d, 0, 0, 4, 0]);
        assert_eq!((packed_len, plain_len), (GOLDEN.len(), plain.len()));
        // What the range coder holds back is otherwise where a mark of the end follows.
        assert!(correction.len() < 16, "{} bytes", correction.len());
        assert_eq!(method.pack(&plain, &correction, packed_len).as_deref(), Ok(GOLDEN));
        assert_eq!(method.unpack(GOLDEN, plain_len).as_deref(), Ok(&plain[..]));
        for wrong in [&[][..], &correction[1..], &[0; 9000]] {
            assert!(method.pack(&plain, wrong, packed_len).ok().as_deref() != Some(GOLDEN));
        }
        assert!(method.pack(&plain, &correction, packed_len * 2).is_err());
        assert!(method.pack(&plain, &[0; 9000], 8999).is_err());
    }

    #[test]
    fn cluster_that_does_not_make_its_plain_bytes_is_refused() {
        let codec = |dict_size, plain_len| Codec::LzmaCluster { dict_size, plain_len };
        let refused = |codec: Codec, packed: &[u8]| codec.unpack(packed, 1 << 20).is_err();
        assert!(refused(codec(256 << 10, PLAIN_LEN + 4096), GOLDEN));
        assert!(refused(CODEC, &GOLDEN[..GOLDEN.len() / 2]));
        assert!(refused(CODEC, &[]) && refused(CODEC, &GOLDEN[..1]));
        // A match goes back further than that.
        assert!(refused(codec(4096, PLAIN_LEN), GOLDEN));
        // No properties are so.
        assert!(refused(CODEC, &[&[0], &GOLDEN[1..]].concat()));
        assert_eq!(CODEC.unpack(GOLDEN, 36863), Err(UnpackError::TooLarge));
    }

    #[test]
    fn spellings_beside_those_of_the_format_are_refused() {
        let of = |dict_size: u32| [&[14, 6, 0x5d][..], &dict_size.to_le_bytes()].concat();
        assert!(Method::decode(&of(4096)).is_ok() && Method::decode(&of(4095)).is_err());
        assert!(
            Method::decode(&of(64 << 20)).is_ok() && Method::decode(&of((64 << 20) + 1)).is_err()
        );
        assert!(Method::decode(&[9, 14, 6, 0x5d, 0, 0, 4, 0]).is_err());
    }
}
