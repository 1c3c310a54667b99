//! A file system in memory that loses, at a power cut, what was not synced.
//!
//! It is harsher than any real one: names reach the disk in any order, a file without a sync may
//! hold anything. Tests and fuzz targets run the real directory code on it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::files::Files;
use crate::store::{Edit, Kind, Listed, Lock, LockError, Object};

/// Folders and files, shared by all clones.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<State>>);

/// A file of it.
#[derive(Debug)]
pub struct MemoryFile {
    memory: Memory,
    inode: usize,
}

/// What the power cut makes of whatever was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing of it reached the disk.
    Lost,
    /// All of it did.
    Kept,
    /// Each part as this seed decides.
    Mixed(u64),
}

#[derive(Debug, Clone, Default)]
struct State {
    folders: BTreeMap<String, Contents>,
    inodes: Vec<Inode>,
    holder: Option<String>,
    /// Calls that changed something.
    steps: u64,
    /// The call that the power fails in.
    cut_at: Option<u64>,
    /// Syncs that only say that they were done.
    lies: bool,
}

/// Names of a folder: those on the disk, and what was done since, in order.
#[derive(Debug, Clone, Default)]
struct Contents {
    durable: BTreeMap<String, usize>,
    current: BTreeMap<String, usize>,
    pending: Vec<(String, Option<usize>)>,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    durable: Vec<u8>,
    current: Vec<u8>,
}

struct Held(Memory);

impl Memory {
    /// Lets the power fail in this call of those that change something, counted from 0.
    pub fn cut_at(&self, step: u64) {
        self.state().cut_at = Some(step);
    }

    /// Makes every sync a lie, as worn or cheap disks do: to see that a test would notice.
    pub fn lie(&self) {
        self.state().lies = true;
    }

    /// How many calls changed something.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.state().steps
    }

    /// A copy that goes its own way.
    #[must_use]
    pub fn copy(&self) -> Self {
        let mut state = self.state().clone();
        state.holder = None;
        Self(Arc::new(Mutex::new(state)))
    }

    /// The disk after the power is back.
    #[must_use]
    pub fn after_cut(&self, fate: Fate) -> Self {
        let state = self.state();
        let mut dice = Dice(match fate {
            Fate::Mixed(seed) => seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            Fate::Lost | Fate::Kept => 1,
        });
        let mut after = State::default();
        for (path, contents) in &state.folders {
            let names = contents.after_cut(fate, &mut dice);
            let (durable, pending) = (names.clone(), Vec::new());
            after.folders.insert(path.clone(), Contents { durable, current: names, pending });
        }
        for inode in &state.inodes {
            let content = inode.after_cut(fate, &mut dice);
            after.inodes.push(Inode { durable: content.clone(), current: content });
        }
        Self(Arc::new(Mutex::new(after)))
    }

    /// Overwrites a byte behind everybody's back, as a failing disk does.
    ///
    /// # Panics
    /// If there is no such file or byte.
    pub fn flip(&self, folder: &str, file: &str, offset: usize) {
        let mut state = self.state();
        let inode = *state.folders[folder].current.get(file).expect("the file is there");
        state.inodes[inode].current[offset] ^= 0x40;
    }

    /// Cuts a file short behind everybody's back.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn truncate(&self, folder: &str, file: &str, len: usize) {
        let mut state = self.state();
        let inode = *state.folders[folder].current.get(file).expect("the file is there");
        state.inodes[inode].current.truncate(len);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what changes something, unless the power is off.
    fn step<T>(&self, change: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state();
        let now = state.steps;
        if state.cut_at.is_some_and(|cut| now >= cut) {
            return Err(io::Error::other("the power is off"));
        }
        state.steps += 1;
        change(&mut state)
    }

    fn file(&self, inode: usize) -> MemoryFile {
        MemoryFile { memory: self.clone(), inode }
    }

    fn find(&self, folder: &str, file: &str) -> Option<usize> {
        self.state().folders.get(folder)?.current.get(file).copied()
    }
}

impl State {
    fn contents(&mut self, folder: &str) -> io::Result<&mut Contents> {
        if folder.is_empty() {
            self.folders.entry(String::new()).or_default();
        }
        self.folders.get_mut(folder).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Contents {
    fn set(&mut self, name: &str, inode: Option<usize>) {
        match inode {
            Some(inode) => self.current.insert(name.into(), inode),
            None => self.current.remove(name),
        };
        self.pending.push((name.into(), inode));
    }

    /// Changes of one name come in order; those of different names do not.
    fn after_cut(&self, fate: Fate, dice: &mut Dice) -> BTreeMap<String, usize> {
        let mut names = self.durable.clone();
        let mut stopped = Vec::new();
        for (name, inode) in &self.pending {
            let kept = match fate {
                Fate::Lost => false,
                Fate::Kept => true,
                Fate::Mixed(_) => !stopped.contains(name) && dice.below(2) == 0,
            };
            match (kept, inode) {
                (true, Some(inode)) => drop(names.insert(name.clone(), *inode)),
                (true, None) => drop(names.remove(name)),
                (false, _) => stopped.push(name.clone()),
            }
        }
        names
    }
}

impl Inode {
    fn after_cut(&self, fate: Fate, dice: &mut Dice) -> Vec<u8> {
        let Self { durable, current } = self;
        if durable == current {
            return current.clone();
        }
        match fate {
            Fate::Lost => durable.clone(),
            Fate::Kept => current.clone(),
            Fate::Mixed(_) => match dice.below(4) {
                0 => durable.clone(),
                1 => current.clone(),
                // The length came through, the bytes did not.
                2 => vec![0; current.len()],
                _ => current[..dice.below(current.len().max(1))].to_vec(),
            },
        }
    }
}

impl Files for Memory {
    type File = MemoryFile;

    fn open(&self, folder: &str, file: &str) -> io::Result<Option<MemoryFile>> {
        Ok(self.find(folder, file).map(|inode| self.file(inode)))
    }

    fn create(&self, folder: &str, file: &str) -> io::Result<MemoryFile> {
        let inode = self.step(|state| {
            if state.contents(folder)?.current.contains_key(file) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let inode = state.inodes.len();
            state.inodes.push(Inode::default());
            state.contents(folder)?.set(file, Some(inode));
            Ok(inode)
        })?;
        Ok(self.file(inode))
    }

    fn edit(&self, folder: &str, file: &str) -> io::Result<MemoryFile> {
        match self.find(folder, file) {
            Some(inode) => Ok(self.file(inode)),
            None => self.create(folder, file),
        }
    }

    fn rename(&self, folder: &str, from: &str, to: &str) -> io::Result<()> {
        self.step(|state| {
            let contents = state.contents(folder)?;
            let inode = *contents.current.get(from).ok_or(io::ErrorKind::NotFound)?;
            contents.set(to, Some(inode));
            contents.set(from, None);
            Ok(())
        })
    }

    fn remove(&self, folder: &str, file: &str) -> io::Result<()> {
        if self.find(folder, file).is_none() {
            return Ok(());
        }
        self.step(|state| {
            state.contents(folder)?.set(file, None);
            Ok(())
        })
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.step(|state| {
            let lies = state.lies;
            let contents = state.contents(folder)?;
            if !lies {
                contents.durable = contents.current.clone();
                contents.pending.clear();
            }
            Ok(())
        })
    }

    fn make_folder(&self, folder: &str) -> io::Result<()> {
        if self.state().folders.contains_key(folder) {
            return Ok(());
        }
        self.step(|state| {
            state.folders.insert(folder.into(), Contents::default());
            Ok(())
        })
    }

    fn list(&self, folder: &str, count_max: usize) -> io::Result<Vec<Listed>> {
        let state = self.state();
        let mut entries = Vec::new();
        for (file, inode) in state.folders.get(folder).iter().flat_map(|c| &c.current) {
            let len = state.inodes[*inode].current.len() as u64;
            entries.push(Listed { file: file.clone(), kind: Kind::File, len });
        }
        let above = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        for path in state.folders.keys().filter(|path| !path.is_empty()) {
            if let Some(file) = path.strip_prefix(&above).filter(|file| !file.contains('/')) {
                entries.push(Listed { file: file.into(), kind: Kind::Folder, len: 0 });
            }
        }
        if entries.len() > count_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(entries)
    }

    fn lock(&self, _file: &str, who: &str) -> Result<Box<dyn Lock>, LockError> {
        let mut state = self.state();
        if let Some(holder) = &state.holder {
            return Err(LockError::Held(holder.clone()));
        }
        state.holder = Some(who.into());
        Ok(Box::new(Held(self.clone())))
    }

    fn title(&self) -> String {
        "memory".into()
    }
}

impl Lock for Held {
    fn check(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.state().holder = None;
    }
}

impl Object for MemoryFile {
    fn len(&self) -> u64 {
        self.memory.state().inodes[self.inode].current.len() as u64
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let state = self.memory.state();
        let content = &state.inodes[self.inode].current;
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let range = start..start.checked_add(bytes.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(content.get(range).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl Edit for MemoryFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.memory.step(|state| {
            let start = usize::try_from(offset).map_err(|_| io::ErrorKind::StorageFull)?;
            let content = &mut state.inodes[self.inode].current;
            let end = start + bytes.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[start..end].copy_from_slice(bytes);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.memory.step(|state| {
            if !state.lies {
                let inode = &mut state.inodes[self.inode];
                inode.durable = inode.current.clone();
            }
            Ok(())
        })
    }
}

/// Xorshift: the same seed, the same disk.
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let count = u64::try_from(count).unwrap_or(1);
        usize::try_from((self.0 >> 16) % count).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_synced_is_sure_to_last() {
        let memory = Memory::default();
        memory.make_folder("a").expect("made");
        let file = memory.create("a", "x").expect("made");
        file.write_at(0, b"one").expect("written");
        let read = |memory: &Memory| {
            let file = memory.open("a", "x").expect("opened")?;
            let mut bytes = vec![0; usize::try_from(file.len()).expect("short")];
            file.read_at(0, &mut bytes).expect("read");
            Some(bytes)
        };
        assert_eq!(read(&memory.after_cut(Fate::Lost)), None);
        assert_eq!(read(&memory.after_cut(Fate::Kept)), Some(b"one".to_vec()));
        memory.sync_folder("a").expect("synced");
        assert_eq!(read(&memory.after_cut(Fate::Lost)), Some(Vec::new()), "a name, no content");
        file.sync().expect("synced");
        file.write_at(0, b"two").expect("written");
        assert_eq!(read(&memory.after_cut(Fate::Lost)), Some(b"one".to_vec()));
        let mixed: std::collections::BTreeSet<_> =
            (0..200).map(|seed| read(&memory.after_cut(Fate::Mixed(seed)))).collect();
        assert!(mixed.len() > 3, "{mixed:?}");
    }
}
