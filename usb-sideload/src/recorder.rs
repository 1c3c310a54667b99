//! Trust before all else: metadata of a stick, verified by the client of `neap_trust`, and then
//! kept as the very bytes that were verified.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, PoisonError};

use neap_trust::carrier::Carrier;
use neap_trust::client::{Ask, Checked, Refusal, check};
use neap_trust::state::{MemoryState, State};

/// What was verified.
#[derive(Debug)]
pub struct Verified {
    /// What is offered.
    pub checked: Checked,
    /// The metadata files, as they were read.
    pub files: Vec<(String, Vec<u8>)>,
    /// Short blobs that were read on the way, such as a site profile.
    pub documents: Vec<Vec<u8>>,
}

/// Verifies what a carrier has for some groups. Each file is read once: what is verified is what
/// is kept, even if the carrier gives other bytes the next time.
///
/// # Errors
/// What [`check`] refuses.
pub fn verified(
    carrier: &dyn Carrier,
    state: &mut dyn State,
    ask: &Ask<'_>,
) -> Result<Verified, Refusal> {
    let recorder = Recorder { carrier, read: Mutex::default(), documents: Mutex::default() };
    let checked = check(&recorder, state, ask)?;
    // What the device remembers may have spared it a file that others will ask it for.
    let mut known = remembered(state, ask)?;
    check(&recorder, &mut known, ask)?;
    let read = recorder.read.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter();
    let files = read.filter_map(|(name, bytes)| Some((name, bytes?))).collect();
    let documents = recorder.documents.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Verified { checked, files, documents: documents.into_values().collect() })
}

/// A memory that knows no more than where to begin, what time it is, and how stale a site may be.
fn remembered(state: &dyn State, ask: &Ask<'_>) -> Result<MemoryState, Refusal> {
    let mut memory = MemoryState::default();
    let profiles = ask.groups.iter().map(|group| format!("site-profile.{group}"));
    let root = ask.root.is_none().then(|| "root.json".to_owned());
    for name in root.into_iter().chain(["known-time".to_owned()]).chain(profiles) {
        let kept = state.load(&name);
        let kept = kept.map_err(|error| Refusal::State { name: name.clone(), error })?;
        if let Some(bytes) = kept {
            memory.0.insert(name, bytes);
        }
    }
    Ok(memory)
}

/// A carrier that is asked for each file once.
struct Recorder<'a> {
    carrier: &'a dyn Carrier,
    read: Mutex<BTreeMap<String, Option<Vec<u8>>>>,
    documents: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Carrier for Recorder<'_> {
    fn metadata(&self, name: &str, len_max: u64) -> io::Result<Option<Vec<u8>>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = read.get(name) {
            return match known {
                Some(bytes) if bytes.len() as u64 > len_max => {
                    Err(io::ErrorKind::FileTooLarge.into())
                }
                known => Ok(known.clone()),
            };
        }
        let found = self.carrier.metadata(name, len_max)?;
        read.insert(name.to_owned(), found.clone());
        Ok(found)
    }

    fn document(&self, blake3: &str, len_max: u64) -> io::Result<Option<Vec<u8>>> {
        let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = documents.get(blake3) {
            return Ok(Some(bytes.clone()));
        }
        let found = self.carrier.document(blake3, len_max)?;
        if let Some(bytes) = &found {
            documents.insert(blake3.to_owned(), bytes.clone());
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use neap_trust::fixture::Repository;
    use neap_trust::time::{Clock, Timestamp};

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn repository() -> Repository {
        let mut made = Repository::new(at("2026-11-01T00:00:00Z"));
        made.group("bridge");
        made.release("bridge", "display", "1.0");
        made.publish(&["g.bridge", "targets"]);
        made
    }

    fn ask(root: &[u8]) -> Ask<'_> {
        let build = at("2026-11-01T00:00:00Z");
        let clock = Clock { rtc: Some(at("2026-11-02T00:00:00Z")), build };
        Ask { groups: &["bridge"], root: Some(root), clock, seen: None }
    }

    #[test]
    fn all_files_come_even_if_the_device_knows_them() {
        let repository = repository();
        let root = repository.first_root();
        let mut state = MemoryState::default();
        let first = verified(&repository.files, &mut state, &ask(&root)).expect("verified");
        let names: Vec<_> = first.files.iter().map(|(name, _)| name.as_str()).collect();
        let all = ["1.g.bridge.json", "2.snapshot.json", "2.targets.json", "timestamp.json"];
        assert_eq!(names, all);
        let again = verified(&repository.files, &mut state, &ask(&root)).expect("verified");
        assert_eq!(again.files, first.files);
    }

    #[test]
    fn carrier_that_changes_its_mind_is_asked_once() {
        struct Fickle<'a>(&'a Repository, Mutex<Vec<String>>);
        impl Carrier for Fickle<'_> {
            fn metadata(&self, name: &str, len_max: u64) -> io::Result<Option<Vec<u8>>> {
                let mut seen = self.1.lock().expect("nobody panics");
                let found = self.0.files.metadata(name, len_max)?;
                let again = seen.contains(&name.to_owned());
                seen.push(name.to_owned());
                Ok(if again { Some(b"{}".to_vec()) } else { found })
            }
        }
        let repository = repository();
        let root = repository.first_root();
        let fickle = Fickle(&repository, Mutex::default());
        let mut state = MemoryState::default();
        let taken = verified(&fickle, &mut state, &ask(&root)).expect("verified");
        assert!(taken.files.iter().all(|(_, bytes)| bytes.len() > 2));
    }
}
