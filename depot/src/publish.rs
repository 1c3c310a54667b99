//! Publication: what is new becomes visible in one step, when `timestamp.json` is switched.
//!
//! Order: role metadata, snapshot, timestamp; blobs were added before. Each is durable before the
//! next is visible. Readers start at the timestamp, so they see the old release or the new one. New
//! roots are read before all else: they come right before the timestamp, or right after it.

use std::collections::{BTreeMap, BTreeSet};
use std::{error, fmt, io};

use neap_engine::digest::Digest;

use crate::blob::BlobError;
use crate::catalogue::{self, Catalogue, Fault, Shelf, Walk};
use crate::limits::METADATA_LEN_MAX;
use crate::name::{Meaning, Name};
use crate::store::{self, Store};
use crate::writer::Writer;

/// Files that are signed by enough keys; nothing here looks at signatures.
#[derive(Debug, Clone, Default)]
pub struct Publication {
    /// New versions of roles: `V.targets.json`, `V.g.<group>.json`.
    pub roles: Vec<(String, Vec<u8>)>,
    /// The new snapshot, unless only the timestamp is renewed: `V.snapshot.json`.
    pub snapshot: Option<(String, Vec<u8>)>,
    /// The new timestamp, unless only roots are added.
    pub timestamp: Option<Vec<u8>>,
    /// New roots, in order.
    pub roots: Vec<(String, Vec<u8>)>,
    /// Whether they become visible right before the timestamp: readers must accept with them what
    /// was published before. Else they come right after it, and readers must accept what is new
    /// with the old root. Who signs knows which ([`neap_trust::repo::publish`]).
    pub is_root_first: bool,
}

/// Why nothing was published. Readers see what they saw before, unless it says otherwise.
#[derive(Debug)]
#[non_exhaustive]
pub enum PublishError {
    /// A file has a name that is none of its kind.
    Name(String),
    /// A file is longer than readers take.
    TooLong {
        /// The file.
        name: Name,
        /// Its length in bytes.
        len: u64,
    },
    /// A file of the new release is missing or is not what names it says.
    Faulty(Name, Fault),
    /// A published version has other content. Versions are never reused.
    Published(Name),
    /// The timestamp or snapshot would not go up.
    NotNewer {
        /// The file.
        name: Name,
        /// Its version.
        found: u64,
        /// The version that is published.
        published: u64,
    },
    /// Roots are numbered without gaps.
    RootGap {
        /// The root.
        name: Name,
    },
    /// A target's blob is not there.
    BlobMissing {
        /// The target's path.
        path: String,
        /// The blob.
        digest: Digest,
    },
    /// A target's blob is not whole.
    BlobBroken {
        /// The target's path.
        path: String,
        /// The blob.
        digest: Digest,
        /// What is wrong.
        error: BlobError,
    },
    /// A target's blob is of another length than the target.
    BlobLength {
        /// The target's path.
        path: String,
        /// Bytes of the blob.
        found: u64,
        /// Bytes of the target.
        expected: u64,
    },
    /// Another writer published since this one began.
    Overtaken,
    /// The lock was taken away.
    LockLost(io::Error),
    /// The store failed. If it failed after the switch, the new release is visible.
    Io(Name, io::Error),
}

impl Writer<'_> {
    /// Publishes: all of it, or, whatever happens, nothing that a reader sees.
    ///
    /// A file that is there already with the same content is left alone, so the same call may be
    /// made again after it was cut short.
    ///
    /// # Errors
    /// If the new release is not whole, is not newer, or the store fails.
    pub fn publish(&mut self, publication: &Publication) -> Result<(), PublishError> {
        let store = &*self.depot.store;
        let files = Files::named(publication)?;
        let (published, _) = self.depot.catalogue();
        self.check_versions(&files, &published)?;
        self.check_release(&files, &published)?;
        self.lock.check().map_err(PublishError::LockLost)?;
        self.hold_all()?;
        for (name, content) in files.roles.iter().chain(&files.snapshot) {
            put_once(store, name, content)?;
        }
        let (first, last) = match publication.is_root_first {
            true => (&files.roots[..], &[][..]),
            false => (&[][..], &files.roots[..]),
        };
        for (name, content) in first {
            put_once(store, name, content)?;
        }
        if let Some((name, content)) = &files.timestamp {
            // The lock may have been lost while files were written; the switch itself is sure.
            self.lock.check().map_err(PublishError::LockLost)?;
            let failed = |error| PublishError::Io(name.clone(), error);
            if catalogue::version(content, "timestamp") == Ok(published.timestamp) {
                store.settle(name.folder()).map_err(failed)?;
            } else {
                store.switch(name, &self.seen, content).map_err(|error| match error.kind() {
                    io::ErrorKind::AlreadyExists => PublishError::Overtaken,
                    _ => failed(error),
                })?;
            }
            self.seen = store.stamp(name).map_err(failed)?;
        }
        for (name, content) in last {
            put_once(store, name, content)?;
        }
        Ok(())
    }

    /// Who publishes has all of it: what is missing from here on was lost.
    fn hold_all(&self) -> Result<(), PublishError> {
        let (store, record) = (&*self.depot.store, Name::mirror());
        let failed = |error| PublishError::Io(record.clone(), error);
        if store.open(&record).map_err(failed)?.is_some() {
            store.delete(&record).map_err(failed)?;
            store.settle(record.folder()).map_err(failed)?;
        }
        Ok(())
    }

    /// Refuses versions that go back, or are there with other content.
    fn check_versions(&self, files: &Files, published: &Catalogue) -> Result<(), PublishError> {
        let store = &*self.depot.store;
        for (name, content) in files.all() {
            let found = versioned(name, content)?;
            let same = |there: Vec<u8>| there == *content;
            match (name.meaning(), store::read(store, name, METADATA_LEN_MAX)) {
                (_, Err(error)) => return Err(PublishError::Io(name.clone(), error)),
                (_, Ok(Some(there))) if same(there.clone()) => {}
                (Meaning::Timestamp, _) if found <= published.timestamp => {
                    let (name, published) = (name.clone(), published.timestamp);
                    return Err(PublishError::NotNewer { name, found, published });
                }
                (Meaning::Snapshot(_), _) if found <= published.snapshot => {
                    let (name, published) = (name.clone(), published.snapshot);
                    return Err(PublishError::NotNewer { name, found, published });
                }
                // What no release names yet is left over from a publication that was cut short.
                (Meaning::Root(_), Ok(Some(_))) => {
                    return Err(PublishError::Published(name.clone()));
                }
                (_, Ok(Some(_))) if published.files.contains(name) => {
                    return Err(PublishError::Published(name.clone()));
                }
                (Meaning::Root(version), _) if version > 1 => {
                    let before = Name::metadata(&format!("{}.root.json", version - 1));
                    let before = before.expect("a number makes a name");
                    let there =
                        store.open(&before).map_err(|e| PublishError::Io(before.clone(), e));
                    let new = files.roots.iter().any(|(name, _)| *name == before);
                    if !new && there?.is_none() {
                        return Err(PublishError::RootGap { name: name.clone() });
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Refuses a release of which something is not there.
    fn check_release(&self, files: &Files, published: &Catalogue) -> Result<(), PublishError> {
        if files.timestamp.is_none() {
            return Ok(());
        }
        let mut first = None;
        let mut sink = |name, fault| {
            first.get_or_insert((name, fault));
        };
        let new = files.all().map(|(name, content)| (name, &content[..])).collect();
        let shelf = Overlay { new, store: &*self.depot.store };
        let release = Walk { shelf, sink: &mut sink }.current();
        if let Some((name, fault)) = first {
            return Err(PublishError::Faulty(name, fault));
        }
        let known = |entry: &catalogue::Entry| (entry.blob, entry.len);
        let known: BTreeSet<_> = published.entries.iter().map(known).collect();
        for entry in release.entries.iter().filter(|e| !known.contains(&(e.blob, e.len))) {
            let (path, expected) = (entry.path.clone(), entry.len);
            let Some(digest) = entry.blob else { continue };
            match self.depot.blob(&digest) {
                Ok(Some(blob)) if blob.len() == expected => {}
                Ok(Some(blob)) => {
                    return Err(PublishError::BlobLength { path, found: blob.len(), expected });
                }
                Ok(None) => return Err(PublishError::BlobMissing { path, digest }),
                Err(error) => return Err(PublishError::BlobBroken { path, digest, error }),
            }
        }
        Ok(())
    }
}

/// The files of a publication, their names checked.
struct Files {
    roles: Vec<(Name, Vec<u8>)>,
    snapshot: Option<(Name, Vec<u8>)>,
    timestamp: Option<(Name, Vec<u8>)>,
    roots: Vec<(Name, Vec<u8>)>,
}

impl Files {
    fn named(publication: &Publication) -> Result<Self, PublishError> {
        let Publication { roles, snapshot, timestamp, roots, .. } = publication;
        let is_role = |meaning: &Meaning| matches!(meaning, Meaning::Role(..));
        let is_snapshot = |meaning: &Meaning| matches!(meaning, Meaning::Snapshot(_));
        let is_root = |meaning: &Meaning| matches!(meaning, Meaning::Root(_));
        let timestamp = timestamp.iter().map(|content| (Name::timestamp(), content.clone())).next();
        let mut roots = named(roots, is_root)?;
        roots.sort_by_key(|(name, _)| match name.meaning() {
            Meaning::Root(version) => version,
            _ => 0,
        });
        Ok(Self {
            roles: named(roles, is_role)?,
            snapshot: named(snapshot.as_slice(), is_snapshot)?.pop(),
            timestamp,
            roots,
        })
    }

    fn all(&self) -> impl Iterator<Item = (&Name, &Vec<u8>)> {
        let Self { roles, snapshot, timestamp, roots } = self;
        let files = roles.iter().chain(snapshot).chain(timestamp).chain(roots);
        files.map(|(name, content)| (name, content))
    }
}

fn named(
    files: &[(String, Vec<u8>)],
    is_kind: impl Fn(&Meaning) -> bool,
) -> Result<Vec<(Name, Vec<u8>)>, PublishError> {
    let mut named = Vec::new();
    for (file, content) in files {
        let name = Name::metadata(file).filter(|name| is_kind(&name.meaning()));
        let name = name.ok_or_else(|| PublishError::Name(file.clone()))?;
        if content.len() as u64 > METADATA_LEN_MAX {
            return Err(PublishError::TooLong { name, len: content.len() as u64 });
        }
        named.push((name, content.clone()));
    }
    Ok(named)
}

/// The version in a file, which must be that of its name.
fn versioned(name: &Name, content: &[u8]) -> Result<u64, PublishError> {
    let (kind, expected) = match name.meaning() {
        Meaning::Root(version) => ("root", Some(version)),
        Meaning::Snapshot(version) => ("snapshot", Some(version)),
        Meaning::Role(version, _) => ("targets", Some(version)),
        _ => ("timestamp", None),
    };
    let faulty = |fault| PublishError::Faulty(name.clone(), fault);
    let found = catalogue::version(content, kind).map_err(|why| faulty(Fault::Parse(why)))?;
    match expected.filter(|expected| *expected != found) {
        Some(expected) => Err(faulty(Fault::Version { found, expected })),
        None => Ok(found),
    }
}

fn put_once(store: &dyn Store, name: &Name, content: &[u8]) -> Result<(), PublishError> {
    let failed = |error| PublishError::Io(name.clone(), error);
    let there = store::read(store, name, METADATA_LEN_MAX).map_err(failed)?;
    if there.is_some_and(|there| there == content) {
        // It may be visible and not yet durable, if the run that wrote it was killed in between.
        return store.settle(name.folder()).map_err(failed);
    }
    store::put(store, name, content).map_err(failed)
}

/// New files before those of a store.
struct Overlay<'a> {
    new: BTreeMap<&'a Name, &'a [u8]>,
    store: &'a dyn Store,
}

impl Shelf for Overlay<'_> {
    fn take(&self, name: &Name) -> io::Result<Option<Vec<u8>>> {
        match self.new.get(name) {
            Some(content) => Ok(Some(content.to_vec())),
            None => self.store.take(name),
        }
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(file) => write!(f, "{file}: no name of a metadata file of this kind"),
            Self::TooLong { name, len } => {
                write!(f, "{name}: {len} bytes, at most {METADATA_LEN_MAX} allowed")
            }
            Self::Faulty(name, fault) => write!(f, "{name}: {fault}"),
            Self::Published(name) => write!(f, "{name}: published already with other content"),
            Self::NotNewer { name, found, published } => {
                write!(f, "{name}: version {found} is not above the published {published}")
            }
            Self::RootGap { name } => write!(f, "{name}: the root before it is missing"),
            Self::BlobMissing { path, digest } => write!(f, "{path}: blob {digest} is missing"),
            Self::BlobBroken { path, digest, error } => {
                write!(f, "{path}: blob {digest}: {error}")
            }
            Self::BlobLength { path, found, expected } => {
                write!(f, "{path}: its blob has {found} bytes, the target {expected}")
            }
            Self::Overtaken => f.write_str("another writer published since this one began"),
            Self::LockLost(error) => write!(f, "the lock was lost: {error}"),
            Self::Io(name, error) => write!(f, "{name}: {error}"),
        }
    }
}

impl error::Error for PublishError {}
