//! Addresses in executables: where a source holds them, and what they become in the target.
//!
//! When code grows, everything behind it moves, and each call, jump and table entry that points
//! across the change holds another value. Both sides of a patch know how bytes moved: it is what
//! the copies say. So the addresses in the source can be rewritten as they will be in the target
//! before they are copied, and only what is then still different has to be sent.
//!
//! Everything here is a pure function of the source's bytes and of what the frame says. A wrong
//! guess costs bytes, never correctness.

pub mod field;
pub(crate) mod loads;
pub mod map;
pub(crate) mod piece;
pub mod region;
pub mod rewriter;
pub mod scan;
pub mod votes;

mod aarch64;
mod arm;
mod btf;
mod constants;
mod eh_frame;
mod elf;
mod kernel;
mod narrow;
mod part;
mod pe;
mod pe_tables;
mod reader;
mod tables;
mod write;
mod x86_64;

pub use map::{Copy, Move};
pub use write::rewrite;

#[cfg(test)]
mod tests;
