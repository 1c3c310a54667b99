//! Who may say what a device installs: keys, TUF metadata, what devices sign, device identity.
//!
//! # Modules, in reading order
//!
//! - [`limits`]: every limit on what is read.
//! - [`key`]: public keys, key ids, and [`key::Signer`], which signs wherever its key is kept.
//! - [`carrier`]: what metadata is read from; a carrier is never believed.
//! - [`target`]: what a release says of one file.
//! - [`repo`]: the editor of a repository: changes are staged, signed by people, merged, published.
//!
//! # Guarantees
//!
//! Nothing here trusts where bytes came from: all that is returned was verified against keys that
//! the caller pinned.

pub mod carrier;
pub mod key;
pub mod limits;
mod provider;
pub mod repo;
pub mod target;
