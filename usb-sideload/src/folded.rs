//! A foreign file system, read within bounds: names in any case, no more entries than allowed.
//!
//! Scanning stations copy files in and out and change the case of names. Our names differ also
//! where case is ignored, so a name that is spelled otherwise is found by listing its folder. The
//! spelling that we write comes first. Folders that are none of ours are never entered, so depth
//! and loops do not matter. Nothing is followed: [`Files`] refuses links.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use neap_depot::files::Files;
use neap_depot::limits::FILE_NAME_LEN_MAX;
use neap_depot::store::{Kind, Listed, Lock, LockError};

use crate::limits::{ENTRIES_ALL_MAX, ENTRIES_MAX};

/// The same tree of folders under the names that we write. Copies share what was listed.
#[derive(Debug)]
pub struct Folded<F>(Arc<Inner<F>>);

#[derive(Debug)]
struct Inner<F> {
    files: F,
    listed: Mutex<Cache>,
}

/// What was listed, by the folder's path as it is spelled.
#[derive(Debug, Default)]
struct Cache {
    folders: BTreeMap<String, Arc<Folder>>,
    entries: usize,
}

/// Entries by their names in lower case.
type Folder = BTreeMap<String, Entry>;

#[derive(Debug)]
struct Entry {
    /// As it is spelled.
    file: String,
    kind: Kind,
    len: u64,
    /// Another entry has this name in another case, and neither is spelled as we would.
    has_twin: bool,
}

impl<F: Files> Folded<F> {
    /// The tree that `files` holds.
    pub fn new(files: F) -> Self {
        Self(Arc::new(Inner { files, listed: Mutex::default() }))
    }

    fn files(&self) -> &F {
        &self.0.files
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.0.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in a folder whose path is spelled as it is.
    fn listed(&self, folder: &str) -> io::Result<Arc<Folder>> {
        if let Some(listed) = self.cache().folders.get(folder) {
            return Ok(Arc::clone(listed));
        }
        let mut listed = Folder::new();
        for Listed { file, kind, len } in self.files().list(folder, ENTRIES_MAX)? {
            // No name of ours is so long, and a foreign one is not worth its memory.
            if file.len() > FILE_NAME_LEN_MAX {
                continue;
            }
            let lower = file.to_ascii_lowercase();
            let is_ours = file == lower;
            match listed.get_mut(&lower) {
                None => {
                    listed.insert(lower, Entry { file, kind, len, has_twin: false });
                }
                Some(entry) if is_ours => *entry = Entry { file, kind, len, has_twin: false },
                Some(entry) => entry.has_twin = entry.file != lower,
            }
        }
        let mut cache = self.cache();
        if cache.entries + listed.len() > ENTRIES_ALL_MAX {
            *cache = Cache::default();
        }
        cache.entries += listed.len();
        let listed = Arc::new(listed);
        cache.folders.insert(folder.to_owned(), Arc::clone(&listed));
        Ok(listed)
    }

    /// What is listed of a folder is no longer so.
    fn changed(&self, folder: &str) {
        let mut cache = self.cache();
        if let Some(listed) = cache.folders.remove(folder) {
            cache.entries -= listed.len();
        }
    }

    /// How an entry is spelled, if it is there.
    fn spelled(&self, folder: &str, file: &str) -> io::Result<Option<String>> {
        let listed = self.listed(folder)?;
        let Some(entry) = listed.get(&file.to_ascii_lowercase()) else { return Ok(None) };
        if entry.has_twin {
            let text = format!("{folder}/{file}: two entries have this name in different case");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(Some(entry.file.clone()))
    }

    /// How a folder's path is spelled, if it is there. A link or a file of that name is no folder.
    fn folder(&self, folder: &str) -> io::Result<Option<String>> {
        let mut path = String::new();
        for part in folder.split('/').filter(|part| !part.is_empty()) {
            let Some(found) = self.spelled(&path, part)? else { return Ok(None) };
            let is_folder = |entry: &Entry| entry.kind == Kind::Folder;
            if !self.listed(&path)?.get(&part.to_ascii_lowercase()).is_some_and(is_folder) {
                return Ok(None);
            }
            if !path.is_empty() {
                path.push('/');
            }
            path += &found;
        }
        Ok(Some(path))
    }

    fn there(&self, folder: &str) -> io::Result<String> {
        self.folder(folder)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// How a file is spelled where it is there, else as we write it.
    fn place(&self, folder: &str, file: &str) -> io::Result<String> {
        Ok(self.spelled(folder, file)?.unwrap_or_else(|| file.to_owned()))
    }
}

impl<F> Clone for Folded<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F: Files> Files for Folded<F> {
    type File = F::File;

    fn open(&self, folder: &str, file: &str) -> io::Result<Option<F::File>> {
        let Some(folder) = self.folder(folder)? else { return Ok(None) };
        if let Some(found) = self.files().open(&folder, file)? {
            return Ok(Some(found));
        }
        match self.spelled(&folder, file)? {
            Some(other) if other != file => self.files().open(&folder, &other),
            _ => Ok(None),
        }
    }

    fn create(&self, folder: &str, file: &str) -> io::Result<F::File> {
        let folder = self.there(folder)?;
        self.changed(&folder);
        self.files().create(&folder, file)
    }

    fn edit(&self, folder: &str, file: &str) -> io::Result<F::File> {
        let folder = self.there(folder)?;
        let file = self.place(&folder, file)?;
        self.changed(&folder);
        self.files().edit(&folder, &file)
    }

    fn rename(&self, folder: &str, from: &str, to: &str) -> io::Result<()> {
        let folder = self.there(folder)?;
        let to = self.place(&folder, to)?;
        self.changed(&folder);
        self.files().rename(&folder, from, &to)
    }

    fn remove(&self, folder: &str, file: &str) -> io::Result<()> {
        let Some(folder) = self.folder(folder)? else { return Ok(()) };
        let file = self.place(&folder, file)?;
        self.changed(&folder);
        self.files().remove(&folder, &file)
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.files().sync_folder(&self.there(folder)?)
    }

    fn make_folder(&self, folder: &str) -> io::Result<()> {
        if self.folder(folder)?.is_some() {
            return Ok(());
        }
        let (above, name) = folder.rsplit_once('/').unwrap_or(("", folder));
        let above = self.there(above)?;
        self.changed(&above);
        let path = if above.is_empty() { name.to_owned() } else { format!("{above}/{name}") };
        self.files().make_folder(&path)
    }

    fn list(&self, folder: &str, count_max: usize) -> io::Result<Vec<Listed>> {
        let Some(path) = self.folder(folder)? else { return Ok(Vec::new()) };
        let listed = self.listed(&path)?;
        if listed.len() > count_max {
            let text = format!("{folder}: more than {count_max} entries");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        let entries = listed.iter();
        let entries = entries.map(|(file, Entry { kind, len, .. })| Listed {
            file: file.clone(),
            kind: *kind,
            len: *len,
        });
        Ok(entries.collect())
    }

    fn lock(&self, file: &str, who: &str) -> Result<Box<dyn Lock>, LockError> {
        let place = self.place("", file)?;
        self.changed("");
        self.files().lock(&place, who)
    }

    fn title(&self) -> String {
        self.files().title()
    }
}

#[cfg(test)]
mod tests {
    use neap_depot::memory::Memory;
    use neap_depot::store::{Edit, Object};

    use super::*;

    fn put(memory: &Memory, folder: &str, file: &str) {
        memory.make_folder(folder).expect("made");
        memory.create(folder, file).expect("new").write_at(0, file.as_bytes()).expect("written");
    }

    fn content(files: &Folded<Memory>, folder: &str, file: &str) -> Option<String> {
        let file = files.open(folder, file).expect("opened")?;
        let mut bytes = vec![0; usize::try_from(file.len()).expect("short")];
        file.read_at(0, &mut bytes).expect("read");
        Some(String::from_utf8(bytes).expect("text"))
    }

    #[test]
    fn names_are_found_in_any_case_and_written_over_where_they_are() {
        let memory = Memory::default();
        put(&memory, "METADATA", "TIMESTAMP.JSON");
        let files = Folded::new(memory.clone());
        let found = content(&files, "metadata", "timestamp.json");
        assert_eq!(found.as_deref(), Some("TIMESTAMP.JSON"));
        assert_eq!(content(&files, "metadata", "1.root.json"), None);
        assert_eq!(content(&files, "blobs", "x"), None);
        files.make_folder("metadata").expect("it is there");
        let new = files.create("metadata", "~1.tmp").expect("made");
        new.write_at(0, b"new").expect("written");
        files.rename("metadata", "~1.tmp", "timestamp.json").expect("renamed");
        assert_eq!(content(&files, "metadata", "timestamp.json").as_deref(), Some("new"));
        let names: Vec<_> = memory.list("METADATA", 9).expect("listed");
        assert_eq!(names.len(), 1, "{names:?}");
        files.remove("metadata", "timestamp.json").expect("removed");
        assert_eq!(content(&files, "metadata", "timestamp.json"), None);
    }

    #[test]
    fn our_spelling_comes_first_and_two_others_are_refused() {
        let memory = Memory::default();
        put(&memory, "blobs", "a");
        put(&memory, "blobs", "A");
        put(&memory, "blobs", "Bb");
        put(&memory, "blobs", "bB");
        let files = Folded::new(memory);
        assert_eq!(content(&files, "blobs", "a").as_deref(), Some("a"));
        let refused = files.open("blobs", "bb").expect_err("which of the two?");
        assert!(refused.to_string().contains("different case"), "{refused}");
    }

    /// Cause: every name of a foreign folder was kept. Effect: long ones took memory that whoever
    /// had the stick chose. Cure: what is longer than any name of ours is not kept.
    #[test]
    fn names_that_are_longer_than_ours_are_not_kept() {
        let memory = Memory::default();
        put(&memory, "blobs", &"a".repeat(FILE_NAME_LEN_MAX));
        put(&memory, "blobs", &"b".repeat(FILE_NAME_LEN_MAX + 1));
        let listed = Folded::new(memory).list("blobs", 9).expect("listed");
        let lens: Vec<_> = listed.iter().map(|entry| entry.file.len()).collect();
        assert_eq!(lens, [FILE_NAME_LEN_MAX]);
    }

    #[test]
    fn folder_with_one_entry_too_many_is_refused() {
        let memory = Memory::default();
        memory.make_folder("blobs").expect("made");
        for index in 0..=ENTRIES_MAX {
            memory.create("blobs", &format!("x{index}")).expect("new");
        }
        let files = Folded::new(memory.clone());
        assert!(files.open("blobs", "missing").is_err());
        memory.remove("blobs", "x0").expect("removed");
        assert!(files.open("blobs", "missing").expect("listed").is_none());
    }
}
