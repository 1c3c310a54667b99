//! Streams of real tools, cut anywhere, are packed again up to there; hostile corrections are
//! refused.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::super::tests::{GOLDEN, TEXT_LEN};
use super::super::{Codec, Method, Methods, Rebuilt, Stream};

/// Streams that can be cut; so many bytes at most pass before the cut.
const STREAMS: [(&str, Stream, usize); 9] = [
    ("squashfs-gzip", Stream::Zlib, 8),
    ("gzip-9", Stream::Deflate, 8),
    ("gzip-6", Stream::Deflate, 8),
    ("squashfs-xz", Stream::Xz, 32),
    ("xz-6", Stream::Xz, 32),
    ("xz-kernel", Stream::Xz, 32),
    ("lzma-9", Stream::Lzma, 32),
    ("text.lzma", Stream::Lzma, 32),
    ("text.zst", Stream::Zstd, 0),
];

/// A golden stream, or one of more text.
fn packed(name: &str) -> Vec<u8> {
    let golden = |name| GOLDEN.iter().find(|golden| golden.0 == name).expect("it is golden").1;
    match name {
        // Six blocks.
        "text.zst" => {
            let method = Method::decode(&[7, 3, 0, 3]).expect("a method");
            method.predict(&text(700_000), 700_000).expect("room enough")
        }
        // It tells its length.
        "text.lzma" => {
            let mut packed = golden("lzma-9").to_vec();
            packed[5..13].copy_from_slice(&(TEXT_LEN as u64).to_le_bytes());
            packed
        }
        name => golden(name).to_vec(),
    }
}

/// Numbers in words: no part is like another.
fn text(len: usize) -> Vec<u8> {
    let number = |at: u32| at.wrapping_mul(0x9e37_79b9) >> 17;
    let words = (0..).flat_map(|at| format!("number {} of {at}; ", number(at)).into_bytes());
    words.take(len).collect()
}

/// Front of a stream, what it unpacks to, and how it is packed again.
fn cut(name: &str, stream: Stream, len: usize) -> (Vec<u8>, Vec<u8>, Option<Rebuilt>) {
    let mut front = packed(name);
    front.truncate(len);
    let codec = Codec::Cut(stream);
    let plain = codec.unpack(&front, 1 << 20).unwrap_or_default();
    let found = Methods::default().find(codec, &front, &plain);
    (front, plain, found)
}

fn is_packed_again(name: &str, stream: Stream, len: usize, passed_max: usize) {
    let (front, plain, found) = cut(name, stream, len);
    assert!(found.is_some(), "{name}, {len} bytes: no method");
    let found = found.expect("it was just seen");
    let Rebuilt { method, packed_len, plain_len, correction } = found;
    assert_eq!(method.codec(), Codec::Cut(stream), "{name}");
    assert_eq!(Method::decode(&method.encode()), Ok(method.clone()), "{name}");
    let made = method.pack(&plain[..plain_len], &correction, packed_len);
    assert!(made.is_ok_and(|made| made == front[..packed_len]), "{name}, {len} bytes");
    assert!(front.len() - packed_len <= passed_max, "{name}: {packed_len} of {len} bytes");
    assert!(correction.len() < 500, "{name}: a correction of {} bytes", correction.len());
    // What is left out at the end is no more than what cannot be known.
    let whole = whole(name);
    assert!(whole.starts_with(&plain), "{name}, {len} bytes");
    let again = Codec::Cut(stream).unpack(&front, plain_len / 2);
    assert_eq!(again.as_deref(), Ok(&plain[..plain_len / 2]), "{name}, {len} bytes");
}

fn whole(name: &str) -> Vec<u8> {
    let (_, stream, _) = STREAMS.iter().find(|stream| stream.0 == name).expect("it is listed");
    Codec::Cut(*stream).unpack(&packed(name), 1 << 20).expect(name)
}

#[test]
fn streams_without_their_last_byte_are_packed_again() {
    for (name, stream, passed_max) in STREAMS {
        let len = packed(name).len() - 1;
        let passed_max = if stream == Stream::Zstd { len / 5 } else { passed_max };
        is_packed_again(name, stream, len, passed_max);
    }
}

#[test]
fn nothing_is_cut_but_streams() {
    for spelling in [vec![9, 0], vec![9, 3, 0, 1], vec![9, 8, 9], vec![9], vec![9, 9, 1, 6]] {
        assert!(Method::decode(&spelling).is_err(), "{spelling:?}");
    }
    // One that says what is around data that is packed without.
    let mut xz = vec![9, 5, 6, 93, 0, 16, 0, 0, 0, 0, 0];
    assert!(Method::decode(&xz).is_ok());
    for (at, byte) in [(8, 1), (9, 16), (10, 64)] {
        let before = std::mem::replace(&mut xz[at], byte);
        assert!(Method::decode(&xz[1..]).is_ok(), "byte {at}");
        assert!(Method::decode(&xz).is_err(), "byte {at}");
        xz[at] = before;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn streams_cut_anywhere_are_packed_again(
        (name, stream, passed_max) in prop::sample::select(STREAMS[..8].to_vec()),
        at in any::<prop::sample::Index>(),
    ) {
        // A correction of less than that is long beside it.
        let whole_len = packed(name).len();
        is_packed_again(name, stream, 1024 + at.index(whole_len - 1024), passed_max);
    }

    #[test]
    fn damaged_streams_unpack_to_no_more_than_is_allowed(
        (name, stream, _) in prop::sample::select(STREAMS.to_vec()),
        len in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        max in 1_usize..100_000,
    ) {
        let mut packed = packed(name);
        packed.truncate(len.index(packed.len()) + 1);
        for (at, byte) in changes {
            let at = at.index(packed.len());
            packed[at] = byte;
        }
        let codec = Codec::Cut(stream);
        if let Ok(plain) = codec.unpack(&packed, max) {
            prop_assert!((1..=max).contains(&plain.len()));
            if let Some(found) = Methods::default().find(codec, &packed, &plain) {
                let Rebuilt { method, packed_len, plain_len, correction } = found;
                let made = method.pack(&plain[..plain_len], &correction, packed_len);
                prop_assert_eq!(made.as_deref(), Ok(&packed[..packed_len]));
            }
        }
    }

    #[test]
    fn any_correction_of_a_cut_is_refused_or_makes_the_length(
        which in 0..STREAMS.len(),
        correction: Vec<u8>,
        change in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        packed_len in 0_usize..30_000,
    ) {
        // Finding the method of one takes longer than all cases.
        static CUT: LazyLock<Vec<(Vec<u8>, Rebuilt)>> = LazyLock::new(|| {
            let cut = |(name, stream, _)| {
                let (_, plain, found) = cut(name, stream, packed(name).len() - 1);
                (plain, found.expect(name))
            };
            STREAMS.map(cut).into()
        });
        let (plain, found) = &CUT[which];
        let mut correction = correction;
        if let Some((at, byte)) = change {
            correction.clone_from(&found.correction);
            let at = at.index(correction.len());
            correction[at] = byte;
        }
        for len in [packed_len, found.packed_len] {
            if let Ok(made) = found.method.pack(&plain[..found.plain_len], &correction, len) {
                prop_assert_eq!(made.len(), len);
            }
        }
    }
}

proptest! {
    // Each tries all levels.
    #![proptest_config(ProptestConfig::with_cases(3))]

    #[test]
    fn blocks_of_zstd_before_a_cut_are_packed_again(at in any::<prop::sample::Index>()) {
        let (name, stream, _) = STREAMS[8];
        let len = packed(name).len();
        // Behind the first two blocks.
        is_packed_again(name, stream, len / 2 + at.index(len / 2 - 1), len / 5);
    }
}
