//! Folders as archives: one folder has one archive, byte for byte, wherever and whenever it is
//! packed. So an application in a folder is released like an image, and a device packs what it has
//! to be the source of a patch.
//!
//! The archive is a tar file (POSIX.1-1988 ustar, with GNU long names). Entries are in order of
//! their paths' bytes. Kept are names, content, symbolic links and the permission bits; owners,
//! times and extended attributes are not. Hard links become files of their own. Anything else, such
//! as a device or a socket, is refused.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

/// Most entries of an archive.
pub const ENTRIES_MAX: usize = 1 << 20;

/// Packs a folder.
///
/// # Errors
/// If it cannot be read, changes meanwhile, or holds what is not packed: the error names it.
pub fn pack(folder: &Path, output: impl Write) -> io::Result<()> {
    let mut builder = Builder::new(output);
    // Paths below the folder, the next one last.
    let mut open = vec![PathBuf::new()];
    let mut count = 0_usize;
    while let Some(path) = open.pop() {
        let whole = folder.join(&path);
        let metadata = fs::symlink_metadata(&whole).map_err(|error| named(&whole, &error))?;
        count += 1;
        if count > ENTRIES_MAX {
            return Err(io::Error::other(format!("more than {ENTRIES_MAX} entries")));
        }
        if metadata.is_dir() {
            let mut names = names(&whole).map_err(|error| named(&whole, &error))?;
            // The last in order is pushed first.
            names.sort_unstable_by(|a, b| b.cmp(a));
            open.extend(names.into_iter().map(|name| path.join(name)));
        }
        // The folder itself has no name in the archive.
        if !path.as_os_str().is_empty() {
            append(&mut builder, &path, &whole, &metadata)
                .map_err(|error| named(&whole, &error))?;
        }
    }
    builder.into_inner()?.flush()
}

fn append(
    builder: &mut Builder<impl Write>,
    path: &Path,
    whole: &Path,
    metadata: &Metadata,
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(metadata.permissions().mode() & 0o7777);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    if metadata.is_file() {
        header.set_entry_type(EntryType::Regular);
        header.set_size(metadata.len());
        // The archive tells the length first; a file that grew or shrank would shift all behind.
        let mut content = Exactly { file: File::open(whole)?, left: metadata.len() };
        builder.append_data(&mut header, path, &mut content)
    } else if metadata.is_dir() {
        header.set_entry_type(EntryType::Directory);
        builder.append_data(&mut header, path, io::empty())
    } else if metadata.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
        header.set_mode(0o777);
        builder.append_link(&mut header, path, fs::read_link(whole)?)
    } else {
        Err(io::Error::other("neither file, folder nor symbolic link"))
    }
}

fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    let entries = fs::read_dir(folder)?.take(ENTRIES_MAX + 1);
    entries.map(|entry| entry.map(|entry| entry.file_name())).collect()
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// A file of just this length.
struct Exactly {
    file: File,
    left: u64,
}

impl io::Read for Exactly {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(into.len());
        let len = self.file.read(&mut into[..wanted])?;
        self.left -= len as u64;
        if len == 0 && wanted > 0 {
            return Err(io::Error::other("became shorter while it was packed"));
        }
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn packed(folder: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        pack(folder, &mut bytes).map(|()| bytes)
    }

    fn fill(folder: &Path, names: &[&str]) {
        for name in names {
            fs::create_dir_all(folder.join("models")).expect("a folder");
            fs::write(folder.join(name), name).expect("a file");
            let mode = fs::Permissions::from_mode(0o640);
            fs::set_permissions(folder.join(name), mode).expect("its mode");
        }
        symlink("a", folder.join("link")).expect("a link");
    }

    // Folders list in the order in which the disk has them.
    #[test]
    fn one_folder_has_one_archive_whatever_the_order_it_was_filled_in() {
        let [one, other] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
        fill(one.path(), &["a", "models/x", "models/y", "models.txt"]);
        fill(other.path(), &["models.txt", "models/y", "a", "models/x"]);
        let archive = packed(one.path()).expect("packed");
        assert_eq!(archive, packed(other.path()).expect("packed"));
        fs::write(other.path().join("models/x"), "other").expect("a file");
        assert_ne!(archive, packed(other.path()).expect("packed"));
    }

    #[test]
    fn archive_holds_names_content_links_and_modes() {
        let folder = tempfile::tempdir().expect("a folder");
        let long = format!("models/{}", "n".repeat(200));
        fill(folder.path(), &["a", &long]);
        let archive = packed(folder.path()).expect("packed");
        let mut archive = tar::Archive::new(&archive[..]);
        let entries = archive.entries().expect("entries").map(|entry| {
            let entry = entry.expect("an entry");
            let path = entry.path().expect("a path").display().to_string();
            (path, entry.header().mode().expect("a mode"), entry.size())
        });
        let expected =
            [("a", 0o640, 1), ("link", 0o777, 0), ("models", 0o755, 0), (&long, 0o640, 207)];
        let expected = expected.map(|(path, mode, size)| (path.to_owned(), mode, size));
        let found: Vec<_> = entries.collect();
        let plain = |(path, mode, size): &(String, u32, u64)| {
            (path.trim_end_matches('/').to_owned(), *mode, *size)
        };
        assert_eq!(found.iter().map(plain).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn sockets_are_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = UnixListener::bind(folder.path().join("socket")).expect("a socket");
        let refused = packed(folder.path()).expect_err("refused").to_string();
        assert!(refused.contains("socket: neither file, folder nor symbolic link"), "{refused}");
        drop(socket);
    }
}
