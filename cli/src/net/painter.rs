//! Progress of a fetch, for people.

use std::time::{Duration, Instant};

use neap_depot::limits::GROUP_LEN;
use neap_peer::quic::site::Progress;

use crate::size::human;

/// Progress on stderr, once a second.
pub(super) struct Painter {
    quiet: bool,
    len: u64,
    began: Instant,
    painted: Option<Instant>,
    first: Option<u64>,
}

impl Painter {
    pub(super) fn new(quiet: bool, len: u64) -> Self {
        Self { quiet, len, began: Instant::now(), painted: None, first: None }
    }

    pub(super) fn paint(&mut self, progress: &Progress) {
        if self.quiet || self.painted.is_some_and(|at| at.elapsed() < SHOWN) {
            return;
        }
        self.painted = Some(Instant::now());
        let group = GROUP_LEN as u64;
        let have = (progress.groups * group).min(self.len);
        let first = *self.first.get_or_insert(have);
        let took_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let rate = (have - first.min(have)).saturating_mul(1000) / took_ms.max(100);
        let eta = match (self.len - have).checked_div(rate) {
            Some(left_s) => format!("{left_s} s left"),
            None => "waiting".to_owned(),
        };
        let sources = progress.taken.by_name.iter();
        let sources = sources.map(|(name, groups)| format!("{name} {}", human(groups * group)));
        let sources: Vec<_> = sources.collect();
        eprintln!(
            "{} of {}, {}/s, {eta}; {} on site; {}",
            human(have),
            human(self.len),
            human(rate),
            progress.members,
            sources.join(", ")
        );
    }
}

/// Time between two lines of progress.
const SHOWN: Duration = Duration::from_secs(1);
