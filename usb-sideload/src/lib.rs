//! Sticks that carry releases to sites without a link, and bring back what devices signed.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use neap_depot::memory::Memory;
//! use neap_usb_sideload::stick::Stick;
//!
//! // A file system that was mounted from a stick, in any case of names.
//! let stick = Stick::on(Memory::default(), None)?;
//! assert_eq!(stick.code()?, None, "nothing was written to it yet");
//! # Ok(())
//! # }
//! ```
//!
//! # Modules, in reading order
//!
//! - [`limits`]: every limit. [`error`]: why a stick is not taken.
//! - [`folded`]: names in any case, within bounds. [`paced`]: written in small synced steps.
//!   [`pulse`]: whether it answers. [`raw`]: short files beside the depot.
//! - [`manifest`]: which blobs are encrypted. [`seal`]: how. [`unsealed`]: a depot of it all.
//! - [`stick`]: where a stick's depot is, and its [`code`].
//! - [`select`]: what a site needs. [`clear`]: what goes first. [`export`]: writes it, with
//!   [`readme`] for people.
//! - [`recorder`]: trust first. [`import`]: blobs, range by range. [`patch`]: straight to a device.
//! - [`back`]: receipts, there and back.
//!
//! # Guarantees
//!
//! - Nothing is believed because it lies on a stick: metadata is verified against keys that the
//!   device has, every blob against what is signed.
//! - What is kept or parsed is the very bytes that were verified.
//! - A stick that is pulled at any instant, or whose power goes, loses nothing that was good
//!   before, on either side, and the same command goes on from there.
//! - Nothing on a stick is ever executed, and no link on it is followed.
//!
//! # Limits
//!
//! A stick that never answers holds up the process that reads it; the system gives up after its own
//! time, and [`pulse`] lets others say so meanwhile. Every other refusal comes within two seconds
//! and 64 MiB.

pub mod back;
pub mod clear;
pub mod code;
pub mod error;
pub mod export;
pub mod folded;
pub mod import;
pub mod limits;
pub mod manifest;
pub mod paced;
pub mod patch;
pub mod pulse;
pub mod raw;
pub mod readme;
pub mod recorder;
pub mod seal;
pub mod select;
pub mod stick;
pub mod unsealed;
