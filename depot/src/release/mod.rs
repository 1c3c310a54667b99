//! Makes the files of a release: the whole image, and patches from the images that devices have.
//!
//! What comes out are blobs of the depot and the targets that name them; who signs for them, and
//! when they are published, is for `neap_trust::repo`. A patch that saves nothing is not kept, and
//! every patch is applied before it is offered.

pub mod archive;
mod patches;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Cursor};
use std::path::Path;

use neap_engine::diff::{DiffError, Options};
use neap_engine::digest::Digest;
use neap_engine::io::Source;
use neap_trust::repo::document::TargetFile;
use neap_trust::target::{Content, Custom, Kind, Requirement, Severity};

use crate::blob::BlobError;
use crate::depot::Depot;
use crate::plan::Offer;
use crate::sbom::{Sbom, SbomError};
use crate::version;
use crate::writer::{AddError, Added, Present, Writer};

/// Bytes that a patch must save against the whole image: what the metadata spends on naming it.
const SAVED_MIN: u64 = 1024;

/// What a release is to be.
#[derive(Debug, Clone)]
pub struct Release {
    /// Whose devices it is for.
    pub group: String,
    /// The product.
    pub product: String,
    /// The version.
    pub version: String,
    /// What it makes.
    pub content: Content,
    /// Never goes down on a device.
    pub security_epoch: u64,
    /// How much it matters.
    pub severity: Severity,
    /// What operators should know.
    pub advisory: Option<String>,
    /// Hardware it runs on; empty is any.
    pub hardware: Vec<String>,
    /// What must be on a device first.
    pub requires: Vec<Requirement>,
    /// A bill of materials, as CycloneDX or SPDX JSON.
    pub sbom: Option<Vec<u8>>,
}

/// An image that devices have, and from which a patch is to be made.
#[derive(Debug, Clone)]
pub struct Earlier {
    /// Its version, for people.
    pub version: String,
    /// Its digest.
    pub image: Digest,
    /// The blob that holds it whole.
    pub blob: Digest,
}

/// How patches are made.
#[derive(Clone)]
pub struct Making<'a> {
    /// Coder, effort, and memory for all patches together.
    pub options: Options,
    /// Patches made at the same time; the memory is shared among them.
    pub jobs: usize,
    /// A folder with room for `jobs` images and two patches each.
    pub folder: &'a Path,
    /// Takes sentences on what is being done.
    pub say: &'a (dyn Fn(&str) + Sync),
}

/// What was made.
#[derive(Debug, Clone)]
pub struct Made {
    /// Targets by path.
    pub targets: BTreeMap<String, TargetFile>,
    /// Digest of the image.
    pub image: Digest,
    /// Bytes of the image, and of the blob that holds it whole.
    pub image_len: u64,
    /// Bytes of the blob that holds it whole.
    pub full_len: u64,
    /// What became of each earlier image.
    pub patches: Vec<(Earlier, Patched)>,
}

/// What became of a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Patched {
    /// It is offered: bytes of its blob.
    Kept(u64),
    /// It was no smaller than the whole image: bytes that it had.
    Dropped(u64),
    /// The image is the one that it starts from.
    Same,
}

/// Why a release could not be made. Blobs that were added stay, and are found by `gc`.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReleaseError {
    /// The bill of materials is none.
    Sbom(SbomError),
    /// An image could not be compared.
    Diff(DiffError),
    /// A blob could not be added.
    Add(AddError),
    /// A blob that an earlier image is made of.
    Blob {
        /// The version that it is of.
        version: String,
        /// What is wrong with it.
        error: BlobError,
    },
    /// An earlier image is not among the blobs.
    Missing {
        /// The version that it is of.
        version: String,
    },
    /// A patch could not be applied to what it was made from: an error of this program.
    NotProved {
        /// What it starts from.
        version: String,
        /// What the applier said.
        error: String,
    },
    /// The working folder failed.
    Work(io::Error),
    /// A target cannot be named.
    Target(String),
}

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sbom(error) => write!(f, "the SBOM is refused: {error}"),
            Self::Diff(error) => error.fmt(f),
            Self::Add(error) => error.fmt(f),
            Self::Blob { version, error } => write!(f, "the image of {version}: {error}"),
            Self::Missing { version } => write!(f, "the image of {version} is not in the depot"),
            Self::NotProved { version, error } => {
                write!(f, "the patch from {version} does not make the image: {error}")
            }
            Self::Work(error) => write!(f, "the working folder: {error}"),
            Self::Target(error) => f.write_str(error),
        }
    }
}

impl std::error::Error for ReleaseError {}

impl From<AddError> for ReleaseError {
    fn from(error: AddError) -> Self {
        Self::Add(error)
    }
}

impl Release {
    /// Makes the whole image and the patches, adds them to the depot, and returns the targets that
    /// offer them.
    ///
    /// # Errors
    /// [`ReleaseError`]: why not.
    pub fn make(
        &self,
        image: &dyn Source,
        earlier: &[Earlier],
        writer: &Writer<'_>,
        making: &Making<'_>,
    ) -> Result<Made, ReleaseError> {
        let sbom = self.add_sbom(writer)?;
        (making.say)("the whole image: packing");
        let full = patches::full(image, making)?;
        let (digest, image_len) = (full.target_root, image.size());
        let added = writer.add(&mut full.bytes(), Present::Verify)?;
        let full_len = added.len;
        let custom = self.custom(digest, image_len, sbom.as_ref());
        let mut targets = BTreeMap::new();
        let mut name = |name: &str, added: &Added, custom: &Custom| {
            let file = TargetFile::new(added.len, &added.sha256, custom);
            let file = file.map_err(|error| ReleaseError::Target(error.to_string()))?;
            targets.insert(self.path(name), file);
            Ok::<_, ReleaseError>(())
        };
        name("full", &added, &Custom { blake3: hex(&added.digest), ..custom.clone() })?;
        if let Some(added) = &sbom {
            let custom = Custom {
                blake3: hex(&added.digest),
                kind: Kind::Document,
                to: None,
                to_len: None,
                content: None,
                ..custom.clone()
            };
            name("sbom.json", added, &custom)?;
        }
        let mut patches = Vec::new();
        let others: Vec<_> = earlier.iter().filter(|earlier| earlier.image != digest).collect();
        let same = earlier.iter().filter(|earlier| earlier.image == digest);
        patches.extend(same.map(|earlier| (earlier.clone(), Patched::Same)));
        for (earlier, patch) in patches::from_each(&others, image, writer.depot, making)? {
            let len = patch.len;
            if len + SAVED_MIN >= full_len {
                patches.push((earlier.clone(), Patched::Dropped(len)));
                continue;
            }
            let added = writer.add(&mut patch.bytes(), Present::Verify)?;
            let from = hex(&earlier.image);
            let custom = Custom {
                blake3: hex(&added.digest),
                kind: Kind::Delta,
                from: Some(from.clone()),
                ..custom.clone()
            };
            name(&format!("from-{}", &from[..16]), &added, &custom)?;
            patches.push((earlier.clone(), Patched::Kept(len)));
        }
        Ok(Made { targets, image: digest, image_len, full_len, patches })
    }

    fn add_sbom(&self, writer: &Writer<'_>) -> Result<Option<Added>, ReleaseError> {
        let Some(bytes) = &self.sbom else { return Ok(None) };
        Sbom::decode(bytes).map_err(ReleaseError::Sbom)?;
        Ok(Some(writer.add(&mut Cursor::new(bytes), Present::Verify)?))
    }

    fn path(&self, name: &str) -> String {
        format!("g/{}/{}/{}/{name}", self.group, self.product, self.version)
    }

    /// What all targets of the release say alike, as the whole image has it.
    fn custom(&self, image: Digest, image_len: u64, sbom: Option<&Added>) -> Custom {
        Custom {
            blake3: String::new(),
            kind: Kind::Full,
            from: None,
            to: Some(hex(&image)),
            to_len: Some(image_len),
            content: Some(self.content),
            product: self.product.clone(),
            version: self.version.clone(),
            security_epoch: self.security_epoch,
            severity: self.severity,
            sbom: sbom.map(|added| hex(&added.digest)),
            advisory: self.advisory.clone(),
            hardware: self.hardware.clone(),
            requires: self.requires.clone(),
        }
    }
}

/// The images of a product that are offered whole, latest first: what patches can be made from.
#[must_use]
pub fn offered_whole(offers: &[Offer], product: &str) -> Vec<Earlier> {
    let mut seen = BTreeSet::new();
    let whole = |offer: &Offer| {
        let custom = &offer.custom;
        let is_whole = custom.kind == Kind::Full && custom.product == product;
        let image = Digest::from_hex(custom.to.as_deref().filter(|_| is_whole)?)?;
        let blob = Digest::from_hex(&custom.blake3)?;
        Some(Earlier { version: custom.version.clone(), image, blob })
    };
    let mut earlier: Vec<_> = offers.iter().filter_map(whole).collect();
    earlier.sort_by(|a, b| version::compare(&b.version, &a.version));
    earlier.retain(|earlier| seen.insert(earlier.image.0));
    earlier
}

fn hex(digest: &Digest) -> String {
    digest.to_string()
}

/// What a depot is asked while patches are made.
pub(crate) fn blob_of(depot: &Depot, earlier: &Earlier) -> Result<crate::blob::Blob, ReleaseError> {
    let version = || earlier.version.clone();
    match depot.blob(&earlier.blob) {
        Ok(Some(blob)) => Ok(blob),
        Ok(None) => Err(ReleaseError::Missing { version: version() }),
        Err(error) => Err(ReleaseError::Blob { version: version(), error }),
    }
}
