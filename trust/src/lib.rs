//! Who may say what a device installs: keys, TUF metadata, what devices sign, device identity.
//!
//! # Modules, in reading order
//!
//! - [`limits`]: every limit on what is read.
//! - [`key`]: public keys, key ids, and [`key::Signer`], which signs wherever its key is kept.
//! - [`device_key`]: keys that devices sign with, and their signers.
//! - [`carrier`]: what metadata is read from; a carrier is never believed.
//! - [`state`]: what a device remembers between runs.
//! - [`time`]: what time it may be, with a clock that may be wrong or dead.
//! - [`target`]: what a release says of one file.
//! - [`profile`]: what a site may do on its own.
//! - [`client`]: what a device may install from a carrier; its refusals.
//! - [`approval`]: that someone on site agrees to an image.
//! - [`receipt`]: what a device says of an update, and the chain of it.
//! - [`identity`]: which device has which key: certificates of a fleet's authority.
//! - [`repo`]: the editor of a repository: changes are staged, signed by people, merged, published.
//!
//! # Guarantees
//!
//! Nothing here trusts where bytes came from: all that is returned was verified against keys that
//! the caller pinned.

pub mod approval;
pub mod carrier;
pub mod client;
mod cose;
pub mod device_key;
#[cfg(feature = "fixture")]
pub mod fixture;
pub mod identity;
pub mod key;
pub mod limits;
pub mod profile;
mod provider;
pub mod receipt;
pub mod repo;
pub mod state;
pub mod target;
pub mod time;
