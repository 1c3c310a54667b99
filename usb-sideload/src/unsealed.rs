//! A stick's depot with what is encrypted opened: readers see blobs under the digests that are
//! signed, and verify them like any other.

use std::io;

use neap_depot::depot::Depot;
use neap_depot::limits::PART_LEN;
use neap_depot::name::{Folder, Meaning, Name};
use neap_depot::store::{Edit, Listed, Lock, LockError, Object, Put, Stamp, Store};
use neap_depot::tree;

use crate::error::Closed;
use crate::manifest::{Manifest, Sealed};
use crate::seal::{Identity, Opened};

/// The store of a stick.
pub struct Unsealed {
    /// The same stick as it lies there.
    below: Depot,
    manifest: Manifest,
    key: Option<Identity>,
}

impl Unsealed {
    /// The stick that `below` is; what is encrypted to `key` can be read.
    #[must_use]
    pub fn new(below: Depot, manifest: Manifest, key: Option<Identity>) -> Self {
        Self { below, manifest, key }
    }

    fn store(&self) -> &dyn Store {
        self.below.store()
    }

    /// The encrypted blobs that hold this file, with where in each it would be.
    fn sealed(&self, name: &Name) -> Vec<(&Sealed, u64, u64)> {
        let (digest, part) = match name.meaning() {
            Meaning::Tree(digest) => (digest, None),
            Meaning::Blob(digest) => (digest, Some((0, true))),
            Meaning::Part(digest, index) => (digest, Some((index, false))),
            _ => return Vec::new(),
        };
        let place = |sealed: &Sealed| {
            let tree_len = tree::tree_len(sealed.len);
            let Some((index, is_whole)) = part else { return Some((0, tree_len)) };
            let before = index.checked_mul(PART_LEN)?;
            let is_split = sealed.len > PART_LEN;
            let fits = is_split != is_whole && (is_whole || before < sealed.len);
            fits.then(|| (tree_len + before, (sealed.len - before).min(PART_LEN)))
        };
        let entries = self.manifest.sealed(&digest).iter();
        entries.filter_map(|sealed| place(sealed).map(|(at, len)| (sealed, at, len))).collect()
    }
}

impl Store for Unsealed {
    fn open(&self, name: &Name) -> io::Result<Option<Box<dyn Object>>> {
        if let Some(plain) = self.store().open(name)? {
            return Ok(Some(plain));
        }
        let mut refused = None;
        for (sealed, offset, len) in self.sealed(name) {
            let Some(blob) = self.below.blob(&sealed.sealed)? else { continue };
            let Some(key) = &self.key else {
                return Err(Closed::NoKey.into());
            };
            match Opened::new(blob, key, offset, len) {
                Ok(opened) => return Ok(Some(Box::new(opened))),
                // Another entry may be for this key.
                Err(error) if Closed::is_in(&error) => refused = Some(error),
                Err(error) => return Err(error),
            }
        }
        refused.map_or(Ok(None), Err)
    }

    fn list(&self, folder: &Folder) -> io::Result<Vec<Listed>> {
        self.store().list(folder)
    }

    fn put(&self, name: &Name) -> io::Result<Box<dyn Put + '_>> {
        self.store().put(name)
    }

    fn stamp(&self, name: &Name) -> io::Result<Stamp> {
        self.store().stamp(name)
    }

    fn switch(&self, name: &Name, seen: &Stamp, content: &[u8]) -> io::Result<()> {
        self.store().switch(name, seen, content)
    }

    fn delete(&self, name: &Name) -> io::Result<()> {
        self.store().delete(name)
    }

    fn settle(&self, folder: &Folder) -> io::Result<()> {
        self.store().settle(folder)
    }

    fn lock(&self, who: &str) -> Result<Box<dyn Lock>, LockError> {
        self.store().lock(who)
    }

    fn break_lock(&self) -> io::Result<Option<String>> {
        self.store().break_lock()
    }

    fn edit(&self, name: &Name) -> io::Result<Box<dyn Edit>> {
        self.store().edit(name)
    }

    fn promote(&self, from: &Name, to: &Name) -> io::Result<()> {
        self.store().promote(from, to)
    }

    fn title(&self) -> String {
        self.store().title()
    }
}
