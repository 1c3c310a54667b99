//! Placeholder.
pub mod apply;
pub mod coder;
pub mod diff;
pub mod digest;
pub mod error;
pub mod format;
pub mod inspect;
pub mod io;
pub mod journal;
pub mod limits;
pub mod varint;
pub mod window;
