//! A carrier's metadata kept by another: what a reader verified elsewhere, so that it can be read
//! here. A mirror need not hold every role or blob that the metadata names: `mirror.json` tells
//! which it took.

use std::io;

use crate::catalogue;
use crate::limits::METADATA_LEN_MAX;
use crate::name::{Meaning, Name};
use crate::publish::PublishError;
use crate::store;
use crate::writer::Writer;

impl Writer<'_> {
    /// Says that this depot takes only what it needs, so that what it does not take is not looked
    /// for. To be called before blobs are added that come without all others.
    ///
    /// # Errors
    /// If the store fails.
    pub fn begin_mirror(&self) -> io::Result<()> {
        match self.depot.store.open(&Name::mirror())? {
            Some(_) => Ok(()),
            None => self.hold(),
        }
    }

    /// Keeps metadata files by name. The timestamp becomes visible last, and never goes back: an
    /// older one is left out. The caller verified them; nothing here looks at signatures.
    ///
    /// # Errors
    /// If a name is none of metadata's, a file is too long, or the store fails. Readers see what
    /// they saw before, or all of it.
    pub fn mirror(&self, files: &[(String, Vec<u8>)]) -> Result<(), PublishError> {
        let mut named = Vec::new();
        for (file, content) in files {
            let name = Name::metadata(file).ok_or_else(|| PublishError::Name(file.clone()))?;
            let len = content.len() as u64;
            if len > METADATA_LEN_MAX {
                return Err(PublishError::TooLong { name, len });
            }
            named.push((place(&name.meaning()), name, content));
        }
        named.sort_by_key(|(place, _, _)| *place);
        let unrecorded = |error| PublishError::Io(Name::mirror(), error);
        self.begin_mirror().map_err(unrecorded)?;
        for (_, name, content) in named {
            let failed = |error| PublishError::Io(name.clone(), error);
            self.lock.check().map_err(PublishError::LockLost)?;
            if name == Name::timestamp() {
                self.mirror_timestamp(content)?;
                continue;
            }
            let there = store::read(self.depot.store(), &name, METADATA_LEN_MAX).map_err(failed)?;
            if there.as_ref() != Some(content) {
                store::put(self.depot.store(), &name, content).map_err(failed)?;
            }
        }
        self.hold().map_err(unrecorded)
    }

    fn mirror_timestamp(&self, content: &[u8]) -> Result<(), PublishError> {
        let name = Name::timestamp();
        let failed = |error| PublishError::Io(name.clone(), error);
        let store = self.depot.store();
        let there = store::read(store, &name, METADATA_LEN_MAX).map_err(failed)?;
        let version = |bytes: &[u8]| catalogue::version(bytes, "timestamp");
        let fault = |why| PublishError::Faulty(name.clone(), catalogue::Fault::Parse(why));
        let new = version(content).map_err(fault)?;
        // The same version in other bytes is one that was damaged: the caller verified the new one.
        let is_kept =
            |there: &Vec<u8>| there == content || version(there).is_ok_and(|kept| kept > new);
        if there.as_ref().is_some_and(is_kept) {
            return Ok(());
        }
        let seen = store.stamp(&name).map_err(failed)?;
        store.switch(&name, &seen, content).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => PublishError::Overtaken,
            _ => failed(error),
        })
    }
}

/// What is read first is written last, but for roots, which every reader can follow.
fn place(meaning: &Meaning) -> u8 {
    match meaning {
        Meaning::Root(_) => 0,
        Meaning::Role(..) => 1,
        Meaning::Snapshot(_) => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use neap_trust::carrier::Carrier as _;

    use super::*;
    use crate::depot::Depot;
    use crate::directory::Directory;
    use crate::memory::Memory;

    fn timestamp(version: u64) -> (String, Vec<u8>) {
        let text = format!(r#"{{"signed":{{"_type":"timestamp","version":{version}}}}}"#);
        ("timestamp.json".into(), text.into_bytes())
    }

    #[test]
    fn a_mirror_takes_what_is_newer_and_never_goes_back() {
        let depot = Depot::new(Box::new(Directory::new(Memory::default())));
        let writer = depot.writer("test").expect("free");
        let role = ("3.g.bridge.json".to_owned(), b"{}".to_vec());
        for version in [2, 3, 1] {
            writer.mirror(&[timestamp(version), role.clone()]).expect("kept");
        }
        let kept = depot.metadata("timestamp.json", 4096).expect("read");
        assert_eq!(kept, Some(timestamp(3).1));
        assert_eq!(depot.metadata("3.g.bridge.json", 4096).expect("read"), Some(role.1));
        let mut damaged = timestamp(3).1;
        damaged.extend(b" ");
        store::put(depot.store(), &Name::timestamp(), &damaged).expect("put");
        writer.mirror(&[timestamp(3)]).expect("kept");
        let kept = depot.metadata("timestamp.json", 4096).expect("read");
        assert_eq!(kept, Some(timestamp(3).1), "it is mended");
        let outside = ("../x.json".to_owned(), Vec::new());
        assert!(matches!(writer.mirror(&[outside]), Err(PublishError::Name(_))));
    }

    #[test]
    fn a_mirror_that_is_cut_short_shows_no_timestamp_without_its_files() {
        for step in 0..200 {
            let memory = Memory::default();
            let depot = Depot::new(Box::new(Directory::new(memory.clone())));
            let writer = depot.writer("test").expect("free");
            memory.cut_at(step);
            let files = [timestamp(1), ("1.snapshot.json".to_owned(), b"{}".to_vec())];
            let kept = writer.mirror(&files);
            let after = Depot::new(Box::new(Directory::new(
                memory.after_cut(crate::memory::Fate::Mixed(step)),
            )));
            let shown = after.metadata("timestamp.json", 4096).expect("read").is_some();
            let there = after.metadata("1.snapshot.json", 4096).expect("read").is_some();
            assert!(there || !shown, "at step {step}");
            if kept.is_ok() {
                assert!(shown);
                return;
            }
        }
        unreachable!("it never came to an end");
    }
}
