//! Files of a patch under construction: nameless frames, then a whole patch, then its name.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use neap_engine::io::Spool;

/// Coded frames in a file without a name, in the folder where the patch will be.
#[derive(Debug)]
pub(crate) struct FileSpool {
    file: BufWriter<File>,
    /// Where in the file the frames that count start.
    start: u64,
}

impl FileSpool {
    pub(crate) fn new(folder: &Path) -> io::Result<Self> {
        Ok(Self { file: BufWriter::new(tempfile::tempfile_in(folder)?), start: 0 })
    }

    /// Writes `header` and the frames to `output`, which is replaced in one step, and flushed.
    pub(crate) fn publish(self, header: &[u8], output: &Path) -> io::Result<()> {
        let mut frames = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        frames.seek(SeekFrom::Start(self.start))?;
        let folder = folder_of(output);
        let mut named = tempfile::Builder::new()
            .prefix(".neap-")
            // What the umask leaves of it, as for any other file a program makes.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(&folder)?;
        named.write_all(header)?;
        io::copy(&mut frames, named.as_file_mut())?;
        named.as_file().sync_all()?;
        named.persist(output)?;
        File::open(&folder)?.sync_all()
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
pub(crate) fn resolved(output: &Path) -> PathBuf {
    fs::canonicalize(output).unwrap_or_else(|_| output.to_path_buf())
}

/// The folder that a file is in.
pub(crate) fn folder_of(path: &Path) -> PathBuf {
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
