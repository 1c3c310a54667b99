//! What a release says of one file: the `custom` part of a TUF target (TUF 4.5), typed.

use serde::{Deserialize, Serialize};

/// What a target is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A whole image, file or tree, compressed: a patch that needs no source.
    Full,
    /// A patch from one image to the next.
    Delta,
    /// A document that belongs to a release: an SBOM, an advisory.
    Document,
    /// A signed site profile.
    SiteProfile,
    /// A list of revoked device certificates.
    Crl,
}

/// How much a release matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// No security content.
    None,
    /// Low.
    Low,
    /// Medium.
    Medium,
    /// High.
    High,
    /// Critical.
    Critical,
}

/// What kind of thing a release makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// An image of a system, for a slot.
    Image,
    /// One file.
    File,
    /// A folder with all below it, as a canonical archive.
    Tree,
}

/// The `custom` object of a target. Digests are 64 hexadecimal digits of BLAKE3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Custom {
    /// Digest of the file itself: its name among the blobs.
    pub blake3: String,
    /// What it is for.
    pub kind: Kind,
    /// Digest of the image that a delta starts from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Digest of the image that is made. The result is signed, not only the patch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Bytes of the image that is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_len: Option<u64>,
    /// What is made: an image, a file, a tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// The product, such as `bridge-display`.
    pub product: String,
    /// The version, compared by the rules of [Semantic Versioning](https://semver.org) where both
    /// are of that form, else as text in which runs of digits are numbers.
    pub version: String,
    /// Never goes down on a device: releases below the device's own are refused.
    #[serde(default)]
    pub security_epoch: u64,
    /// How much the release matters.
    pub severity: Severity,
    /// Digest of the SBOM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sbom: Option<String>,
    /// What operators should know, in plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advisory: Option<String>,
    /// Hardware it runs on; empty is any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hardware: Vec<String>,
    /// What must be on the device first: `product` at `version` or later.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<Requirement>,
}

/// A product that must be there, at this version or later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// The product.
    pub product: String,
    /// The least version.
    pub version: String,
}

/// The product of lists of revoked certificates, whose version is their number.
pub const CRL_PRODUCT: &str = "crl";

/// The role that signs for a group.
#[must_use]
pub fn role_of(group: &str) -> String {
    format!("g.{group}")
}

/// What paths the role of a group may name. A star of TUF does not cross a slash, so targets are
/// `g/<group>/<product>/<version>/<name>`.
#[must_use]
pub fn paths_of(group: &str) -> String {
    format!("g/{group}/*/*/*")
}
