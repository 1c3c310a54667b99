//! Twice the image: does the time of a diff double, and does its memory stay where it was?
//!
//! The larger pair is the pair with an altered copy of itself behind it: one is added to every byte
//! of the second half. It has the same structure and compresses alike, but none of its blocks is a
//! block of the first half, so nothing is gained by finding the one in the other.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use crate::measure::{self, Settings, Workplace};
use crate::pairs::Pair;
use crate::record::ScalingRecord;
use crate::tools::Tool;

/// Bytes altered at a time.
const STEP_SIZE: usize = 1 << 20;

/// Measures one tool on a pair and on its double.
///
/// # Errors
/// The images cannot be copied to the working folder.
pub fn measure(pair: &Pair, tool: &Tool, settings: &Settings) -> io::Result<ScalingRecord> {
    let sizes = [pair.source_size * 2, pair.target_size * 2];
    let workplace = Workplace::for_pair(settings, sizes[0], sizes[1])?;
    let source = workplace.folder.join("source");
    let target = workplace.folder.join("target");
    fs::copy(&pair.source, &source)?;
    fs::copy(&pair.target, &target)?;
    let once = measure::tool(tool, &source, &target, &workplace.folder, settings);
    eprintln!("  once  {}", measure::line(&once));

    append_altered(&pair.source, &source)?;
    append_altered(&pair.target, &target)?;
    let twice = measure::tool(tool, &source, &target, &workplace.folder, settings);
    eprintln!("  twice {}", measure::line(&twice));
    Ok(ScalingRecord { pair: pair.clone(), once, twice })
}

/// Appends to `to` every byte of `from`, plus one.
fn append_altered(from: &Path, to: &Path) -> io::Result<()> {
    let mut from = File::open(from)?;
    let mut to = File::options().append(true).open(to)?;
    let mut step = vec![0; STEP_SIZE];
    loop {
        let len = from.read(&mut step)?;
        if len == 0 {
            return Ok(());
        }
        for byte in &mut step[..len] {
            *byte = byte.wrapping_add(1);
        }
        to.write_all(&step[..len])?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_half_is_the_first_with_one_added() {
        let folder = std::env::temp_dir().join(format!("neap-scaling-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("made");
        let (from, to) = (folder.join("from"), folder.join("to"));
        fs::write(&from, [0, 7, 255]).expect("written");
        fs::copy(&from, &to).expect("copied");
        append_altered(&from, &to).expect("appended");
        assert_eq!(fs::read(&to).expect("read"), [0, 7, 255, 1, 8, 0]);
        fs::remove_dir_all(&folder).expect("removed");
    }
}
