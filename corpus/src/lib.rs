//! Real update pairs for tests and benchmarks, built from public packages by recipe.
//!
//! ```
//! let pairs = neap_corpus::load(&neap_corpus::default_cache())?;
//! for pair in pairs.iter().filter(|pair| pair.kind == "kernel") {
//!     println!("{}: {} bytes at {}", pair.name, pair.target_size, pair.target().display());
//! }
//! # Ok::<(), neap_corpus::CorpusError>(())
//! ```
//!
//! Modules, in reading order: `recipe` (what a recipe may say), `cache` (where pairs lie), `build`
//! (one pair from recipe to file), and the edges `apt`, `registry`, `tree`, `mkfs`, `process`.
//!
//! Guarantees: a pinned pair has the bytes that its recipe names, or is an error; equal packages
//! give equal images, bit for bit, when unpacked by root. Limits: Debian keeps only a few versions
//! of a package, so its pairs change from month to month; `pair.json` says what was taken.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod apt;
mod build;
mod cache;
mod error;
mod mkfs;
mod process;
mod recipe;
mod registry;
mod tree;

pub use build::Builder;
pub use cache::{Pair, default_cache, load, recipes, recipes_folder};
pub use error::CorpusError;
pub use recipe::{Apt, From, Kind, PairRecipe, Pinned, Recipe, Set, Take};
