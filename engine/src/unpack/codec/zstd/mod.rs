//! zstd frames (RFC 8878).
//!
//! libzstd predicts them. Its releases differ in a few matches, and so in the codes that follow
//! from them; a correction tells both.

mod frame;
mod fse;
mod huffman;
mod write;

use zstd_safe::{CCtx, CParameter, DCtx, InBuffer, OutBuffer, zstd_sys::ZSTD_EndDirective};

use super::{UnpackError, decode_cut, make_room};
use crate::limits::ZSTD_WINDOW_LOG2_MAX;

pub(super) use self::write::{apply, apply_cut, correct, correct_cut};

/// The release of libzstd that the format names, as it tells its own: 1.5.7 (format 11.2).
const RELEASE: u32 = 10507;

/// Whether that release is linked; with `ZSTD_SYS_USE_PKG_CONFIG` it is whatever the system has.
/// Better nothing than other bytes.
pub(super) fn is_canonical() -> bool {
    zstd_safe::version_number() == RELEASE
}

/// Levels in the order in which they are worth trying: what mksquashfs, initramfs-tools, zstd and
/// pacman take, and then the others.
pub(super) const LEVELS: [u8; 22] =
    [15, 19, 3, 9, 20, 22, 1, 12, 18, 10, 6, 21, 17, 16, 14, 13, 11, 8, 7, 5, 4, 2];

/// How a frame was packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Settings {
    /// Level of libzstd.
    pub(super) level: u8,
    has_checksum: bool,
    has_len: bool,
    /// Window as log2 of bytes; 0 is as the level has it.
    window_log2: u8,
}

impl Settings {
    /// The settings that a frame shows, with the first level.
    pub(super) fn of(packed: &[u8]) -> Option<Self> {
        let descriptor = *packed.strip_prefix(&MAGIC)?.first()?;
        let is_single = descriptor & 0x20 != 0;
        // Reserved bit, or a dictionary.
        if descriptor & 0x0b != 0 {
            return None;
        }
        let has_len = is_single || descriptor >> 6 != 0;
        Some(Self { level: LEVELS[0], has_checksum: descriptor & 4 != 0, has_len, window_log2: 0 })
    }

    /// The same with another level.
    pub(super) fn with_level(self, level: u8) -> Self {
        Self { level, ..self }
    }

    /// Level, window, and a bit for each of checksum and length.
    pub(super) fn encode(self) -> [u8; 3] {
        let flags = u8::from(self.has_checksum) | u8::from(self.has_len) << 1;
        [self.level, self.window_log2, flags]
    }

    pub(super) fn decode(bytes: [u8; 3]) -> Option<Self> {
        let [level, window_log2, flags] = bytes;
        let is_window = window_log2 == 0 || (10..=ZSTD_WINDOW_LOG2_MAX).contains(&window_log2);
        ((1..=22).contains(&level) && is_window && flags < 4).then_some(Self {
            level,
            has_checksum: flags & 1 != 0,
            has_len: flags & 2 != 0,
            window_log2,
        })
    }

    /// Most memory that packing takes beside the plain bytes, in bytes: window and tables by level,
    /// less where the length is known before; what is predicted; and one block.
    pub(super) fn memory(self, plain_len: u64, is_cut: bool) -> u64 {
        let by_level = u64::from(CONTEXT_MIB[usize::from(self.level) - 1]) << 20;
        // Tables have no more than a few entries for each byte (ZSTD_adjustCParams).
        let by_len = plain_len.next_power_of_two().saturating_mul(16).max(1 << 20);
        // What is cut may go on.
        let tables = if self.has_len && !is_cut { by_level.min(by_len) } else { by_level };
        // Of what is longer than its window libzstd holds one.
        let window = 1_u64.checked_shl(self.window_log2.into()).unwrap_or(0);
        let window = if self.window_log2 == 0 { 0 } else { window };
        tables + window + plain_len / 8 * 9 + (4 << 20)
    }

    fn context(self) -> Option<CCtx<'static>> {
        is_canonical().then_some(())?;
        let mut context = CCtx::try_create()?;
        let mut set = |parameter| context.set_parameter(parameter).ok();
        set(CParameter::CompressionLevel(self.level.into()))?;
        set(CParameter::ChecksumFlag(self.has_checksum))?;
        set(CParameter::ContentSizeFlag(self.has_len))?;
        if self.window_log2 > 0 {
            set(CParameter::WindowLog(self.window_log2.into()))?;
        }
        Some(context)
    }

    /// The beginning of what libzstd makes of a text of `plain_len` bytes that starts so.
    pub(super) fn predict_sample(self, sample: &[u8], plain_len: u64) -> Option<Vec<u8>> {
        let mut context = self.context()?;
        if self.has_len {
            context.set_pledged_src_size(Some(plain_len)).ok()?;
        }
        let mut packed = Vec::with_capacity(zstd_safe::compress_bound(sample.len()) + 64);
        let mut input = InBuffer::around(sample);
        run(&mut context, &mut packed, &mut input, ZSTD_EndDirective::ZSTD_e_flush)?;
        Some(packed)
    }

    /// The same for a frame with this header.
    fn predict_cut(self, plain: &[u8], header: &[u8]) -> Option<Vec<u8>> {
        // A header that tells no length has one of 0 here, which no encoder is told.
        let plain_len = zstd_safe::get_frame_content_size(header).ok()?;
        self.predict_sample(plain, plain_len.unwrap_or(0))
    }

    /// What libzstd makes of `plain`.
    pub(super) fn predict(self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut context = self.context()?;
        if self.has_len {
            let mut packed = Vec::with_capacity(zstd_safe::compress_bound(plain.len()));
            context.compress2(&mut packed, plain).ok()?;
            return Some(packed);
        }
        let mut packed = Vec::with_capacity(zstd_safe::compress_bound(plain.len()) + 64);
        let mut input = InBuffer::around(plain);
        // Without its end, so that the length is not known when tables are chosen.
        for end in [ZSTD_EndDirective::ZSTD_e_continue, ZSTD_EndDirective::ZSTD_e_end] {
            run(&mut context, &mut packed, &mut input, end)?;
        }
        Some(packed)
    }
}

/// Gives libzstd all of `input`, and takes what it makes.
fn run(
    context: &mut CCtx<'_>,
    packed: &mut Vec<u8>,
    input: &mut InBuffer<'_>,
    end: ZSTD_EndDirective,
) -> Option<()> {
    loop {
        let filled = packed.len();
        let mut output = OutBuffer::around_pos(packed, filled);
        let left = context.compress_stream2(&mut output, input, end).ok()?;
        let is_taken = input.pos() == input.src.len();
        let is_done = left == 0 || end == ZSTD_EndDirective::ZSTD_e_continue;
        if is_taken && is_done {
            return Some(());
        }
        packed.reserve(1 << 17);
    }
}

/// What libzstd holds at each level for a text of any length, in MiB: window, tables. At level 22
/// the window is of 128 MiB, and it looks for long matches, too.
const CONTEXT_MIB: [u16; 22] =
    [2, 2, 4, 5, 6, 6, 8, 8, 15, 25, 25, 45, 37, 53, 69, 37, 57, 58, 90, 208, 408, 848];

/// The plain bytes of a frame.
pub(super) fn unpack(packed: &[u8], plain_len_max: usize) -> Result<Vec<u8>, UnpackError> {
    if !packed.starts_with(&MAGIC)
        || zstd_safe::find_frame_compressed_size(packed) != Ok(packed.len())
    {
        return Err(UnpackError::Malformed);
    }
    let len = zstd_safe::get_frame_content_size(packed).map_err(|_| UnpackError::Malformed)?;
    if len.is_some_and(|len| len > plain_len_max as u64) {
        return Err(UnpackError::TooLarge);
    }
    let mut context = DCtx::try_create().ok_or(UnpackError::TooLarge)?;
    let window = zstd_safe::DParameter::WindowLogMax(ZSTD_WINDOW_LOG2_MAX.into());
    context.set_parameter(window).map_err(|_| UnpackError::Malformed)?;
    let mut plain = Vec::new();
    let mut input = InBuffer::around(packed);
    loop {
        make_room(&mut plain, plain_len_max)?;
        let filled = plain.len();
        let before = (input.pos(), filled);
        let mut output = OutBuffer::around_pos(&mut plain, filled);
        let hint = context.decompress_stream(&mut output, &mut input);
        if hint.map_err(|_| UnpackError::Malformed)? == 0 {
            make_room(&mut plain, plain_len_max)?;
            let is_whole = input.pos() == packed.len();
            return if is_whole { Ok(plain) } else { Err(UnpackError::Malformed) };
        }
        if before == (input.pos(), plain.len()) {
            return Err(UnpackError::Malformed);
        }
    }
}

/// The plain bytes of the blocks of a frame that are there.
pub(super) fn unpack_cut(packed: &[u8], plain_len_max: usize) -> Result<Vec<u8>, UnpackError> {
    // Without skippable frames before it.
    if !packed.starts_with(&MAGIC) {
        return Err(UnpackError::Malformed);
    }
    let mut context = DCtx::try_create().ok_or(UnpackError::TooLarge)?;
    let window = zstd_safe::DParameter::WindowLogMax(ZSTD_WINDOW_LOG2_MAX.into());
    context.set_parameter(window).map_err(|_| UnpackError::Malformed)?;
    let mut taken = 0;
    decode_cut(packed, plain_len_max, |rest, plain| {
        let filled = plain.len();
        let mut input = InBuffer::around(rest);
        let mut output = OutBuffer::around_pos(plain, filled);
        let hint = context.decompress_stream(&mut output, &mut input);
        taken += input.pos() as u64;
        Ok((taken, hint.map_err(|_| UnpackError::Malformed)? == 0))
    })
}

/// The first bytes of a frame (RFC 8878, section 3.1.1).
const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();

/// The length of the correction between two frames of one text, or all if there is none.
pub(super) fn distance(packed: &[u8], predicted: &[u8]) -> usize {
    correct(packed, predicted).map_or(packed.len(), |correction| correction.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Built with another libzstd, a device would write windows until the digest of one differs.
    #[test]
    fn release_that_the_format_names_is_linked() {
        let [major, minor, patch] = [RELEASE / 10_000, RELEASE / 100 % 100, RELEASE % 100];
        let format = include_str!("../../../../../docs/format.md");
        assert!(format.contains(&format!("| libzstd {major}.{minor}.{patch} (")));
        assert!(is_canonical(), "{} is linked", zstd_safe::version_number());
    }

    #[test]
    fn packing_takes_no_more_memory_than_is_told() {
        for (len, has_len) in
            [(0, true), (4096, true), (1 << 17, true), (5 << 20, true), (9, false)]
        {
            let plain: Vec<u8> = (0..len).map(|at: u32| at.to_le_bytes()[1]).collect();
            for level in LEVELS {
                let settings = Settings { level, has_checksum: true, has_len, window_log2: 0 };
                let mut context = settings.context().expect("memory for a context");
                let mut packed = Vec::with_capacity(zstd_safe::compress_bound(plain.len()));
                if has_len {
                    context.compress2(&mut packed, &plain).expect("room enough");
                } else {
                    let mut output = OutBuffer::around(&mut packed);
                    let end = ZSTD_EndDirective::ZSTD_e_flush;
                    let mut input = InBuffer::around(&plain);
                    context.compress_stream2(&mut output, &mut input, end).expect("room enough");
                }
                let (held, told) = (context.sizeof() as u64, settings.memory(len.into(), false));
                assert!(held <= told, "level {level}, {len} bytes: {held} of {told}");
            }
        }
    }
}
