//! neap's engine: makes patches between system images, and applies and verifies them.
//!
//! ```
//! use neap_engine::{diff, io::drive, io::memory::{MemoryJournal, MemoryTarget, PatchBytes}};
//!
//! let source = vec![7_u8; 100_000];
//! let mut image = source.clone();
//! image[50_000] = 8;
//!
//! let mut frames = Vec::new();
//! let patch = diff::diff(&source, &image, &diff::Options::default(), &mut frames, &|_| ())?;
//! let bytes = [patch.header_bytes, frames].concat();
//!
//! let mut target = MemoryTarget::default();
//! let mut journal = MemoryJournal::default();
//! let options = drive::Options::default();
//! drive::apply(&mut PatchBytes::new(&bytes), &source, &mut target, &mut journal, options, &|_| ())
//!     .map_err(|stopped| stopped.error)?;
//! assert_eq!(target.bytes, image);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Modules, in reading order
//!
//! - [`limits`]: every limit, and what `apply` may hold in memory.
//! - [`digest`], [`varint`], [`error`]: small things that all use.
//! - [`mod@format`]: the bytes of a patch, as `docs/format.md` defines them; [`coder`] codes them.
//! - [`apply`]: the applier, a machine that says what it wants and is fed bytes.
//! - [`window`]: what was made and what was verified are different types.
//! - [`journal`]: how far a target is done, for after a power cut.
//! - [`io`]: the edge. [`io::drive`] is the one loop between applier and devices.
//! - [`inspect`]: what a patch holds.
//! - [`cm`]: codes by mixing what many contexts foretell: the smallest patches.
//! - [`refs`]: addresses in executables, as they will be in the target.
//! - [`diff`]: from two images to a patch.
//!
//! # Guarantees
//!
//! - No byte reaches a [`io::Target`] unless its window has the digest that the patch promises.
//! - A patch of any bytes is applied in bounded memory, or refused with an error; never a panic.
//! - After a power cut at any instant, [`io::drive::apply`] again ends with the whole target.
//! - The same images and options give the same patch on any number of threads.
//!
//! # Limits
//!
//! Images of up to 128 GiB; the source is never the target. The engine knows nothing of keys or
//! networks: who may install what is for its callers.

pub mod apply;
pub mod cm;
pub mod coder;
pub mod diff;
pub mod digest;
pub mod error;
pub mod format;
pub mod inspect;
pub mod io;
pub mod journal;
pub mod limits;
pub mod refs;
pub mod unpack;
pub mod varint;
pub mod window;
