//! What is known of one source. Only what it delivered is believed.

use crate::groups::Groups;

/// Of which kind a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A member of the same site.
    Site,
    /// Bytes of it cost nothing, and it does not take part in the site.
    Free,
    /// Behind a link that is paid for.
    Costly,
}

#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Whether it is asked only where no other of its kind gives anything.
    pub(super) is_last: bool,
    /// Whether it can be asked now: costly ones are dialled when they are needed.
    pub(super) up: bool,
    pub(super) dial_at_ms: u64,
    pub(super) have: Groups,
    /// What it said it has and did not give; cleared when it says again what it has.
    pub(super) lacking: Groups,
    pub(super) claims: Groups,
    /// Whether it fetches this blob, too.
    pub(super) takes_part: bool,
    pub(super) may_fetch: bool,
    /// When it last got on, as far as we see.
    pub(super) moved_ms: u64,
    pub(super) strikes: u32,
    pub(super) rest_until_ms: u64,
    pub(super) asked_groups: u64,
    pub(super) window_groups: u64,
    pub(super) budget_left: u64,
}

impl Source {
    pub(super) fn new(name: &str, kind: Kind, have: Groups) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            is_last: false,
            up: kind != Kind::Costly,
            dial_at_ms: 0,
            have,
            lacking: Groups::default(),
            claims: Groups::default(),
            takes_part: false,
            may_fetch: false,
            moved_ms: 0,
            strikes: 0,
            rest_until_ms: 0,
            asked_groups: 0,
            window_groups: WINDOW_GROUPS,
            budget_left: u64::MAX,
        }
    }

    /// Leaves it alone for a while, for longer each time. What was asked at the same time and fails
    /// as well is no second time.
    pub(super) fn rest(&mut self, now_ms: u64) {
        if self.rests(now_ms) {
            return;
        }
        self.rest_until_ms = now_ms + (REST_MS << self.strikes.min(REST_DOUBLINGS));
        self.strikes += 1;
    }

    /// Whether it failed so often, one time after the other, that last sources are asked.
    pub(super) fn is_given_up(&self) -> bool {
        self.strikes >= LAST_STRIKES
    }

    pub(super) fn rests(&self, now_ms: u64) -> bool {
        now_ms < self.rest_until_ms
    }

    /// Whether it says that it has this group and did not fail to give it.
    pub(super) fn gives(&self, group: u64) -> bool {
        self.have.contains(group) && !self.lacking.contains(group)
    }
}

/// Under way from a costly source until its speed is known: 2 MiB.
const WINDOW_GROUPS: u64 = 128;

/// Two tries, five seconds apart: within the lease of whoever fetches for the site.
const LAST_STRIKES: u32 = 2;

/// The first rest, and how often it doubles: up to 32 s.
const REST_MS: u64 = 500;
const REST_DOUBLINGS: u32 = 6;
