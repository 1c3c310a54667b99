//! Who fetches over the costly link. There is no vote: each member orders those that could by the
//! same rule, and the first one fetches. Where two see different members and both fetch for a
//! while, what they claim keeps them apart, and of two claims on the same groups that of the first
//! in the order stands. A member that is first and brings nothing is passed over; if that was the
//! link's fault, the next one's turn ends the same way, and all get another.

use super::source::{Kind, Source};
use super::{Action, Fault, Swarm};
use crate::groups::Groups;

impl Swarm {
    /// Whether it is our turn.
    pub(super) fn elect(&mut self, now_ms: u64) -> bool {
        self.drop_idle_claims(now_ms);
        let Some(first) = self.first() else {
            self.turn = None;
            return false;
        };
        let since = match &self.turn {
            Some((name, since)) if *name == first => *since,
            _ => {
                self.turn = Some((first.clone(), now_ms));
                now_ms
            }
        };
        let mine = first == self.plan.me;
        let moved = self.sources.values().filter(|source| match source.kind {
            Kind::Costly => mine,
            Kind::Site => !mine && source.name == first,
            Kind::Free => false,
        });
        let moved = moved.map(|source| source.moved_ms).max().unwrap_or(0).max(since);
        let quiet = now_ms < self.started_ms + self.plan.quiet_ms;
        let others = self.candidates().count() > 1;
        if !quiet && others && !self.is_complete() && now_ms >= moved + self.plan.lease_ms {
            *self.passed_over.entry(first.clone()).or_default() += 1;
            self.turn = None;
            if !mine {
                self.actions.push(Action::Blame { name: first, what: Fault::Idle });
            }
            return false;
        }
        mine && !quiet
    }

    /// Whoever claims and gets no further loses its claims, and its next ones count only once it
    /// got on.
    fn drop_idle_claims(&mut self, now_ms: u64) {
        let lease_ms = self.plan.lease_ms;
        for source in self.sources.values_mut() {
            if !source.claims.is_empty() && now_ms >= source.moved_ms + lease_ms {
                source.claims = Groups::default();
                *self.passed_over.entry(source.name.clone()).or_default() += 1;
            }
        }
    }

    /// What other members fetch over the costly link.
    pub(super) fn claimed_by_others(&self) -> Groups {
        let mut claimed = Groups::default();
        for source in self.sources.values().filter(|source| source.kind == Kind::Site) {
            let idle = self.passed_over.contains_key(&source.name);
            if !idle && !self.banned.contains(&source.name) {
                claimed.extend(&source.claims);
            }
        }
        claimed
    }

    /// The same, of those before us only: from these we step back.
    pub(super) fn claimed_before_us(&self) -> Groups {
        let ours = self.place(&self.plan.me);
        let mut claimed = Groups::default();
        for source in self.sources.values().filter(|source| self.is_candidate(source)) {
            if self.place(&source.name) < ours {
                claimed.extend(&source.claims);
            }
        }
        claimed
    }

    fn first(&self) -> Option<String> {
        self.candidates().min_by_key(|name| self.place(name)).map(str::to_owned)
    }

    fn candidates(&self) -> impl Iterator<Item = &str> {
        let members = self.sources.values().filter(|source| self.is_candidate(source));
        let me = (self.plan.may_fetch && self.has_costly()).then_some(self.plan.me.as_str());
        members.map(|source| source.name.as_str()).chain(me)
    }

    fn is_candidate(&self, source: &Source) -> bool {
        let fetches = source.takes_part && source.may_fetch && source.kind == Kind::Site;
        let incomplete = !source.have.covers(&(0..self.count));
        fetches && incomplete && !self.banned.contains(&source.name)
    }

    /// A member's place in the order: whoever is at it stays, for what is under way to it would be
    /// lost; else it is the order in which the shore is asked for metadata: the first is connected.
    fn place(&self, name: &str) -> (u32, bool, [u8; 32]) {
        let passed_over = self.passed_over.get(name).copied().unwrap_or(0);
        let claims = if name == self.plan.me {
            !self.claimed.is_empty()
        } else {
            let mut members = self.sources.values().filter(|source| source.kind == Kind::Site);
            members.any(|source| source.name == name && !source.claims.is_empty())
        };
        (passed_over, !claims, draw(name))
    }
}

/// What members are ordered by, where nothing else tells them apart.
#[must_use]
pub fn draw(name: &str) -> [u8; 32] {
    *blake3::hash(name.as_bytes()).as_bytes()
}
