//! A real file system runs out of room under the target, or under the journal.

use std::error::Error;
use std::path::{Path, PathBuf};

use neap_sim::real::{Folder, Images, Tmpfs, stderr};

const NEAP: &str = env!("CARGO_BIN_EXE_neap");

/// Size of the images: more than two checkpoints.
const SIZE: usize = 40 << 20;

/// The exit code for a full target or journal.
const NO_SPACE: Option<i32> = Some(12);

#[test]
fn apply_goes_on_when_a_full_target_has_room_again() -> Result<(), Box<dyn Error>> {
    let folder = Folder::new(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("full-target"))?;
    let Some(tmpfs) = mounted(folder.path("mount"), 18 << 20) else { return Ok(()) };
    let neap = Path::new(NEAP);
    let images = Images::new(neap, &folder, SIZE)?;
    let (target, state) = (tmpfs.path("target"), folder.path("state"));
    let full = images.apply(neap, &target, &state).output()?;
    assert_eq!(full.status.code(), NO_SPACE, "{}", stderr(&full));
    assert!(stderr(&full).contains("target"), "{}", stderr(&full));
    tmpfs.resize(2 * SIZE)?;
    let enough = images.apply(neap, &target, &state).output()?;
    assert!(enough.status.success(), "{}", stderr(&enough));
    assert!(images.is_target(&target)?);
    let said = String::from_utf8_lossy(&enough.stdout).replace(' ', "");
    assert!(!said.contains("\"windows_resumed\":0,"), "began anew: {said}");
    Ok(())
}

#[test]
fn apply_says_that_there_is_no_room_for_the_journal() -> Result<(), Box<dyn Error>> {
    let folder = Folder::new(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("full-state"))?;
    // Room for one slot of the two.
    let Some(tmpfs) = mounted(folder.path("state"), 4096) else { return Ok(()) };
    let neap = Path::new(NEAP);
    let images = Images::new(neap, &folder, SIZE)?;
    let (target, state) = (folder.path("made"), folder.path("state"));
    let full = images.apply(neap, &target, &state).output()?;
    assert_eq!(full.status.code(), NO_SPACE, "{}", stderr(&full));
    assert!(stderr(&full).contains("journal"), "{}", stderr(&full));
    tmpfs.resize(1 << 20)?;
    let enough = images.apply(neap, &target, &state).output()?;
    assert!(enough.status.success(), "{}", stderr(&enough));
    assert!(images.is_target(&target)?);
    Ok(())
}

/// A file system of this size, or a word on why the test is skipped.
fn mounted(path: PathBuf, size: usize) -> Option<Tmpfs> {
    let mounted = Tmpfs::new(path, size);
    mounted
        .inspect_err(|why| println!("skipped: no file system could be mounted (root?): {why}"))
        .ok()
}
