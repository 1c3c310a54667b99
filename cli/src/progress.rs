//! Progress on stderr, and how long each phase took.
//!
//! On a terminal one line is painted over again; elsewhere each phase is one plain line.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use neap_engine::io::Event;

use crate::size;

/// Time between two paintings of the line.
const REPAINT: Duration = Duration::from_millis(100);

/// Where progress goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Silent,
    Lines,
    Painted,
}

/// Takes the events of one operation.
#[derive(Debug)]
pub(crate) struct Reporter {
    style: Style,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    phases: Vec<(&'static str, Duration)>,
    current: Option<Phase>,
    painted: Option<Instant>,
}

#[derive(Debug)]
struct Phase {
    name: &'static str,
    total: u64,
    done: u64,
    began: Instant,
}

impl Reporter {
    /// Progress on stderr, or none at all.
    pub(crate) fn new(quiet: bool) -> Self {
        let style = match (quiet, io::stderr().is_terminal()) {
            (true, _) => Style::Silent,
            (false, true) => Style::Painted,
            (false, false) => Style::Lines,
        };
        Self { style, state: Mutex::default() }
    }

    /// Takes one event, from any thread.
    pub(crate) fn event(&self, event: Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Phase { name, total } => {
                state.end_phase();
                let began = Instant::now();
                state.current = Some(Phase { name, total, done: 0, began });
                if self.style == Style::Lines {
                    show(&format!("{name}: {}\n", size::human(total)));
                }
            }
            Event::Advance(len) => {
                let Some(phase) = &mut state.current else { return };
                phase.done = phase.done.saturating_add(len).min(phase.total);
            }
        }
        let due = state.painted.is_none_or(|painted| painted.elapsed() >= REPAINT);
        if self.style == Style::Painted && due {
            state.painted = Some(Instant::now());
            if let Some(phase) = &state.current {
                show(&format!("\r\x1b[K{}", phase.line()));
            }
        }
    }

    /// Ends the last phase and wipes the painted line.
    pub(crate) fn finish(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.end_phase();
        if self.style == Style::Painted && state.painted.take().is_some() {
            show("\r\x1b[K");
        }
    }

    /// Seconds that the phases of this name took.
    pub(crate) fn seconds(&self, name: &str) -> f64 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let times = state.phases.iter().filter(|(phase, _)| *phase == name);
        times.map(|(_, time)| *time).sum::<Duration>().as_secs_f64()
    }

    /// Seconds of every phase, in order.
    pub(crate) fn phases(&self) -> Vec<(&'static str, f64)> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.phases.iter().map(|(name, time)| (*name, time.as_secs_f64())).collect()
    }
}

impl State {
    fn end_phase(&mut self) {
        if let Some(phase) = self.current.take() {
            self.phases.push((phase.name, phase.began.elapsed()));
        }
    }
}

impl Phase {
    /// `match blocks  312.0 MiB of 640.0 MiB  48 %  3 s left`
    fn line(&self) -> String {
        let Self { name, total, done, began } = self;
        let part = size::human(*done);
        let percent = u128::from(*done) * 100 / u128::from((*total).max(1));
        let mut line = format!("{name}  {part} of {}  {percent} %", size::human(*total));
        let elapsed = began.elapsed();
        // A guess from less than half a second would jump about.
        if *done > 0 && elapsed >= Duration::from_millis(500) {
            let left_ms = elapsed.as_millis() * u128::from(total - done) / u128::from(*done);
            let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(u64::MAX));
            line += &format!("  {} left", size::left(left));
        }
        line
    }
}

/// Progress that cannot be shown is no reason to stop an update.
fn show(text: &str) {
    let mut stderr = io::stderr().lock();
    drop(stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush()));
}
