//! The machine: a target and a journal behind one clock that counts what may be interrupted.
//!
//! Every write, flush and change of a directory is one tick. At a tick the power can be cut,
//! before, in the middle of, or after it; a call can fail. After a cut every call fails until
//! [`Machine::reboot`].

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use neap_engine::io::{JournalStore, Target};
use neap_engine::journal::{SLOT_COUNT, SLOT_LEN, SLOT_STRIDE, Slot};
use neap_engine::window::Verified;

use crate::disk::Disk;
use crate::random::Random;

/// Where in an operation the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// It does nothing.
    Before,
    /// It does some of what it should.
    During,
    /// It does all, but nobody is told.
    After,
}

impl Moment {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Before, Self::During, Self::After];
}

/// A call that can be told to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Sizing the target.
    Resize,
    /// Writing a window; some of it is written.
    Write,
    /// Writing a window, by a device that forgets it and says nothing.
    WriteLost,
    /// Flushing the target; nobody knows what of it was written, and nobody will be told again.
    Sync,
    /// Reading the target back.
    ReadBack,
    /// Reading the journal.
    JournalLoad,
    /// Creating the journal.
    JournalCreate,
    /// Writing a slot; some of it is written.
    JournalWrite,
    /// Flushing the journal.
    JournalFlush,
    /// Removing the journal.
    JournalRemove,
}

/// A call that fails: the `nth`, from 0, of its kind since the last reboot.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// Which call.
    pub call: Call,
    /// Which of them.
    pub nth: u64,
    /// What it says.
    pub kind: io::ErrorKind,
}

/// The devices, and what will happen to them.
#[derive(Debug)]
pub struct Machine {
    target: Disk,
    /// Whether the target has a size of its own, as a file has.
    target_grows: bool,
    journal: Disk,
    /// Whether the journal's name is in its directory, and whether that was flushed.
    journal_named: (bool, bool),
    clock: u64,
    cut: Option<(u64, Moment)>,
    is_off: bool,
    /// Chance that an unflushed sector survives a cut, in 256ths.
    kept: u16,
    fault: Option<Fault>,
    fault_calls: u64,
    random: Random,
    written: Vec<u64>,
    /// Bytes read back since the last write.
    read_back_len: usize,
    /// The same when the journal was about to be removed.
    read_back_at_removal: Option<usize>,
}

/// What one tick does.
enum Effect<'a> {
    Write(usize, &'a [u8]),
    Resize(usize),
    Flush,
    JournalName(bool),
    JournalWrite(usize, &'a [u8]),
    JournalFlush,
}

impl Machine {
    /// A machine whose target holds `bytes`, and is a device or a file.
    #[must_use]
    pub fn new(bytes: Vec<u8>, target_grows: bool, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let kept = [0, 26, 128, 230, 256][random.index(5)];
        Self {
            target: Disk::new(bytes),
            target_grows,
            journal: Disk::new(Vec::new()),
            journal_named: (false, false),
            clock: 0,
            cut: None,
            is_off: false,
            kept,
            fault: None,
            fault_calls: 0,
            random,
            written: Vec::new(),
            read_back_len: 0,
            read_back_at_removal: None,
        }
    }

    /// Cuts the power at the tick `at` of the next run.
    pub fn cut_at(&mut self, at: u64, moment: Moment) {
        self.cut = Some((self.clock + at, moment));
    }

    /// Cuts the power now.
    pub fn cut_now(&mut self) {
        self.is_off = true;
        self.target.lose(self.kept, &mut self.random);
        if self.journal_named.0 != self.journal_named.1 && self.random.happens(self.kept) {
            self.journal_named.1 = self.journal_named.0;
        }
        self.journal_named.0 = self.journal_named.1;
        self.journal.lose(self.kept, &mut self.random);
        if !self.journal_named.0 {
            self.journal = Disk::new(Vec::new());
        }
    }

    /// Makes a call fail.
    pub fn fail(&mut self, fault: Fault) {
        self.fault = Some(fault);
        self.fault_calls = 0;
    }

    /// Power is back, devices are well, nobody has written yet.
    pub fn reboot(&mut self) {
        self.is_off = false;
        self.cut = None;
        self.fault = None;
        self.written.clear();
        self.read_back_len = 0;
        self.read_back_at_removal = None;
    }

    /// Whether the power is cut.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.is_off
    }

    /// Count of ticks since the machine was made.
    #[must_use]
    pub fn clock(&self) -> u64 {
        self.clock
    }

    /// Offsets of the windows that were begun to be written since the last reboot, in order.
    #[must_use]
    pub fn written(&self) -> &[u64] {
        &self.written
    }

    /// Bytes that were read back between the last write and the removal of the journal, if it came
    /// to that since the last reboot.
    #[must_use]
    pub fn read_back_at_removal(&self) -> Option<usize> {
        self.read_back_at_removal
    }

    /// The target.
    pub fn target_disk(&mut self) -> &mut Disk {
        &mut self.target
    }

    /// The slots of the journal, or `None` where there is no journal.
    #[must_use]
    pub fn slots(&self) -> Option<Vec<[u8; SLOT_LEN]>> {
        self.journal_named.0.then(|| {
            let slot = |index: u64| {
                let start = journal_offset(index).min(self.journal.cached().len());
                self.journal.cached()[start..].first_chunk().copied().unwrap_or([0; SLOT_LEN])
            };
            (0..SLOT_COUNT).map(slot).collect()
        })
    }

    /// The record that a run would go by.
    #[must_use]
    pub fn newest(&self) -> Option<Slot> {
        self.slots().and_then(|slots| Slot::newest(&slots))
    }

    /// Puts these bytes into the slots, as if they had been there for long.
    pub fn set_slots(&mut self, slots: &[[u8; SLOT_LEN]]) {
        let mut bytes = vec![0; journal_len()];
        for (index, slot) in (0..).zip(slots) {
            bytes[journal_offset(index)..][..SLOT_LEN].copy_from_slice(slot);
        }
        self.journal = Disk::new(bytes);
        self.journal_named = (true, true);
    }

    fn tick(&mut self, effect: Effect) -> io::Result<()> {
        if self.is_off {
            return Err(io::Error::other("the power is off"));
        }
        let now = self.clock;
        self.clock += 1;
        let Some((_, moment)) = self.cut.filter(|(at, _)| *at == now) else {
            self.take_effect(effect);
            return Ok(());
        };
        match (moment, effect) {
            (Moment::Before, _) | (Moment::During, Effect::Flush | Effect::JournalFlush) => {}
            (Moment::During, effect @ Effect::Write(..)) => {
                self.take_effect(effect);
                self.target.tear(&mut self.random);
            }
            (Moment::During, effect @ Effect::JournalWrite(..)) => {
                self.take_effect(effect);
                self.journal.tear(&mut self.random);
            }
            (_, effect) => self.take_effect(effect),
        }
        self.cut_now();
        Err(io::Error::other("the power went"))
    }

    fn take_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Write(offset, bytes) => self.target.write(offset, bytes),
            Effect::Resize(len) => self.target.resize(len),
            Effect::Flush => self.target.flush(),
            Effect::JournalName(named) => self.journal_named.0 = named,
            Effect::JournalWrite(offset, bytes) => self.journal.write(offset, bytes),
            Effect::JournalFlush => {
                self.journal.flush();
                self.journal_named.1 = self.journal_named.0;
            }
        }
    }

    /// Counts a call; says what it fails with, if this is the one.
    fn fault(&mut self, call: Call) -> Option<io::Error> {
        let fault = self.fault.filter(|fault| fault.call == call)?;
        self.fault_calls += 1;
        (self.fault_calls == fault.nth + 1).then(|| fault.kind.into())
    }

    fn write(&mut self, window: &Verified) -> io::Result<()> {
        let offset = index(window.offset());
        let bytes = window.bytes();
        if offset + bytes.len() > self.target.cached().len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.written.push(window.offset());
        self.read_back_len = 0;
        if self.fault(Call::WriteLost).is_some() {
            return Ok(());
        }
        if let Some(error) = self.fault(Call::Write) {
            let len = self.random.index(bytes.len() + 1);
            self.target.write(offset, &bytes[..len]);
            return Err(error);
        }
        self.tick(Effect::Write(offset, bytes))
    }

    fn sync(&mut self) -> io::Result<()> {
        if let Some(error) = self.fault(Call::Sync) {
            // Linux marks pages clean that it failed to write: the next flush succeeds without
            // them ("Can applications recover from fsync failures?", Rebello et al., 2020).
            self.target.lose(self.kept, &mut self.random);
            return Err(error);
        }
        self.tick(Effect::Flush)
    }

    fn store(&mut self, slot_index: u64, slot: &[u8; SLOT_LEN]) -> io::Result<()> {
        if !self.journal_named.0 {
            if let Some(error) = self.fault(Call::JournalCreate) {
                return Err(error);
            }
            self.journal = Disk::new(Vec::new());
            self.tick(Effect::JournalName(true))?;
            self.journal.resize(journal_len());
            self.tick(Effect::JournalFlush)?;
        }
        let offset = journal_offset(slot_index);
        if let Some(error) = self.fault(Call::JournalWrite) {
            let len = self.random.index(SLOT_LEN);
            self.journal.write(offset, &slot[..len]);
            return Err(error);
        }
        self.tick(Effect::JournalWrite(offset, slot))?;
        if let Some(error) = self.fault(Call::JournalFlush) {
            self.journal.lose(self.kept, &mut self.random);
            return Err(error);
        }
        self.tick(Effect::JournalFlush)
    }

    fn remove(&mut self) -> io::Result<()> {
        if !self.journal_named.0 {
            return Ok(());
        }
        if let Some(error) = self.fault(Call::JournalRemove) {
            return Err(error);
        }
        self.read_back_at_removal = Some(self.read_back_len);
        self.tick(Effect::JournalName(false))?;
        self.tick(Effect::JournalFlush)
    }

    fn read_back(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        if let Some(error) = self.fault(Call::ReadBack) {
            return Err(error);
        }
        let bytes = self.target.cached().get(index(offset)..index(offset) + into.len());
        into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        self.read_back_len += into.len();
        Ok(())
    }
}

/// A machine as an apply sees it, once as its target and once as its journal.
#[derive(Debug, Clone)]
pub struct Port(Arc<Mutex<Machine>>);

impl Port {
    /// A port to this machine.
    #[must_use]
    pub fn new(machine: Machine) -> Self {
        Self(Arc::new(Mutex::new(machine)))
    }

    /// The machine itself.
    ///
    /// # Panics
    /// If a thread panicked while it had the machine.
    pub fn machine(&self) -> MutexGuard<'_, Machine> {
        self.0.lock().expect("no thread panics with the machine in hand")
    }
}

impl Target for Port {
    fn size(&self) -> u64 {
        let machine = self.machine();
        if machine.target_grows { u64::MAX } else { machine.target.cached().len() as u64 }
    }

    fn resize(&mut self, size: u64) -> io::Result<()> {
        let mut machine = self.machine();
        if let Some(error) = machine.fault(Call::Resize) {
            return Err(error);
        }
        let is_other = machine.target.cached().len() as u64 != size;
        if machine.target_grows && is_other {
            return machine.tick(Effect::Resize(index(size)));
        }
        Ok(())
    }

    fn write(&mut self, window: &Verified) -> io::Result<()> {
        self.machine().write(window)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.machine().sync()
    }

    fn read_back(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.machine().read_back(offset, into)
    }
}

impl JournalStore for Port {
    fn load(&mut self) -> io::Result<Vec<[u8; SLOT_LEN]>> {
        let mut machine = self.machine();
        if let Some(error) = machine.fault(Call::JournalLoad) {
            return Err(error);
        }
        let count = usize::try_from(SLOT_COUNT).unwrap_or_default();
        Ok(machine.slots().unwrap_or_else(|| vec![[0; SLOT_LEN]; count]))
    }

    fn store(&mut self, index: u64, slot: &[u8; SLOT_LEN]) -> io::Result<()> {
        self.machine().store(index, slot)
    }

    fn remove(&mut self) -> io::Result<()> {
        self.machine().remove()
    }
}

/// Length of a journal file, in bytes.
fn journal_len() -> usize {
    journal_offset(SLOT_COUNT - 1) + SLOT_LEN
}

fn journal_offset(slot_index: u64) -> usize {
    index(slot_index * SLOT_STRIDE)
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("simulated devices are in memory")
}
