//! The fuzz targets of the engine: [`harness`] says what each claims, [`fuzz!`] hands it to
//! libFuzzer.

pub mod harness;

#[doc(hidden)]
pub use {libfuzzer_sys, peak_alloc};

/// What a harness may hold at once, in bytes: with the decoders' own contexts, which are not
/// counted, and the program it stays below the 64 MiB that any bytes at all may cost.
pub const HEAP_MAX: usize = 48 << 20;

/// The harness of this name.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn harness_of(name: &str) -> fn(&[u8]) {
    let found = harness::HARNESSES.iter().find(|(found, _)| *found == name);
    found.expect("the target is named after a harness").1
}

/// Makes a fuzz target of the harness of this name.
#[macro_export]
macro_rules! fuzz {
    ($name:literal) => {
        #[global_allocator]
        static HEAP: $crate::peak_alloc::PeakAlloc = $crate::peak_alloc::PeakAlloc;

        $crate::libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
            let before = HEAP.current_usage();
            HEAP.reset_peak_usage();
            $crate::harness_of($name)(bytes);
            let held = HEAP.peak_usage().saturating_sub(before);
            assert!(held <= $crate::HEAP_MAX, "{held} bytes were held at once");
        });
    };
}
