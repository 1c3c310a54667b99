//! The calls into liblz4: the only unsafe code.
#![expect(unsafe_code, reason = "liblz4 is C")]

use std::ffi::{c_char, c_int, c_void};

// Linked through it; it does not declare all that we call.
use lz4_sys as _;

use crate::{Filled, HC_LEVEL_MAX, PLAIN_LEN_MAX};

// The declarations are those of lz4.h and lz4hc.h, release 1.10.0.
unsafe extern "C" {
    fn LZ4_compress_fast(
        src: *const c_char,
        dst: *mut c_char,
        src_len: c_int,
        dst_len: c_int,
        acceleration: c_int,
    ) -> c_int;
    fn LZ4_compress_destSize(
        src: *const c_char,
        dst: *mut c_char,
        src_len: *mut c_int,
        dst_len: c_int,
    ) -> c_int;
    fn LZ4_compress_HC(
        src: *const c_char,
        dst: *mut c_char,
        src_len: c_int,
        dst_len: c_int,
        level: c_int,
    ) -> c_int;
    fn LZ4_compress_HC_destSize(
        state: *mut c_void,
        src: *const c_char,
        dst: *mut c_char,
        src_len: *mut c_int,
        dst_len: c_int,
        level: c_int,
    ) -> c_int;
    fn LZ4_sizeofStateHC() -> c_int;
}

/// `plain` as `LZ4_compress_fast` packs it; nothing if it is too long.
///
/// `acceleration` of 1 is `LZ4_compress_default`.
#[must_use]
pub fn fast(plain: &[u8], acceleration: u16) -> Option<Vec<u8>> {
    pack(plain, |src, src_len, dst, dst_len| {
        // SAFETY: `pack` gives `src_len` readable and `dst_len` writable bytes.
        unsafe { LZ4_compress_fast(src, dst, src_len, dst_len, c_int::from(acceleration)) }
    })
}

/// `plain` as `LZ4_compress_HC` packs it; nothing if it is too long, or the level is not one.
#[must_use]
pub fn hc(plain: &[u8], level: u8) -> Option<Vec<u8>> {
    if level > HC_LEVEL_MAX {
        return None;
    }
    pack(plain, |src, src_len, dst, dst_len| {
        // SAFETY: `pack` gives `src_len` readable and `dst_len` writable bytes.
        unsafe { LZ4_compress_HC(src, dst, src_len, dst_len, c_int::from(level)) }
    })
}

/// As much of `plain` as `LZ4_compress_destSize` gets into `packed_len` bytes; nothing if none
/// fits.
#[must_use]
pub fn fast_filling(plain: &[u8], packed_len: usize) -> Option<Filled> {
    fill(plain, packed_len, |src, src_len, dst, dst_len| {
        // SAFETY: `fill` gives `*src_len` readable and `dst_len` writable bytes.
        unsafe { LZ4_compress_destSize(src, dst, src_len, dst_len) }
    })
}

/// As much of `plain` as `LZ4_compress_HC_destSize` gets into `packed_len` bytes; nothing if none
/// fits, or the level is not one.
#[must_use]
pub fn hc_filling(plain: &[u8], level: u8, packed_len: usize) -> Option<Filled> {
    if level > HC_LEVEL_MAX {
        return None;
    }
    // SAFETY: it takes nothing and returns a constant.
    let state_len = usize::try_from(unsafe { LZ4_sizeofStateHC() }).ok()?;
    // Words, since the state has to be aligned for pointers.
    let mut state = vec![0_u64; state_len.div_ceil(8)];
    fill(plain, packed_len, |src, src_len, dst, dst_len| {
        let state = state.as_mut_ptr().cast::<c_void>();
        // SAFETY: `state` has the length and alignment that liblz4 asks for, and is initialised by
        // the call; `fill` gives `*src_len` readable and `dst_len` writable bytes.
        unsafe { LZ4_compress_HC_destSize(state, src, dst, src_len, dst_len, c_int::from(level)) }
    })
}

/// Calls a compressor with room for the worst case.
fn pack(
    plain: &[u8],
    compress: impl FnOnce(*const c_char, c_int, *mut c_char, c_int) -> c_int,
) -> Option<Vec<u8>> {
    let plain_len = c_int::try_from(plain.len()).ok().filter(|_| plain.len() <= PLAIN_LEN_MAX)?;
    // LZ4_COMPRESSBOUND (lz4.h).
    let mut packed = vec![0_u8; plain.len() + plain.len() / 255 + 16];
    let packed_len = c_int::try_from(packed.len()).ok()?;
    let written =
        compress(plain.as_ptr().cast(), plain_len, packed.as_mut_ptr().cast(), packed_len);
    packed.truncate(usize::try_from(written).ok().filter(|len| *len > 0)?);
    Some(packed)
}

/// Calls a compressor that fills an output.
fn fill(
    plain: &[u8],
    packed_len: usize,
    compress: impl FnOnce(*const c_char, *mut c_int, *mut c_char, c_int) -> c_int,
) -> Option<Filled> {
    if plain.len() > PLAIN_LEN_MAX || packed_len > PLAIN_LEN_MAX {
        return None;
    }
    let mut plain_len = c_int::try_from(plain.len()).ok()?;
    let mut packed = vec![0_u8; packed_len];
    let packed_len = c_int::try_from(packed_len).ok()?;
    let written =
        compress(plain.as_ptr().cast(), &raw mut plain_len, packed.as_mut_ptr().cast(), packed_len);
    packed.truncate(usize::try_from(written).ok().filter(|len| *len > 0)?);
    let plain_len = usize::try_from(plain_len).ok().filter(|len| *len <= plain.len())?;
    Some(Filled { plain_len, packed })
}
