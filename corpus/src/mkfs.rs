//! File system images whose bytes depend only on the tree: fixed identifiers, seeds and times.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use crate::error::CorpusError;
use crate::process::run;
use crate::tree::EPOCH;

/// Makes an ext4 image of `size_mib` MiB with 4 KiB blocks.
pub(crate) fn ext4(tree: &Path, size_mib: u64, output: &Path) -> Result<(), CorpusError> {
    let options = format!("hash_seed={ID},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0");
    run(Command::new("mkfs.ext4")
        .env("E2FSPROGS_FAKE_TIME", EPOCH)
        .args(["-q", "-F", "-b", "4096", "-I", "256", "-L", "root", "-U", ID, "-E", &options])
        .arg("-d")
        .arg(tree)
        .arg(output)
        .arg(format!("{size_mib}M")))?;
    fix_ext4_times(output)?;
    run(Command::new("e2fsck").env("E2FSPROGS_FAKE_TIME", EPOCH).args(["-fn"]).arg(output))
        .map(drop)
}

/// Makes an erofs image; `packer` is `none` or `lz4hc`.
pub(crate) fn erofs(tree: &Path, packer: &str, output: &Path) -> Result<(), CorpusError> {
    let mut command = Command::new("mkfs.erofs");
    command.args(["--quiet", "--all-root", "-T", EPOCH, "-U", ID]);
    if packer != "none" {
        command.arg(format!("-z{packer}"));
    }
    run(command.arg(output).arg(tree)).map(drop)
}

/// Makes a squashfs image with blocks of 128 KiB.
pub(crate) fn squashfs(tree: &Path, packer: &str, output: &Path) -> Result<(), CorpusError> {
    run(Command::new("mksquashfs")
        .arg(tree)
        .arg(output)
        .args(["-noappend", "-quiet", "-no-progress", "-reproducible", "-all-root"])
        .args(["-all-time", EPOCH, "-mkfs-time", EPOCH, "-comp", packer]))
    .map(drop)
}

/// Puts a hash tree behind an image, and parity of two roots behind that. The salt is another one
/// for each image, as it is where it is drawn by chance.
pub(crate) fn add_verity(image: &Path) -> Result<(), CorpusError> {
    let bytes = fs::read(image).map_err(CorpusError::io(image))?;
    let block_count = (bytes.len() as u64).div_ceil(VERITY_BLOCK_LEN);
    let hash_offset = block_count * VERITY_BLOCK_LEN;
    let file = fs::OpenOptions::new().write(true).open(image).map_err(CorpusError::io(image))?;
    file.set_len(hash_offset).map_err(CorpusError::io(image))?;
    let parity = image.with_extension("parity");
    run(Command::new("veritysetup")
        .arg("format")
        .arg(image)
        .arg(image)
        .arg(format!("--hash-offset={hash_offset}"))
        .arg(format!("--data-blocks={block_count}"))
        .arg(format!("--salt={}", blake3::hash(&bytes)))
        .arg(format!("--uuid={ID}"))
        .arg(format!("--fec-device={}", parity.display())))?;
    let mut file =
        fs::OpenOptions::new().append(true).open(image).map_err(CorpusError::io(image))?;
    let bytes = fs::read(&parity).map_err(CorpusError::io(&parity))?;
    file.write_all(&bytes).map_err(CorpusError::io(image))?;
    fs::remove_file(&parity).map_err(CorpusError::io(&parity))
}

/// Length of the blocks that dm-verity has digests of, in bytes.
const VERITY_BLOCK_LEN: u64 = 4096;

/// Sets change and access times, which mkfs.ext4 1.47.0 copies from the tree on this machine.
fn fix_ext4_times(image: &Path) -> Result<(), CorpusError> {
    let header = run(Command::new("dumpe2fs").arg("-h").arg(image))?;
    let field = |name: &str| -> Option<u64> {
        header.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    };
    let used_count = field("Inode count:")
        .zip(field("Free inodes:"))
        .and_then(|(all, free)| all.checked_sub(free))
        .ok_or_else(|| CorpusError::ToolFailed {
            command: "dumpe2fs -h".into(),
            said: "no inode counts in its answer".into(),
        })?;
    // Inode 2 is the root; a fresh file system gives its files 11 and up without a gap.
    let mut script = String::new();
    for inode in std::iter::once(2).chain(11..=used_count) {
        for time in ["ctime", "atime"] {
            // Writing to a String cannot fail.
            writeln!(script, "set_inode_field <{inode}> {time} @{EPOCH}").unwrap_or_default();
        }
    }
    let path = image.with_extension("debugfs");
    fs::write(&path, script).map_err(CorpusError::io(&path))?;
    let arguments = ["-w", "-f"];
    run(Command::new("debugfs")
        .env("E2FSPROGS_FAKE_TIME", EPOCH)
        .args(arguments)
        .arg(&path)
        .arg(image))?;
    fs::remove_file(&path).map_err(CorpusError::io(&path))
}

/// The identifier and hash seed of every image.
const ID: &str = "6e656170-636f-7270-7573-000000000001";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ext4_image_does_not_depend_on_when_its_tree_was_written() {
        if run(Command::new("mkfs.ext4").arg("-V")).is_err() {
            return;
        }
        let base = std::env::temp_dir().join(format!("neap-mkfs-{}", std::process::id()));
        let images = ["a", "b"].map(|name| {
            let tree = base.join(name);
            fs::create_dir_all(tree.join("etc")).unwrap();
            fs::write(tree.join("etc/hostname"), "ship\n").unwrap();
            std::os::unix::fs::symlink("etc", tree.join("link")).unwrap();
            crate::tree::fix_times(&tree).unwrap();
            // Change times have whole seconds in the image: let the clock pass one.
            std::thread::sleep(std::time::Duration::from_millis(1100));
            let image = base.join(format!("{name}.img"));
            ext4(&tree, 4, &image).unwrap();
            fs::read(&image).unwrap()
        });
        assert!(images[0] == images[1], "two images of equal trees differ");
        fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn a_tree_and_parity_are_put_behind_an_image() {
        if run(Command::new("veritysetup").arg("--version")).is_err() {
            return;
        }
        let image = std::env::temp_dir().join(format!("neap-verity-{}", std::process::id()));
        let made = [(); 2].map(|()| {
            fs::write(&image, [7; 5000]).unwrap();
            add_verity(&image).unwrap();
            fs::read(&image).unwrap()
        });
        fs::remove_file(&image).unwrap();
        // Two blocks of data, the superblock, the tree, and two bytes for each code.
        assert_eq!(made[0].len(), 4096 * 6);
        assert!(made[0][8192..].starts_with(b"verity\0\0") && made[0] == made[1]);
    }
}
