//! The depot of a node, in a thread of its own: disks block, and what speaks with peers must not.
//! What is asked is done in the order in which it was asked.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use neap_depot::blob::{Blob, BlobError};
use neap_depot::depot::Depot;
use neap_depot::limits::GROUP_LEN;
use neap_depot::name::Device;
use neap_depot::partial::{Files, Partial, Piece};
use neap_depot::tree::{PAIR_LEN, Subtree};
use neap_depot::writer::Writer;
use neap_engine::digest::Digest;
use neap_trust::carrier::Carrier;
use tokio::sync::oneshot;

use crate::groups::Groups;
use crate::latest;
use crate::slice::{Pieces, SliceError, Step};

/// To the thread. Copies speak to the same one.
#[derive(Clone)]
pub struct Shelf {
    jobs: mpsc::SyncSender<Job>,
}

/// What became of pieces.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Groups that were right.
    pub groups: Groups,
    /// The first piece that was wrong; none behind it was looked at.
    pub wrong: Option<SliceError>,
}

/// Whether this node writes to its depot, for as long as it runs, or only reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It fetches: it is the depot's one writer.
    Writes,
    /// It serves: it becomes the writer for the moment that keeping a receipt takes.
    Reads,
}

type Reply<T> = oneshot::Sender<io::Result<T>>;

enum Job {
    Len(Digest, Reply<Option<u64>>),
    BlobLen(Digest, Reply<Option<u64>>),
    Steps(Digest, Vec<Step>, Reply<Option<Vec<u8>>>),
    Begin(Digest, u64, Reply<Groups>),
    Keep(Digest, Pieces, Reply<Kept>),
    Finish(Digest, Reply<bool>),
    Metadata(String, u64, Reply<Option<Vec<u8>>>),
    Latest(Vec<String>, Vec<String>, Reply<Vec<(String, Vec<u8>)>>),
    Mirror(Vec<(String, Vec<u8>)>, Reply<()>),
    Document(Digest, Vec<u8>, Reply<()>),
    PutReceipt(Device, u64, Vec<u8>, Reply<bool>),
    Receipts(Reply<Vec<(Device, u64)>>),
    Gapless(Reply<Vec<(Device, u64)>>),
    Receipt(Device, u64, Reply<Option<Vec<u8>>>),
}

impl Shelf {
    /// Opens the depot and starts its thread.
    ///
    /// # Errors
    /// If it is to be written to and another writer is at work.
    pub fn open(depot: Arc<Depot>, usage: Use) -> io::Result<Self> {
        let (jobs, todo) = mpsc::sync_channel(JOBS);
        let (opened, ready) = mpsc::channel();
        let run = move || match usage {
            Use::Reads => {
                let told = opened.send(Ok(()));
                if told.is_ok() {
                    Thread::new(&depot, None).run(&todo);
                }
            }
            Use::Writes => match depot
                .writer(&format!("neap fetch, process {}", std::process::id()))
            {
                Ok(writer) => {
                    let told = opened.send(Ok(()));
                    if told.is_ok() {
                        Thread::new(&depot, Some(&writer)).run(&todo);
                    }
                }
                Err(error) => drop(
                    opened
                        .send(Err(io::Error::new(io::ErrorKind::ResourceBusy, error.to_string()))),
                ),
            },
        };
        thread::Builder::new().name("shelf".into()).spawn(run)?;
        ready.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))??;
        Ok(Self { jobs })
    }

    /// The length of a blob that is here whole.
    ///
    /// # Errors
    /// If the depot fails.
    pub async fn len(&self, blob: Digest) -> io::Result<Option<u64>> {
        self.ask(|reply| Job::Len(blob, reply)).await
    }

    /// The length of a blob that is here, whole or in part.
    ///
    /// # Errors
    /// If the depot fails.
    pub async fn blob_len(&self, blob: Digest) -> io::Result<Option<u64>> {
        self.ask(|reply| Job::BlobLen(blob, reply)).await
    }

    /// The bytes of these steps of a slice; nothing if one of them is not here.
    ///
    /// # Errors
    /// If the depot fails or what it holds is damaged.
    pub async fn steps(&self, blob: Digest, steps: Vec<Step>) -> io::Result<Option<Vec<u8>>> {
        self.ask(|reply| Job::Steps(blob, steps, reply)).await
    }

    /// Begins a blob or goes on with it: what is here already, hashed anew.
    ///
    /// # Errors
    /// If the depot fails.
    pub async fn begin(&self, blob: Digest, len: u64) -> io::Result<Groups> {
        self.ask(|reply| Job::Begin(blob, len, reply)).await
    }

    /// Verifies pieces of a blob that was begun, pairs before what is below them, and keeps them up
    /// to the first that is wrong.
    ///
    /// # Errors
    /// If the depot fails.
    pub async fn keep(&self, blob: Digest, pieces: Pieces) -> io::Result<Kept> {
        self.ask(|reply| Job::Keep(blob, pieces, reply)).await
    }

    /// Makes it a blob: `false` if something is missing.
    ///
    /// # Errors
    /// If the depot fails.
    pub async fn finish(&self, blob: Digest) -> io::Result<bool> {
        self.ask(|reply| Job::Finish(blob, reply)).await
    }

    /// A metadata file.
    ///
    /// # Errors
    /// If it is longer than `len_max`, or the depot fails.
    pub async fn metadata(&self, name: &str, len_max: u64) -> io::Result<Option<Vec<u8>>> {
        let name = name.to_owned();
        self.ask(|reply| Job::Metadata(name, len_max, reply)).await
    }

    /// The newest metadata of these groups, as far as it is short, without what is `kept`.
    ///
    /// # Errors
    /// If the depot fails.
    pub async fn latest(
        &self,
        groups: Vec<String>,
        kept: Vec<String>,
    ) -> io::Result<Vec<(String, Vec<u8>)>> {
        self.ask(|reply| Job::Latest(groups, kept, reply)).await
    }

    /// Keeps metadata that was verified.
    ///
    /// # Errors
    /// If the depot fails.
    pub async fn mirror(&self, files: Vec<(String, Vec<u8>)>) -> io::Result<()> {
        self.ask(|reply| Job::Mirror(files, reply)).await
    }

    /// Keeps a short blob that was verified.
    ///
    /// # Errors
    /// If the depot fails.
    pub async fn document(&self, blob: Digest, bytes: Vec<u8>) -> io::Result<()> {
        self.ask(|reply| Job::Document(blob, bytes, reply)).await
    }

    /// Keeps a receipt: `false` if it was here.
    ///
    /// # Errors
    /// If another one is here under its number, or the depot fails.
    pub async fn put_receipt(
        &self,
        device: Device,
        number: u64,
        bytes: Vec<u8>,
    ) -> io::Result<bool> {
        self.ask(|reply| Job::PutReceipt(device, number, bytes, reply)).await
    }

    /// The highest number of each device's receipts.
    ///
    /// # Errors
    /// If the depot fails.
    pub async fn receipts(&self) -> io::Result<Vec<(Device, u64)>> {
        self.ask(Job::Receipts).await
    }

    /// Up to which number each device's receipts are here from 1 on without a gap.
    ///
    /// # Errors
    /// If the depot fails.
    pub async fn gapless(&self) -> io::Result<Vec<(Device, u64)>> {
        self.ask(Job::Gapless).await
    }

    /// A receipt.
    ///
    /// # Errors
    /// If the depot fails.
    pub async fn receipt(&self, device: Device, number: u64) -> io::Result<Option<Vec<u8>>> {
        self.ask(|reply| Job::Receipt(device, number, reply)).await
    }

    async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> io::Result<T> {
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the depot's thread has ended");
        let (reply, answer) = oneshot::channel();
        let mut job = job(reply);
        // The queue is short; where it is full the disk is the brake, and peers wait for it.
        loop {
            match self.jobs.try_send(job) {
                Ok(()) => break,
                Err(mpsc::TrySendError::Disconnected(_)) => return Err(gone()),
                Err(mpsc::TrySendError::Full(back)) => job = back,
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        answer.await.map_err(|_| gone())?
    }
}

/// A blob that is coming.
struct Coming<'a> {
    partial: Partial<'a>,
    have: Groups,
    len: u64,
    /// Bytes that a power cut would lose.
    unsynced: u64,
    synced: Instant,
}

/// Where the pieces of a slice are read from.
trait Source {
    /// The pair of a subtree; nothing if it is not here.
    fn pair(&self, at: &Subtree) -> io::Result<Option<[u8; PAIR_LEN]>>;

    /// Fills `bytes` with groups from `first` on: `false` if one of them is not here.
    fn groups(&self, first: u64, bytes: &mut [u8]) -> io::Result<bool>;
}

impl Source for Coming<'_> {
    fn pair(&self, at: &Subtree) -> io::Result<Option<[u8; PAIR_LEN]>> {
        self.partial.pair_at(at)
    }

    fn groups(&self, first: u64, bytes: &mut [u8]) -> io::Result<bool> {
        // That of an empty blob is there or not like any other.
        let count = bytes.len().div_ceil(GROUP_LEN).max(1) as u64;
        if !self.have.covers(&(first..first + count)) {
            return Ok(false);
        }
        self.partial.groups_at(first, bytes).map(|()| true)
    }
}

impl Source for Blob {
    fn pair(&self, at: &Subtree) -> io::Result<Option<[u8; PAIR_LEN]>> {
        self.pair_unverified(at).map_err(damaged)
    }

    fn groups(&self, first: u64, bytes: &mut [u8]) -> io::Result<bool> {
        // Verified here: a damaged disk must not make us a liar.
        self.read_at(first * GROUP_LEN as u64, bytes).map_err(damaged).map(|()| true)
    }
}

/// The bytes of these steps; nothing if one of them is not here. Groups that follow each other are
/// read at once, by way of `buffer`.
fn write_steps(
    source: &dyn Source,
    steps: &[Step],
    buffer: &mut [u8],
) -> io::Result<Option<Vec<u8>>> {
    let mut out = Vec::with_capacity(steps.iter().map(Step::size).sum());
    let mut read: &[u8] = &[];
    for (at, step) in steps.iter().enumerate() {
        match step {
            Step::Pair(at) => match source.pair(at)? {
                Some(pair) => out.extend_from_slice(&pair),
                None => return Ok(None),
            },
            Step::Group { index, len } => {
                if read.is_empty() {
                    let len = run_len(*index, &steps[at..]);
                    if !source.groups(*index, &mut buffer[..len])? {
                        return Ok(None);
                    }
                    read = &buffer[..len];
                }
                let (group, rest) = read.split_at(*len);
                out.extend_from_slice(group);
                read = rest;
            }
        }
    }
    Ok(Some(out))
}

/// Bytes of the groups from `first` on that follow each other, as many as are read at once.
fn run_len(first: u64, steps: &[Step]) -> usize {
    let groups = steps.iter().filter_map(|step| match step {
        Step::Group { index, len } => Some((*index, *len)),
        Step::Pair(_) => None,
    });
    let run = (first..).zip(groups).take(RUN_GROUPS).take_while(|(next, (at, _))| next == at);
    run.map(|(_, (_, len))| len).sum()
}

struct Thread<'a> {
    depot: &'a Depot,
    writer: Option<&'a Writer<'a>>,
    partials: BTreeMap<Digest, Coming<'a>>,
    /// Blobs that were read last, the newest first.
    open: VecDeque<(Digest, Arc<Blob>)>,
    /// To the thread that waits for the disk.
    syncs: mpsc::SyncSender<Arc<Files>>,
    /// Groups that are read at once.
    buffer: Vec<u8>,
}

impl<'a> Thread<'a> {
    fn new(depot: &'a Depot, writer: Option<&'a Writer<'a>>) -> Self {
        let (syncs, files) = mpsc::sync_channel::<Arc<Files>>(1);
        // Where there is no thread, nothing takes what is sent, and it is synced at the end alone.
        drop(thread::Builder::new().name("sync".into()).spawn(move || {
            for files in files {
                // What failed once fails again where it is asked for at the end.
                drop(files.sync());
            }
        }));
        let buffer = vec![0; RUN_GROUPS * GROUP_LEN];
        Self { depot, writer, partials: BTreeMap::new(), open: VecDeque::new(), syncs, buffer }
    }

    /// Works until nobody can ask any more. Who asked and has gone is not waited for.
    fn run(mut self, jobs: &mpsc::Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            match job {
                Job::Len(blob, reply) => send(reply, self.len(&blob)),
                Job::BlobLen(blob, reply) => {
                    let partial = self.partials.get(&blob).map(|coming| coming.len);
                    send(reply, partial.map_or_else(|| self.len(&blob), |len| Ok(Some(len))));
                }
                Job::Steps(blob, steps, reply) => send(reply, self.steps(&blob, &steps)),
                Job::Begin(blob, len, reply) => send(reply, self.begin(&blob, len)),
                Job::Keep(blob, pieces, reply) => send(reply, self.keep(&blob, &pieces)),
                Job::Finish(blob, reply) => send(reply, self.finish(&blob)),
                Job::Metadata(name, max, reply) => send(reply, self.depot.metadata(&name, max)),
                Job::Latest(groups, kept, reply) => {
                    send(reply, latest::files(self.depot, &groups, &kept));
                }
                Job::Mirror(files, reply) => send(reply, self.mirror(&files)),
                Job::Document(blob, bytes, reply) => send(reply, self.document(&blob, &bytes)),
                Job::PutReceipt(device, number, bytes, reply) => {
                    send(reply, self.put_receipt(&device, number, &bytes));
                }
                Job::Receipts(reply) => send(reply, self.receipts()),
                Job::Gapless(reply) => send(reply, self.gapless()),
                Job::Receipt(device, number, reply) => {
                    send(reply, self.depot.receipt(&device, number));
                }
            }
        }
        // What came is kept through a power cut that follows a clean end.
        for coming in self.partials.values() {
            drop(coming.partial.sync());
        }
    }

    fn blob(&mut self, digest: &Digest) -> io::Result<Option<Arc<Blob>>> {
        if let Some(at) = self.open.iter().position(|(open, _)| open == digest) {
            let entry = self.open.remove(at).expect("it was just found");
            self.open.push_front(entry);
            return Ok(Some(Arc::clone(&self.open[0].1)));
        }
        let blob = match self.depot.blob(digest) {
            // Cut short while it was given its names: it comes again.
            Err(BlobError::TreeMissing | BlobError::DataMissing { .. }) => return Ok(None),
            blob => blob.map_err(damaged)?,
        };
        let Some(blob) = blob else { return Ok(None) };
        self.open.truncate(OPEN_BLOBS - 1);
        self.open.push_front((*digest, Arc::new(blob)));
        Ok(Some(Arc::clone(&self.open[0].1)))
    }

    fn len(&mut self, digest: &Digest) -> io::Result<Option<u64>> {
        Ok(self.blob(digest)?.map(|blob| blob.len()))
    }

    fn steps(&mut self, digest: &Digest, steps: &[Step]) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let found = match self.partials.get(digest) {
            Some(coming) => write_steps(coming, steps, &mut buffer),
            None => match self.blob(digest)? {
                Some(blob) => write_steps(&*blob, steps, &mut buffer),
                None => Ok(None),
            },
        };
        self.buffer = buffer;
        found
    }

    fn begin(&mut self, digest: &Digest, len: u64) -> io::Result<Groups> {
        let count = neap_depot::tree::groups(len);
        if let Some(coming) = self.partials.get(digest) {
            return Ok(coming.have.clone());
        }
        if self.len(digest)? == Some(len) {
            return Ok(Groups::of(0..count));
        }
        let partial = self.writer()?.partial(digest, len)?;
        let mut have = Groups::of(0..count);
        for missing in partial.missing().map_err(damaged)? {
            let group = GROUP_LEN as u64;
            have.remove(&(missing.start / group..missing.end.div_ceil(group)));
        }
        if len == 0 {
            have.remove(&(0..1));
        }
        let coming =
            Coming { partial, have: have.clone(), len, unsynced: 0, synced: Instant::now() };
        self.partials.insert(*digest, coming);
        Ok(have)
    }

    fn keep(&mut self, digest: &Digest, pieces: &Pieces) -> io::Result<Kept> {
        let mut kept = Kept::default();
        // It may have become whole while this was on its way.
        let Some(coming) = self.partials.get_mut(digest) else { return Ok(kept) };
        let count = coming.partial.put(pieces.iter().map(|(step, bytes)| match step {
            Step::Pair(Subtree { first, groups, .. }) => {
                let pair = bytes.first_chunk().expect("a step of a pair has as many bytes");
                Piece::Pair { first, groups, pair }
            }
            Step::Group { index, .. } => Piece::Group { index, bytes },
        }))?;
        for (step, _) in pieces.iter().take(count) {
            if let Step::Group { index, len } = step {
                kept.groups.insert(index..index + 1);
                coming.unsynced += len as u64;
            }
        }
        kept.wrong = pieces.iter().nth(count).map(|(step, _)| match step {
            Step::Pair(at) => SliceError::Pair { first: at.first },
            Step::Group { index, .. } => SliceError::Group { index },
        });
        coming.have.extend(&kept.groups);
        if coming.unsynced >= SYNC_EVERY
            && coming.synced.elapsed() >= SYNC_TIME
            && self.syncs.try_send(Arc::clone(coming.partial.files())).is_ok()
        {
            (coming.unsynced, coming.synced) = (0, Instant::now());
        }
        Ok(kept)
    }

    fn finish(&mut self, digest: &Digest) -> io::Result<bool> {
        let Some(Coming { partial, .. }) = self.partials.remove(digest) else {
            return Ok(self.len(digest)?.is_some());
        };
        let is_whole = partial.finish().map_err(damaged)?;
        if is_whole {
            self.writer()?.hold()?;
        }
        Ok(is_whole)
    }

    fn writer(&self) -> io::Result<&'a Writer<'a>> {
        self.writer.ok_or_else(|| io::Error::other("this node only reads its depot"))
    }

    fn mirror(&self, files: &[(String, Vec<u8>)]) -> io::Result<()> {
        self.writer()?.mirror(files).map_err(|error| io::Error::other(error.to_string()))
    }

    fn document(&self, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
        use neap_depot::writer::Present;
        let (len, mut input) = (bytes.len() as u64, bytes);
        let added = self.writer()?.add_known(digest, len, &mut input, Present::Trust);
        added.map(|_| ()).map_err(|error| io::Error::other(error.to_string()))
    }

    fn put_receipt(&self, device: &Device, number: u64, bytes: &[u8]) -> io::Result<bool> {
        if let Some(writer) = self.writer {
            return writer.keep_receipt(device, number, bytes);
        }
        let writer = self.depot.writer("neap serve, keeping a receipt");
        let busy = |error: neap_depot::store::LockError| {
            io::Error::new(io::ErrorKind::ResourceBusy, error.to_string())
        };
        writer.map_err(busy)?.keep_receipt(device, number, bytes)
    }

    fn receipts(&self) -> io::Result<Vec<(Device, u64)>> {
        let all = self.depot.receipts()?.into_iter();
        Ok(all.filter_map(|(device, numbers)| Some((device, *numbers.last()?))).collect())
    }

    fn gapless(&self) -> io::Result<Vec<(Device, u64)>> {
        let all = self.depot.receipts()?.into_iter();
        let run =
            |numbers: &[u64]| (1..).zip(numbers).take_while(|(n, number)| n == *number).count();
        Ok(all.map(|(device, numbers)| (device, run(&numbers) as u64)).collect())
    }
}

fn send<T>(reply: Reply<T>, answer: io::Result<T>) {
    // Who asked may have gone.
    drop(reply.send(answer));
}

fn damaged(error: BlobError) -> io::Error {
    match error {
        BlobError::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
    }
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shelf")
    }
}

/// Jobs that may wait: each holds at most what one piece of a request does.
const JOBS: usize = 64;

/// Groups that are read at once, at the most.
const RUN_GROUPS: usize = 8;

/// Blobs that are kept open.
const OPEN_BLOBS: usize = 8;

/// A power cut loses at most this much of what came, in bytes, or what came in [`SYNC_TIME`].
const SYNC_EVERY: u64 = 4 << 20;

/// How often at the most is waited for the disk: what comes so fast comes again as fast.
const SYNC_TIME: Duration = Duration::from_secs(1);
