//! `mirror.json`: what a depot took that takes only what it needs, as a device's, a ship's and a
//! stick's do. So what it never had is told from what it lost.
//!
//! A depot in which a release was published has all of it, and no such file.

use std::collections::BTreeSet;
use std::io;

use neap_engine::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::catalogue::Fault;
use crate::depot::Depot;
use crate::limits::HELD_LEN_MAX;
use crate::name::{Folder, Meaning, Name};
use crate::store;
use crate::writer::Writer;

/// What was taken, whether or not it is there still.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) metadata: BTreeSet<Name>,
    /// Whole blobs.
    pub(crate) blobs: BTreeSet<Digest>,
}

/// The file.
///
/// | field | is |
/// |-------|----|
/// | `schema` | `neap.mirror.v1` |
/// | `metadata` | names of files in `metadata/`, in order |
/// | `blobs` | BLAKE3 of whole blobs, 64 hexadecimal digits each, in order |
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema: String,
    metadata: Vec<String>,
    blobs: Vec<String>,
}

/// What a depot should hold: what it took, if it takes only what it needs; else all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record(pub(crate) Option<Held>);

impl Depot {
    /// What it should hold.
    pub(crate) fn record(&self) -> Result<Record, Fault> {
        let content = store::read(&*self.store, &Name::mirror(), HELD_LEN_MAX);
        let content = content.map_err(Fault::Io)?;
        let held = content.map(|content| Held::parse(&content).map_err(Fault::Parse));
        held.transpose().map(Record)
    }
}

impl Depot {
    /// What its release names, and the first root.
    fn all_named(&self) -> Held {
        let (named, _) = self.catalogue();
        let first = (named.timestamp > 0).then(|| Name::metadata("1.root.json")).flatten();
        Held {
            metadata: named.files.into_iter().chain(first).collect(),
            blobs: named.entries.iter().filter_map(|entry| entry.blob).collect(),
        }
    }
}

impl Record {
    /// Whether a metadata file was never here, and need not be.
    pub(crate) fn never_had(&self, name: &Name) -> bool {
        self.0.as_ref().is_some_and(|held| !held.metadata.contains(name))
    }

    /// Whether a blob was never here, and need not be.
    pub(crate) fn never_had_blob(&self, digest: &Digest) -> bool {
        self.0.as_ref().is_some_and(|held| !held.blobs.contains(digest))
    }

    /// The first root that was taken, if only what is needed is: past every one if none was.
    pub(crate) fn first_root(&self) -> Option<u64> {
        self.0.as_ref().map(|_| self.roots().min().unwrap_or(u64::MAX))
    }

    /// The last root that was taken.
    pub(crate) fn last_root(&self) -> Option<u64> {
        self.roots().max()
    }

    fn roots(&self) -> impl Iterator<Item = u64> {
        let names = self.0.iter().flat_map(|held| &held.metadata);
        names.filter_map(|name| match name.meaning() {
            Meaning::Root(version) => Some(version),
            _ => None,
        })
    }
}

impl Writer<'_> {
    /// Writes down what is there now, beside what was taken before and is named still. It costs a
    /// list of all blobs, so it is called once for all that came, and [`Writer::mirror`] does. What
    /// a cut leaves unwritten is written by the next one, as long as it is there.
    ///
    /// # Errors
    /// If the store fails.
    pub fn hold(&self) -> io::Result<()> {
        let written = match self.depot.record() {
            Ok(Record(held)) => held,
            Err(Fault::Io(error)) => return Err(error),
            // It is written anew, from what is there.
            Err(_) => Some(Held::default()),
        };
        // Without a record it had to have all until now: what it lost of that is lost.
        let before = written.clone().unwrap_or_else(|| self.depot.all_named());
        let listed = self.depot.store.list(&Folder::Metadata)?;
        let mut held = Held {
            metadata: listed.iter().filter_map(|entry| Name::metadata(&entry.file)).collect(),
            blobs: self.depot.blobs()?.into_iter().collect(),
        };
        let (named, fault) = self.depot.catalogue();
        let names: BTreeSet<_> = named.entries.iter().filter_map(|entry| entry.blob).collect();
        // Where not all can be read that names, nothing is forgotten.
        let is_named = |blob: &Digest| fault.is_some() || names.contains(blob);
        let is_kept = |name: &Name| match name.meaning() {
            Meaning::Snapshot(_) | Meaning::Role(..) => {
                fault.is_some() || named.files.contains(name)
            }
            _ => true,
        };
        held.blobs.extend(before.blobs.into_iter().filter(is_named));
        held.metadata.extend(before.metadata.into_iter().filter(is_kept));
        if written.as_ref() == Some(&held) {
            return Ok(());
        }
        store::put(&*self.depot.store, &Name::mirror(), &held.bytes())
    }
}

impl Held {
    fn parse(content: &[u8]) -> Result<Self, String> {
        let File { schema, metadata, blobs } =
            serde_json::from_slice(content).map_err(|error| error.to_string())?;
        if schema != SCHEMA {
            return Err(format!("it is of schema {schema:?}, expected {SCHEMA:?}"));
        }
        let metadata = metadata.iter().map(|file| Name::metadata(file)).collect::<Option<_>>();
        let blobs = blobs.iter().map(|hex| Digest::from_hex(hex)).collect::<Option<_>>();
        match (metadata, blobs) {
            (Some(metadata), Some(blobs)) => Ok(Self { metadata, blobs }),
            _ => Err("it names what no depot can have".into()),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let file = File {
            schema: SCHEMA.into(),
            metadata: self.metadata.iter().map(|name| name.file().to_owned()).collect(),
            blobs: self.blobs.iter().map(ToString::to_string).collect(),
        };
        let mut bytes = serde_json::to_vec_pretty(&file).expect("texts are JSON");
        bytes.push(b'\n');
        bytes
    }
}

const SCHEMA: &str = "neap.mirror.v1";
