//! A disk that took what it cannot write: the system goes on showing it, until it needs the memory.

use std::error::Error;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use neap_depot::depot::Depot;
use neap_depot::limits::GROUP_LEN;
use neap_depot::tree::{Builder, Subtree};
use neap_sim::real::{Folder, LoopDevice, Mounted, Tmpfs};

/// Bytes of the blob, of the disk, and of the memory behind the disk: half of the blob fits.
const LEN: usize = 8 << 20;
const DISK_LEN: u64 = 24 << 20;
const ROOM: usize = 5 << 20;

/// A disk with an ext4 file system, behind which there is too little room; nothing if this machine
/// cannot have one.
fn disk(folder: &Folder) -> Option<(Mounted, LoopDevice, Tmpfs)> {
    let made = || {
        let behind = Tmpfs::new(folder.path("behind"), ROOM)?;
        let file = behind.path("disk");
        File::create(&file)?.set_len(DISK_LEN)?;
        // Without a journal, and with its tables written: what fails is data.
        let options = ["-q", "-O", "^has_journal", "-E", "lazy_itable_init=0"];
        let made = Command::new("mkfs.ext4").args(options).arg(&file).status()?;
        assert!(made.success(), "mkfs.ext4");
        let device = LoopDevice::new(&file)?;
        let mounted = Mounted::new(device.path(), folder.path("mounted"))?;
        Ok::<_, neap_sim::real::Missing>((mounted, device, behind))
    };
    made().map_err(|why| println!("skipped: no disk, which takes root: {why}")).ok()
}

#[test]
fn what_could_not_be_written_is_not_taken_for_there() -> Result<(), Box<dyn Error>> {
    let folder = Folder::new(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("failed-sync"))?;
    let Some((mounted, _device, behind)) = disk(&folder) else { return Ok(()) };
    let path = mounted.path("depot");
    fs::create_dir(&path)?;
    let depot = Depot::make(&path.to_string_lossy())?;
    let mut bytes = vec![0; LEN];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    let (mut builder, mut tree) = (Builder::default(), Vec::new());
    builder.update(&bytes, &mut tree);
    let (digest, len) = builder.finish(&mut tree);
    let whole = Subtree::whole(len);
    let pairs = &tree[..tree.len() - 8];
    let writer = depot.writer("test")?;

    let partial = writer.partial(&digest, len)?;
    assert_eq!(partial.put_subtree(&whole, pairs, &bytes)?, Some(Vec::new()));
    partial.sync().expect_err("there is no room behind the disk");
    behind.resize(LEN * 4)?;
    partial.sync().expect_err("what it did not write is not written by asking again");
    partial.finish().expect_err("nor is it a blob");

    let partial = writer.partial(&digest, len)?;
    let missing: u64 = partial.missing()?.iter().map(|range| range.end - range.start).sum();
    assert!(missing >= GROUP_LEN as u64 * 64, "{missing} bytes are missing");
    assert_eq!(partial.put_subtree(&whole, pairs, &bytes)?, Some(Vec::new()));
    assert!(partial.finish()?);
    let blob = depot.blob(&digest)?.expect("whole");
    blob.forget()?;
    assert!(blob.check()?.altered.is_empty());
    Ok(())
}
