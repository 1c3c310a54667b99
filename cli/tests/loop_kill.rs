//! `neap apply` is killed at random times on a real loop device, and started again until done.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use neap_sim::random::Random;
use neap_sim::real::{Folder, Images, LoopDevice, stderr};

const NEAP: &str = env!("CARGO_BIN_EXE_neap");

/// Size of the images: three checkpoints.
const SIZE: usize = 48 << 20;

#[test]
fn killed_apply_goes_on_until_the_device_holds_the_target() -> Result<(), Box<dyn Error>> {
    kill("few", 12)
}

#[test]
#[ignore = "takes minutes; the test above does the same less often"]
fn apply_killed_200_times_goes_on() -> Result<(), Box<dyn Error>> {
    kill("many", 200)
}

/// What happened so far.
#[derive(Debug, Default)]
struct Counts {
    kills: u64,
    finished: u64,
    resumed: u64,
}

fn kill(name: &str, kills: u64) -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("loop-kill-{name}"));
    let folder = Folder::new(folder)?;
    let backing = folder.path("device");
    fs::write(&backing, [])?;
    fs::OpenOptions::new().write(true).open(&backing)?.set_len(SIZE as u64 + (1 << 20))?;
    let device = match LoopDevice::new(&backing) {
        Ok(device) => device,
        Err(why) => {
            println!("skipped: no loop device, which takes root: {why}");
            return Ok(());
        }
    };
    let neap = Path::new(NEAP);
    let images = Images::new(neap, &folder, SIZE)?;
    let state = folder.path("state");
    let begun = Instant::now();
    let output = images.apply(neap, device.path(), &state).output()?;
    assert!(output.status.success(), "without a kill: {}", stderr(&output));
    assert!(images.is_target(device.path())?, "without a kill: the device differs");
    let typical = begun.elapsed();
    let mut random = Random::new(kills);
    let mut counts = Counts::default();
    fs::copy(&images.source, device.path())?;
    while counts.kills < kills || counts.finished == 0 {
        // Seldom longer than a whole run takes: one that goes on where another was killed is
        // shorter, and gets to its end.
        let longest_us = u64::try_from(typical.as_micros())? * 17 / 16;
        let delay = Duration::from_micros(random.below(longest_us));
        if run(neap, &images, device.path(), &state, delay, &mut counts)? {
            // The next round finds another image than it makes, as a device does.
            fs::copy(&images.source, device.path())?;
        }
    }
    println!("{counts:?}, {typical:?} without a kill");
    assert!(counts.resumed > 0, "no run went on where another was killed");
    Ok(())
}

/// One run, killed after `delay`; whether it was done before.
fn run(
    neap: &Path,
    images: &Images,
    device: &Path,
    state: &Path,
    delay: Duration,
    counts: &mut Counts,
) -> Result<bool, Box<dyn Error>> {
    let mut command = images.apply(neap, device, state);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    thread::sleep(delay);
    child.kill()?;
    let output = child.wait_with_output()?;
    let Some(code) = output.status.code() else {
        counts.kills += 1;
        return Ok(false);
    };
    assert_eq!(code, 0, "after {} kills: {}", counts.kills, stderr(&output));
    assert!(images.is_target(device)?, "after {} kills: the device differs", counts.kills);
    assert!(fs::read_dir(state)?.next().is_none(), "a journal was left behind");
    counts.finished += 1;
    let said = String::from_utf8_lossy(&output.stdout).replace(' ', "");
    counts.resumed += u64::from(!said.contains("\"windows_resumed\":0,"));
    Ok(true)
}
