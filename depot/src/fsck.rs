//! Checks a depot: reads all of it and names every damage, and what can be cleared away.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::{fmt, io};

use neap_engine::digest::Digest;

use crate::blob::{self, BlobError};
use crate::catalogue::{self, Catalogue, Entry, Fault, Walk};
use crate::depot::Depot;
use crate::held::{Held, Record};
use crate::limits::{METADATA_LEN_MAX, STAGED_LEN_MAX};
use crate::name::{Folder, Meaning, Name};
use crate::store::{self, Kind, Listed};
use crate::tree::Builder;
use crate::writer::Writer;

/// What a check found.
#[derive(Debug, Default)]
pub struct Report {
    /// Everything that is not as it should be.
    pub findings: Vec<Finding>,
    /// Blobs that were read.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Targets that the published release names.
    pub targets: u64,
    /// Whether there is a timestamp that says what is published.
    pub is_published: bool,
    /// What the release names and this depot never had, since it takes only what it needs.
    pub not_here: NotHere,
}

/// What a depot never had.
#[derive(Debug, Default)]
pub struct NotHere {
    /// Metadata files.
    pub metadata: Vec<Name>,
    /// How many blobs.
    pub blobs: u64,
}

/// One thing that is not as it should be.
#[derive(Debug)]
pub struct Finding {
    /// What.
    pub what: What,
    /// Whether it was repaired in this run.
    pub repaired: bool,
}

/// Everything that can be wrong with a depot.
#[derive(Debug)]
#[non_exhaustive]
pub enum What {
    /// A metadata file of the published release is not as it must be.
    Metadata(Name, Fault),
    /// A root between the first and the last is missing: devices cannot follow.
    RootMissing(Name),
    /// A staged file cannot be parsed: its blobs are not protected.
    Staged(Name, Fault),
    /// A target's blob is not there.
    BlobMissing {
        /// The blob.
        digest: Digest,
        /// The target's path.
        path: String,
    },
    /// A blob is not what a target says of it.
    TargetDiffers {
        /// The target's path.
        path: String,
        /// What differs.
        why: String,
    },
    /// A blob is cut short, or a part of it is missing.
    BlobBroken {
        /// The blob.
        digest: Digest,
        /// What is wrong.
        error: BlobError,
    },
    /// Bytes of a blob are not those of its digest.
    BlobAltered {
        /// The blob.
        digest: Digest,
        /// Which bytes; all, where its tree is damaged too.
        ranges: Vec<Range<u64>>,
    },
    /// A blob's tree is missing or damaged, and its data is good.
    Tree(Digest),
    /// Names that a carrier without case takes for one.
    CaseClash(Vec<Name>),
    /// A name of ours that is no regular file.
    NotFile(Name),
    /// Left by a writer that was cut short.
    Temporary(Name),
    /// A file of a blob that is in another form too: whole and in parts.
    Surplus(Name),
    /// A metadata file that no kept snapshot names.
    Unnamed(Name),
    /// A blob that nothing names.
    BlobUnnamed(Digest),
    /// A blob that was cut short while it was written, and that nothing needs yet.
    Unfinished(Digest),
    /// A blob that is still coming.
    Partial(Digest),
    /// A file that is not ours.
    Foreign(Name),
}

impl What {
    /// Whether a reader of the published release would fail, or may; the rest is untidy.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Metadata(..)
            | Self::RootMissing(_)
            | Self::Staged(..)
            | Self::BlobMissing { .. }
            | Self::TargetDiffers { .. }
            | Self::BlobBroken { .. }
            | Self::BlobAltered { .. }
            | Self::Tree(_)
            | Self::CaseClash(_)
            | Self::NotFile(_) => true,
            Self::Temporary(_)
            | Self::Surplus(_)
            | Self::Unnamed(_)
            | Self::BlobUnnamed(_)
            | Self::Unfinished(_)
            | Self::Partial(_)
            | Self::Foreign(_) => false,
        }
    }
}

impl Report {
    /// Damage that is still there.
    pub fn damage(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.what.is_damage() && !finding.repaired)
    }

    fn add(&mut self, what: What) {
        self.findings.push(Finding { what, repaired: false });
    }
}

impl Depot {
    /// Reads all of the depot; `progress` is told of the bytes of blobs that were read.
    ///
    /// # Errors
    /// If a folder cannot be listed. Files that cannot be read are findings.
    pub fn check(&self, progress: &mut dyn FnMut(u64)) -> io::Result<Report> {
        let mut report = Report::default();
        let record = self.expected(&mut report)?;
        let mut faults = Vec::new();
        let mut sink = |name, fault| faults.push((name, fault));
        let catalogue = Walk { shelf: &*self.store, sink: &mut sink }.current();
        for (name, fault) in faults {
            match fault {
                Fault::Missing if record.never_had(&name) => report.not_here.metadata.push(name),
                fault => report.add(What::Metadata(name, fault)),
            }
        }
        report.targets = catalogue.entries.len() as u64;
        report.is_published = catalogue.timestamp > 0;
        let mut blobs: BTreeMap<Digest, Vec<Listed>> = BTreeMap::new();
        for folder in self.folders()? {
            let entries = self.store.list(&folder)?;
            case_clashes(&folder, &entries, &mut report);
            for entry in entries {
                self.look_at(&folder, entry, &mut blobs, &mut report);
            }
        }
        self.check_metadata(&catalogue, &record, &mut report)?;
        self.check_blobs(&catalogue, &record, &blobs, &mut report, progress);
        Ok(report)
    }

    /// What should be here. Where there is neither a release nor a blob, nothing came yet.
    fn expected(&self, report: &mut Report) -> io::Result<Record> {
        let record = self.record().unwrap_or_else(|fault| {
            report.add(What::Metadata(Name::mirror(), fault));
            Record(None)
        });
        let is_release = |entry: &Listed| {
            let meaning = Folder::Metadata.meaning(&entry.file);
            matches!(meaning, Meaning::Timestamp | Meaning::Snapshot(_) | Meaning::Role(..))
        };
        let listed = self.store.list(&Folder::Metadata)?;
        let is_empty = !listed.iter().any(is_release) && self.blobs()?.is_empty();
        Ok(Record(record.0.or_else(|| is_empty.then(Held::default))))
    }

    fn folders(&self) -> io::Result<Vec<Folder>> {
        let mut folders =
            vec![Folder::Top, Folder::Metadata, Folder::Blobs, Folder::Staged, Folder::Receipts];
        for entry in self.store.list(&Folder::Receipts)? {
            let device = crate::name::Device::new(&entry.file);
            folders.extend(device.filter(|_| entry.kind == Kind::Folder).map(Folder::Device));
        }
        Ok(folders)
    }

    /// Judges one file by its name, and keeps those of blobs for later.
    fn look_at(
        &self,
        folder: &Folder,
        entry: Listed,
        blobs: &mut BTreeMap<Digest, Vec<Listed>>,
        report: &mut Report,
    ) {
        let name = Name::listed(folder, &entry.file);
        let meaning = name.meaning();
        if entry.kind == Kind::Folder && is_folder(folder, &entry.file) {
            return;
        }
        if entry.kind != Kind::File {
            let ours = meaning != Meaning::Foreign;
            return report.add(if ours { What::NotFile(name) } else { What::Foreign(name) });
        }
        match meaning {
            Meaning::Temporary => report.add(What::Temporary(name)),
            Meaning::Foreign => report.add(What::Foreign(name)),
            Meaning::Partial(digest) => report.add(What::Partial(digest)),
            Meaning::Blob(digest) | Meaning::Part(digest, _) | Meaning::Tree(digest) => {
                blobs.entry(digest).or_default().push(entry);
            }
            Meaning::Staged => {
                let content = store::read(&*self.store, &name, STAGED_LEN_MAX);
                let fault = match content {
                    Ok(content) => {
                        serde_json::from_slice::<serde_json::Value>(&content.unwrap_or_default())
                            .err()
                            .map(|error| Fault::Parse(error.to_string()))
                    }
                    Err(error) => Some(Fault::Io(error)),
                };
                fault.into_iter().for_each(|fault| report.add(What::Staged(name.clone(), fault)));
            }
            Meaning::Root(_)
            | Meaning::Timestamp
            | Meaning::Snapshot(_)
            | Meaning::Role(..)
            | Meaning::Receipt(_)
            | Meaning::Lock
            | Meaning::Mirror => {}
        }
    }

    /// Roots must be there without gaps; other files belong to some kept snapshot.
    fn check_metadata(
        &self,
        current: &Catalogue,
        record: &Record,
        report: &mut Report,
    ) -> io::Result<()> {
        let mut roots = BTreeSet::new();
        let mut others = BTreeSet::new();
        let mut named = current.files.clone();
        for entry in self.store.list(&Folder::Metadata)? {
            let name = Name::listed(&Folder::Metadata, &entry.file);
            match name.meaning() {
                Meaning::Root(version) => {
                    roots.insert(version);
                    let content = store::read(&*self.store, &name, METADATA_LEN_MAX);
                    if let Some(fault) = root_fault(content, version) {
                        report.add(What::Metadata(name, fault));
                    }
                }
                Meaning::Snapshot(version) => {
                    // Older releases are a courtesy to slow readers: their faults are not damage.
                    let mut sink = |_, _| {};
                    let walk = Walk { shelf: &*self.store, sink: &mut sink }.version(version);
                    named.extend(walk.files);
                    others.insert(name);
                }
                Meaning::Role(..) => drop(others.insert(name)),
                _ => {}
            }
        }
        let unnamed = others.difference(&named).cloned();
        unnamed.for_each(|name| report.add(What::Unnamed(name)));
        // Who reads here begins with the first root that was taken, and follows from there.
        let first = roots.first().copied().unwrap_or(u64::MAX);
        let begin = record.first_root().map_or(1, |taken| taken.min(first));
        let last = roots.last().copied().max(record.last_root()).unwrap_or(1);
        let name = |version: u64| {
            Name::metadata(&format!("{version}.root.json")).expect("a number makes a name")
        };
        // A gap may be as wide as a version is large: name the first of each, not all.
        let before = (1..=last).take_while(|version| *version < begin).take(ROOTS_NAMED);
        report.not_here.metadata.extend(before.map(name));
        let missing = (begin..=last).filter(|version| !roots.contains(version)).take(ROOTS_NAMED);
        missing.for_each(|version| report.add(What::RootMissing(name(version))));
        Ok(())
    }

    fn check_blobs(
        &self,
        catalogue: &Catalogue,
        record: &Record,
        blobs: &BTreeMap<Digest, Vec<Listed>>,
        report: &mut Report,
        progress: &mut dyn FnMut(u64),
    ) {
        let mut named: BTreeMap<Digest, Vec<&Entry>> = BTreeMap::new();
        for entry in &catalogue.entries {
            entry.blob.iter().for_each(|blob| named.entry(*blob).or_default().push(entry));
        }
        for (digest, entries) in named.iter().filter(|(digest, _)| !blobs.contains_key(*digest)) {
            if record.never_had_blob(digest) {
                report.not_here.blobs += 1;
                continue;
            }
            let path = entries[0].path.clone();
            report.add(What::BlobMissing { digest: *digest, path });
        }
        // An unreadable neighbour may name it: then say nothing of it.
        let all_named = self.removable(crate::gc::KEEP_DEFAULT).ok();
        let removable = all_named.iter().flat_map(|plan| &plan.removals);
        let unnamed: BTreeSet<&Name> = removable.map(|(name, _)| name).collect();
        for (digest, files) in blobs {
            let targets = named.get(digest).map_or(&[][..], Vec::as_slice);
            let name = Name::listed(&Folder::Blobs, &files[0].file);
            let is_unnamed = unnamed.contains(&name);
            match self.blob(digest) {
                Err(BlobError::TreeMissing) if is_unnamed || record.never_had_blob(digest) => {
                    report.add(What::Unfinished(*digest));
                }
                _ if is_unnamed => {
                    report.add(What::BlobUnnamed(*digest));
                    self.check_blob(digest, files, targets, report);
                }
                _ => self.check_blob(digest, files, targets, report),
            }
            progress(files.iter().map(|file| file.len).sum());
        }
    }

    fn check_blob(&self, digest: &Digest, files: &[Listed], targets: &[&Entry], to: &mut Report) {
        to.blobs += 1;
        to.bytes += files.iter().map(|file| file.len).sum::<u64>();
        let digest = *digest;
        let blob = match self.blob(&digest) {
            Ok(Some(blob)) => blob,
            // Removed since it was listed.
            Ok(None) => return,
            Err(error) => {
                // The tree may be at fault, or the data: only the digest can tell.
                let good = matches!(self.rebuilt(&digest, &mut |_| Ok(())), Ok(Some(_)));
                let broken = What::BlobBroken { digest, error };
                return to.add(if good { What::Tree(digest) } else { broken });
            }
        };
        for target in targets.iter().filter(|target| target.len != blob.len()) {
            let why = format!("its blob has {} bytes, it says {}", blob.len(), target.len);
            to.add(What::TargetDiffers { path: target.path.clone(), why });
        }
        match blob.check() {
            Err(error) => to.add(What::BlobBroken { digest, error }),
            Ok(checked) if !checked.altered.is_empty() => {
                to.add(What::BlobAltered { digest, ranges: checked.altered });
            }
            Ok(checked) => {
                if checked.tree_damaged {
                    to.add(What::Tree(digest));
                }
                let differs = |e: &&&Entry| e.sha256.as_ref().is_some_and(|s| *s != checked.sha256);
                for target in targets.iter().filter(differs) {
                    let why = format!("the SHA-256 of its blob is {}", checked.sha256);
                    to.add(What::TargetDiffers { path: target.path.clone(), why });
                }
            }
        }
        let expected = blob::files(&digest, blob.len(), self.part_len).map(|(name, _)| name);
        let expected: BTreeSet<Name> = expected.chain([Name::tree(&digest)]).collect();
        let names = files.iter().map(|file| Name::listed(&Folder::Blobs, &file.file));
        names.filter(|n| !expected.contains(n)).for_each(|name| to.add(What::Surplus(name)));
    }

    /// Makes a blob's tree from its data; nothing if the data is not that of the digest.
    fn rebuilt(
        &self,
        digest: &Digest,
        take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<Option<u64>, BlobError> {
        let len = match self.store.open(&Name::blob(digest))? {
            Some(whole) => whole.len(),
            None => {
                let mut len = 0;
                for index in 0..crate::limits::PART_COUNT_MAX {
                    match self.store.open(&Name::part(digest, index))? {
                        Some(part) => len += part.len(),
                        None => break,
                    }
                }
                len
            }
        };
        let data = blob::Data::open(&*self.store, digest, len, self.part_len)?;
        let (mut builder, mut pairs) = (Builder::default(), Vec::new());
        data.each(len, |bytes| {
            builder.update(bytes, &mut pairs);
            take(&pairs)?;
            pairs.clear();
            Ok(())
        })?;
        let (found, len) = builder.finish(&mut pairs);
        take(&pairs)?;
        Ok((found == *digest).then_some(len))
    }
}

impl Writer<'_> {
    /// Repairs what can be repaired without any key: trees are made again from good data, and
    /// temporary and surplus files removed. Says so in the report.
    ///
    /// # Errors
    /// If the store fails; what was repaired before stays so.
    pub fn repair(&self, report: &mut Report) -> io::Result<()> {
        let store = &*self.depot.store;
        let broken: BTreeSet<Digest> = report
            .damage()
            .filter_map(|finding| match finding.what {
                What::BlobBroken { digest, .. } | What::BlobAltered { digest, .. } => Some(digest),
                _ => None,
            })
            .collect();
        for finding in &mut report.findings {
            self.lock.check()?;
            finding.repaired = match &finding.what {
                What::Temporary(name) => {
                    store.delete(name)?;
                    store.settle(name.folder())?;
                    true
                }
                What::Surplus(name) => match name.meaning() {
                    Meaning::Blob(digest) | Meaning::Part(digest, _)
                        if !broken.contains(&digest) =>
                    {
                        store.delete(name)?;
                        store.settle(name.folder())?;
                        true
                    }
                    _ => false,
                },
                What::Tree(digest) => {
                    let mut tree = store.put(&Name::tree(digest))?;
                    let rebuilt = self.depot.rebuilt(digest, &mut |pairs| tree.write(pairs));
                    match rebuilt.map_err(io::Error::from)? {
                        Some(_) => tree.finish().map(|()| true)?,
                        None => false,
                    }
                }
                _ => false,
            };
        }
        Ok(())
    }
}

/// Missing roots that are named one by one.
const ROOTS_NAMED: usize = 16;

fn is_folder(folder: &Folder, file: &str) -> bool {
    match folder {
        Folder::Top => ["metadata", "blobs", "receipts", "staged"].contains(&file),
        Folder::Receipts => crate::name::Device::new(file).is_some(),
        _ => false,
    }
}

fn root_fault(content: io::Result<Option<Vec<u8>>>, expected: u64) -> Option<Fault> {
    let content = match content {
        Ok(content) => content?,
        Err(error) => return Some(Fault::Io(error)),
    };
    match catalogue::version(&content, "root") {
        Ok(found) if found == expected => None,
        Ok(found) => Some(Fault::Version { found, expected }),
        Err(why) => Some(Fault::Parse(why)),
    }
}

fn case_clashes(folder: &Folder, entries: &[Listed], report: &mut Report) {
    let mut lower: BTreeMap<String, Vec<Name>> = BTreeMap::new();
    for entry in entries {
        let name = Name::listed(folder, &entry.file);
        lower.entry(entry.file.to_lowercase()).or_default().push(name);
    }
    let clashes = lower.into_values().filter(|names| names.len() > 1);
    clashes.for_each(|names| report.add(What::CaseClash(names)));
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metadata(name, fault) | Self::Staged(name, fault) => write!(f, "{name}: {fault}"),
            Self::RootMissing(name) => {
                write!(f, "{name}: it is missing: devices with an older root cannot follow")
            }
            Self::BlobMissing { digest, path } => {
                write!(f, "blobs/{digest}: it is missing, and {path} needs it")
            }
            Self::TargetDiffers { path, why } => write!(f, "{path}: {why}"),
            Self::BlobBroken { digest, error } => write!(f, "blobs/{digest}: {error}"),
            Self::BlobAltered { digest, ranges } => {
                write!(f, "blobs/{digest}: altered bytes:")?;
                for range in ranges.iter().take(RANGES_SHOWN) {
                    write!(f, " {} at {}", range.end - range.start, range.start)?;
                }
                match ranges.len().saturating_sub(RANGES_SHOWN) {
                    0 => Ok(()),
                    more => write!(f, " and {more} ranges more"),
                }
            }
            Self::Tree(digest) => {
                write!(f, "blobs/{digest}.obao: missing or damaged; the data is good")
            }
            Self::CaseClash(names) => {
                let names: Vec<_> = names.iter().map(Name::to_string).collect();
                write!(f, "{}: one name where case is ignored", names.join(", "))
            }
            Self::NotFile(name) => write!(f, "{name}: not a regular file, not opened"),
            Self::Temporary(name) => write!(f, "{name}: left by a writer that was cut short"),
            Self::Surplus(name) => write!(f, "{name}: the blob is there in another form"),
            Self::Unnamed(name) => write!(f, "{name}: no kept snapshot names it"),
            Self::BlobUnnamed(digest) => write!(f, "blobs/{digest}: nothing names it"),
            Self::Unfinished(digest) => {
                write!(f, "blobs/{digest}: cut short while it was written")
            }
            Self::Partial(digest) => write!(f, "blobs/{digest}: still coming"),
            Self::Foreign(name) => write!(f, "{name}: not a file of a depot, ignored"),
        }
    }
}

/// Ranges of a blob that are shown; a caller has all.
const RANGES_SHOWN: usize = 8;
