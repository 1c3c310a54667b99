//! The editor of a repository on a depot: it reads through [`Depot`], and what it wants done is
//! done by the one [`Writer`].

use std::io;

use neap_trust::carrier::Carrier;
use neap_trust::repo::{BLOBS, Files, METADATA, STAGED, Step};

use crate::depot::Depot;
use crate::name::{Folder, Meaning, Name};
use crate::publish::{Publication, PublishError};
use crate::store::{self, Kind};
use crate::writer::Writer;

impl Files for Depot {
    fn read(&self, path: &str, len_max: u64) -> io::Result<Option<Vec<u8>>> {
        if let Some((BLOBS, digest)) = path.split_once('/') {
            return self.document(digest, len_max);
        }
        // What no carrier can hold under this name, this one does not hold.
        let Some(name) = named(path) else { return Ok(None) };
        store::read(self.store(), &name, len_max)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let folder = match folder {
            METADATA => Folder::Metadata,
            STAGED => Folder::Staged,
            _ => return Ok(Vec::new()),
        };
        let entries = self.store().list(&folder)?;
        let known = entries.into_iter().filter(|entry| {
            let meaning = folder.meaning(&entry.file);
            entry.kind == Kind::File && !matches!(meaning, Meaning::Foreign | Meaning::Temporary)
        });
        Ok(known.map(|entry| entry.file).collect())
    }
}

impl Writer<'_> {
    /// Does what an editor wants done: stages files, publishes metadata as [`Writer::publish`]
    /// does, removes staged files, in this order and each durable before the next.
    ///
    /// # Errors
    /// If a step has a path that is none, or as [`Writer::publish`].
    pub fn take(&mut self, steps: &[Step]) -> Result<(), PublishError> {
        let (mut publication, mut gone) = (Publication::default(), Vec::new());
        for step in steps {
            let (Step::Write(path, _) | Step::Remove(path)) = step;
            let name = named(path).ok_or_else(|| PublishError::Name(path.clone()))?;
            match (step, name.folder(), name.meaning()) {
                (Step::Write(_, bytes), Folder::Staged, _) => {
                    let staged = self.stage(name.file(), bytes);
                    staged.map_err(|error| PublishError::Io(name, error))?;
                }
                (Step::Remove(_), Folder::Staged, _) => gone.push(name),
                (Step::Write(_, bytes), _, Meaning::Timestamp) => {
                    publication.timestamp = Some(bytes.clone());
                }
                (Step::Write(_, bytes), _, meaning) => {
                    let file = (name.file().to_owned(), bytes.clone());
                    match meaning {
                        Meaning::Root(_) => {
                            publication.is_root_first = publication.timestamp.is_none();
                            publication.roots.push(file);
                        }
                        Meaning::Snapshot(_) => publication.snapshot = Some(file),
                        _ => publication.roles.push(file),
                    }
                }
                // What was published stays until a collection finds that nothing names it.
                (Step::Remove(_), ..) => return Err(PublishError::Name(path.clone())),
            }
        }
        if publication.timestamp.is_some() || !publication.roots.is_empty() {
            self.publish(&publication)?;
        }
        for name in gone {
            let removed = self.unstage(name.file());
            removed.map_err(|error| PublishError::Io(name, error))?;
        }
        Ok(())
    }
}

/// The file at a path from the top.
fn named(path: &str) -> Option<Name> {
    match path.split_once('/')? {
        (METADATA, file) => Name::metadata(file),
        (STAGED, file) => Name::staged(file),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Directory;
    use crate::files::Files as _;
    use crate::memory::Memory;

    #[test]
    fn editor_sees_what_is_ours_and_asks_for_nothing_else() {
        let memory = Memory::default();
        let depot = Depot::new(Box::new(Directory::new(memory.clone())));
        let mut writer = depot.writer("test").expect("nobody else writes");
        let write = |path: &str| Step::Write(path.into(), b"{}".to_vec());
        writer.take(&[write("staged/g.fleet.json")]).expect("staged");
        for file in ["._g.fleet.json", "notes.txt", "~7.tmp"] {
            memory.create("staged", file).expect("made");
        }
        assert_eq!(depot.list(STAGED).expect("listed"), ["g.fleet.json"]);
        let read = |path: &str| Files::read(&depot, path, 9).expect("asked");
        assert_eq!(read("staged/g.fleet.json"), Some(b"{}".to_vec()));
        for path in ["staged/._g.fleet.json", "staged/../writer.lock", "writer.lock", "blobs/ab"] {
            assert_eq!(read(path), None, "{path}");
            let refused = writer.take(&[write(path)]);
            assert!(matches!(refused, Err(PublishError::Name(_))), "{path}: {refused:?}");
        }
        // Nothing that devices may be reading is removed by an editor.
        let refused = writer.take(&[Step::Remove("metadata/timestamp.json".into())]);
        assert!(matches!(refused, Err(PublishError::Name(_))), "{refused:?}");
        writer.take(&[Step::Remove("staged/g.fleet.json".into())]).expect("removed");
        assert_eq!(depot.list(STAGED).expect("listed"), [""; 0]);
    }
}
