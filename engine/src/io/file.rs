//! Regular files and block devices.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use rustix::fs::{Advice, FallocateFlags, FlockOperation, OFlags};

use super::{JournalStore, Patch, Source, Target};
use crate::journal::{SLOT_COUNT, SLOT_LEN, SLOT_STRIDE};
use crate::limits::READ_LEN;
use crate::window::Verified;

/// Zeros are looked for, and left out where the device can, in pieces of this many bytes.
const ZERO_PIECE: usize = 64 << 10;

/// What direct I/O must be aligned to, in bytes: the largest logical sector in use.
const DIRECT_ALIGN: usize = 4096;

/// A source image: a regular file or block device, opened for reading.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    size: u64,
}

impl FileSource {
    /// Opens the image. A mounted device is fine: it is only read, and checked first.
    ///
    /// # Errors
    /// If it cannot be opened or is neither a regular file nor a block device.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let size = image_size(&mut file)?;
        Ok(Self { file, size })
    }

    /// Whether this is the same file or device as the other, or one holds the other, as a partition
    /// or as the file behind a loop device.
    ///
    /// # Errors
    /// If either cannot be looked at.
    pub fn is_same(&self, path: &Path) -> io::Result<bool> {
        match fs::metadata(path) {
            Ok(other) => {
                let this = self.file.metadata()?;
                Ok(identity(&this) == identity(&other)
                    || is_part(&this, &other)
                    || is_behind(&this, &other)
                    || is_behind(&other, &this))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Source for FileSource {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, offset)
    }
}

/// A device has one identity however many nodes name it; a file is its place on a file system.
fn identity(metadata: &fs::Metadata) -> (bool, u64, u64) {
    if metadata.file_type().is_block_device() {
        (true, metadata.rdev(), 0)
    } else {
        (false, metadata.dev(), metadata.ino())
    }
}

/// Whether one of two block devices is a partition of the other: in sysfs its folder lies within.
fn is_part(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    match (sysfs_folder(a), sysfs_folder(b)) {
        (Some(a), Some(b)) => a.starts_with(&b) || b.starts_with(&a),
        _ => false,
    }
}

/// Whether the file is what a loop device, or a partition of one, stores its blocks in.
fn is_behind(file: &fs::Metadata, device: &fs::Metadata) -> bool {
    let Some(folder) = sysfs_folder(device) else { return false };
    let disks = [Some(folder.as_path()), folder.parent()];
    let stored = disks.into_iter().flatten().find_map(|disk| {
        let path = fs::read_to_string(disk.join("loop/backing_file")).ok()?;
        fs::metadata(path.trim_end_matches('\n')).ok()
    });
    stored.is_some_and(|stored| identity(&stored) == identity(file))
}

/// Where sysfs describes a block device; a partition lies in the folder of its disk.
fn sysfs_folder(device: &fs::Metadata) -> Option<PathBuf> {
    let (major, minor) = (rustix::fs::major(device.rdev()), rustix::fs::minor(device.rdev()));
    let is_device = device.file_type().is_block_device();
    is_device.then(|| fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok())?
}

/// The size of a regular file or block device, in bytes.
fn image_size(file: &mut File) -> io::Result<u64> {
    let kind = file.metadata()?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        let message = "neither a regular file nor a block device";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    // The end of a block device is what BLKGETSIZE64 says.
    file.seek(SeekFrom::End(0))
}

/// A target: a regular file, made if missing, or a block device nobody else uses.
#[derive(Debug)]
pub struct FileTarget {
    file: File,
    /// The same file, opened past the page cache; `None` where the file system cannot.
    direct: Option<File>,
    size: u64,
    is_device: bool,
    can_zero: bool,
}

impl FileTarget {
    /// Opens the target for this process alone.
    ///
    /// # Errors
    /// `ResourceBusy` if it is mounted or in use, or whatever else the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let is_device = fs::metadata(path).is_ok_and(|m| m.file_type().is_block_device());
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        if is_device {
            // For a block device O_EXCL without O_CREAT refuses mounted and claimed ones, open(2).
            options.custom_flags(flag_bits(OFlags::EXCL));
        } else {
            options.create(true).truncate(false);
        }
        let mut file = options.open(path)?;
        let size = image_size(&mut file)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| io::Error::from(io::ErrorKind::ResourceBusy))?;
        let direct = OpenOptions::new()
            .read(true)
            .custom_flags(flag_bits(OFlags::DIRECT))
            .open(format!("/proc/self/fd/{}", file.as_raw_fd()))
            .ok();
        let size = if is_device { size } else { u64::MAX };
        Ok(Self { file, direct, size, is_device, can_zero: true })
    }

    fn write_zeros(&mut self, offset: u64, len: usize) -> io::Result<bool> {
        if !self.can_zero {
            return Ok(false);
        }
        let flags = if self.is_device {
            FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE
        } else {
            FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE
        };
        match rustix::fs::fallocate(&self.file, flags, offset, len as u64) {
            Ok(()) => Ok(true),
            // Not every file system or device can; plain writes always can.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                self.can_zero = false;
                Ok(false)
            }
            // A device refuses what is not whole sectors: the end of an odd image.
            Err(rustix::io::Errno::INVAL) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Target for FileTarget {
    fn size(&self) -> u64 {
        self.size
    }

    fn resize(&mut self, size: u64) -> io::Result<()> {
        if self.is_device || self.file.metadata()?.len() == size {
            return Ok(());
        }
        self.file.set_len(size)
    }

    fn write(&mut self, window: &Verified) -> io::Result<()> {
        let bytes = window.bytes();
        let mut at = 0;
        while at < bytes.len() {
            let zeros = run_len(&bytes[at..], true);
            if zeros > 0 && self.write_zeros(window.offset() + at as u64, zeros)? {
                at += zeros;
                continue;
            }
            let len = zeros + run_len(&bytes[at + zeros..], false);
            self.file.write_all_at(&bytes[at..at + len], window.offset() + at as u64)?;
            at += len;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn read_back(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        if let Some(direct) = &self.direct
            && read_direct(direct, offset, into).is_ok()
        {
            return Ok(());
        }
        // Without direct I/O, dropping clean pages is the next best thing.
        let len = std::num::NonZeroU64::new(into.len() as u64);
        rustix::fs::fadvise(&self.file, offset, len, Advice::DontNeed)?;
        self.file.read_exact_at(into, offset)
    }

    fn read_written(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, offset)
    }
}

/// Length of the run of zero pieces, or of other pieces, at the front of `bytes`.
fn run_len(bytes: &[u8], zeros: bool) -> usize {
    static ZEROS: [u8; ZERO_PIECE] = [0; ZERO_PIECE];
    let pieces =
        bytes.chunks(ZERO_PIECE).take_while(|piece| (*piece == &ZEROS[..piece.len()]) == zeros);
    pieces.map(<[u8]>::len).sum()
}

/// Reads past the page cache through an aligned buffer.
fn read_direct(file: &File, offset: u64, into: &mut [u8]) -> io::Result<()> {
    let mut buffer = vec![0; READ_LEN + DIRECT_ALIGN];
    let start = buffer.as_ptr().align_offset(DIRECT_ALIGN);
    let aligned = &mut buffer[start..start + READ_LEN];
    let mut at = 0;
    while at < into.len() {
        let count = file.read_at(aligned, offset + at as u64)?;
        let len = count.min(into.len() - at);
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        into[at..at + len].copy_from_slice(&aligned[..len]);
        at += len;
    }
    Ok(())
}

fn flag_bits(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

/// A patch in a file, which can be skipped through, or from a pipe, which is read ahead.
#[derive(Debug)]
pub enum PatchInput {
    /// A regular file.
    File(File),
    /// Blocks that a thread reads ahead.
    Pipe(ReadAhead),
}

impl PatchInput {
    /// Opens a patch file.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.is_file() {
            rustix::fs::fadvise(&file, 0, None, Advice::Sequential)?;
            return Ok(Self::File(file));
        }
        Ok(Self::pipe(file))
    }

    /// Reads a patch from a pipe, on a thread of its own.
    pub fn pipe(from: impl Read + Send + 'static) -> Self {
        Self::Pipe(ReadAhead::new(from))
    }
}

impl Patch for PatchInput {
    fn read(&mut self, into: &mut [u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.read_exact(into),
            Self::Pipe(pipe) => pipe.read_exact(into),
        }
    }

    fn skip_to(&mut self, offset: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.seek(SeekFrom::Start(offset)).map(drop),
            Self::Pipe(pipe) => {
                let ahead = offset.checked_sub(pipe.passed).ok_or(io::ErrorKind::InvalidInput)?;
                match io::copy(&mut pipe.by_ref().take(ahead), &mut io::sink())? {
                    skipped if skipped == ahead => Ok(()),
                    _ => Err(io::ErrorKind::UnexpectedEof.into()),
                }
            }
        }
    }
}

/// Reads a pipe one block ahead, so that a slow link and a slow device do not wait for each other.
#[derive(Debug)]
pub struct ReadAhead {
    blocks: mpsc::Receiver<io::Result<Vec<u8>>>,
    block: Vec<u8>,
    at: usize,
    passed: u64,
}

impl ReadAhead {
    fn new(mut from: impl Read + Send + 'static) -> Self {
        let (send, blocks) = mpsc::sync_channel(1);
        thread::spawn(move || {
            loop {
                let mut block = Vec::new();
                let read = from.by_ref().take(READ_LEN as u64).read_to_end(&mut block);
                let last = !matches!(read, Ok(len) if len > 0);
                if send.send(read.map(|_| block)).is_err() || last {
                    return;
                }
            }
        });
        Self { blocks, block: Vec::new(), at: 0, passed: 0 }
    }
}

impl Read for ReadAhead {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() {
            // A closed channel is the end, as an empty block is.
            self.block = self.blocks.recv().unwrap_or_else(|_| Ok(Vec::new()))?;
            self.at = 0;
        }
        let len = into.len().min(self.block.len() - self.at);
        into[..len].copy_from_slice(&self.block[self.at..self.at + len]);
        self.at += len;
        self.passed += len as u64;
        Ok(len)
    }
}

/// A journal in a state directory, one file for each target.
#[derive(Debug)]
pub struct FileJournal {
    directory: PathBuf,
    path: PathBuf,
    file: Option<File>,
    /// Whether this process has flushed the file's name.
    is_named: bool,
}

impl FileJournal {
    /// The journal of `target` in `directory`, which is made if missing.
    ///
    /// # Errors
    /// If the directory cannot be made or the target's path has no absolute form.
    pub fn open(directory: &Path, target: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let target = fs::canonicalize(target)?;
        let name = blake3::hash(target.as_os_str().as_encoded_bytes()).to_hex();
        let path = directory.join(format!("apply-{}.journal", &name[..16]));
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self { directory: directory.to_path_buf(), path, file, is_named: false })
    }

    /// Where the journal is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }
}

impl JournalStore for FileJournal {
    fn load(&mut self) -> io::Result<Vec<[u8; SLOT_LEN]>> {
        let mut slots: Vec<_> = (0..SLOT_COUNT).map(|_| [0; SLOT_LEN]).collect();
        if let Some(file) = &self.file {
            for (index, slot) in (0..).zip(&mut slots) {
                match file.read_exact_at(slot, index * SLOT_STRIDE) {
                    Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                        return Err(error);
                    }
                    _ => {}
                }
            }
        }
        Ok(slots)
    }

    fn store(&mut self, index: u64, slot: &[u8; SLOT_LEN]) -> io::Result<()> {
        if self.file.is_none() {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            let file = options.open(&self.path)?;
            file.set_len((SLOT_COUNT - 1) * SLOT_STRIDE + SLOT_LEN as u64)?;
            self.file = Some(file);
        }
        let file = self.file.as_ref().expect("the journal was opened just before");
        if !self.is_named {
            // A run before this one may have been killed between making the file and its name.
            file.sync_all()?;
            self.sync_directory()?;
            self.is_named = true;
        }
        file.write_all_at(slot, index * SLOT_STRIDE)?;
        file.sync_data()
    }

    fn remove(&mut self) -> io::Result<()> {
        if self.file.take().is_some() {
            fs::remove_file(&self.path)?;
            self.sync_directory()?;
        }
        Ok(())
    }
}
