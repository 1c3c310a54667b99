//! Unpacking and packing blocks: whatever the bytes, no more is made than is allowed, and what is
//! found to be packed again is, to the same bytes.

use neap_engine::unpack::Codec;
use neap_engine::unpack::codec::{Kallsyms, Method, Methods, Rebuilt, Stream};

/// Most plain bytes of a block here.
const PLAIN_LEN_MAX: usize = 64 << 10;

/// Methods that take more than that are left out: the fuzzer has no memory for them.
const MEMORY_MAX: u64 = 48 << 20;

/// Few symbols, whose tables stand close together.
const SYMBOLS: Kallsyms = Kallsyms {
    count: 8,
    offsets: 0,
    names: 32,
    markers: 96,
    sequence: 100,
    tokens: 124,
    index: 640,
};

const CODECS: [Codec; 16] = [
    Codec::Deflate,
    Codec::Zlib,
    Codec::Lz4,
    Codec::Lz4Clusters { cluster_log2: 12 },
    Codec::Xz,
    Codec::Lzma,
    Codec::Zstd,
    Codec::Bzip2,
    Codec::Cut(Stream::Deflate),
    Codec::Cut(Stream::Zlib),
    Codec::Cut(Stream::Xz),
    Codec::Cut(Stream::Lzma),
    Codec::Cut(Stream::Zstd),
    Codec::Stored,
    Codec::Kallsyms(SYMBOLS),
    Codec::LzmaCluster { dict_size: 32 << 10, plain_len: 5000 },
];

/// The first byte chooses: a codec that unpacks the others, or a method that packs them.
///
/// # Panics
/// If a claim does not hold.
pub fn unpack_codec(bytes: &[u8]) {
    let Some((choice, rest)) = bytes.split_first() else { return };
    match CODECS.get(usize::from(*choice)) {
        Some(codec) => unpack(*codec, rest),
        None => pack(rest),
    }
}

fn unpack(codec: Codec, packed: &[u8]) {
    let Ok(plain) = codec.unpack(packed, PLAIN_LEN_MAX) else { return };
    assert!(plain.len() <= PLAIN_LEN_MAX, "{} plain bytes", plain.len());
    let small = |method: Method| method.memory(plain.len() as u64) <= MEMORY_MAX;
    if !Method::of_block(codec, packed).is_some_and(small) {
        return;
    }
    let Some(found) = Methods::default().find(codec, packed, &plain) else { return };
    let Rebuilt { method, packed_len, plain_len, correction } = found;
    let is_cluster = matches!(method.codec(), Codec::LzmaCluster { .. });
    assert!(is_cluster || method.codec() == codec);
    assert_eq!(Method::decode(&method.encode()), Ok(method.clone()));
    let made = method.pack(&plain[..plain_len], &correction, packed_len);
    assert_eq!(made.as_deref(), Ok(&packed[..packed_len]), "{method:?}");
}

/// Length of the method's spelling, the packed length, and that of the plain bytes; then these, and
/// the correction.
fn pack(bytes: &[u8]) {
    let Some((&[method_len, a, b, c, d], rest)) = bytes.split_first_chunk::<5>() else { return };
    let Some((spelling, rest)) = rest.split_at_checked(method_len.into()) else { return };
    let Ok(method) = Method::decode(spelling) else { return };
    assert_eq!(method.encode(), spelling);
    let packed_len = usize::from(u16::from_le_bytes([a, b]));
    let plain_len = usize::from(u16::from_le_bytes([c, d]));
    let Some((plain, correction)) = rest.split_at_checked(plain_len) else { return };
    if plain.is_empty() || method.memory(plain.len() as u64) > MEMORY_MAX {
        return;
    }
    if let Ok(made) = method.pack(plain, correction, packed_len) {
        assert_eq!(made.len(), packed_len);
        // By what is predicted alone, a stream has the plain bytes; edits may say others.
        if correction.is_empty() {
            assert_eq!(method.codec().unpack(&made, plain_len).as_deref(), Ok(plain));
        }
    }
}
