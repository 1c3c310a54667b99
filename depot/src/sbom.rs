//! What changed between two software bills of materials: CycloneDX and SPDX, as JSON.
//!
//! Reads CycloneDX 1.2 to 1.6 (`components`, with those nested in them), SPDX 2.2 and 2.3
//! (`packages`), and SPDX 3.0 (elements of type `software_Package` in `@graph`). The two documents
//! may be of different formats.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

/// Longest document, in bytes: some hundred thousand components.
pub const SBOM_LEN_MAX: u64 = 64 << 20;

/// The components of a document: versions by name. A package URL without its version is a better
/// name than a name; two versions of one component may be there at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sbom {
    components: BTreeMap<String, BTreeSet<String>>,
}

/// What changed, each list by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Name and version of what is new.
    pub added: Vec<(String, String)>,
    /// Name and version of what is gone.
    pub removed: Vec<(String, String)>,
    /// Name, version before, version after.
    pub changed: Vec<(String, String, String)>,
    /// How many components are in both, in the same version.
    pub same_count: usize,
}

/// Why a document is refused.
#[derive(Debug)]
#[non_exhaustive]
pub enum SbomError {
    /// Longer than [`SBOM_LEN_MAX`].
    TooLong {
        /// Its length in bytes.
        len: u64,
    },
    /// No JSON.
    Json(serde_json::Error),
    /// JSON, but neither CycloneDX nor SPDX.
    UnknownFormat,
    /// A component without a name.
    NoName {
        /// Which one, from 0.
        index: usize,
    },
}

impl fmt::Display for SbomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len } => write!(f, "{len} bytes, {SBOM_LEN_MAX} allowed"),
            Self::Json(error) => write!(f, "no JSON: {error}"),
            Self::UnknownFormat => f.write_str("neither CycloneDX nor SPDX as JSON"),
            Self::NoName { index } => write!(f, "component {index} has no name"),
        }
    }
}

impl std::error::Error for SbomError {}

impl Sbom {
    /// Reads a document.
    ///
    /// # Errors
    /// [`SbomError`]: why it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, SbomError> {
        let len = bytes.len() as u64;
        if len > SBOM_LEN_MAX {
            return Err(SbomError::TooLong { len });
        }
        let document: Value = serde_json::from_slice(bytes).map_err(SbomError::Json)?;
        let text = |key: &str| document.get(key).and_then(Value::as_str);
        let list = |key: &str| document.get(key).and_then(Value::as_array);
        let mut sbom = Self::default();
        if text("bomFormat") == Some("CycloneDX") {
            let mut index = 0;
            let mut open: Vec<_> = list("components").into_iter().flatten().collect();
            while let Some(component) = open.pop() {
                sbom.add(component, "version", purl_of_cyclonedx(component), index)?;
                open.extend(
                    component.get("components").and_then(Value::as_array).into_iter().flatten(),
                );
                index += 1;
            }
        } else if text("spdxVersion").is_some_and(|version| version.starts_with("SPDX-2.")) {
            for (index, package) in list("packages").into_iter().flatten().enumerate() {
                sbom.add(package, "versionInfo", purl_of_spdx(package), index)?;
            }
        } else if let Some(graph) = list("@graph") {
            let is_package = |element: &&Value| element["type"] == "software_Package";
            for (index, package) in graph.iter().filter(is_package).enumerate() {
                let purl = package.get("software_packageUrl").and_then(Value::as_str);
                sbom.add(package, "software_packageVersion", purl, index)?;
            }
        } else {
            return Err(SbomError::UnknownFormat);
        }
        Ok(sbom)
    }

    /// How many components there are, each version counted.
    #[must_use]
    pub fn count(&self) -> usize {
        self.components.values().map(BTreeSet::len).sum()
    }

    /// What is not as in `self` in the document that comes after it.
    #[must_use]
    pub fn changes(&self, after: &Self) -> Changes {
        let mut changes = Changes::default();
        let none = BTreeSet::new();
        let names: BTreeSet<_> = self.components.keys().chain(after.components.keys()).collect();
        for name in names {
            let before = self.components.get(name).unwrap_or(&none);
            let after = after.components.get(name).unwrap_or(&none);
            changes.same_count += before.intersection(after).count();
            let gone: Vec<_> = before.difference(after).cloned().collect();
            let new: Vec<_> = after.difference(before).cloned().collect();
            if let ([gone], [new]) = (&gone[..], &new[..]) {
                changes.changed.push((name.clone(), gone.clone(), new.clone()));
                continue;
            }
            changes.removed.extend(gone.into_iter().map(|version| (name.clone(), version)));
            changes.added.extend(new.into_iter().map(|version| (name.clone(), version)));
        }
        changes
    }

    fn add(
        &mut self,
        component: &Value,
        version_key: &str,
        purl: Option<&str>,
        index: usize,
    ) -> Result<(), SbomError> {
        let text = |key: &str| component.get(key).and_then(Value::as_str);
        let name = match (purl, text("group"), text("name")) {
            (Some(purl), _, _) => name_of_purl(purl).to_owned(),
            (None, Some(group), Some(name)) if !group.is_empty() => format!("{group}/{name}"),
            (None, _, Some(name)) => name.to_owned(),
            (None, _, None) => return Err(SbomError::NoName { index }),
        };
        let version = text(version_key).or_else(|| purl.and_then(version_of_purl));
        self.components.entry(name).or_default().insert(version.unwrap_or_default().to_owned());
        Ok(())
    }
}

fn purl_of_cyclonedx(component: &Value) -> Option<&str> {
    component.get("purl").and_then(Value::as_str)
}

fn purl_of_spdx(package: &Value) -> Option<&str> {
    let references = package.get("externalRefs")?.as_array()?;
    let purl = references.iter().find(|reference| reference["referenceType"] == "purl")?;
    purl.get("referenceLocator")?.as_str()
}

/// Type, namespace and name of a package URL: what comes before version, qualifiers and subpath.
fn name_of_purl(purl: &str) -> &str {
    let name = &purl[..purl.find(['?', '#']).unwrap_or(purl.len())];
    // A namespace may begin with an at sign, as those of npm do when written by hand.
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    name[slash..].find('@').map_or(name, |at| &name[..slash + at])
}

fn version_of_purl(purl: &str) -> Option<&str> {
    let name = &purl[..purl.find(['?', '#']).unwrap_or(purl.len())];
    name[name.rfind('/').map_or(0, |at| at + 1)..].split_once('@').map(|(_, version)| version)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sbom(document: &Value) -> Sbom {
        Sbom::decode(document.to_string().as_bytes()).expect("a document")
    }

    fn pair(name: &str, version: &str) -> (String, String) {
        (name.into(), version.into())
    }

    #[test]
    fn added_removed_and_changed_are_told_apart() {
        let before = sbom(&json!({"bomFormat": "CycloneDX", "components": [
            {"name": "zlib", "version": "1.2.13",
                "purl": "pkg:deb/debian/zlib1g@1.2.13?arch=amd64"},
            {"name": "libold", "version": "1"},
            {"name": "same", "version": "3"},
        ]}));
        let after = sbom(&json!({"bomFormat": "CycloneDX", "components": [
            {"name": "zlib", "version": "1.3", "purl": "pkg:deb/debian/zlib1g@1.3?arch=amd64"},
            {"name": "same", "version": "3",
                "components": [{"name": "inner", "group": "org", "version": "7"}]},
        ]}));
        let changes = before.changes(&after);
        assert_eq!(changes.added, [pair("org/inner", "7")]);
        assert_eq!(changes.removed, [pair("libold", "1")]);
        let zlib = ("pkg:deb/debian/zlib1g".into(), "1.2.13".into(), "1.3".into());
        assert_eq!(changes.changed, [zlib]);
        assert_eq!(changes.same_count, 1);
    }

    #[test]
    fn spdx_and_cyclonedx_of_the_same_packages_do_not_differ() {
        let purl = "pkg:npm/%40scope/left@1.0.0";
        let spdx2 = sbom(&json!({"spdxVersion": "SPDX-2.3", "packages": [
            {"name": "left", "versionInfo": "1.0.0", "externalRefs": [
                {"referenceType": "purl", "referenceLocator": purl}]},
            {"name": "right", "versionInfo": "2"},
        ]}));
        let spdx3 =
            sbom(&json!({"@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld", "@graph": [
                {"type": "software_Package", "name": "left", "software_packageVersion": "1.0.0",
                "software_packageUrl": purl},
                {"type": "Person", "name": "nobody"},
                {"type": "software_Package", "name": "right", "software_packageVersion": "2"},
            ]}));
        let cyclonedx = sbom(&json!({"bomFormat": "CycloneDX", "components": [
            {"name": "left", "group": "@scope", "version": "1.0.0", "purl": purl},
            {"name": "right", "version": "2"},
        ]}));
        assert_eq!(spdx2, spdx3);
        assert_eq!(spdx2, cyclonedx);
        assert_eq!(spdx2.count(), 2);
    }

    #[test]
    fn two_versions_of_one_component_are_two() {
        let with = |versions: &[&str]| {
            let components: Vec<_> =
                versions.iter().map(|v| json!({"name": "syn", "version": v})).collect();
            sbom(&json!({"bomFormat": "CycloneDX", "components": components}))
        };
        let changes = with(&["1", "2"]).changes(&with(&["2", "3", "4"]));
        assert_eq!(changes.removed, [pair("syn", "1")]);
        assert_eq!(changes.added, [pair("syn", "3"), pair("syn", "4")]);
        assert!(changes.changed.is_empty());
    }

    #[test]
    fn what_is_no_sbom_is_refused() {
        let refused = |bytes: &[u8]| Sbom::decode(bytes).expect_err("refused").to_string();
        assert_eq!(refused(b"{}"), "neither CycloneDX nor SPDX as JSON");
        assert!(refused(b"not json").starts_with("no JSON"));
        let nameless = br#"{"bomFormat": "CycloneDX", "components": [{"version": "1"}]}"#;
        assert_eq!(refused(nameless), "component 0 has no name");
    }
}
