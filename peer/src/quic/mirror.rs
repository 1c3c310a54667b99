//! A depot that no peer serves, as a source: behind a web server, in a bucket, in a folder. It
//! answers what a peer does, is believed as little, and knows nothing of sites.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fmt, io, thread};

use bytes::Bytes;
use neap_depot::blob::{Blob, BlobError};
use neap_depot::depot::Depot;
use neap_depot::tree::PAIR_LEN;
use neap_engine::digest::Digest;
use neap_trust::carrier::Carrier;
use tokio::sync::mpsc;

use super::ask::Came;
use super::site::Purse;
use super::take::Taker;
use crate::config::MirrorPlace;
use crate::groups::Groups;
use crate::link::{Class, Profile};
use crate::shelf::Shelf;
use crate::slice::{Step, Steps};
use crate::swarm::{End, Kind, SourceId, Swarm};

/// A mirror and the link on the way to it.
pub struct Mirror {
    /// What it is called in output and blame: its address.
    pub name: String,
    /// The link on the way.
    pub link: Profile,
    depot: Arc<Depot>,
    /// The blob that was asked for last.
    opened: Mutex<Option<Arc<Opened>>>,
}

/// A blob of it, and what was read of its tree. Nothing of either was verified.
struct Opened {
    blob: Blob,
    /// Pages of the tree, the one used last in front.
    pages: Mutex<VecDeque<(u64, Arc<[u8]>)>>,
}

impl Mirror {
    /// The mirror of a configuration. Nothing is read yet.
    ///
    /// # Errors
    /// If the address makes no sense to this build, or a folder is not there.
    pub fn open(place: &MirrorPlace, link: &Profile) -> io::Result<Self> {
        let (name, depot) = match place {
            MirrorPlace::Web(url) | MirrorPlace::Bucket(url) => (url.clone(), Depot::open(url)?),
            MirrorPlace::Folder(path) => (path.display().to_string(), Depot::directory(path)?),
        };
        Ok(Self::new(name, link.clone(), Arc::new(depot)))
    }

    /// A mirror in any depot.
    #[must_use]
    pub fn new(name: String, link: Profile, depot: Arc<Depot>) -> Self {
        Self { name, link, depot, opened: Mutex::default() }
    }

    /// What metadata is read from, by [`sync_from`](super::metadata::sync_from).
    #[must_use]
    pub fn carrier(&self) -> Arc<dyn Carrier> {
        Arc::clone(&self.depot) as Arc<dyn Carrier>
    }

    /// Bytes that crossed the link so far, headers included, as far as the store counts them.
    #[must_use]
    pub fn crossed(&self) -> u64 {
        self.depot.store().crossed()
    }

    /// Whether it is on the site's own network, where bytes cost nothing.
    fn is_near(&self) -> bool {
        self.link.class == Class::Lan
    }

    /// The slice of these groups, given piece by piece. `false` if there is no such blob. Blocks.
    fn slice(
        &self,
        (blob, len): (Digest, u64),
        groups: Groups,
        pieces: &mpsc::Sender<Bytes>,
    ) -> Result<bool, BlobError> {
        let Some(opened) = self.opened(&blob)? else { return Ok(false) };
        if opened.blob.len() != len {
            return Err(BlobError::LengthDiffers { found: opened.blob.len(), expected: len });
        }
        let steps: Vec<_> = Steps::new(len, groups.clone()).collect();
        let pairs = opened.pairs(&steps)?;
        let mut weave = Weave { steps: steps.into_iter(), pairs: pairs.into_iter(), left: 0 };
        let send = |piece: Vec<u8>| {
            let gone = |_| io::Error::other("nobody waits for it any more");
            pieces.blocking_send(Bytes::from(piece)).map_err(gone)
        };
        let group = neap_depot::limits::GROUP_LEN as u64;
        for run in groups.iter() {
            let start = (run.start * group).min(len);
            let end = run.end.saturating_mul(group).min(len);
            let mut take = |bytes: &[u8]| send(weave.next(bytes));
            opened.blob.stream_unverified(start, end - start, &mut take)?;
        }
        // The empty blob has one group without bytes: it comes with no bytes.
        send(weave.next(&[]))?;
        Ok(true)
    }

    /// Opens a blob once for all who ask for it at a time.
    fn opened(&self, blob: &Digest) -> Result<Option<Arc<Opened>>, BlobError> {
        let mut last = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = last.as_ref().filter(|opened| opened.blob.digest() == blob) {
            return Ok(Some(Arc::clone(opened)));
        }
        let Some(found) = self.depot.blob(blob)? else { return Ok(None) };
        let opened = Arc::new(Opened { blob: found, pages: Mutex::default() });
        Ok(Some(Arc::clone(last.insert(opened))))
    }

    /// What was read is not what it should be, or may not be there any more.
    fn forget(&self) {
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Asks for groups of a blob, keeps what is right, and tells `came` of it as it comes. Returns how
/// it ended; dropping the future ends the request.
///
/// # Errors
/// If our own depot fails.
pub async fn blob(
    mirror: &Arc<Mirror>,
    shelf: &Shelf,
    (blob, len): (Digest, u64),
    groups: Groups,
    mut came: impl FnMut(Came),
) -> io::Result<(End, Option<String>)> {
    let (send, mut pieces) = mpsc::channel(PIECES);
    let (reader, wanted) = (Arc::clone(mirror), groups.clone());
    let reading = tokio::task::spawn_blocking(move || reader.slice((blob, len), wanted, &send));
    let mut taker = Taker::new(shelf, (blob, len), groups);
    while let Some(piece) = pieces.recv().await {
        let (new, ended) = taker.take(&piece).await?;
        if !new.is_empty() {
            came(Came(new));
        }
        if let Some((end, why)) = ended {
            mirror.forget();
            return Ok((end, Some(format!("{}: {why}", mirror.name))));
        }
    }
    let (end, why) = match reading.await {
        Ok(Ok(true)) if taker.is_done() => return Ok((End::Done, None)),
        Ok(Ok(_)) => return Ok((End::Lacking, None)),
        Ok(Err(error)) => (of_blob(&error), error.to_string()),
        Err(error) => (End::Lost, error.to_string()),
    };
    mirror.forget();
    Ok((end, Some(format!("{}: {why}", mirror.name))))
}

fn of_blob(error: &BlobError) -> End {
    match error {
        // It may be on its way there: the tree comes last, and a copy in any order.
        BlobError::TreeMissing | BlobError::DataMissing { .. } => End::Lacking,
        BlobError::TreeDamaged { .. } | BlobError::LengthDiffers { .. } => End::Wrong,
        _ => End::Lost,
    }
}

impl Opened {
    /// The pairs of these steps, in their order.
    fn pairs(&self, steps: &[Step]) -> io::Result<Vec<[u8; PAIR_LEN]>> {
        let offsets = steps.iter().filter_map(|step| match step {
            Step::Pair(subtree) => subtree.pair_offset(),
            Step::Group { .. } => None,
        });
        let offsets: Vec<_> = offsets.collect();
        let mut wanted: Vec<_> = offsets.iter().map(|offset| offset / PAGE_LEN).collect();
        wanted.sort_unstable();
        wanted.dedup();
        // Whoever else asks for what lies beside waits for these pages, and has them then.
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = wanted.iter().copied();
        let missing = missing.filter(|page| !pages.iter().any(|(known, _)| known == page));
        for (page, bytes) in self.read(&runs(missing))? {
            pages.push_front((page, bytes));
        }
        let pairs = offsets.iter().map(|offset| {
            let place = pages.iter().position(|(page, _)| *page == offset / PAGE_LEN)?;
            let used = pages.remove(place)?;
            let at = usize::try_from(offset % PAGE_LEN).ok()?;
            let pair = used.1.get(at..at + PAIR_LEN)?.first_chunk().copied();
            pages.push_front(used);
            pair
        });
        let pairs: Option<Vec<_>> = pairs.collect();
        pages.truncate(PAGES_MAX);
        pairs.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Reads runs of pages side by side: the way down a tree is far apart in its file, and one
    /// round trip for each level would take longer than the groups below it.
    fn read(&self, runs: &[(u64, u64)]) -> io::Result<Vec<(u64, Arc<[u8]>)>> {
        let tree = self.blob.tree();
        let read = |first: u64, count: u64| -> io::Result<Vec<(u64, Arc<[u8]>)>> {
            let start = first * PAGE_LEN;
            let end = (start + count * PAGE_LEN).min(tree.len());
            let len = end.saturating_sub(start);
            let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
            tree.read_at(start, &mut bytes)?;
            let page_len = usize::try_from(PAGE_LEN).map_err(io::Error::other)?;
            Ok((first..).zip(bytes.chunks(page_len).map(Arc::from)).collect())
        };
        let mut pages = Vec::new();
        if let [(first, count)] = runs {
            return read(*first, *count);
        }
        thread::scope(|scope| {
            let reads = runs.iter().map(|&(first, count)| scope.spawn(move || read(first, count)));
            for done in reads.collect::<Vec<_>>() {
                let gone = |_| io::Error::other("a read of the tree was given up");
                pages.extend(done.join().map_err(gone)??);
            }
            Ok(pages)
        })
    }
}

/// Neighbours joined: first page and how many.
fn runs(pages: impl Iterator<Item = u64>) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for page in pages {
        match runs.last_mut() {
            Some((first, count)) if *first + *count == page => *count += 1,
            _ => runs.push((page, 1)),
        }
    }
    runs
}

/// Puts pairs where they belong between the groups.
struct Weave<S, P> {
    steps: S,
    pairs: P,
    /// Bytes of the current group that did not come yet.
    left: usize,
}

impl<S: Iterator<Item = Step>, P: Iterator<Item = [u8; PAIR_LEN]>> Weave<S, P> {
    /// The next bytes of the data, with the pairs before them.
    fn next(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut woven = Vec::with_capacity(bytes.len() + 2 * PAIR_LEN);
        while !bytes.is_empty() {
            if self.left == 0 {
                match self.steps.next() {
                    Some(Step::Pair(_)) => woven.extend(self.pairs.next().into_iter().flatten()),
                    Some(Step::Group { len, .. }) => self.left = len,
                    // More than there should be: whoever verifies will say so.
                    None => self.left = bytes.len(),
                }
                continue;
            }
            let (now, later) = bytes.split_at(self.left.min(bytes.len()));
            woven.extend_from_slice(now);
            self.left -= now.len();
            bytes = later;
        }
        woven
    }
}

/// The mirrors of a node, as sources of a swarm: those behind a link that costs are asked last.
#[derive(Debug, Default)]
pub(super) struct Mirrors {
    /// Each with the bytes of it that were counted.
    list: Vec<(Arc<Mirror>, u64)>,
}

impl Mirrors {
    pub(super) fn new(mut mirrors: Vec<Mirror>) -> Self {
        mirrors.sort_by(|a, b| a.link.rank().cmp(&b.link.rank()));
        Self { list: mirrors.into_iter().map(|mirror| (Arc::new(mirror), 0)).collect() }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Mirror>> {
        self.list.iter().map(|(mirror, _)| mirror)
    }

    /// The mirror that this source is, if it is one.
    pub(super) fn of(&self, source: SourceId) -> Option<&Arc<Mirror>> {
        let index = usize::try_from(source.0.checked_sub(MIRRORS)?).ok()?;
        self.list.get(index).map(|(mirror, _)| mirror)
    }

    /// Whether one of them is on the site's own network.
    pub(super) fn any_near(&self) -> bool {
        self.iter().any(|mirror| mirror.is_near())
    }

    pub(super) fn add_to(&self, swarm: &mut Swarm) {
        for (id, mirror) in self.ids() {
            let kind = if mirror.is_near() { Kind::Free } else { Kind::Costly };
            swarm.add(id, &mirror.name, kind, true);
            swarm.set_last(id);
            swarm.set_up(id, true, 0);
        }
    }

    /// Tells the swarm what may cross: the link that is spent if there is one, and whether all are.
    pub(super) fn allow(
        &self,
        swarm: &mut Swarm,
        purse: &mut dyn Purse,
        least: u64,
        window_groups: impl Fn(&Profile) -> u64,
    ) -> (Option<String>, bool) {
        let (mut spent, mut all) = (None, true);
        for (id, mirror) in self.ids().filter(|(_, mirror)| !mirror.is_near()) {
            let left = purse.left(&mirror.link);
            swarm.set_costly(id, window_groups(&mirror.link), left);
            all &= left < least;
            if left < least {
                spent = Some(mirror.link.name.clone());
            }
        }
        (spent, all)
    }

    /// Counts what crossed the links that cost.
    pub(super) fn count(&mut self, purse: &mut dyn Purse, crossed: &mut BTreeMap<String, u64>) {
        for (mirror, counted) in self.list.iter_mut().filter(|(mirror, _)| !mirror.is_near()) {
            let bytes = mirror.crossed();
            let new = bytes.saturating_sub(*counted);
            *counted = bytes;
            if new > 0 {
                *crossed.entry(mirror.link.name.clone()).or_default() += new;
                purse.crossed(&mirror.link, new);
            }
        }
    }

    fn ids(&self) -> impl Iterator<Item = (SourceId, &Arc<Mirror>)> {
        (MIRRORS..).map(SourceId).zip(self.iter())
    }
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mirror({} over {})", self.name, self.link.name)
    }
}

/// Mirrors have numbers from here on: costly places are below, peers above.
const MIRRORS: u32 = 1 << 15;

/// Pieces that wait for being verified. The network gives 16 KiB or less at a time.
const PIECES: usize = 8;

/// Bytes of a tree that are read at once: the 64 pairs of 1 MiB of a blob.
const PAGE_LEN: u64 = 4 << 10;
const _: () = assert!(PAGE_LEN.is_multiple_of(PAIR_LEN as u64));

/// Pages of a tree that are kept: the way down to each of the requests at a time.
const PAGES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_pages_are_read_at_once() {
        assert_eq!(runs([].into_iter()), []);
        assert_eq!(runs([3, 4, 5, 7, 9, 10].into_iter()), [(3, 3), (7, 1), (9, 2)]);
    }
}
