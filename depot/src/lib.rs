//! The one layout that every carrier holds: metadata, blobs and receipts.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::io::Cursor;
//! use neap_depot::{depot::Depot, directory::Directory, memory::Memory, writer::Present};
//!
//! let depot = Depot::new(Box::new(Directory::new(Memory::default())));
//! let writer = depot.writer("the example")?;
//! let added = writer.add(&mut Cursor::new(b"an image"), Present::Verify)?;
//! let blob = depot.blob(&added.digest)?.expect("it was just added");
//! let mut bytes = [0; 5];
//! blob.read_at(3, &mut bytes)?;
//! assert_eq!(&bytes, b"image");
//! # Ok(())
//! # }
//! ```
//!
//! # Modules, in reading order
//!
//! - [`limits`]: every limit. [`name`]: which files there are.
//! - [`store`]: what a depot is kept in. [`directory`] on [`files`], which [`posix`] does for real
//!   and [`memory`] as a model that loses what was not synced; `s3` in a bucket; `web` behind any
//!   web server, only to be read.
//! - [`tree`]: by which any 16 KiB of a blob are verified. [`blob`]: verified reading.
//! - [`catalogue`]: what metadata names. [`depot`]: what readers ask.
//! - [`writer`] and [`publish`]: the one writer, and how a release becomes visible. [`repo`]: the
//!   editor of a repository on it.
//! - [`version`], [`plan`]: which release a device should take, and on which way.
//! - [`release`]: makes the files of one, by [`spool`]. [`sbom`]: what changed in it.
//! - [`groups`]: sets of groups. [`partial`]: blobs that come in any order. [`mirror`]: metadata
//!   read elsewhere, kept.
//! - [`fsck`] finds and names damage. [`gc`] removes what nothing names.
//!
//! # Guarantees
//!
//! - What a [`blob::Blob`] gives was verified against its digest.
//! - A power cut leaves the release before or the release after, whole.
//! - There is one writer; another is refused and told who it is.
//!
//! # Limits
//!
//! Signatures are not looked at here: `neap_trust` does that with what a depot carries.

pub mod blob;
pub mod catalogue;
pub mod depot;
pub mod directory;
#[cfg(any(feature = "s3", feature = "web"))]
mod driver;
pub mod files;
pub mod fsck;
pub mod gc;
pub mod groups;
mod held;
pub mod limits;
pub mod memory;
pub mod mirror;
pub mod name;
pub mod partial;
pub mod plan;
pub mod posix;
pub mod publish;
pub mod release;
pub mod repo;
#[cfg(feature = "s3")]
pub mod s3;
pub mod sbom;
pub mod spool;
pub mod store;
pub mod tree;
pub mod version;
#[cfg(feature = "web")]
pub mod web;
pub mod writer;
