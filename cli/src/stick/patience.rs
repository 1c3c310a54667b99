//! Says on stderr that a stick is waited for, where it does not answer or is slow: a person beside
//! it must know whether to leave it in. A stick that does well is not spoken of.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use neap_usb_sideload::pulse::{Pulse, pulse};

use crate::size::human;

/// Runs `act`, and says every few seconds if the stick that it works with is slow.
pub(super) fn with<T>(quiet: bool, act: impl FnOnce() -> T) -> T {
    if quiet {
        return act();
    }
    thread::scope(|scope| {
        let (done, ended) = channel::<()>();
        scope.spawn(move || {
            let began = Instant::now();
            let mut patience = Patience::new(pulse());
            while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                if let Some(line) = patience.line(began.elapsed(), pulse()) {
                    eprintln!("{line}");
                }
            }
        });
        let result = act();
        drop(done);
        result
    })
}

/// Time between two looks.
const TICK: Duration = Duration::from_millis(500);

/// Time between two lines: a stick that collects what it was given may take a second or two.
const SAID_EVERY: Duration = Duration::from_secs(5);

/// Bytes in that time of a stick that is not slow: a good one of USB 1.1 has 1 MB/s.
const WELL: u64 = 2 << 20;

/// What was seen of a stick.
struct Patience {
    /// When something was last heard of it, or nothing was asked.
    heard: Duration,
    last: Pulse,
    /// When the last line was due, and what had been seen then.
    due: Duration,
    then: Pulse,
    /// Whether calls waited at every look since.
    is_busy: bool,
}

impl Patience {
    fn new(now: Pulse) -> Self {
        Self { heard: Duration::ZERO, last: now, due: Duration::ZERO, then: now, is_busy: true }
    }

    /// What there is to say now, if a line is due.
    fn line(&mut self, at: Duration, now: Pulse) -> Option<String> {
        let waits = now.begun > now.ended;
        if now.ended != self.last.ended || !waits {
            self.heard = at;
        }
        self.last = now;
        // Between two calls the device itself works: that is not the stick's slowness.
        self.is_busy &= waits;
        if at.saturating_sub(self.due) < SAID_EVERY {
            return None;
        }
        let came = now.bytes.saturating_sub(self.then.bytes);
        let is_busy = std::mem::replace(&mut self.is_busy, true);
        (self.due, self.then) = (at, now);
        let silent = at.saturating_sub(self.heard);
        if silent >= SAID_EVERY {
            let seconds = silent.as_secs();
            return Some(format!(
                "the stick has not answered for {seconds} s: it is waited for; leave it in, or \
                 pull it, put it back and run the same command again"
            ));
        }
        (is_busy && came < WELL).then(|| {
            let seconds = SAID_EVERY.as_secs();
            format!("the stick is slow, {} in {seconds} s: leave it in", human(came))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One look a second: what is counted at each, and in which seconds something is said.
    fn said(looks: &[(u64, u64, u64)]) -> Vec<(u64, String)> {
        let mut patience = Patience::new(Pulse::default());
        let mut said = Vec::new();
        for (second, (begun, ended, bytes)) in (1..).zip(looks) {
            let now = Pulse { begun: *begun, ended: *ended, bytes: *bytes };
            let line = patience.line(Duration::from_secs(second), now);
            said.extend(line.map(|line| (second, line)));
        }
        said
    }

    #[test]
    fn stick_that_hangs_is_spoken_of_every_five_seconds_and_one_that_does_well_never() {
        let hangs = said(&[(1, 0, 0); 17]);
        let seconds: Vec<_> = hangs.iter().map(|(second, _)| *second).collect();
        assert_eq!(seconds, [5, 10, 15]);
        assert!(hangs[1].1.starts_with("the stick has not answered for 10 s"), "{hangs:?}");
        let well: Vec<_> = (0..60).map(|i| (i + 1, i, i << 20)).collect();
        assert_eq!(said(&well), []);
    }

    #[test]
    fn stick_that_gives_a_byte_at_a_time_is_said_to_be_slow() {
        let slow = said(&(0..12).map(|i| (i + 1, i, i)).collect::<Vec<_>>());
        assert_eq!(slow.len(), 2, "{slow:?}");
        assert_eq!(slow[1], (10, "the stick is slow, 5 B in 5 s: leave it in".into()));
    }

    #[test]
    fn stick_that_nobody_asks_is_not_blamed() {
        assert_eq!(said(&[(3, 3, 10); 30]), []);
        // The device's own disk takes its time between two short reads of the stick.
        let other: Vec<_> = (0..30).map(|i| (i, i - i % 2, i)).collect();
        assert_eq!(said(&other), []);
    }
}
