//! A chain of power cuts: cut, reboot, apply again, perhaps cut again, until the target is made.
//!
//! What must hold after every cut is checked here: the journal tells the truth, no more work is
//! lost than one checkpoint interval, decoding goes on at the last restart point, and what the
//! journal claims is not believed where the medium says otherwise.

use neap_engine::apply::Checkpoint;
use neap_engine::digest::Digest;
use neap_engine::io::drive::Options;
use neap_engine::journal::{SLOT_LEN, Slot};

use crate::machine::{Machine, Moment, Port};
use crate::pair::{Pair, WINDOW};
use crate::random::Random;
use crate::run::{Inputs, Outcome};

/// Windows between two checkpoints.
pub const INTERVAL_WINDOWS: u64 = 3;

/// Most cuts in a chain; the run after them is left alone.
const CUTS_MAX: u64 = 6;

/// Ticks below which later cuts of a chain lie; a run may have fewer.
const LATER_TICKS: u64 = 40;

/// A chain, fixed by what is in here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    /// Tick of the first cut.
    pub tick: u64,
    /// Where in that tick.
    pub moment: Moment,
    /// Chooses what survives, what was on the target before, and what later cuts there are.
    pub seed: u64,
}

impl Chain {
    /// Runs the chain, and returns the count of cuts.
    ///
    /// # Errors
    /// What went wrong.
    pub fn run(&self, pair: &Pair) -> Result<u64, String> {
        let mut random = Random::new(self.seed ^ 0x6e65_6170);
        let port = Port::new(machine(pair, &mut random));
        let mut watch = Watch { pair, reached: 0, corrupted: None, truth_after: 0 };
        if random.happens(64) {
            watch.truth_after = stale_journal(pair, &mut port.machine(), &mut random);
        }
        port.machine().cut_at(self.tick, self.moment);
        let mut cuts = 0;
        loop {
            let options = Options {
                no_source_check: !random.happens(32),
                one_thread: !random.happens(32),
                checkpoint_len: INTERVAL_WINDOWS * WINDOW as u64,
                ..Options::default()
            };
            let outcome = Inputs::new(pair).apply(&port, options);
            let mut machine = port.machine();
            watch.resumed_well(&machine, &outcome)?;
            match outcome.result {
                Ok(_) => break,
                Err(stopped) if !machine.is_off() => {
                    return Err(format!("stopped without a cut: {}", stopped.error));
                }
                Err(_) => cuts += 1,
            }
            watch.journal_is_true(&mut machine)?;
            let read_back_len = machine.read_back_at_removal();
            if read_back_len.is_some_and(|len| len < pair.target.len()) {
                return Err(format!("the journal went after {read_back_len:?} bytes of read-back"));
            }
            if read_back_len.is_some() && machine.slots().is_none() {
                // All was done and nobody was told: the next run cannot know, and begins anew.
                watch.reached = 0;
            }
            machine.reboot();
            watch.corrupt(&mut machine, &mut random);
            if cuts < CUTS_MAX && random.happens(128) {
                machine.cut_at(random.below(LATER_TICKS), Moment::ALL[random.index(3)]);
            }
        }
        finished(pair, &mut port.machine())?;
        Ok(cuts)
    }
}

/// Cuts at every tick until a run has no more, and returns the count of cuts.
///
/// # Panics
/// If a chain does not end in the target.
#[must_use]
pub fn sweep(pair: &Pair, seed: u64) -> u64 {
    let mut cuts = 0;
    for tick in 0.. {
        let mut here = 0;
        for moment in Moment::ALL {
            let chain = Chain { tick, moment, seed: seed << 32 | tick };
            let survived = chain.run(pair);
            assert!(survived.is_ok(), "{chain:?}, {} bytes: {survived:?}", pair.target.len());
            here += survived.unwrap_or_default();
        }
        if here == 0 {
            return cuts;
        }
        cuts += here;
    }
    cuts
}

/// A target with junk on it: a device, or a file of any size.
fn machine(pair: &Pair, random: &mut Random) -> Machine {
    let size = pair.target.len();
    let grows = random.happens(128);
    let len = if grows { random.index(2 * size + 2) } else { size + random.index(3) * 512 };
    Machine::new(random.bytes(len), grows, random.any())
}

/// A journal from before: of another patch, with a false claim, or no journal at all. Returns the
/// highest sequence number in it.
fn stale_journal(pair: &Pair, machine: &mut Machine, random: &mut Random) -> u64 {
    let mut highest = 0;
    let mut slots = [[0; SLOT_LEN]; 2];
    for slot in &mut slots {
        let sequence = random.below(5);
        let patch = if random.happens(128) { pair.header.id } else { Digest::of(b"another") };
        let windows = random.below(pair.header.target_windows.len() as u64 + 2);
        if random.happens(192) {
            highest = highest.max(sequence);
            *slot = Slot { sequence, checkpoint: Checkpoint { patch, windows } }.encode();
        } else {
            random.fill(slot);
        }
    }
    machine.set_slots(&slots);
    highest
}

/// What is known from run to run.
struct Watch<'a> {
    pair: &'a Pair,
    /// Windows made before the last cut.
    reached: u64,
    /// A window that was damaged after the last cut.
    corrupted: Option<u64>,
    /// Records up to this sequence number may be false, by our doing.
    truth_after: u64,
}

impl Watch<'_> {
    /// Not more was done again than allowed, and it began at the last restart point.
    fn resumed_well(&mut self, machine: &Machine, outcome: &Outcome) -> Result<(), String> {
        let (Some(first), Some(last)) = (machine.written().first(), machine.written().last())
        else {
            return Ok(());
        };
        let first_window = first / WINDOW as u64;
        match self.corrupted.take() {
            Some(corrupted) if first_window > corrupted => {
                return Err(format!(
                    "went on at window {first_window} although window {corrupted} was damaged"
                ));
            }
            None if first_window + INTERVAL_WINDOWS < self.reached => {
                let reached = self.reached;
                return Err(format!(
                    "window {first_window} was written again, {reached} were made before"
                ));
            }
            _ => {}
        }
        let restart = self.pair.header.restart_before(*first);
        if outcome.patch_from != Some(restart.patch_offset) {
            return Err(format!(
                "decoding began at {:?}, the last restart point is {restart:?}",
                outcome.patch_from
            ));
        }
        self.reached = last / WINDOW as u64 + 1;
        Ok(())
    }

    /// What the journal claims is on the medium.
    fn journal_is_true(&self, machine: &mut Machine) -> Result<(), String> {
        let claimed = self.claimed(machine);
        if machine.target_disk().medium().get(..claimed) != Some(&self.pair.target[..claimed]) {
            return Err(format!("the journal claims {claimed} bytes that were not flushed"));
        }
        Ok(())
    }

    /// Bytes of the target that the journal claims, lies left out.
    fn claimed(&self, machine: &Machine) -> usize {
        let slot = machine.newest().filter(|slot| slot.sequence > self.truth_after);
        let windows = slot.map_or(0, |slot| slot.checkpoint.windows);
        let windows = usize::try_from(windows).unwrap_or(usize::MAX);
        windows.saturating_mul(WINDOW).min(self.pair.target.len())
    }

    /// Damages a byte that the journal claims, now and then.
    fn corrupt(&mut self, machine: &mut Machine, random: &mut Random) {
        let claimed = self.claimed(machine);
        if claimed > 0 && random.happens(32) {
            let offset = random.index(claimed);
            machine.target_disk().corrupt(offset, 1 << random.below(8));
            self.corrupted = Some((offset / WINDOW) as u64);
            self.truth_after = machine.newest().map_or(0, |slot| slot.sequence);
        }
    }
}

/// What was made survives the power going at once, and nothing is left to resume.
fn finished(pair: &Pair, machine: &mut Machine) -> Result<(), String> {
    machine.cut_now();
    if machine.target_disk().medium().get(..pair.target.len()) != Some(&pair.target) {
        return Err("the target is not what the patch promises".into());
    }
    if machine.slots().is_some() {
        return Err("the journal is still there".into());
    }
    Ok(())
}
