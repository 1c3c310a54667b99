//! The two ends of an emulated link as network devices, and the loop that moves packets between
//! them. The only file that touches devices; what happens to a packet is `direction`'s.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use tun_rs::{DeviceBuilder, SyncDevice};

use super::NS_PER_S;
use super::direction::Direction;
use super::namespace::{BedError, ip, without_ipv6};
use super::options::LinkOptions;
use super::tally::{Line, Tally, Way};

/// Where an end of the link lies.
#[derive(Clone, Debug)]
pub struct End {
    /// The network namespace.
    pub namespace: String,
    /// Address with prefix length.
    pub address: String,
}

/// The device's name at either end.
pub const DEVICE: &str = "sat";
/// Largest packet, in bytes.
pub const MTU: u16 = 1500;

/// A link that is ready to run.
#[derive(Debug)]
pub struct Pump {
    ends: [TunEnd; 2],
    stats: Option<File>,
    start: Instant,
    /// How often the clock was set to 0.
    begin_count: Arc<AtomicU32>,
    begun_ns: u64,
    told_ns: u64,
}

/// One end: its device, and what was sent from it.
struct TunEnd {
    device: SyncDevice,
    way: Way,
    link: Direction,
    told: Tally,
}

/// What passed, at the end.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Totals {
    /// From shore to site.
    pub down: Tally,
    /// From site to shore.
    pub up: Tally,
    /// Processor time of the emulator, in seconds.
    pub cpu_s: f64,
}

impl std::fmt::Debug for TunEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TunEnd").field("way", &self.way).finish_non_exhaustive()
    }
}

impl Pump {
    /// Makes both devices, the shore's first, and moves them to where they belong. `name`, at most
    /// 14 characters, is what they are called until then.
    ///
    /// # Errors
    /// If an option is not in its range, or a device cannot be made or moved.
    pub fn new(
        name: &str,
        ends: &[End; 2],
        options: &LinkOptions,
        stats: Option<File>,
    ) -> Result<Self, BedError> {
        let end = |index: usize, way: Way| -> Result<TunEnd, BedError> {
            let device = tun(&format!("{name}{index}"), &ends[index])?;
            let link = Direction::new(options.settings(way).map_err(BedError::Failed)?);
            Ok(TunEnd { device, way, link, told: Tally::default() })
        };
        let ends = [end(0, Way::Down)?, end(1, Way::Up)?];
        let (start, begin_count) = (Instant::now(), Arc::default());
        Ok(Self { ends, stats, start, begin_count, begun_ns: 0, told_ns: 0 })
    }

    /// Counts how often `begin` was heard, so that who said it can wait for it.
    #[must_use]
    pub fn begin_count(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.begin_count)
    }

    /// Moves packets until `control` ends or, within a second, `stop` is set. A line `begin` on
    /// `control` sets the clock of statistics and outages to 0.
    ///
    /// # Errors
    /// If a device is gone or the statistics cannot be written.
    pub fn run(
        mut self,
        mut control: impl AsFd + io::Read,
        stop: &AtomicBool,
    ) -> io::Result<Totals> {
        let mut buffer = vec![0; 65_536];
        let mut said = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            self.deliver()?;
            let now_ns = self.now_ns();
            if now_ns >= self.told_ns + NS_PER_S {
                self.told_ns += NS_PER_S;
                self.tell(false)?;
            }
            let until_ns = self.next_ns().saturating_sub(now_ns);
            let ready =
                wait([&self.ends[0].device, &self.ends[1].device], control.as_fd(), until_ns)?;
            for (end, _) in self.ends.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
                end.receive(&mut buffer, self.start)?;
            }
            if ready[2] {
                let len = control.read(&mut buffer)?;
                if len == 0 {
                    break;
                }
                said.extend_from_slice(&buffer[..len]);
                if asks_to_begin(&mut said) {
                    self.begin();
                }
            }
        }
        self.tell(true)?;
        Ok(self.totals())
    }

    fn begin(&mut self) {
        let now_ns = self.now_ns();
        (self.begun_ns, self.told_ns) = (now_ns, now_ns);
        for end in &mut self.ends {
            end.link.begin(now_ns);
            end.told = Tally::default();
        }
        self.begin_count.fetch_add(1, Ordering::Release);
    }

    /// Hands over what has arrived.
    fn deliver(&mut self) -> io::Result<()> {
        let now_ns = self.now_ns();
        let [shore, gateway] = &mut self.ends;
        for (from, to) in [(&mut shore.link, &gateway.device), (&mut gateway.link, &shore.device)] {
            while let Some(packet) = from.take(now_ns) {
                match to.send(&packet) {
                    Ok(_) => {}
                    // A full or closed receiver drops packets, as a cable would.
                    Err(error) if error.raw_os_error() == Some(DEVICE_GONE) => return Err(error),
                    Err(_) => {}
                }
            }
        }
        Ok(())
    }

    /// When there is something to do, should no packet come.
    fn next_ns(&self) -> u64 {
        let due = self.ends.iter().filter_map(|end| end.link.due()).min();
        due.unwrap_or(u64::MAX).min(self.told_ns + NS_PER_S)
    }

    /// Writes what passed since the last time, or since the beginning.
    fn tell(&mut self, total: bool) -> io::Result<()> {
        let at_ns = if total { self.now_ns() } else { self.told_ns };
        let Some(stats) = &mut self.stats else { return Ok(()) };
        let mut text = String::new();
        for end in &mut self.ends {
            let now = end.link.tally();
            let tally = if total { now } else { now.since(&end.told) };
            end.told = now;
            let t_s = seconds(at_ns.saturating_sub(self.begun_ns));
            let line = Line { t_s, way: end.way, total, tally };
            text.push_str(&serde_json::to_string(&line)?);
            text.push('\n');
        }
        stats.write_all(text.as_bytes())
    }

    fn totals(&self) -> Totals {
        let cpu = clock_gettime(ClockId::ThreadCPUTime);
        let [down, up] = self.ends.each_ref().map(|end| end.link.tally());
        Totals { down, up, cpu_s: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9 }
    }

    fn now_ns(&self) -> u64 {
        now_ns(self.start)
    }
}

impl TunEnd {
    /// Takes what waits at the device, but not so much that due packets of the other wait.
    fn receive(&mut self, buffer: &mut [u8], start: Instant) -> io::Result<()> {
        for _ in 0..READ_PACKETS_MAX {
            match self.device.recv(buffer) {
                Ok(len) => self.link.offer(now_ns(start), buffer[..len].to_vec()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Most packets read from one device before those that are due are delivered.
const READ_PACKETS_MAX: u32 = 32;
/// EBADFD: the device was deleted, as with its namespace.
const DEVICE_GONE: i32 = 77;

/// Takes whole lines off what was said; whether one is `begin`.
fn asks_to_begin(said: &mut Vec<u8>) -> bool {
    let end = said.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let lines: Vec<u8> = said.drain(..end).collect();
    lines.split(|byte| *byte == b'\n').any(|line| line == b"begin")
}

fn now_ns(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / NS_PER_S as f64
}

/// Waits for packets or words, at most `until_ns`.
fn wait(
    devices: [&SyncDevice; 2],
    control: BorrowedFd<'_>,
    until_ns: u64,
) -> io::Result<[bool; 3]> {
    let mut fds = [
        PollFd::new(devices[0], PollFlags::IN),
        PollFd::new(devices[1], PollFlags::IN),
        PollFd::from_borrowed_fd(control, PollFlags::IN),
    ];
    let timeout = Timespec {
        tv_sec: i64::try_from(until_ns / NS_PER_S).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(until_ns % NS_PER_S).unwrap_or_default(),
    };
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) => Ok([0, 1, 2].map(|index: usize| !fds[index].revents().is_empty())),
        // A signal: the caller looks whether it shall stop.
        Err(rustix::io::Errno::INTR) => Ok([false; 3]),
        Err(error) => Err(error.into()),
    }
}

/// A device in its namespace, up, with its address and the way to everywhere.
fn tun(name: &str, end: &End) -> Result<SyncDevice, BedError> {
    let cannot = |error| BedError::Failed(format!("no TUN device can be made: {error}"));
    let device = DeviceBuilder::new().name(name).enable(false).build_sync().map_err(cannot)?;
    device.set_nonblocking(true).map_err(cannot)?;
    let (inside, mtu) = (end.namespace.as_str(), MTU.to_string());
    ip(&["link", "set", name, "netns", inside, "name", DEVICE])?;
    without_ipv6(inside, DEVICE)?;
    ip(&["-n", inside, "addr", "add", &end.address, "dev", DEVICE])?;
    // The emulator's queue is the one that counts; the device's own only bridges its naps.
    ip(&["-n", inside, "link", "set", DEVICE, "mtu", &mtu, "txqueuelen", "2000", "up"])?;
    ip(&["-n", inside, "route", "add", "default", "dev", DEVICE])?;
    Ok(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_heard_when_it_is_whole() {
        let mut said = b"beg".to_vec();
        assert!(!asks_to_begin(&mut said));
        said.extend_from_slice(b"in\nother\nbe");
        assert!(asks_to_begin(&mut said));
        assert_eq!(said, b"be");
    }
}
