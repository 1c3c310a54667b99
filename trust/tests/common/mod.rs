//! A device, a repository, and someone between them.
#![allow(dead_code, reason = "no test uses all of it")]

use jiff::{SignedDuration, Timestamp};
use neap_trust::carrier::Carrier;
use neap_trust::client::{Ask, Checked, Refusal, check};
use neap_trust::fixture::Repository;
use neap_trust::state::MemoryState;
use neap_trust::time::Clock;

/// When all stories begin.
pub(crate) fn start() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().expect("a time")
}

pub(crate) fn days(count: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * count)
}

/// A repository with two groups; `bridge` is offered version 1.0.
pub(crate) fn repository() -> Repository {
    let mut made = Repository::new(start());
    made.group("bridge");
    made.group("engine");
    made.release("bridge", "display", "1.0");
    made.release("engine", "pump", "1.0");
    made.publish(&["g.bridge", "g.engine", "targets"]);
    made
}

/// A device of group `bridge`.
#[derive(Clone)]
pub(crate) struct Device {
    pub(crate) root: Vec<u8>,
    pub(crate) state: MemoryState,
    pub(crate) rtc: Option<Timestamp>,
}

impl Device {
    /// As it left the factory.
    pub(crate) fn new(repository: &Repository) -> Self {
        let (root, rtc) = (repository.first_root(), Some(repository.now));
        Self { root, state: MemoryState::default(), rtc }
    }

    pub(crate) fn check(&mut self, carrier: &dyn Carrier) -> Result<Checked, Refusal> {
        self.ask(carrier, &["bridge"], None)
    }

    pub(crate) fn ask(
        &mut self,
        carrier: &dyn Carrier,
        groups: &[&str],
        seen: Option<&[u8]>,
    ) -> Result<Checked, Refusal> {
        let clock = Clock { rtc: self.rtc, build: start() - days(30) };
        let ask = Ask { groups, root: Some(&self.root), clock, seen };
        check(carrier, &mut self.state, &ask)
    }

    /// What the honest carrier offers, which must be believed.
    pub(crate) fn accepts(&mut self, carrier: &dyn Carrier) -> Checked {
        self.check(carrier).expect("what is honest is believed")
    }

    /// Why the hostile carrier is refused, with its exit code.
    pub(crate) fn refuses(&mut self, carrier: &dyn Carrier) -> (u8, &'static str, String) {
        let refusal = self.check(carrier).expect_err("what is hostile is refused");
        (refusal.exit_code(), refusal.word(), refusal.to_string())
    }
}

/// Versions offered to the first group asked for.
pub(crate) fn versions(checked: &Checked) -> Vec<&str> {
    checked.groups[0].offers.iter().map(|offer| offer.custom.version.as_str()).collect()
}
