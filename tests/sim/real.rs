//! Real devices for tests run as root.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{error, fmt};

use crate::random::Random;

/// Why something real could not be had.
#[derive(Debug)]
pub struct Missing(String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl error::Error for Missing {}

impl From<io::Error> for Missing {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// Runs a command to its end; what it prints, if it succeeds.
///
/// # Errors
/// If it cannot be started or fails.
pub fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Result<String, Missing> {
    let said = |error| Missing(format!("{program}: {error}"));
    let output = Command::new(program).args(arguments).output().map_err(said)?;
    if !output.status.success() {
        return Err(Missing(format!("{program}: {}", stderr(&output))));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// What a command complained about.
#[must_use]
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

/// A folder that is emptied first and removed at the end.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes the folder.
    ///
    /// # Errors
    /// What the file system says.
    pub fn new(path: PathBuf) -> io::Result<Self> {
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// A path in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A source image, a target image, and the patch between them, as files.
#[derive(Debug)]
pub struct Images {
    /// The source.
    pub source: PathBuf,
    /// The bytes of the target.
    pub target: Vec<u8>,
    /// The patch.
    pub patch: PathBuf,
}

impl Images {
    /// Images of `size` bytes that share most of what is in them, and the patch `neap` makes.
    ///
    /// # Errors
    /// If the patch cannot be made.
    pub fn new(neap: &Path, folder: &Folder, size: usize) -> Result<Self, Missing> {
        const PIECE: usize = 64 << 10;
        let mut random = Random::new(96);
        let source_bytes = random.bytes(size);
        let mut target = Vec::with_capacity(size);
        while target.len() < size {
            let len = (1 + random.index(4 * PIECE)).min(size - target.len());
            let from = random.index(size - len);
            let start = target.len();
            match random.below(5) {
                0 => target.extend(random.bytes(len)),
                1 => target.resize(start + len, 0),
                _ => target.extend(&source_bytes[from..from + len]),
            }
            for _ in 0..len / PIECE {
                target[start + random.index(len)] ^= 0x55;
            }
        }
        let (source, made) = (folder.path("source"), folder.path("target"));
        let patch = folder.path("patch");
        fs::write(&source, source_bytes)?;
        fs::write(&made, &target)?;
        let (source_name, target_name) = (source.as_os_str(), made.as_os_str());
        let diff = [OsStr::new("diff"), source_name, target_name, OsStr::new("--effort")];
        let output = [OsStr::new("1"), OsStr::new("--output"), patch.as_os_str()];
        run(&neap.display().to_string(), &[&diff[..], &output].concat())?;
        fs::remove_file(&made)?;
        Ok(Self { source, target, patch })
    }

    /// `neap apply` of the patch to `target`, not started yet.
    #[must_use]
    pub fn apply(&self, neap: &Path, target: &Path, state: &Path) -> Command {
        let mut command = Command::new(neap);
        command.arg("apply").arg(&self.patch).arg("--source").arg(&self.source);
        command.arg("--target").arg(target).arg("--state").arg(state).arg("--json");
        command
    }

    /// Whether a file or device begins with the target.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn is_target(&self, path: &Path) -> io::Result<bool> {
        let mut bytes = vec![0; self.target.len()];
        File::open(path)?.read_exact(&mut bytes)?;
        Ok(bytes == self.target)
    }
}

/// A loop device over a file.
#[derive(Debug)]
pub struct LoopDevice(PathBuf);

impl LoopDevice {
    /// Takes a free loop device.
    ///
    /// # Errors
    /// If there is none, or this is not root.
    pub fn new(file: &Path) -> Result<Self, Missing> {
        let arguments = [OsStr::new("--find"), OsStr::new("--show"), file.as_os_str()];
        run("losetup", &arguments).map(|path| Self(path.into()))
    }

    /// Its node.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        drop(run("losetup", &[OsStr::new("--detach"), self.0.as_os_str()]));
    }
}

/// A file system in memory with little room.
#[derive(Debug)]
pub struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Mounts one of `size` bytes.
    ///
    /// # Errors
    /// If it cannot be mounted, or this is not root.
    pub fn new(path: PathBuf, size: usize) -> Result<Self, Missing> {
        fs::create_dir_all(&path)?;
        let options = format!("size={size}");
        let arguments = ["-t", "tmpfs", "-o", &options, "tmpfs"].map(OsStr::new);
        run("mount", &[&arguments[..], &[path.as_os_str()]].concat())?;
        Ok(Self(path))
    }

    /// Gives it another size.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn resize(&self, size: usize) -> Result<(), Missing> {
        let options = format!("remount,size={size}");
        run("mount", &[OsStr::new("-o"), OsStr::new(&options), self.0.as_os_str()]).map(drop)
    }

    /// A path in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // A loop device over a file in it may be let go of a moment later.
        drop(run("umount", &[OsStr::new("--lazy"), self.0.as_os_str()]));
    }
}

/// The file system of a device, mounted.
#[derive(Debug)]
pub struct Mounted(PathBuf);

impl Mounted {
    /// Mounts it in a folder.
    ///
    /// # Errors
    /// If it cannot be mounted, or this is not root.
    pub fn new(device: &Path, path: PathBuf) -> Result<Self, Missing> {
        fs::create_dir_all(&path)?;
        run("mount", &[device.as_os_str(), path.as_os_str()])?;
        Ok(Self(path))
    }

    /// A path in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(run("umount", &[self.0.as_os_str()]));
    }
}
