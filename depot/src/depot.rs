//! A depot: what readers ask of it. Who writes asks for a [`Writer`](crate::writer::Writer).

use std::io;
use std::path::Path;

use neap_engine::digest::Digest;
use neap_trust::carrier::Carrier;

use crate::blob::{Blob, BlobError};
use crate::catalogue::{Catalogue, Fault, Walk};
use crate::directory::Directory;
use crate::held::Record;
use crate::limits::{PART_LEN, RECEIPT_LEN_MAX};
use crate::name::{Device, Folder, Meaning, Name};
use crate::posix::Posix;
use crate::store::{self, Store};

/// How the address of a depot in a bucket begins.
pub const BUCKET: &str = "s3://";

/// How the address of a depot behind a web server begins.
pub const WEB: [&str; 2] = ["https://", "http://"];

/// Metadata, blobs and receipts, on any carrier.
pub struct Depot {
    pub(crate) store: Box<dyn Store>,
    pub(crate) part_len: u64,
}

impl Depot {
    /// A depot in a folder that is there.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn directory(path: &Path) -> io::Result<Self> {
        Ok(Self::new(Box::new(Directory::new(Posix::open(path)?))))
    }

    /// A depot at an address: `s3://bucket/prefix`, `https://host/path` (only to be read), or else
    /// a path.
    ///
    /// # Errors
    /// If it cannot be opened, or this build knows no such addresses.
    pub fn open(place: &str) -> io::Result<Self> {
        if place.starts_with(BUCKET) {
            return Self::bucket(place);
        }
        if WEB.iter().any(|scheme| place.starts_with(scheme)) {
            return Self::web(place);
        }
        Self::directory(Path::new(place))
    }

    /// The same, for a repository that is to begin: a folder is made if it is missing.
    ///
    /// # Errors
    /// As [`Depot::open`], or if the folder cannot be made.
    pub fn make(place: &str) -> io::Result<Self> {
        if place.starts_with(BUCKET) || WEB.iter().any(|scheme| place.starts_with(scheme)) {
            return Self::open(place);
        }
        Ok(Self::new(Box::new(Directory::new(Posix::make(Path::new(place))?))))
    }

    #[cfg(feature = "s3")]
    fn bucket(place: &str) -> io::Result<Self> {
        Ok(Self::new(Box::new(crate::s3::S3::open(place)?)))
    }

    #[cfg(not(feature = "s3"))]
    fn bucket(_: &str) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this build knows no S3"))
    }

    #[cfg(feature = "web")]
    fn web(place: &str) -> io::Result<Self> {
        Ok(Self::new(Box::new(crate::web::Web::open(place)?)))
    }

    #[cfg(not(feature = "web"))]
    fn web(_: &str) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this build knows no web servers"))
    }

    /// A depot in any store.
    #[must_use]
    pub fn new(store: Box<dyn Store>) -> Self {
        Self { store, part_len: PART_LEN }
    }

    /// The same with shorter parts: for tests of what else takes 4 GiB. Readers must agree.
    #[must_use]
    pub fn with_part_len(self, part_len: u64) -> Self {
        let group = crate::limits::GROUP_LEN as u64;
        assert!(part_len > 0 && part_len.is_multiple_of(group), "parts are whole groups");
        Self { part_len, ..self }
    }

    /// What it is kept in.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Opens a blob, or says that there is none.
    ///
    /// # Errors
    /// If it is there but not whole, by its lengths.
    pub fn blob(&self, digest: &Digest) -> Result<Option<Blob>, BlobError> {
        Blob::open(&*self.store, digest, self.part_len)
    }

    /// The blobs that are there, in order. Nothing but names is looked at.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub fn blobs(&self) -> io::Result<Vec<Digest>> {
        let entries = self.store.list(&Folder::Blobs)?;
        let trees = entries.iter().filter_map(|e| match Folder::Blobs.meaning(&e.file) {
            Meaning::Tree(digest) => Some(digest),
            _ => None,
        });
        Ok(trees.collect())
    }

    /// The devices that there are receipts of, each with the numbers of its receipts in order.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub fn receipts(&self) -> io::Result<Vec<(Device, Vec<u64>)>> {
        let devices = self.store.list(&Folder::Receipts)?;
        let devices = devices.iter().filter_map(|entry| Device::new(&entry.file));
        let listed = devices.map(|device| {
            let folder = Folder::Device(device.clone());
            let entries = self.store.list(&folder)?;
            let numbers = entries.iter().filter_map(|entry| match folder.meaning(&entry.file) {
                Meaning::Receipt(number) => Some(number),
                _ => None,
            });
            let mut numbers: Vec<_> = numbers.collect();
            numbers.sort_unstable();
            Ok((device, numbers))
        });
        listed.collect()
    }

    /// The bytes of a receipt, if it is there. Nobody verified them.
    ///
    /// # Errors
    /// If it cannot be read or is longer than a receipt may be.
    pub fn receipt(&self, device: &Device, sequence: u64) -> io::Result<Option<Vec<u8>>> {
        store::read(&*self.store, &Name::receipt(device, sequence), RECEIPT_LEN_MAX)
    }

    /// What the published metadata names, and the first fault if it has any. Signatures are not
    /// looked at. The roles of groups that this depot never took are no fault: what they name is
    /// left out.
    #[must_use]
    pub fn catalogue(&self) -> (Catalogue, Option<(Name, Fault)>) {
        let record = self.record().unwrap_or(Record(None));
        let mut first = None;
        let mut sink = |name: Name, fault| {
            let is_group = matches!(name.meaning(), Meaning::Role(_, role) if role != "targets");
            let is_other = is_group && matches!(fault, Fault::Missing) && record.never_had(&name);
            if !is_other && first.is_none() {
                first = Some((name, fault));
            }
        };
        let catalogue = Walk { shelf: &*self.store, sink: &mut sink }.current();
        (catalogue, first)
    }
}

impl Carrier for Depot {
    fn metadata(&self, name: &str, len_max: u64) -> io::Result<Option<Vec<u8>>> {
        // What no carrier can hold under this name, this one does not hold.
        let Some(name) = Name::metadata(name) else { return Ok(None) };
        store::read(&*self.store, &name, len_max)
    }

    fn document(&self, blake3: &str, len_max: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(digest) = Digest::from_hex(blake3) else { return Ok(None) };
        let damaged = |error: BlobError| io::Error::new(io::ErrorKind::InvalidData, error);
        let Some(blob) = self.blob(&digest).map_err(damaged)? else { return Ok(None) };
        if blob.len() > len_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut bytes = vec![0; usize::try_from(blob.len()).unwrap_or(usize::MAX)];
        blob.read_at(0, &mut bytes).map_err(damaged)?;
        Ok(Some(bytes))
    }
}

impl std::fmt::Debug for Depot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Depot({})", self.store.title())
    }
}
