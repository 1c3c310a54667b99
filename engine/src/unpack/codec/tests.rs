//! What real tools packed is packed again; what is hostile is refused.
//!
//! `golden/` has one text as squashfs-tools 4.5.1, erofs-utils 1.5, gzip 1.12, xz 5.4.1, zstd
//! 1.5.4, lz4 1.9.4 and bzip2 1.0.8 packed it. The libraries we pack with are of other releases: a
//! golden block that is no longer made is a break of the format.

use proptest::prelude::*;

use super::{Codec, Method, Methods, Stream, UnpackError};

macro_rules! golden {
    ($name:literal, $codec:expr, $method:expr, $correction:literal) => {
        ($name, include_bytes!(concat!("golden/", $name)).as_slice(), $codec, &$method, $correction)
    };
}

/// Name, packed bytes, codec, beginning of the spelling, and the longest correction in bytes.
pub(super) type Golden = (&'static str, &'static [u8], Codec, &'static [u8], usize);

/// What is in `golden/`.
pub(super) const GOLDEN: [Golden; 18] = [
    golden!("squashfs-gzip", Codec::Zlib, [2, 9, 0x78, 0xda], 0),
    golden!("gzip-9", Codec::Deflate, [1, 9], 16),
    golden!("gzip-6", Codec::Deflate, [1, 6], 16),
    golden!("squashfs-lz4", Codec::Lz4, [3, 0, 1], 0),
    golden!("squashfs-lz4hc", Codec::Lz4, [3, 1, 12], 0),
    golden!("lz4-9-legacy", Codec::Lz4, [3, 1, 9], 0),
    golden!("erofs-lz4", Codec::Lz4Clusters { cluster_log2: 12 }, [4, 12, 0, 1], 0),
    golden!("erofs-lz4hc", Codec::Lz4Clusters { cluster_log2: 12 }, [4, 12, 1, 9], 0),
    golden!("squashfs-xz", Codec::Xz, [5], 0),
    golden!("xz-6", Codec::Xz, [5], 0),
    golden!("xz-blocks", Codec::Xz, [5], 0),
    golden!("xz-kernel", Codec::Xz, [5], 0),
    golden!("lzma-9", Codec::Lzma, [6], 0),
    golden!("squashfs-zstd", Codec::Zstd, [7, 15], 600),
    golden!("squashfs-zstd-3", Codec::Zstd, [7, 3], 600),
    golden!("zstd-19", Codec::Zstd, [7, 19], 600),
    golden!("zstd-3-stream", Codec::Zstd, [7, 3], 600),
    golden!("bzip2-9", Codec::Bzip2, [8, 9], 0),
];

/// Length of the text in all golden blocks, in bytes.
pub(super) const TEXT_LEN: usize = 36864;

#[test]
fn golden_blocks_are_packed_again() {
    let mut texts = Vec::new();
    for (name, packed, codec, method, correction_len_max) in GOLDEN {
        let plain = codec.unpack(packed, TEXT_LEN).expect(name);
        let found = Methods::default().find(codec, packed, &plain);
        if cfg!(target_endian = "big") && matches!(codec, Codec::Lz4 | Codec::Lz4Clusters { .. }) {
            // What liblz4 makes there is something else, so nothing is packed with it.
            assert_eq!(found, None, "{name}");
            texts.push(plain);
            continue;
        }
        let found = found.expect(name);
        let spelling = found.method.encode();
        assert!(spelling.starts_with(method), "{name}: {spelling:?}");
        let len = found.correction.len();
        assert!(len <= correction_len_max, "{name}: a correction of {len} bytes");
        let method = Method::decode(&spelling).expect(name);
        assert_eq!(method, found.method, "{name}");
        let made = method.pack(&plain, &found.correction, packed.len());
        assert!(made.is_ok_and(|made| made == packed), "{name}");
        texts.push(plain);
    }
    assert!(texts.iter().all(|text| text.len() == TEXT_LEN && *text == texts[0]));
}

/// The first byte is not lost, nor what is behind the last.
#[test]
fn golden_blocks_are_refused_when_cut_longer_or_too_large() {
    for (name, packed, codec, ..) in GOLDEN {
        assert!(codec.unpack(&packed[..packed.len() - 1], TEXT_LEN).is_err(), "{name}");
        let longer = [packed, &[1]].concat();
        assert!(codec.unpack(&longer, TEXT_LEN).is_err(), "{name}");
        assert_eq!(codec.unpack(packed, TEXT_LEN - 1), Err(UnpackError::TooLarge), "{name}");
        assert!(codec.unpack(&[], TEXT_LEN).is_err(), "{name}");
    }
}

#[test]
fn method_that_was_right_is_found_by_one_packing() {
    let (_, packed, codec, method, _) = GOLDEN[0];
    let plain = codec.unpack(packed, TEXT_LEN).expect("golden");
    let mut methods = Methods::default();
    for _ in 0..3 {
        let found = methods.find(codec, packed, &plain).expect("golden");
        assert_eq!(found.method.encode(), method);
    }
}

#[test]
fn deflate_of_other_encoders_is_packed_again_with_a_correction() {
    let (_, gzip, ..) = GOLDEN[1];
    let plain = Codec::Deflate.unpack(gzip, TEXT_LEN).expect("golden");
    // No zlib makes this: two streams, joined at a stored block of nothing.
    let (first, second) = plain.split_at(TEXT_LEN / 8 * 7);
    let mut packed = flush(first, 6);
    packed.extend(super::deflate::predict(second, 6, 15));
    let found = Methods::default().find(Codec::Deflate, &packed, &plain).expect("a method");
    assert!((1..packed.len() / 4).contains(&found.correction.len()));
}

/// Edits behind the end of a text that ends with a match were not looked at.
#[test]
fn edits_behind_the_end_of_a_text_are_refused() {
    let plain = b"tide".repeat(40);
    let packed = super::deflate::predict(&plain, 6, 15);
    let correction = super::deflate::correct(&packed, &packed, &plain).expect("a stream");
    let made = |more: &[u8]| {
        let correction = [&correction[..], more].concat();
        super::deflate::apply(&plain, &packed, &correction, packed.len(), false)
    };
    assert_eq!(made(&[]), Ok(packed.clone()));
    // One token is right, and uses the text up.
    for more in [&[1, 0, 3, 1][..], &[1, 1, 0, 0], &[1, 0, 0], &[1, 0, 0, 0, 0], &[2, 0, 0, 0]] {
        assert!(made(more).is_err(), "{more:?}");
    }
}

/// A stream that does not end, up to a byte boundary.
fn flush(plain: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = flate2::Compress::new(flate2::Compression::new(level), false);
    let mut packed = Vec::with_capacity(plain.len() * 2);
    encoder.compress_vec(plain, &mut packed, flate2::FlushCompress::Sync).expect("room enough");
    packed
}

#[test]
fn texts_of_edge_lengths_are_packed_again() {
    let (_, gzip, ..) = GOLDEN[1];
    let text = Codec::Deflate.unpack(gzip, TEXT_LEN).expect("golden");
    for (name, packed, codec, ..) in GOLDEN {
        if codec == Codec::Zlib {
            continue;
        }
        let whole = codec.unpack(packed, TEXT_LEN).expect(name);
        let method = Methods::default().find(codec, packed, &whole).expect(name).method;
        for len in [0, 1, 2, 4, 11, 12, 13, 255, 256, 4095, 4096, 4097] {
            let plain = &text[..len];
            let Some(made) = method.predict(plain, TEXT_LEN) else { continue };
            let again = codec.unpack(&made, len);
            assert_eq!(again.as_deref(), Ok(plain), "{name}, {len} bytes");
            let found = Methods::default().find(codec, &made, plain);
            assert!(found.is_some(), "{name}, {len} bytes");
        }
    }
}

fn codecs() -> impl Strategy<Value = Codec> {
    prop::sample::select(vec![
        Codec::Deflate,
        Codec::Zlib,
        Codec::Lz4,
        Codec::Lz4Clusters { cluster_log2: 12 },
        Codec::Lz4Clusters { cluster_log2: 255 },
        Codec::Xz,
        Codec::Lzma,
        Codec::Zstd,
        Codec::Bzip2,
        Codec::Cut(Stream::Deflate),
        Codec::Cut(Stream::Zlib),
        Codec::Cut(Stream::Xz),
        Codec::Cut(Stream::Lzma),
        Codec::Cut(Stream::Zstd),
    ])
}

/// Golden blocks with some bytes that are others.
fn damaged() -> impl Strategy<Value = (Codec, Vec<u8>)> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4);
    (prop::sample::select(GOLDEN.to_vec()), changes).prop_map(
        |((_, packed, codec, ..), changes)| {
            let mut packed = packed.to_vec();
            for (at, byte) in changes {
                let at = at.index(packed.len());
                packed[at] = byte;
            }
            (codec, packed)
        },
    )
}

proptest! {
    #[test]
    fn any_bytes_unpack_to_no_more_than_is_allowed(
        codec in codecs(), packed: Vec<u8>, max in 0_usize..5000,
    ) {
        if let Ok(plain) = codec.unpack(&packed, max) {
            prop_assert!(plain.len() <= max);
        }
    }

    #[test]
    fn any_spelling_of_a_method_is_refused_or_its_own(
        bytes in prop::collection::vec(0_u8..32, 0..34),
    ) {
        if let Ok(method) = Method::decode(&bytes) {
            prop_assert_eq!(method.encode(), bytes);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn damaged_blocks_unpack_to_no_more_than_is_allowed((codec, packed) in damaged()) {
        if let Ok(plain) = codec.unpack(&packed, 2 * TEXT_LEN) {
            prop_assert!(plain.len() <= 2 * TEXT_LEN);
            // Whatever they are: what is found makes them.
            if let Some(found) = Methods::default().find(codec, &packed, &plain) {
                let made = found.method.pack(&plain, &found.correction, packed.len());
                prop_assert_eq!(made, Ok(packed));
            }
        }
    }

    #[test]
    fn any_correction_is_refused_or_makes_the_length(
        golden in prop::sample::select(GOLDEN.to_vec()),
        correction: Vec<u8>,
        change in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        packed_len in 0_usize..30_000,
    ) {
        let (name, packed, codec, ..) = golden;
        let plain = codec.unpack(packed, TEXT_LEN).expect(name);
        let found = Methods::default().find(codec, packed, &plain).expect(name);
        let mut correction = correction;
        if let Some((at, byte)) = change && !found.correction.is_empty() {
            // One that is nearly right goes further.
            correction = found.correction;
            let at = at.index(correction.len());
            correction[at] = byte;
        }
        for len in [packed_len, packed.len()] {
            if let Ok(made) = found.method.pack(&plain, &correction, len) {
                prop_assert_eq!(made.len(), len);
            }
        }
    }
}
