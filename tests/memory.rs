//! What an apply holds at once, on the heap.

use neap_engine::io::drive::{self, Options};
use neap_engine::io::memory::{MemoryJournal, MemoryTarget, PatchBytes};
use neap_sim::layered;
use neap_sim::pair::WINDOW;
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// At a restart point the coder `cm` made its new model before it let go of the old one, and an
/// apply held 40 MiB of models; now there is one at any time.
#[test]
fn one_model_is_held_at_a_time_across_restart_points() {
    let pair = layered::by_hand(12 * WINDOW, 5);
    assert!(pair.header.restarts.len() > 3);
    let (mut target, mut journal) = (MemoryTarget::default(), MemoryJournal::default());
    let options = Options { one_thread: true, ..Options::default() };
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let mut patch = PatchBytes::new(&pair.patch);
    let applied =
        drive::apply(&mut patch, &pair.source, &mut target, &mut journal, options, &|_| {});
    let held = HEAP.peak_usage() - before;
    assert!(applied.is_ok_and(|_| target.bytes == pair.target));
    println!("{held} bytes were held");
    assert!(held > 20 << 20, "the patch has frames of cm, whose model takes 20 MiB");
    assert!(held < 28 << 20, "{held} bytes were held at once");
}
