//! Files of a patch under construction: nameless frames, then a whole patch, then its name.
//!
//! A killed diff leaves nothing behind.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use neap_engine::io::Spool;

/// Coded frames in a file without a name, in the folder where the patch will be.
#[derive(Debug)]
pub struct FileSpool {
    file: BufWriter<File>,
    /// Where in the file the frames that count start.
    start: u64,
}

impl FileSpool {
    /// An empty one, in the folder where the patch will be.
    ///
    /// # Errors
    /// What the file system says.
    pub fn new(folder: &Path) -> io::Result<Self> {
        Ok(Self { file: BufWriter::new(tempfile::tempfile_in(folder)?), start: 0 })
    }

    /// Writes `header` and the frames to `output`, which is replaced in one step, and flushed.
    ///
    /// # Errors
    /// What the file system says.
    pub fn publish(self, header: &[u8], output: &Path) -> io::Result<()> {
        let folder = folder_of(output);
        let mut named = tempfile::Builder::new()
            .prefix(".neap-")
            // What the umask leaves of it, as for any other file a program makes.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(&folder)?;
        self.write_to(header, named.as_file_mut())?;
        named.as_file().sync_all()?;
        named.persist(output)?;
        File::open(&folder)?.sync_all()
    }

    /// A file without a name of `header` and the frames, to be read from its start.
    ///
    /// # Errors
    /// What the file system says.
    pub fn nameless(self, header: &[u8], folder: &Path) -> io::Result<File> {
        let mut whole = tempfile::tempfile_in(folder)?;
        self.write_to(header, &mut whole)?;
        whole.seek(SeekFrom::Start(0))?;
        Ok(whole)
    }

    fn write_to(self, header: &[u8], whole: &mut File) -> io::Result<()> {
        let mut frames = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        frames.seek(SeekFrom::Start(self.start))?;
        whole.write_all(header)?;
        io::copy(&mut frames, whole).map(drop)
    }
}

impl Spool for FileSpool {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn keep(&mut self, range: Range<u64>) -> io::Result<()> {
        self.file.flush()?;
        let end = self.start + range.end;
        self.start += range.start;
        self.file.get_ref().set_len(end)?;
        self.file.seek(SeekFrom::Start(end)).map(drop)
    }
}

/// Where `output` really is: behind links, if it is there.
#[must_use]
pub fn resolved(output: &Path) -> PathBuf {
    fs::canonicalize(output).unwrap_or_else(|_| output.to_path_buf())
}

/// The folder that a file is in.
#[must_use]
pub fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spool_keeps_what_a_spool_in_memory_keeps() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut file = FileSpool::new(folder.path()).expect("a spool");
        let mut memory = Vec::new();
        let spools: [&mut dyn Spool; 2] = [&mut file, &mut memory];
        for spool in spools {
            spool.append(b"0123456789").expect("room");
            spool.keep(2..9).expect("kept");
            spool.append(b"abc").expect("room");
            spool.keep(1..9).expect("kept");
        }
        let output = folder.path().join("patch");
        file.publish(b"H", &output).expect("published");
        assert_eq!(fs::read(&output).expect("read"), [b"H", &memory[..]].concat());
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1);
    }
}
