//! The n-th read, write or flush fails, for every n: the error names what failed, nothing wrong is
//! on the target, and the next run makes it.

use std::io::ErrorKind;

use neap_engine::error::ApplyError;
use neap_engine::io::drive::{Options, Stopped};
use neap_engine::io::error::{DriveError, Part};
use neap_sim::chain::INTERVAL_WINDOWS;
use neap_sim::layered;
use neap_sim::machine::{Call, Fault, Machine, Port};
use neap_sim::pair::{Pair, WINDOW};
use neap_sim::random::Random;
use neap_sim::run::{Inputs, ReadFault};

/// `EIO`, which Rust has no kind for.
const EIO: ErrorKind = ErrorKind::Other;

/// What fails in a run.
#[derive(Debug, Clone, Copy)]
enum Failing {
    Source,
    Patch,
    Machine(Call),
}

#[test]
fn source_that_fails_is_named() {
    for kind in [EIO, ErrorKind::UnexpectedEof] {
        every_failure(Failing::Source, kind, Part::Source, 15);
    }
}

#[test]
fn patch_that_fails_or_ends_is_named() {
    for kind in [EIO, ErrorKind::UnexpectedEof] {
        every_failure(Failing::Patch, kind, Part::Patch, 20);
    }
}

#[test]
fn target_that_cannot_be_sized_is_named() {
    for kind in [EIO, ErrorKind::StorageFull] {
        every_failure(Failing::Machine(Call::Resize), kind, Part::Target, 1);
    }
}

#[test]
fn target_that_takes_part_of_a_write_is_named() {
    for kind in [EIO, ErrorKind::StorageFull] {
        every_failure(Failing::Machine(Call::Write), kind, Part::Target, 8);
    }
}

#[test]
fn what_a_failed_flush_dropped_is_made_again() {
    every_failure(Failing::Machine(Call::Sync), EIO, Part::Target, 3);
}

#[test]
fn target_that_cannot_be_read_back_is_named() {
    every_failure(Failing::Machine(Call::ReadBack), EIO, Part::Target, 8);
}

#[test]
fn journal_that_fails_is_named() {
    every_failure(Failing::Machine(Call::JournalLoad), EIO, Part::Journal, 1);
    for kind in [EIO, ErrorKind::StorageFull] {
        every_failure(Failing::Machine(Call::JournalCreate), kind, Part::Journal, 1);
        every_failure(Failing::Machine(Call::JournalWrite), kind, Part::Journal, 3);
    }
    every_failure(Failing::Machine(Call::JournalFlush), EIO, Part::Journal, 3);
    every_failure(Failing::Machine(Call::JournalRemove), EIO, Part::Journal, 1);
}

#[test]
fn device_that_forgets_a_write_is_found_out() {
    let pair = pair();
    for nth in 0..pair.header.target_windows.len() as u64 {
        let port = Port::new(Machine::new(vec![1; pair.target.len()], false, nth));
        port.machine().fail(Fault { call: Call::WriteLost, nth, kind: EIO });
        let result = Inputs::new(&pair).apply(&port, options(false)).result;
        let differing = result.err().and_then(|stopped| match stopped.error {
            DriveError::ReadBackDiffers { differing } => Some(differing),
            _ => None,
        });
        let differing = differing.expect("the read-back finds what the device forgot");
        assert_eq!(differing[0].offset, nth * WINDOW as u64);
        port.machine().reboot();
        let again = Inputs::new(&pair).apply(&port, options(false)).result;
        assert_eq!(again.expect("a healthy machine makes the target").windows_resumed, nth);
        assert!(port.machine().target_disk().cached() == pair.target);
    }
}

#[test]
fn source_that_changes_is_found_out_before_the_write() {
    let pair = pair();
    let mut found = [0, 0];
    let healthy = Port::new(Machine::new(vec![1; pair.target.len()], false, 0));
    let reads = Inputs::new(&pair).apply(&healthy, options(true)).source_reads;
    for nth in 0..reads {
        let port = Port::new(Machine::new(vec![1; pair.target.len()], false, nth));
        let mut inputs = Inputs::new(&pair);
        inputs.source_fault = Some(ReadFault { nth, kind: ErrorKind::InvalidData });
        match inputs.apply(&port, options(nth & 1 > 0)).result {
            // A byte that no copy takes, of a block that one takes others of.
            Ok(_) => assert!(port.machine().target_disk().cached() == pair.target),
            Err(Stopped { error: DriveError::WrongSource { .. }, wrote: false }) => {
                assert_eq!(port.machine().clock(), 0, "written to with a wrong source");
                found[0] += 1;
            }
            Err(Stopped { error: DriveError::Apply(ApplyError::WindowDiffers { .. }), .. }) => {
                found[1] += 1;
            }
            Err(stopped) => assert_eq!(stopped.error.to_string(), "one of the two above"),
        }
        let machine = &mut port.machine();
        assert_old_or_right(&pair, &vec![1; pair.target.len()], machine.target_disk().cached(), "");
    }
    assert!(found[0] > 1 && found[1] > 9, "found {found:?} times, before and while writing");
}

fn pair() -> Pair {
    let interval = usize::try_from(INTERVAL_WINDOWS).expect("a few windows") * WINDOW;
    Pair::new(2 * interval + WINDOW + 700, 1)
}

fn options(one_thread: bool) -> Options {
    let checkpoint_len = INTERVAL_WINDOWS * WINDOW as u64;
    Options { one_thread, checkpoint_len, ..Options::default() }
}

/// Lets each call fail, on one thread and on two, and goes on with and without a power cut; with
/// the layer `refs` and the coder `cm` in some of the ways.
fn every_failure(failing: Failing, kind: ErrorKind, part: Part, count_min: u64) {
    let (plain, layered) = (pair(), layered::by_hand(WINDOW * 5 / 2, 3));
    let cases = (0..8).map(|case| (&plain, case, count_min));
    for (pair, case, count_min) in cases.chain([(&layered, 1, 1), (&layered, 6, 1)]) {
        let mut nth = 0;
        let case = Case { pair, failing, kind, case };
        while case.fails_well(nth, part) {
            nth += 1;
        }
        assert!(nth >= count_min, "{failing:?}: only {nth} calls could fail");
    }
}

/// One way to run with a call that fails.
struct Case<'a> {
    pair: &'a Pair,
    failing: Failing,
    kind: ErrorKind,
    /// Bits: on one thread, power cut behind the failure, target is a device.
    case: u64,
}

impl Case<'_> {
    /// Runs with the `nth` call failing, checks what is left, runs again. `false` if there was no
    /// such call.
    fn fails_well(&self, nth: u64, part: Part) -> bool {
        let Self { pair, failing, kind, case } = *self;
        let mut random = Random::new(case << 32 | nth);
        let is_device = case & 4 > 0 && !matches!(failing, Failing::Machine(Call::Resize));
        let before = random.bytes(if is_device { pair.target.len() + 512 } else { 100_000 });
        let port = Port::new(Machine::new(before.clone(), !is_device, random.any()));
        let mut inputs = Inputs::new(pair);
        match failing {
            Failing::Source => inputs.source_fault = Some(ReadFault { nth, kind }),
            Failing::Patch => inputs.patch_fault = Some(ReadFault { nth, kind }),
            Failing::Machine(call) => port.machine().fail(Fault { call, nth, kind }),
        }
        let context = format!("{failing:?} {nth} failed with {kind}, case {case}");
        let result = inputs.apply(&port, options(case & 1 > 0)).result;
        let failed = result.is_err();
        if let Err(stopped) = result {
            assert_eq!(part_of(&stopped.error, kind), Some(part), "{context}: {}", stopped.error);
            let untouched = port.machine().clock() == 0;
            assert!(stopped.wrote || untouched, "{context}: said that nothing was written");
        }
        assert_old_or_right(pair, &before, port.machine().target_disk().cached(), &context);
        if case & 2 > 0 {
            port.machine().cut_now();
        }
        port.machine().reboot();
        let again = Inputs::new(pair).apply(&port, options(case & 1 > 0)).result;
        assert!(again.is_ok(), "{context}: the next run failed too: {again:?}");
        let mut machine = port.machine();
        machine.cut_now();
        let made = &machine.target_disk().medium()[..pair.target.len()];
        assert!(made == pair.target, "{context}: the target differs after the next run");
        assert!(machine.slots().is_none(), "{context}: the journal is still there");
        failed
    }
}

/// What the error says has failed, if it says how.
fn part_of(error: &DriveError, kind: ErrorKind) -> Option<Part> {
    match error {
        DriveError::Io { part, error, .. } => (error.kind() == kind).then_some(*part),
        DriveError::PatchEnded(_) => (kind == ErrorKind::UnexpectedEof).then_some(Part::Patch),
        // Read back too short is a target that differs.
        _ => None,
    }
}

/// Every byte is what it was before, or what it shall be.
fn assert_old_or_right(pair: &Pair, before: &[u8], now: &[u8], context: &str) {
    let old = before.iter().copied().chain(std::iter::repeat(0));
    let wrong = now
        .iter()
        .zip(old)
        .zip(pair.target.iter().map(Some).chain(std::iter::repeat(None)))
        .position(|((now, old), right)| *now != old && Some(now) != right);
    assert_eq!(wrong, None, "{context}: a byte of the target is neither old nor right");
}
