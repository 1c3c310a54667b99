//! Which device has which key: certificates (RFC 5280) that a fleet's own authority issues to
//! devices, named as IEEE 802.1AR names them (LDevID), requests for them (RFC 2986), and lists of
//! those that are revoked. `docs/identity.md` is the specification.
//!
//! - [`name`]: names of devices and fleets.
//! - [`request`]: what a device asks with.
//! - [`certificate`]: the authority's certificate, and a device's that it issued.
//! - [`crl`]: which certificates are revoked, since when and why.
//! - [`issuer`]: makes all three; its signer may be a token.
//! - [`ledger`]: what an authority issued, allows and has been asked; who may have a certificate.
//! - [`standing`]: what a device's receipts are worth by its certificate.
//! - [`error`]: what is wrong.
//!
//! A certificate admits a device to the network and tells whose receipts are whose. It never makes
//! content true: what a device may install, [`crate::client`] says.

pub mod certificate;
pub mod crl;
mod encoding;
pub mod error;
pub mod issuer;
pub mod ledger;
pub mod name;
pub mod request;
pub mod standing;

pub use certificate::{Authority, Certificate, Number};
pub use crl::{Crl, Reason, Revocation};
pub use error::{IdentityError, What};
pub use name::{DeviceName, Fleet};
pub use request::Request;

#[cfg(test)]
mod tests;
