//! Collection: removes what neither a published, a retained nor a staged file names.
//!
//! A digest that stands anywhere in such a file, or in a stick's list of what is encrypted, counts
//! as named. Roots, receipts, what is foreign and the timestamp are never removed. If anything that
//! names cannot be read, nothing is removed.

use std::collections::BTreeSet;
use std::{error, fmt, io};

use neap_engine::digest::Digest;
use serde_json::Value;

use crate::catalogue::{self, Fault, Walk};
use crate::depot::Depot;
use crate::limits::STAGED_LEN_MAX;
use crate::name::{Folder, Meaning, Name};
use crate::store::{self, Kind, LockError};
use crate::writer::Writer;

/// Snapshots that are kept unless one says otherwise: the published one, and those that a slow
/// reader or a peer may still be at.
pub const KEEP_DEFAULT: u64 = 3;

/// What a collection removes, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The files with their lengths.
    pub removals: Vec<(Name, u64)>,
    /// Versions of the snapshots whose releases stay.
    pub snapshots: BTreeSet<u64>,
    /// How many blobs stay.
    pub blobs: u64,
}

/// Why nothing was removed, or not all.
#[derive(Debug)]
#[non_exhaustive]
pub enum GcError {
    /// There is no timestamp: what is named is not known.
    NothingPublished,
    /// Metadata that names blobs is damaged. Nothing was removed.
    Faulty(Name, Fault),
    /// There is another writer.
    Lock(LockError),
    /// The depot cannot be listed. Nothing was removed.
    List(Folder, io::Error),
    /// A file could not be removed. Those before it were.
    Remove(Name, io::Error),
}

impl Plan {
    /// Bytes that the removals free.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.removals.iter().map(|(_, len)| len).sum()
    }
}

impl Depot {
    /// What a collection would remove that keeps `keep` snapshots, the published one among them.
    ///
    /// # Errors
    /// If what is named cannot be known.
    pub fn removable(&self, keep: u64) -> Result<Plan, GcError> {
        let (named, files, snapshots) = self.named(keep.max(1))?;
        let mut plan = Plan { snapshots, ..Plan::default() };
        for (folder, phase) in PHASES {
            let entries = self.store.list(&folder).map_err(|e| GcError::List(folder.clone(), e))?;
            for entry in entries.iter().filter(|entry| entry.kind == Kind::File) {
                let name = Name::listed(&folder, &entry.file);
                let is_named = match name.meaning() {
                    Meaning::Temporary => false,
                    Meaning::Snapshot(_) | Meaning::Role(..) => files.contains(&name),
                    Meaning::Blob(digest)
                    | Meaning::Part(digest, _)
                    | Meaning::Tree(digest)
                    | Meaning::Partial(digest) => named.contains(&digest),
                    _ => true,
                };
                match (name.meaning(), is_named) {
                    (Meaning::Tree(_), true) => plan.blobs += u64::from(phase == Phase::First),
                    (meaning, false) if Phase::of(&meaning) == phase => {
                        plan.removals.push((name, entry.len));
                    }
                    _ => {}
                }
            }
        }
        Ok(plan)
    }

    /// Digests that are named, files that are, and the snapshots that name them.
    #[expect(clippy::type_complexity, reason = "three sets, used once")]
    fn named(
        &self,
        keep: u64,
    ) -> Result<(BTreeSet<Digest>, BTreeSet<Name>, BTreeSet<u64>), GcError> {
        let (current, fault) = self.catalogue();
        match fault {
            Some((name, Fault::Missing)) if name == Name::timestamp() => {
                return Err(GcError::NothingPublished);
            }
            Some((name, fault)) => return Err(GcError::Faulty(name, fault)),
            None => {}
        }
        let listed = self.store.list(&Folder::Metadata);
        let listed = listed.map_err(|e| GcError::List(Folder::Metadata, e))?;
        let mut versions: Vec<u64> = listed
            .iter()
            .filter_map(|entry| match Folder::Metadata.meaning(&entry.file) {
                Meaning::Snapshot(version) if version != current.snapshot => Some(version),
                _ => None,
            })
            .collect();
        versions.sort_unstable_by(|a, b| b.cmp(a));
        // Newer ones were never published: a publication that was cut short goes on from them.
        let newer = versions.iter().filter(|version| **version > current.snapshot).count();
        let kept = usize::try_from(keep - 1).unwrap_or(usize::MAX).saturating_add(newer);
        versions.truncate(kept);

        let (mut named, mut files) = (current.mentioned, current.files);
        let mut fatal = None;
        for version in &versions {
            let mut sink = |name, fault| match fault {
                // Readers of this release fail already; no reason to keep what they cannot find.
                Fault::Missing => {}
                fault => drop(fatal.get_or_insert((name, fault))),
            };
            let catalogue = Walk { shelf: &*self.store, sink: &mut sink }.version(*version);
            named.extend(catalogue.mentioned);
            files.extend(catalogue.files);
        }
        if let Some((name, fault)) = fatal {
            return Err(GcError::Faulty(name, fault));
        }
        self.staged(&mut named)?;
        let snapshots = versions.into_iter().chain([current.snapshot]).collect();
        Ok((named, files, snapshots))
    }

    /// Adds what staged files name, and what is encrypted on a stick.
    fn staged(&self, named: &mut BTreeSet<Digest>) -> Result<(), GcError> {
        let folder = Folder::Staged;
        let listed = self.store.list(&folder).map_err(|e| GcError::List(Folder::Staged, e))?;
        let staged = listed
            .iter()
            .filter(|entry| entry.kind == Kind::File)
            .map(|entry| Name::listed(&folder, &entry.file))
            .filter(|name| name.meaning() == Meaning::Staged);
        for name in staged.chain([Name::listed(&Folder::Top, STICK)]) {
            let content = store::read(&*self.store, &name, STAGED_LEN_MAX);
            let content = content.map_err(|e| GcError::Faulty(name.clone(), Fault::Io(e)))?;
            let Some(content) = content else { continue };
            let value: Value = serde_json::from_slice(&content)
                .map_err(|e| GcError::Faulty(name, Fault::Parse(e.to_string())))?;
            catalogue::mentions(&value, named);
        }
        Ok(())
    }
}

/// What names the encrypted blobs of a stick (`neap_usb_sideload::manifest`).
const STICK: &str = "stick.json";

impl Writer<'_> {
    /// Removes what [`Depot::removable`] says.
    ///
    /// Cut short anywhere, it leaves a depot in which all that is named is whole.
    ///
    /// # Errors
    /// If what is named cannot be known, the lock is lost, or the store fails.
    pub fn collect(&self, keep: u64) -> Result<Plan, GcError> {
        let store = &*self.depot.store;
        let plan = self.depot.removable(keep)?;
        let mut last: Option<(Folder, Phase)> = None;
        for (name, _) in &plan.removals {
            let now = (name.folder().clone(), Phase::of(&name.meaning()));
            // What names is gone for good before what it names goes.
            if let Some((folder, _)) = last.filter(|last| *last != now) {
                store.settle(&folder).map_err(|e| GcError::Remove(name.clone(), e))?;
            }
            let lost = |error| GcError::Lock(LockError::Io(error));
            self.lock.check().map_err(lost)?;
            store.delete(name).map_err(|e| GcError::Remove(name.clone(), e))?;
            last = Some(now);
        }
        if let Some((folder, _)) = last {
            store.settle(&folder).map_err(|e| GcError::List(folder, e))?;
        }
        Ok(plan)
    }
}

/// Files of a folder go in two steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Snapshots, trees, and what is of no use to anyone.
    First,
    /// Roles and data.
    Second,
}

const PHASES: [(Folder, Phase); 6] = [
    (Folder::Metadata, Phase::First),
    (Folder::Metadata, Phase::Second),
    (Folder::Blobs, Phase::First),
    (Folder::Blobs, Phase::Second),
    (Folder::Staged, Phase::First),
    (Folder::Top, Phase::First),
];

impl Phase {
    fn of(meaning: &Meaning) -> Self {
        match meaning {
            Meaning::Role(..) | Meaning::Blob(_) | Meaning::Part(..) => Self::Second,
            _ => Self::First,
        }
    }
}

impl fmt::Display for GcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingPublished => {
                f.write_str("there is no metadata/timestamp.json: what is in use is not known")
            }
            Self::Faulty(name, fault) => write!(f, "{name}: {fault}: what it names is not known"),
            Self::Lock(error) => error.fmt(f),
            Self::List(folder, error) => write!(f, "{}/: {error}", folder.path()),
            Self::Remove(name, error) => write!(f, "{name}: {error}"),
        }
    }
}

impl error::Error for GcError {}
