//! The limit of any verified apply: read as many bytes as the target has, hash them, write them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::stats::median;

/// Bytes read, hashed and written at a time: 1 MiB, as large as one of neap's windows can be.
const STEP_SIZE: usize = 1 << 20;

/// Seconds that a copy takes, with and without BLAKE3, on one thread.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct CopyLimit {
    /// Read and write.
    pub copy_s: f64,
    /// Read, hash, write, one after the other.
    pub copy_hash_s: f64,
    /// The hashing alone: where hashing overlaps the copy, the larger of both is the limit.
    pub hash_s: f64,
}

/// Copies `from` to `to` `run_count` times and returns the medians. `to` is made anew each time, as
/// the tools make their targets anew.
///
/// # Errors
/// A file that cannot be read, written or removed.
pub fn measure(from: &Path, to: &Path, run_count: usize) -> io::Result<CopyLimit> {
    let middle = |hash: bool, write: bool| -> io::Result<f64> {
        let mut times = Vec::new();
        for _ in 0..run_count.max(1) {
            if to.exists() {
                std::fs::remove_file(to)?;
            }
            times.push(once(from, write.then_some(to), hash)?);
        }
        Ok(median(&times).unwrap_or_default())
    };
    let limit = CopyLimit {
        copy_s: middle(false, true)?,
        copy_hash_s: middle(true, true)?,
        hash_s: middle(true, false)?,
    };
    if to.exists() {
        std::fs::remove_file(to)?;
    }
    Ok(limit)
}

fn once(from: &Path, to: Option<&Path>, hash: bool) -> io::Result<f64> {
    let start = Instant::now();
    let mut from = File::open(from)?;
    let mut to = to.map(File::create).transpose()?;
    let mut hasher = blake3::Hasher::new();
    let mut step = vec![0; STEP_SIZE];
    loop {
        let len = from.read(&mut step)?;
        if len == 0 {
            break;
        }
        if hash {
            hasher.update(&step[..len]);
        }
        if let Some(to) = &mut to {
            to.write_all(&step[..len])?;
        }
    }
    // The digest is used, so that no compiler may leave the hashing out.
    std::hint::black_box(hasher.finalize());
    Ok(start.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_measured_and_leaves_nothing_behind() {
        let folder = std::env::temp_dir().join(format!("neap-copy-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("made");
        let (from, to) = (folder.join("from"), folder.join("to"));
        std::fs::write(&from, vec![7; 3 << 20]).expect("written");
        let limit = measure(&from, &to, 2).expect("both can be used");
        assert!(limit.copy_s > 0.0 && limit.copy_hash_s > 0.0 && limit.hash_s > 0.0, "{limit:?}");
        assert!(!to.exists());
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
